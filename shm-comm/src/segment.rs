//! The file of one channel: who makes it, who may use it, who removes it; and its memory.
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
//! # Crash safety
//!
//! Killed before the link: the kernel frees the nameless file. Killed after it: the lock goes with
//! the process, and the next one to come finds a stale segment and replaces it.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::AttachError;
use crate::header::{self, Geometry, Pattern, Record, Refusal};
use crate::liveness;
use crate::options::Channel;
use crate::os::{self, Access, Lock};
use crate::schema::Schema;

/// How long to try while others come and go.
const PATIENCE: Duration = Duration::from_secs(2);

/// An attached segment. Dropped: left, and removed if nobody else is there.
#[derive(Debug)]
pub struct Segment {
    member: Member,
    mapping: Arc<Mapping>,
}

impl Segment {
    /// Attaches to the channel, which is made if it is not there.
    pub fn attach(
        channel: &Channel,
        pattern: Pattern,
        schema: &Schema,
    ) -> Result<Segment, AttachError> {
        let file_name = file_name(&channel.name, pattern)?;
        let root = root(channel);
        let folder = open_root(&root)?;
        let path = root.join(&file_name);
        let name = CString::new(file_name).map_err(|error| AttachError::Os {
            action: "name",
            path: path.clone(),
            source: error.into(),
        })?;
        let door = Arc::new(Door { folder, name, path });
        let (member, geometry) = door.enter(channel, pattern, schema)?;
        match Mapping::of(&member.file, &geometry).map_err(door.os("map"))? {
            Some(mapping) => Ok(Segment { member, mapping }),
            None => Err(door.refused("its header is not the one that this process has seen")),
        }
    }

    pub fn geometry(&self) -> &Geometry {
        &self.mapping.geometry
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
        &self.member.file
    }

    /// False in a child that was forked off a member: there is nothing there that it may touch.
    pub fn is_ours(&self) -> bool {
        self.member.is_ours()
    }

    /// Makes the memory of a ring real.
    pub fn allocate_ring(&self, ring: u32) -> Result<(), AttachError> {
        let (offset, len) = (self.geometry().ring_offset(ring), self.geometry().ring_stride);
        os::allocate(self.file(), offset, len)
            .map_err(|error| no_room(error, self.path(), self.file(), len))
    }

    /// Wraps an error of the system in what was tried.
    pub fn os(&self, action: &'static str) -> impl Fn(io::Error) -> AttachError {
        self.member.door.os(action)
    }

    /// Describes a participant. For people, so it is no error if it cannot.
    pub fn write_record(&self, offset: u64, record: &Record) {
        let _ = self.file().write_all_at(record.as_bytes(), offset);
    }

    /// What a participant said of itself.
    pub fn read_record(&self, offset: u64) -> Record {
        let mut bytes = [0; size_of::<Record>()];
        let read = self.file().read_exact_at(&mut bytes, offset);
        read.ok().and_then(|()| Record::read_from_bytes(&bytes).ok()).unwrap_or_default()
    }
}

/// Somebody who holds the lifecycle byte. Dropped: leaves, and removes the file if nobody else does.
#[derive(Debug)]
struct Member {
    file: File,
    door: Arc<Door>,
    process: u32,
}

impl Member {
    /// Whoever calls this has locked the byte of `file`.
    fn new(file: File, door: &Arc<Door>) -> Member {
        Member { file, door: door.clone(), process: std::process::id() }
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.is_ours() {
            // The locks are those of the process that forked this one.
            return;
        }
        let Door { folder, name, .. } = &*self.door;
        let byte = liveness::LIFECYCLE;
        // What fails here leaves a file behind, which the next to come replaces.
        let _ = os::lock(&self.file, byte, Lock::None);
        if let Ok(true) = os::lock(&self.file, byte, Lock::Exclusive)
            && let Ok(true) = os::is_named(&self.file, folder, name)
        {
            let _ = os::unlink(folder, name);
        }
    }
}

/// Where a segment is.
#[derive(Debug)]
struct Door {
    folder: File,
    name: CString,
    path: PathBuf,
}

impl Door {
    fn os(&self, action: &'static str) -> impl Fn(io::Error) -> AttachError {
        let path = self.path.clone();
        move |source| AttachError::Os { action, path: path.clone(), source }
    }

