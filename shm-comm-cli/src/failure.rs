//! What can go wrong, and the exit status that says so to a script.

use std::io;
use std::time::Duration;

use shm_comm::{AttachError, Error, Pattern};

use crate::text;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no channel {name:?} in {folder}\n  {hint}")]
    NoChannel { name: String, folder: String, hint: String },
    #[error("{0}")]
    NoField(String),
    #[error("timed out after {}: {what}", text::time(*waited))]
    TimedOut { what: String, waited: Duration },
    #[error("channel {channel:?} now carries `{now}`, and no longer `{before}`")]
    OtherType { channel: String, now: String, before: String },
    /// There is nothing that everybody may see.
    #[error("channel {channel:?} is a {pattern}: {reason}; `shm-comm info` shows how it stands")]
    NothingIsPublished { channel: String, pattern: Pattern, reason: &'static str },
    #[error("something is wrong")]
    Unhealthy,
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    #[error("{0}")]
    Library(#[from] Error),
}

impl Failure {
    /// The exit status: clap has 2 for wrong arguments, and a wrong field is one.
    pub fn status(&self) -> u8 {
        match self {
            Failure::NoField(_) | Failure::Library(Error::Attach(AttachError::BadName { .. })) => 2,
            Failure::NoChannel { .. } => 3,
            Failure::TimedOut { .. } => 4,
            Failure::OtherType { .. }
            | Failure::NothingIsPublished { .. }
            | Failure::Unhealthy
            | Failure::Output(_)
            | Failure::Library(_) => 1,
        }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Failure {
        Failure::Library(error.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Failure {
        Failure::Output(error.into())
    }
}
