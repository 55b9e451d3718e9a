//! Parsing, defaults, and what `--help` must tell an administrator.

use super::*;
use clap::CommandFactory;

fn parse(words: &[&str]) -> Cli {
    Cli::try_parse_from([&["understudy"], words].concat()).expect("good usage")
}

fn refused(words: &[&str]) -> String {
    Cli::try_parse_from([&["understudy"], words].concat()).expect_err("bad usage").to_string()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_contract() {
    let cli = parse(&["status"]);
    assert_eq!(cli.global.config, PathBuf::from("/etc/understudy"));
    assert_eq!(cli.global.state, PathBuf::from("/var/lib/understudy"));
    assert_eq!(cli.global.run, PathBuf::from("/run/understudy"));
    assert!(!cli.global.json);
}

#[test]
fn global_options_may_follow_the_command() {
    let cli = parse(&["status", "data", "--json", "--run", "/tmp/run"]);
    assert!(cli.global.json);
    assert_eq!(cli.global.run, PathBuf::from("/tmp/run"));
}

#[test]
fn mount_with_everything() {
    let cli = parse(&[
        "mount",
        "/srv/a b",
        "--to",
        "[fd00::2]:7400",
        "--key",
        "/k",
        "--name",
        "db",
        "--ack",
        "disk",
        "--alone",
        "--exclude",
        "/tmp/**",
        "--exclude",
        "/lock",
        "--low-latency",
        "--peer-timeout",
        "1500ms",
    ]);
    let Command::Mount(args) = cli.command else { panic!("a mount") };
    assert_eq!(args.to, Some("[fd00::2]:7400".parse().expect("an address")));
    assert_eq!(args.ack, Ack::Disk);
    assert_eq!(args.exclude, ["/tmp/**", "/lock"]);
    assert_eq!(args.peer_timeout, Duration::from_millis(1500));
    assert!(args.alone && args.low_latency && !args.passthrough);
}

#[test]
fn mount_defaults() {
    let Command::Mount(args) = parse(&["mount", "d", "--to", "10.0.0.2:7400", "--insecure"]).command else { panic!("a mount") };
    assert_eq!((args.ack, args.peer_timeout), (Ack::Memory, Duration::from_secs(1)));
    assert_eq!(args.peer_timeout, fsrepl::limits::PEER_TIMEOUT);
    assert!(args.protection.insecure && args.protection.key.is_none());
}

#[test]
fn passthrough_needs_no_peer() {
    assert!(matches!(parse(&["mount", "d", "--passthrough"]).command, Command::Mount(args) if args.passthrough));
}

#[test]
fn protection_must_be_chosen_once() {
    assert!(refused(&["mount", "d", "--to", "10.0.0.2:1"]).contains("--key"));
    assert!(refused(&["mount", "d", "--to", "10.0.0.2:1", "--key", "k", "--insecure"]).contains("--insecure"));
    assert!(refused(&["receive", "d", "--listen", "10.0.0.2:1"]).contains("--key"));
    assert!(refused(&["receive", "d", "--listen", "10.0.0.2:1", "--key", "k", "--insecure"]).contains("--insecure"));
}

#[test]
fn values_are_checked_where_they_enter() {
    let base = ["mount", "d", "--to", "10.0.0.2:1", "--insecure"];
    for (option, value, says) in [
        ("--peer-timeout", "1", "with its unit"),
        ("--peer-timeout", "0s", "with its unit"),
        ("--exclude", "tmp", "top of DIR"),
        ("--exclude", "/", "top of DIR"),
        ("--ack", "async", "reserved"),
        ("--ack", "never", "memory"),
        ("--name", "", "name"),
    ] {
        let error = refused(&[&base[..], &[option, value]].concat());
        assert!(error.contains(says), "{option} {value}: {error}");
    }
}

#[test]
fn config_check_takes_files_or_a_node() {
    let Command::Config(args) = parse(&["config", "check", "a/cluster.toml", "b/module.toml"]).command else { panic!("config") };
    let ConfigCommand::Check(check) = args.command;
    assert_eq!((check.files.len(), check.node), (2, None));
    assert!(matches!(parse(&["config", "check", "--json"]).command, Command::Config(_)));
    assert!(refused(&["config", "check", "x.toml", "--node", "a"]).contains("--node"));
    assert!(refused(&["config", "chekc"]).contains("check"));
}

#[test]
fn help_tells_the_essentials() {
    let mut root = Cli::command();
    root.build();
    for (command, essentials) in [
        ("mount", &["DIR", "--to", "--key", "--insecure", "--name", "--ack", "--alone", "--exclude", "Examples:", "ready"][..]),
        ("receive", &["DIR", "--listen", "--key", "--insecure", "--discard-local", "Examples:", "SIGTERM"]),
        ("status", &["NAME", "--json", "--run"]),
        ("sync", &["NAME", "--timeout", "disks of both"]),
        ("config", &["check", "mistakes"]),
        ("keygen", &["FILE", "key"]),
        ("demo", &["--keep", "--files", "--seconds", "--app", "postgresql", "mariadb"]),
        ("completions", &["SHELL"]),
        ("man", &["COMMAND"]),
    ] {
        let help = root.find_subcommand_mut(command).expect("a command").render_long_help().to_string();
        for word in essentials {
            assert!(help.contains(word), "{command} --help lacks {word}:\n{help}");
        }
        assert!(!help.contains("passthrough"), "{help}");
    }
    let help = root.render_long_help().to_string();
    assert!(!help.contains("demo-part") && help.contains("--config"), "{help}");
}

#[test]
fn a_witness_wants_an_address_and_keys() {
    let cli = parse(&["witness", "--listen", "10.0.0.9:7409", "--keys", "/etc/understudy/witness"]);
    let Command::Witness(args) = cli.command else { panic!("a witness") };
    assert_eq!(args.listen, "10.0.0.9:7409".parse().expect("an address"));
    assert_eq!(args.keys, PathBuf::from("/etc/understudy/witness"));
    assert!(refused(&["witness", "--keys", "/k"]).contains("--listen"));
    assert!(refused(&["witness", "--listen", "somewhere", "--keys", "/k"]).contains("10.0.0.2:7400"));
}
