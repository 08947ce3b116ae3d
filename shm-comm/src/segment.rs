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
//! # Retiring
//!
//! Schema and geometry are the publishers'. They hold the *publishers* byte shared as well. One that
//! finds a segment of another schema or geometry, and gets that byte exclusively, knows that no
//! publisher is attached: it marks the segment as retired, sets it aside and makes a new one.
//! Subscribers see the mark, read what is left and open the name again. A subscriber may do the same
//! for an option which it sets and nobody has chosen.
//!
//! A publisher may be gone before the subscribers of the segment that it has retired have seen the
//! mark. So that they find what it has published, a retired segment is not unlinked but renamed, and
//! unlinked by the last who leaves it. While somebody listens there, whoever leaves the segment of the
//! proper name last leaves it behind, and whoever finds it so enters it, though nobody is attached.
//! There is one name to set a segment aside: if somebody listens to an older one still, the next is
//! unlinked at once.
//!
//! # Crash safety
//!
//! Killed before the link: the kernel frees the nameless file. Killed after it: the lock goes with
//! the process, and the next one to come finds a stale segment and replaces it. Killed between the
//! mark and the renaming: the next one to come does that. A segment that is set aside and that nobody
//! listens to any more is unlinked by whoever looks for it.
//!
//! Every unlink is by somebody who holds a byte exclusively without which nobody else unlinks that
//! file (a retirer keeps the lifecycle byte, too), so that it never hits a newer file of that name.

use std::ffi::{CStr, CString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::{FromBytes, IntoBytes};

use crate::error::AttachError;
use crate::events;
use crate::header::{self, Geometry, Pattern, Record, Refusal};
use crate::liveness;
use crate::mapping::Mapping;
use crate::options::{Access, Channel};
use crate::os::{self, Lock};
use crate::process::{Descriptor, LockFile, Owner};
use crate::schema::{Schema, fnv1a};

/// How long to try while others come and go.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the one who makes a folder for a group has for that.
const FOLDER_PATIENCE: Duration = Duration::from_millis(200);

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
        /// It has waited for others long enough, and makes what is not there.
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
        schema: &Schema,
        role: Role,
        retire: &dyn Fn(&Arc<Mapping>),
    ) -> Result<Segment, AttachError> {
        let text = schema.canonical();
        let door = Arc::new(Door::of(channel, pattern, true)?);
        Wanted { door, channel, pattern, schema, text: &text, role, retire }.enter()
    }

    /// Removes a segment to which nobody is attached, and says whether there was one.
    pub fn remove_stale(channel: &Channel, pattern: Pattern) -> Result<bool, AttachError> {
        match Door::find(channel, pattern)? {
            Some(door) => door.remove_if_stale(),
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
        &self.member.door.path
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
        let mut word = [0; 8];
        let read = self.file().read_exact_at(&mut word, offset);
        read.map_or(0, |()| u64::from_ne_bytes(word))
    }

    /// What a participant said of itself.
    pub fn read_record(&self, offset: u64) -> Record {
        read_record(self.file(), offset)
    }
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
        let _ = match door.bears(file, &door.name) {
            Ok(true) if door.is_awaited() => Ok(false),
            Ok(true) => door.unlink(file).map_err(door.os("remove")),
            // This one was replaced. Whoever has followed has left, too.
            _ => door.unlink_aside(file).map_err(door.os("remove")).and(door.remove_if_stale()),
        };
    }
}

/// Where a segment is.
#[derive(Debug)]
pub struct Door {
    folder: Descriptor,
    name: CString,
    /// The name of a segment that is retired, as long as somebody listens there.
    aside: CString,
    path: PathBuf,
    access: Access,
}

impl Door {
    /// Finds the folder of a channel, or makes it.
    pub fn of(channel: &Channel, pattern: Pattern, make: bool) -> Result<Door, AttachError> {
        let file_name = file_name(&channel.name, pattern)?;
        let root = root(channel.root.as_deref(), channel.access);
        let folder = open_root(&root, channel.access, make)?;
        let path = root.join(&file_name);
        let c_string = |name| {
            CString::new(name).map_err(|error| AttachError::Os {
                action: "name",
                path: path.clone(),
                source: error.into(),
            })
        };
        // No channel's: their names do not begin with a dot.
        let aside = c_string(format!(".{:016x}.retired", fnv1a(file_name.as_bytes())))?;
        let name = c_string(file_name)?;
        Ok(Door { folder, name, aside, path, access: channel.access })
    }

