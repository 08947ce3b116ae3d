//! Publish and subscribe: every subscriber gets every message, and nobody waits for anybody.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::channel::{Held, Input, Output, Received};
#[cfg(feature = "codec")]
use crate::codec::Sink;
use crate::error::{AttachError, LoanError, RecvError, WaitError};
#[cfg(feature = "codec")]
use crate::error::{EncodeError, SendError};
use crate::loan::{self, LoanUninit, Slot, sealed};
use crate::message::ShmMessage;
use crate::options::{Channel, PublisherOptions, Read, SubscriberOptions};
use crate::payload::Payload;
use crate::ring::{Claim, Found};
use crate::schema::Schema;
use crate::wait::{Interrupter, Patience, Rhythm, Waited, Waiter, wait_for_participants};

/// The sending end of a channel, for messages of type `T`: a [`ShmMessage`], sized or not, or an
/// [`Encoded`](crate::Encoded) value.
///
/// It has a ring of slots of its own, and never waits for a subscriber: the oldest message makes
/// room for the newest, except where a subscriber holds it. Opening costs a file; publishing costs
/// no system call while nobody sleeps.
///
/// `Send`, but neither `Sync` nor `Clone`: for a second thread open a second publisher.
///
/// # Crash safety
///
/// Killed at any instruction, it leaves a channel that works. A message whose `send` has not
/// returned may have been published or not, never in part. The next publisher takes over the ring,
/// and the sequence of its messages continues.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), shm_comm::Error> {
/// # let folder = tempfile::tempdir()?;
/// # let channel = shm_comm::Channel::new("robot/joints").root(folder.path().join("root"));
/// use shm_comm::{Publisher, Subscriber};
///
/// let mut publisher = Publisher::<[f64; 7]>::new(&channel)?;
/// let mut subscriber = Subscriber::<[f64; 7]>::new(&channel)?;
/// publisher.loan()?.write([0.5; 7]);
/// assert_eq!(subscriber.recv()?[6], 0.5);
/// # Ok(())
/// # }
/// ```
pub struct Publisher<T: Payload + ?Sized> {
    output: Output<T::Raw>,
}

impl<T: Payload + ?Sized> Publisher<T> {
    /// Opens a publisher on the channel, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the usual ones are `SchemaMismatch`, if the channel carries another
    /// type, and `TooManyParticipants`.
    pub fn new(channel: impl Into<Channel>) -> Result<Self, AttachError> {
        Publisher::with(channel, PublisherOptions::new())
    }

    /// Opens a publisher that is not the default one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with(
        channel: impl Into<Channel>,
        options: PublisherOptions,
    ) -> Result<Self, AttachError> {
        let schema = Schema::of::<T>();
        Ok(Publisher { output: Output::open(&channel.into(), &options, &schema)? })
    }

    /// The most elements that a message may have, see [`Channel::max_len`]: of an encoded value the most
    /// bytes. 0 for messages of fixed size.
    pub fn max_len(&self) -> usize {
        self.output.max_len()
    }

    /// Which publisher this is: what its samples say.
    pub fn id(&self) -> PublisherId {
        let (ring, generation) = self.output.id();
        PublisherId { ring, generation }
    }

    /// How many subscribers are alive. 0 also in a forked child, and if the [lock is
    /// lost](WaitError::LockLost): `wait_for_subscribers(0, …)` tells.
    pub fn subscribers(&self) -> usize {
        self.output.subscribers()
    }

    /// Waits until at least `n` subscribers are there, and says whether they came in time. What is
    /// published after that reaches all of them.
    ///
    /// If this publisher has just replaced the channel, those who were there count once they have
    /// followed: at once if they are blocked in a call, else at their next one.
    ///
    /// It cannot be interrupted: to stop early, wait in short steps.
    ///
    /// # Errors
    ///
    /// [`WaitError::LockLost`] and [`WaitError::Forked`].
    pub fn wait_for_subscribers(&mut self, n: usize, timeout: Duration) -> Result<bool, WaitError> {
        // First asked, and then looked whether there was anybody to ask.
        let enough = || {
            let enough = self.subscribers() >= n;
            self.output.check().map(|()| enough)
        };
        wait_for_participants(timeout, enough, || false)
    }

    /// What has happened so far.
    pub fn stats(&self) -> PublisherStats {
        let (sent, published, skipped_slots) = self.output.counts();
        PublisherStats { sent, published, skipped_slots }
    }
}