    /// Opens or makes the segment and holds its lifecycle byte.
    fn enter(
        self: &Arc<Self>,
        channel: &Channel,
        pattern: Pattern,
        schema: &Schema,
    ) -> Result<(Member, Geometry), AttachError> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(1);
        loop {
            let entered = match os::open_file(&self.folder, &self.name) {
                Ok(file) => self.enter_existing(file, channel, pattern, schema)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make(channel, pattern, schema)?
                }
                Err(error) => return Err(self.cannot_open(error)),
            };
            if let Some(entered) = entered {
                return Ok(entered);
            }
            if start.elapsed() > PATIENCE {
                return Err(AttachError::Busy { path: self.path.clone() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    /// `None`: it was stale, or somebody is removing it. Start over.
    fn enter_existing(
        self: &Arc<Self>,
        file: File,
        channel: &Channel,
        pattern: Pattern,
        schema: &Schema,
    ) -> Result<Option<(Member, Geometry)>, AttachError> {
        let metadata = file.metadata().map_err(self.os("inspect"))?;
        if !metadata.is_file() {
            return Err(self.refused("it is not a regular file"));
        }
        let user = os::user();
        if metadata.uid() != user {
            let (path, owner) = (self.path.clone(), metadata.uid());
            return Err(AttachError::ForeignOwner { path, owner, user });
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(self.refused("others may write to it"));
        }
        let lock = |lock| os::lock(&file, liveness::LIFECYCLE, lock).map_err(self.os("lock"));
        if lock(Lock::Exclusive)? {
            // Nobody is attached: stale, also if another release made it. What looks like no
            // segment at all is not ours to remove, though.
            match self.describe(&file, metadata.len(), channel) {
                Ok(_) | Err(AttachError::FormatVersion { .. }) => {}
                Err(error) => return Err(error),
            }
            if os::is_named(&file, &self.folder, &self.name).map_err(self.os("inspect"))? {
                os::unlink(&self.folder, &self.name).map_err(self.os("remove"))?;
            }
            return Ok(None);
        }
        if !lock(Lock::Shared)? {
            return Ok(None);
        }
        // From here on somebody may have found that he is not the last because of us.
        let member = Member::new(file, self);
        if !os::is_named(&member.file, &self.folder, &self.name).map_err(self.os("inspect"))? {
            return Ok(None);
        }
        let found = self.describe(&member.file, metadata.len(), channel)?;
        self.agree(channel, pattern, schema, &found)?;
        Ok(Some((member, found.geometry)))
    }

    fn describe(
        &self,
        file: &File,
        file_size: u64,
        channel: &Channel,
    ) -> Result<header::Description, AttachError> {
        header::read(file_size, os::page_size(), |to, offset| {
            file.read_exact_at(to, offset).is_ok()
        })
        .map_err(|refusal| match refusal {
            Refusal::NotAChannel(reason) => self.refused(reason),
            Refusal::Format(found) => AttachError::FormatVersion {
                channel: channel.name.clone(),
                found,
                known: header::FORMAT,
            },
        })
    }

    /// `None`: somebody else was first.
    fn make(
        self: &Arc<Self>,
        channel: &Channel,
        pattern: Pattern,
        schema: &Schema,
    ) -> Result<Option<(Member, Geometry)>, AttachError> {
        let schema_len = schema.canonical().len();
        if schema_len > header::MAX_TEXT {
            return Err(AttachError::SchemaTooLong {
                channel: channel.name.clone(),
                len: schema_len,
                max: header::MAX_TEXT,
            });
        }
        let text_len = (channel.name.len() + schema_len) as u64;
        let geometry = Geometry::plan(channel, schema, text_len, os::page_size())?;
        let file = os::create_nameless(&self.folder).map_err(self.os("create"))?;
        let needed = geometry.rings_offset;
        file.set_len(geometry.file_size).map_err(self.os("size"))?;
        os::allocate(&file, 0, needed)
            .map_err(|error| no_room(error, &self.path, &file, needed))?;
        let bytes = header::write(pattern, &channel.name, schema, &geometry);
        file.write_all_at(&bytes, 0).map_err(self.os("write"))?;
        os::lock(&file, liveness::LIFECYCLE, Lock::Shared).map_err(self.os("lock"))?;
        match os::link(&file, &self.folder, &self.name) {
            Ok(()) => Ok(Some((Member::new(file, self), geometry))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(self.os("name")(error)),
        }
    }

    /// Whether a segment is the one that this handle wants.
    fn agree(
        &self,
        channel: &Channel,
        pattern: Pattern,
        schema: &Schema,
        found: &header::Description,
    ) -> Result<(), AttachError> {
        let name = || channel.name.clone();
        if found.name != channel.name || found.pattern != pattern as u32 {
            let header::Description { name: found, pattern, .. } = found;
            return Err(AttachError::WrongSegment {
                channel: name(),
                found: found.clone(),
                pattern: *pattern,
            });
        }
        let text = schema.canonical();
        let geometry = &found.geometry;
        if found.schema != text {
            return Err(AttachError::SchemaMismatch {
                channel: name(),
                channel_schema: found.schema.clone(),
                channel_hash: found.layout_hash,
                schema: text,
                hash: schema.hash(),
            });
        }
        let layout = (geometry.payload_size, u64::from(geometry.payload_align));
        if layout != (schema.size as u64, schema.align as u64) {
            return Err(self.refused(format!(
                "it has {} bytes aligned to {} for a message of {} aligned to {}",
                layout.0, layout.1, schema.size, schema.align
            )));
        }
        let options = [
            ("depth", channel.depth.map(u64::from), geometry.depth),
            ("max_publishers", channel.max_publishers.map(u64::from), geometry.max_publishers),
            ("max_subscribers", channel.max_subscribers.map(u64::from), geometry.max_subscribers),
        ];
        for (option, asked, found) in options {
            if let Some(asked) = asked.filter(|asked| *asked != u64::from(found)) {
                let found = found.into();
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

    fn cannot_open(&self, error: io::Error) -> AttachError {
        match os::what_is_there(&self.folder, &self.name) {
            Some(kind) => self.refused(format!("it is {kind}")),
            None => self.os("open")(error),
        }
    }

    fn refused(&self, reason: impl Into<String>) -> AttachError {
        AttachError::NotAChannel { path: self.path.clone(), reason: reason.into() }
    }
}

fn no_room(error: io::Error, path: &Path, file: &File, needed: u64) -> AttachError {
    let path = path.to_owned();
    if os::is_out_of_space(&error) {
        AttachError::NoSpace { path, needed, file_system: os::file_system_size(file) }
    } else {
        AttachError::Os { action: "allocate", path, source: error }
    }
}

fn root(channel: &Channel) -> PathBuf {
    let from_environment = || std::env::var_os("SHM_COMM_ROOT").filter(|root| !root.is_empty());
    let chosen = channel.root.clone().or_else(|| from_environment().map(PathBuf::from));
    chosen.unwrap_or_else(os::default_root)
}

fn open_root(path: &Path) -> Result<File, AttachError> {
    let unsafe_root = |reason: String| AttachError::UnsafeRoot { path: path.to_owned(), reason };
    if path.as_os_str().is_empty() {
        return Err(unsafe_root("is an empty path".to_owned()));
    }
    if let Err(error) = os::create_folder(path) {
        return Err(unsafe_root(match std::fs::symlink_metadata(path) {
            Ok(_) => "is not a folder".to_owned(),
            Err(_) => format!("cannot be made: {error}"),
        }));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(unsafe_root("is a symbolic link".to_owned()));
    }
    let folder =
        os::open_folder(path).map_err(|error| unsafe_root(format!("cannot be opened: {error}")))?;
    let metadata =
        folder.metadata().map_err(|error| unsafe_root(format!("cannot be inspected: {error}")))?;
    let user = os::user();
    if metadata.uid() != user {
        return Err(unsafe_root(format!(
            "belongs to user {}, you are user {user}",
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(unsafe_root(format!("may be written to by others (mode {mode:o})")));
    }
    Ok(folder)
}

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

/// The memory of a segment, mapped once in a process however many handles it has.
///
/// Everything before the rings is writable, rings are read-only until [`Mapping::protect_ring`].
#[derive(Debug)]
pub struct Mapping {
    map: ManuallyDrop<MmapRaw>,
    geometry: Geometry,
    file: FileId,
    process: u32,
}

/// A file, whatever it is called: device and inode. Unique while it is open or mapped.
type FileId = (u64, u64);

static MAPPINGS: LazyLock<Mutex<HashMap<FileId, Weak<Mapping>>>> = LazyLock::new(Mutex::default);

impl Mapping {
    /// `None`: it is mapped, and was by another geometry, so the header has changed since.
    fn of(file: &File, geometry: &Geometry) -> io::Result<Option<Arc<Mapping>>> {
        let metadata = file.metadata()?;
        let id = (metadata.dev(), metadata.ino());
        let process = std::process::id();
        let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = mappings.get(&id).and_then(Weak::upgrade);
        // A forked child has the entry of its parent, but not the memory.
        if let Some(mapping) = known.filter(|mapping| mapping.process == process) {
            // First the lock: dropping a `Mapping` takes it.
            drop(mappings);
            return Ok((mapping.geometry == *geometry).then_some(mapping));
        }
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(geometry.file_size).map_err(too_large)?;
        let rings = usize::try_from(geometry.rings_offset).map_err(too_large)?;
        let map = MmapOptions::new().len(len).map_raw(file)?;
        let start = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::InvalidData)?;
        // SAFETY: The whole mapping, which starts and ends at pages.
        unsafe { os::keep_from_children(start, len)? };
        // SAFETY: `rings_offset` is a multiple of the page size and smaller than the file; nobody
        // has stored anything there through this mapping, it is new.
        unsafe { os::protect(start.add(rings), len - rings, Access::Read)? };
        // Only now: dropping a `Mapping` takes the lock that is held here.
        let map = ManuallyDrop::new(map);
        let mapping = Arc::new(Mapping { map, geometry: *geometry, file: id, process });
        mappings.insert(id, Arc::downgrade(&mapping));
        Ok(Some(mapping))
    }

    /// The first byte.
    pub fn start(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    /// Lets this process write to a ring, or not any more.
    ///
    /// # Safety
    ///
    /// With `Access::Read` no reference for writing into the ring is left.
    pub unsafe fn protect_ring(&self, ring: u32, access: Access) -> io::Result<()> {
        let ring = ring.min(self.geometry.max_publishers - 1);
        let offset = self.geometry.ring_offset(ring) as usize;
        let len = self.geometry.ring_stride as usize;
        // SAFETY: Checked geometry: whole pages within the mapping. The rest the caller promises.
        unsafe { os::protect(self.start().add(offset), len, access) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A forked child does not have this memory, and may have other memory in its place.
            return;
        }
        let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        // Perhaps somebody has mapped it anew since the last handle went.
        if mappings.get(&self.file).is_some_and(|mapping| mapping.strong_count() == 0) {
            mappings.remove(&self.file);
        }
        // SAFETY: Not used again: this is the end of the only owner.
        unsafe { ManuallyDrop::drop(&mut self.map) };
    }
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
        Segment::attach(&channel, Pattern::PubSub, u64::SCHEMA)
    }

    #[test]
    fn a_header_that_changes_while_it_is_mapped_is_refused() {
        let root = private_folder();
        let segment = numbers(root.path()).unwrap();
        // Larger, and right in itself.
        let channel = Channel::new("numbers").depth(1000);
        let geometry = Geometry::plan(&channel, u64::SCHEMA, 100, os::page_size()).unwrap();
        let bytes = header::write(Pattern::PubSub, "numbers", u64::SCHEMA, &geometry);
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
        let error = Segment::attach(&channel, Pattern::PubSub, &huge).unwrap_err();
        assert!(matches!(error, AttachError::Os { .. } | AttachError::TooLarge { .. }), "{error}");
        assert_eq!(files(), 0);

        // The last member leaves while somebody with another type is about to be refused.
        let segment = numbers(root.path()).unwrap();
        let channel = Channel::new("numbers").root(root.path());
        Segment::attach(&channel, Pattern::PubSub, i64::SCHEMA).unwrap_err();
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
        let error = Segment::attach(&channel, Pattern::PubSub, &schema).unwrap_err();
        assert!(matches!(error, AttachError::SchemaTooLong { len: 70_005, .. }), "{error}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
