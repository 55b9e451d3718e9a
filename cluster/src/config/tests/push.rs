//! A configuration goes from one directory to another, whole or not at all.

use super::*;
use crate::config::load_all;
use crate::config::tests::{CLUSTER, Folder, MODULE};
use std::os::unix::fs::MetadataExt;

/// A configuration directory inside a directory of its own, so that what is made beside it is seen.
fn home(folder: &Folder) -> PathBuf {
    folder.path().join("etc")
}

fn target() -> Folder {
    let folder = Folder::new();
    folder.write("etc/cluster.toml", CLUSTER);
    folder.module_at("etc/modules/old", &MODULE.replace("/var/lib/postgresql", "/srv").replace("10.0.0.100/24", "10.0.0.101/24"));
    folder.write("etc/cluster.key", "understudy-keys 1\n");
    folder.write("etc/fence/ipmi", "x");
    folder.write("etc/modules/old/tls.key", "-----BEGIN PRIVATE KEY-----\nabc\n");
    folder.module_at("etc/modules/db", MODULE);
    folder.write("etc/modules/db/tls.key", "-----BEGIN PRIVATE KEY-----\nabc\n");
    fs::set_permissions(home(&folder).join("cluster.key"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn source() -> Folder {
    let folder = Folder::new();
    folder.module("db", MODULE);
    folder.write("modules/db/sql/look.sql", "select 1;\n");
    folder.write("modules/db/secret", "# mine\nunderstudy-keys 1\n00 11\n");
    folder.write("modules/db/.hidden", "x");
    folder.write("cluster.key", "understudy-keys 1\n");
    folder
}

#[test]
fn what_travels() {
    let images = pack(source().path()).unwrap();
    let told: Vec<(&str, u32)> = images.iter().map(|image| (image.path.as_str(), image.mode)).collect();
    assert_eq!(
        told,
        [
            ("cluster.toml", 0o644),
            ("modules/db/module.toml", 0o644),
            ("modules/db/sql/look.sql", 0o644),
            ("modules/db/start", 0o755),
            ("modules/db/stop", 0o755),
        ]
    );
    let sent = rmp_serde::to_vec_named(&images).unwrap();
    assert_eq!(rmp_serde::from_slice::<Vec<FileImage>>(&sent).unwrap(), images);
}

#[test]
fn it_arrives_as_a_whole_and_what_never_travels_stays() {
    let (source, target) = (source(), target());
    let images = pack(source.path()).unwrap();
    unpack(&home(&target), &images).unwrap();
    assert_eq!(pack(&home(&target)).unwrap(), images);
    let (_, modules) = load_all(&home(&target)).unwrap();
    assert_eq!(modules.iter().map(|(name, module)| (name.as_str(), module.is_ok())).collect::<Vec<_>>(), [("db", true)]);
    let key = home(&target).join("cluster.key").metadata().unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(home(&target).join("fence/ipmi")).unwrap(), "x");
    assert!(home(&target).join("modules/db/tls.key").exists(), "a module's key stays with the module");
    assert!(!home(&target).join("modules/old").exists());
    let previous = target.path().join("etc.previous");
    assert!(previous.join("modules/old/module.toml").exists());
    assert!(!target.path().join(".etc.next").exists());
    unpack(&home(&target), &images).unwrap();
    assert!(!previous.join("modules/old/module.toml").exists(), "only the last one is kept");
    assert!(previous.join("modules/db/module.toml").exists());
}

#[test]
fn through_a_symbolic_link() {
    let (source, target) = (source(), target());
    let link = target.path().join("link");
    std::os::unix::fs::symlink("etc", &link).unwrap();
    unpack(&link, &pack(source.path()).unwrap()).unwrap();
    assert!(home(&target).join("modules/db/start").exists() && link.is_symlink());
}

fn image(path: &str) -> FileImage {
    FileImage { path: path.into(), mode: 0o644, bytes: Vec::new() }
}

#[test]
fn paths_stay_inside() {
    let target = target();
    let before = pack(&home(&target)).unwrap();
    for path in [
        "../x",
        "/etc/passwd",
        "modules/../../x",
        "modules/db/../../x",
        "modules/db",
        "modules",
        "",
        ".",
        "cluster.key",
        "modules/a b/module.toml",
        "modules/db/.x",
        "modules//db/x",
        "modules/db/x/",
        "./cluster.toml",
        "modules/db/a\0b",
        "modules/db/module.toml/x",
        "cluster.toml/x",
    ] {
        let mut images = pack(source().path()).unwrap();
        images.push(image(path));
        let told = unpack(&home(&target), &images).unwrap_err().to_string();
        assert!(told.starts_with(path), "{path}: {told}");
    }
    let mut twice = pack(source().path()).unwrap();
    twice.push(image("modules/db/start"));
    assert!(unpack(&home(&target), &twice).unwrap_err().to_string().contains("sent twice"));
    assert!(unpack(&home(&target), &[image("modules/db/start")]).unwrap_err().to_string().contains("cluster.toml: not among"));
    assert_eq!(pack(&home(&target)).unwrap(), before);
    assert!(!target.path().join("etc.previous").exists());
}

#[test]
fn what_does_not_load_is_not_taken() {
    let target = target();
    let before = pack(&home(&target)).unwrap();
    let source = source();
    source.module("db", &MODULE.replace("nodes = [", "node = [\"node1\"]\nnodes = ["));
    let error = unpack(&home(&target), &pack(source.path()).unwrap()).unwrap_err();
    let told = error.to_string().replace(&home(&target).canonicalize().unwrap().display().to_string(), "DIR");
    assert_eq!(
        told,
        "what was sent is no sound configuration: DIR/modules/db/module.toml:3: node: found an unknown key, expected `nodes`?"
    );
    assert_eq!(pack(&home(&target)).unwrap(), before);
    assert!(!target.path().join(".etc.next").exists());
}

#[test]
fn bounds() {
    let folder = source();
    folder.write("modules/db/large", &"x".repeat(limits::PUSH_FILE as usize + 1));
    assert!(pack(folder.path()).unwrap_err().to_string().contains("modules/db/large: larger than 1 MiB"));
    let mut images = vec![image("cluster.toml")];
    images[0].bytes = vec![0; limits::PUSH_FILE as usize + 1];
    assert!(unpack(folder.path(), &images).is_err());
    let full = |n: usize| FileImage { path: format!("modules/a/{n}"), mode: 0, bytes: vec![0; limits::PUSH_FILE as usize] };
    let images: Vec<FileImage> = (0..17).map(full).collect();
    assert!(unpack(folder.path(), &images).unwrap_err().to_string().contains("16 MiB"));
}

#[test]
fn differences_in_unified_form() {
    let text = |path: &str, mode, text: &str| FileImage { path: path.into(), mode, bytes: text.into() };
    let here = [text("a", 0o644, "1\n2\n3\n"), text("b", 0o755, "x\n"), text("gone", 0o644, "g\n"), text("same", 0o644, "s\n")];
    let there = [text("a", 0o644, "1\ntwo\n3\n"), text("b", 0o644, "x\n"), text("new", 0o644, ""), text("same", 0o644, "s\n")];
    assert_eq!(diff(&here, &here), "");
    assert_eq!(
        diff(&here, &there),
        "--- here/a\n+++ there/a\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n\
         b: executable here, not executable there\n\
         --- here/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-g\n\
         --- /dev/null\n+++ there/new\n"
    );
    let binary = [FileImage { path: "a".into(), mode: 0, bytes: vec![0xff] }];
    assert_eq!(diff(&binary, &[text("a", 0, "x")]), "a: binary files differ\n");
    let many = "x\n".repeat(limits::DIFF_LINES + 1);
    assert_eq!(diff(&[text("a", 0, &many)], &[text("a", 0, "x")]), "a: large files differ\n");
}