impl<T: ShmMessage> Publisher<T> {
    /// Lends the slot of the next message, to write it in place.
    ///
    /// # Errors
    ///
    /// [`LoanError::AllSlotsHeld`], at once, if subscribers hold every slot.
    #[inline]
    pub fn loan(&mut self) -> Result<LoanUninit<Publish<'_, T>>, LoanError> {
        let claim = self.output.claim()?;
        Ok(LoanUninit::of(Publish { output: &mut self.output, claim, len: 0 }))
    }
}

impl<T: ShmMessage + ?Sized> Publisher<T> {
    /// Publishes a copy of `value`: of a message, of a slice `[T]`, of a struct that ends in one.
    ///
    /// # Errors
    ///
    /// [`LoanError::AllSlotsHeld`], and [`LoanError::TooLong`] if it has more elements than the channel
    /// has room for; nothing is published then.
    #[inline]
    pub fn send(&mut self, value: &T) -> Result<(), LoanError> {
        let len = T::len_of(value);
        let claim = self.output.claim_with_len(len)?;
        loan::send_copy(Publish { output: &mut self.output, claim, len }, value);
        Ok(())
    }

    /// Lends the slot of the next message, which is to have `len` elements, to write it in place. For
    /// unsized messages: a slice `[T]`, or a struct that ends in one. For others it is a compile error
    /// (of `cargo build`); they have [`loan`](Self::loan).
    ///
    /// ```
    /// # fn main() -> Result<(), shm_comm::Error> {
    /// # let folder = tempfile::tempdir()?;
    /// # let channel = shm_comm::Channel::new("camera").root(folder.path().join("root"));
    /// use shm_comm::{Publisher, ShmMessage, Subscriber};
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(C)]
    /// struct Image {
    ///     width: u32,
    ///     height: u32,
    ///     data: [u8],
    /// }
    ///
    /// let mut publisher = Publisher::<Image>::new(channel.clone().max_len(1920 * 1080))?;
    /// let mut subscriber = Subscriber::<Image>::new(channel)?;
    ///
    /// let mut image = publisher.loan_with_len(640 * 480)?.zeroed();
    /// (image.width, image.height) = (640, 480);
    /// image.data[0] = 255;
    /// image.send();
    ///
    /// let image = subscriber.recv()?;
    /// assert_eq!((image.width, image.data.len(), image.data[0]), (640, 640 * 480, 255));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    #[inline]
    pub fn loan_with_len(&mut self, len: usize) -> Result<LoanUninit<Publish<'_, T>>, LoanError> {
        const { loan::assert_unsized::<T>() };
        let claim = self.output.claim_with_len(len)?;
        Ok(LoanUninit::of(Publish { output: &mut self.output, claim, len }))
    }
}

#[cfg(feature = "codec")]
impl<T: Payload<Raw = [u8]> + ?Sized> Publisher<T> {
    /// Publishes the bytes that `encode` puts into the slot.
    pub(crate) fn encode(
        &mut self,
        encode: impl FnOnce(&mut Sink<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), SendError> {
        let len = self.output.max_len();
        let claim = self.output.claim_with_len(len)?;
        let slot = Publish { output: &mut self.output, claim, len };
        loan::send_encoded(slot, encode).map_err(|error| {
            let channel = self.output.channel().to_owned();
            SendError::Encode { channel, error }
        })
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("channel", &self.output.channel())
            .field("type", &Schema::of::<T>().name())
            .field("id", &self.id())
            .field("stats", &self.stats())
            .finish()
    }
}

/// What a publisher has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherStats {
    /// Messages published by this handle.
    pub sent: u64,
    /// Messages published on its ring, also by those before it: the next one's sequence.
    pub published: u64,
    /// Slots that were passed because a subscriber held them, also by loans that failed.
    pub skipped_slots: u64,
}

