//! What the document says is true: its examples load, and it knows every key.

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/configuration.md");

/// The whole files among the examples.
fn examples() -> Vec<&'static str> {
    let blocks = DOCUMENT.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.starts_with("schema")).collect()
}

#[test]
fn its_examples_load() {
    let folder = Folder::new();
    let (modules, clusters): (Vec<_>, Vec<_>) = examples().into_iter().partition(|text| text.contains("kind = \"mirror\""));
    assert_eq!((clusters.len(), modules.len()), (1, 1));
    folder.write("cluster.toml", clusters[0]);
    folder.module("db", modules[0]);
    load_module(folder.path(), "db", &folder.cluster()).unwrap_or_else(|problems| panic!("{problems:?}"));
}

#[test]
fn it_knows_every_key() {
    let folder = Folder::new();
    let nodes = "kind = \"farm\"\nnodes = [\"node1\", \"node2\"]\n";
    // What an unknown key could have been is every key of its table.
    folder.write("cluster.toml", "zzzzzzzz = 1\nnode = [{ zzzzzzzz = 1 }]\n[quorum]\nzzzzzzzz = 1\n[times]\nzzzzzzzz = 1\n[ports]\nzzzzzzzz = 1\n[http]\nzzzzzzzz = 1\n[fence]\nzzzzzzzz = 1\n[notify]\nzzzzzzzz = 1\n");
    let mut told = folder.told(load_cluster(folder.path()));
    folder.write("cluster.toml", CLUSTER);
    for (kind, tables) in [
        (nodes, "[[virtual_ip]]\nzzzzzzzz = 1\n[[load_balancing]]\nzzzzzzzz = 1\n[farm]\nzzzzzzzz = 1\n[[check]]\nzzzzzzzz = 1\n"),
        ("kind = \"mirror\"\n", "[[replicate]]\nzzzzzzzz = 1\n[application]\nzzzzzzzz = 1\n"),
    ] {
        folder.module("m", &format!("zzzzzzzz = 1\n{kind}{tables}"));
        told.extend(folder.told(load_module(folder.path(), "m", &folder.cluster())));
    }
    let unknown: Vec<&str> = told.iter().filter_map(|line| line.split_once("an unknown key, expected ")).map(|(_, keys)| keys).collect();
    assert_eq!(unknown.len(), 8 + 5 + 3, "{told:#?}");
    for key in unknown.iter().flat_map(|keys| keys.split([',', ' '])).filter(|key| !key.is_empty() && *key != "or") {
        let written = [format!("`{key}`"), format!("[{key}]"), format!("] {key}`"), format!("`{key}`,")];
        assert!(written.iter().any(|form| DOCUMENT.contains(form.as_str())), "{key} is not in the document");
    }
}
