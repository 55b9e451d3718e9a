//! What must be refused, in the words the operator reads.

use super::*;

/// What is said about a `cluster.toml`.
fn cluster(text: &str) -> Vec<String> {
    let folder = Folder::new();
    folder.write("cluster.toml", text);
    folder.told(load_cluster(folder.path()))
}

/// What is said about a module of the contract's cluster.
fn module(text: &str) -> Vec<String> {
    let folder = Folder::new();
    folder.module("m", text);
    let cluster = folder.cluster();
    folder.told(load_module(folder.path(), "m", &cluster)).iter().map(|line| line.replace("modules/m/", "")).collect()
}

/// The contract's module with one line replaced.
fn changed(line: &str, by: &str) -> Vec<String> {
    assert!(MODULE.contains(line), "{line}");
    module(&MODULE.replace(line, by))
}

#[test]
fn all_mistakes_of_a_cluster_at_once() {
    let told = cluster(
        r#"schema = 2
name = "my cluster"
profile = "lann"
[times]
pulse = "1"
degrade = 5
[[node]]
name = "a"
adresses = ["10.0.0.1"]
[[node]]
name = "b"
addresses = ["10.0.0.300", "0.0.0.0"]
colour = "red"
[ports]
http = 70000
[http]
tls_port = 443
[fence]
command = []
timeout = "0s"
[notify]
webhook = "https://example.org/"
"#,
    );
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn syntax_is_told_with_its_line() {
    let told = cluster("schema = 1\nname = \nkey_file = \"k\nname = 3\n[node\n");
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn an_empty_cluster_lacks_everything() {
    insta::assert_snapshot!(cluster("").join("\n"));
}

#[test]
fn files_that_are_none() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path().join("cluster.toml")).unwrap();
    let told = folder.told(load_cluster(folder.path()));
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("cluster.toml: found nothing that can be read (No such file"), "{told:?}");
    std::fs::create_dir(folder.path().join("cluster.toml")).unwrap();
    assert!(folder.told(load_cluster(folder.path()))[0].contains("no regular file"));
    std::fs::remove_dir(folder.path().join("cluster.toml")).unwrap();
    std::fs::write(folder.path().join("cluster.toml"), b"name = \"\xff\"").unwrap();
    assert!(folder.told(load_cluster(folder.path()))[0].contains("no UTF-8"));
    folder.write("cluster.toml", &"#".repeat(limits::FILE as usize + 1));
    assert!(folder.told(load_cluster(folder.path()))[0].contains("a larger file"));
}

#[test]
fn nodes_must_go_together() {
    let node = |name: &str, addresses: &str| format!("[[node]]\nname = \"{name}\"\naddresses = {addresses}\n");
    let told = |nodes: &[String]| cluster(&format!("schema = 1\nname = \"c\"\nkey_file = \"k\"\n{}", nodes.concat())).join("\n");
    let one = node("a", "[\"10.0.0.1\", \"10.1.0.1\"]");
    insta::assert_snapshot!(
        [
            told(&[one.clone(), node("a", "[\"10.0.0.2\", \"10.1.0.2\"]")]),
            told(&[one.clone(), node("b", "[\"10.0.0.1\", \"10.1.0.2\"]")]),
            told(&[one.clone(), node("b", "[\"10.0.0.2\"]")]),
            told(&[one.clone(), node("b", "[\"10.0.0.2\", \"fd00::2\"]")]),
            told(&[one.clone(), node("b", "[\"10.0.0.2\", { bind = \"10.1.0.2\", roles = [\"heartbeat\"] }]")]),
            told(&[node("a", "[{ bind = \"10.0.0.1\", roles = [\"heartbeat\"] }]")]),
            told(&[node("a", "[{ bind = \"10.0.0.1\", roles = [\"heartbeats\"], bnd = 1 }]")]),
            told(&[node("a", "[{ roles = [\"heartbeat\"] }]")]),
            told(&[node("a", "[]")]),
            told(&[node("a", "\"10.0.0.1\"")]),
        ]
        .join("\n")
    );
}

