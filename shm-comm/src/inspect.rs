//! A look at channels from outside: who is there, and what do they hold? It changes nothing.
//!
//! It asks the kernel which places are locked, and reads the rest as a [`Look`] does.
//!
//! Others go on meanwhile: each number is of a moment of its own. Who is alive is asked before and
//! after what he has written is read, and several times of those who seem dead, so that nobody does
//! who just comes or leaves.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::door::Door;
use crate::error::{AttachError, Error};
use crate::folder;
use crate::header::{self, Description};
use crate::liveness::{self, Place};
use crate::look::{self, Control, Look};
use crate::options::{Access, Channel};
use crate::pattern::{PATTERNS, Pattern};
use crate::ring;
use crate::schema::Schema;
use crate::segment::{self, Segment};

/// What a look at a channel shows. Others go on meanwhile, and each number is of a moment of its own.
///
/// Texts and numbers are as the participants wrote them: a name may contain control characters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The channel's name.
    pub name: String,
    /// What it does with messages.
    pub pattern: Pattern,
    /// Its file.
    pub path: PathBuf,
    /// Who may use it: what a [`Channel`] must say to open it.
    pub access: Access,
    /// The name of the messages' type: `Pose`, `[f64; 7]`.
    pub type_name: String,
    /// The type: its fields, their types and places.
    pub schema: Schema,
    /// The [layout hash](crate::Schema::hash) of the type.
    pub layout_hash: u64,
    /// Bytes of a message; of the largest one that there is room for, if it is unsized.
    pub message_size: u64,
    /// Alignment of a message in bytes.
    pub message_align: u64,
    /// As in [`Channel::max_len`]: elements. `None` for messages of fixed size.
    pub max_len: Option<u64>,
    /// As in [`Channel::depth`]: messages.
    pub depth: u32,
    /// Slots of each publisher: the depth, and room for messages that are held.
    pub slots: u32,
    /// How many publishers there can be.
    pub max_publishers: u32,
    /// How many subscribers there can be.
    pub max_subscribers: u32,
    /// Bytes of the file by its length, most of which take no memory.
    pub file_size: u64,
    /// Bytes of memory that the file takes.
    pub memory: u64,
    /// By their number: those that are there, and those that died and were not cleaned up yet.
    pub publishers: Vec<PublisherInfo>,
    /// By their number: those that are there, and those that died and were not cleaned up yet.
    pub subscribers: Vec<SubscriberInfo>,
    /// Nobody is attached: they were killed. The next to come makes a new channel, and
    /// [`Channel::remove_stale`] removes this one. (For a moment it is also true of a channel whose
    /// publisher has replaced another and is gone, until those who have waited there have come.)
    pub is_stale: bool,
    /// A publisher of another type or geometry is about to make a new channel of this name.
    pub is_retired: bool,
}

/// A publisher as a look at its channel shows it, see [`ChannelInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublisherInfo {
    /// Its ring: the `ring` of its [`PublisherId`](crate::PublisherId).
    pub number: u32,
    /// As in its [`PublisherId`](crate::PublisherId).
    pub generation: u16,
    /// Its process, as that sees itself: in another pid namespace the number is another. 0 where that
    /// is not known.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`. It tells the
    /// process from a later one with the same pid.
    pub process_start: u64,
    /// False: it died, and the next publisher takes its ring over.
    pub alive: bool,
    /// Messages published on its ring, also by those before it.
    pub published: u64,
    /// Slots that it or those before it have passed over because a subscriber held them. No message is lost
    /// by that.
    pub skipped: u64,
}

