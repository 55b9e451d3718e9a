//! What must load, and as what.

use super::*;
use crate::NodeId;
use crate::heartbeat::Profile;
use fsrepl::node::options::Ack;
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_contracts_cluster() {
    let folder = Folder::new();
    let cluster = folder.cluster();
    assert_eq!(cluster.name, "demo");
    assert_eq!(cluster.key_file, folder.path().join("cluster.key"));
    assert_eq!(cluster.profile, Profile::LAN);
    assert_eq!(cluster.ports, Ports { heartbeat: 7400, control: 7400, http: 7480 });
    let plain = |address: &str| {
        let address = address.parse().unwrap();
        Network { bind: address, advertise: address, heartbeat: true, replication: true }
    };
    assert_eq!(
        cluster.nodes,
        [
            Node { id: NodeId(0), name: "node1".into(), networks: vec![plain("10.0.0.1"), plain("10.1.0.1")] },
            Node { id: NodeId(1), name: "node2".into(), networks: vec![plain("10.0.0.2"), plain("10.1.0.2")] },
        ]
    );
    let key_file = folder.path().join("witness.key");
    assert_eq!(cluster.quorum, Some(Quorum::Witness { address: "10.0.0.9:7409".parse().unwrap(), key_file }));
    assert_eq!(cluster.fence, None);
    assert_eq!(cluster.notify, Notify::default());
    assert_eq!(cluster.http, Http::default());
    assert_eq!(cluster.digest, blake3::hash(CLUSTER.as_bytes()).to_hex().to_string());
}

#[test]
fn the_contracts_module() {
    let folder = Folder::new();
    folder.module("db", MODULE);
    let module = load_module(folder.path(), "db", &folder.cluster()).unwrap();
    let home = folder.path().join("modules/db");
    assert_eq!((module.name.as_str(), &module.folder, module.kind), ("db", &home, ModuleKind::Mirror));
    assert_eq!((&module.nodes[..], module.preferred), (&[NodeId(0), NodeId(1)][..], Some(NodeId(0))));
    assert_eq!((module.failback, module.boot, module.ack), (false, Boot::Last, Ack::Memory));
    assert_eq!(
        module.replicate,
        [Replicate {
            name: "data".into(),
            directory: "/var/lib/postgresql/15/main".into(),
            exclude: vec!["/postmaster.pid".into(), "/pg_stat_tmp/**".into()],
            require: vec!["PG_VERSION".into()],
        }]
    );
    assert_eq!(
        module.virtual_ips,
        [VirtualIp {
            name: "service".into(),
            address: "10.0.0.100".parse().unwrap(),
            prefix: 24,
            interface: Some("eth0".into()),
            on_loss: LostAddress::Restore,
            reset_connections: true,
            script: None,
        }]
    );
    assert_eq!(
        module.application,
        Some(Application {
            launch: Launch::Scripts { start: home.join("start"), stop: home.join("stop") },
            start_timeout: s(60),
            stop_timeout: s(60),
            max_restarts: 3,
            restart_window: s(86_400),
        })
    );
    assert_eq!(
        module.checks,
        [Check {
            name: "sql".into(),
            kind: CheckKind::Tcp { address: "10.0.0.100:5432".parse().unwrap() },
            timing: Timing { interval: s(5), timeout: s(3), rise: 1, fall: 2, grace: s(0) },
            on_failure: OnFailure::Restart,
        }]
    );
    assert_eq!((module.variables.len(), module.farm), (0, None));
}

#[test]
fn a_cluster_with_everything() {
    let folder = Folder::new();
    folder.write(
        "cluster.toml",
        r#"
schema = 1
name = "c"
key_file = "/etc/keys/c"
profile = "wan"
node = [
    { name = "a", addresses = [{ bind = "192.168.0.1", advertise = "203.0.113.1", roles = ["heartbeat"] }, "fd00::1"] },
    { name = "b", addresses = [{ bind = "203.0.113.2", roles = ["heartbeat"] }, "fd00::2"] },
]
times = { pulse = "500ms", settle = "2m" }
ports = { heartbeat = 7500, http = 8080 }
quorum = { kind = "tiebreaker", address = "192.168.0.254" }
fence = { command = ["fence/ipmi", "--off"], timeout = "10s" }
notify = { command = ["/bin/tell"], webhook = "http://10.0.0.7/hook" }
http = { tls_port = 7443, certificate = "tls.pem", key = "tls.key", token_file = "token" }
"#,
    );
    let cluster = folder.cluster();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(cluster.profile, Profile { pulse: Duration::from_millis(500), settle: s(120), ..Profile::WAN });
    assert_eq!(cluster.ports, Ports { heartbeat: 7500, control: 7400, http: 8080 });
    assert_eq!(cluster.quorum, Some(Quorum::Tiebreaker { address: "192.168.0.254".parse().unwrap() }));
    let command = vec![at("fence/ipmi").display().to_string(), "--off".into()];
    assert_eq!(cluster.fence, Some(Fence { command, timeout: s(10) }));
    assert_eq!(cluster.notify.webhook.as_deref(), Some("http://10.0.0.7/hook"));
    assert_eq!(cluster.notify.command.as_deref(), Some(&["/bin/tell".to_owned()][..]));
    assert_eq!(cluster.http.tls, Some(Tls { port: 7443, certificate: at("tls.pem"), key: at("tls.key"), token_file: at("token") }));
    let first = &cluster.nodes[0].networks[0];
    assert_eq!((first.bind.to_string(), first.advertise.to_string()), ("192.168.0.1".into(), "203.0.113.1".into()));
    assert_eq!((first.heartbeat, first.replication), (true, false));
    assert_eq!(cluster.nodes[1].networks[0].advertise.to_string(), "203.0.113.2");
}

