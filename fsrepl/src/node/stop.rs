//! What ends an engine: a signal, or a failure that it cannot go on after.

use crate::report::Failure;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::time::Duration;

/// Why the engine wakes up.
#[derive(Debug)]
pub enum Wake {
    /// The operator wants it to end.
    Terminate,
    /// It cannot go on.
    Fatal(Failure),
}

/// Waits for the end.
pub struct Stop {
    wakes: Receiver<Wake>,
    sender: Sender<Wake>,
}

impl Stop {
    /// From now on SIGTERM, SIGINT and SIGHUP end the engine in order instead of killing it.
    pub fn listen() -> io::Result<Stop> {
        let (sender, wakes) = bounded(16);
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let forward = sender.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                // Full means that the end is on its way already.
                let _ = forward.try_send(Wake::Terminate);
            }
        })?;
        Ok(Stop { wakes, sender })
    }

    /// For threads that find that the engine cannot go on.
    pub fn sender(&self) -> Sender<Wake> {
        self.sender.clone()
    }

    /// Waits until something ends the engine, at most `patience`.
    pub fn wait(&self, patience: Duration) -> Option<Wake> {
        match self.wakes.recv_timeout(patience) {
            Ok(wake) => Some(wake),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Wake::Terminate),
        }
    }
}
