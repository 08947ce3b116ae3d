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

use crate::channel::{Tally, count_slots, place_of};
use crate::door::{self, Door};
use crate::error::{AttachError, Error};
use crate::folder;
use crate::header::{self, Description, Geometry};
use crate::liveness::{self, Place, Side};
use crate::look::{self, Control, FoundSlot, Look};
use crate::options::{Access, Channel};
use crate::pattern::{PATTERNS, Pattern};
use crate::pushpull::QueueStats;
use crate::queue::State;
use crate::reqrep::ServiceStats;
use crate::ring;
use crate::schema::Schema;
use crate::segment::{self, Segment};

/// What a look at a channel shows. Others go on meanwhile, and each number is of a moment of its own.
///
/// Of a queue its *publishers* are the pushers and its *subscribers* the pullers; of a service its
/// publishers are the servers, who say what it is, and its subscribers the clients.
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
    /// The name of the type of its messages, its jobs, or its requests: `Pose`, `[f64; 7]`.
    pub type_name: String,
    /// The type: its fields, their types and places.
    pub schema: Schema,
    /// The [layout hash](crate::Schema::hash) of the type.
    pub layout_hash: u64,
    /// Bytes of a message, a job, or a request; of the largest one that there is room for, if it is unsized.
    pub message_size: u64,
    /// Alignment of a message, a job, or a request in bytes.
    pub message_align: u64,
    /// As in [`Channel::max_len`]: elements. `None` for what has a fixed size.
    pub max_len: Option<u64>,
    /// Of a service: its replies.
    pub reply: Option<ReplyInfo>,
    /// As in [`Channel::depth`]: messages, jobs, or calls in flight.
    pub depth: u32,
    /// Slots of each publisher: the depth, and room for messages that are held. Of a queue or a service those of
    /// all together, which is the depth.
    pub slots: u32,
    /// How many publishers, pushers, or servers there can be.
    pub max_publishers: u32,
    /// How many subscribers, pullers, or clients there can be.
    pub max_subscribers: u32,
    /// Bytes of the file by its length, most of which take no memory; of a queue or a service all of them do.
    pub file_size: u64,
    /// Bytes of memory that the file takes.
    pub memory: u64,
    /// Publishers, pushers, or servers by their number: those that are there, and those that died and were not
    /// cleaned up yet.
    pub publishers: Vec<PublisherInfo>,
    /// Subscribers, pullers, or clients by their number: those that are there, and those that died and were not
    /// cleaned up yet.
    pub subscribers: Vec<SubscriberInfo>,
    /// Of a queue: how it stands, and what all have done so far.
    pub queue: Option<QueueStats>,
    /// Of a service: how it stands, and what all have done so far.
    pub service: Option<ServiceStats>,
    /// Nobody is attached: they were killed. The next to come makes a new channel, and
    /// [`Channel::remove_stale`] removes this one. (For a moment it is also true of a channel whose
    /// publisher has replaced another and is gone, until those who have waited there have come.)
    ///
    /// Never true of a queue with anything in it: see [`is_waiting`](Self::is_waiting).
    pub is_stale: bool,
    /// Nobody is attached to a queue in which there are jobs or dead letters. They wait for whoever comes, who
    /// finds them there; nothing is wrong.
    pub is_waiting: bool,
    /// A publisher of another type or geometry is about to make a new channel of this name.
    pub is_retired: bool,
}

/// The replies of a service as a look at it shows them, see [`ChannelInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplyInfo {
    /// The name of their type.
    pub type_name: String,
    /// The type: its fields, their types and places.
    pub schema: Schema,
    /// The [layout hash](crate::Schema::hash) of the type.
    pub layout_hash: u64,
    /// Bytes of a reply; of the largest one that there is room for, if it is unsized.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
    /// As in [`Channel::max_reply_len`]: elements. `None` for replies of fixed size.
    pub max_len: Option<u64>,
}

