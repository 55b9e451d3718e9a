//! The applications that the demo can run: how each becomes a module, how its clients work, how its data are compared.

use super::check::{self, Findings};
use super::node::Places;
use super::sql::{self, Product};
use super::stage::Stage;
use super::{acknowledged, answer, failed, wires};
use crate::args::DemoApp;
use cluster::templates::{self, Rendered, Values};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use std::fs;
use std::process::Command;

/// Clients of the application at once.
pub const WORKERS: u32 = 4;
/// Where the ledger application listens.
const LEDGER_PORT: u16 = 7000;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    Ledger,
    Sql(Product),
}

impl App {
    pub fn of(word: DemoApp) -> App {
        match word {
            DemoApp::Ledger => App::Ledger,
            DemoApp::Postgresql => App::Sql(Product::Postgresql),
            DemoApp::Mariadb => App::Sql(Product::Mariadb),
        }
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            App::Ledger => "a ledger application",
            App::Sql(product) => product.title(),
        }
    }

    /// What is acknowledged.
    pub fn unit(self) -> &'static str {
        if self == App::Ledger { "operations" } else { "transactions" }
    }

    /// Its programs are on this machine.
    pub fn installed(self) -> Outcome {
        match self {
            App::Ledger => Ok(()),
            App::Sql(product) => product.installed(),
        }
    }

    /// Data that are there before the module's first start.
    pub fn prepare(self, stage: &Stage) -> Outcome {
        match self {
            App::Ledger => Ok(()),
            App::Sql(product) => sql::create(stage, product),
        }
    }

    /// The module's folder.
    pub fn files(self, places: &Places) -> Result<Vec<Rendered>, Failure> {
        match self {
            App::Ledger => Ok(vec![Rendered { path: "module.toml".into(), bytes: ledger_module(places).into_bytes(), executable: false }]),
            App::Sql(product) => render(product, places),
        }
    }

    /// Its clients, in the host outside.
    pub fn client(self, stage: &Stage) -> Command {
        let workers = WORKERS.to_string();
        match self {
            App::Ledger => {
                let mut command = stage.part(&stage.outside, "client");
                command.args([&format!("{}:{LEDGER_PORT}", wires::VIRTUAL), "--workers", &workers]);
                command
            }
            App::Sql(product) => {
                let mut command = stage.part(&stage.outside, "sql-client");
                command.args([product.word(), &format!("{}:{}", wires::VIRTUAL, product.port()), "--workers", &workers]);
                command
            }
        }
    }

    /// Compares what node `at` has with everything acknowledged on connections that are over.
    pub fn findings(self, stage: &Stage, at: usize) -> Result<Findings, Failure> {
        let cannot = failed("cannot read the record of acknowledgements");
        let record = fs::read_to_string(stage.path("record")).map_err(cannot)?;
        let over = stage.path("record.over");
        fs::write(&over, acknowledged::over(&record)).map_err(cannot)?;
        match self {
            App::Ledger => {
                let mut command = stage.part(&stage.nodes[at].host, "check");
                command.arg(stage.places.data.join("ledger")).arg("--acknowledged").arg(&over);
                answer(&mut command, "cannot read the replica")
            }
            App::Sql(product) => {
                let there = sql::rows(stage, product)?;
                let mut findings = Findings::default();
                check::rows(&acknowledged::over(&record), &there, &mut findings)
                    .map_err(failed("cannot understand the record of acknowledgements"))?;
                Ok(findings)
            }
        }
    }
}

fn ledger_module(places: &Places) -> String {
    let listen = format!("{}:{LEDGER_PORT}", wires::VIRTUAL);
    let ledger = places.data.join("ledger");
    format!(
        "schema = 1\nkind = \"mirror\"\nnodes = [\"node1\", \"node2\"]\n\n[[replicate]]\ndirectory = {:?}\n\n\
         [[virtual_ip]]\naddress = \"{}/24\"\n\n[application]\nrun = [{:?}, \"demo-part\", \"serve\", {:?}, \"--listen\", \"{listen}\"]\n\
         stop_timeout = \"5s\"\n",
        places.data,
        wires::VIRTUAL,
        places.exe,
        ledger
    )
}

/// The template of `modules/`, as `understudy module create` fills it.
fn render(product: Product, places: &Places) -> Result<Vec<Rendered>, Failure> {
    let cannot = |why: String| Failure::new(FailureKind::Failed, "cannot make the module", why, "report this");
    let template = templates::find(product.word()).map_err(|why| cannot(why.to_string()))?;
    let mut values: Values = product.values(places);
    values.insert("address".into(), format!("{}/24", wires::VIRTUAL));
    let mut files = templates::render(template, &values).map_err(|why| cannot(why.to_string()))?;
    for file in files.iter_mut().filter(|file| file.path == "module.toml") {
        // The machine's own log directory is shared by all hosts of the demo.
        file.bytes.extend_from_slice(b"APP_LOG = \"/run/understudy-apps/server.log\"\n");
    }
    Ok(files)
}
