//! The one way to say that something cannot be saved or restored.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that stands in the way of a checkpoint or a restart. Nothing has
/// been stopped or changed when one is returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What it is: `descriptor 7 (socket:[4711])`, `mapping 0x1600…-0x1601… (/dev/fuse)`.
    pub object: String,
    /// Why it cannot be done.
    pub why: String,
    /// What the user can do.
    pub advice: String,
}

impl Refusal {
    /// A refusal in three parts.
    pub fn new(
        object: impl Into<String>,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            object: object.into(),
            why: why.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.object, self.why, self.advice)
    }
}

impl std::error::Error for Refusal {}
