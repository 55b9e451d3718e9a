//! A farm beneath the daemon, made from a ready module: real nginx on both nodes, one address, each client served by whom the
//! share function names; a server is taken out by a command, as its own scripts may, and dies.

use crate::LIMIT;
use serde_json::json;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use tests::cluster::{Node, SOON, Setup, Site};
use tests::engine::wait_for;
use tests::lab::{Lab, scenario};

const PORT: u16 = 8080;
/// Clients that are asked for at a time.
const CLIENTS: u16 = 24;

/// Every client has a port of its own, never one that was used before: that would be busy for a minute.
fn ports() -> std::ops::Range<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    let first = NEXT.fetch_add(CLIENTS, SeqCst);
    first..first + CLIENTS
}

fn configuration(lab: &Lab) -> String {
    let file = lab.dir.join("nginx.conf");
    let text = format!(
        "pid /run/nginx.pid;\nerror_log /run/nginx-error.log;\nworker_processes 1;\nevents {{ }}\nhttp {{\n access_log off;\n\
         client_body_temp_path /run/t1; proxy_temp_path /run/t2; fastcgi_temp_path /run/t3; uwsgi_temp_path /run/t4; scgi_temp_path /run/t5;\n\
         server {{ listen {PORT}; location / {{ return 200 $hostname; }} }}\n}}\n"
    );
    fs::write(&file, text).expect("write a file");
    file.display().to_string()
}

fn make_module(node: &Node, address: Ipv4Addr, file: &str) {
    // The distribution's places are common to all hosts of a test.
    node.host.run(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    let settings = [
        "nodes=a,b".to_owned(),
        format!("address={address}/24"),
        format!("port={PORT}"),
        "affinity=client-port".to_owned(),
        format!("config_file={file}"),
        format!("check_url=http://127.0.0.1:{PORT}/"),
        "unit=none".to_owned(),
    ];
    let mut words = vec!["module", "create", "web", "--from", "nginx"];
    settings.iter().for_each(|setting| words.extend(["--set", setting]));
    node.operate(words);
}

/// A farm of nginx on both nodes, and its address.
fn farm(lab: &std::sync::Arc<Lab>) -> (Site, Ipv4Addr) {
    let mut site = Site::prepare(lab, Setup::default());
    let address = site.address(101);
    let file = configuration(lab);
    for node in &mut site.nodes {
        make_module(node, address, &file);
        node.start_daemon();
    }
    for node in &site.nodes {
        node.ask("start", &json!({ "module": "web", "node": node.name })).expect("it is carried out");
    }
    (site, address)
}

/// Who serves each new client: the node's name, empty where nobody answered; and whose it is by the share function.
fn served(site: &Site, address: Ipv4Addr, asked: usize) -> Vec<(String, String)> {
    let hub = site.address(9);
    let ask = |port: u16| {
        let words = format!("curl --silent --max-time 2 --local-port {port} http://{address}:{PORT}/; true");
        let host = site.hub.run(["sh", "-c", &words]);
        let told = site.nodes[asked].operate(["farm", "whose", format!("{hub}:{port}").as_str(), "web", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        (host.rsplit('-').next().unwrap_or_default().trim().to_owned(), told["rules"][0]["server"].as_str().unwrap_or_default().to_owned())
    };
    ports().map(ask).collect()
}

type Fits<'a> = &'a dyn Fn(&[(String, String)]) -> bool;

fn until(site: &Site, address: Ipv4Addr, asked: usize, what: &str, fits: Fits<'_>) {
    let mut last = Vec::new();
    let found = wait_for(SOON, || {
        last = served(site, address, asked);
        fits(&last).then_some(())
    });
    assert!(found.is_some(), "not {what}: {last:?}");
}

/// All clients are where the share function says, and both have some.
fn shared(clients: &[(String, String)]) -> bool {
    clients.iter().all(|(by, told)| by == told) && ["a", "b"].iter().all(|name| clients.iter().any(|(by, _)| by == name))
}

fn all_by(name: &'static str) -> impl Fn(&[(String, String)]) -> bool {
    move |clients| clients.iter().all(|(by, told)| by == name && told == name)
}

#[test]
fn nginx_on_two_nodes_shares_one_address() {
    scenario("c-farm", LIMIT, |lab| {
        let (site, address) = farm(lab);
        until(&site, address, 1, "shared", &shared);
        // As a script of the application may say it, on any node.
        site.nodes[0].operate(["drain", "web", "--node", "a"]);
        until(&site, address, 1, "all at b", &all_by("b"));
        site.nodes[0].operate(["undrain", "web", "--node", "a"]);
        until(&site, address, 1, "shared again", &shared);
        site.nodes[0].operate(["stop", "web", "--node", "b"]);
        until(&site, address, 0, "all at a", &all_by("a"));
        site.nodes[0].operate(["start", "web", "--node", "b"]);
        until(&site, address, 1, "shared after a return", &shared);
        let rules = |node: &Node| node.host.run(["nft", "list", "tables"]).matches("understudy_farm_web").count();
        assert!(rules(&site.nodes[0]) > 0);
        site.nodes[0].operate(["stop", "web"]);
        for node in &site.nodes {
            assert!(wait_for(SOON, || (rules(node) == 0).then_some(())).is_some(), "{}: rules are left", node.name);
        }
    });
}

#[test]
fn the_other_server_takes_the_share_of_a_dead_one() {
    scenario("c-farm-dead", LIMIT, |lab| {
        let (mut site, address) = farm(lab);
        until(&site, address, 1, "shared", &shared);
        site.nodes[0].power_off();
        until(&site, address, 1, "all at b", &all_by("b"));
    });
}
