//! Reading along without taking part: messages copied out of a channel by somebody whom nobody sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::AttachError;
use crate::header::{self, Geometry};
use crate::look::{FileRing, Look};
use crate::message::Invalid;
use crate::options::{Channel, Start};
use crate::pattern::Pattern;
use crate::pubsub::PublisherId;
use crate::ring::{self, Peek, Reader};
use crate::schema::{Schema, View};

/// How long to wait between two looks: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));
/// How often to see whether the channel is still the same file, while there is nothing to read.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// Reads the messages of a channel without being there: for tools, that know no types and must not
/// disturb what they watch.
///
/// It opens the channel's file for reading only, takes no lock, maps nothing, and is no subscriber: nobody
/// sees it, nobody waits for it, nothing of it is left if it is killed. Messages are copied out, and it
/// looks afterwards whether each was whole. The [`View`] of a message reads it by the channel's schema.
///
/// Only what is published: a queue or a service of that name it does not see. What is in those is for one worker
/// or one server, and [`Channel::info`] says how much it is.
///
/// The price: it cannot be woken. It looks for messages every now and then, and misses some of a publisher
/// that fills its whole ring in between, as a slow [`Subscriber`](crate::Subscriber) does. Every message
/// takes it some system calls, a microsecond or two. Programs that act on messages use a `Subscriber`.
///
/// The channel need not be there: the observer makes nothing, and finds it when others have made it.
/// It follows when the channel is replaced, or is made anew after everybody has left. After an error it can be
/// asked again, and goes on when what was in the way is gone. Of several publishers it reads in turn, each one's
/// messages in their order. In a child that was forked off it opens the channel for itself.
///
/// ```
/// # fn main() -> Result<(), shm_comm::Error> {
/// # let folder = tempfile::tempdir()?;
/// # let joints = shm_comm::Channel::new("robot/joints").root(folder.path().join("root"));
/// use shm_comm::{Observer, Publisher, Start};
///
/// let mut publisher = Publisher::<[f64; 3]>::new(&joints)?; // mostly in another process
/// let mut observer = Observer::with(&joints, Start::Next)?;
/// publisher.send(&[0.0, 0.5, -0.5])?;
///
/// let message = observer.try_recv()?.expect("a message was published");
/// assert_eq!(message.view().unwrap().to_string(), "[0.0, 0.5, -0.5]");
/// assert_eq!((message.info.sequence, message.info.missed), (0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Observer {
    channel: Channel,
    watched: Option<Watched>,
    /// When it was last seen whether this is still the channel.
    looked: Instant,
}

/// A segment, and where we are in it.
#[derive(Debug)]
struct Watched {
    look: Look,
    schema: Arc<Schema>,
    place: Place,
}

/// What was read of a segment.
#[derive(Clone, Debug)]
struct Place {
    sources: Vec<(u32, Reader)>,
    /// The rings that are among the sources.
    known: u64,
    /// The source to look at first.
    turn: usize,
}

/// What is known of a message beside its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageInfo {
    /// Who published it.
    pub publisher: PublisherId,
    /// Its number among the messages of its ring, as [`Sample::sequence`](crate::Sample::sequence) has it.
    pub sequence: u64,
    /// How many messages of that ring the observer did not see since the one before. 0 if it was the
    /// [`latest`](Observer::latest) that was asked for.
    pub missed: u64,
    /// Its size in bytes: for unsized messages, up to the last element. 0 if it claims to have more elements
    /// than there can be.
    pub size: usize,
}

/// A copy of a message, see [`Observer`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed {
    /// Which message it is.
    pub info: MessageInfo,
    /// Its bytes, as they were published; none if it claims to have more elements than there can be. Nobody has
    /// looked yet whether they are a value of the type;
    /// [`view`](Self::view) does.
    pub bytes: Vec<u8>,
    /// The layout of the channel's messages.
    pub schema: Arc<Schema>,
    /// Why there are no bytes, if it claims to have more than there can be.
    wrong: Option<Invalid>,
}

