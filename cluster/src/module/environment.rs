//! What scripts, commands and checks are told by their environment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Of a module on a node; the same for all its scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The module.
    pub module: String,
    /// This node.
    pub node: String,
    /// The other node of a mirror; empty where there is none.
    pub peer: String,
    /// What is replicated.
    pub directories: Vec<PathBuf>,
    /// Addresses that go with the module.
    pub virtual_ips: Vec<IpAddr>,
    /// The module's own, as they are in its file.
    pub variables: BTreeMap<String, String>,
}

/// Why something is called now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// State of the module on this node (`ALONE`, `PRIM`, …).
    pub state: String,
    /// State that it goes to.
    pub next: String,
    /// What is done: `start`, `stop`, `restart`, `swap`, `failover`, `check`, …
    pub action: String,
}

impl Context {
    /// From the three words.
    pub fn new(state: &str, next: &str, action: &str) -> Context {
        Context { state: state.to_owned(), next: next.to_owned(), action: action.to_owned() }
    }
}

impl Environment {
    /// Names and values, the module's own first: ours cannot be replaced by them.
    pub fn values(&self, context: &Context, force: bool) -> Vec<(String, String)> {
        let mut values: Vec<(String, String)> = self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let directories: Vec<String> = self.directories.iter().map(|path| path.display().to_string()).collect();
        let addresses: Vec<String> = self.virtual_ips.iter().map(IpAddr::to_string).collect();
        let own = [
            ("MODULE", self.module.clone()),
            ("NODE", self.node.clone()),
            ("PEER", self.peer.clone()),
            ("STATE", context.state.clone()),
            ("NEXT", context.next.clone()),
            ("ACTION", context.action.clone()),
            ("FORCE", if force { "1" } else { "0" }.to_owned()),
            ("DIRECTORIES", directories.join(":")),
            ("VIRTUAL_IPS", addresses.join(" ")),
        ];
        values.extend(own.into_iter().map(|(name, value)| (format!("UNDERSTUDY_{name}"), value)));
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_come_last_and_lists_are_joined() {
        let environment = Environment {
            module: "db".into(),
            node: "node1".into(),
            peer: "node2".into(),
            directories: vec!["/a".into(), "/b c".into()],
            virtual_ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            variables: [("PORT", "5432"), ("UNDERSTUDY_NODE", "liar")].map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
        };
        let values = environment.values(&Context::new("PRIM", "STOP", "stop"), true);
        let last = |name: &str| values.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(last("PORT"), Some("5432"));
        assert_eq!(last("UNDERSTUDY_NODE"), Some("node1"));
        assert_eq!(last("UNDERSTUDY_DIRECTORIES"), Some("/a:/b c"));
        assert_eq!(last("UNDERSTUDY_VIRTUAL_IPS"), Some("10.0.0.1 fd00::1"));
        assert_eq!(last("UNDERSTUDY_FORCE"), Some("1"));
        assert_eq!(
            (last("UNDERSTUDY_STATE"), last("UNDERSTUDY_NEXT"), last("UNDERSTUDY_ACTION")),
            (Some("PRIM"), Some("STOP"), Some("stop"))
        );
    }
}
