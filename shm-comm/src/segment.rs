//! The file of one channel: who makes it, who may use it, who replaces it, who removes it.
//!
//! A segment is made complete before it has a name, and removed by the last one to leave. While
//! attached, every handle holds a *shared* lock on the lifecycle byte, through a descriptor of its
//! own. Who gets it exclusively knows that nobody is attached:
//!
//! ```text
//! attach   open ─ none there ─> make, lock shared, link ─ name taken ─> start over
//!            └─ exclusive? ─ yes ─> stale: unlink, start over
//!                 └─ no ─> shared ─> still named so? ─ no ─> start over
//! leave    unlock ─> exclusive? ─ yes ─> still named so? unlink
//! ```
//!
//! A leaver unlocks *before* it tries: two that upgrade their shared locks would both fail.
//!
//! A queue in which anything is left that nobody has done is neither removed by the last to leave, nor
//! stale: the next to come enters it.
//!
//! # Retiring
//!
//! Schema and geometry are the publishers' (of a queue the pushers', of a service the servers'). They hold
//! the *publishers* byte shared as well. One that
//! finds a segment of another schema or geometry, and gets that byte exclusively, knows that no
//! publisher is attached: it marks the segment as retired, sets it aside and makes a new one.
//! Subscribers see the mark, read what is left and open the name again. A subscriber may do the same
//! for an option which it sets and nobody has chosen, or if its messages are those of the channel with
//! more fields at their end. A queue with anything in it is never retired; whoever holds that byte alone
//! knows that nothing is pushed meanwhile. The calls that clients make to a service which is retired end with
//! the news that no server was there.
//!
//! A publisher may be gone before the subscribers of the segment that it has retired have seen the
//! mark. So that they find what it has published, a retired segment is not unlinked but renamed, and
//! unlinked by the last who leaves it. While somebody listens there, whoever leaves the segment of the
//! proper name last leaves it behind, and whoever finds it so enters it, though nobody is attached; or
//! is refused, if he cannot read it: others can. Only a publisher of other messages takes its place,
//! while somebody has still to come. There are eight names for segments that are set aside: if somebody
//! listens to each of those, the next one is unlinked at once.
//!
//! # Crash safety
//!
//! Killed before the link: the kernel frees the nameless file. Killed after it: the lock goes with
//! the process, and the next one to come finds a stale segment and replaces it. Killed between the
//! mark and the renaming: the next one to come does that. A segment that is set aside and that nobody
//! listens to any more is unlinked by whoever looks for it.
//!
//! Every unlink is by somebody who holds a byte exclusively without which nobody else unlinks that
//! file (a retirer keeps the lifecycle byte, too), so that it never hits a newer file of that name. Of a
//! segment that is set aside it is the publishers' byte, which nobody needs any more: members may stay
//! there that do not listen, because they keep a sample.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zerocopy::{FromBytes, IntoBytes};

use crate::door::{self, Door};
use crate::error::AttachError;
use crate::events;
use crate::header::{self, Geometry, Record, Records, Schemas};
use crate::liveness;
use crate::mapping::Mapping;
use crate::options::Channel;
use crate::os::{self, Lock};
use crate::pattern::Pattern;
use crate::process::{Descriptor, LockFile, Owner};
use crate::schema::{Schema, SchemaDiff};

/// How long to try while others come and go.
const PATIENCE: Duration = Duration::from_secs(2);

/// As what somebody attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Decides what the channel is if no other publisher is there.
    Publisher,
    /// Takes what is there, but for an option that nobody has chosen.
    Subscriber,
    /// A subscriber whose segment was retired. Takes what is there, and looks once: it is in the middle
    /// of a call.
    Follower {
        /// It has waited for others long enough, and makes what is not there, or replaces what others
        /// of an older schema have made who were first.
        makes: bool,
    },
}

/// An attached segment. Dropped: left, and removed if nobody else is there.
#[derive(Debug)]
pub struct Segment {
    member: Member,
    mapping: Arc<Mapping>,
}