const THREE: &str = r#"
schema = 1
name = "three"
key_file = "k"
[[node]]
name = "n1"
addresses = ["10.0.0.1"]
[[node]]
name = "n2"
addresses = ["10.0.0.2"]
[[node]]
name = "n3"
addresses = ["10.0.0.3"]
"#;

#[test]
fn a_farm() {
    let folder = Folder::new();
    folder.write("cluster.toml", THREE);
    folder.module(
        "web",
        r#"
schema = 1
kind = "farm"
nodes = ["n1", "n2", "n3"]
[[virtual_ip]]
address = "fd00::64/64"
[[load_balancing]]
name = "web"
protocol = "tcp"
port = 80
affinity = "client-ip"
[[load_balancing]]
protocol = "udp"
port = 80
affinity = "client-port"
[farm]
weights = { n3 = 0, n1 = 2 }
lost_after = "2s"
[application]
run = ["/usr/sbin/nginx", "-g", "daemon off;"]
"#,
    );
    let module = load_module(folder.path(), "web", &folder.cluster()).unwrap();
    let farm = module.farm.unwrap();
    assert_eq!((farm.weights, farm.priorities, farm.lost_after), (vec![2, 1, 0], None, s(2)));
    assert_eq!(farm.balance[0], Balance { name: "web".into(), protocol: Protocol::Tcp, port: 80, affinity: Affinity::ClientIp });
    assert_eq!(farm.balance[1].affinity, Affinity::ClientPort);
    let run = ["/usr/sbin/nginx", "-g", "daemon off;"].map(str::to_owned).to_vec();
    assert_eq!(module.application.unwrap().launch, Launch::Run(run));
}

#[test]
fn a_farm_behind_a_load_balancer_and_a_chain() {
    let folder = Folder::new();
    folder.write("cluster.toml", THREE);
    folder.module("plain", "schema = 1\nkind = \"farm\"\nnodes = [\"n1\", \"n2\"]\n");
    let plain = load_module(folder.path(), "plain", &folder.cluster()).unwrap();
    assert_eq!(plain.farm.unwrap().balance, []);
    folder.module(
        "chain",
        "schema = 1\nkind = \"farm\"\nnodes = [\"n3\", \"n1\"]\nvirtual_ip = [{ address = \"10.0.0.9/24\" }]\n[farm.priorities]\nn1 = 1\nn3 = 5\n",
    );
    let chain = load_module(folder.path(), "chain", &folder.cluster()).unwrap();
    assert_eq!(chain.farm.unwrap().priorities, Some(vec![5, 1]));
}

#[test]
fn an_address_may_be_a_scripts_business() {
    let folder = Folder::new();
    folder.module("m", &MODULE.replace("interface = \"eth0\" ", "script = \"start\"\nscript_timeout = \"5s\" "));
    let module = load_module(folder.path(), "m", &folder.cluster()).unwrap();
    let script = module.virtual_ips[0].script.clone().unwrap();
    assert_eq!((script.file, script.timeout), (module.folder.join("start"), Duration::from_secs(5)));
}

