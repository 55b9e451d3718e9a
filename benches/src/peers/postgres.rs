//! PostgreSQL: as the application in every column, and, with its own synchronous streaming replication, as the peer.

use crate::columns::{Column, Rig};
use crate::hosts::{Host, run};
use crate::server::{Server, Signal};
use anyhow::{Context, Result, bail};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PORT: u16 = 5432;
const INSTALLED: &str = "/usr/lib/postgresql";
const READY_WITHIN: Duration = Duration::from_secs(60);
const SCALE: &str = "10";
const CLIENTS: &str = "4";
/// Alike in every column. No checkpoint and no vacuum at a moment of their own; everything that makes commits durable on.
const SETTINGS: [&str; 6] =
    ["shared_buffers=256MB", "max_wal_size=8GB", "checkpoint_timeout=1h", "autovacuum=off", "fsync=on", "synchronous_commit=on"];

/// Where the programs are and whom they run as.
struct Install {
    bin: PathBuf,
    uid: u32,
    gid: u32,
}

impl Install {
    /// The newest one on this machine.
    fn find() -> Result<Install> {
        let cure = || format!("no PostgreSQL in {INSTALLED}: apt-get install postgresql");
        let newest = fs::read_dir(INSTALLED)
            .with_context(cure)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok())
            .max()
            .with_context(cure)?;
        let id = |flag| -> Result<u32> { Ok(run(Command::new("id").args([flag, "postgres"]))?.trim().parse()?) };
        let bin = Path::new(INSTALLED).join(newest.to_string()).join("bin");
        Ok(Install { bin, uid: id("-u")?, gid: id("-g")? })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.uid(self.uid).gid(self.gid).current_dir("/").env("LC_ALL", "C").env("PGUSER", "postgres");
        command
    }

    /// An empty directory that belongs to the database's user.
    fn directory(&self, path: &Path) -> Result<()> {
        fs::create_dir(path)?;
        chown(path, Some(self.uid), Some(self.gid))?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o700))?)
    }
}

/// A running database, with a standby in the peer's column.
pub struct Database {
    // The standby ends first: a primary waits for it to have everything.
    standby: Option<Server>,
    server: Server,
    install: Install,
    socket: PathBuf,
}

/// What `pgbench` said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Transactions per second.
    pub tps: f64,
    /// Mean latency of a transaction in milliseconds.
    pub latency_ms: f64,
}

impl Database {
    /// Makes a cluster in the directory of `column`, starts it and fills it.
    pub fn start(rig: &mut Rig, column: Column) -> Result<Database> {
        let install = Install::find()?;
        let data = rig.dir(column).join("pg");
        let socket = rig.path(&format!("socket-{}", column.name()));
        install.directory(&data)?;
        install.directory(&socket)?;
        run(install.command("initdb").args(["--auth=trust", "--no-sync", "-D"]).arg(&data))?;
        let peer = column == Column::Peer;
        if peer {
            let mut rules = OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
            writeln!(rules, "host replication all samenet trust")?;
        }
        let listen = if peer { rig.hosts().a.at(PORT).ip().to_string() } else { String::new() };
        let name = format!("postgres-{}", column.name());
        let server = launch(rig, &rig.hosts().a, &install, &name, &data, &socket, &listen)?;
        let mut database = Database { standby: None, server, install, socket };
        if peer {
            database.add_standby(rig)?;
        }
        run(database.client("pgbench").args(["--initialize", "--quiet", "--scale", SCALE, "postgres"]))?;
        Ok(database)
    }

    /// Runs the standard transaction and gives its rate.
    pub fn bench(&mut self, seconds: u64) -> Result<Score> {
        let mut pgbench = self.client("pgbench");
        pgbench.args(["--no-vacuum", "--client", CLIENTS, "--jobs", "2", "--time", &seconds.to_string(), "postgres"]);
        let said = run(&mut pgbench)?;
        self.server.check()?;
        self.standby.as_mut().map_or(Ok(()), Server::check)?;
        self.in_sync()?;
        parse(&said).with_context(|| format!("pgbench said something unknown: {said}"))
    }

    /// Brings what earlier transactions left to the disk.
    pub fn checkpoint(&self) -> Result<()> {
        self.sql("CHECKPOINT").map(drop)
    }

    /// Copies the cluster to host B and has commits wait for its flush, as `ack = memory` has fsync wait for both disks.
    fn add_standby(&mut self, rig: &mut Rig) -> Result<()> {
        let primary = rig.hosts().a.at(PORT);
        rig.add_relay(PORT, primary)?;
        let from = if rig.via(PORT) == PORT { primary } else { rig.hosts().b.at(rig.via(PORT)) };
        let source = format!("host={} port={} application_name=standby", from.ip(), from.port());
        let data = rig.path("peer-b").join("pg");
        let socket = rig.path("socket-standby");
        self.install.directory(&data)?;
        self.install.directory(&socket)?;
        let mut copy = self.install.command("pg_basebackup");
        copy.args(["--write-recovery-conf", "--no-sync", "--checkpoint=fast", "-d", &source, "-D"]).arg(&data);
        rig.hosts().b.inside(|| run(&mut copy))?;
        self.standby = Some(launch(rig, &rig.hosts().b, &self.install, "postgres-standby", &data, &socket, "")?);
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")?;
        self.sql("SELECT pg_reload_conf()")?;
        let end = Instant::now() + READY_WITHIN;
        while self.in_sync().is_err() {
            if Instant::now() > end {
                return self.in_sync();
            }
            std::thread::sleep(Duration::from_millis(100)); // there is no event to wait on from outside
        }
        Ok(())
    }

    fn in_sync(&self) -> Result<()> {
        if self.standby.is_some() {
            let state = self.sql("SELECT state || ' ' || sync_state FROM pg_stat_replication")?;
            if state != "streaming sync" {
                bail!("the standby is not synchronous: `{state}`");
            }
        }
        Ok(())
    }

    fn sql(&self, statement: &str) -> Result<String> {
        let said = run(self.client("psql").args(["--no-psqlrc", "--tuples-only", "--no-align", "-c", statement]))?;
        Ok(said.trim().to_owned())
    }

    fn client(&self, name: &str) -> Command {
        let mut command = self.install.command(name);
        command.env("PGHOST", &self.socket).env("PGPORT", PORT.to_string());
        command
    }
}

fn launch(rig: &Rig, host: &Host, install: &Install, name: &str, data: &Path, socket: &Path, listen: &str) -> Result<Server> {
    let mut command = install.command("postgres");
    command.arg("-D").arg(data).arg("-k").arg(socket).args(["-h", listen, "-p", &PORT.to_string()]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    let log = rig.log(name);
    // SIGINT is its fast shutdown.
    let server = host.inside(|| Server::start(name, &mut command, log, Signal::INT))?;
    server.wait_for("line that it accepts connections", READY_WITHIN, |line| line.contains("ready to accept"))?;
    Ok(server)
}

fn parse(said: &str) -> Option<Score> {
    let number = |prefix: &str| -> Option<f64> {
        let line = said.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Score { tps: number("tps = ")?, latency_ms: number("latency average = ")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_read_from_what_pgbench_prints() {
        let said = "number of clients: 4\nlatency average = 1.312 ms\ninitial connection time = 5.1 ms\n\
                    tps = 3048.734 (without initial connection time)\n";
        assert_eq!(parse(said), Some(Score { tps: 3048.734, latency_ms: 1.312 }));
        assert_eq!(parse("tps = nothing"), None);
    }
}