/// The slot of the next message of a publisher.
#[derive(Debug)]
pub struct Publish<'p, T: ShmMessage + ?Sized> {
    output: &'p mut Output<T>,
    claim: Claim,
    /// How many elements the message has; not above the output's `max_len`.
    len: usize,
}

impl<T: ShmMessage + ?Sized> sealed::Slot for Publish<'_, T> {
    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        self.len = len;
    }
}

// SAFETY: The claim is the only right to the slot, which has room for `len` elements.
unsafe impl<T: ShmMessage + ?Sized> Slot for Publish<'_, T> {
    type Message = T;
    type Sent = ();

    #[inline(always)]
    fn memory(&self) -> *mut T {
        self.output.payload(&self.claim, self.len)
    }

    #[inline(always)]
    fn elements(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn send(self) {
        self.output.publish(self.claim, self.len);
    }
}

/// The receiving end of a channel, for messages of type `T`, from all its publishers: a
/// [`ShmMessage`], sized or not, or an [`Encoded`](crate::Encoded) value.
///
/// It starts with what is published after it was opened, unless its options say otherwise. One that
/// is too slow loses the oldest messages and is told how many, by [`Sample::missed`]; it slows
/// nobody down. Messages of one publisher come in order; between publishers there is no order, and
/// each gets its turn.
///
/// `Send`, but neither `Sync` nor `Clone`: for a second thread open a second subscriber.
///
/// # Crash safety
///
/// Killed at any instruction, it leaves a channel that works. The slots that it held are used again
/// once a publisher or a newcomer finds it dead.
///
/// # Examples
///
/// ```no_run
/// use shm_comm::Subscriber;
///
/// fn main() -> Result<(), shm_comm::Error> {
///     let mut joints = Subscriber::<[f64; 7]>::new("robot/joints")?;
///     for sample in joints.iter() {
///         let sample = sample?;
///         println!("{}: {:?} ({} missed)", sample.sequence(), *sample, sample.missed());
///     }
///     Ok(())
/// }
/// ```
pub struct Subscriber<T: Payload + ?Sized> {
    input: Input<T::Raw>,
    waiter: Waiter,
}

impl<T: Payload + ?Sized> Subscriber<T> {
    /// Opens a subscriber on the channel, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the usual ones are `SchemaMismatch`, if the channel carries another
    /// type, and `TooManyParticipants`.
    pub fn new(channel: impl Into<Channel>) -> Result<Self, AttachError> {
        Subscriber::with(channel, SubscriberOptions::new())
    }

    /// Opens a subscriber that is not the default one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), and `BadOption`.
    pub fn with(
        channel: impl Into<Channel>,
        options: SubscriberOptions,
    ) -> Result<Self, AttachError> {
        let copies = match options.read {
            // Bytes are plain: a value is made of them at once.
            Read::Auto => !T::Raw::PLAIN,
            Read::Pinned => false,
            Read::Copied => true,
        };
        let input = Input::open(&channel.into(), &options, Schema::of::<T>(), copies)?;
        Ok(Subscriber { input, waiter: Waiter::new(options.wait) })
    }

    /// The next message. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError::TooManySamples`] if as many samples are held as may be; `Interrupted`;
    /// `Invalid` for a message that is none, after which the next call goes on.
    #[inline]
    pub fn recv(&mut self) -> Result<Sample<T>, RecvError> {
        match self.recv_until(None)? {
            Some(sample) => Ok(sample),
            // Without a deadline a wait ends with a message or with an error.
            None => Err(RecvError::Interrupted),
        }
    }

