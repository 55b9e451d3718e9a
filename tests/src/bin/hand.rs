//! The tests' hand inside a host: its first process (`hand init NAME`), or one that does to files
//! what it is told on standard input (`hand act`, see `model`), or the application of a cluster (`hand till ADDRESS DIR...`).

use std::io::{Read, Write};
use std::process::exit;
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["init", name] => init(name),
        ["till", address, ref roots @ ..] if !roots.is_empty() => tests::cluster::till::serve(roots, address),
        ["act"] => tests::model::act::serve(),
        _ => {
            eprintln!("hand: `init NAME`, `till ADDRESS DIR...` or `act`");
            exit(2);
        }
    }
}

/// Lives until standard input ends, reaping what nobody else waits for.
fn init(name: &str) {
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
