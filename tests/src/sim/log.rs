//! What is written down of a history: nothing while thousands are tried, a story when one is told again.

use super::queue::Ms;

/// How much is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tell {
    /// Nothing.
    #[default]
    Nothing,
    /// Faults, states and reasons.
    Story,
    /// Records, acknowledgements and questions as well.
    Everything,
}

/// The lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub tell: Tell,
    pub lines: Vec<String>,
    /// Times are told from here.
    pub zero: Ms,
}

impl Log {
    pub fn story(&mut self, now: Ms, who: &str, what: impl FnOnce() -> String) {
        if self.tell != Tell::Nothing {
            let now = now - self.zero;
            let line = format!("{:>4}.{:03}  {who:<8} {}", now / 1000, now % 1000, what());
            self.lines.push(line);
        }
    }

    pub fn detail(&mut self, now: Ms, who: &str, what: impl FnOnce() -> String) {
        if self.tell == Tell::Everything {
            self.story(now, who, || format!("· {}", what()));
        }
    }
}

/// For lines.
pub(super) fn name(node: usize) -> &'static str {
    ["node1", "node2", "witness"][node]
}
