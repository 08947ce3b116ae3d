//! A look at channels from outside: who is there, and what do they hold? It changes nothing.
//!
//! A look opens the file for reading only, takes no lock and maps nothing. It asks the kernel which
//! places are locked, and reads the rest with `pread`. So it disturbs nobody, works on a file that it
//! may not write to, and reads of a damaged segment what its checked header has room for: at worst
//! wrong numbers.
//!
//! Others go on meanwhile: each number is of a moment of its own. Who is alive is asked before and
//! after what he has written is read, and several times of those who seem dead, so that nobody does
//! who just comes or leaves.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::door::Door;
use crate::error::{AttachError, Error};
use crate::folder;
use crate::header::{self, Description, Geometry, PATTERNS, Pattern};
use crate::liveness::{self, Place};
use crate::options::{Access, Channel};
use crate::process::Descriptor;
use crate::ring::{self, PINS};
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

/// All channels of a folder, by name: a look that disturbs nobody. `None` is the folder in which
/// channels are that name no [`root`](Channel::root) and no [`access`](Channel::access): those of the
/// user that this process acts as.
///
/// A file that is no channel, is damaged, or is of another release, is passed over;
/// [`Channel::info`] says what is wrong with it. A folder that is not there has no channels.
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
    let root = folder::root(root, Access::Owner);
    let access = folder::access_of(&root);
    let mut channels = Vec::new();
    match folder::open_root(&root, access, false) {
        Ok(_) => {}
        Err(_) if folder::is_absent(&root) => return Ok(channels),
        Err(error) => return Err(error.into()),
    }
    for file in std::fs::read_dir(&root)? {
        let file = file?.file_name();
        if let Some((name, pattern)) = file.to_str().and_then(folder::channel_of)
            && let Ok(Some(info)) = look(&Channel::new(name).root(&root).access(access), pattern)
        {
            channels.push(info);
        }
    }
    channels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(channels)
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

    /// Removes what a channel has left whose participants were all killed, and says whether there was
    /// anything. It refuses, with `false`, while anybody is attached.
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

/// How many publishers are alive on the segment that has the channel's name now; none if there is
/// no such segment, or nobody can tell.
pub fn publishers(channel: &Channel, pattern: Pattern) -> usize {
    let Ok(Some(look)) = Look::at(channel, pattern) else { return 0 };
    let rings = look.bitmap(header::RINGS_OFFSET);
    liveness::publishers(look.file(), rings, look.geometry().max_publishers)
}

/// `None`: there is no such channel.
fn look(channel: &Channel, pattern: Pattern) -> Result<Option<ChannelInfo>, AttachError> {
    let look = Look::at(channel, pattern)?;
    look.map(|look| look.info(pattern)).transpose()
}

/// A segment, open to be looked at.
struct Look {
    door: Door,
    file: Descriptor,
    metadata: Metadata,
    description: Description,
}

impl Look {
    fn at(channel: &Channel, pattern: Pattern) -> Result<Option<Look>, AttachError> {
        let Some(door) = Door::find(channel, pattern)? else { return Ok(None) };
        let Some((file, metadata)) = door.look()? else { return Ok(None) };
        let description = door.describe(file.file())?;
        segment::holds(&description, &channel.name, pattern)?;
        Ok(Some(Look { door, file, metadata, description }))
    }

    fn file(&self) -> &File {
        self.file.file()
    }

    fn geometry(&self) -> &Geometry {
        &self.description.geometry
    }

    fn info(self, pattern: Pattern) -> Result<ChannelInfo, AttachError> {
        let places = self.places().map_err(self.door.os("inspect"))?;
        let control = self.control().map_err(self.door.os("read"))?;
        let publishers = self.publishers(&places, &control);
        let subscribers = self.subscribers(&places, &control);
        let attached = liveness::anyone_is_attached(self.file());
        let is_stale = !attached.map_err(self.door.os("inspect"))?;
        let Description { name, schema, layout_hash, geometry, .. } = self.description;
        Ok(ChannelInfo {
            name,
            pattern,
            path: self.door.path().to_owned(),
            access: self.door.access(),
            type_name: schema.name(),
            schema,
            layout_hash,
            message_size: geometry.payload_size,
            message_align: geometry.payload_align.into(),
            max_len: (geometry.payload_stride != 0).then_some(geometry.max_len),
            depth: geometry.depth,
            slots: geometry.slots,
            max_publishers: geometry.max_publishers,
            max_subscribers: geometry.max_subscribers,
            file_size: self.metadata.len(),
            memory: self.metadata.blocks().saturating_mul(BLOCK),
            publishers,
            subscribers,
            is_stale,
            is_retired: control.is_retired(),
        })
    }

    /// Which places are taken: publishers by their number, then subscribers.
    fn places(&self) -> io::Result<Vec<bool>> {
        let publishers = (0..self.geometry().max_publishers).map(Place::Publisher);
        let subscribers = (0..self.geometry().max_subscribers).map(Place::Subscriber);
        publishers.chain(subscribers).map(|place| place.is_taken(self.file())).collect()
    }

