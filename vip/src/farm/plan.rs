//! What one server's filter is to do, worked out from the map: pure.
//!
//! A bucket has an owner, who gets new connections, and possibly *former* owners: living servers that had it
//! under an earlier distribution and may still hold connections in it. Only where there are none, a packet of an
//! unknown connection is certainly nobody's, and the owner's kernel may answer it with RST.

use super::beat::{Former, Mac, Map, Stamp};
use super::limits::BUCKETS;
use super::members::{Member, Members};
use super::share::Shares;
use std::collections::BTreeMap;

/// Neighbouring buckets that are treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First bucket.
    pub from: u32,
    /// Last bucket.
    pub to: u32,
    /// Who gets new connections; nobody when nobody serves.
    pub owner: Option<Member>,
    /// Who else may have old ones.
    pub former: Members,
}

/// What a server's filter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The map's.
    pub stamp: Stamp,
    /// This server.
    pub me: Member,
    /// The other living servers, each with its MAC address for each virtual address.
    pub others: BTreeMap<Member, Vec<Mac>>,
    /// Since which epoch each living server is in the farm: another one than before means another run of it.
    pub joined: BTreeMap<Member, u64>,
    /// Does this server answer ARP?
    pub arp: bool,
    /// All buckets that somebody has or had, in order.
    pub runs: Vec<Run>,
    /// Buckets, first to last, in which this server takes new connections: its own, without those that
    /// somebody else might still take.
    pub accepting: Vec<(u32, u32)>,
}

/// What is known of the others when a plan is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Is this run of this server in the map? Otherwise it takes nothing and answers no ARP, whatever the map
    /// gives to its number.
    pub seated: bool,
    /// MAC addresses of living servers.
    pub macs: BTreeMap<Member, Vec<Mac>>,
    /// Those that have loaded the map's rules: they have dropped what is not theirs any more.
    pub dropped: Members,
}

impl Plan {
    /// `former` is what this server knows of earlier distributions, more than what the map says perhaps.
    pub fn new(shares: &Shares, map: &Map, former: &[Former], me: Member, known: Known) -> Plan {
        let reachable: Members = known.macs.keys().copied().chain([me]).collect();
        let mut others = known.macs;
        others.remove(&me);
        let runs = runs(shares, map, former);
        // Also for those that cannot be reached from here: others may send them frames.
        let waiting = |run: &Run| run.former.iter().any(|member| member != me && !known.dropped.has(member));
        let mine = runs.iter().filter(|run| known.seated && run.owner == Some(me) && !waiting(run));
        let mut accepting: Vec<(u32, u32)> = Vec::new();
        for run in mine {
            match accepting.last_mut() {
                Some((_, to)) if *to + 1 == run.from => *to = run.to,
                _ => accepting.push((run.from, run.to)),
            }
        }
        let runs = within(&runs, reachable);
        let joined = map.seats.iter().map(|seat| (seat.member, seat.joined)).collect();
        Plan { joined, stamp: map.stamp, me, others, arp: known.seated && map.arp == Some(me), runs, accepting }
    }

    /// The owner of a bucket.
    pub fn owner(&self, bucket: u32) -> Option<Member> {
        self.runs.iter().find(|run| (run.from..=run.to).contains(&bucket)).and_then(|run| run.owner)
    }
}

fn runs(shares: &Shares, map: &Map, former: &[Former]) -> Vec<Run> {
    let owners = shares.owners(map.serving);
    let mut had = vec![Members::NONE; BUCKETS as usize];
    for old in former {
        // Of those that served then, only the runs that still live count.
        let lives = |member: Member| map.seat(member).is_some_and(|seat| seat.joined <= old.epoch);
        if old.serving.iter().any(lives) {
            for (had, owner) in had.iter_mut().zip(shares.owners(old.serving)) {
                if let Some(member) = owner.filter(|member| lives(*member)) {
                    *had = had.with(member);
                }
            }
        }
    }
    let each = (0_u32..).zip(owners.into_iter().zip(had));
    join(each.map(|(bucket, (owner, had))| {
        let former = owner.map_or(had, |owner| had.without(owner));
        Run { from: bucket, to: bucket, owner, former }
    }))
}

/// The same for a server that can send frames to `reachable` only.
fn within(runs: &[Run], reachable: Members) -> Vec<Run> {
    let owner = |run: &Run| run.owner.filter(|owner| reachable.has(*owner));
    join(runs.iter().map(|run| Run { owner: owner(run), former: run.former.and(reachable), ..*run }))
}

/// Joins neighbours that are treated alike, and leaves out what is nobody's.
fn join(parts: impl Iterator<Item = Run>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for part in parts {
        match runs.last_mut() {
            Some(run) if run.to + 1 == part.from && run.owner == part.owner && run.former == part.former => run.to = part.to,
            _ if part.owner.is_none() && part.former.is_empty() => {}
            _ => runs.push(part),
        }
    }
    runs
}

