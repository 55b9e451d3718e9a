//! Asks a daemon or an engine by its control socket: one JSON line each way (`docs/formats.md`).

use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The answer; an error of the daemon's is an `Err` with its words.
pub fn call(directory: &Path, name: &str, verb: &str, args: &Value, patience: Duration) -> Result<Value, String> {
    let answer = ask(directory, name, verb, args, patience).map_err(|why| why.to_string())?;
    if answer["ok"] == true { Ok(answer["result"].clone()) } else { Err(answer["error"].to_string()) }
}

fn ask(directory: &Path, name: &str, verb: &str, args: &Value, patience: Duration) -> io::Result<Value> {
    // Paths of sockets are short; that of the directory need not be.
    let directory = File::open(directory)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}.sock", directory.as_raw_fd()))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let request = json!({ "schema": 1, "verb": verb, "args": args }).to_string() + "\n";
    (&stream).write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
