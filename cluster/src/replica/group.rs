//! The directories of a module as one replica: what decides looks at one.
//!
//! All directories of a node are at the same generation. Where they are not, the node's copy as a whole is at none: a primary
//! may have been interrupted while it began one, which the records prove; else the copy is torn, and counts as half a copy of the
//! newest. So of two nodes, the one that is ahead in some directory and behind in none is ahead, and one that is behind in any
//! cannot lead.

use super::{Data, Generation, HISTORY, Past, Replica, Right, Role, TRIED};

/// What the directories are together; the first decides where they cannot differ in order.
pub fn together(directories: &[Replica]) -> Replica {
    let Some(lead) = newest(directories) else { return directories.first().cloned().unwrap_or_default() };
    let kept: Vec<&Replica> = directories.iter().filter(|one| !is_new(one, lead)).collect();
    let torn = kept.iter().any(|one| !keeps_pace(one, lead));
    let data = kept.iter().map(|one| one.data).max_by_key(|data| badness(*data)).unwrap_or(lead.data);
    Replica {
        current: lead.current,
        history: histories(lead, &kept),
        data: if torn { Data::Inconsistent } else { data },
        role: lead.role,
        alone: kept.iter().any(|one| one.alone),
        clean: kept.iter().all(|one| one.clean),
        whole: kept.iter().all(|one| one.whole),
        rebooted: kept.iter().any(|one| one.rebooted),
        intent: kept.iter().filter_map(|one| one.intent).find(|intent| lead.current != Some(*intent)),
        tried: tried(&kept),
        yielded_to: lead.yielded_to.or_else(|| kept.iter().find_map(|one| one.yielded_to)),
        right: kept.iter().map(|one| one.right).min_by_key(|right| strength(*right)).unwrap_or(lead.right),
    }
}

/// The first that is in no other one's past.
fn newest(directories: &[Replica]) -> Option<&Replica> {
    let past = |generation: Generation| directories.iter().any(|other| other.history.iter().any(|past| past.generation == generation));
    let latest = directories.iter().find(|one| one.current.is_some_and(|current| !past(current)));
    latest.or_else(|| directories.iter().find(|one| one.current.is_some()))
}

/// A directory that was added since this node led the module: what is in it here goes with the rest.
fn is_new(one: &Replica, lead: &Replica) -> bool {
    one.current.is_none() && one.role == Role::None && lead.role == Role::Primary
}

/// At the same generation, or at the one before, where this node was interrupted while it began the next.
fn keeps_pace(one: &Replica, lead: &Replica) -> bool {
    if one.current == lead.current {
        return true;
    }
    let Some(past) = lead.history.iter().find(|past| Some(past.generation) == one.current) else { return false };
    let led_both = past.led && one.role == Role::Primary;
    let was_about_to = one.intent.is_some() && one.intent == lead.current;
    lead.role == Role::Primary && (led_both || was_about_to)
}

fn badness(data: Data) -> u8 {
    match data {
        Data::Uptodate => 0,
        Data::Outdated => 1,
        Data::Inconsistent => 2,
    }
}

/// Whose consent is needed: where records differ, the one that allows least.
fn strength(right: Right) -> u8 {
    match right {
        Right::Peer => 0,
        Right::Quorum => 1,
        Right::Here => 2,
    }
}

fn histories(lead: &Replica, all: &[&Replica]) -> Vec<Past> {
    let mut history = lead.history.clone();
    for past in all.iter().flat_map(|one| &one.history) {
        if Some(past.generation) != lead.current && !history.iter().any(|known| known.generation == past.generation) {
            history.push(*past);
        }
    }
    history.truncate(HISTORY);
    history
}

fn tried(all: &[&Replica]) -> Vec<Generation> {
    let mut tried: Vec<Generation> = Vec::new();
    for one in all.iter().flat_map(|one| &one.tried) {
        if !tried.contains(one) {
            tried.push(*one);
        }
    }
    let surplus = tried.len().saturating_sub(TRIED);
    tried.drain(..surplus);
    tried
}

#[cfg(test)]
mod tests {
    use super::super::{Leader, Nobody, Party, Relation, elect, relation};
    use super::*;
    use crate::NodeId;
    use uuid::Uuid;

    fn g(number: u128) -> Generation {
        Uuid::from_u128(number)
    }

    /// A replica at the last of these generations, all led here.
    fn led(generations: &[u128]) -> Replica {
        let mut replica = Replica::first(g(generations[0]));
        for &generation in &generations[1..] {
            replica.commit(g(generation), &[]);
        }
        replica
    }

    /// A copy of it that followed to the end.
    fn copy(of: &Replica) -> Replica {
        let mut replica = Replica::default();
        replica.follow();
        replica.adopt(of);
        replica
    }

    fn party(node: u16, replica: Replica) -> Party {
        Party { node: NodeId(node), replica, willing: true, serving: false }
    }

    fn related(mine: &[Replica], theirs: &[Replica]) -> Relation {
        relation(&together(mine), &together(theirs))
    }

    fn leader(mine: &[Replica], theirs: &[Replica]) -> Leader {
        elect(&party(0, together(mine)), &party(1, together(theirs)), false)
    }

    #[test]
    fn one_directory_is_what_it_is() {
        let mut replica = led(&[1, 2]);
        replica.intend(g(9));
        replica.tried.push(g(8));
        assert_eq!(together(std::slice::from_ref(&replica)), replica);
        assert_eq!(together(&[Replica::default()]), Replica::default());
        let nothing: Replica = together(&[]);
        assert_eq!(nothing, Replica::default());
    }