#[test]
fn times_must_go_together() {
    let told = cluster(&CLUSTER.replace("[quorum]", "[times]\npulse = \"1s\"\n[quorum]"));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn quorums() {
    let told = |quorum: &str| {
        let (top, _) = CLUSTER.split_once("[quorum]").unwrap();
        cluster(&format!("{top}[quorum]\n{quorum}\n")).join("\n")
    };
    insta::assert_snapshot!(
        [
            told("kind = \"etcd\"\naddress = \"10.0.0.9:2379\""),
            told("kind = \"wittness\""),
            told("kind = \"witness\"\naddress = \"witness.example.org:7409\"\nkey_file = \"\""),
            told("kind = \"tiebreaker\"\naddress = \"10.0.0.254\"\nkey_file = \"k\""),
            told("address = \"10.0.0.254\""),
        ]
        .join("\n")
    );
}

#[test]
fn ports_of_their_own() {
    let told = |more: &str| cluster(&format!("{CLUSTER}{more}\n")).join("\n");
    insta::assert_snapshot!(
        [
            told("[ports]\ncontrol = 7480"),
            told("[ports]\ncontrol = 0"),
            told("[http]\ntls_port = 7480\ncertificate = \"c\"\nkey = \"k\"\ntoken_file = \"t\""),
        ]
        .join("\n")
    );
}

#[test]
fn all_mistakes_of_a_module_at_once() {
    let told = module(
        r#"schema = 1
kind = "mirror"
nodes = ["node1", "node3"]
preferred_node = "node2"
failback = "yes"
boot = "always"
ack = "async"
depends_on = ["m", "nothing"]
resync_max_rate = "100"

[[replicate]]
directory = "var/lib"
exclude = ["tmp", "/{a"]
require = ["/etc/passwd", "../x", "a/b"]

[[virtual_ip]]
address = "10.0.0.100"
on_loss = "ignore"

[[virtual_ip]]
address = "10.0.0.1/24"
interface = "an interface with a name"

[application]
start = "begin"
start_timeout = "60"
max_restarts = -1

[[check]]
name = "a"
kind = "tcp"
adress = "10.0.0.100:5432"
interval = "1s"
timeout = "3s"
rise = 0

[[check]]
name = "a"
kind = "htpp"
url = "x"

[variables]
UNDERSTUDY_X = "1"
x-y = "2"
Z = 3
"#,
    );
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn directories_of_a_module_must_go_together() {
    let also = |more: &str| changed("[[virtual_ip]]", &format!("{more}[[virtual_ip]]")).join("\n");
    let table = |words: &str| format!("[[replicate]]\n{words}\n");
    let many: String = (0..limits::DIRECTORIES).map(|number| table(&format!("directory = \"/many/{number}\""))).collect();
    let told = [
        ("below", also(&table("directory = \"/var/lib/postgresql/15/main/pg_wal\""))),
        ("above", also(&table("directory = \"/var/lib/postgresql\""))),
        ("equal", also(&table("directory = \"/var/lib/postgresql/15/main\"\nname = \"other\""))),
        ("same name", also(&(table("directory = \"/srv/a\"") + &table("directory = \"/opt/a\"")))),
        ("a name with a slash", also(&table("directory = \"/srv\"\nname = \"a/b\""))),
        ("too many", also(&many)),
        ("good", also(&(table("directory = \"/srv\"") + &table("directory = \"/opt/b c\"\nname = \"second\"")))),
    ];
    insta::assert_snapshot!(told.map(|(what, told)| format!("{what}: {told}")).join("\n"));
}

#[test]
fn reserved_modes_are_refused_by_their_word() {
    let told = changed("ack = \"memory\"", "ack = \"fsync\"");
    assert_eq!(told, ["module.toml:6: ack: found \"fsync\", which is reserved and not built yet, expected memory or disk"]);
}

#[test]
fn directories_that_cannot_be() {
    for bad in ["/", "//", "", "srv", "/srv/../etc", "/srv/./x"] {
        let told = changed("/var/lib/postgresql/15/main", bad);
        assert!(told.len() == 1 && told[0].starts_with("module.toml:10: replicate.directory: found "), "{bad}: {told:?}");
    }
    let folder = Folder::new();
    let inside = folder.path().join("data").display().to_string();
    let above = folder.path().parent().unwrap().display().to_string();
    for bad in [inside, above] {
        folder.module("m", &MODULE.replace("/var/lib/postgresql/15/main", &bad));
        let told = folder.told(load_module(folder.path(), "m", &folder.cluster()));
        assert!(told.len() == 1 && told[0].contains("apart from the configuration's"), "{told:?}");
    }
}

#[test]
fn one_way_to_run() {
    let told = |application: &str| {
        let (top, rest) = MODULE.split_once("[application]").unwrap();
        let (_, checks) = rest.split_once("[[check]]").unwrap();
        module(&format!("{top}[application]\n{application}\n\n[[check]]{checks}")).join("\n")
    };
    insta::assert_snapshot!(
        [
            told(""),
            told("unit = \"a.service\"\nrun = [\"/bin/x\"]"),
            told("start = \"start\""),
            told("start = \"start\"\nstop = \"module.toml\""),
            told("start = \"start\"\nstop = \"../m/stop\""),
            told("unit = \"postgresql\""),
            told("run = \"/bin/x\""),
            told("run = [\"\"]"),
        ]
        .join("\n")
    );
}

#[test]
fn checks_have_the_keys_of_their_kind_and_no_others() {
    let told = |check: &str| {
        let (top, _) = MODULE.split_once("[[check]]").unwrap();
        module(&format!("{top}[[check]]\n{check}\n")).join("\n")
    };
    insta::assert_snapshot!(
        [
            told("kind = \"tcp\"\naddress = \"10.0.0.1\"\nurl = \"http://x/\""),
            told("kind = \"tcp\"\naddress = \"10.0.0.1:0\""),
            told("kind = \"ping\"\naddress = \"host\"\ncount = 1"),
            told("kind = \"process\""),
            told("kind = \"process\"\nprocess = \"x\"\ncount = 0"),
            told("kind = \"http\"\nurl = \"https://10.0.0.1/\"\nstatus = 20"),
            told("kind = \"http\"\nurl = \"http:///x\""),
            told("kind = \"unit\"\nunit = \"x\""),
            told("kind = \"script\"\nscript = \"look\""),
            told("kind = \"module\"\nmodule = \"m\""),
            told("address = \"10.0.0.1:80\"\ncolour = 1"),
            told("kind = \"ping\"\naddress = \"10.0.0.9\"\n[[check]]\nkind = \"ping\"\naddress = \"10.0.0.8\""),
        ]
        .join("\n")
    );
}

#[test]
fn actions_must_be_possible() {
    let without = "schema = 1\nkind = \"service\"\nnodes = [\"node1\"]\n[[check]]\nkind = \"ping\"\naddress = \"10.0.0.9\"\n";
    let farm = "schema = 1\nkind = \"farm\"\nnodes = [\"node1\", \"node2\"]\n[[check]]\nkind = \"ping\"\naddress = \"10.0.0.9\"\n";
    insta::assert_snapshot!(
        [
            module(without).join("\n"),
            module(&format!("{without}on_failure = \"restart\"")).join("\n"),
            module(&format!("{without}on_failure = \"failover\"")).join("\n"),
            module(&format!("{farm}on_failure = \"failover\"")).join("\n"),
        ]
        .join("\n")
    );
}

#[test]
fn a_kind_has_its_own_keys() {
    let farm = "schema = 1\nkind = \"farm\"\nnodes = [\"node1\", \"node2\"]\n";
    insta::assert_snapshot!(
        [
            module(&format!("{farm}ack = \"disk\"\nfailback = true\n[[replicate]]\ndirectory = \"/srv\"\n")).join("\n"),
            module(&MODULE.replace("[application]", "[farm]\nlost_after = \"1s\"\n[application]")).join("\n"),
            module(&MODULE.replace("kind = \"mirror\"  ", "kind = \"mirrored\"  ")).join("\n"),
            module("schema = 1\nkind = \"service\"\nnodes = [\"node1\", \"node2\"]\n").join("\n"),
            module("schema = 1\nkind = \"mirror\"\nnodes = [\"node1\", \"node1\"]\n").join("\n"),
        ]
        .join("\n")
    );
}

#[test]
fn addresses_of_scripts() {
    let told = |more: &str| changed("interface = \"eth0\" ", more).join("\n");
    insta::assert_snapshot!(
        [
            told("script = \"start\"\ninterface = \"eth0\"\non_loss = \"restore\" "),
            told("script = \"nowhere\" "),
            told("script_timeout = \"5s\" "),
            told("script = \"start\"\nscript_timeout = \"5\" "),
        ]
        .join("\n")
    );
}

#[test]
fn farms() {
    let told = |more: &str| module(&format!("schema = 1\nkind = \"farm\"\nnodes = [\"node1\", \"node2\"]\n{more}")).join("\n");
    let address = "[[virtual_ip]]\naddress = \"10.0.0.9/24\"\n";
    let rule = "[[load_balancing]]\nprotocol = \"tcp\"\nport = 80\n";
    insta::assert_snapshot!(
        [
            told(address),
            told(rule),
            told(&format!("{address}{rule}{rule}affinity = \"client\"\n")),
            told(&format!("{address}{rule}[farm]\nlost_after = \"100ms\"\nweights = {{ node1 = 0, node2 = 0, node3 = 1 }}\nx = 1\n")),
            told(&format!("{address}[farm.priorities]\nnode1 = 1\n")),
            told(&format!("{address}[farm.priorities]\nnode1 = 1\nnode2 = 1\n")),
            told(&format!("{address}on_loss = \"failover\"\n{rule}")),
            told(&format!("{address}script = \"start\"\n{rule}")),
        ]
        .join("\n")
    );
}

#[test]
fn modules_must_go_together() {
    let folder = Folder::new();
    folder.module("a", &format!("depends_on = [\"b\"]\n{}", MODULE.replace("address = \"10.0.0.100/24\"", "address = \"10.0.0.101/24\"")));
    folder.module("b", &format!("depends_on = [\"c\"]\n{}", MODULE.replace("/var/lib/postgresql/15/main", "/var/lib/postgresql/15")));
    folder.module(
        "c",
        &format!(
            "depends_on = [\"a\", \"s\"]\n{}",
            MODULE.replace("/var/lib/postgresql/15/main", "/srv/c").replace("10.0.0.100/24", "10.0.0.102/24")
        ),
    );
    folder.module("s", "schema = 1\nkind = \"service\"\nnodes = [\"node1\"]\nvirtual_ip = [{ address = \"10.0.0.100/24\" }]\n");
    let (_, modules) = load_all(folder.path()).unwrap();
    let told: Vec<String> = modules.into_iter().flat_map(|(_, module)| folder.told(module)).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn folders_must_have_a_modules_name() {
    let folder = Folder::new();
    folder.module("a b", MODULE);
    let cluster = folder.cluster();
    let told = folder.told(load_module(folder.path(), "a b", &cluster));
    assert!(told[0].starts_with("modules/a b/module.toml: found a folder named \"a b\", expected a module's name: at most 64"), "{told:?}");
    assert!(folder.told(load_module(folder.path(), "../..", &cluster))[0].contains("a module's name"));
    assert!(folder.told(load_module(folder.path(), "none", &cluster))[0].contains("No such file"));
}
