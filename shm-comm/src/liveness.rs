//! Who is alive: a lock on a byte for each participant, which the kernel drops when it dies.
//!
//! No pid, no heartbeat, no time-out. A participant holds the byte of its id exclusively from
//! before its first use of the id until after its last. So whoever gets the byte of an id may clean
//! up what that id has left behind, and while he does, nobody else is that id. The bytes lie beyond
//! the end of any file.

use std::fs::File;
use std::io;

use crate::os::{self, Lock};

const BASE: u64 = 1 << 40;

/// Locked shared by everybody who is attached, see [`segment`](crate::segment).
pub const LIFECYCLE: u64 = BASE;

/// One place of a channel: a ring to write to, or a subscriber's pins and its bed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Publisher(u32),
    Subscriber(u32),
    /// Held beside its place by a subscriber that hears what is published: others may take the
    /// place for a moment, to clean it up.
    Listening(u32),
}

impl Place {
    fn byte(self) -> u64 {
        match self {
            Place::Publisher(ring) => BASE + 64 + u64::from(ring),
            Place::Subscriber(id) => BASE + 128 + u64::from(id),
            Place::Listening(id) => BASE + 192 + u64::from(id),
        }
    }

    /// Takes the place, if nobody alive has it.
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
        os::is_locked(file, self.byte())
    }
}

/// Takes the lowest free place of these. `None`: all are taken, again and again.
pub fn take_lowest(
    file: &File,
    places: impl Iterator<Item = Place> + Clone,
) -> io::Result<Option<Place>> {
    for attempt in 0..3 {
        if attempt > 0 {
            // A place may be taken for a moment by somebody who cleans it up.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for place in places.clone() {
            if place.take(file)? {
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}
