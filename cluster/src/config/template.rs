//! A first `cluster.toml`, with a comment for everything an administrator may want to change.

use super::words::toml_string;
use std::fmt::Write;
use std::net::IpAddr;

/// A `cluster.toml` of these nodes, each with its addresses in the order of networks. It loads as it is when the names
/// and the addresses are sound (see [`super::load_cluster`]).
pub fn cluster_template(name: &str, nodes: &[&str], addresses: &[Vec<IpAddr>]) -> String {
    let mut text = format!("{HEAD}name = {}\n{TOP}", toml_string(name));
    let none = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let addresses: Vec<String> = addresses.get(place).unwrap_or(&none).iter().map(|address| format!("\"{address}\"")).collect();
        let name = toml_string(node);
        write!(text, "\n[[node]]\nname = {name}\naddresses = [{}]\n", addresses.join(", ")).expect("a string takes everything");
    }
    text + BELOW
}

const HEAD: &str = "\
# The cluster: the same file on every node. `understudy config check` finds mistakes, `understudy config push` carries
# it to the other nodes. Every key is explained in docs/configuration.md.
schema = 1
";

const TOP: &str = "\
# Made by `understudy keygen`, mode 0600, copied to every node over a safe channel. Relative to this directory.
key_file = \"cluster.key\"
# How soon silence counts as a failure: fast (0.25 s), lan (1.5 s), virtual (13 s: machines that are paused), wan (7.5 s).
profile = \"lan\"

# Single times of the profile can be set, for example:
# [times]
# degrade = \"1s\"         # silence after which the primary asks to go on alone
# promote = \"1500ms\"     # silence after which the secondary asks to take over

# Every node, each with its IP addresses in the same order of networks. Two networks are better than one: losing one of
# them changes nothing. An address can also be a table:
#   { bind = \"192.168.0.1\", advertise = \"203.0.113.1\", roles = [\"heartbeat\", \"replication\"] }
";

const BELOW: &str = "
# Who decides when the nodes do not hear each other. Without it both go on, and what one of them wrote meanwhile is kept
# aside when they meet again. With a witness on a third machine only one goes on:
# [quorum]
# kind = \"witness\"
# address = \"10.0.0.9:7409\"
# key_file = \"witness.key\"

# [ports]
# heartbeat = 7400       # UDP
# control = 7400         # TCP: control and replication
# http = 7480            # TCP: health answers

# A program that makes sure that another node is off before its modules are taken over; gets UNDERSTUDY_NODE.
# [fence]
# command = [\"/usr/local/sbin/power-off\"]
# timeout = \"30s\"

# Who is told of changes of role: a program, a URL, or both.
# [notify]
# command = [\"/usr/local/bin/tell\"]
# webhook = \"http://10.0.0.7:8080/hook\"

# Metrics and status for other hosts; this host has them on the http port without this.
# [http]
# tls_port = 7443
# certificate = \"http.pem\"
# key = \"http.key\"
# token_file = \"http.token\"
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_cluster;

    fn template() -> String {
        let addresses = [["10.0.0.1", "fd00::1"], ["10.0.0.2", "fd00::2"]];
        let addresses = addresses.map(|node| node.map(|address| address.parse().unwrap()).to_vec());
        cluster_template("shop", &["alpha", "beta"], &addresses)
    }

    fn load(text: &str) -> crate::config::Cluster {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cluster.toml"), text).unwrap();
        load_cluster(dir.path()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn it_loads_as_it_is() {
        let cluster = load(&template());
        assert_eq!(cluster.name, "shop");
        assert_eq!(cluster.nodes.len(), 2);
        assert_eq!(cluster.node("beta").unwrap().networks[1].advertise.to_string(), "fd00::2");
    }

    /// What it offers in comments is as sound as what it says.
    #[test]
    fn it_loads_with_every_comment_taken_away() {
        let is_key =
            |line: &&str| line.starts_with("# [") || line.strip_prefix("# ").is_some_and(|rest| rest.split(' ').nth(1) == Some("="));
        let text: String =
            template().lines().map(|line| if is_key(&line) { &line[2..] } else { line }).flat_map(|line| [line, "\n"]).collect();
        // A table ends what is at the top: the nodes follow the times as they do in the template.
        let cluster = load(&text);
        assert!(cluster.quorum.is_some() && cluster.fence.is_some() && cluster.http.tls.is_some());
        assert!(cluster.notify.command.is_some() && cluster.notify.webhook.is_some());
    }

    #[test]
    fn odd_names_cannot_break_out_of_their_quotes() {
        let text = cluster_template("a\"\nkey_file = \"x", &["b\\"], &[vec!["10.0.0.1".parse().unwrap()]]);
        assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    }
}