#[test]
fn every_kind_of_check() {
    let folder = Folder::new();
    folder.module("db", MODULE);
    folder.script("modules/app/look/deep");
    folder.module(
        "app",
        r#"
schema = 1
kind = "service"
nodes = ["node1"]
boot = "on"
depends_on = ["db"]
[application]
unit = "app@1.service"
max_restarts = 0
[variables]
PORT = "8080"
[[check]]
kind = "ping"
address = "10.0.0.254"
interval = "1s"
[[check]]
kind = "interface"
interface = "eth0"
on_failure = "wait"
[[check]]
kind = "process"
process = "app"
count = 2
grace = "10s"
[[check]]
kind = "http"
url = "http://127.0.0.1:8080/health"
status = 204
contains = "fine"
[[check]]
kind = "unit"
unit = "app@1.service"
[[check]]
kind = "script"
script = "look/deep"
[[check]]
kind = "module"
module = "db"
on_failure = "stop"
"#,
    );
    let module = load_module(folder.path(), "app", &folder.cluster()).unwrap();
    let kinds: Vec<&CheckKind> = module.checks.iter().map(|check| &check.kind).collect();
    assert_eq!(module.checks[0].timing.timeout, s(1), "no longer than the interval");
    assert_eq!(kinds[0], &CheckKind::Ping { address: "10.0.0.254".parse().unwrap() });
    assert_eq!(kinds[1], &CheckKind::Interface { interface: "eth0".into() });
    assert_eq!(kinds[2], &CheckKind::Process { process: "app".into(), count: 2 });
    let url = "http://127.0.0.1:8080/health".into();
    assert_eq!(kinds[3], &CheckKind::Http { url, status: Some(204), contains: Some("fine".into()) });
    assert_eq!(kinds[4], &CheckKind::Unit { unit: "app@1.service".into() });
    assert_eq!(kinds[5], &CheckKind::Script { script: folder.path().join("modules/app/look/deep") });
    assert_eq!(kinds[6], &CheckKind::Module { module: "db".into() });
    assert_eq!(module.variables["PORT"], "8080");
    assert_eq!(module.depends_on, ["db"]);
}

#[test]
fn a_mirrors_own_keys() {
    let folder = Folder::new();
    folder.module(
        "m",
        "schema = 1\nkind = \"mirror\"\nnodes = [\"node2\", \"node1\"]\nack = \"disk\"\nresync_max_rate = \"100MiB/s\"\nkeep_budget = \"2GiB\"\nlow_latency = true\n\
         start_after_power_cut = true\nfailback = true\npreferred_node = \"node2\"\n[[replicate]]\ndirectory = \"/srv//a b/\"\n",
    );
    let module = load_module(folder.path(), "m", &folder.cluster()).unwrap();
    assert_eq!((module.ack, module.resync_max_rate, module.keep_budget), (Ack::Disk, Some(100 << 20), Some(2 << 30)));
    assert!(module.low_latency && module.start_after_power_cut && module.failback);
    assert_eq!((module.replicate[0].name.as_str(), module.replicate[0].directory.as_os_str()), ("a b", "/srv/a b".as_ref()));
    assert_eq!(module.nodes, [NodeId(1), NodeId(0)]);
}

#[test]
fn all_of_a_directory() {
    let folder = Folder::new();
    folder.module("b", MODULE);
    folder.module("a", "schema = 2\n");
    folder.write("modules/.git/x", "");
    folder.write("modules/README", "");
    let (cluster, modules) = load_all(folder.path()).unwrap();
    assert_eq!(cluster.name, "demo");
    let names: Vec<(&str, bool)> = modules.iter().map(|(name, module)| (name.as_str(), module.is_ok())).collect();
    assert_eq!(names, [("a", false), ("b", true)]);
    std::fs::remove_dir_all(folder.path().join("modules")).unwrap();
    assert_eq!(load_all(folder.path()).unwrap().1.len(), 0);
}

#[test]
fn the_digest_of_a_folder_is_what_it_does() {
    let folder = Folder::new();
    let other = Folder::new();
    for folder in [&folder, &other] {
        folder.module("db", MODULE);
        folder.script("modules/db/lib/part");
    }
    let digest = |folder: &Folder| load::folder_digest(&folder.path().join("modules/db")).unwrap();
    let before = digest(&folder);
    assert_eq!(before, digest(&other));
    other.write("modules/db/.start.swp", "");
    other.write("modules/db/start~", "");
    assert_eq!(before, digest(&other), "what an editor leaves behind");
    std::fs::rename(other.path().join("modules/db/lib/part"), other.path().join("modules/db/lib/port")).unwrap();
    assert_ne!(before, digest(&other), "a name");
    folder.write("modules/db/lib/part", "#!/bin/bash\n");
    assert_ne!(before, digest(&folder), "content");
    folder.script("modules/db/lib/part");
    assert_eq!(before, digest(&folder));
    let part = folder.path().join("modules/db/lib/part");
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_ne!(before, digest(&folder), "the executable bit");
    std::os::unix::fs::symlink("part", folder.path().join("modules/db/link")).unwrap();
    let told = load::folder_digest(&folder.path().join("modules/db")).unwrap_err();
    assert!(told.contains("modules/db/link"), "{told}");
}
