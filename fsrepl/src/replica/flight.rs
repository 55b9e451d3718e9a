//! Operations that were sent and are not acknowledged. Pure: the caller completes what it gets.

use crate::id::Seq;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// What waits for the peer, with whatever `T` completes it.
pub struct Flight<T> {
    /// Complete when the peer has applied them, in order.
    memory: VecDeque<(Seq, T)>,
    /// Complete when the peer has them on stable storage, each by itself.
    stable: FxHashMap<Seq, T>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Flight { memory: VecDeque::new(), stable: FxHashMap::default() }
    }
}

impl<T> Flight<T> {
    /// Enters an operation; numbers rise.
    pub fn enter(&mut self, seq: Seq, stable: bool, done: T) {
        if stable {
            self.stable.insert(seq, done);
        } else {
            debug_assert!(self.memory.back().is_none_or(|(last, _)| *last < seq), "numbers rise");
            self.memory.push_back((seq, done));
        }
    }

    /// Takes what an acknowledgement completes.
    pub fn acknowledge(&mut self, applied: Seq, stable: impl IntoIterator<Item = Seq>, completed: &mut Vec<T>) {
        while self.memory.front().is_some_and(|(seq, _)| *seq <= applied) {
            completed.extend(self.memory.pop_front().map(|(_, done)| done));
        }
        completed.extend(stable.into_iter().filter_map(|seq| self.stable.remove(&seq)));
    }

    /// Takes everything: the peer is gone.
    pub fn drain(&mut self) -> Vec<T> {
        let mut all: Vec<T> = self.memory.drain(..).map(|(_, done)| done).collect();
        all.extend(self.stable.drain().map(|(_, done)| done));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_completes_in_order_and_stable_one_by_one() {
        let mut flight = Flight::default();
        flight.enter(1, false, "write 1");
        flight.enter(2, true, "fsync 2");
        flight.enter(3, false, "write 3");
        flight.enter(4, true, "fsync 4");
        let mut completed = Vec::new();
        flight.acknowledge(3, [], &mut completed);
        assert_eq!(completed, ["write 1", "write 3"]);
        flight.acknowledge(4, [4], &mut completed);
        assert_eq!(completed, ["write 1", "write 3", "fsync 4"]);
        assert_eq!(flight.drain(), ["fsync 2"]);
    }
}
