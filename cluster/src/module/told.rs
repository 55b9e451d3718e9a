//! What happened to an application and its checks, as the failover machine is told.

use super::application::AppEvent;
use super::checks::CheckEvent;
use crate::config;
use crate::failover::{Event, OnFailure};

impl AppEvent {
    /// None: nothing new for the machine, whose clock tries again.
    pub fn told(self) -> Option<Event> {
        match self {
            AppEvent::Started => Some(Event::AppStarted),
            AppEvent::Failed(why) => Some(Event::AppFailed(why)),
            AppEvent::Stopped => Some(Event::AppStopped),
            AppEvent::StillHeld(_) => None,
        }
    }
}

impl CheckEvent {
    /// None: only a line in the log.
    pub fn told(self) -> Option<Event> {
        let (name, on_failure, why) = match self {
            CheckEvent::Failed { name, on_failure, why } => (name, on_failure, why),
            CheckEvent::Passed { .. } => return None,
            CheckEvent::Well => return Some(Event::ChecksWell),
        };
        match on_failure {
            config::OnFailure::Restart => Some(Event::AppFailed(format!("check {name}: {why}"))),
            config::OnFailure::Failover => Some(Event::CheckFailed(name, OnFailure::Failover)),
            config::OnFailure::Stop => Some(Event::CheckFailed(name, OnFailure::Stop)),
            config::OnFailure::Wait => Some(Event::CheckFailed(name, OnFailure::Wait)),
            config::OnFailure::Log => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_a_failure_and_a_log_is_nothing() {
        let failed = |on_failure| CheckEvent::Failed { name: "sql".into(), on_failure, why: "no answer".into() }.told();
        assert_eq!(failed(config::OnFailure::Restart), Some(Event::AppFailed("check sql: no answer".into())));
        assert_eq!(failed(config::OnFailure::Wait), Some(Event::CheckFailed("sql".into(), OnFailure::Wait)));
        assert_eq!(failed(config::OnFailure::Log), None);
        assert_eq!(CheckEvent::Well.told(), Some(Event::ChecksWell));
        assert_eq!(AppEvent::StillHeld("x".into()).told(), None);
    }
}
