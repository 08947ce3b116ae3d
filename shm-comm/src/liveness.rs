//! Who is alive: a lock on a byte for each participant, which the kernel drops when it dies.
//!
//! No heartbeat, no time-out. A participant holds the byte of its id exclusively from before its
//! first use of the id until after its last. So whoever gets the byte of an id may clean up what that
//! id has left behind, and while he does, nobody else is that id. The bytes lie beyond the end of any
//! file.

use std::fs::File;
use std::io;

use crate::os::{self, Lock};
use crate::ring::MAX_PARTICIPANTS;

const BASE: u64 = 1 << 40;

/// Locked shared by everybody who is attached, see [`segment`](crate::segment).
pub const LIFECYCLE: u64 = BASE;

/// Locked shared by every publisher; exclusively by whoever replaces the segment, see
/// [`segment`](crate::segment).
pub const PUBLISHERS: u64 = BASE + 1;

/// One place of a channel: a ring to write to, or a subscriber's pins and its bed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Publisher(u32),
    Subscriber(u32),
    /// Held beside its place by a subscriber that hears what is published: others may take the
    /// place for a moment, to clean it up.
    Listening(u32),
}

/// One kind of participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of a queue its pushers, of a service its servers.
    Publishers,
    /// Of a queue its pullers, of a service its clients.
    Subscribers,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Publishers => Side::Subscribers,
            Side::Subscribers => Side::Publishers,
        }
    }

    /// One of its places.
    pub fn place(self, number: u32) -> Place {
        match self {
            Side::Publishers => Place::Publisher(number),
            Side::Subscribers => Place::Subscriber(number),
        }
    }
}

/// Whether any subscriber listens to what is published in this file.
pub fn anyone_listens(file: &File) -> io::Result<bool> {
    let bytes = u64::from(MAX_PARTICIPANTS);
    Ok(os::locked_by_others(file, Place::Listening(0).byte(), bytes)? != Lock::None)
}

/// Whether anybody is attached to this file.
pub fn anyone_is_attached(file: &File) -> io::Result<bool> {
    Ok(os::locked_by_others(file, LIFECYCLE, 1)? != Lock::None)
}

/// How many of the publishers in this bitmap are alive, of `max` that there can be.
pub fn publishers(file: &File, publishers: u64, max: u32) -> usize {
    count(file, publishers, max, Place::Publisher)
}

/// How many of the places in this bitmap are taken by others, of `max` that there can be.
pub fn count(file: &File, bitmap: u64, max: u32, place: impl Fn(u32) -> Place) -> usize {
    (0..max)
        .filter(|number| bitmap >> number & 1 == 1)
        .filter(|number| place(*number).is_taken(file).unwrap_or(false))
        .count()
}

impl Place {
    /// Of which kind it is.
    pub fn side(self) -> Side {
        match self {
            Place::Publisher(_) => Side::Publishers,
            Place::Subscriber(_) | Place::Listening(_) => Side::Subscribers,
        }
    }

    /// Which of its kind it is.
    pub fn number(self) -> u32 {
        match self {
            Place::Publisher(number) | Place::Subscriber(number) | Place::Listening(number) => {
                number
            }
        }
    }

    fn byte(self) -> u64 {
        match self {
            Place::Publisher(ring) => BASE + 64 + u64::from(ring),
            Place::Subscriber(id) => BASE + 128 + u64::from(id),
            Place::Listening(id) => BASE + 192 + u64::from(id),
        }
    }

    /// Takes the place, if nobody has it locked.
    pub fn take(self, file: &File) -> io::Result<bool> {
        os::lock(file, self.byte(), Lock::Exclusive)
    }

    /// Gives the place up.
    pub fn leave(self, file: &File) {
        // It cannot fail on an open file; and if it did, closing the file would do it.
        let _ = os::lock(file, self.byte(), Lock::None);
    }

    /// Somebody other than the owner of `file` has the place.
    pub fn is_taken(self, file: &File) -> io::Result<bool> {
        Ok(os::locked_by_others(file, self.byte(), 1)? != Lock::None)
    }
}
