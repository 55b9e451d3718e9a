//! Real database servers: a database is created on the first node's directory; clients are the product's own command line.

use super::node::Places;
use super::stage::Stage;
use super::{failed, hosts, wires};
use cluster::templates::Values;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Postgresql,
    Mariadb,
}

/// The table that clients write into.
const TABLE: &str = "CREATE TABLE ledger (worker integer NOT NULL, n bigint NOT NULL, said varchar(64) NOT NULL, PRIMARY KEY (worker, n))";
const PASSWORD: &str = "demo";

impl Product {
    pub fn of(word: &str) -> Option<Product> {
        [Product::Postgresql, Product::Mariadb].into_iter().find(|product| product.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Product::Postgresql => "postgresql",
            Product::Mariadb => "mariadb",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Product::Postgresql => "PostgreSQL",
            Product::Mariadb => "MariaDB",
        }
    }

    pub fn port(self) -> u16 {
        match self {
            Product::Postgresql => 5432,
            Product::Mariadb => 3306,
        }
    }

    fn user(self) -> &'static str {
        match self {
            Product::Postgresql => "postgres",
            Product::Mariadb => "mysql",
        }
    }

    pub fn installed(self) -> Outcome {
        let (there, cure) = match self {
            Product::Postgresql => (postgresql_programs().is_some() && found("psql"), "apt install postgresql"),
            Product::Mariadb => (found("mariadbd") && found("mariadb-install-db") && found("mariadb"), "apt install mariadb-server"),
        };
        if there { Ok(()) } else { Err(hosts::missing(&format!("{} is not installed", self.title()), cure)) }
    }

    /// What the template is told.
    pub fn values(self, places: &Places) -> Values {
        let data = places.data.display().to_string();
        let pairs: Vec<(&str, String)> = match self {
            Product::Postgresql => vec![("data_directory", data), ("unit", "none".into())],
            Product::Mariadb => vec![
                ("data_directory", data),
                ("unit", "none".into()),
                ("options", "--bind-address=0.0.0.0 --skip-name-resolve --skip-log-bin".into()),
            ],
        };
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// A command line client that reads statements from its input, or runs `statement`.
    pub fn client(self, statement: Option<&str>) -> Command {
        let mut command = match self {
            Product::Postgresql => {
                let mut command = Command::new("psql");
                let to = format!("host={} port={} user=postgres dbname=postgres connect_timeout=2", wires::VIRTUAL, self.port());
                command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", &to]).env("PGPASSWORD", PASSWORD);
                command.args(statement.iter().flat_map(|text| ["-c", *text]));
                command
            }
            Product::Mariadb => {
                let mut command = Command::new("mariadb");
                let (host, port) = (format!("--host={}", wires::VIRTUAL), format!("--port={}", self.port()));
                let user = ["--user=demo", "--password=demo", "--database=demo"];
                command.args(["--no-defaults", &host, &port]).args(user).args(["--batch", "-N", "-n", "--connect-timeout=1"]);
                command.args(statement.iter().flat_map(|text| ["-e", *text]));
                command
            }
        };
        command.stderr(Stdio::null());
        command
    }

    /// One transaction of a client; its answer is one line, `done N`.
    pub fn transaction(self, worker: u32, n: u64) -> String {
        let insert = format!("INSERT INTO ledger VALUES ({worker}, {n}, 'w{worker}-{n}')");
        match self {
            Product::Postgresql => format!("{insert} RETURNING 'done ' || n;\n"),
            Product::Mariadb => format!("{insert}; SELECT 'done {n}';\n"),
        }
    }

    /// Which host serves; one line.
    pub fn who(self) -> &'static str {
        match self {
            Product::Postgresql => "SELECT 'host ' || trim(pg_read_file('/proc/sys/kernel/hostname'), E' \\n');\n",
            Product::Mariadb => "SELECT CONCAT('host ', @@hostname);\n",
        }
    }
}

fn found(program: &str) -> bool {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    places.iter().any(|place| Path::new(place).join(program).exists())
}

/// The newest version that is installed.
fn postgresql_programs() -> Option<PathBuf> {
    let all = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut versions: Vec<(u32, PathBuf)> = all
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort_unstable();
    versions.pop().map(|(_, bin)| bin)
}