/// A subscriber as a look at its channel shows it, see [`ChannelInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriberInfo {
    /// Its place among the subscribers.
    pub number: u32,
    /// Its process, as that sees itself: in another pid namespace the number is another. 0 where that
    /// is not known.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`. It tells the
    /// process from a later one with the same pid.
    pub process_start: u64,
    /// False: it died, and what it holds is freed by a publisher or by the next to come.
    pub alive: bool,
    /// False: it was dropped, and is only there as long as a sample of it is.
    pub listens: bool,
    /// It sleeps until there is a message.
    pub sleeping: bool,
    /// Slots that it holds, of all publishers: samples, and while it waits perhaps the next one.
    pub held: u32,
    /// How many samples it may hold, see [`SubscriberOptions`](crate::SubscriberOptions::max_held).
    pub max_held: u32,
}

/// The folder that `channels` looks at, and for whom it is: what a [`Channel`] of a tool must say to open
/// what is in there.
///
/// `None` is the folder in which channels are that name no [`root`](Channel::root) and no
/// [`access`](Channel::access). Whether there is such a folder, and whether it can be trusted, nobody has
/// looked yet.
pub fn root(chosen: Option<&Path>) -> (PathBuf, Access) {
    let root = folder::root(chosen, Access::Owner);
    let access = folder::access_of(&root);
    (root, access)
}

/// All channels of a folder, by name: a look that disturbs nobody. `None` is the folder in which
/// channels are that name no [`root`](Channel::root) and no [`access`](Channel::access): those of the
/// user that this process acts as.
///
/// A file that is no channel, is damaged, or is of another release, is passed over; [`files`] has them,
/// too. A folder that is not there has no channels.
///
/// # Errors
///
/// [`AttachError::UnsafeRoot`] if the folder cannot be trusted, and [`Error::Os`] if it cannot be
/// read.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), shm_comm::Error> {
/// # let folder = tempfile::tempdir()?;
/// # let root = &folder.path().join("root");
/// use shm_comm::{Channel, Publisher, channels};
///
/// let joints = Publisher::<[f64; 7]>::new(Channel::new("robot/joints").root(root))?;
/// let ticks = Publisher::<u64>::new(Channel::new("clock").root(root))?;
///
/// for channel in channels(Some(root))? {
///     println!("{}: {}, {} bytes", channel.name, channel.type_name, channel.memory);
/// }
/// # assert_eq!(channels(Some(root))?.len(), 2);
/// # Ok(())
/// # }
/// ```
pub fn channels(root: Option<&Path>) -> Result<Vec<ChannelInfo>, Error> {
    let of_channel = |file| match file {
        FileInfo::Channel(info) => Some(*info),
        _ => None,
    };
    Ok(files(root)?.into_iter().filter_map(of_channel).collect())
}

/// What a file in a folder of channels is, see [`files`].
#[derive(Debug)]
#[non_exhaustive]
pub enum FileInfo {
    /// A channel.
    Channel(Box<ChannelInfo>),
    /// It has the name of a channel, and is none that can be opened.
    Refused {
        /// The name that the channel would have.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        error: AttachError,
    },
    /// A segment that was replaced by one of another type or geometry, and is kept for subscribers which
    /// have still to read what is in it. The last of them removes it.
    Replaced {
        /// The channel's name; empty if it cannot be told.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// Somebody reads it. Else they were killed: the next to come removes it, and so does
        /// [`Channel::remove_stale`].
        is_awaited: bool,
    },
    /// No file of this library.
    Foreign {
        /// Where it is.
        path: PathBuf,
    },
}