    /// The next message, or `None` if none comes in time.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Sample<T>>, RecvError> {
        // A time beyond all clocks is no deadline.
        self.recv_until(Some(timeout))
    }

    /// The next message, or `None` if there is none now.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv), but it cannot be interrupted.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Sample<T>>, RecvError> {
        self.input.next()?.map(|received| self.sample(received)).transpose()
    }

    /// The newest message that is still in the ring: seen before or not, also one that was
    /// published before this subscriber came. `None` if there is none.
    ///
    /// `recv` then goes on after it, and what was jumped over does not count as missed. With
    /// several publishers it is the newest of one that has something new, each in its turn; if none
    /// has, of the one that was read last.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv). A newest message that is not valid is reported each time,
    /// until there is a newer one.
    pub fn latest(&mut self) -> Result<Option<Sample<T>>, RecvError> {
        self.input.latest()?.map(|received| self.sample(received)).transpose()
    }

    /// All messages, one after the other. Blocks for each, and ends when interrupted.
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter { subscriber: self }
    }

    /// How many publishers are alive: of a channel that was replaced by one of another type or geometry
    /// those of the new one, also before this subscriber has gone there.
    pub fn publishers(&self) -> usize {
        self.input.publishers()
    }

    /// Waits until at least `n` publishers are there, and says whether they came in time.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait_for_publishers(&mut self, n: usize, timeout: Duration) -> Result<bool, WaitError> {
        let enough = || {
            let enough = self.input.publishers() >= n;
            self.input.check().map(|()| enough)
        };
        wait_for_participants(timeout, enough, || self.waiter.take_interrupt())
    }

    /// Something that ends a blocking call of this subscriber, from another thread or from a signal
    /// handler.
    pub fn interrupter(&self) -> Interrupter {
        self.waiter.interrupter(self.input.control().clone(), self.input.place())
    }

    /// What has happened so far.
    pub fn stats(&self) -> SubscriberStats {
        let (received, missed) = self.input.counts();
        SubscriberStats { received, missed }
    }

    #[inline]
    fn recv_until(&mut self, timeout: Option<Duration>) -> Result<Option<Sample<T>>, RecvError> {
        if self.waiter.take_interrupt() {
            return Err(RecvError::Interrupted);
        }
        let mut patience = Patience::new(timeout);
        loop {
            if let Some(received) = self.input.next()? {
                return self.sample(received).map(Some);
            }
            // Only says whether to look again: the message itself comes out above, in registers.
            if let Some(end) = self.wait(&mut patience) {
                return end.map(|()| None);
            }
        }
    }

    /// What a user gets of a message. If it cannot be decoded it is dropped.
    #[inline(always)]
    fn sample(&self, (found, ring): Received<T::Raw>) -> Result<Sample<T>, RecvError> {
        match T::decode(&found.right) {
            Ok(decoded) => Ok(Sample { found, ring, decoded }),
            Err(error) => Err(RecvError::Decode {
                channel: self.input.channel().to_owned(),
                sequence: found.sequence,
                error,
            }),
        }
    }

    /// Waits until it is worth looking again, or says how the call ends without a message.
    #[cold]
    fn wait(&mut self, patience: &mut Patience) -> Option<Result<(), RecvError>> {
        self.input.expect();
        let waited = self.wait_for_news(patience);
        if waited == Waited::Ready {
            return None;
        }
        if waited != Waited::Interrupted
            && let Err(error) = self.input.look_around()
        {
            self.input.forget_expected();
            return Some(Err(error));
        }
        match waited {
            Waited::Ready | Waited::LookAgain => return None,
            Waited::TimedOut | Waited::Interrupted => self.input.forget_expected(),
        }
        Some(if waited == Waited::TimedOut { Ok(()) } else { Err(RecvError::Interrupted) })
    }

    /// Waits for news, or for a position to pass.
    fn wait_for_news(&self, patience: &mut Patience) -> Waited {
        let deadline = patience.deadline();
        let rounds = patience.count();
        let homeless = self.input.is_homeless();
        if rounds > 1 || homeless {
            if self.waiter.take_interrupt() {
                return Waited::Interrupted;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Waited::TimedOut;
            }
            if homeless {
                std::thread::sleep(HOMELESS_PAUSE);
                return Waited::Ready;
            }
            if rounds.is_multiple_of(FUTILE) {
                std::thread::sleep(FUTILE_PAUSE);
            }
        }
        let input = &self.input;
        let news = || input.anything_new();
        let rhythm = if input.has_moved() && self.waiter.has_interrupters() {
            Rhythm::ELSEWHERE
        } else {
            Rhythm::CALM
        };
        self.waiter.wait(input.control(), input.place(), rhythm, deadline, news, news)
    }
}