impl Observed {
    /// The message by the channel's schema.
    ///
    /// # Errors
    ///
    /// The bytes are no value of the type: whoever published them has written garbage.
    pub fn view(&self) -> Result<View<'_>, Invalid> {
        match &self.wrong {
            Some(invalid) => Err(invalid.clone()),
            None => self.schema.view(&self.bytes),
        }
    }
}

impl Observer {
    /// Observes what is published from now on.
    ///
    /// # Errors
    ///
    /// [`AttachError`], as a handle would say: what is there is no channel, is damaged, or may not be read.
    /// It is no error that there is no channel of that name.
    pub fn new(channel: impl Into<Channel>) -> Result<Observer, AttachError> {
        Observer::with(channel, Start::Next)
    }

    /// The same, beginning with another message. A channel that is made later is read from its first one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with(channel: impl Into<Channel>, start: Start) -> Result<Observer, AttachError> {
        let channel = channel.into();
        let watched = Look::at(&channel, Pattern::PubSub)?.map(|look| {
            Watched::new(look, |ring| match start {
                Start::Next => Reader::at_next(ring),
                Start::Oldest => Reader::at_oldest(ring),
            })
        });
        Ok(Observer { channel, watched, looked: Instant::now() })
    }

    /// The schema of the channel's messages; `None` while there is no channel. A channel that is replaced
    /// may have another.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.watched.as_ref().map(|watched| &watched.schema)
    }

    /// A copy of the next message, if there is one.
    ///
    /// # Errors
    ///
    /// What took the place of the channel cannot be read, see [`new`](Self::new).
    pub fn try_recv(&mut self) -> Result<Option<Observed>, AttachError> {
        self.next(|watched| watched.next(true))
    }

    /// The same, waiting for it up to `timeout`: it looks again after 50 µs, then after twice that, and so on up
    /// to a millisecond.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Observed>, AttachError> {
        let start = Instant::now();
        let (mut pause, longest) = PAUSE;
        loop {
            let found = self.try_recv()?;
            let left = timeout.saturating_sub(start.elapsed());
            if found.is_some() || left.is_zero() {
                return Ok(found);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(longest);
        }
    }

    /// Passes over the next message, if there is one, and says what is known of it: to count messages, which
    /// for large ones is much cheaper than to copy them.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn try_skip(&mut self) -> Result<Option<MessageInfo>, AttachError> {
        let skipped = self.next(|watched| watched.next(false))?;
        Ok(skipped.map(|message| message.info))
    }

    /// A copy of the newest message that is still there, seen before or not (its publisher and its number tell);
    /// what is older is not seen any more. With several publishers it is the newest of one that has something
    /// new, if any has.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn latest(&mut self) -> Result<Option<Observed>, AttachError> {
        self.next(Watched::newest)
    }

    /// What `read` finds, here or where the channel is now.
    fn next(&mut self, read: Read) -> Result<Option<Observed>, AttachError> {
        if let Some(found) = self.try_read(read)? {
            return Ok(Some(found));
        }
        let now = Instant::now();
        if now < self.looked + LOOK_AROUND {
            return Ok(None);
        }
        self.looked = now;
        if let Some(watched) = &self.watched {
            let is_current = watched.look.is_current();
            if watched.look.is_intact() && is_current? {
                return Ok(None);
            }
            // Its publishers were gone before that: what is not there now will not come, but it may have
            // come since the look before.
            if let Some(found) = self.try_read(read)? {
                return Ok(Some(found));
            }
        }
        self.find()?;
        self.try_read(read)
    }

    /// What `read` finds in the segment that is open.
    fn try_read(&mut self, read: Read) -> Result<Option<Observed>, AttachError> {
        for _ in 0..LOSSES {
            let Some(watched) = &mut self.watched else { return Ok(None) };
            if watched.look.is_here() {
                let before = watched.place.clone();
                watched.adopt();
                let found = read(watched);
                if watched.look.is_intact() {
                    return found;
                }
                // Whatever was read was another file.
                watched.place = before;
            }
            self.find()?;
        }
        Ok(None)
    }

    /// Opens what has the channel's name now, if anything has. If that is what was open, it goes on where it
    /// was; what was not is read from its first message.
    fn find(&mut self) -> Result<(), AttachError> {
        let there = Look::at(&self.channel, Pattern::PubSub)?;
        match (there, &mut self.watched) {
            (Some(look), Some(watched)) if watched.is_at(&look) => watched.look = look,
            (there, _) => {
                self.watched = there.map(|look| Watched::new(look, |ring| Reader::at_first(ring)));
            }
        }
        Ok(())
    }
}