    /// The control area, as large as the checked geometry makes it: 8 KiB at most.
    fn control(&self) -> io::Result<Control> {
        let subscribers = u64::from(self.geometry().max_subscribers);
        let size = header::SUBSCRIBERS_OFFSET + subscribers * header::SUBSCRIBER_STRIDE;
        let mut bytes = vec![0; size as usize];
        self.file().read_exact_at(&mut bytes, self.geometry().control_offset)?;
        Ok(Control { bytes })
    }

    fn publishers(&self, places: &[bool], control: &Control) -> Vec<PublisherInfo> {
        let rings = control.bitmap(header::RINGS_OFFSET);
        let publisher = |number| {
            let record = || {
                let offset = self.geometry().publisher_record(number);
                segment::read_record(self.file(), offset)
            };
            let (has_ring, found) = (rings >> number & 1 == 1, record());
            if found.pid == 0 && !has_ring {
                return None;
            }
            // Who leaves takes his record away first.
            let alive = self.is_alive(places, Place::Publisher(number), || record().pid != 0)?;
            Some(PublisherInfo {
                number,
                generation: found.generation as u16,
                pid: found.pid,
                process_start: found.process_start,
                alive,
                published: if has_ring { self.published(number) } else { 0 },
            })
        };
        (0..self.geometry().max_publishers).filter_map(publisher).collect()
    }

    fn subscribers(&self, places: &[bool], control: &Control) -> Vec<SubscriberInfo> {
        let registered = control.bitmap(header::REGISTERED_OFFSET);
        let sleepers = control.bitmap(header::SLEEPERS_OFFSET);
        let subscriber = |number| {
            if registered >> number & 1 == 0 {
                return None;
            }
            let offset = self.geometry().subscriber_record(number);
            let record = segment::read_record(self.file(), offset);
            // Who leaves takes his bit away first.
            let still = || self.bitmap(header::REGISTERED_OFFSET) >> number & 1 == 1;
            let alive = self.is_alive(places, Place::Subscriber(number), still)?;
            Some(SubscriberInfo {
                number,
                pid: record.pid,
                process_start: record.process_start,
                alive,
                listens: Place::Listening(number).is_taken(self.file()).unwrap_or(false),
                sleeping: sleepers >> number & 1 == 1,
                held: control.pins(number),
                max_held: record.max_held,
            })
        };
        (0..self.geometry().max_subscribers).filter_map(subscriber).collect()
    }

    /// Whether whoever has a place is alive; `None` if it is nobody any more. A place may be left and
    /// taken at any moment; only who is `still` there look after look without its lock is dead.
    fn is_alive(&self, places: &[bool], place: Place, still: impl Fn() -> bool) -> Option<bool> {
        let index = match place {
            Place::Publisher(number) => number,
            Place::Subscriber(number) | Place::Listening(number) => {
                self.geometry().max_publishers + number
            }
        };
        if places.get(index as usize).copied().unwrap_or(false) {
            return Some(true);
        }
        for _ in 0..LOOKS {
            if place.is_taken(self.file()).unwrap_or(false) {
                return Some(true);
            }
            if !still() {
                return None;
            }
        }
        Some(false)
    }

    /// How many messages a ring has seen.
    fn published(&self, number: u32) -> u64 {
        let (ring, slots) = (self.geometry().ring_offset(number), u64::from(self.geometry().slots));
        let mut published = None;
        for _ in 0..ring::ATTEMPTS {
            let head = self.number_at(ring);
            let last = head.wrapping_sub(1) & (slots - 1);
            let slot = ring + self.geometry().slots_offset() + last * self.geometry().slot_stride;
            let meta = self.number_at(slot + size_of::<u64>() as u64);
            published = ring::published(head, meta, slots);
            // While the head is that near the slot before it is not claimed again.
            if self.number_at(ring).wrapping_sub(head) < slots / 2 {
                break;
            }
        }
        published.unwrap_or(0)
    }

    /// A bitmap of the control area as it is now.
    fn bitmap(&self, offset: u64) -> u64 {
        self.number_at(self.geometry().control_offset + offset)
    }

    fn number_at(&self, offset: u64) -> u64 {
        segment::read_word(self.file(), offset)
    }
}

/// So often somebody is looked at who seems dead.
const LOOKS: u32 = 3;

/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK: u64 = 512;

/// What was read of a control area.
struct Control {
    bytes: Vec<u8>,
}

impl Control {
    fn bitmap(&self, offset: u64) -> u64 {
        self.at(offset).map_or(0, u64::from_ne_bytes)
    }

    fn is_retired(&self) -> bool {
        self.at(header::RETIRED_OFFSET).map(u32::from_ne_bytes) == Some(header::RETIRED)
    }

    /// How many pins a subscriber has.
    fn pins(&self, subscriber: u32) -> u32 {
        let first = header::SUBSCRIBERS_OFFSET + u64::from(subscriber) * header::SUBSCRIBER_STRIDE;
        let cell = |cell| first + (cell * size_of::<u32>()) as u64;
        let is_pin = |offset| self.at(offset).map_or(0, u32::from_ne_bytes) != 0;
        (0..PINS).map(cell).filter(|offset| is_pin(*offset)).count() as u32
    }

    fn at<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        self.bytes.get(offset as usize..)?.first_chunk().copied()
    }
}
