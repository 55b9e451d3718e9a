//! The witness: per module one record, changed only by compare-and-swap. Requests may come twice, late and in any order;
//! the shell has the record on disk before it answers.
//!
//! It never decides who is better. It lets one claim win, and tells all others who did.

use crate::NodeId;
use crate::replica::Generation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most generations that a claim may name: more is no history of ours.
pub const LINEAGE: usize = 2 * crate::replica::HISTORY;
/// Most modules of one cluster.
pub const MODULES: usize = 4096;

/// What is known of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The generation that was granted or registered last.
    pub generation: Generation,
    /// Its primary.
    pub primary: NodeId,
    /// Who has everything of it, and may claim the next.
    pub in_sync: Vec<NodeId>,
    /// Counts changes.
    pub version: u64,
}

/// What is asked about one module (the set's id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What do you know? Also shows that the witness is there.
    Query,
    /// I want to go on alone as `next`. `lineage`: my generation, then those before it.
    Claim {
        /// Who asks.
        by: NodeId,
        /// Its current generation first.
        lineage: Vec<Generation>,
        /// The new one.
        next: Generation,
    },
    /// We are in sync, and the secondary has confirmed, after this witness showed `incarnation` and `version`, that it
    /// follows and claims nothing. Such a pair is all there is, so its word stands against any record.
    Register {
        /// Of the answer that the pair confirmed.
        incarnation: Uuid,
        /// Of the answer that the pair confirmed; 0 for a module that was not known.
        version: u64,
        /// Their generation.
        generation: Generation,
        /// Who leads.
        primary: NodeId,
        /// Both.
        in_sync: Vec<NodeId>,
    },
    /// An operator has decided. Overrules any record of `version`.
    Force {
        /// The record the operator was shown; 0 for none.
        version: u64,
        /// Who goes on.
        by: NodeId,
        /// As what.
        next: Generation,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To a query.
    Known {
        /// Of the witness' memory: a new one begins when its disk was lost.
        incarnation: Uuid,
        /// None: not known here.
        record: Option<Record>,
    },
    /// Yes. The same request gets the same answer as long as nothing else was granted.
    Granted {
        /// The generation that stands.
        generation: Generation,
    },
    /// Another one was granted.
    Refused {
        /// What stands.
        record: Record,
    },
    /// The witness has no memory of this module: it cannot tell, until a pair in sync registers.
    Blank,
    /// No request of this protocol.
    Malformed,
}

/// All that the witness keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    incarnation: Uuid,
    modules: BTreeMap<Uuid, Record>,
}

impl Witness {
    /// With an empty memory: the first start, or after the disk was lost.
    pub fn blank(incarnation: Uuid) -> Witness {
        Witness { incarnation, modules: BTreeMap::new() }
    }

    /// Of this memory.
    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// What is recorded of a module.
    pub fn record(&self, module: Uuid) -> Option<&Record> {
        self.modules.get(&module)
    }

    /// Answers. With `true` the record has changed and must be on disk before the answer leaves.
    pub fn handle(&mut self, module: Uuid, request: &Request) -> (Reply, bool) {
        let known = self.modules.get(&module);
        match request {
            Request::Query => (Reply::Known { incarnation: self.incarnation, record: known.cloned() }, false),
            Request::Claim { by, lineage, next } => match known {
                _ if lineage.is_empty() || lineage.len() > LINEAGE => (Reply::Malformed, false),
                None => (Reply::Blank, false),
                Some(record) if record.generation == *next && record.primary == *by => (granted(*next), false),
                Some(record) if may_claim(record, *by, lineage) => self.set(module, *next, *by, vec![*by]),
                Some(record) => (Reply::Refused { record: record.clone() }, false),
            },
            Request::Register { incarnation, version, generation, primary, in_sync } => {
                let stands = known
                    .is_some_and(|record| record.generation == *generation && record.primary == *primary && record.in_sync == *in_sync);
                match known {
                    _ if in_sync.len() != 2 || !in_sync.contains(primary) => (Reply::Malformed, false),
                    _ if *incarnation != self.incarnation => (Reply::Blank, false),
                    Some(_) if stands => (granted(*generation), false),
                    Some(record) if record.version != *version => (Reply::Refused { record: record.clone() }, false),
                    None if *version != 0 || self.modules.len() >= MODULES => (Reply::Blank, false),
                    _ => self.set(module, *generation, *primary, in_sync.clone()),
                }
            }
            Request::Force { version, by, next } => match known {
                Some(record) if record.generation == *next && record.primary == *by => (granted(*next), false),
                Some(record) if record.version != *version => (Reply::Refused { record: record.clone() }, false),
                None if *version != 0 || self.modules.len() >= MODULES => (Reply::Blank, false),
                _ => self.set(module, *next, *by, vec![*by]),
            },
        }
    }

    fn set(&mut self, module: Uuid, generation: Generation, primary: NodeId, in_sync: Vec<NodeId>) -> (Reply, bool) {
        let version = self.modules.get(&module).map_or(1, |record| record.version + 1);
        self.modules.insert(module, Record { generation, primary, in_sync, version });
        (granted(generation), true)
    }
}

fn granted(generation: Generation) -> Reply {
    Reply::Granted { generation }
}

/// A claim from the recorded generation wants membership of its in-sync set; one whose history contains the recorded
/// generation has gone on since, by the peer's consent.
fn may_claim(record: &Record, by: NodeId, lineage: &[Generation]) -> bool {
    match lineage.iter().position(|&generation| generation == record.generation) {
        Some(0) => record.in_sync.contains(&by),
        Some(_) => true,
        None => false,
    }
}