/// A publisher as a look at its channel shows it, see [`ChannelInfo`]; or a pusher, or a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublisherInfo {
    /// Its ring: the `ring` of its [`PublisherId`](crate::PublisherId). Of a pusher or a server its place.
    pub number: u32,
    /// As in its [`PublisherId`](crate::PublisherId). 0 for a pusher or a server.
    pub generation: u16,
    /// Its process, as that sees itself: in another pid namespace the number is another. 0 where that
    /// is not known.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`. It tells the
    /// process from a later one with the same pid.
    pub process_start: u64,
    /// False: it died. The next publisher takes its ring over; what a pusher or a server holds is freed by
    /// others who wait, or by the next to come.
    pub alive: bool,
    /// It sleeps: a pusher until there is room, a server until there is a request. False for a publisher.
    pub sleeping: bool,
    /// Slots that it holds: of a pusher the job that it is writing, of a server the requests that it has not
    /// answered. 0 for a publisher.
    pub held: u32,
    /// Messages published on its ring, jobs pushed from its place, or calls answered; also by those before it.
    pub published: u64,
    /// Slots that it or those before it have passed over because a subscriber held them. No message is lost
    /// by that. 0 for a pusher or a server.
    pub skipped: u64,
}

/// A subscriber as a look at its channel shows it, see [`ChannelInfo`]; or a puller, or a client.
///
/// What is counted in a place goes on over all who have it, one after the other.
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
    /// False: it died, and what it holds is freed, or offered again, by others who wait or by the next to come.
    pub alive: bool,
    /// False: it was dropped, and is only there as long as a sample of it is. Of a puller or a client as
    /// [`alive`](Self::alive): also of one that is only there as long as its jobs or its calls are.
    pub listens: bool,
    /// It sleeps: until there is a message or a job, a client until its call is answered or there is room.
    pub sleeping: bool,
    /// Slots that it holds. Of a subscriber, of all publishers: samples, and while it waits perhaps the next
    /// one. Of a puller its jobs, and dead letters that it looks at. Of a client its calls in flight.
    pub held: u32,
    /// How many samples it may hold, see [`SubscriberOptions`](crate::SubscriberOptions::max_held). 0 for a
    /// puller or a client: as many as there are slots.
    pub max_held: u32,
    /// Jobs delivered to a puller. 0 for others.
    pub delivered: u64,
    /// Those of them that had been delivered before.
    pub redelivered: u64,
    /// Jobs that became dead letters by a puller, which has rejected them, or given them back too often.
    pub dead_lettered: u64,
    /// Calls that a client has made. 0 for others.
    pub called: u64,
    /// Those of them whose time was over.
    pub timed_out: u64,
    /// Those of them that were declined, or whose server died.
    pub failed: u64,
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
    /// Dead letters are nothing of that kind, nor is what the dead hold: [`info`](Self::info) has those.
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
    /// A queue in which anything is left, a job or a dead letter, is not stale, and stays, whether anybody is
    /// attached or not. To have it removed, take out what is in it: the last to leave removes it.
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

