//! Every template makes a module that can be read, with few values and with all.

use super::{Error, Rendered, Template, ValueKind, Values, find, listing, render, templates};
use std::path::Path;

fn values(template: &Template, wanted: impl Fn(&super::Key) -> bool) -> Values {
    template.keys.iter().filter(|key| wanted(key)).map(|key| (key.name.clone(), key.example.clone())).collect()
}

fn module(files: &[Rendered]) -> (String, toml::Table) {
    let text = String::from_utf8(files[0].bytes.clone()).unwrap();
    assert_eq!(files[0].path, "module.toml");
    let table = text.parse::<toml::Table>().unwrap_or_else(|e| panic!("{e}\n{text}"));
    (text, table)
}

/// What a module names as its scripts.
fn scripts(module: &toml::Table) -> Vec<String> {
    let application = module["application"].as_table().unwrap();
    let mut found: Vec<_> = ["start", "stop"].iter().map(|key| application[*key].as_str().unwrap().to_owned()).collect();
    let checks = module["check"].as_array().unwrap();
    found.extend(checks.iter().filter_map(|check| check.get("script")).map(|script| script.as_str().unwrap().to_owned()));
    found
}

fn must_be_a_module(template: &Template, files: &[Rendered]) {
    let (text, module) = module(files);
    assert!(!text.contains("{{") && !text.contains("}}"), "{}: a place is left\n{text}", template.name);
    assert_eq!(module["kind"].as_str(), Some(template.kind.as_str()));
    assert_eq!(module["schema"].as_integer(), Some(1));
    for script in scripts(&module) {
        let file = files.iter().find(|file| file.path == script);
        let file = file.unwrap_or_else(|| panic!("{}: {script} is named and not there", template.name));
        assert!(file.executable && file.bytes.starts_with(b"#!/bin/sh\n"), "{}: {script}", template.name);
    }
    let known = [
        "schema",
        "kind",
        "nodes",
        "preferred_node",
        "failback",
        "boot",
        "ack",
        "replicate",
        "virtual_ip",
        "application",
        "check",
        "variables",
        "load_balancing",
    ];
    for key in module.keys() {
        assert!(known.contains(&key.as_str()), "{}: {key} is no key of a module", template.name);
    }
    for check in module["check"].as_array().unwrap() {
        for key in ["name", "kind", "interval", "timeout", "on_failure"] {
            assert!(check.get(key).is_some(), "{}: a check without {key}", template.name);
        }
    }
    assert!(module["variables"].as_table().unwrap().values().all(toml::Value::is_str), "{}", template.name);
}

#[test]
fn every_template_makes_a_module_with_few_values_and_with_all() {
    for template in templates() {
        must_be_a_module(template, &render(template, &values(template, |key| key.required)).unwrap());
        must_be_a_module(template, &render(template, &values(template, |_| true)).unwrap());
        // Each optional value by itself: a line that stands in another's table would be found here.
        for alone in template.keys.iter().filter(|key| !key.required) {
            must_be_a_module(template, &render(template, &values(template, |key| key.required || key.name == alone.name)).unwrap());
        }
    }
}

#[test]
fn every_value_arrives() {
    for template in templates() {
        let (text, _) = module(&render(template, &values(template, |_| true)).unwrap());
        for key in &template.keys {
            assert!(text.contains(&key.kind.written(&key.example)), "{}: {} = {}\n{text}", template.name, key.name, key.example);
            assert!(template.module.contains(&format!("{{{{{}", key.name)), "{}: {} has no place", template.name, key.name);
        }
    }
}

#[test]
fn descriptions_and_modules_agree() {
    for (template, source) in templates().iter().zip(listing::SOURCES) {
        let description: super::Description = toml::from_str(source.description).unwrap();
        assert_eq!(description.schema, super::SCHEMA);
        let named: Vec<_> = description.files.iter().chain(&description.shared).map(String::as_str).collect();
        let there: Vec<_> = source.files.iter().map(|(name, _)| *name).filter(|name| *name != "README.md").collect();
        assert_eq!(named, there, "{}: files of template.toml and of the listing", template.name);
        assert_eq!(template.proven, !template.proven_on.is_empty(), "{}: proven on what?", template.name);
        for key in &template.keys {
            assert!(key.kind.accepts(&key.example), "{}: the example of {}", template.name, key.name);
            let default = key.default.as_deref();
            assert!(default.is_none_or(|d| d.is_empty() || key.kind.accepts(d)), "{}: the default of {}", template.name, key.name);
            assert!(!(key.required && default.is_some()), "{}: {} is required and has a default", template.name, key.name);
        }
        for place in places(source.module) {
            let (name, default) = place.split_once('|').map_or((place, None), |(name, default)| (name, Some(default)));
            let key = template.keys.iter().find(|key| key.name == name.trim_start_matches('?'));
            let key = key.unwrap_or_else(|| panic!("{}: nobody describes {name}", template.name));
            if !name.starts_with('?') {
                assert_eq!(default, key.default.as_deref(), "{}: two defaults of {name}", template.name);
            }
        }
    }
}

fn places(text: &str) -> Vec<&str> {
    text.split("{{").skip(1).map(|rest| rest.split_once("}}").expect("a place ends").0).collect()
}

#[test]
fn every_folder_is_compiled_in() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules");
    for entry in std::fs::read_dir(modules).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(name == "shared" || find(&name).is_ok(), "modules/{name} is in no listing");
        if name == "shared" {
            continue;
        }
        let source = listing::SOURCES.iter().find(|source| source.name == name).unwrap();
        for file in std::fs::read_dir(entry.path()).unwrap().flatten() {
            let file = file.file_name().into_string().unwrap();
            let known = source.files.iter().any(|(known, _)| *known == file);
            assert!(known || file == "module.toml" || file == "template.toml", "modules/{name}/{file} is in no listing");
        }
    }
}

