//! The tests' hand inside a host: its first process (`init NAME`), or one that does to files what it is told on standard
//! input (`act`, see `model`), or the application of a cluster (`till ADDRESS DIR...`).

use std::io::{Read, Write};
use std::process::exit;
use std::time::Duration;

/// Does what `words` say until it ends; false if that is nothing a hand does.
pub fn run(words: &[&str]) -> bool {
    match *words {
        ["init", name] => init(name),
        ["till", address, ref roots @ ..] if !roots.is_empty() => crate::cluster::till::serve(roots, address),
        ["act"] => crate::model::act::serve(),
        _ => return false,
    }
    true
}

/// Lives until standard input ends, reaping what nobody else waits for.
fn init(name: &str) -> ! {
    rustix::system::sethostname(name.as_bytes()).expect("set the host's name");
    std::io::stdout().write_all(b"up\n").expect("tell that the host is up");
    std::thread::spawn(|| {
        let mut nothing = [0; 1];
        // Any end of the pipe is the end of the host.
        let _ = std::io::stdin().read(&mut nothing);
        exit(0);
    });
    loop {
        let reaped = rustix::process::wait(rustix::process::WaitOptions::empty());
        if reaped.is_err() {
            // No children at all; new orphans may come at any time.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
