//! Loading rules by the program `nft`: whole or not at all, in bounded time.

use super::limits;
use super::rules::{self, Rules};
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is no such program.
    #[error("the farm's filter needs the program {0}, which is not there: install nftables (apt install nftables)")]
    NoNft(String),
    /// It could not be run.
    #[error("{program} cannot be run: {why}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        why: io::Error,
    },
    /// It does not know the words of the rules.
    #[error("{version} does not understand the farm's rules: install nftables 1.0.6 or newer. It says: {said}")]
    TooOld {
        /// What it says of itself.
        version: String,
        /// Its error.
        said: String,
    },
    /// The kernel refuses.
    #[error(
        "the kernel refuses the farm's rules: it needs nf_tables with netdev, jhash, dup and fwd (nft_hash, nft_fwd_netdev, nft_dup_netdev) and root's rights. nft says: {0}"
    )]
    Kernel(String),
    /// It did not end.
    #[error("nft did not end within {0:?} and was stopped; the rules are as they were")]
    Slow(Duration),
}

/// The filter of one module on this host.
#[derive(Debug)]
pub struct Filter {
    nft: String,
    table: String,
    /// Chains that are in the kernel.
    chains: BTreeSet<String>,
}

impl Filter {
    /// Nothing is loaded yet.
    pub fn new(nft: &str, module: &str) -> Filter {
        Filter { nft: nft.to_owned(), table: rules::table(module), chains: BTreeSet::new() }
    }

    /// Chains that are loaded: the next rules must remove those that they do not have.
    pub fn chains(&self) -> &BTreeSet<String> {
        &self.chains
    }

    /// Replaces the rules. After an error the old ones are in force.
    pub fn load(&mut self, rules: Rules) -> Result<(), FilterError> {
        run(&self.nft, &["-f", "-"], &rules.text, limits::NFT)?;
        self.chains = rules.chains;
        Ok(())
    }

    /// Changes what is in sets: [`rules::lease`].
    pub fn renew(&self, text: &str) -> Result<(), FilterError> {
        run(&self.nft, &["-f", "-"], text, limits::NFT).map(drop)
    }

    /// Removes everything of the module, also what a dead daemon has left. Nothing there is no error.
    pub fn remove(&mut self) -> Result<(), FilterError> {
        run(&self.nft, &["-f", "-"], &rules::removal(&self.table), limits::NFT)?;
        self.chains.clear();
        Ok(())
    }
}

/// Removes the tables of modules that are not among `keep`: those of a dead daemon, or of a module that is gone.
/// Gives the names of the tables that were removed. For the start of a daemon: it may take seconds.
pub fn remove_stale(nft: &str, keep: &[&str]) -> Result<Vec<String>, FilterError> {
    let kept: BTreeSet<String> = keep.iter().map(|module| rules::table(module)).collect();
    let listed = run(nft, &["list", "tables"], "", limits::NFT_LIST)?;
    let stale: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| name.starts_with(rules::PREFIX) && !kept.contains(*name))
        .map(str::to_owned)
        .collect();
    if !stale.is_empty() {
        let text: String = stale.iter().map(|table| rules::removal(table)).collect();
        run(nft, &["-f", "-"], &text, limits::NFT)?;
    }
    Ok(stale.into_iter().collect())
}

/// Gives what it wrote.
fn run(nft: &str, args: &[&str], input: &str, patience: Duration) -> Result<String, FilterError> {
    let start = |why: io::Error| FilterError::Start { program: nft.to_owned(), why };
    let mut command = Command::new(nft);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => FilterError::NoNft(nft.to_owned()),
        _ => start(why),
    })?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut to), Some(out), Some(err)) = pipes else { return Err(start(io::ErrorKind::BrokenPipe.into())) };
    std::thread::scope(|scope| {
        // A failed write is told by what nft says of it.
        scope.spawn(move || drop(to.write_all(input.as_bytes())));
        let out = scope.spawn(move || read(out));
        let err = scope.spawn(move || read(err));
        let ended = wait(&mut child, patience).map_err(start);
        let text = |thread: std::thread::ScopedJoinHandle<'_, String>| thread.join().unwrap_or_default();
        let (out, err) = (text(out), text(err));
        match ended? {
            Some(status) if status.success() => Ok(out),
            Some(_) => Err(named(nft, &err)),
            None => Err(FilterError::Slow(patience)),
        }
    })
}

fn read(mut pipe: impl io::Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// None: it was stopped.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    let mut nap = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(10));
    }
}

/// nft names a word that it does not know by its place; whatever else goes wrong, the kernel said no.
fn named(nft: &str, said: &str) -> FilterError {
    let said: String = said.trim().chars().take(limits::NFT_ERROR).collect();
    let old = ["syntax error", "unknown", "unsupported", "Could not parse"].iter().any(|word| said.contains(word));
    if !old {
        return FilterError::Kernel(said);
    }
    let version = Command::new(nft).arg("--version").stdin(Stdio::null()).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    FilterError::TooOld { version: if version.is_empty() { nft.to_owned() } else { version }, said }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that takes the place of nft.
    fn instead(script: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nft");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let name = path.to_str().unwrap().to_owned();
        (dir, name)
    }

    #[test]
    fn a_missing_nft_says_what_to_install() {
        let why = Filter::new("/nowhere/nft", "web").remove().unwrap_err().to_string();
        assert!(why.contains("/nowhere/nft") && why.contains("apt install nftables"), "{why}");
    }

    #[test]
    fn an_old_nft_is_named_with_its_version() {
        let (_dir, nft) = instead(
            "[ \"$1\" = --version ] && echo 'nftables v0.8.1 (Joe)' && exit 0\necho '/dev/stdin:3: Error: syntax error, unexpected jhash' >&2; exit 1",
        );
        let why = Filter::new(&nft, "web").remove().unwrap_err().to_string();
        assert!(why.contains("nftables v0.8.1 (Joe)") && why.contains("1.0.6 or newer"), "{why}");
    }

    #[test]
    fn a_kernel_without_support_is_named() {
        let (_dir, nft) = instead("cat >/dev/null; echo 'Error: Could not process rule: Operation not supported' >&2; exit 1");
        let why = Filter::new(&nft, "web").remove().unwrap_err();
        assert!(matches!(&why, FilterError::Kernel(said) if said.contains("Operation not supported")), "{why}");
    }

    #[test]
    fn only_tables_of_dead_farms_are_stale() {
        let list = "table inet firewall\ntable netdev understudy_farm_old\ntable arp understudy_farm_old\ntable netdev understudy_farm_web";
        let (dir, nft) = instead(&format!("[ \"$1\" = list ] && echo '{list}' && exit 0\ncat > $(dirname $0)/loaded"));
        assert_eq!(remove_stale(&nft, &["web"]).unwrap(), ["understudy_farm_old"]);
        let loaded = std::fs::read_to_string(dir.path().join("loaded")).unwrap();
        assert!(loaded.contains("delete table netdev understudy_farm_old"));
        assert!(!loaded.contains("web") && !loaded.contains("firewall"));
    }
}