    #[test]
    fn equal_in_all_is_equal() {
        let lead = led(&[1, 2]);
        assert_eq!(related(&[lead.clone(), lead.clone()], &[copy(&lead), copy(&lead)]), Relation::Same);
    }

    #[test]
    fn ahead_in_all_is_ahead() {
        let (old, new) = (led(&[1]), led(&[1, 2]));
        assert_eq!(related(&[new.clone(), new], &[copy(&old), copy(&old)]), Relation::Ahead);
    }

    /// Interrupted between the directories while it went on alone: what it has is a whole copy, and ahead.
    #[test]
    fn ahead_in_one_and_equal_in_the_other_is_ahead() {
        let (old, new) = (led(&[1]), led(&[1, 2]));
        let mine = [new, Replica { alone: false, ..old.clone() }];
        let theirs = [copy(&old), copy(&old)];
        assert_eq!(together(&mine).data, Data::Uptodate);
        assert_eq!(related(&mine, &theirs), Relation::Ahead);
        assert_eq!((leader(&mine, &theirs), leader(&theirs, &mine)), (Leader::Me, Leader::Peer));
        let reversed = [mine[1].clone(), mine[0].clone()];
        assert_eq!(together(&reversed).current, Some(g(2)));
        assert_eq!(leader(&reversed, &theirs), Leader::Me);
    }

    #[test]
    fn a_secondary_that_is_behind_in_one_directory_cannot_lead() {
        let (old, new) = (led(&[1]), led(&[1, 2]));
        let theirs = [copy(&new), copy(&old)];
        assert_eq!(together(&theirs).data, Data::Inconsistent);
        assert_eq!(leader(&[new.clone(), new], &theirs), Leader::Me);
    }

    #[test]
    fn ahead_in_some_and_behind_in_others_has_parted() {
        let (old, mine, theirs) = (led(&[1]), led(&[1, 2]), led(&[1, 3]));
        let (a, b) = ([mine, old.clone()], [old, theirs]);
        assert!(matches!(related(&a, &b), Relation::Parted { .. }));
        assert_eq!(leader(&a, &b), Leader::Nobody(Nobody::Split));
    }

    /// One directory follows the peer's history already, the other still has its own.
    #[test]
    fn a_copy_of_two_histories_is_no_copy() {
        let (mine, theirs) = (led(&[1, 2]), led(&[1, 3]));
        let torn = [copy(&theirs), mine];
        assert_eq!(together(&torn).data, Data::Inconsistent);
        assert_eq!(leader(&[theirs.clone(), theirs], &torn), Leader::Me);
    }

    #[test]
    fn a_resync_of_one_directory_is_a_resync() {
        let lead = led(&[1]);
        let mut syncing = copy(&lead);
        syncing.follow();
        let copies = [copy(&lead), syncing];
        assert_eq!(together(&copies).data, Data::Inconsistent);
        assert_eq!(leader(&copies, &[lead.clone(), lead]), Leader::Peer);
    }

    #[test]
    fn who_gave_way_in_one_directory_gave_way() {
        let lead = led(&[1]);
        let mut gave = copy(&lead);
        gave.yield_to(g(2));
        let seen = together(&[copy(&lead), gave]);
        assert_eq!((seen.data, seen.yielded_to), (Data::Outdated, Some(g(2))));
    }

    /// A promotion that was interrupted: the intent proves from what the new generation was to begin.
    #[test]
    fn a_promotion_that_began_in_one_directory_is_whole() {
        let lead = led(&[1]);
        let mut other = copy(&lead);
        other.intend(g(2));
        let mut first = other.clone();
        first.commit(g(2), &[]);
        for directories in [[first.clone(), other.clone()], [other.clone(), first.clone()]] {
            let seen = together(&directories);
            assert_eq!((seen.current, seen.data, seen.intent), (Some(g(2)), Data::Uptodate, None));
        }
        // Without that proof it is torn.
        assert_eq!(together(&[first, copy(&lead)]).data, Data::Inconsistent);
    }

    #[test]
    fn a_directory_that_was_added_goes_with_the_node_that_led() {
        let lead = led(&[1, 2]);
        let (mine, theirs) = ([lead.clone(), Replica::default()], [copy(&lead), Replica::default()]);
        assert_eq!((together(&mine).data, together(&theirs).data), (Data::Uptodate, Data::Inconsistent));
        assert_eq!((leader(&mine, &theirs), leader(&theirs, &mine)), (Leader::Me, Leader::Peer));
    }

    #[test]
    fn a_copy_whose_other_directory_never_came_is_half() {
        let lead = led(&[1]);
        let mut joined = Replica::default();
        joined.follow();
        joined.role = Role::Secondary;
        assert_eq!(together(&[copy(&lead), joined]).data, Data::Inconsistent);
    }

    #[test]
    fn what_allows_least_counts() {
        let lead = led(&[1]);
        let mut armed = copy(&lead);
        armed.right = Right::Quorum;
        assert_eq!(together(&[armed.clone(), copy(&lead)]).right, Right::Peer);
        assert_eq!(together(&[armed.clone(), armed.clone()]).right, Right::Quorum);
        let cut = Replica { whole: false, rebooted: true, ..armed.clone() };
        let seen = together(&[armed, cut]);
        assert!(!seen.whole && seen.rebooted);
    }
}