/// `None`: it has been removed or replaced while we looked at it, or somebody has come and gone.
fn info(look: Look, pattern: Pattern) -> Result<Option<ChannelInfo>, AttachError> {
    let keeps_jobs = || door::keeps_jobs(look.file(), look.geometry());
    let kept_jobs = keeps_jobs();
    let places = places(&look).map_err(look.door.os("inspect"))?;
    let control = look.control().map_err(look.door.os("read"))?;
    let (mut queue, mut service) = (None, None);
    let (publishers, subscribers) = if pattern == Pattern::PubSub {
        (publisher_infos(&look, &places, &control), subscriber_infos(&look, &places, &control))
    } else {
        let slots = look.slots().map_err(look.door.os("read"))?;
        let geometry = look.geometry();
        let slot = |slot: u32| slots.get(slot as usize);
        let word = |number| slot(number).map_or(0, |slot| slot.word);
        let note = |number| slot(number).map_or(0, |slot| slot.note);
        let (counts, oldest) = count_slots(geometry.slots, word, note);
        let tally_of = |side, tally| control.tally_of(geometry, side, tally);
        if pattern == Pattern::Queue {
            queue = Some(QueueStats::found(counts, oldest, tally_of));
        } else {
            service = Some(ServiceStats::found(counts, tally_of));
        }
        let party = Party { look: &look, places: &places, control: &control, slots: &slots };
        (party.publishers(), party.subscribers())
    };
    let is_left = || Ok(!liveness::anyone_is_attached(look.file())?);
    let is_left = lasts(is_left).map_err(look.door.os("inspect"))?;
    let is_named = || look.door.is_named(look.file()).map_err(look.door.os("inspect"));
    if is_left && (kept_jobs != keeps_jobs() || !is_named()?) {
        return Ok(None);
    }
    let Description { name, schemas, layout_hash, geometry, .. } = look.description;
    let schema = schemas.message;
    let room = geometry.reply;
    let reply = schemas.reply.map(|schema| ReplyInfo {
        type_name: schema.name(),
        layout_hash: schema.hash(),
        schema,
        size: room.size,
        align: room.align.into(),
        max_len: (room.stride != 0).then_some(room.max_len),
    });
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
        reply,
        depth: geometry.depth,
        slots: geometry.slots,
        max_publishers: geometry.max_publishers,
        max_subscribers: geometry.max_subscribers,
        file_size: look.metadata.len(),
        memory: look.metadata.blocks().saturating_mul(BLOCK),
        publishers,
        subscribers,
        queue,
        service,
        is_stale: is_left && !kept_jobs,
        is_waiting: is_left && kept_jobs,
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
            sleeping: false,
            held: 0,
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
            delivered: 0,
            redelivered: 0,
            dead_lettered: 0,
            called: 0,
            timed_out: 0,
            failed: 0,
        })
    };
    (0..look.geometry().max_subscribers).filter_map(subscriber).collect()
}

/// Those who take part in a queue or a service.
struct Party<'a> {
    look: &'a Look,
    places: &'a [bool],
    control: &'a Control,
    slots: &'a [FoundSlot],
}

/// What is known of one of them, whatever it is.
struct Member {
    number: u32,
    record: header::Record,
    alive: bool,
    sleeping: bool,
    held: u32,
    /// [`Tally::Handled`], [`Tally::Again`], [`Tally::Dead`].
    counted: [u64; 3],
}

impl Party<'_> {
    fn publishers(&self) -> Vec<PublisherInfo> {
        let publisher = |member: Member| PublisherInfo {
            number: member.number,
            generation: 0,
            pid: member.record.pid,
            process_start: member.record.process_start,
            alive: member.alive,
            sleeping: member.sleeping,
            held: member.held,
            published: member.counted[0],
            skipped: 0,
        };
        self.members(Side::Publishers).map(publisher).collect()
    }

    fn subscribers(&self) -> Vec<SubscriberInfo> {
        let is_queue = self.look.geometry().pattern == Pattern::Queue;
        let of = |is_its: bool, count| if is_its { count } else { 0 };
        let subscriber = |member: Member| {
            let [handled, again, dead] = member.counted;
            SubscriberInfo {
                number: member.number,
                pid: member.record.pid,
                process_start: member.record.process_start,
                alive: member.alive,
                listens: member.alive,
                sleeping: member.sleeping,
                held: member.held,
                max_held: 0,
                delivered: of(is_queue, handled),
                redelivered: of(is_queue, again),
                dead_lettered: of(is_queue, dead),
                called: of(!is_queue, handled),
                timed_out: of(!is_queue, dead),
                failed: of(!is_queue, again),
            }
        };
        self.members(Side::Subscribers).map(subscriber).collect()
    }

    fn members(&self, side: Side) -> impl Iterator<Item = Member> {
        let (look, control, geometry) = (self.look, self.control, self.look.geometry());
        let (there, asleep) = look::bitmaps_of(side);
        let (registered, sleepers) = (control.bitmap(there), control.bitmap(asleep));
        let mut held = vec![0_u32; look::places(geometry, side) as usize];
        for place in self.slots.iter().flat_map(|slot| slot.holders(geometry)) {
            if place.side() == side
                && let Some(held) = held.get_mut(place.number() as usize)
            {
                *held += 1;
            }
        }
        let member = move |(number, held)| {
            if registered >> number & 1 == 0 {
                return None;
            }
            let place = side.place(number);
            let record = segment::read_record(look.file(), record_of(geometry, place));
            // Who leaves takes his bit away first.
            let still = || look.bitmap(there) >> number & 1 == 1;
            let alive = is_alive(look, self.places, place, still)?;
            let tallies = [Tally::Handled, Tally::Again, Tally::Dead];
            let counted = tallies.map(|tally| control.tally(geometry, place, tally));
            let sleeping = sleepers >> number & 1 == 1;
            Some(Member { number, record, alive, sleeping, held, counted })
        };
        (0..).zip(held).filter_map(member)
    }
}

