//! What a channel does with what it carries.

use std::fmt;

/// What the channel does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Pattern {
    /// Every subscriber gets every message.
    PubSub = 1,
    /// One worker gets each job.
    Queue = 2,
    /// One server answers each call.
    Service = 3,
}

/// All of them.
pub const PATTERNS: [Pattern; 3] = [Pattern::PubSub, Pattern::Queue, Pattern::Service];

impl Pattern {
    /// The one with this number in a header.
    pub(crate) fn of(number: u32) -> Option<Pattern> {
        PATTERNS.into_iter().find(|pattern| *pattern as u32 == number)
    }

    /// The ending of the file's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Pattern::PubSub => "pubsub",
            Pattern::Queue => "queue",
            Pattern::Service => "service",
        }
    }

    /// What those are called who have the places of publishers.
    pub(crate) fn publishers(self) -> &'static str {
        match self {
            Pattern::PubSub => "publishers",
            Pattern::Queue => "pushers",
            Pattern::Service => "servers",
        }
    }

    /// What those are called who have the places of subscribers.
    pub(crate) fn subscribers(self) -> &'static str {
        match self {
            Pattern::PubSub => "subscribers",
            Pattern::Queue => "pullers",
            Pattern::Service => "clients",
        }
    }
}

impl fmt::Display for Pattern {
    /// As in the file's name: `pubsub`, `queue`, `service`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.suffix())
    }
}
