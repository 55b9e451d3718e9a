//! What is lost by a promotion that needs a word, in the operator's terms.

use crate::args::Accept;
use crate::model::Module;

/// `target` becomes primary.
pub fn words(accept: Accept, module: &Module, target: &str) -> String {
    let here = module.on(target);
    let other = module.other(target).map_or("the other node", |on| on.node.as_str());
    let directories = match module.directories.as_slice() {
        [] => "its directories".to_owned(),
        some => some.join(", "),
    };
    let since = here.and_then(|on| on.since.as_deref()).map(|since| format!(" (as it is since {since})")).unwrap_or_default();
    match accept {
        Accept::First => format!(
            "{target} is the good side: {directories} on {other} becomes a copy of it, and what lies there on {other} now is replaced"
        ),
        Accept::Outdated => format!(
            "accepted as lost: everything that {other} wrote after {target} was last up to date{since}; \
             when {other} returns, its own changes are kept aside there (`understudy kept`) and its directories become a copy of {target}'s"
        ),
        Accept::Inconsistent => format!(
            "accepted as lost: the copy on {target} was never finished{since}, so files are of different moments or missing, and the application \
             may not start or may find damage; when {other} returns, its own data is kept aside there and its directories become a copy of {target}'s"
        ),
        Accept::Split => format!(
            "accepted as lost: what {other} wrote while both nodes went on alone; it is kept aside on {other} (`understudy kept`), \
             and its directories become a copy of {target}'s"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_names_both_nodes_and_what_goes() {
        let module: Module = serde_json::from_value(json!({
            "name": "db", "directories": ["/srv/db"],
            "nodes": [{ "node": "a", "since": "2026-11-23T20:00:00Z" }, { "node": "b" }],
        }))
        .expect("a module");
        let first = words(Accept::First, &module, "a");
        assert_eq!(first, "a is the good side: /srv/db on b becomes a copy of it, and what lies there on b now is replaced");
        assert!(words(Accept::Outdated, &module, "a").contains("everything that b wrote after a was last up to date (as it is since 2026"));
        for accept in [Accept::Outdated, Accept::Inconsistent, Accept::Split] {
            let text = words(accept, &module, "a");
            assert!(text.starts_with("accepted as lost: ") && text.contains("kept aside"), "{text}");
        }
    }
}