impl Segment {
    /// Attaches to the channel, which is made if it is not there. `retire` tells those who are
    /// attached to a segment that it is retired.
    pub fn attach(
        channel: &Channel,
        pattern: Pattern,
        schemas: &Schemas,
        role: Role,
        retire: &dyn Fn(&Arc<Mapping>),
    ) -> Result<Segment, AttachError> {
        let door = Arc::new(Door::of(channel, pattern, true)?);
        Wanted { door, channel, pattern, schemas, role, retire }.enter()
    }

    /// Removes a segment to which nobody is attached, and says whether there was one.
    pub fn remove_stale(channel: &Channel, pattern: Pattern) -> Result<bool, AttachError> {
        match Door::find(channel, pattern)? {
            Some(door) => {
                let removed = door.remove_aside();
                Ok(door.remove_if_stale()? | removed)
            }
            None => Ok(false),
        }
    }

    pub fn geometry(&self) -> &Geometry {
        self.mapping.geometry()
    }

    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.member.door.path()
    }

    /// The file, for locks: every handle has opened it for itself.
    pub fn file(&self) -> &File {
        self.member.file.file()
    }

    /// The same, which may have been closed by somebody else.
    pub fn descriptor(&self) -> &Descriptor {
        &self.member.file
    }

    /// The process that has attached: a child that was forked since may touch nothing here.
    pub fn owner(&self) -> Owner {
        self.member.file.owner()
    }

    /// Whether locks can be asked and changed: see [`LockFile::is_intact`].
    pub fn is_locked(&self) -> bool {
        self.member.file.is_intact()
    }

    /// Makes the memory of a ring real.
    pub fn allocate_ring(&self, ring: u32) -> Result<(), AttachError> {
        let (offset, len) = (self.geometry().ring_offset(ring), self.geometry().ring_stride);
        // What somebody has allocated who was killed before he could use it is not to be missing now.
        os::release(self.file(), offset, len);
        os::allocate(self.file(), offset, len)
            .map_err(|error| self.member.door.no_room("allocate", error, self.file(), len))
    }

    /// Wraps an error of the system in what was tried.
    pub fn os(&self, action: &'static str) -> impl Fn(io::Error) -> AttachError + use<> {
        self.member.door.os(action)
    }

    /// Describes a participant. It is no error if it cannot: the lock is what counts.
    pub fn write_record(&self, offset: u64, record: &Record) {
        let bytes = record.as_bytes();
        if offset + bytes.len() as u64 <= os::file_size_limit() {
            let _ = self.file().write_all_at(bytes, offset);
        }
    }

    /// A word of the file, read without touching its memory; 0 if there is none.
    pub fn read_word(&self, offset: u64) -> u64 {
        read_word(self.file(), offset)
    }

    /// What a participant said of itself.
    pub fn read_record(&self, offset: u64) -> Record {
        read_record(self.file(), offset)
    }
}

/// A word of a file, read without touching its memory; 0 if there is none.
pub fn read_word(file: &File, offset: u64) -> u64 {
    let mut word = [0; 8];
    let read = file.read_exact_at(&mut word, offset);
    read.map_or(0, |()| u64::from_ne_bytes(word))
}

/// What a participant said of itself; nothing if that cannot be read.
pub fn read_record(file: &File, offset: u64) -> Record {
    let mut bytes = [0; size_of::<Record>()];
    let read = file.read_exact_at(&mut bytes, offset);
    read.ok().and_then(|()| Record::read_from_bytes(&bytes).ok()).unwrap_or_default()
}

/// Somebody who holds the lifecycle byte. Dropped: leaves, and removes the file if nobody else does.
#[derive(Debug)]
struct Member {
    file: LockFile,
    door: Arc<Door>,
}

