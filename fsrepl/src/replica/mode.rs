//! The state machine of the primary's replication, as one table. Pure: what happens is told, what follows is
//! returned; the shell ([`super::primary`]) does it.

/// What is done with operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not sent, acknowledged at once.
    Alone,
    /// Sent where the secondary of this sync session knows the object, acknowledged at once.
    Syncing(u32),
    /// Sent, acknowledged when the secondary says so.
    Mirror,
    /// The secondary is lost and not yet recorded as outdated: neither sent nor acknowledged.
    Holding,
}

/// What happens to the replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A secondary has agreed to follow: sync session with this number.
    Attached(u32),
    /// The resync has sent all there is.
    Synced,
    /// The connection is over.
    Lost,
    /// The loss is recorded durably and the arbiter agrees.
    Granted,
}

/// What the shell does besides changing the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Go,
    /// Keep every operation that waits for the secondary: it is not acknowledged by anybody.
    Hold,
    /// Complete what was held.
    Release,
}

impl Mode {
    /// The table. None: this cannot happen in this mode, and changes nothing.
    ///
    /// | mode | event | next | action | because |
    /// |---|---|---|---|---|
    /// | Alone | Attached | Syncing | go | the secondary follows, and differs |
    /// | Syncing | Synced | Mirror | go | it has all that the application was told of |
    /// | Syncing | Lost | Alone | go | nobody was promised anything by it |
    /// | Mirror | Lost | Holding | hold | it may be promoted until it is recorded as outdated |
    /// | Holding | Granted | Alone | release | now it cannot |
    pub fn after(self, event: Event) -> Option<(Mode, Action)> {
        match (self, event) {
            (Mode::Alone, Event::Attached(session)) => Some((Mode::Syncing(session), Action::Go)),
            (Mode::Syncing(_), Event::Synced) => Some((Mode::Mirror, Action::Go)),
            (Mode::Syncing(_), Event::Lost) => Some((Mode::Alone, Action::Go)),
            (Mode::Mirror, Event::Lost) => Some((Mode::Holding, Action::Hold)),
            (Mode::Holding, Event::Granted) => Some((Mode::Alone, Action::Release)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Mode; 4] = [Mode::Alone, Mode::Syncing(7), Mode::Mirror, Mode::Holding];
    const EVENTS: [Event; 4] = [Event::Attached(8), Event::Synced, Event::Lost, Event::Granted];

    #[test]
    fn a_mirror_is_never_left_without_holding_first() {
        for event in EVENTS {
            if let Some((next, action)) = Mode::Mirror.after(event) {
                assert_eq!((next, action), (Mode::Holding, Action::Hold), "{event:?}");
            }
        }
    }

    #[test]
    fn only_a_grant_releases_what_is_held() {
        for mode in MODES {
            for event in EVENTS {
                let released = matches!(mode.after(event), Some((_, Action::Release)));
                assert_eq!(released, mode == Mode::Holding && event == Event::Granted, "{mode:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_mirror_begins_only_at_the_end_of_a_resync() {
        for mode in MODES {
            for event in EVENTS {
                let mirrors = matches!(mode.after(event), Some((Mode::Mirror, _)));
                assert_eq!(mirrors, matches!(mode, Mode::Syncing(_)) && event == Event::Synced, "{mode:?} {event:?}");
            }
        }
    }
}
