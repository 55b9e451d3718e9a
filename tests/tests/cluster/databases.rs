//! Databases made from the ready modules, beneath real daemons: the primary host dies at a random moment under load, again and
//! again; every acknowledged transaction is there, the database's own examination finds nothing, and a swap loses nothing either.
//!
//! Set up as the README tells a newcomer to: `init`, a module from its template, `config check`, the folder copied, `start`, `promote`.
//!
//! One round here; `UNDERSTUDY_ROUNDS=10` by hand, where every third dies with a gigabyte that nobody flushed.

use serde_json::{Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::cluster::{Node, Setup, Site};
use tests::engine::wait_for;
use tests::hosts::Host;
use tests::lab::scenario;
use tests::rng::{Rng, seed};
use tests::sql::{COUNT, Clients, TABLE, must_hold};

/// For a whole round: a start after a crash, a first copy, an examination, on a busy machine.
const ROUND: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(90);
const CLIENTS: u32 = 4;

/// A database, and how it is used from outside.
struct Product {
    template: &'static str,
    user: &'static str,
    /// Settings of the module, besides those that every mirror has; the directory is known.
    settings: fn(&Path) -> Vec<String>,
    /// Makes an empty database that clients of other hosts may use.
    initialise: fn(&Host, &Path),
    /// A shell on that host that reads statements and ends at the first error.
    shell: fn(&Host, Ipv4Addr) -> Command,
    echo: fn(u32) -> String,
    /// The shell's word before a statement.
    one: &'static str,
    /// The database's own examination of itself, from outside.
    examine: fn(&Host, Ipv4Addr),
    /// Writes a gigabyte.
    heavy: &'static str,
}

fn postgresql() -> Product {
    Product {
        template: "postgresql",
        user: "postgres",
        settings: |dir| {
            let words = "-c listen_addresses=* -c unix_socket_directories=/run -c shared_buffers=64MB -c max_wal_size=2GB";
            vec![format!("data_directory={}", dir.display()), format!("options={words}")]
        },
        initialise: |host, dir| {
            let initdb = glob("/usr/lib/postgresql", "bin/initdb");
            let place = dir.display().to_string();
            let user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"];
            host.run(user.into_iter().chain([initdb.as_str(), "-D", &place, "--data-checksums", "-A", "trust", "--no-instructions"]));
            let rules = host.view(&dir.join("pg_hba.conf"));
            fs::write(&rules, fs::read_to_string(&rules).expect("read a file") + "host all all 10.77.0.0/16 trust\n")
                .expect("write a file");
        },
        shell: |host, address| {
            let mut shell = host.command("psql");
            shell
                .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h"])
                .arg(address.to_string());
            shell.env("PGCONNECT_TIMEOUT", "2").stderr(Stdio::null());
            shell
        },
        echo: |n| format!("\\echo {n}"),
        one: "-c",
        examine: |host, address| {
            let examine = glob("/usr/lib/postgresql", "bin/pg_amcheck");
            let address = address.to_string();
            host.run([&examine, "-h", &address, "-U", "postgres", "--all", "--install-missing", "--heapallindexed"].map(|word: &str| word));
        },
        heavy: "DROP TABLE IF EXISTS heavy; CREATE TABLE heavy AS SELECT n, repeat(md5(n::text), 32) AS filler FROM generate_series(1, 1000000) n;",
    }
}

fn mariadb() -> Product {
    Product {
        template: "mariadb",
        user: "mysql",
        settings: |dir| {
            let words =
                "--bind-address=0.0.0.0 --tmpdir=/run --innodb-buffer-pool-size=64M --innodb-log-file-size=256M --log-error=/run/error.log";
            vec![format!("data_directory={}", dir.display()), "socket=/run/mysqld.sock".to_owned(), format!("options={words}")]
        },
        initialise: |host, dir| {
            let place = format!("--datadir={}", dir.display());
            let words = ["env", "TMPDIR=/run", "mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db"];
            host.run(words.into_iter().chain(["--auth-root-authentication-method=normal", &place]));
            let grant = "FLUSH PRIVILEGES;\nCREATE DATABASE work;\nCREATE USER 'clients'@'%';\nGRANT ALL ON *.* TO 'clients'@'%';";
            let words = format!("echo \"{grant}\" | mariadbd --no-defaults --user=mysql --bootstrap --tmpdir=/run {place} 2>&1");
            host.run(["sh", "-c", &words]);
        },
        shell: |host, address| {
            let mut shell = host.command("mariadb");
            shell.args(["--no-defaults", "--user=clients", "--batch", "--skip-column-names", "--unbuffered", "--connect-timeout=2"]);
            shell.arg(format!("--host={address}")).arg("work").stderr(Stdio::null());
            shell
        },
        echo: |n| format!("SELECT {n};"),
        one: "-e",
        examine: |host, address| {
            let words = ["mariadb-check", "--no-defaults", "--user=clients", "--extended", "--all-databases"];
            let told = host.run(words.into_iter().map(str::to_owned).chain([format!("--host={address}")]));
            assert!(told.lines().all(|line| line.trim_end().ends_with("OK")), "{told}");
        },
        heavy: "DROP TABLE IF EXISTS heavy; CREATE TABLE heavy ENGINE=InnoDB AS SELECT seq, REPEAT(MD5(seq), 32) AS filler FROM seq_1_to_1000000;",
    }
}

/// The newest version's program.
fn glob(place: &str, program: &str) -> String {
    let versions = fs::read_dir(place).expect("the database is missing: run tests/setup");
    let mut found: Vec<_> = versions.flatten().map(|entry| entry.path().join(program)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().expect("the program is missing: run tests/setup").display().to_string()
}

struct Proof<'a> {
    site: Site,
    product: &'a Product,
    dir: std::path::PathBuf,
    address: Ipv4Addr,
}

impl Proof<'_> {
    /// What a boot of the host brings: places of its own.
    fn prepare(&self, which: usize) {
        let host = &self.site.nodes[which].host;
        host.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/run"]);
        host.run([Path::new("mount"), Path::new("--bind"), &host.dir.join("db"), &self.dir]);
    }

    fn set_up(&mut self) {
        let [first, second] = &self.site.nodes;
        let configs = [first, second].map(|node| node.host.dir.join("config"));
        let quorum = fs::read_to_string(configs[0].join("cluster.toml")).expect("read a file");
        let quorum = quorum[quorum.find("[quorum]").expect("a witness")..].to_owned();
        configs.iter().for_each(|config| fs::remove_dir_all(config).expect("remove"));
        let named = [0, 1].map(|which: u8| format!("{}={}", self.site.nodes[usize::from(which)].name, self.site.address(which + 1)));
        first.operate(["init", "--name", "demo", "--node", &named[0], "--node", &named[1]]);
        let file = configs[0].join("cluster.toml");
        fs::write(&file, fs::read_to_string(&file).expect("read a file") + "\n" + &quorum).expect("write a file");
        self.make_module(first);
        first.operate(["config", "check"]);
        second.host.run([Path::new("cp"), Path::new("-a"), &configs[0], &configs[1]]);
        self.site.nodes.iter_mut().for_each(Node::start_daemon);
        self.site.nodes[0].operate(["start", "db", "--no-wait"]);
        self.site.nodes[0].operate(["promote", "db", "--accept", "first"]);
    }

    fn make_module(&self, node: &Node) {
        let mut settings = vec!["nodes=a,b".to_owned(), format!("address={}/24", self.address), "unit=none".to_owned()];
        settings.extend((self.product.settings)(&self.dir));
        let mut words = vec!["module".to_owned(), "create".into(), "db".into(), "--from".into(), self.product.template.into()];
        settings.into_iter().for_each(|setting| words.extend(["--set".into(), setting]));
        node.operate(words);
    }

    fn shown(&self, which: usize) -> Value {
        self.site.nodes[which].ask("status", &json!({ "module": "db" })).map_or(Value::Null, |status| status["modules"][0].clone())
    }

    fn wait_roles(&self, leader: usize) {
        let right = || {
            let phases = [leader, 1 - leader].map(|which| self.shown(which)["phase"].clone());
            let able = self.shown(leader)["can_fail_over"]["now"] == true;
            (phases == ["Prim", "Second"] && able).then_some(())
        };
        assert!(wait_for(SOON, right).is_some(), "{:#}, {:#}", self.shown(0), self.shown(1));
    }

    fn shell(&self) -> Command {
        (self.product.shell)(&self.site.hub, self.address)
    }

    fn try_sql(&self, statement: &str) -> Option<String> {
        let mut shell = self.shell();
        shell.args([self.product.one, statement]);
        let output = shell.stdin(Stdio::null()).output().expect("run a shell");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|| panic!("refused: {statement}"))
    }

    /// From now until the database answers.
    fn until_served(&self) -> Duration {
        let begin = Instant::now();
        assert!(wait_for(SOON, || self.try_sql("SELECT 1")).is_some(), "nobody serves: {:#}, {:#}", self.shown(0), self.shown(1));
        begin.elapsed()
    }

    fn clients(&self, rng: &mut Rng) -> Clients {
        self.sql(&format!("DROP TABLE IF EXISTS ledger; {TABLE}"));
        let clients = Clients::start(CLIENTS, || self.shell(), self.product.echo);
        clients.wait_acknowledged(200 + rng.below(1500) as u32, SOON);
        clients
    }

    /// The host of `leader` dies under load and comes back.
    fn host_dies(&mut self, leader: usize, heavy: bool, rng: &mut Rng) {
        let clients = self.clients(rng);
        if heavy {
            self.sql(self.product.heavy);
        }
        self.site.power_off(leader);
        let outage = self.until_served();
        must_hold(&self.sql(COUNT), &clients.after_crash());
        eprintln!("{}: served again after {:.2} s, heavy: {heavy}", self.product.template, outage.as_secs_f64());
        (self.product.examine)(&self.site.hub, self.address);
        let config = self.site.nodes[leader].host.dir.join("config");
        let kept = config.with_extension("kept");
        fs::rename(&config, &kept).expect("rename");
        self.site.boot(leader);
        fs::remove_dir_all(&config).expect("remove");
        fs::rename(&kept, &config).expect("rename");
        self.prepare(leader);
        self.site.nodes[leader].start_daemon();
        self.wait_roles(1 - leader);
    }

    fn swap(&self, leader: usize, rng: &mut Rng) {
        let clients = self.clients(rng);
        self.site.nodes[leader].operate(["swap", "db", "--no-wait"]);
        let acknowledged = clients.after_loss();
        let outage = self.until_served();
        eprintln!("{}: swapped, served again after {:.2} s", self.product.template, outage.as_secs_f64());
        must_hold(&self.sql(COUNT), &acknowledged);
        self.wait_roles(1 - leader);
    }
}