    /// The same for somebody who makes nothing. `None`: there is no such folder.
    pub fn find(channel: &Channel, pattern: Pattern) -> Result<Option<Door>, AttachError> {
        match Door::of(channel, pattern, false) {
            Ok(door) => Ok(Some(door)),
            Err(AttachError::UnsafeRoot { path, .. }) if is_absent(&path) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file only to look at it, if it can be trusted. `None`: there is no such file.
    pub fn look(&self) -> Result<Option<(Descriptor, Metadata)>, AttachError> {
        let open = || os::open_file_to_read(self.folder.file(), &self.name);
        match Descriptor::open(open) {
            Ok(file) => {
                let found = self.trust(file.file())?;
                Ok(Some((file, found)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.cannot_open(error)),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who may use it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Wraps an error of the system in what was tried.
    pub fn os(&self, action: &'static str) -> impl Fn(io::Error) -> AttachError + use<> {
        let path = self.path.clone();
        move |source| AttachError::Os { action, path: path.clone(), source }
    }

    fn no_room(
        &self,
        action: &'static str,
        error: io::Error,
        file: &File,
        needed: u64,
    ) -> AttachError {
        if os::is_out_of_space(&error) {
            let (path, space) = (self.path.clone(), os::space(file));
            let (file_system, free) =
                (space.map(|space| space.size), space.map(|space| space.free));
            AttachError::NoSpace { path, needed, file_system, free }
        } else {
            self.os(action)(error)
        }
    }

    fn refused(&self, reason: impl Into<String>) -> AttachError {
        AttachError::NotAChannel { path: self.path.clone(), reason: reason.into() }
    }

    /// `None`: there is no such file.
    fn open(&self) -> Result<Option<LockFile>, AttachError> {
        match LockFile::open(|| os::open_file(self.folder.file(), &self.name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.cannot_open(error)),
        }
    }

    fn cannot_open(&self, error: io::Error) -> AttachError {
        match os::look_at(self.folder.file(), &self.name) {
            Some(found) if !found.is_file() => self.refused(format!("it is {}", kind_of(&found))),
            Some(found)
                if error.kind() == io::ErrorKind::PermissionDenied && found.uid() != os::user() =>
            {
                self.foreign(found.uid(), found.mode())
            }
            _ => self.os("open")(error),
        }
    }

    fn foreign(&self, owner: u32, mode: u32) -> AttachError {
        let (path, user, mode) = (self.path.clone(), os::user(), mode & 0o7777);
        AttachError::ForeignOwner { path, owner, mode, user }
    }

    /// Whether the file can be ours, before anything in it is looked at.
    fn trust(&self, file: &File) -> Result<Metadata, AttachError> {
        let found = file.metadata().map_err(self.os("inspect"))?;
        if !found.is_file() {
            return Err(self.refused(format!("it is {}", kind_of(&found))));
        }
        let group =
            || self.folder.file().metadata().map(|folder| folder.gid()).map_err(self.os("inspect"));
        let (trusted, mask) = match self.access {
            Access::Owner => (found.uid() == os::user(), 0o022),
            // The folder's group is ours, so whoever made the file with it is one of us.
            Access::Group => (found.uid() == os::user() || found.gid() == group()?, 0o002),
        };
        if !trusted {
            return Err(self.foreign(found.uid(), found.mode()));
        }
        let mode = found.mode() & 0o7777;
        if mode & mask != 0 {
            let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
            return Err(self.refused(format!("{who} may write to it (mode {mode:04o})")));
        }
        Ok(found)
    }

    /// What a file says of itself.
    pub fn describe(&self, file: &File) -> Result<header::Description, AttachError> {
        let size = file.metadata().map_err(self.os("inspect"))?.len();
        header::read(size, os::page_size(), |to, offset| file.read_exact_at(to, offset).is_ok())
            .map_err(|refusal| match refusal {
                Refusal::NotAChannel(reason) => self.refused(reason),
                Refusal::Format(found) => AttachError::FormatVersion {
                    path: self.path.clone(),
                    found,
                    known: header::FORMAT,
                },
            })
    }

    /// Removes a segment to which nobody is attached or will come, and says whether there was one.
    fn remove_if_stale(&self) -> Result<bool, AttachError> {
        let Some(file) = self.open()? else { return Ok(false) };
        self.trust(file.file())?;
        let lock = os::lock(file.file(), liveness::LIFECYCLE, Lock::Exclusive);
        let is_stale = lock.map_err(self.os("lock"))? && !self.is_awaited();
        if is_stale { self.remove_stale(&file) } else { Ok(false) }
    }

    /// Removes a segment whose lifecycle byte is held exclusively. `false`: it was not there any more.
    fn remove_stale(&self, file: &LockFile) -> Result<bool, AttachError> {
        // Nobody is attached: stale, also if another release made it. What looks like no segment at
        // all is not ours to remove, though.
        match self.describe(file.file()) {
            Ok(_) | Err(AttachError::FormatVersion { .. }) => {}
            Err(error) => return Err(error),
        }
        events::stale(&self.path);
        self.unlink(file.file()).map_err(self.os("remove"))
    }

    /// Whether a name of the folder is this file's.
    fn bears(&self, file: &File, name: &CStr) -> io::Result<bool> {
        os::is_named(file, self.folder.file(), name)
    }

    /// The same for who is about to change that: the descriptor of the folder may have become another
    /// one's.
    fn may_change(&self, file: &File, name: &CStr) -> io::Result<bool> {
        Ok(self.bears(file, name)? && self.folder.is_intact())
    }

    /// Takes the name away, if it is this file's. The caller has excluded everybody else who would.
    fn unlink(&self, file: &File) -> io::Result<bool> {
        let named = self.may_change(file, &self.name)?;
        if named {
            os::unlink(self.folder.file(), &self.name)?;
            events::removed(&self.path);
        }
        Ok(named)
    }

    /// Takes the name away from a segment that is retired. The caller has excluded everybody else who
    /// would.
    fn set_aside(&self, file: &File) -> io::Result<()> {
        let folder = self.folder.file();
        let awaits = liveness::anyone_listens(file)? && !self.is_awaited();
        if awaits && self.may_change(file, &self.name)? {
            os::rename(folder, &self.name, &self.aside)?;
            events::removed(&self.path);
        } else {
            self.unlink(file)?;
        }
        Ok(())
    }

    /// Whether there are subscribers of a segment before the current one, who will come.
    fn is_awaited(&self) -> bool {
        let open = || os::open_file_to_read(self.folder.file(), &self.aside);
        let Ok(file) = Descriptor::open(open) else { return false };
        let awaited = liveness::anyone_listens(file.file()).unwrap_or(false);
        if !awaited {
            let _ = self.unlink_aside(file.file());
        }
        awaited
    }

    /// Removes a segment that was set aside, if it is this one.
    fn unlink_aside(&self, file: &File) -> io::Result<()> {
        if file.metadata()?.is_file() && self.may_change(file, &self.aside)? {
            os::unlink(self.folder.file(), &self.aside)?;
        }
        Ok(())
    }
}

fn kind_of(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() => "a character device",
        () if kind.is_block_device() => "a block device",
        () if kind.is_file() => "a file",
        () => "no file",
    }
}

/// Somebody who is about to attach.
struct Wanted<'a> {
    door: Arc<Door>,
    channel: &'a Channel,
    pattern: Pattern,
    schema: &'a Schema,
    /// The schema's.
    text: &'a str,
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
            let busy = || AttachError::Busy { path: self.door.path.clone(), waited: PATIENCE };
            match entered {
                Entered::Segment(segment) => return Ok(segment),
                Entered::Retired(generations) => first_generation = generations,
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
        if lock(&file, liveness::LIFECYCLE, Lock::Exclusive)? && !self.may_enter_stale(&file) {
            door.remove_stale(&file)?;
            return Ok(Entered::NotYet);
        }
        if !lock(&file, liveness::LIFECYCLE, Lock::Shared)? {
            return Ok(Entered::NotYet);
        }
        // From here on somebody may have found that he is not the last because of us.
        let member = Member { file, door: door.clone() };
        let is_named =
            |file: &LockFile| door.bears(file.file(), &door.name).map_err(door.os("inspect"));
        if !is_named(&member.file)? {
            return Ok(Entered::NotYet);
        }
        let found = door.describe(member.file.file())?;
        if is_retired(member.file.file(), &found.geometry) {
            // Whoever has retired it died before he took the name away.
            if lock(&member.file, liveness::PUBLISHERS, Lock::Exclusive)? {
                door.set_aside(member.file.file()).map_err(door.os("set aside"))?;
            }
            return Ok(Entered::NotYet);
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
            Err(mismatch) => {
                if lock(&member.file, liveness::PUBLISHERS, Lock::Exclusive)? {
                    if is_current(&member.file)? {
                        let mapping = self.mapping(&member.file, &found.geometry)?;
                        (self.retire)(&mapping);
                        events::retired(&door.path);
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

    /// Whether it was left behind for subscribers of the segment before this one.
    fn may_enter_stale(&self, file: &LockFile) -> bool {
        (self.is_follower() || self.door.is_awaited())
            && self.door.describe(file.file()).is_ok_and(|found| {
                self.agree(&found).is_ok() && !is_retired(file.file(), &found.geometry)
            })
    }

    fn make(&self, first_generation: u32) -> Result<Entered, AttachError> {
        let (door, name) = (&self.door, &self.channel.name);
        if self.text.len() > header::MAX_TEXT {
            return Err(AttachError::SchemaTooLong {
                channel: name.clone(),
                len: self.text.len(),
                max: header::MAX_TEXT,
            });
        }
        let text_len = (name.len() + self.text.len()) as u64;
        let mut geometry = Geometry::plan(self.channel, self.schema, text_len, os::page_size())?;
        geometry.first_generation = first_generation;
        let needed = geometry.rings_offset;
        let no_room = |action, file| move |error| door.no_room(action, error, file, needed);
        let mode = match door.access {
            Access::Owner => 0o600,
            Access::Group => 0o660,
        };
        if geometry.file_size > os::file_size_limit() {
            return Err(door.os("size")(io::ErrorKind::FileTooLarge.into()));
        }
        let file = LockFile::open(|| os::create_nameless(door.folder.file(), mode))
            .map_err(no_room("create", door.folder.file()))?;
        file.file().set_len(geometry.file_size).map_err(no_room("size", file.file()))?;
        os::allocate(file.file(), 0, needed).map_err(no_room("allocate", file.file()))?;
        let bytes = header::write(self.pattern, self.channel, self.text, &geometry);
        file.file().write_all_at(&bytes, 0).map_err(door.os("write"))?;
        let shared = |byte| os::lock(file.file(), byte, Lock::Shared).map_err(door.os("lock"));
        shared(liveness::LIFECYCLE)?;
        if self.role == Role::Publisher {
            shared(liveness::PUBLISHERS)?;
        }
        match os::link(file.file(), door.folder.file(), &door.name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Entered::NotYet);
            }
            Err(error) => return Err(no_room("name", file.file())(error)),
        }
        events::created(&door.path, self.text, &geometry);
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
        match (self.role, mismatch) {
            (
                Role::Publisher,
                AttachError::SchemaMismatch { .. } | AttachError::GeometryMismatch { .. },
            ) => true,
            (Role::Subscriber, AttachError::GeometryMismatch { option, .. }) => {
                let option = header::OPTIONS.iter().position(|name| name == option);
                option.is_some_and(|option| found.chosen >> option & 1 == 0)
            }
            _ => false,
        }
    }

    /// Whether a segment is the one that this handle wants.
    fn agree(&self, found: &header::Description) -> Result<(), AttachError> {
        holds(found, &self.channel.name, self.pattern)?;
        let name = || self.channel.name.clone();
        let geometry = &found.geometry;
        if found.schema != self.text {
            return Err(AttachError::SchemaMismatch {
                channel: name(),
                channel_schema: found.schema.clone(),
                channel_hash: found.layout_hash,
                schema: self.text.to_owned(),
                hash: self.schema.hash(),
            });
        }
        let layout = (geometry.payload_size, u64::from(geometry.payload_align));
        let (size, align) = (self.schema.size, self.schema.align);
        if layout != (size as u64, align as u64) {
            return Err(self.door.refused(format!(
                "it has {} bytes aligned to {} for a message of {size} aligned to {align}",
                layout.0, layout.1,
            )));
        }
        let asked = header::options_of(self.channel);
        for ((option, asked), found) in
            header::OPTIONS.into_iter().zip(asked).zip(geometry.options())
        {
            if let Some(asked) = asked.filter(|asked| *asked != found) {
                let (found, asked) = (found.into(), asked.into());
                return Err(AttachError::GeometryMismatch {
                    channel: name(),
                    option,
                    found,
                    asked,
                });
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
    if found.name == channel && found.pattern == pattern as u32 {
        return Ok(());
    }
    let (found, pattern) = (found.name.clone(), found.pattern);
    Err(AttachError::WrongSegment { channel: channel.to_owned(), found, pattern })
}

/// The last generation of any publisher of this segment.
fn generations(file: &File, geometry: &Geometry) -> u32 {
    let last = |ring| {
        let mut generation = [0; 4];
        let offset = geometry.ring_offset(ring) + size_of::<u64>() as u64;
        file.read_exact_at(&mut generation, offset).map_or(0, |()| u32::from_ne_bytes(generation))
    };
    (0..geometry.max_publishers).map(last).fold(geometry.first_generation, u32::max)
}

/// Whether somebody has replaced this segment, or is about to.
fn is_retired(file: &File, geometry: &Geometry) -> bool {
    let mut word = [0; 4];
    let offset = geometry.control_offset + header::RETIRED_OFFSET;
    file.read_exact_at(&mut word, offset).is_ok() && u32::from_ne_bytes(word) == header::RETIRED
}

/// The folder of channels: the one that was named, or that of the environment, or the default.
pub fn root(chosen: Option<&Path>, access: Access) -> PathBuf {
    let from_environment = || os::environment("SHM_COMM_ROOT").filter(|root| !root.is_empty());
    let chosen = chosen.map(Path::to_owned).or_else(|| from_environment().map(PathBuf::from));
    // Without a slash at the end, which would follow a link.
    let chosen = chosen.map(|path| path.components().collect());
    chosen.unwrap_or_else(|| match access {
        Access::Owner => os::default_root(),
        Access::Group => os::default_group_root(),
    })
}

/// Whether there is nothing of that name, as far as can be told.
pub fn is_absent(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    !path.as_os_str().is_empty()
        && found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// For whom a folder of channels is, by its mode: it cannot be trusted as the other.
pub fn access_of(root: &Path) -> Access {
    let shared = |found: Metadata| found.mode() & GROUP_MODE == GROUP_MODE;
    if std::fs::symlink_metadata(root).is_ok_and(shared) { Access::Group } else { Access::Owner }
}

/// Opens the folder of channels if it can be trusted; makes it if it is not there and `make`
/// says so, and else changes nothing.
pub fn open_root(path: &Path, access: Access, make: bool) -> Result<Descriptor, AttachError> {
    let unsafe_root = |reason: String| AttachError::UnsafeRoot { path: path.to_owned(), reason };
    if path.as_os_str().is_empty() {
        return Err(unsafe_root("is an empty path".to_owned()));
    }
    let made = match access {
        Access::Owner if make => os::create_folder(path, true),
        Access::Group if make => os::create_folder(path, false),
        _ => Ok(()),
    };
    let found = match (std::fs::symlink_metadata(path), made) {
        (Ok(found), _) => found,
        (Err(_), Err(error)) => return Err(unsafe_root(format!("cannot be made: {error}"))),
        (Err(error), Ok(())) => return Err(unsafe_root(format!("is not there: {error}"))),
    };
    if !found.is_dir() {
        return Err(unsafe_root(format!("is {}", kind_of(&found))));
    }
    let (user, mode) = (os::user(), found.mode() & 0o7777);
    let foreign = |owner| unsafe_root(format!("belongs to user {owner}, you are user {user}"));
    let not_a_member = |found: &Metadata| {
        let (owner, group) = (found.uid(), found.gid());
        unsafe_root(format!(
            "belongs to user {owner} and group {group}, you are user {user} and not in that group"
        ))
    };
    if access == Access::Group && !os::is_in_group(found.gid()) {
        return Err(not_a_member(&found));
    }
    let folder = Descriptor::open(|| os::open_folder(path)).map_err(|error| match found.uid() {
        owner if owner != user => foreign(owner),
        _ => unsafe_root(format!("cannot be opened (mode {mode:04o}): {error}")),
    })?;
    let inspect = || {
        let found = folder.file().metadata();
        found.map_err(|error| unsafe_root(format!("cannot be inspected: {error}")))
    };
    if access == Access::Owner {
        let found = inspect()?;
        let mode = found.mode() & 0o7777;
        return match found.uid() == user {
            false => Err(foreign(found.uid())),
            true if mode & 0o2022 == 0o2020 => Err(unsafe_root(format!(
                "is shared with group {} (mode {mode:04o}): that is for Access::Group",
                found.gid()
            ))),
            true if mode & 0o022 != 0 => {
                Err(unsafe_root(format!("may be written to by others (mode {mode:04o})")))
            }
            true => Ok(folder),
        };
    }
    // For a group. Whoever makes it needs two steps, and may have been killed between them.
    let start = Instant::now();
    let mut tried = false;
    loop {
        let found = inspect()?;
        let mode = found.mode() & 0o7777;
        if !os::is_in_group(found.gid()) {
            return Err(not_a_member(&found));
        }
        // Where everybody can make folders, so can somebody who shares some other group with us.
        let open = path.parent().and_then(|parent| std::fs::metadata(parent).ok());
        let is_open = open.is_none_or(|parent| parent.mode() & 0o002 != 0);
        if is_open && found.gid() != os::group() && ![0, user].contains(&found.uid()) {
            let (owner, group) = (found.uid(), found.gid());
            return Err(unsafe_root(format!(
                "belongs to user {owner} and group {group}, which is not your first group, in a \
                 folder where everybody can make others"
            )));
        }
        if mode & 0o002 != 0 {
            return Err(unsafe_root(format!("may be written to by everybody (mode {mode:04o})")));
        }
        if mode & GROUP_MODE == GROUP_MODE {
            return Ok(folder);
        }
        let is_empty = std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_none());
        if make && !tried && found.uid() == user && is_empty {
            tried = true;
            let set = os::set_mode(folder.file(), GROUP_MODE);
            set.map_err(|error| unsafe_root(format!("cannot be shared with its group: {error}")))?;
        } else if start.elapsed() > FOLDER_PATIENCE {
            return Err(unsafe_root(format!(
                "is not shared with its group (mode {mode:04o} instead of {GROUP_MODE:04o})"
            )));
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Of a folder that is shared with its group: files in it get that group, too.
const GROUP_MODE: u32 = 0o2770;

/// The longest name of a file.
const NAME_MAX: usize = 255;

/// The file of a channel: `/`, `%`, control characters and a leading dot are `%XX`, so that every
/// name is one file name and no two share one.
fn file_name(name: &str, pattern: Pattern) -> Result<String, AttachError> {
    let bad = |reason: String| Err(AttachError::BadName { name: name.to_owned(), reason });
    if name.is_empty() {
        return bad("is empty".to_owned());
    }
    if name.contains('\0') {
        return bad("contains a NUL".to_owned());
    }
    let mut file = String::with_capacity(name.len() + 8);
    for (i, c) in name.char_indices() {
        if c == '/' || c == '%' || c.is_control() || (i == 0 && c == '.') {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                file.push_str(&format!("%{byte:02X}"));
            }
        } else {
            file.push(c);
        }
    }
    file.push('.');
    file.push_str(pattern.suffix());
    if file.len() > NAME_MAX {
        let reason = format!("takes {} bytes as a file name, {NAME_MAX} are possible", file.len());
        return bad(reason);
    }
    Ok(file)
}

/// The channel that has a file of this name, if any has.
pub fn channel_of(file: &str) -> Option<(String, Pattern)> {
    let (stem, suffix) = file.rsplit_once('.')?;
    let pattern = header::PATTERNS.into_iter().find(|pattern| pattern.suffix() == suffix)?;
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high << 4 | low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // `%61` is no way to write `a`.
    file_name(&name, pattern).is_ok_and(|canonical| canonical == file).then_some((name, pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShmMessage;

    #[test]
    fn every_name_is_one_file_and_no_two_share_one() {
        let file = |name| file_name(name, Pattern::PubSub).unwrap();
        assert_eq!(file("robot/pose"), "robot%2Fpose.pubsub");
        assert_eq!(file("../../etc/x"), "%2E.%2F..%2Fetc%2Fx.pubsub");
        assert_eq!(file("100%"), "100%25.pubsub");
        assert_eq!(file("a\nb\u{85}"), "a%0Ab%C2%85.pubsub");
        assert_eq!(file("Führer/臂"), "Führer%2F臂.pubsub");
        assert_ne!(file("a/b"), file("a%2Fb"));
    }

    #[test]
    fn the_name_of_a_file_tells_the_channel() {
        for name in ["robot/pose", "../../etc/x", "100%", "a\nb\u{85}", "Führer/臂", "a.pubsub"] {
            let file = file_name(name, Pattern::PubSub).unwrap();
            assert_eq!(channel_of(&file), Some((name.to_owned(), Pattern::PubSub)));
        }
        for file in [
            "",
            ".pubsub",
            "pubsub",
            "pose",
            "pose.queue",
            "pose.pubsub.bak",
            ".x.pubsub",
            "%",
            "%.pubsub",
            "%2.pubsub",
            "%2f.pubsub",
            "%61.pubsub",
            "%FF.pubsub",
            "%00.pubsub",
            "%臂.pubsub",
            "a/b.pubsub",
        ] {
            assert_eq!(channel_of(file), None, "{file}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let text = |name: &str| file_name(name, Pattern::PubSub).unwrap_err().to_string();
        assert_eq!(text(""), "channel name \"\" is empty");
        assert_eq!(text("a\0b"), "channel name \"a\\0b\" contains a NUL");
        assert!(
            text(&"x".repeat(249)).ends_with("takes 256 bytes as a file name, 255 are possible")
        );
        assert!(file_name(&"x".repeat(248), Pattern::PubSub).is_ok());
        assert!(file_name(&"/".repeat(83), Pattern::PubSub).is_err());
    }

    /// Of mode 0700, whatever the umask.
    fn private_folder() -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap()
    }

    fn numbers(root: &Path) -> Result<Segment, AttachError> {
        let channel = Channel::new("numbers").root(root);
        attach(&channel, u64::SCHEMA)
    }

    fn attach(channel: &Channel, schema: &Schema) -> Result<Segment, AttachError> {
        Segment::attach(channel, Pattern::PubSub, schema, Role::Subscriber, &|_| {})
    }

    #[test]
    fn a_header_that_changes_while_it_is_mapped_is_refused() {
        let root = private_folder();
        let segment = numbers(root.path()).unwrap();
        // Larger, and right in itself.
        let channel = Channel::new("numbers").depth(1000);
        let geometry = Geometry::plan(&channel, u64::SCHEMA, 100, os::page_size()).unwrap();
        let bytes = header::write(Pattern::PubSub, &channel, "u64", &geometry);
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
        let huge = Schema { size: 1 << 40, ..*u64::SCHEMA };
        let channel = Channel::new("huge").root(root.path()).depth(1 << 16).max_publishers(64);
        let error = attach(&channel, &huge).unwrap_err();
        assert!(matches!(error, AttachError::Os { .. } | AttachError::TooLarge { .. }), "{error}");
        assert_eq!(files(), 0);

        // The last member leaves while somebody with another type is about to be refused.
        let segment = numbers(root.path()).unwrap();
        let channel = Channel::new("numbers").root(root.path());
        attach(&channel, i64::SCHEMA).unwrap_err();
        assert_eq!(files(), 1);
        drop(segment);
        assert_eq!(files(), 0);
    }

    #[test]
    fn a_schema_that_is_too_long_is_refused_before_there_is_a_file() {
        let root = private_folder();
        let name: &'static str = Box::leak("x".repeat(70_000).into_boxed_str());
        let kind = crate::schema::Kind::Struct { name, fields: &[] };
        let schema = Schema { size: 0, align: 1, kind };
        let channel = Channel::new("long").root(root.path());
        let error = attach(&channel, &schema).unwrap_err();
        assert!(matches!(error, AttachError::SchemaTooLong { len: 70_005, .. }), "{error}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