/// How to look for a message.
type Read = fn(&mut Watched) -> Result<Option<Observed>, AttachError>;

/// So often the file is opened again that was closed by somebody else: once is enough if he does it once.
const LOSSES: u32 = 3;

impl Watched {
    fn new(look: Look, start: impl Fn(&FileRing) -> Reader) -> Watched {
        let schema = Arc::new(look.description.schemas.message.clone());
        let place = Place { sources: Vec::new(), known: 0, turn: 0 };
        let mut watched = Watched { look, schema, place };
        watched.add(start);
        watched
    }

    /// Whether that is the segment which is read here: perhaps retired, but nothing has taken its place yet.
    fn is_at(&self, look: &Look) -> bool {
        self.look.id() == look.id() && self.look.geometry() == look.geometry()
    }

    /// Adds the rings that have appeared.
    fn adopt(&mut self) {
        self.add(|ring| Reader::at_first(ring));
    }

    fn add(&mut self, start: impl Fn(&FileRing) -> Reader) {
        let rings = self.look.bitmap(header::RINGS_OFFSET);
        for number in self.look.rings_in(rings & !self.place.known) {
            let reader = start(&self.look.ring(number));
            self.place.sources.push((number, reader));
        }
        self.place.known |= rings;
    }

    /// The next message of any publisher, each in its turn.
    fn next(&mut self, copies: bool) -> Result<Option<Observed>, AttachError> {
        let count = self.place.sources.len();
        for step in 0..count {
            let index = (self.place.turn + step) % count;
            if let Some(found) =
                self.read(index, copies, |reader, ring, attempt| reader.peek(ring, attempt))?
            {
                self.place.turn = index + 1;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The newest message: first of those who have something new, then of the one that was read last.
    fn newest(&mut self) -> Result<Option<Observed>, AttachError> {
        let count = self.place.sources.len();
        let in_turn = (0..count).map(|step| (self.place.turn + step) % count);
        let (fresh, seen): (Vec<usize>, Vec<usize>) = in_turn.partition(|index| {
            let (number, reader) = &self.place.sources[*index];
            reader.anything_new(&self.look.ring(*number))
        });
        for index in fresh.into_iter().chain(seen.into_iter().rev()) {
            let newest = |reader: &mut Reader, ring: &FileRing, _| reader.peek_newest(ring);
            if let Some(mut found) = self.read(index, true, newest)? {
                self.place.turn = index + 1;
                found.info.missed = 0;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Copies the message that `peek` finds in a source, if it stays whole meanwhile.
    fn read(
        &mut self,
        index: usize,
        copies: bool,
        peek: impl Fn(&mut Reader, &FileRing, u32) -> Option<Peek>,
    ) -> Result<Option<Observed>, AttachError> {
        let Some((number, reader)) = self.place.sources.get_mut(index) else { return Ok(None) };
        let ring = self.look.ring(*number);
        for attempt in 0..ring::ATTEMPTS {
            let Some(peeked) = peek(reader, &ring, attempt) else { return Ok(None) };
            let size = size(self.look.geometry(), &ring, peeked.position());
            let bytes = match &size {
                Ok(size) if copies => copy(&self.look, &ring, peeked.position(), *size)?,
                _ => Ok(Vec::new()),
            };
            let Some(found) = reader.confirm(&ring, peeked) else { continue };
            let publisher = PublisherId { ring: *number, generation: found.generation };
            let (sequence, missed) = (found.sequence, found.missed);
            let wrong = size.as_ref().err().or(bytes.as_ref().err()).cloned();
            let size = size.unwrap_or_default();
            let info = MessageInfo { publisher, sequence, missed, size };
            let (bytes, schema) = (bytes.unwrap_or_default(), self.schema.clone());
            return Ok(Some(Observed { info, bytes, schema, wrong }));
        }
        Ok(None)
    }
}

/// Bytes of the message of a position.
fn size(geometry: &Geometry, ring: &FileRing, position: u64) -> Result<usize, Invalid> {
    if geometry.payload.stride == 0 {
        return Ok(geometry.payload.size as usize);
    }
    let len = ring.len(position);
    if len > geometry.payload.max_len {
        return Err(Invalid::too_long(len, geometry.payload.max_len as usize));
    }
    // Not more than `payload_size`, which was checked to be a number.
    Ok((geometry.payload.fixed + len * geometry.payload.stride) as usize)
}

fn copy(
    look: &Look,
    ring: &FileRing,
    position: u64,
    size: usize,
) -> Result<Result<Vec<u8>, Invalid>, AttachError> {
    let mut bytes = Vec::new();
    // How large a message is others say: it is no end of this process if it has no memory for it.
    if bytes.try_reserve_exact(size).is_err() {
        let found = format_args!("{size} bytes, more than this process has memory for");
        return Ok(Err(Invalid::new(found, "whole message")));
    }
    bytes.resize(size, 0);
    ring.copy(position, &mut bytes).map_err(look.door.os("read"))?;
    Ok(Ok(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Publisher, Subscriber};
    use std::os::unix::fs::{FileExt, PermissionsExt};

    #[test]
    fn what_is_retired_and_not_replaced_yet_is_read_once() {
        let private = std::fs::Permissions::from_mode(0o700);
        let root = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
        let channel = Channel::new("c").root(root.path());
        let _subscriber = Subscriber::<u64>::new(&channel).unwrap();
        let mut publisher = Publisher::<u64>::new(&channel).unwrap();
        let mut observer = Observer::with(&channel, Start::Oldest).unwrap();
        publisher.send(&1).unwrap();
        assert_eq!(observer.try_recv().unwrap().unwrap().info.sequence, 0);
        publisher.send(&2).unwrap();
        // As if somebody had been killed right after he has retired it.
        let watched = observer.watched.as_ref().unwrap();
        let offset = watched.look.geometry().control_offset + header::RETIRED_OFFSET;
        let file = std::fs::OpenOptions::new().write(true).open(root.path().join("c.pubsub"));
        file.unwrap().write_all_at(&header::RETIRED.to_ne_bytes(), offset).unwrap();
        assert_eq!(observer.recv_timeout(3 * LOOK_AROUND).unwrap().unwrap().info.sequence, 1);
        assert!(observer.recv_timeout(5 * LOOK_AROUND).unwrap().is_none());
        publisher.send(&3).unwrap();
        let third = observer.recv_timeout(3 * LOOK_AROUND).unwrap().unwrap();
        assert_eq!((third.info.sequence, third.info.missed), (2, 0));
        // The next one to come makes another. (Who has retired it had seen that no publisher was there.)
        drop(publisher);
        let mut next = Publisher::<u64>::new(&channel).unwrap();
        next.send(&4).unwrap();
        let fourth = observer.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!((fourth.info.sequence, fourth.bytes), (0, 4_u64.to_ne_bytes().to_vec()));
    }
}