/// After so many times that there were news and no message came of it (a publisher laps us at every
/// look, or somebody has written garbage) a wait makes a pause.
const FUTILE: u32 = 64;
const FUTILE_PAUSE: Duration = Duration::from_millis(1);
/// The same while the channel is just being replaced.
const HOMELESS_PAUSE: Duration = Duration::from_micros(100);

impl<T: Payload + ?Sized> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("channel", &self.input.channel())
            .field("type", &Schema::of::<T>().name())
            .field("id", &self.input.id())
            .field("stats", &self.stats())
            .finish()
    }
}

/// What a subscriber has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Messages that were handed out, or were not valid. [`Subscriber::latest`] counts a message
    /// each time that it returns it; what it jumps over is in neither number.
    pub received: u64,
    /// Messages that were overwritten before they were read, as far as received ones have told.
    pub missed: u64,
}

/// The messages of a subscriber, see [`Subscriber::iter`].
#[must_use = "an iterator does nothing until it is asked for messages"]
#[derive(Debug)]
pub struct Iter<'s, T: Payload + ?Sized> {
    subscriber: &'s mut Subscriber<T>,
}

impl<T: Payload + ?Sized> Iterator for Iter<'_, T> {
    type Item = Result<Sample<T>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.subscriber.recv() {
            Err(RecvError::Interrupted) => None,
            result => Some(result),
        }
    }
}

impl<'s, T: Payload + ?Sized> IntoIterator for &'s mut Subscriber<T> {
    type Item = Result<Sample<T>, RecvError>;
    type IntoIter = Iter<'s, T>;

    fn into_iter(self) -> Iter<'s, T> {
        self.iter()
    }
}

/// Which publisher published a message.
///
/// Stable over a restart that takes its ring over, except for the generation. If a publisher replaces
/// the channel, because it has another type or geometry, generations go on and sequences begin at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct PublisherId {
    /// Its ring: 0 to `max_publishers - 1`.
    pub ring: u32,
    /// Which of the publishers of that ring, one after the other, it is: from 1. After 65535 come
    /// 0 and 1 again.
    pub generation: u16,
}

/// One message, to read in place.
///
/// Its slot is not written while the sample lives, however fast the publisher is: it passes the
/// slot by. The sample owns what it needs and may outlive its subscriber, which is detached when the
/// last of its samples is dropped. Forgotten (`mem::forget`), it costs its subscriber one of its
/// [`max_held`](SubscriberOptions::max_held) and nobody else anything but the slot; and the subscriber
/// stays attached until its process ends.
pub struct Sample<T: Payload + ?Sized> {
    found: Found<Held<T::Raw>>,
    ring: u32,
    decoded: T::Decoded,
}

impl<T: Payload + ?Sized> Sample<T> {
    /// Its number among the messages of its ring: from 0, without a gap unless some were missed. (Again
    /// from 0 if a publisher has replaced the channel by one of another type or geometry; it has another
    /// generation then.)
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.found.sequence
    }

    /// How many messages of this publisher were lost between the sample before and this one.
    #[inline]
    pub fn missed(&self) -> u64 {
        self.found.missed
    }

    /// Who published it.
    #[inline]
    pub fn publisher(&self) -> PublisherId {
        PublisherId { ring: self.ring, generation: self.found.generation }
    }

    /// Its bytes, as they were published: of an unsized message up to its last element, of an encoded
    /// value what the codec has made of it. A reader that knows fewer fields sees those.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.found.right.bytes()
    }
}

#[cfg(feature = "codec")]
impl<T: Payload + ?Sized> Sample<T> {
    /// What was decoded when it was received.
    pub(crate) fn into_decoded(self) -> T::Decoded {
        self.decoded
    }
}

impl<T: Payload + ?Sized> Deref for Sample<T> {
    type Target = T::Value;

    #[inline]
    fn deref(&self) -> &T::Value {
        T::value(&self.found.right, &self.decoded)
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Sample<T>
where
    T::Value: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("sequence", &self.sequence())
            .field("missed", &self.missed())
            .field("publisher", &self.publisher())
            .field("message", &&**self)
            .finish()
    }
}