/// All files of a folder, by name, and what each of them is: as [`channels`], for somebody who looks for
/// what is wrong.
///
/// # Errors
///
/// As for [`channels`].
pub fn files(root: Option<&Path>) -> Result<Vec<FileInfo>, Error> {
    let (root, access) = self::root(root);
    match folder::open_root(&root, access, false) {
        Ok(_) => {}
        Err(_) if folder::is_absent(&root) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut names: Vec<OsString> = std::fs::read_dir(&root)?
        .map(|file| file.map(|file| file.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    let file = |name: OsString| {
        let path = root.join(&name);
        let Some(name) = name.to_str() else { return Some(FileInfo::Foreign { path }) };
        if let Some((name, pattern)) = folder::channel_of(name) {
            let channel = Channel::new(&name).root(&root).access(access);
            return match look(&channel, pattern) {
                Ok(info) => info.map(Box::new).map(FileInfo::Channel),
                Err(error) => Some(FileInfo::Refused { name, path, error }),
            };
        }
        match Door::aside_at(&root, access, name) {
            Some((name, file)) => {
                let is_left = || Ok(!liveness::anyone_listens(file.file())?);
                let is_awaited = !lasts(is_left).unwrap_or(false);
                let is_there = || std::fs::symlink_metadata(&path).is_ok();
                (is_awaited || is_there()).then_some(FileInfo::Replaced { name, path, is_awaited })
            }
            // Files come and go meanwhile.
            None if folder::is_absent(&path) => None,
            None => Some(FileInfo::Foreign { path }),
        }
    };
    let mut files: Vec<FileInfo> = names.into_iter().filter_map(file).collect();
    // Names of files are those of channels, but for what is escaped.
    files.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(files)
}

impl FileInfo {
    /// The name of its channel; empty if it has none.
    pub fn name(&self) -> &str {
        match self {
            FileInfo::Channel(info) => &info.name,
            FileInfo::Refused { name, .. } | FileInfo::Replaced { name, .. } => name,
            FileInfo::Foreign { .. } => "",
        }
    }
}

impl Channel {
    /// Who is there: a look that disturbs nobody and makes nothing. One entry for each pattern in
    /// which the channel exists, so none if it does not.
    ///
    /// # Errors
    ///
    /// [`Error::Attach`], with what a handle would say of a file that is no channel, is damaged, or may
    /// not be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), shm_comm::Error> {
    /// # let folder = tempfile::tempdir()?;
    /// use shm_comm::{Channel, Publisher};
    ///
    /// let clock = Channel::new("clock").root(folder.path().join("root"));
    /// assert!(clock.info()?.is_empty());
    ///
    /// let mut ticks = Publisher::<u64>::new(&clock)?;
    /// ticks.send(&1)?;
    /// let info = &clock.info()?[0];
    /// assert_eq!((info.type_name.as_str(), info.publishers[0].published), ("u64", 1));
    /// assert_eq!(info.publishers[0].pid, std::process::id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> Result<Vec<ChannelInfo>, Error> {
        let mut patterns = Vec::new();
        for pattern in PATTERNS {
            patterns.extend(look(self, pattern)?);
        }
        Ok(patterns)
    }

    /// Looks for what no participant can have left, however it was killed: a sentence for each, for people
    /// to read. None: as far as can be told from outside, everything is in order.
    ///
    /// It takes a few microseconds for each slot. Others may go on meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`info`](Self::info): what makes a channel unusable as a whole.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), shm_comm::Error> {
    /// # let folder = tempfile::tempdir()?;
    /// use shm_comm::{Channel, Publisher};
    ///
    /// let clock = Channel::new("clock").root(folder.path().join("root"));
    /// let mut ticks = Publisher::<u64>::new(&clock)?;
    /// ticks.send(&1)?;
    /// assert!(clock.check()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn check(&self) -> Result<Vec<String>, Error> {
        let mut problems = Vec::new();
        for pattern in PATTERNS {
            if let Some(look) = Look::at(self, pattern)? {
                check(&look, &mut problems).map_err(look.door.os("read"))?;
            }
        }
        Ok(problems)
    }

    /// Removes what a channel has left whose participants were all killed, and says whether there was
    /// anything. It refuses, with `false`, while anybody is attached.
    ///
    /// Segments that were replaced and that nobody reads any more are left, too, and removed also while
    /// somebody is attached to the one that has taken their place.
    ///
    /// It need not be called: the next to come does the same.
    ///
    /// # Errors
    ///
    /// [`Error::Attach`]: what is there is no channel, or may not be removed. It is left alone.
    ///
    /// # Crash safety
    ///
    /// The file is removed, or it is not.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), shm_comm::Error> {
    /// # let folder = tempfile::tempdir()?;
    /// use shm_comm::{Channel, Publisher};
    ///
    /// let clock = Channel::new("clock").root(folder.path().join("root"));
    /// let ticks = Publisher::<u64>::new(&clock)?;
    /// assert!(!clock.remove_stale()?); // somebody is there
    /// drop(ticks); // the last to leave removes the file
    /// assert!(!clock.remove_stale()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_stale(&self) -> Result<bool, Error> {
        let mut removed = false;
        for pattern in PATTERNS {
            removed |= Segment::remove_stale(self, pattern)?;
        }
        Ok(removed)
    }
}

