//! One mistake in a configuration file, as one line for the operator.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; 0: the file as a whole.
    pub line: usize,
    /// Which key, with the tables around it (`check.timeout`); empty: none in particular.
    pub key: String,
    /// What is there.
    pub found: String,
    /// What belongs there.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " found {}, expected {}", self.found, self.expected)
    }
}