#[test]
fn scripts_are_executable_and_libraries_are_not() {
    for template in templates() {
        for file in render(template, &values(template, |key| key.required)).unwrap() {
            assert_eq!(file.executable, file.bytes.starts_with(b"#!"), "{}/{}", template.name, file.path);
            assert!(!file.path.contains('/'), "{}/{}", template.name, file.path);
        }
    }
}

#[test]
fn errors_say_what_is_expected() {
    let say = |name: &str, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        find(name).and_then(|template| render(template, &set)).unwrap_err().to_string()
    };
    assert!(say("postgres", &[]).contains("there is no template 'postgres': there are mirror, farm, service, postgresql, "));
    assert!(say("postgresql", &[("adress", "10.0.0.1/24")]).contains("takes no key 'adress': it takes nodes, "));
    let missing = say("kvm", &[("directory", "/srv/vm")]);
    assert_eq!(missing, "template 'kvm' needs 'guest', the name of the guest (--set guest=winsrv)");
    let bad = say("postgresql", &[("address", "10.0.0.1")]);
    assert!(bad.contains("is not an address with the length of its network's prefix"), "{bad}");
    assert!(bad.contains("for example address=10.0.0.100/24"), "{bad}");
    let error = render(find("mirror").unwrap(), &Values::from([("directory".to_owned(), "srv".to_owned())])).unwrap_err();
    assert!(matches!(error, Error::BadValue { .. }));
}

#[test]
fn values_are_checked() {
    let cases: &[(ValueKind, &[&str], &[&str])] = &[
        (ValueKind::Name, &["node1", "postgresql@15-main.service"], &["", "a b", "-x", "a\"b", "a\nb"]),
        (ValueKind::Names, &["a", "a,b", "a, b"], &["", "a,,b", "a;b"]),
        (ValueKind::Patterns, &["/a/**", "/a,/b"], &["a", "/a,b", "/"]),
        (
            ValueKind::Address,
            &["10.0.0.1/24", "fd00::1/64"],
            &["10.0.0.1", "10.0.0.1/33", "10.0.0.1/0", "x/24", "0.0.0.0/8", "224.0.0.1/24"],
        ),
        (ValueKind::Directory, &["/a", "/a b/c"], &["", "/", "a", "/a/", "/a/../b", "/a//b", "/a\n"]),
        (ValueKind::Port, &["1", "65535"], &["0", "65536", "x", ""]),
        (ValueKind::Number, &["30"], &["0", "-1", "x"]),
        (ValueKind::Url, &["http://a/"], &["http://", "ftp://a", "a"]),
        (ValueKind::YesNo, &["yes", "no"], &["true", ""]),
        (ValueKind::Affinity, &["client-ip"], &["source"]),
        (ValueKind::Text, &["", "a \"b\" \\c"], &["a\nb"]),
    ];
    for (kind, good, bad) in cases {
        good.iter().for_each(|value| assert!(kind.accepts(value), "{kind:?} {value:?}"));
        bad.iter().for_each(|value| assert!(!kind.accepts(value), "{kind:?} {value:?}"));
    }
}

#[test]
fn quotes_and_backslashes_survive() {
    let set = Values::from([("check_query".to_owned(), r#"SELECT "a" || '\x'"#.to_owned())]);
    let (_, module) = module(&render(find("postgresql").unwrap(), &set).unwrap());
    assert_eq!(module["variables"]["CHECK_QUERY"].as_str(), Some(r#"SELECT "a" || '\x'"#));
}

#[test]
fn what_is_not_set_is_shown_as_a_comment() {
    let (text, module) = module(&render(find("postgresql").unwrap(), &Values::new()).unwrap());
    assert!(module.get("virtual_ip").is_none());
    assert!(text.contains("# [[virtual_ip]]\n# name = \"service\"\n# address = \"10.0.0.100/24\"\n"), "{text}");
}

/// What `module create` writes must be taken by the daemon: an empty list of mistakes, with few values and with all that fit together.
#[test]
fn the_configuration_takes_what_a_template_makes() {
    let tmp = tempfile::tempdir().unwrap();
    let node = |number: u32| format!("[[node]]\nname = \"node{number}\"\naddresses = [\"10.0.0.{number}\"]\n");
    let cluster = format!("schema = 1\nname = \"demo\"\nkey_file = \"cluster.key\"\n{}{}", node(1), node(2));
    std::fs::write(tmp.path().join("cluster.toml"), cluster).unwrap();
    let cluster = crate::config::load_cluster(tmp.path()).unwrap();
    for template in templates() {
        for wanted in [["-"; 4], ["address", "preferred_node", "wal_directory", "tablespace_directory"]] {
            let set = values(template, |key| key.required || wanted.contains(&key.name.as_str()));
            let folder = tmp.path().join("modules").join(template.name);
            std::fs::create_dir_all(&folder).unwrap();
            for file in render(template, &set).unwrap() {
                let path = folder.join(&file.path);
                std::fs::write(&path, &file.bytes).unwrap();
                let mode = if file.executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            }
            let loaded = crate::config::load_module(tmp.path(), template.name, &cluster);
            let mistakes = loaded.err().unwrap_or_default();
            assert!(mistakes.is_empty(), "{}: {}", template.name, mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
}
