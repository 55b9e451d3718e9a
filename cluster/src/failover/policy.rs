//! What the configuration says about a module.

use super::action::Timer;
use crate::NodeId;
use crate::heartbeat::Profile;
use crate::quorum::Kind;
use std::time::Duration;

/// Of one module on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who decides between isolated nodes.
    pub kind: Kind,
    /// Times.
    pub profile: Profile,
    /// Automatic failover (`understudy failover on|off`).
    pub failover: bool,
    /// Where the module should run.
    pub preferred: Option<NodeId>,
    /// It returns there by itself.
    pub failback: bool,
    /// Failures of the application within `restart_window` that are answered by a restart in place.
    pub max_restarts: usize,
    /// See there.
    pub restart_window: Duration,
    /// For the application.
    pub start_timeout: Duration,
    /// For the application.
    pub stop_timeout: Duration,
    /// A primary that lost its memory in sync starts without its peer, though that may have what was acknowledged from
    /// memory and is missing here ([ADR 20](../../docs/adr/0020-a-lone-primary-after-a-power-cut-waits.md)).
    pub start_after_power_cut: bool,
}

impl Policy {
    /// With the defaults of `module.toml`.
    pub fn new(kind: Kind, profile: Profile) -> Policy {
        Policy {
            kind,
            profile,
            failover: true,
            preferred: None,
            failback: false,
            max_restarts: 3,
            restart_window: Duration::from_secs(24 * 3600),
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(60),
            start_after_power_cut: false,
        }
    }

    /// Without a memory, isolated nodes may both go on, and that is resolved by rule.
    pub fn resolves(&self) -> bool {
        !self.kind.remembers()
    }

    /// How long a phase may take.
    pub fn time(&self, timer: Timer) -> Duration {
        match timer {
            Timer::Start => self.start_timeout,
            Timer::Stop => self.stop_timeout,
            // The last writes of both nodes reach the disks; a disk that needs longer is a failed one.
            Timer::Seal => Duration::from_secs(30),
            // The peer is there and ready: it needs a few round trips.
            Timer::Offer => self.profile.promote * 2,
            Timer::Settle => self.profile.settle,
        }
    }

    /// After something failed at once.
    pub fn rest(&self) -> Duration {
        self.profile.degrade
    }
}