fn prove(name: &'static str, product: Product) {
    let rounds: u32 = std::env::var("UNDERSTUDY_ROUNDS").map_or(1, |text| text.parse().expect("UNDERSTUDY_ROUNDS is a number"));
    scenario(name, ROUND * (rounds + 1), move |lab| {
        let site = Site::prepare(lab, Setup { witness: true, ..Setup::default() });
        let dir = lab.dir.join("db");
        fs::create_dir_all(&dir).expect("create a directory");
        let address = site.address(101);
        let mut proof = Proof { site, product: &product, dir, address };
        for which in 0..2 {
            let host = &proof.site.nodes[which].host;
            host.run(["install", "-d", "-m", "700", "-o", product.user, host.dir.join("db").to_str().expect("a plain name")]);
            proof.prepare(which);
        }
        (product.initialise)(&proof.site.nodes[0].host, &proof.dir);
        proof.set_up();
        proof.wait_roles(0);
        proof.until_served();
        let mut rng = Rng::new(seed(name));
        let mut leader = 0;
        for round in 0..rounds {
            proof.host_dies(leader, round % 3 == 2, &mut rng);
            leader = 1 - leader;
        }
        proof.swap(leader, &mut rng);
        // Equal, and no difference is exit code 0.
        proof.site.nodes[1 - leader].operate(["verify", "db"]);
        proof.site.nodes[0].operate(["stop", "db"]);
    });
}

#[test]
fn postgresql_loses_nothing() {
    prove("c-postgresql", postgresql());
}

#[test]
fn mariadb_loses_nothing() {
    prove("c-mariadb", mariadb());
}
