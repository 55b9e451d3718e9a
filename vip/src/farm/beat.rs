//! What servers of a farm tell each other, and its bytes: MessagePack, bounded, with a version. The carrier
//! (authenticated datagrams between the daemons) is the caller's.

use super::limits;
use super::members::{Member, Members};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Raised when an older server would misread a beat.
pub const VERSION: u8 = 1;

/// A MAC address.
pub type Mac = [u8; 6];

/// Order of maps: by epoch; of two made at once, the lower server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Counts changes.
    pub epoch: u64,
    /// Who made it.
    pub by: Reverse<Member>,
}

/// A server that lives, in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Its number.
    pub member: Member,
    /// Which run of it: a new one has no old connections.
    pub run: u64,
    /// Since which epoch this run is in the farm.
    pub joined: u64,
}

/// A distribution that was in force from `epoch` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Who served.
    pub serving: Members,
    /// Since when.
    pub epoch: u64,
}

/// Who lives, who serves, who answers ARP: made by the lowest server that lives, adopted by all.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Map {
    /// Its place in the order of maps.
    pub stamp: Stamp,
    /// Who answers ARP for the addresses.
    pub arp: Option<Member>,
    /// Who gets new connections.
    pub serving: Members,
    /// Who lives.
    pub seats: Vec<Seat>,
    /// Earlier distributions under which living servers may have got connections.
    pub former: Vec<Former>,
}

/// An operator's word about one server; the higher number holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Which server.
    pub member: Member,
    /// Counts the words about it.
    pub number: u32,
    /// No new connections?
    pub drained: bool,
}

/// What one server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// [`VERSION`].
    pub version: u8,
    /// [`super::Settings::digest`].
    pub digest: u64,
    /// The sender.
    pub from: Member,
    /// Its run.
    pub run: u64,
    /// Counts beats of this run.
    pub number: u64,
    /// It has just started and has no say yet.
    pub joining: bool,
    /// It is about to stop.
    pub leaving: bool,
    /// Its application is ready and open.
    pub up: bool,
    /// Whom it hears.
    pub hears: Members,
    /// The lowest settled server among itself and those with whom it is connected in both directions.
    pub lowest: Option<Member>,
    /// Newest map whose rules it has loaded: from there on it accepts nothing that the map gives to others.
    pub loaded: Stamp,
    /// Its MAC address for each virtual address.
    pub macs: Vec<Mac>,
    /// All operators' words it knows.
    pub drains: Vec<Drain>,
    /// The map it follows.
    pub map: Option<Map>,
}

/// Why a beat is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// Not ours, cut, or too large.
    #[error("a beat of {0} bytes cannot be read: {1}")]
    Unreadable(usize, String),
    /// Another version of the program.
    #[error("a beat has version {0}, this server speaks {VERSION}: run the same version on all servers")]
    Version(u8),
    /// Its content contradicts itself or the farm.
    #[error("a beat of server {0} is refused: {1}")]
    Refused(Member, &'static str),
}

impl Beat {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("a beat has no type that MessagePack lacks, and memory has no errors")
    }

    /// From bytes that anybody may have made.
    pub fn decode(bytes: &[u8]) -> Result<Beat, BeatError> {
        let unreadable = |why: String| BeatError::Unreadable(bytes.len(), why);
        if bytes.len() > limits::BEAT {
            return Err(unreadable(format!("more than {} bytes", limits::BEAT)));
        }
        // An array whose first element is the version: an array's header is one byte or three.
        let version = match bytes {
            [0x90..=0x9f, version @ 0..=0x7f, ..] => *version,
            _ => return Err(unreadable("it does not begin like one".into())),
        };
        if version != VERSION {
            return Err(BeatError::Version(version));
        }
        let mut rest = bytes;
        let beat: Beat = rmp_serde::from_read(&mut rest).map_err(|why| unreadable(why.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable(format!("{} bytes too many", rest.len())));
        }
        Ok(beat)
    }

    /// Does it make sense in a farm of `servers` servers and `addresses` addresses?
    pub fn check(&self, servers: usize, addresses: usize) -> Result<(), BeatError> {
        let known = |member: Member| usize::from(member) < servers;
        let everybody = Members::first(servers);
        let within = |members: Members| members.and(everybody) == members;
        let refuse = |why| Err(BeatError::Refused(self.from, why));
        if !known(self.from) || !within(self.hears) || self.lowest.is_some_and(|member| !known(member)) {
            return refuse("it names a server that the farm does not have");
        }
        if self.macs.len() != addresses {
            return refuse("it has another number of addresses");
        }
        if self.macs.iter().any(|mac| mac[0] & 1 == 1) {
            return refuse("it has a MAC address of a group");
        }
        if self.drains.len() > servers || self.drains.iter().any(|drain| !known(drain.member)) {
            return refuse("it drains a server that the farm does not have");
        }
        match &self.map {
            Some(map) if !map.is_sane(servers) => refuse("its map contradicts itself"),
            _ => Ok(()),
        }
    }
}

