//! What a machine lacks is named before anything starts. Only loopback addresses and free ports are used.

use super::*;
use crate::config::tests::{Folder, MODULE};
use crate::config::{load_all, load_cluster};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;

/// A cluster on loopback addresses of its own, so that tests at the same time keep apart.
fn cluster_text(host: u8, ports: (u16, u16, u16)) -> String {
    let (heartbeat, control, http) = ports;
    format!(
        "schema = 1\nname = \"c\"\nkey_file = \"c.key\"\n[[node]]\nname = \"node1\"\naddresses = [\"127.77.{host}.1\"]\n\
         [[node]]\nname = \"node2\"\naddresses = [\"203.0.113.2\"]\n[ports]\nheartbeat = {heartbeat}\ncontrol = {control}\nhttp = {http}\n"
    )
}

/// A sound cluster and module on this machine; the data directory.
fn sound(folder: &Folder, host: u8) -> PathBuf {
    let udp = UdpSocket::bind((format!("127.77.{host}.1"), 0)).unwrap().local_addr().unwrap().port();
    let tcp = |_: ()| TcpListener::bind((format!("127.77.{host}.1"), 0)).unwrap();
    let (control, http) = (tcp(()), tcp(()));
    let ports = (udp, control.local_addr().unwrap().port(), http.local_addr().unwrap().port());
    folder.write("cluster.toml", &cluster_text(host, ports));
    KeyRing::generate_file(&folder.path().join("c.key")).unwrap();
    let data = folder.path().with_extension("data");
    std::fs::create_dir(&data).unwrap();
    let text = MODULE
        .replace("/var/lib/postgresql/15/main", &data.display().to_string())
        .replace("10.0.0.100/24", &format!("127.77.{host}.100/8"))
        .replace("interface = \"eth0\"", "interface = \"lo\"");
    folder.module("db", &text);
    data
}

/// Removes what lies beside the folder.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn told(folder: &Folder) -> Vec<String> {
    let (cluster, modules) = load_all(folder.path()).unwrap();
    let modules: Vec<Module> = modules.into_iter().map(|(_, module)| module.unwrap_or_else(|problems| panic!("{problems:?}"))).collect();
    check_local(&cluster, &modules, &cluster.nodes[0]).iter().map(Finding::to_string).collect()
}

#[test]
fn a_sound_machine_has_no_findings() {
    let folder = Folder::new();
    let data = Removed(sound(&folder, 1));
    assert_eq!(told(&folder), Vec::<String>::new());
    assert!(data.0.is_dir());
}

#[test]
fn the_nodes_of_this_machine() {
    let folder = Folder::new();
    folder.write("cluster.toml", &cluster_text(2, (1, 2, 3)));
    let cluster = load_cluster(folder.path()).unwrap();
    let names: Vec<&str> = nodes_here(&cluster).iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node1"]);
}

#[test]
fn keys_and_what_is_missing() {
    let folder = Folder::new();
    let data = Removed(sound(&folder, 3));
    std::fs::set_permissions(folder.path().join("c.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::remove_dir(&data.0).unwrap();
    let told = told(&folder);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("error: node node1: ") && told[0].contains("mode 0644") && told[0].contains("chmod 600"), "{told:?}");
    assert!(told[1].starts_with("error: module db: ") && told[1].contains("cannot be used (No such file"), "{told:?}");
    assert!(told[1].contains("create it"), "{told:?}");
}

#[test]
fn the_witness_has_a_key_of_its_own() {
    let folder = Folder::new();
    let _data = Removed(sound(&folder, 4));
    let text = std::fs::read_to_string(folder.path().join("cluster.toml")).unwrap();
    folder.write("cluster.toml", &format!("{text}[quorum]\nkind = \"witness\"\naddress = \"203.0.113.9\"\nkey_file = \"c.key\"\n"));
    let told = told(&folder);
    assert!(told.len() == 1 && told[0].contains("has the key of the cluster"), "{told:?}");
}

#[test]
fn addresses_that_are_elsewhere() {
    let folder = Folder::new();
    let _data = Removed(sound(&folder, 5));
    let cluster = load_cluster(folder.path()).unwrap();
    let told: Vec<String> = check_local(&cluster, &[], &cluster.nodes[1]).iter().map(Finding::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("203.0.113.2 is not on this machine"), "{told:?}");
}

#[test]
fn ports_held_by_others() {
    let folder = Folder::new();
    let _data = Removed(sound(&folder, 6));
    let cluster = load_cluster(folder.path()).unwrap();
    let _held = TcpListener::bind(("127.77.6.1", cluster.ports.control)).unwrap();
    let _also = UdpSocket::bind(("127.77.6.1", cluster.ports.heartbeat)).unwrap();
    let told = told(&folder);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("(control, TCP) of 127.77.6.1 is held by "), "{told:?}");
    assert!(told[1].contains("(heartbeat, UDP) of 127.77.6.1 is held by "), "{told:?}");
}

#[test]
fn interfaces_users_programs_and_units() {
    let folder = Folder::new();
    let data = Removed(sound(&folder, 7));
    std::os::unix::fs::chown(&data.0, Some(3_999_999_998), Some(3_999_999_998)).unwrap();
    let text = std::fs::read_to_string(folder.path().join("modules/db/module.toml")).unwrap();
    let (top, rest) = text.split_once("[application]").unwrap();
    let (_, checks) = rest.split_once("[[check]]").unwrap();
    let addresses =
        "[[virtual_ip]]\naddress = \"198.51.100.7/24\"\n[[virtual_ip]]\naddress = \"198.51.100.8/24\"\ninterface = \"nowhere0\"\n";
    folder.write(
        "modules/db/module.toml",
        &format!("{top}{addresses}[application]\nrun = [\"/nowhere/program\"]\n[[check]]\nkind = \"unit\"\nunit = \"a.service\"\n[[check]]{checks}"),
    );
    let told = told(&folder).join("\n");
    for part in [
        "the owner of ",
        "number 3999999998, is no user of this machine",
        "warning: module db: the group of ",
        "no interface of this machine is in the network of the address 198.51.100.7/24",
        "no interface nowhere0 for the address 198.51.100.8",
        "the program of [application] run, /nowhere/program, cannot be used",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.contains("the unit a.service needs systemd"), !Path::new("/run/systemd/system").is_dir(), "{told}");
}

#[test]
fn file_systems_that_cannot_be_used() {
    let mut all = Vec::new();
    directory(Path::new("/proc"), &mut Findings { subject: "module m".into(), all: &mut all });
    assert!(all[0].text.contains("type proc"), "{all:?}");
    for kind in ["fuse", "fuse.sshfs", "nfs4", "cifs"] {
        assert!(system::is_unsuited(kind), "{kind}");
    }
    for kind in ["ext4", "xfs", "btrfs", "tmpfs"] {
        assert!(!system::is_unsuited(kind), "{kind}");
    }
}
