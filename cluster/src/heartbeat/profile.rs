//! How fast is fast: every time of detection and patience, with its reason, in this one file.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Times of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Between beats: several must be lost in a row before silence means anything.
    pub pulse: Duration,
    /// Silence on the replication after which the primary asks to go on alone. Shorter than `promote`, so that a cut
    /// link leaves the application where it is: the primary has its grant before the secondary may ask.
    pub degrade: Duration,
    /// Silence on all networks after which the secondary may ask to be promoted.
    pub promote: Duration,
    /// How long the peer's own answer is waited for before the quorum is asked: a few round trips, since the peer's
    /// consent is worth more (it is on its disk) and costs the witness nothing.
    pub patience: Duration,
    /// Between repetitions of an unanswered question.
    pub resend: Duration,
    /// The witness is away after so much silence: then an in-sync pair agrees that the primary survives. Long enough that
    /// a restart of the witness changes nothing.
    pub witness_away: Duration,
    /// Between questions to the witness while all is well: idle clusters cost it little.
    pub witness_pulse: Duration,
    /// After the start, how long the peer is looked for before it counts as lost: both machines of a rack rarely boot
    /// in the same second.
    pub look: Duration,
    /// Held replies are answered with an error after this long: an application must not hang for ever.
    pub hold: Duration,
    /// How long all must be well before a module returns to its preferred node by itself.
    pub settle: Duration,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Profile {
    /// Two hosts on one quiet switch, cores of their own: a hiccup of 150 ms is a failure.
    pub const FAST: Profile = Profile {
        pulse: ms(25),
        degrade: ms(150),
        promote: ms(250),
        patience: ms(30),
        resend: ms(50),
        witness_away: ms(1_000),
        witness_pulse: ms(250),
        look: ms(3_000),
        hold: ms(30_000),
        settle: ms(60_000),
    };

    /// The default: a scheduler under load and a switch that relearns stay below half a second.
    pub const LAN: Profile = Profile {
        pulse: ms(100),
        degrade: ms(1_000),
        promote: ms(1_500),
        patience: ms(150),
        resend: ms(200),
        witness_away: ms(3_000),
        witness_pulse: ms(1_000),
        look: ms(5_000),
        hold: ms(60_000),
        settle: ms(60_000),
    };

    /// Virtual machines that are paused for up to 10 s (snapshot, migration): that must pass for health.
    pub const VIRTUAL: Profile = Profile {
        pulse: ms(250),
        degrade: ms(11_000),
        promote: ms(13_000),
        patience: ms(500),
        resend: ms(500),
        witness_away: ms(20_000),
        witness_pulse: ms(2_000),
        look: ms(20_000),
        hold: ms(120_000),
        settle: ms(300_000),
    };

    /// Links of tens of milliseconds that lose packets for seconds while routes change.
    pub const WAN: Profile = Profile {
        pulse: ms(250),
        degrade: ms(5_000),
        promote: ms(7_500),
        patience: ms(1_000),
        resend: ms(1_000),
        witness_away: ms(15_000),
        witness_pulse: ms(2_000),
        look: ms(15_000),
        hold: ms(120_000),
        settle: ms(300_000),
    };

    /// By the word in `cluster.toml`.
    pub fn named(name: &str) -> Option<Profile> {
        match name {
            "fast" => Some(Profile::FAST),
            "lan" => Some(Profile::LAN),
            "virtual" => Some(Profile::VIRTUAL),
            "wan" => Some(Profile::WAN),
            _ => None,
        }
    }

    /// What is wrong with times that were set one by one, in the operator's words.
    pub fn fault(&self) -> Option<&'static str> {
        if self.pulse.is_zero() {
            Some("pulse must be more than 0")
        } else if self.degrade < self.pulse * 4 {
            Some("degrade must be at least four pulses: one lost beat is no failure")
        } else if self.promote < self.degrade + self.patience.max(self.pulse * 2) {
            Some("promote must exceed degrade by the patience and by two pulses: a cut link must leave the application where it is")
        } else if self.hold < self.promote {
            Some("hold must not be shorter than promote")
        } else {
            None
        }
    }
}