fn done(output: std::io::Result<Output>, what: &'static str) -> Result<String, Failure> {
    let output = output.map_err(failed(what))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why =
        String::from_utf8_lossy(&output.stderr).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    Err(Failure::new(FailureKind::Failed, what, why, "see that the package is complete"))
}

/// A new database in the first node's directory, on the plain disk.
pub fn create(stage: &Stage, product: Product) -> Outcome {
    let (host, data) = (&stage.nodes[0].host, &stage.places.data);
    for node in &stage.nodes {
        done(node.host.command("chown").arg(product.user()).arg(data).output(), "cannot prepare a data directory")?;
        done(node.host.command("chmod").arg("0700").arg(data).output(), "cannot prepare a data directory")?;
    }
    match product {
        Product::Postgresql => {
            let bin = postgresql_programs().unwrap_or_default();
            let secret = stage.path("password");
            fs::write(&secret, PASSWORD).map_err(failed("cannot write a password"))?;
            let mut command = host.command("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(bin.join("initdb"));
            command.args(["-A", "trust", "--locale=C.UTF-8", "--no-sync"]).arg("-D").arg(data);
            done(command.output(), "cannot create a PostgreSQL database")?;
            let settings = "listen_addresses = '*'\nshared_buffers = 32MB\nunix_socket_directories = '/run'\n";
            append(stage, "postgresql.conf", &settings.replace("'/run'", "'/run/postgresql'"))?;
            append(stage, "pg_hba.conf", "host all all 10.99.2.0/24 trust\n")?;
            let script = stage.path("create.sql");
            fs::write(&script, format!("{TABLE};\n")).map_err(failed("cannot write a script"))?;
            let mut command = host.command("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(bin.join("postgres"));
            command.args(["--single", "-D"]).arg(data).arg("postgres");
            command.stdin(fs::File::open(&script).map_err(failed("cannot read a script"))?);
            done(command.output(), "cannot create a table")?;
        }
        Product::Mariadb => {
            let mut command = host.command("mariadb-install-db");
            command.args(["--no-defaults", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=normal"]);
            command.arg(format!("--datadir={}", data.display()));
            done(command.output(), "cannot create a MariaDB database")?;
            let script = stage.path("create.sql");
            let user = "CREATE USER demo@'10.99.2.%' IDENTIFIED BY 'demo'";
            let text = format!(
                "CREATE DATABASE demo;\nUSE demo;\n{TABLE} ENGINE=InnoDB;\nUSE mysql;\nFLUSH PRIVILEGES;\n{user};\nGRANT ALL ON demo.* TO demo@'10.99.2.%';\n"
            );
            fs::write(&script, text).map_err(failed("cannot write a script"))?;
            let mut command = host.command("mariadbd");
            command.args(["--no-defaults", "--user=mysql", "--bootstrap"]).arg(format!("--datadir={}", data.display()));
            command.stdin(fs::File::open(&script).map_err(failed("cannot read a script"))?);
            done(command.output(), "cannot create a table")?;
        }
    }
    Ok(())
}

/// To a file of the first node, which only that host sees.
fn append(stage: &Stage, file: &str, text: &str) -> Outcome {
    let addition = stage.path("addition");
    fs::write(&addition, text).map_err(failed("cannot write a configuration"))?;
    let mut command = stage.nodes[0].host.command("sh");
    command.args(["-c", "cat \"$1\" >> \"$2\"", "sh"]).arg(&addition).arg(stage.places.data.join(file));
    done(command.output(), "cannot write a configuration").map(drop)
}

/// Every row of the table, as a client reads it through the virtual address.
pub fn rows(stage: &Stage, product: Product) -> Result<BTreeSet<(u32, u64)>, Failure> {
    let client = product.client(Some("SELECT worker, n FROM ledger"));
    let mut command = stage.outside.command(client.get_program());
    command.args(client.get_args());
    for (name, value) in client.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let text = done(command.output(), "cannot read the table")?;
    let row = |line: &str| {
        let mut words = line.split(['|', '\t']);
        Some((words.next()?.trim().parse().ok()?, words.next()?.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(row).collect())
}