impl Drop for Member {
    fn drop(&mut self) {
        // In a forked child the locks are those of its parent; and a descriptor that is not ours
        // any more may be anything.
        if !self.file.is_intact() {
            return;
        }
        let (file, door) = (self.file.file(), &self.door);
        // What fails here leaves a file behind, which the next to come replaces.
        let _ = os::lock(file, liveness::PUBLISHERS, Lock::None);
        let _ = os::lock(file, liveness::LIFECYCLE, Lock::None);
        if !os::lock(file, liveness::LIFECYCLE, Lock::Exclusive).unwrap_or(false) {
            return;
        }
        let _ = match door.is_named(file) {
            Ok(true) if door.is_awaited() => {
                // The last of those who are awaited may leave at this moment, and leave it to us.
                let _ = os::lock(file, liveness::LIFECYCLE, Lock::None);
                if door.is_awaited() { Ok(false) } else { door.remove_if_stale() }
            }
            // What is in it is for whoever comes.
            Ok(true) if door.keeps_jobs(file) => Ok(false),
            Ok(true) => door.unlink(file).map_err(door.os("remove")),
            // This one was replaced. Whoever has followed has left, too.
            _ => door.unlink_aside(file).map_err(door.os("remove")).and(door.remove_if_stale()),
        };
    }
}
/// Somebody who is about to attach.
struct Wanted<'a> {
    door: Arc<Door>,
    channel: &'a Channel,
    pattern: Pattern,
    schemas: &'a Schemas,
    role: Role,
    retire: &'a dyn Fn(&Arc<Mapping>),
}

/// What came of one attempt to attach.
enum Entered {
    Segment(Segment),
    /// It was stale, or somebody else was first, or is removing it. Start over.
    NotYet,
    /// It was retired by us, and had publishers of generations up to this. Make the next, and at once.
    Retired(u32),
}