/// Where the record of whoever has a place lies.
fn record_of(geometry: &Geometry, place: Place) -> u64 {
    match place.side() {
        Side::Publishers => geometry.publisher_record(place.number()),
        Side::Subscribers => geometry.subscriber_record(place.number()),
    }
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
    let (control, geometry) = (look.control()?, look.geometry());
    let (pattern, rings) = (geometry.pattern, control.bitmap(header::RINGS_OFFSET));
    let is_ring = pattern == Pattern::PubSub;
    if is_ring && is_beyond(rings, geometry.max_publishers) {
        let max = geometry.max_publishers;
        problems.push(format!("its bitmap of rings is {rings:#x}, for {max} publishers"));
    } else if !is_ring && rings != 0 {
        problems.push(format!("its bitmap of rings is {rings:#x}, and a {pattern} has none"));
    }
    let sides: &[Side] = match is_ring {
        true => &[Side::Subscribers],
        false => &[Side::Publishers, Side::Subscribers],
    };
    for side in sides {
        let kind = match side {
            Side::Publishers => pattern.publishers(),
            Side::Subscribers => pattern.subscribers(),
        };
        let ((there, asleep), max) = (look::bitmaps_of(*side), look::places(geometry, *side));
        for (what, offset) in [(kind, there), ("sleepers", asleep)] {
            let bitmap = control.bitmap(offset);
            if is_beyond(bitmap, max) {
                problems.push(format!("its bitmap of {what} is {bitmap:#x}, for {max} {kind}"));
            }
        }
    }
    if !is_ring {
        return check_slots(look, problems);
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

/// Whether a bitmap has bits for others than so many.
fn is_beyond(bitmap: u64, max: u32) -> bool {
    bitmap.checked_shr(max).unwrap_or(0) != 0
}

/// The same of the slots of a queue or a service. What is wrong with several of them is one sentence.
fn check_slots(look: &Look, problems: &mut Vec<String>) -> io::Result<()> {
    let geometry = look.geometry();
    let hint = |offset| look.bitmap(offset);
    for (what, offset) in [("head", header::HEAD_OFFSET), ("tail", header::TAIL_OFFSET)] {
        let (found, slots) = (hint(offset), geometry.slots);
        if found & SLOT_OF_POSITION >= slots.into() {
            problems.push(format!("its {what} is {found:#x}, in a lap of {slots} slots"));
        }
    }
    // In this order: words only go on, the head too.
    let (tail, before) = (hint(header::TAIL_OFFSET), hint(header::HEAD_OFFSET));
    let slots = look.slots()?;
    if laps_ahead(tail, hint(header::HEAD_OFFSET)) > MOST_LAPS {
        problems.push(format!("its tail, {tail:#x}, is ahead of its head, {before:#x}"));
    }
    let mut wrongs: Vec<(Wrong, u32, u64, u32)> = Vec::new();
    for (number, found) in (0..).zip(slots) {
        let Some(wrong) = wrong_in(look, number, found, before) else { continue };
        // It may have been read while it was changed.
        let lasts = lasts_wrong(look, number, wrong, before)?;
        match wrongs.iter_mut().find(|(other, ..)| *other == wrong) {
            _ if !lasts => {}
            Some((.., count)) => *count += 1,
            None => wrongs.push((wrong, number, found.word, 1)),
        }
    }
    for (wrong, first, word, count) in wrongs {
        let more = match count {
            1 => String::new(),
            count => format!(" (and so are {} others)", count - 1),
        };
        problems.push(format!("slot {first}, {word:#x}, is {}{more}", wrong.text()));
    }
    Ok(())
}

/// What a slot of a queue or a service can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    State,
    StateOfOthers,
    Owner,
    Lap,
    Len,
    ReplyLen,
}

impl Wrong {
    fn text(self) -> &'static str {
        match self {
            Wrong::State => "in a state that nobody writes",
            Wrong::StateOfOthers => "in a state that slots of this pattern never have",
            Wrong::Owner => "owned by somebody who cannot have it",
            Wrong::Lap => "in a lap to which the head does not fit",
            Wrong::Len => "longer than there is room",
            Wrong::ReplyLen => "answered by more than there is room for",
        }
    }
}

