//! Both ports on the loopback, in front of a source that a test sets.

mod bounds;
mod page;
mod protected;
mod public;

use super::figures::Figures;
use super::{Doors, Http, Source, serve};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Modules that serve.
#[derive(Default)]
struct Set(Mutex<BTreeSet<String>>);

impl Source for Set {
    fn serves(&self, module: &str) -> bool {
        self.0.lock().contains(module)
    }

    fn status(&self) -> Result<Value, String> {
        Ok(json!({ "schema": 1, "cluster": "demo" }))
    }

    fn figures(&self) -> Figures {
        Figures { version: "1.2.3".into(), node: "node1".into(), ..Figures::default() }
    }
}

impl Set {
    fn serving(&self, module: &str, serves: bool) {
        let mut modules = self.0.lock();
        if serves {
            modules.insert(module.to_owned());
        } else {
            modules.remove(module);
        }
    }
}

/// The public port.
fn public(doors: &Doors) -> (Http, Arc<Set>, SocketAddr) {
    public_on("127.0.0.1", doors)
}

fn public_on(ip: &str, doors: &Doors) -> (Http, Arc<Set>, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let source = Arc::new(Set::default());
    (serve(vec![listener], None, source.clone(), doors).unwrap(), source, address)
}

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Status line, headers in small letters, body.
fn ask(to: SocketAddr, method: &str, path: &str) -> (String, String, String) {
    let mut client = connect(to);
    write!(client, "{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    whole(client)
}

fn whole(mut client: impl Read) -> (String, String, String) {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    (line.to_owned(), headers.to_lowercase(), body.to_owned())
}
