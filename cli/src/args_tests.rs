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
    let ConfigCommand::Check(check) = args.command else { panic!("a check") };
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
fn orders_name_a_module_and_how_long_to_wait() {
    let Command::Stop(args) = parse(&["stop", "db", "--node", "b", "--timeout", "10s", "--dry-run"]).command else { panic!("a stop") };
    assert_eq!((args.module.as_str(), args.node.as_deref(), args.pace.timeout), ("db", Some("b"), Duration::from_secs(10)));
    assert!(args.pace.dry_run && !args.pace.no_wait);
    let Command::Promote(args) = parse(&["promote", "db", "--accept", "outdated"]).command else { panic!("a promotion") };
    assert_eq!(args.accept, Some(Accept::Outdated));
    assert!(refused(&["promote", "db", "--accept", "all"]).contains("inconsistent"));
    let Command::Failover(args) = parse(&["failover", "off", "db"]).command else { panic!("a switch") };
    assert_eq!((args.to, args.order.module.as_str()), (Switch::Off, "db"));
    for before in [&[][..], &["--state", "/var/lib/x"]] {
        let Command::Wait(args) = parse(&[before, &["wait", "db", "--state", "prim"]].concat()).command else { panic!("a wait") };
        assert_eq!(args.wanted(), Some(StateWord::Prim));
    }
    assert!(refused(&["wait", "db", "--state", "RUNNING"]).contains("SECOND or UP"));
    assert!(refused(&["--state", "/var/lib/x", "wait", "db"]).contains("--state"));
    assert!(refused(&["wait", "db"]).contains("--state"));
    assert!(refused(&["swap", "db", "--node", "b"]).contains("--node"));
    assert!(refused(&["status", "--watch", "--check"]).contains("--check"));
}

#[test]
fn what_makes_a_configuration_is_read_where_it_enters() {
    let Command::Init(args) = parse(&["init", "--name", "shop", "--node", "a=10.0.0.1,fd00::1", "--node", "b=10.0.0.2,fd00::2"]).command
    else {
        panic!("an init")
    };
    assert_eq!(args.node[0].addresses, ["10.0.0.1", "fd00::1"].map(|address| address.parse::<std::net::IpAddr>().expect("one")));
    for bad in ["a", "a=", "=10.0.0.1", "a=host", "a=10.0.0.1,"] {
        assert!(refused(&["init", "--name", "shop", "--node", bad]).contains("alpha=10.0.0.1"), "{bad}");
    }
    assert!(refused(&["module", "create", "db", "--from", "mirror", "--set", "x"]).contains("KEY=VALUE"));
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

#[test]
fn rates_carry_units() {
    let rate = |word| match parse(&["mount", "/d", "--to", "10.0.0.2:7400", "--insecure", "--resync-max-rate", word]).command {
        Command::Mount(args) => args.resync_max_rate,
        other => panic!("{other:?}"),
    };
    assert_eq!(rate("50MiB/s"), Some(50 << 20));
    assert_eq!(rate("800kB/s"), Some(800_000));
    assert_eq!(rate("1000"), Some(1000));
    for bad in ["0", "fast", "5 parsecs", "MiB/s", "99999999999GiB/s", "-1MiB/s"] {
        let words = refused(&["mount", "/d", "--to", "10.0.0.2:7400", "--insecure", &format!("--resync-max-rate={bad}")]);
        assert!(words.contains("such as 50MiB/s"), "{bad}: {words}");
    }
}

#[test]
fn verify_takes_what_the_contract_says() {
    let Command::Verify(args) = parse(&["verify", "data", "--repair", "--direct", "--max-rate", "1MiB/s"]).command else {
        panic!("another command")
    };
    assert!(args.repair && args.direct && args.max_rate == Some(1 << 20) && !args.no_wait);
    refused(&["verify", "data", "--stop", "--repair"]);
}
