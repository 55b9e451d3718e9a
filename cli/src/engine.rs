//! The one place where this crate meets the data plane's entry points.

use fsrepl::report::{Failure, FailureKind};
use fsrepl::wire::keys::{Auth, KeyRing};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

pub use fsrepl::node::{mount, receive};

/// Keys from `key`; without a file, no protection (the arguments made sure that this was asked for).
pub fn auth(key: Option<&Path>) -> Result<Auth, Failure> {
    let Some(file) = key else { return Ok(Auth::Insecure) };
    match KeyRing::load(file) {
        Ok(ring) => Ok(Auth::Keys(ring)),
        Err(why) => Err(Failure::new(
            FailureKind::Usage,
            "cannot use the key file",
            why.to_string(),
            "make one with `understudy keygen FILE`, and give both servers the same file",
        )),
    }
}

/// Makes a key file; an existing one is never overwritten.
pub fn keygen(file: &Path) -> Result<(), Failure> {
    KeyRing::generate_file(file).map(|_| ()).map_err(|why| {
        Failure::new(FailureKind::Failed, "cannot make a key file", why.to_string(), "name a new file in a directory that exists")
    })
}

/// Names of the replicas whose engines run here.
pub fn list(run: &Path) -> Result<Vec<String>, Failure> {
    Ok(fsrepl::node::control::list(run))
}

/// Asks the engine of `name`.
pub fn call(run: &Path, name: &str, verb: &str, timeout: Duration) -> Result<Value, Failure> {
    ask(run, name, verb, &Value::Null, timeout)
}

/// Asks the engine of `name` with arguments.
pub fn ask(run: &Path, name: &str, verb: &str, args: &Value, timeout: Duration) -> Result<Value, Failure> {
    fsrepl::node::control::call(run, name, verb, args, timeout)
}
