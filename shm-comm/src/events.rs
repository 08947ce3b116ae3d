//! What happens to channels, as events of the `tracing` crate: nothing per message, and nothing at
//! all without the feature of that name.
//!
//! `info` for what is usual: segments made, retired and removed, handles attached and detached.
//! `warn` for what somebody should look at: the dead, lost locks, refusals, subscribers without a
//! publisher. The target of all of them is `shm_comm`.

#![cfg_attr(not(feature = "tracing"), allow(unused_variables))]

use std::path::Path;
use std::time::Duration;

use crate::error::AttachError;
use crate::header::Geometry;
use crate::options::Channel;
use crate::schema::Schema;

macro_rules! event {
    ($level:ident, $($fields:tt)*) => {
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "shm_comm", $($fields)*);
    };
}

/// A segment was made.
pub fn created(path: &Path, schema: &Schema, geometry: &Geometry) {
    let Geometry { depth, max_publishers, max_subscribers, .. } = *geometry;
    event!(
        info,
        path = %path.display(),
        schema = schema.canonical(),
        depth,
        max_publishers,
        max_subscribers,
        "channel created"
    );
}

/// A segment makes room for another of the same name.
pub fn retired(path: &Path) {
    event!(info, path = %path.display(), "channel replaced by one of another type or geometry");
}

/// A segment has lost its name.
pub fn removed(path: &Path) {
    event!(info, path = %path.display(), "channel removed");
}

/// A segment is found that everybody has left by dying.
pub fn stale(path: &Path) {
    event!(warn, path = %path.display(), "channel found without anybody: they have died");
}

/// A subscriber goes from a segment that was replaced to the one that has its name now.
pub fn followed(path: &Path, number: u32) {
    event!(info, path = %path.display(), kind = "subscriber", number, "followed to a new channel");
}

/// A handle has its place.
pub fn attached(path: &Path, kind: &str, number: u32) {
    event!(info, path = %path.display(), kind, number, "attached");
}

/// A handle has given its place up.
pub fn detached(path: &Path, kind: &str, number: u32) {
    event!(info, path = %path.display(), kind, number, "detached");
}

/// A handle could not be opened.
pub fn refused(channel: &Channel, kind: &str, error: &AttachError) {
    event!(warn, channel = channel.name, kind, %error, "attach refused");
}

/// A subscriber died, and what it left behind was cleaned up.
pub fn reaped(path: &Path, number: u32, pid: u32) {
    event!(warn, path = %path.display(), kind = "subscriber", number, pid, "reaped: it has died");
}

/// A publisher died, and another has its ring.
pub fn taken_over(path: &Path, number: u32, pid: u32) {
    event!(warn, path = %path.display(), kind = "publisher", number, pid, "taken over: it has died");
}

/// A descriptor of ours was closed by somebody else.
pub fn lock_lost(path: &Path) {
    event!(warn, path = %path.display(), "lock lost: its descriptor was closed by somebody else");
}

/// Somebody waits for a publisher that does not come.
pub fn lonely(path: &Path, waited: Duration) {
    event!(warn, path = %path.display(), ?waited, "a subscriber waits, and there is no publisher");
}
