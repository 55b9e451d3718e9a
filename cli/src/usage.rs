//! Turns what clap says about a command line into the one line that the contract promises.

use clap::CommandFactory;
use clap::error::ErrorKind;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};

/// Help and version are printed and are no failure; everything else is bad usage.
pub fn explain(error: &clap::Error) -> Outcome {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            crate::output::text(&error.render().to_string());
            Ok(())
        }
        _ => Err(failure(error)),
    }
}

fn failure(error: &clap::Error) -> Failure {
    let rendered = error.render().to_string();
    let why = match error.kind() {
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command given".into(),
        _ => reason(&rendered),
    };
    Failure::new(FailureKind::Usage, "bad usage", why, format!("see `{} --help`", command(std::env::args())))
}

/// Everything before the usage block, on one line.
fn reason(rendered: &str) -> String {
    let mut line = String::new();
    for part in rendered.lines().map(str::trim).take_while(|part| !part.starts_with("Usage:")) {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        if part.is_empty() || part.starts_with("For more information") {
            continue;
        }
        let tip = part.strip_prefix("tip: ");
        line.push_str(match (line.is_empty(), tip) {
            (true, _) => "",
            (false, Some(_)) => "; ",
            (false, None) if line.ends_with(':') || line.ends_with('>') => " ",
            (false, None) => ", ",
        });
        line.push_str(tip.unwrap_or(part));
    }
    line
}

/// `understudy mount`, as far as a command can be recognised among what was typed.
fn command(words: impl Iterator<Item = String>) -> String {
    let known = crate::args::Cli::command();
    let typed = words.skip(1).find(|word| known.find_subcommand(word).is_some());
    typed.map_or_else(|| "understudy".into(), |word| format!("understudy {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn line(words: &[&str]) -> String {
        let error = crate::args::Cli::try_parse_from(words).expect_err("bad usage");
        let failure = explain(&error).expect_err("not help");
        assert_eq!(failure.kind.exit_code(), 2);
        failure.to_string()
    }

    #[test]
    fn every_mistake_is_one_line_with_a_cure() {
        for words in [
            &["understudy"][..],
            &["understudy", "mnt"],
            &["understudy", "mount"],
            &["understudy", "mount", "/d", "--to", "nowhere", "--insecure"],
            &["understudy", "mount", "/d", "--to", "10.0.0.2:7400"],
            &["understudy", "receive", "/d", "--listen", "10.0.0.2:7400", "--key", "k", "--insecure"],
            &["understudy", "status", "--frobnicate"],
        ] {
            let line = line(words);
            assert!(!line.contains('\n'), "{line:?}");
            assert!(line.ends_with("--help`"), "{line:?}");
        }
    }

    #[test]
    fn points_at_the_help_of_the_command() {
        let typed = |words: &str| command(words.split(' ').map(str::to_owned));
        assert_eq!(typed("/bin/understudy --json mount --peer-timeout 3"), "understudy mount");
        assert_eq!(typed("/bin/understudy mnt"), "understudy");
    }

    #[test]
    fn says_what_is_missing() {
        let line = line(&["understudy", "mount", "/d"]);
        assert!(line.contains("--to <IP:PORT>") && line.contains("--key <FILE>"), "{line}");
    }

    #[test]
    fn says_what_an_address_looks_like() {
        let line = line(&["understudy", "mount", "/d", "--to", "nowhere", "--insecure"]);
        assert!(line.contains("nowhere") && line.contains("10.0.0.2:7400"), "{line}");
    }

    #[test]
    fn reserved_modes_are_refused_by_their_word() {
        let line = line(&["understudy", "mount", "/d", "--to", "10.0.0.2:7400", "--insecure", "--ack", "fsync"]);
        assert!(line.contains("`fsync` is reserved"), "{line}");
    }
}