impl Map {
    fn is_sane(&self, servers: usize) -> bool {
        let live = self.live();
        let within = |members: Members| members.and(Members::first(servers)) == members;
        live.count() == self.seats.len()
            && within(live)
            && self.serving.and(live) == self.serving
            && self.arp.is_none_or(|member| live.has(member))
            && usize::from(self.stamp.by.0) < servers
            && self.stamp.epoch <= limits::EPOCH
            && self.seats.iter().all(|seat| seat.joined <= self.stamp.epoch)
            && self.former.len() <= limits::FORMER
            && self.former.iter().all(|former| within(former.serving) && former.epoch <= self.stamp.epoch)
    }

    /// Who lives.
    pub fn live(&self) -> Members {
        self.seats.iter().map(|seat| seat.member).collect()
    }

    /// The place of `member`.
    pub fn seat(&self, member: Member) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.member == member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn largest() -> Beat {
        let far = limits::EPOCH - 1;
        let everybody = Members::first(limits::MEMBERS);
        let members = || 0..limits::MEMBERS as Member;
        Beat {
            version: VERSION,
            digest: u64::MAX,
            from: 31,
            run: u64::MAX,
            number: u64::MAX,
            joining: false,
            leaving: false,
            up: true,
            hears: everybody,
            lowest: Some(0),
            loaded: Stamp { epoch: far, by: Reverse(31) },
            macs: vec![[0xfe; 6]; limits::ADDRESSES],
            drains: members().map(|member| Drain { member, number: u32::MAX, drained: true }).collect(),
            map: Some(Map {
                stamp: Stamp { epoch: far, by: Reverse(31) },
                arp: Some(31),
                serving: everybody,
                seats: members().map(|member| Seat { member, run: u64::MAX, joined: far }).collect(),
                former: vec![Former { serving: everybody, epoch: far }; limits::FORMER],
            }),
        }
    }

    #[test]
    fn the_largest_beat_fits() {
        let beat = largest();
        beat.check(limits::MEMBERS, limits::ADDRESSES).unwrap();
        let bytes = beat.encode();
        assert!(bytes.len() < 3 * 1024, "{}", bytes.len());
        assert_eq!(Beat::decode(&bytes).unwrap(), beat);
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = largest().encode();
        bytes[1] = 9;
        assert!(matches!(Beat::decode(&bytes), Err(BeatError::Version(9) | BeatError::Unreadable(..))));
        let mut small = Beat { version: 9, ..largest() };
        small.map = None;
        assert_eq!(Beat::decode(&small.encode()), Err(BeatError::Version(9)));
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: &dyn Fn(&mut Beat)| {
            let mut beat = largest();
            change(&mut beat);
            beat.check(limits::MEMBERS, limits::ADDRESSES).is_err()
        };
        assert!(refused(&|beat| beat.from = 32));
        assert!(refused(&|beat| beat.macs = Vec::new()));
        assert!(refused(&|beat| beat.macs[3][0] = 0xff));
        assert!(refused(&|beat| beat.drains[0].member = 77));
        assert!(refused(&|beat| beat.map.as_mut().unwrap().seats[0].member = 1));
        assert!(refused(&|beat| beat.map.as_mut().unwrap().stamp.epoch = u64::MAX));
        assert!(refused(&|beat| beat.map.as_mut().unwrap().seats.clear()));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Beat::decode(&bytes);
        }

        #[test]
        fn damaged_beats_do_no_harm(at in 0_usize..2_000, byte in any::<u8>(), cut in 0_usize..3_000) {
            let mut bytes = largest().encode();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut.min(length).max(1));
            if let Ok(beat) = Beat::decode(&bytes) {
                let _ = beat.check(limits::MEMBERS, limits::ADDRESSES);
            }
        }
    }
}
