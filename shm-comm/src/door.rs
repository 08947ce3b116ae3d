//! The name of a segment: what stands under it, and who may give and take it.
//!
//! Nothing here is a lock: whoever changes a name has excluded everybody else who would, see
//! [`segment`](crate::segment).

use std::ffi::{CStr, CString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::AttachError;
use crate::events;
use crate::folder::{file_name, is_absent, kind_of, open_root, root};
use crate::header::{self, Geometry, Refusal};
use crate::liveness;
use crate::options::{Access, Channel};
use crate::os::{self, Lock};
use crate::pattern::{PATTERNS, Pattern};
use crate::process::{Descriptor, LockFile};
use crate::queue::Word;
use crate::schema::fnv1a;

/// Where a segment is.
#[derive(Debug)]
pub struct Door {
    folder: Descriptor,
    name: CString,
    /// In the names of segments that are retired, as long as somebody listens there.
    hash: u64,
    path: PathBuf,
    access: Access,
    /// It is a queue's: what is in it may have to be kept.
    is_queue: bool,
}

/// So many segments of a channel can be set aside at a time.
const MAX_ASIDE: u32 = 8;

/// What there is of a segment that was set aside.
enum Aside {
    /// Somebody listens there.
    Awaited,
    /// Somebody else is about to take its name away; or it is none of ours.
    InUse,
    /// Nothing, or nobody who listens; then with its publishers' byte held, which nobody has a use for any
    /// more but those who take its name away.
    Free(Option<Descriptor>),
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
        let hash = fnv1a(file_name.as_bytes());
        let name = c_string(file_name)?;
        let is_queue = pattern == Pattern::Queue;
        Ok(Door { folder, name, hash, path, access: channel.access, is_queue })
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

    pub fn no_room(
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

    pub fn refused(&self, reason: impl Into<String>) -> AttachError {
        AttachError::NotAChannel { path: self.path.clone(), reason: reason.into() }
    }

    /// `None`: there is no such file.
    pub fn open(&self) -> Result<Option<LockFile>, AttachError> {
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
    pub fn trust(&self, file: &File) -> Result<Metadata, AttachError> {
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
    pub fn remove_if_stale(&self) -> Result<bool, AttachError> {
        let Some(file) = self.open()? else {
            // Whoever was about to make one may be dead, as those who have waited for it.
            return Ok(self.look_aside().removed);
        };
        self.trust(file.file())?;
        let lock = os::lock(file.file(), liveness::LIFECYCLE, Lock::Exclusive);
        let is_stale =
            lock.map_err(self.os("lock"))? && !self.is_awaited() && !self.keeps_jobs(file.file());
        if is_stale { self.remove_stale(&file) } else { Ok(false) }
    }

    /// Removes a segment whose lifecycle byte is held exclusively. `false`: it was not there any more.
    pub fn remove_stale(&self, file: &LockFile) -> Result<bool, AttachError> {
        // Nobody is attached: stale, also if another release made it. What looks like no segment at
        // all is not ours to remove, though.
        match self.describe(file.file()) {
            Ok(_) | Err(AttachError::FormatVersion { .. }) => {}
            Err(error) => return Err(error),
        }
        events::stale(&self.path);
        self.unlink(file.file()).map_err(self.os("remove"))
    }

    /// Whether it is a queue in which anything is left.
    pub fn keeps_jobs(&self, file: &File) -> bool {
        self.is_queue && self.describe(file).is_ok_and(|found| keeps_jobs(file, &found.geometry))
    }

    /// The folder.
    pub fn folder(&self) -> &File {
        self.folder.file()
    }

    /// A new file without a name.
    pub fn create(&self) -> io::Result<LockFile> {
        let mode = match self.access {
            Access::Owner => 0o600,
            Access::Group => 0o660,
        };
        LockFile::open(|| os::create_nameless(self.folder.file(), mode))
    }

    /// Gives the file its name. `AlreadyExists`: somebody else was first.
    pub fn link(&self, file: &File) -> io::Result<()> {
        os::link(file, self.folder.file(), &self.name)
    }

    /// Whether the name is this file's.
    pub fn is_named(&self, file: &File) -> io::Result<bool> {
        self.bears(file, &self.name)
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
    pub fn unlink(&self, file: &File) -> io::Result<bool> {
        let named = self.may_change(file, &self.name)?;
        if named {
            os::unlink(self.folder.file(), &self.name)?;
            events::removed(&self.path);
        }
        Ok(named)
    }

    /// Takes the name away from a segment that is retired. The caller has excluded everybody else who
    /// would.
    pub fn set_aside(&self, file: &File) -> io::Result<()> {
        if liveness::anyone_listens(file)? {
            for aside in self.asides() {
                // Held until the name is another's: nobody unlinks what takes the place of this one.
                if let Aside::Free(_held) = self.aside(&aside)
                    && self.may_change(file, &self.name)?
                {
                    os::rename(self.folder.file(), &self.name, &aside)?;
                    events::removed(&self.path);
                    return Ok(());
                }
            }
        }
        self.unlink(file).map(drop)
    }

    /// Whether there are subscribers of a segment before the current one, who will come.
    pub fn is_awaited(&self) -> bool {
        self.look_aside().awaited
    }

    /// Looks for segments that were set aside, and removes those that nobody listens to any more.
    fn look_aside(&self) -> LookAside {
        let mut found = LookAside::default();
        for name in self.asides() {
            match self.aside(&name) {
                Aside::Awaited => found.awaited = true,
                Aside::Free(Some(_held)) => {
                    found.removed |= os::unlink(self.folder.file(), &name).is_ok();
                }
                Aside::InUse | Aside::Free(None) => {}
            }
        }
        found
    }

    /// Removes what was set aside and nobody listens to any more, and says whether there was anything.
    pub fn remove_aside(&self) -> bool {
        self.look_aside().removed
    }

    /// A segment that was set aside, and its channel's name; an empty one if that cannot be told, or another
    /// channel's is in the file. `None`: there is no such file, or it is none of ours.
    pub fn aside_at(root: &Path, access: Access, file: &str) -> Option<(String, Descriptor)> {
        let (hash, number) = file.strip_prefix('.')?.strip_suffix(".retired")?.split_once('.')?;
        let hash = u64::from_str_radix(hash, 16).ok()?;
        let number = number.parse().ok().filter(|number| *number < MAX_ASIDE)?;
        if aside_name(hash, number) != file {
            return None;
        }
        let folder = open_root(root, access, false).ok()?;
        let (name, path) = (CString::new(file).ok()?, root.join(file));
        let door = Door { folder, name, hash, path, access, is_queue: false };
        let (file, _) = door.look().ok()??;
        let is_its = |name: &String| {
            let pattern =
                |pattern| file_name(name, pattern).is_ok_and(|n| fnv1a(n.as_bytes()) == hash);
            PATTERNS.into_iter().any(pattern)
        };
        let name = door.describe(file.file()).ok().map(|found| found.name).filter(is_its);
        Some((name.unwrap_or_default(), file))
    }

    /// What was set aside and is still there.
    pub fn former(&self) -> impl Iterator<Item = Descriptor> {
        let folder = self.folder.file();
        self.asides().filter_map(|name| Descriptor::open(|| os::open_file(folder, &name)).ok())
    }

    /// The names for what is set aside. No channel's: theirs do not begin with a dot.
    fn asides(&self) -> impl Iterator<Item = CString> {
        let hash = self.hash;
        (0..MAX_ASIDE).filter_map(move |number| CString::new(aside_name(hash, number)).ok())
    }

    fn aside(&self, name: &CStr) -> Aside {
        // Mostly there is none, and it takes no descriptor to see that.
        if !os::is_there(self.folder.file(), name) {
            return Aside::Free(None);
        }
        match Descriptor::open(|| os::open_file(self.folder.file(), name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Aside::Free(None),
            Err(_)
                if os::look_at(self.folder.file(), name).is_some_and(|found| !found.is_file()) =>
            {
                Aside::InUse
            }
            // What cannot be told is no reason to remove anything.
            Err(_) => Aside::Awaited,
            Ok(file) if !self.is_segment(file.file()) => Aside::InUse,
            Ok(file) if liveness::anyone_listens(file.file()).unwrap_or(true) => Aside::Awaited,
            Ok(file) => match os::lock(file.file(), liveness::PUBLISHERS, Lock::Exclusive) {
                Ok(true) if self.may_change(file.file(), name).unwrap_or(false) => {
                    Aside::Free(Some(file))
                }
                _ => Aside::InUse,
            },
        }
    }

    /// Whether it is one, perhaps of another release. What is not is not ours to remove.
    fn is_segment(&self, file: &File) -> bool {
        let found = self.trust(file).and_then(|_| self.describe(file));
        matches!(found, Ok(_) | Err(AttachError::FormatVersion { .. }))
    }

    /// Removes a segment that was set aside, if it is this one, and nobody else is doing so. The caller is
    /// the last member of it.
    pub fn unlink_aside(&self, file: &File) -> io::Result<()> {
        if !file.metadata()?.is_file() || !os::lock(file, liveness::PUBLISHERS, Lock::Exclusive)? {
            return Ok(());
        }
        for name in self.asides() {
            if self.may_change(file, &name)? {
                os::unlink(self.folder.file(), &name)?;
            }
        }
        Ok(())
    }
}

/// Whether this is a queue in which anything is left that nobody has done.
pub fn keeps_jobs(file: &File, geometry: &Geometry) -> bool {
    let is_kept = |slot| {
        let mut word = [0; 8];
        let read = file.read_exact_at(&mut word, geometry.slot_offset(slot));
        read.is_ok() && Word::of(u64::from_ne_bytes(word)).state().is_kept()
    };
    geometry.pattern == Pattern::Queue && (0..geometry.slots).any(is_kept)
}

fn aside_name(hash: u64, number: u32) -> String {
    format!(".{hash:016x}.{number}.retired")
}

/// What a look for segments that were set aside has found.
#[derive(Default)]
struct LookAside {
    /// Somebody listens to one.
    awaited: bool,
    /// Nobody did to one, which is gone now.
    removed: bool,
}