/// `None`: there is no such channel.
fn look(channel: &Channel, pattern: Pattern) -> Result<Option<ChannelInfo>, AttachError> {
    for _ in 0..LOOKS {
        let Some(look) = Look::at(channel, pattern)? else { return Ok(None) };
        if let Some(info) = info(look, pattern)? {
            return Ok(Some(info));
        }
    }
    // Whoever is there leaves at once, again and again.
    Ok(None)
}

/// Whether it is so whenever we look. Who leaves is for a moment neither here nor gone.
fn lasts(is_so: impl Fn() -> io::Result<bool>) -> io::Result<bool> {
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        if !is_so()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `None`: it has been removed or replaced while we looked at it.
fn info(look: Look, pattern: Pattern) -> Result<Option<ChannelInfo>, AttachError> {
    let places = places(&look).map_err(look.door.os("inspect"))?;
    let control = look.control().map_err(look.door.os("read"))?;
    let publishers = publisher_infos(&look, &places, &control);
    let subscribers = subscriber_infos(&look, &places, &control);
    let is_left = || Ok(!liveness::anyone_is_attached(look.file())?);
    let is_stale = lasts(is_left).map_err(look.door.os("inspect"))?;
    if is_stale && !look.door.is_named(look.file()).map_err(look.door.os("inspect"))? {
        return Ok(None);
    }
    let Description { name, schemas, layout_hash, geometry, .. } = look.description;
    let schema = schemas.message;
    Ok(Some(ChannelInfo {
        name,
        pattern,
        path: look.door.path().to_owned(),
        access: look.door.access(),
        type_name: schema.name(),
        schema,
        layout_hash,
        message_size: geometry.payload.size,
        message_align: geometry.payload.align.into(),
        max_len: (geometry.payload.stride != 0).then_some(geometry.payload.max_len),
        depth: geometry.depth,
        slots: geometry.slots,
        max_publishers: geometry.max_publishers,
        max_subscribers: geometry.max_subscribers,
        file_size: look.metadata.len(),
        memory: look.metadata.blocks().saturating_mul(BLOCK),
        publishers,
        subscribers,
        is_stale,
        is_retired: control.is_retired(),
    }))
}

/// Which places are taken: publishers by their number, then subscribers.
fn places(look: &Look) -> io::Result<Vec<bool>> {
    let publishers = (0..look.geometry().max_publishers).map(Place::Publisher);
    let subscribers = (0..look.geometry().max_subscribers).map(Place::Subscriber);
    publishers.chain(subscribers).map(|place| place.is_taken(look.file())).collect()
}

fn publisher_infos(look: &Look, places: &[bool], control: &Control) -> Vec<PublisherInfo> {
    let rings = control.bitmap(header::RINGS_OFFSET);
    let publisher = |number| {
        let record = || {
            let offset = look.geometry().publisher_record(number);
            segment::read_record(look.file(), offset)
        };
        let (has_ring, found) = (rings >> number & 1 == 1, record());
        if found.pid == 0 && !has_ring {
            return None;
        }
        // Who leaves takes his record away first.
        let alive = is_alive(look, places, Place::Publisher(number), || record().pid != 0)?;
        let counted = has_ring.then(|| ring::published(&look.ring(number))).flatten();
        let (published, skipped) = counted.unwrap_or_default();
        Some(PublisherInfo {
            number,
            generation: found.generation as u16,
            pid: found.pid,
            process_start: found.process_start,
            alive,
            published,
            skipped,
        })
    };
    (0..look.geometry().max_publishers).filter_map(publisher).collect()
}

fn subscriber_infos(look: &Look, places: &[bool], control: &Control) -> Vec<SubscriberInfo> {
    let registered = control.bitmap(header::REGISTERED_OFFSET);
    let sleepers = control.bitmap(header::SLEEPERS_OFFSET);
    let subscriber = |number| {
        if registered >> number & 1 == 0 {
            return None;
        }
        let offset = look.geometry().subscriber_record(number);
        let record = segment::read_record(look.file(), offset);
        // Who leaves takes his bit away first.
        let still = || look.bitmap(header::REGISTERED_OFFSET) >> number & 1 == 1;
        let alive = is_alive(look, places, Place::Subscriber(number), still)?;
        Some(SubscriberInfo {
            number,
            pid: record.pid,
            process_start: record.process_start,
            alive,
            listens: Place::Listening(number).is_taken(look.file()).unwrap_or(false),
            sleeping: sleepers >> number & 1 == 1,
            held: control.pins(number).count() as u32,
            max_held: record.max_held,
        })
    };
    (0..look.geometry().max_subscribers).filter_map(subscriber).collect()
}

/// Whether whoever has a place is alive; `None` if it is nobody any more. A place may be left and
/// taken at any moment; only who is `still` there look after look without its lock is dead.
fn is_alive(look: &Look, places: &[bool], place: Place, still: impl Fn() -> bool) -> Option<bool> {
    let index = match place {
        Place::Publisher(number) => number,
        Place::Subscriber(number) | Place::Listening(number) => {
            look.geometry().max_publishers + number
        }
    };
    if places.get(index as usize).copied().unwrap_or(false) {
        return Some(true);
    }
    for _ in 0..LOOKS {
        if place.is_taken(look.file()).unwrap_or(false) {
            return Some(true);
        }
        if !still() {
            return None;
        }
    }
    Some(false)
}

/// What no participant can have left there, in sentences.
fn check(look: &Look, problems: &mut Vec<String>) -> io::Result<()> {
    let control = look.control()?;
    let geometry = look.geometry();
    let beyond = |bitmap: u64, max: u32| bitmap.checked_shr(max).unwrap_or(0) != 0;
    let rings = control.bitmap(header::RINGS_OFFSET);
    if beyond(rings, geometry.max_publishers) {
        let max = geometry.max_publishers;
        problems.push(format!("its bitmap of rings is {rings:#x}, for {max} publishers"));
    }
    for (what, offset) in
        [("subscribers", header::REGISTERED_OFFSET), ("sleepers", header::SLEEPERS_OFFSET)]
    {
        let (bitmap, max) = (control.bitmap(offset), geometry.max_subscribers);
        if beyond(bitmap, max) {
            problems.push(format!("its bitmap of {what} is {bitmap:#x}, for {max} subscribers"));
        }
    }
    for number in look.rings_in(rings) {
        if let Err(wrong) = ring::check(&look.ring(number)) {
            problems.push(format!("in ring {number}, {wrong}"));
        }
    }
    for subscriber in 0..geometry.max_subscribers {
        for pin in control.pins(subscriber).filter(|pin| !look::is_pin(*pin, geometry)) {
            problems.push(format!("subscriber {subscriber} holds a slot that is none: {pin:#x}"));
        }
    }
    Ok(())
}

/// So often somebody is looked at who seems dead.
const LOOKS: u32 = 3;
/// And so long after a look at what everybody seems to have left. Who leaves takes microseconds.
const PAUSE: Duration = Duration::from_millis(1);

/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK: u64 = 512;
