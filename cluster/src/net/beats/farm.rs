//! Datagrams of farms: numbered, so that the copies that travel on several networks, and replays, are taken once.

use crate::NodeId;

/// Bytes before what the farm says.
const FIXED: usize = 18;

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who speaks.
    pub from: NodeId,
    /// Start of its daemon.
    pub epoch: u64,
    /// Counts this start's datagrams, to all nodes.
    pub seq: u64,
    /// What it says.
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// For the wire.
    pub fn encode(&self) -> Vec<u8> {
        [&self.from.0.to_le_bytes()[..], &self.epoch.to_le_bytes(), &self.seq.to_le_bytes(), self.bytes].concat()
    }

    /// From the wire.
    pub fn decode(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (fixed, bytes) = bytes.split_at_checked(FIXED)?;
        let from = NodeId(u16::from_le_bytes(fixed[..2].try_into().ok()?));
        let epoch = u64::from_le_bytes(fixed[2..10].try_into().ok()?);
        let seq = u64::from_le_bytes(fixed[10..].try_into().ok()?);
        Some(Packet { from, epoch, seq, bytes })
    }
}

/// Which numbers of a node were taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    epoch: u64,
    highest: u64,
    /// Bit 0: the highest.
    seen: u128,
}

impl Window {
    /// The node speaks as `epoch` now: earlier ones are replays.
    pub fn begin(&mut self, epoch: u64) {
        if epoch > self.epoch {
            *self = Window { epoch, highest: 0, seen: 0 };
        }
    }

    /// Whether this is the first time, and of a time that can still be told.
    pub fn take(&mut self, epoch: u64, seq: u64) -> bool {
        self.begin(epoch);
        if epoch < self.epoch || seq == 0 {
            return false;
        }
        if seq > self.highest {
            let by = u32::try_from(seq - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            self.highest = seq;
            return true;
        }
        let bit = u32::try_from(self.highest - seq).ok().and_then(|back| 1u128.checked_shl(back)).unwrap_or(0);
        let first = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_encoded_is_decoded() {
        let packet = Packet { from: NodeId(3), epoch: 4, seq: 5, bytes: b"share map" };
        assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        assert_eq!(Packet::decode(&packet.encode()[..FIXED - 1]), None);
    }

    proptest! {
        #[test]
        fn everything_is_taken_once_and_nothing_of_an_earlier_start(numbers in proptest::collection::vec((1u64..4, 1u64..300), 0..400)) {
            let (mut window, mut taken, mut newest) = (Window::default(), BTreeSet::new(), (0, 0));
            for (epoch, seq) in numbers {
                let took = window.take(epoch, seq);
                prop_assert!(!(took && taken.contains(&(epoch, seq))));
                prop_assert!(!(took && epoch < newest.0));
                if (epoch, seq) > newest {
                    prop_assert!(took, "news is never refused");
                    newest = (epoch, seq);
                }
                if took {
                    taken.insert((epoch, seq));
                }
            }
        }
    }
}
