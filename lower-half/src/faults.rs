//! The faults that can be asked for, `GPUCKPT_FAULT=PHASE:ACTION` in the environment
//! of `launch` or `restart`: tests of what a checkpoint leaves behind use them. One
//! table of phases and one of actions; what is in neither is an error.

use std::fmt;
use thiserror::Error;

/// The variable's name.
pub const VARIABLE: &str = "GPUCKPT_FAULT";

/// A point in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing refused, nothing was stopped yet.
    Preflight,
    /// The gate is closed; the device is about to be drained.
    Drain,
    /// The device is at rest; the threads are about to park.
    Rendezvous,
    /// The threads stand; host memory is about to be saved.
    Host,
    /// Host memory is saved; device memory is about to be.
    Device,
    /// All memory is saved; the small sections are about to be written.
    Manifest,
    /// The threads run on; the image is about to get its name.
    BeforeRename,
    /// The image has its name.
    AfterRename,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to the process.
    Abort,
    /// SIGSTOP to the process.
    Stop,
    /// The phase fails as on a full disk. What comes after the commit cannot fail.
    Enospc,
}

impl Phase {
    /// All phases, in their order, with their names.
    pub const ALL: [(&str, Self); 8] = [
        ("preflight", Self::Preflight),
        ("drain", Self::Drain),
        ("rendezvous", Self::Rendezvous),
        ("host", Self::Host),
        ("device", Self::Device),
        ("manifest", Self::Manifest),
        ("before-rename", Self::BeforeRename),
        ("after-rename", Self::AfterRename),
    ];
}

impl Action {
    /// All actions with their names.
    pub const ALL: [(&str, Self); 3] = [
        ("abort", Self::Abort),
        ("stop", Self::Stop),
        ("enospc", Self::Enospc),
    ];
}

/// A fault that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub phase: Phase,
    /// What.
    pub action: Action,
}

/// The variable holds something that is no fault.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FaultError {
    /// It has no colon.
    #[error(
        "{VARIABLE}={0:?} is not PHASE:ACTION: a phase is one of {phases}, an action one of {actions}",
        phases = Names(&Phase::ALL), actions = Names(&Action::ALL)
    )]
    Form(String),
    /// The part before the colon is unknown.
    #[error("{VARIABLE}: there is no phase {0:?}: it is one of {phases}", phases = Names(&Phase::ALL))]
    Phase(String),
    /// The part after the colon is unknown.
    #[error("{VARIABLE}: there is no action {0:?}: it is one of {actions}", actions = Names(&Action::ALL))]
    Action(String),
    /// The phase has nothing that could fail.
    #[error(
        "{VARIABLE}: enospc has no meaning after-rename: the image is committed; use abort or stop"
    )]
    Committed,
}

impl std::str::FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let form = || FaultError::Form(text.to_owned());
        let (phase, action) = text.split_once(':').ok_or_else(form)?;
        let fault = Self {
            phase: named(&Phase::ALL, phase).ok_or_else(|| FaultError::Phase(phase.to_owned()))?,
            action: named(&Action::ALL, action)
                .ok_or_else(|| FaultError::Action(action.to_owned()))?,
        };
        match (fault.phase, fault.action) {
            (Phase::AfterRename, Action::Enospc) => Err(FaultError::Committed),
            _ => Ok(fault),
        }
    }
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    let entry = table.iter().find(|(known, _)| *known == name)?;
    Some(entry.1)
}

struct Names<'a, T>(&'a [(&'a str, T)]);

impl<T> fmt::Display for Names<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, _)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(out, "{comma}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_and_action_is_known_by_its_name() {
        for (phase_name, phase) in Phase::ALL {
            for (action_name, action) in Action::ALL {
                let parsed = format!("{phase_name}:{action_name}").parse::<Fault>();
                if (phase, action) == (Phase::AfterRename, Action::Enospc) {
                    assert_eq!(parsed, Err(FaultError::Committed));
                } else {
                    assert_eq!(parsed, Ok(Fault { phase, action }));
                }
            }
        }
    }

    #[test]
    fn an_error_names_what_is_known() {
        for text in ["", "host", "nowhere:abort", ":abort", "Host:abort"] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            for (name, _) in Phase::ALL {
                assert!(error.contains(name), "{text}: {error}");
            }
        }
        for text in ["host", "host:", "host:explode", "host:abort:stop"] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            for (name, _) in Action::ALL {
                assert!(error.contains(name), "{text}: {error}");
            }
        }
    }
}
