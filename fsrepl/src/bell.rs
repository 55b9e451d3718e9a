//! Waits that an event ends: what has nothing to do sleeps long, and wakes at once when there is something.

use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Rings once, and is heard by whoever waits or comes later, until it is muted.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// Wakes everybody who waits.
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.heard.notify_all();
    }

    /// It rings no more.
    pub fn mute(&self) {
        *self.rung.lock() = false;
    }

    /// Waits until it rings, at most `patience`; whether it does.
    pub fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut rung = self.rung.lock();
        while !*rung && !self.heard.wait_until(&mut rung, until).timed_out() {}
        *rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn who_waits_is_woken_and_who_comes_later_does_not_wait() {
        let bell = Arc::new(Bell::default());
        let waiting = bell.clone();
        let thread = std::thread::spawn(move || waiting.wait(LONG));
        bell.ring();
        assert!(thread.join().unwrap() && bell.wait(LONG));
        bell.mute();
        assert!(!bell.wait(Duration::ZERO));
    }
}
