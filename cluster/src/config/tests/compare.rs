//! Two nodes are alike, or it is said how they are not.

use super::*;

fn facts(node: &str) -> Facts {
    let owner = Owner { uid: 105, user: Some("postgres".into()), gid: 110, group: Some("postgres".into()) };
    Facts {
        node: node.into(),
        version: "1.2.3".into(),
        cluster: "c".into(),
        modules: [("db".to_owned(), "d".to_owned()), ("web".to_owned(), "w".to_owned())].into(),
        owners: [("/srv/db".to_owned(), owner)].into(),
        users: [("root".to_owned(), 0), ("postgres".to_owned(), 105)].into(),
        groups: [("root".to_owned(), 0), ("postgres".to_owned(), 110)].into(),
        clock: 1_700_000_000_000,
    }
}

fn told(a: &Facts, b: &Facts) -> Vec<String> {
    compare(a, b).iter().map(Finding::to_string).collect()
}

#[test]
fn alike() {
    assert_eq!(compare(&facts("n1"), &facts("n2")), []);
    let root = Owner { uid: 0, user: Some("root".into()), gid: 0, group: Some("root".into()) };
    let mut empty = facts("n2");
    empty.owners.insert("/srv/db".into(), root);
    empty.clock += 4_999;
    assert_eq!(compare(&facts("n1"), &empty), [], "a new directory that is still root's gets its owner with the data");
}

#[test]
fn files_version_and_clock() {
    let mut other = facts("n2");
    other.cluster = "x".into();
    other.modules.insert("db".into(), "x".into());
    other.modules.remove("web");
    other.version = "1.2.4".into();
    other.clock -= 90_000;
    insta::assert_snapshot!(told(&facts("n1"), &other).join("\n"));
}

#[test]
fn owners_of_data() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut other = facts("n2");
        other.owners.clear();
        change(&mut other);
        told(&facts("n1"), &other).join("\n")
    };
    insta::assert_snapshot!(
        [
            with(&|b| {
                b.users.insert("postgres".into(), 106);
            }),
            with(&|b| {
                b.users.remove("postgres");
            }),
            with(&|b| {
                b.groups.remove("postgres");
                b.groups.insert("ssl".into(), 110);
            }),
        ]
        .join("\n")
    );
    // From a directory service on both: no file shows it.
    let (mut a, mut b) = (facts("n1"), facts("n2"));
    a.users.remove("postgres");
    b.users.remove("postgres");
    assert_eq!(compare(&a, &b), []);
}

#[test]
fn they_travel() {
    let facts = facts("n1");
    assert_eq!(rmp_serde::from_slice::<Facts>(&rmp_serde::to_vec_named(&facts).unwrap()).unwrap(), facts);
    assert_eq!(serde_json::from_str::<Facts>(&serde_json::to_string(&facts).unwrap()).unwrap(), facts);
}

#[test]
fn of_this_machine() {
    use crate::config::tests::{Folder, MODULE};
    let folder = Folder::new();
    let data = tempfile::tempdir().unwrap();
    folder.module("db", &MODULE.replace("/var/lib/postgresql/15/main", &data.path().display().to_string()));
    let (cluster, modules) = crate::config::load_all(folder.path()).unwrap();
    let modules: Vec<Module> = modules.into_iter().map(|(_, module)| module.unwrap()).collect();
    let facts = facts_for_compare(&cluster, &modules, "node1", "1.0");
    let metadata = data.path().metadata().unwrap();
    let owner = &facts.owners[&data.path().display().to_string()];
    assert_eq!((owner.uid, owner.gid), (metadata.uid(), metadata.gid()));
    assert_eq!(facts.users["root"], 0);
    assert_eq!(facts.modules["db"], modules[0].digest);
    assert_eq!(compare(&facts, &Facts { node: "node2".into(), ..facts.clone() }), []);
}