impl Wanted<'_> {
    /// Opens or makes the segment and holds its lifecycle byte.
    fn enter(&self) -> Result<Segment, AttachError> {
        // Of our own pauses, not by the clock: we may have been stopped ourselves.
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_micros(1);
        let mut first_generation = 0;
        loop {
            let entered = match self.door.open()? {
                Some(file) => self.enter_existing(file)?,
                None if self.role == (Role::Follower { makes: false }) => Entered::NotYet,
                None => self.make(first_generation)?,
            };
            let busy = || AttachError::Busy { path: self.door.path().to_owned(), waited: PATIENCE };
            match entered {
                Entered::Segment(segment) => return Ok(segment),
                Entered::Retired(generations) => {
                    first_generation = first_generation.max(generations);
                }
                Entered::NotYet if self.is_follower() => return Err(busy()),
                Entered::NotYet => std::thread::sleep(pause),
            }
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(1));
            if waited > PATIENCE {
                return Err(busy());
            }
        }
    }

    fn is_follower(&self) -> bool {
        matches!(self.role, Role::Follower { .. })
    }

    fn enter_existing(&self, file: LockFile) -> Result<Entered, AttachError> {
        let door = &self.door;
        door.trust(file.file())?;
        let lock = |file: &LockFile, byte, lock| {
            os::lock(file.file(), byte, lock).map_err(door.os("lock"))
        };
        let nobody_is_there = lock(&file, liveness::LIFECYCLE, Lock::Exclusive)?;
        if nobody_is_there && !self.was_left_behind(&file) {
            door.remove_stale(&file)?;
            return Ok(Entered::NotYet);
        }
        if !lock(&file, liveness::LIFECYCLE, Lock::Shared)? {
            return Ok(Entered::NotYet);
        }
        // From here on somebody may have found that he is not the last because of us.
        let member = Member { file, door: door.clone() };
        let is_named = |file: &LockFile| door.is_named(file.file()).map_err(door.os("inspect"));
        if !is_named(&member.file)? {
            return Ok(Entered::NotYet);
        }
        let found = door.describe(member.file.file())?;
        if is_retired(member.file.file(), &found.geometry) {
            if !lock(&member.file, liveness::PUBLISHERS, Lock::Exclusive)? {
                return Ok(Entered::NotYet);
            }
            // Whoever has retired it died before he took the name away.
            door.set_aside(member.file.file()).map_err(door.os("set aside"))?;
            return Ok(Entered::Retired(generations(member.file.file(), &found.geometry)));
        }
        let is_current =
            |file: &LockFile| Ok(!is_retired(file.file(), &found.geometry) && is_named(file)?);
        match self.agree(&found) {
            Ok(()) => {
                if self.role == Role::Publisher {
                    if !lock(&member.file, liveness::PUBLISHERS, Lock::Shared)? {
                        return Ok(Entered::NotYet);
                    }
                    // Now nobody can retire it any more; but somebody may have.
                    if !is_current(&member.file)? {
                        return Ok(Entered::NotYet);
                    }
                }
                self.mapped(member, &found.geometry)
            }
            Err(mismatch) if !self.may_replace(&mismatch, &found) => Err(mismatch),
            // Others come for what is in it. A publisher that has other messages does not wait for them.
            Err(mismatch)
                if self.role != Role::Publisher
                    && has_messages(member.file.file(), &found.geometry)
                    && (nobody_is_there || door.is_awaited()) =>
            {
                Err(mismatch)
            }
            // Those that are left are not his.
            Err(mismatch) if door::keeps_jobs(member.file.file(), &found.geometry) => Err(mismatch),
            Err(_) if self.role == (Role::Follower { makes: false }) => Ok(Entered::NotYet),
            Err(mismatch) => {
                if lock(&member.file, liveness::PUBLISHERS, Lock::Exclusive)? {
                    // Nobody pushes any more; but somebody may have.
                    if door::keeps_jobs(member.file.file(), &found.geometry) {
                        return Err(mismatch);
                    }
                    if is_current(&member.file)? {
                        let mapping = self.mapping(&member.file, &found.geometry)?;
                        (self.retire)(&mapping);
                        events::retired(door.path());
                        door.set_aside(member.file.file()).map_err(door.os("set aside"))?;
                        let generations = generations(member.file.file(), &found.geometry);
                        return Ok(Entered::Retired(generations));
                    }
                    return Ok(Entered::NotYet);
                }
                // Another publisher, unless somebody is just retiring it, or has.
                let others = os::locked_by_others(member.file.file(), liveness::PUBLISHERS, 1);
                let publishers = others.map_err(door.os("lock"))? == Lock::Shared;
                if publishers && is_current(&member.file)? {
                    Err(mismatch)
                } else {
                    Ok(Entered::NotYet)
                }
            }
        }
    }

    /// Whether a segment to which nobody is attached was left behind for subscribers of the one before
    /// it, be it us or others; or for what is in it.
    fn was_left_behind(&self, file: &LockFile) -> bool {
        (self.is_follower() || self.door.is_awaited() || self.door.keeps_jobs(file.file()))
            && self.door.describe(file.file()).is_ok_and(|found| {
                holds(&found, &self.channel.name, self.pattern).is_ok()
                    && !is_retired(file.file(), &found.geometry)
            })
    }

    fn make(&self, first_generation: u32) -> Result<Entered, AttachError> {
        let (door, name) = (&self.door, &self.channel.name);
        let records = Records::of(self.schemas).map_err(|(schema, error)| {
            let (channel, type_name) = (name.clone(), schema.name());
            AttachError::Indescribable { channel, type_name, error }
        })?;
        let (len, page) = ((name.len() + records.len()) as u64, os::page_size());
        let mut geometry = Geometry::plan(self.pattern, self.channel, self.schemas, len, page)?;
        // If who has retired the one before is dead, this one is as good.
        let former = door.former().filter_map(|file| {
            let found = door.trust(file.file()).and_then(|_| door.describe(file.file()));
            Some(generations(file.file(), &found.ok()?.geometry))
        });
        geometry.first_generation = former.fold(first_generation, u32::max);
        let needed = geometry.allocated();
        let no_room = |action, file| move |error| door.no_room(action, error, file, needed);
        if geometry.file_size > os::file_size_limit() {
            return Err(door.os("size")(io::ErrorKind::FileTooLarge.into()));
        }
        let file = door.create().map_err(no_room("create", door.folder()))?;
        file.file().set_len(geometry.file_size).map_err(no_room("size", file.file()))?;
        os::allocate(file.file(), 0, needed).map_err(no_room("allocate", file.file()))?;
        let bytes = header::write(self.channel, self.schemas, &records, &geometry);
        file.file().write_all_at(&bytes, 0).map_err(door.os("write"))?;
        let shared = |byte| os::lock(file.file(), byte, Lock::Shared).map_err(door.os("lock"));
        shared(liveness::LIFECYCLE)?;
        if self.role == Role::Publisher {
            shared(liveness::PUBLISHERS)?;
        }
        match door.link(file.file()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Entered::NotYet);
            }
            Err(error) => return Err(no_room("name", file.file())(error)),
        }
        events::created(door.path(), &self.schemas.message, &geometry);
        let member = Member { file, door: door.clone() };
        self.mapped(member, &geometry)
    }

    fn mapped(&self, member: Member, geometry: &Geometry) -> Result<Entered, AttachError> {
        let mapping = self.mapping(&member.file, geometry)?;
        Ok(Entered::Segment(Segment { member, mapping }))
    }

    fn mapping(&self, file: &LockFile, geometry: &Geometry) -> Result<Arc<Mapping>, AttachError> {
        let mapping = Mapping::of(file, geometry).map_err(self.door.os("map"))?;
        let changed = "its header is not the one that this process has seen";
        mapping.ok_or_else(|| self.door.refused(changed))
    }

    /// Whether a segment of which this is wrong may be replaced, if no publisher is attached.
    fn may_replace(&self, mismatch: &AttachError, found: &header::Description) -> bool {
        let is_of_schema = matches!(mismatch, AttachError::SchemaMismatch { .. });
        let is_of_geometry = matches!(mismatch, AttachError::GeometryMismatch { .. });
        match self.role {
            Role::Publisher => is_of_schema || is_of_geometry,
            // Who waits for the older messages can read the newer ones, but not the other way round.
            _ if is_of_schema => {
                self.keeps_options(found)
                    && self.pattern != Pattern::Service
                    && self.schemas.message.extends(&found.schemas.message).is_ok()
            }
            // An older reader would take the channel from the newer ones.
            Role::Subscriber if is_of_geometry => {
                self.keeps_options(found) && found.schemas == *self.schemas
            }
            _ => false,
        }
    }

    /// Whether every option that somebody has chosen is wanted as it is.
    fn keeps_options(&self, found: &header::Description) -> bool {
        let asked = header::options_of(self.channel);
        let mut options = asked.into_iter().zip(found.geometry.options()).enumerate();
        options
            .all(|(option, (asked, value))| found.chosen >> option & 1 == 0 || asked == Some(value))
    }

    /// Whether messages of another schema will do. Whoever only reads may know less than all fields, if
    /// the rest comes after them.
    fn read(&self, channel: &Schema) -> Result<(), SchemaDiff> {
        let own = &self.schemas.message;
        let writes = self.role == Role::Publisher || self.pattern == Pattern::Service;
        let is_older = channel.extends(own);
        if !writes && is_older.is_ok() {
            return Ok(());
        }
        let (publisher, subscriber) = match self.pattern {
            Pattern::PubSub => ("publisher", "subscriber"),
            Pattern::Queue => ("pusher", "puller"),
            Pattern::Service => return Err(channel.difference(own)),
        };
        let (mut difference, reason) = match is_older {
            Ok(()) => (
                channel.difference(own),
                format!(
                    "a {subscriber} may know fewer fields than the channel has, a {publisher} may not"
                ),
            ),
            Err(difference) if !writes && own.extends(channel).is_ok() => (
                difference,
                format!("a {subscriber} may not be newer than the {publisher}s: start those first"),
            ),
            Err(difference) => return Err(difference),
        };
        difference.add_reason("", reason);
        Err(difference)
    }

    /// Whether a segment is the one that this handle wants.
    fn agree(&self, found: &header::Description) -> Result<(), AttachError> {
        holds(found, &self.channel.name, self.pattern)?;
        let name = || self.channel.name.clone();
        let (geometry, own) = (&found.geometry, self.schemas);
        let mismatch = |found: &Schema, own: &Schema, difference| AttachError::SchemaMismatch {
            channel: name(),
            channel_type: found.name(),
            your_type: own.name(),
            difference,
        };
        if found.schemas.message != own.message
            && let Err(difference) = self.read(&found.schemas.message)
        {
            return Err(mismatch(&found.schemas.message, &own.message, difference));
        }
        if let (Some(found), Some(own)) = (&found.schemas.reply, &own.reply)
            && found != own
        {
            return Err(mismatch(found, own, found.difference(own).within("reply")));
        }
        let fixed = |option, schema: &Schema| AttachError::FixedSize {
            channel: name(),
            option,
            type_name: schema.name(),
        };
        if geometry.payload.stride == 0 && self.channel.max_len.is_some() {
            return Err(fixed("max_len", &own.message));
        }
        if let (0, Some(_)) = (geometry.reply.stride, self.channel.max_reply_len) {
            return Err(match &own.reply {
                Some(reply) => fixed("max_reply_len", reply),
                None => AttachError::NoReplies { channel: name(), pattern: self.pattern },
            });
        }
        let asked = header::options_of(self.channel);
        for ((option, asked), found) in
            header::OPTIONS.into_iter().zip(asked).zip(geometry.options())
        {
            if let Some(asked) = asked.filter(|asked| *asked != found) {
                let channel = name();
                return Err(AttachError::GeometryMismatch { channel, option, found, asked });
            }
        }
        Ok(())
    }
}

