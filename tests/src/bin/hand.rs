//! The tests' hand inside a host; see `tests::hand`.

use std::process::exit;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if !tests::hand::run(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        eprintln!("hand: `init NAME`, `till ADDRESS DIR...` or `act`");
        exit(2);
    }
}
