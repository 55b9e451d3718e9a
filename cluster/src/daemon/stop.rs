//! What ends the daemon: a signal.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From its making on, SIGTERM and SIGINT end the daemon in order.
pub struct Stop(Signals);

impl Stop {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Stop> {
        Signals::new([SIGTERM, SIGINT]).map(Stop)
    }

    /// Waits for one.
    pub fn wait(mut self) {
        let _ = self.0.forever().next();
    }
}