/// Whether a segment is that of the channel whose file it is in.
pub fn holds(
    found: &header::Description,
    channel: &str,
    pattern: Pattern,
) -> Result<(), AttachError> {
    let (asked, pattern) = (pattern, found.geometry.pattern);
    if found.name == channel && asked == pattern {
        return Ok(());
    }
    let (channel, found) = (channel.to_owned(), found.name.clone());
    Err(AttachError::WrongSegment { channel, asked, found, pattern })
}

/// Whether anything was published, or may have been.
fn has_messages(file: &File, geometry: &Geometry) -> bool {
    read_word(file, geometry.control_offset + header::RINGS_OFFSET) != 0
}

/// The last generation of any publisher of this segment.
fn generations(file: &File, geometry: &Geometry) -> u32 {
    if geometry.pattern != Pattern::PubSub {
        return 0;
    }
    let last = |ring| {
        let mut generation = [0; 4];
        let offset = geometry.ring_offset(ring) + size_of::<u64>() as u64;
        file.read_exact_at(&mut generation, offset).map_or(0, |()| u32::from_ne_bytes(generation))
    };
    (0..geometry.max_publishers).map(last).fold(geometry.first_generation, u32::max)
}

/// Whether somebody has replaced this segment, or is about to.
pub fn is_retired(file: &File, geometry: &Geometry) -> bool {
    let mut word = [0; 4];
    let offset = geometry.control_offset + header::RETIRED_OFFSET;
    file.read_exact_at(&mut word, offset).is_ok() && u32::from_ne_bytes(word) == header::RETIRED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShmMessage;
    use crate::liveness::Place;

    /// Of mode 0700, whatever the umask.
    fn private_folder() -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap()
    }

    fn numbers(root: &Path) -> Result<Segment, AttachError> {
        let channel = Channel::new("numbers").root(root);
        attach(&channel, &u64::schema())
    }

    fn attach(channel: &Channel, schema: &Schema) -> Result<Segment, AttachError> {
        attach_as(channel, schema, Role::Subscriber)
    }

    fn attach_as(channel: &Channel, schema: &Schema, role: Role) -> Result<Segment, AttachError> {
        Segment::attach(channel, Pattern::PubSub, &Schemas::of(schema.clone()), role, &|_| {})
    }

    #[test]
    fn a_header_that_changes_while_it_is_mapped_is_refused() {
        let root = private_folder();
        let segment = numbers(root.path()).unwrap();
        // Larger, and right in itself.
        let channel = Channel::new("numbers").depth(1000);
        let (schemas, page) = (Schemas::of(u64::schema()), os::page_size());
        let geometry = Geometry::plan(Pattern::PubSub, &channel, &schemas, 100, page).unwrap();
        let records = Records::of(&schemas).ok().unwrap();
        let bytes = header::write(&channel, &schemas, &records, &geometry);
        segment.file().set_len(geometry.file_size).unwrap();
        segment.file().write_all_at(&bytes, 0).unwrap();
        let error = numbers(root.path()).unwrap_err().to_string();
        assert!(error.ends_with("its header is not the one that this process has seen"), "{error}");
    }

    #[test]
    fn who_cannot_attach_leaves_nothing() {
        let root = private_folder();
        let files = || std::fs::read_dir(root.path()).unwrap().count();
        // More than there are addresses.
        let len = 1 << 40;
        let kind = crate::schema::Kind::Array { element: Box::new(u8::schema()), len };
        let huge = Schema { size: len, align: 1, kind };
        let channel = Channel::new("huge").root(root.path()).depth(1 << 16).max_publishers(64);
        let error = attach(&channel, &huge).unwrap_err();
        assert!(matches!(error, AttachError::Os { .. } | AttachError::TooLarge { .. }), "{error}");
        assert_eq!(files(), 0);

        // The last member leaves while somebody with another type is about to be refused.
        let segment = numbers(root.path()).unwrap();
        let channel = Channel::new("numbers").root(root.path());
        attach(&channel, &i64::schema()).unwrap_err();
        assert_eq!(files(), 1);
        drop(segment);
        assert_eq!(files(), 0);
    }

    #[test]
    fn generations_go_on_whoever_finishes_what_a_dead_retirer_has_begun() {
        for is_renamed in [false, true] {
            let root = private_folder();
            let channel = Channel::new("numbers").root(root.path());
            let schema = u64::schema();
            let attach = |role| attach_as(&channel, &schema, role).unwrap();
            let old = attach(Role::Subscriber);
            let (file, geometry) = (old.file(), old.geometry());
            Place::Listening(0).take(file).unwrap();
            // It had a publisher of generation 7, and was retired.
            file.write_all_at(&7_u32.to_ne_bytes(), geometry.ring_offset(0) + 8).unwrap();
            let retired = geometry.control_offset + header::RETIRED_OFFSET;
            file.write_all_at(&header::RETIRED.to_ne_bytes(), retired).unwrap();
            if is_renamed {
                let door = &old.member.door;
                let retirers = door.open().unwrap().unwrap();
                door.set_aside(retirers.file()).unwrap();
            }
            let new = attach(Role::Follower { makes: true });
            assert_eq!(new.geometry().first_generation, 7, "{is_renamed}");
            assert!(!new.member.door.is_named(old.file()).unwrap());
        }
    }

    #[test]
    fn a_follower_replaces_what_one_of_an_older_schema_was_first_to_make() {
        use crate::schema::testing::{f64, strukt};
        let old = strukt("Pose", [("x", f64())]);
        let new = strukt("Pose", [("x", f64()), ("y", f64())]);
        let root = private_folder();
        let channel = Channel::new("pose").root(root.path());
        let attach = |schema, role| attach_as(&channel, schema, role);
        let first = attach(&old, Role::Follower { makes: true }).unwrap();
        let hasty = attach(&new, Role::Follower { makes: false });
        assert!(matches!(hasty, Err(AttachError::Busy { .. })), "{hasty:?}");
        let second = attach(&new, Role::Follower { makes: true }).unwrap();
        assert!(!first.member.door.is_named(first.file()).unwrap());
        assert!(second.member.door.is_named(second.file()).unwrap());
        // The older one can read that, and has no reason to replace it.
        let third = attach(&old, Role::Follower { makes: true }).unwrap();
        assert!(second.member.door.is_named(third.file()).unwrap());

        // While there is a publisher it stays.
        let root = private_folder();
        let channel = Channel::new("pose").root(root.path());
        let attach = |schema, role| attach_as(&channel, schema, role);
        let publisher = attach(&old, Role::Publisher).unwrap();
        let refused = attach(&new, Role::Follower { makes: true });
        assert!(matches!(refused, Err(AttachError::SchemaMismatch { .. })), "{refused:?}");
        assert!(publisher.member.door.is_named(publisher.file()).unwrap());
    }

    #[test]
    fn a_schema_that_is_too_long_is_refused_before_there_is_a_file() {
        let root = private_folder();
        let kind = crate::schema::Kind::Struct { name: "x".repeat(70_000), fields: Vec::new() };
        let schema = Schema { size: 0, align: 1, kind };
        let channel = Channel::new("long").root(root.path());
        let error = attach(&channel, &schema).unwrap_err();
        assert!(matches!(error, AttachError::Indescribable { .. }), "{error}");
        assert!(error.to_string().contains("70000"), "{error}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