/// Adds what `map` says of itself and of the past to `former`; the latest start of each set is kept, of more
/// than `most` sets the latest.
pub fn remember(former: &mut Vec<Former>, map: &Map, most: usize) {
    let itself = Former { serving: map.serving, epoch: map.stamp.epoch };
    for new in map.former.iter().copied().chain([itself]).filter(|new| !new.serving.is_empty()) {
        match former.iter_mut().find(|old| old.serving == new.serving) {
            Some(old) => old.epoch = old.epoch.max(new.epoch),
            None => former.push(new),
        }
    }
    former.sort_by_key(|old| (std::cmp::Reverse(old.epoch), old.serving));
    former.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::super::beat::Seat;
    use super::super::share::Mode;
    use super::*;
    use std::cmp::Reverse;

    fn shares() -> Shares {
        Shares::new(Mode::Spread, vec![1, 1, 1])
    }

    fn set(members: &[Member]) -> Members {
        members.iter().copied().collect()
    }

    fn map(epoch: u64, serving: &[Member], seats: &[(Member, u64)]) -> Map {
        let seats = seats.iter().map(|(member, joined)| Seat { member: *member, run: 1, joined: *joined }).collect();
        Map { stamp: Stamp { epoch, by: Reverse(0) }, arp: Some(0), serving: set(serving), seats, former: Vec::new() }
    }

    fn plan(map: &Map, former: &[Former], me: Member, dropped: &[Member]) -> Plan {
        let macs = map.live().iter().map(|member| (member, vec![[2, 0, 0, 0, 0, member]])).collect();
        Plan::new(&shares(), map, former, me, Known { seated: true, macs, dropped: set(dropped) })
    }

    fn total(ranges: &[(u32, u32)]) -> u32 {
        ranges.iter().map(|(from, to)| to - from + 1).sum()
    }

    #[test]
    fn without_a_past_everybody_takes_its_own() {
        let map = map(1, &[0, 1, 2], &[(0, 1), (1, 1), (2, 1)]);
        let plans: Vec<Plan> = (0..3).map(|me| plan(&map, &[], me, &[])).collect();
        assert_eq!(plans.iter().map(|plan| total(&plan.accepting)).sum::<u32>(), BUCKETS);
        assert!(plans[0].arp && !plans[1].arp);
        assert_eq!(plans[0].runs, plans[2].runs);
        assert!(plans[0].runs.iter().all(|run| run.former.is_empty()));
    }

    /// The dead server's connections are nobody's: its share is taken at once, and unknown packets get RST.
    #[test]
    fn a_dead_servers_share_has_no_past() {
        let past = [Former { serving: set(&[0, 1, 2]), epoch: 1 }];
        let after = map(2, &[0, 1], &[(0, 1), (1, 1)]);
        let plan = plan(&after, &past, 0, &[]);
        assert!(plan.runs.iter().all(|run| run.former.is_empty()));
        assert!(total(&plan.accepting) > BUCKETS / 2 - BUCKETS / 20);
    }

    #[test]
    fn a_returning_server_waits_until_the_others_have_dropped() {
        let past = [Former { serving: set(&[0, 1]), epoch: 2 }, Former { serving: set(&[0, 1, 2]), epoch: 1 }];
        let back = map(3, &[0, 1, 2], &[(0, 1), (1, 1), (2, 3)]);
        let waiting = plan(&back, &past, 2, &[0]);
        let ready = plan(&back, &past, 2, &[0, 1]);
        assert!(total(&waiting.accepting) < total(&ready.accepting));
        assert!(total(&ready.accepting).abs_diff(BUCKETS / 3) < BUCKETS / 100);
        let owned = ready.runs.iter().filter(|run| run.owner == Some(2));
        assert!(owned.clone().count() > 0 && owned.clone().all(|run| run.former.count() == 1), "its connections are elsewhere");
        // Its own earlier run is dead: nothing of the others is in doubt because of it.
        assert!(ready.runs.iter().filter(|run| run.owner != Some(2)).all(|run| run.former.is_empty()));
    }

    #[test]
    fn a_drained_server_keeps_what_it_has() {
        let past = [Former { serving: set(&[0, 1, 2]), epoch: 1 }];
        let drained = map(2, &[0, 1], &[(0, 1), (1, 1), (2, 1)]);
        let plan = plan(&drained, &past, 2, &[0, 1, 2]);
        assert_eq!(total(&plan.accepting), 0);
        let doubtful = plan.runs.iter().filter(|run| run.former.has(2)).map(|run| run.to - run.from + 1).sum::<u32>();
        assert!(doubtful.abs_diff(BUCKETS / 3) < BUCKETS / 100);
    }

    #[test]
    fn who_cannot_be_reached_is_not_sent_to() {
        let map = map(1, &[0, 1, 2], &[(0, 1), (1, 1), (2, 1)]);
        let known = Known { seated: true, macs: BTreeMap::from([(1, vec![[2, 0, 0, 0, 0, 1]])]), dropped: Members::NONE };
        let plan = Plan::new(&shares(), &map, &[], 0, known);
        assert!(plan.runs.iter().all(|run| run.owner != Some(2)));
    }

    #[test]
    fn the_past_is_bounded_and_keeps_the_latest() {
        let mut former = Vec::new();
        for epoch in 1..100 {
            let serving = set(&[(epoch % 20) as Member]);
            remember(&mut former, &Map { serving, ..map(epoch, &[], &[]) }, 16);
        }
        assert_eq!(former.len(), 16);
        assert_eq!(former[0].epoch, 99);
        assert!(former.iter().all(|old| old.epoch >= 84));
    }
}
