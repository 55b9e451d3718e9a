//! What a resync has to look at: what either side's change tracking names, or everything.

use crate::journal::DirtySet;

/// The work of one resync, decided at its beginning.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What may differ; everything where the tracking of either side does not suffice.
    pub dirty: DirtySet,
    /// Whether content is compared even where size and modification time are equal. Of no meaning for what the
    /// tracking names: that is always compared.
    pub hash: bool,
}

impl Plan {
    /// Compares all names and attributes, and the content of all files.
    pub fn everything() -> Plan {
        Plan { dirty: DirtySet::everything(), hash: true }
    }

    /// Compares what either side has marked since both were equal.
    pub fn changed(here: &DirtySet, there: &DirtySet) -> Plan {
        Plan { dirty: here.union(there), hash: true }
    }
}