/// Whether the same is wrong whenever we look.
fn lasts_wrong(look: &Look, slot: u32, wrong: Wrong, head: u64) -> io::Result<bool> {
    for _ in 1..LOOKS {
        if wrong_in(look, slot, look.slot(slot)?, head) != Some(wrong) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is wrong with a slot, if anything is. `head` was read before it.
fn wrong_in(look: &Look, number: u32, slot: FoundSlot, head: u64) -> Option<Wrong> {
    let (geometry, word, state) = (look.geometry(), slot.word(), slot.state());
    let is_queue = geometry.pattern == Pattern::Queue;
    let is_of_others = match state {
        State::Garbage => return Some(Wrong::State),
        State::Free | State::Writing | State::Ready | State::Taken => false,
        State::Dead | State::Examined => !is_queue,
        State::Replied | State::Declined | State::Lost | State::Abandoned => is_queue,
    };
    if is_of_others {
        return Some(Wrong::StateOfOthers);
    }
    let (filler, taker) = match is_queue {
        true => (Side::Publishers, Side::Subscribers),
        false => (Side::Subscribers, Side::Publishers),
    };
    let owner = match state {
        State::Free | State::Dead | State::Garbage => None,
        State::Ready if is_queue => None,
        State::Writing | State::Ready | State::Replied | State::Declined | State::Lost => {
            Some(filler)
        }
        State::Taken | State::Examined | State::Abandoned => Some(taker),
    };
    let side = |owner| place_of(owner, geometry).map(Place::side);
    let is_served = !is_queue && state == State::Taken;
    let is_its = match owner {
        None => word.owner().number().is_none(),
        Some(owner) => side(word.owner()) == Some(owner),
    };
    if !is_its || is_served && side(slot.client()) != Some(filler) {
        return Some(Wrong::Owner);
    }
    // Only now, so that it is at least as far as when the word was read.
    let ahead = laps_ahead(slot.word, look.bitmap(header::HEAD_OFFSET));
    if laps_ahead(slot.word, head) < -1 || ahead > MOST_LAPS {
        return Some(Wrong::Lap);
    }
    let is_too_long = |room: &header::Room, offset| {
        room.stride != 0 && look.in_slot(number, offset) > room.max_len
    };
    let has_message = matches!(state, State::Ready | State::Taken | State::Dead | State::Examined);
    if has_message && is_too_long(&geometry.payload, header::LEN_OFFSET) {
        return Some(Wrong::Len);
    }
    let has_reply = state == State::Replied;
    if has_reply && is_too_long(&geometry.reply, geometry.reply_len_offset()) {
        return Some(Wrong::ReplyLen);
    }
    None
}

/// The bits of a position that say which slot it is; those above are the lap, as in a slot's word.
const SLOT_OF_POSITION: u64 = (1 << 20) - 1;

/// How many laps a word or a position is ahead of another one. They wrap.
fn laps_ahead(one: u64, other: u64) -> i64 {
    let lap = |found: u64| found & !SLOT_OF_POSITION;
    lap(one).wrapping_sub(lap(other)) as i64 >> 20
}

/// No word is so many laps ahead of the head, and no tail: what is delivered again and again goes on by a lap
/// each time, which is counted up to 15.
const MOST_LAPS: i64 = 64;

/// So often somebody is looked at who seems dead.
const LOOKS: u32 = 3;
/// And so long after a look at what everybody seems to have left. Who leaves takes microseconds.
const PAUSE: Duration = Duration::from_millis(1);

/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK: u64 = 512;
