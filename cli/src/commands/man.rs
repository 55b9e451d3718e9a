//! `understudy man`: manual pages, made from the same texts as `--help`.

use crate::args::{Cli, ManArgs};
use crate::output;
use clap::CommandFactory;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};

pub fn run(args: &ManArgs) -> Outcome {
    output::text(&page(args.command.as_deref())?);
    Ok(())
}

fn page(command: Option<&str>) -> Result<String, Failure> {
    let mut root = Cli::command();
    root.build();
    let shown = match command {
        None => root,
        Some(word) => root.find_subcommand(word).filter(|found| !found.is_hide_set()).cloned().ok_or_else(|| {
            let why = format!("`{word}` is no command");
            Failure::new(FailureKind::Usage, "no such manual page", why, "see `understudy --help`")
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(shown)
        .render(&mut page)
        .map_err(|error| Failure::new(FailureKind::Failed, "cannot make the manual page", error.to_string(), ""))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        assert!(page(None).expect("a page").contains("understudy"));
        let mount = page(Some("mount")).expect("a page");
        assert!(mount.contains("understudy\\-mount") && mount.contains("peer\\-timeout"), "{mount}");
        assert!(!mount.contains("passthrough"));
        assert_eq!(page(Some("demo-part")).expect_err("hidden").kind.exit_code(), 2);
    }
}
