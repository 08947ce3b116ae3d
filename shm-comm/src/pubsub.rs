//! Publish and subscribe: every subscriber gets every message, and nobody waits for anybody.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::channel::{Held, Input, Output, Received};
use crate::error::{AttachError, LoanError, RecvError, WaitError};
use crate::message::ShmMessage;
use crate::options::{Channel, PublisherOptions, SubscriberOptions};
use crate::ring::{Claim, Found};
use crate::wait::{Interrupter, Waited, Waiter};

/// How often a wait for participants looks again. Nothing wakes it.
const LOOK_FOR_PARTICIPANTS: Duration = Duration::from_millis(1);

/// The sending end of a channel, for messages of type `T`.
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
pub struct Publisher<T: ShmMessage> {
    output: Output<T>,
}

impl<T: ShmMessage> Publisher<T> {
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
        Ok(Publisher { output: Output::open(&channel.into(), &options)? })
    }

    /// Lends the slot of the next message, to write it in place.
    ///
    /// # Errors
    ///
    /// [`LoanError::AllSlotsHeld`], at once, if subscribers hold every slot.
    #[inline]
    pub fn loan(&mut self) -> Result<LoanUninit<'_, T>, LoanError> {
        let claim = self.output.claim()?;
        Ok(LoanUninit { slot: Slot { output: &mut self.output, claim } })
    }

    /// Publishes a copy of `value`.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan); nothing is published then.
    #[inline]
    pub fn send(&mut self, value: &T) -> Result<(), LoanError> {
        let mut loan = self.loan()?;
        // SAFETY: A `T` is plain data without a destructor, so a copy of its bytes is a `T`; the
        // slot is not where `value` is, which can be read while nobody may write a slot of ours.
        unsafe { std::ptr::copy_nonoverlapping(value, loan.as_mut_ptr(), 1) };
        loan.slot.publish();
        Ok(())
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

impl<T: ShmMessage> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("channel", &self.output.channel())
            .field("type", &T::schema().name())
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

/// A slot that is ours to write, until it is published.
struct Slot<'p, T: ShmMessage> {
    output: &'p mut Output<T>,
    claim: Claim,
}

impl<T: ShmMessage> Slot<'_, T> {
    #[inline(always)]
    fn memory(&mut self) -> &mut MaybeUninit<T> {
        self.output.slot(&mut self.claim)
    }

    #[inline(always)]
    fn publish(self) {
        self.output.publish(self.claim);
    }
}

/// The slot of the next message, with nothing in it yet.
///
/// Dropped, it publishes nothing, and the slot serves the next loan. There is one loan at a time:
/// it borrows the publisher.
#[must_use = "a loan that is not written is never seen by a subscriber"]
pub struct LoanUninit<'p, T: ShmMessage> {
    slot: Slot<'p, T>,
}

impl<'p, T: ShmMessage> LoanUninit<'p, T> {
    /// Writes the message and publishes it.
    ///
    /// The value passes over the stack. For messages of megabytes fill the slot in place:
    /// [`zeroed`](Self::zeroed), [`reused`](Self::reused), [`as_mut_ptr`](Self::as_mut_ptr).
    #[inline]
    pub fn write(mut self, value: T) {
        self.slot.memory().write(value);
        self.slot.publish();
    }

    /// Writes the message, to be changed before it is [sent](Loan::send).
    #[inline]
    pub fn init(mut self, value: T) -> Loan<'p, T> {
        self.slot.memory().write(value);
        Loan { slot: self.slot }
    }

    /// Fills the message with zeroes.
    ///
    /// Exists for types for which that is a value, and is a compile error (of `cargo build`) for
    /// others, which says what is in the way:
    ///
    /// ```compile_fail
    /// use shm_comm::{Publisher, ShmMessage};
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(u8)]
    /// enum Gear { First = 1, Second = 2 }
    ///
    /// let mut gears = Publisher::<Gear>::new("gears").unwrap();
    /// gears.loan().unwrap().zeroed().send(); // 0 is no gear
    /// ```
    #[inline]
    pub fn zeroed(mut self) -> Loan<'p, T> {
        const {
            if !T::ZERO_IS_VALID {
                Self::NO_ZERO.refuse()
            }
        }
        // In place: a message of megabytes does not fit the stack.
        // SAFETY: The slot has room for one `T`.
        unsafe { self.slot.memory().as_mut_ptr().write_bytes(0, 1) };
        Loan { slot: self.slot }
    }

    /// Takes the message as an older one left it in the slot (or zeroes): for large messages of
    /// which every part is written anyway.
    ///
    /// Exists for types of which every bit pattern is a value, and is a compile error (of
    /// `cargo build`) for others, which says what is in the way.
    #[inline]
    pub fn reused(self) -> Loan<'p, T> {
        const {
            if !T::PLAIN {
                Self::NO_REUSE.refuse()
            }
        }
        Loan { slot: self.slot }
    }

    /// Where to write the message, for drivers, decoders and C. It is not initialised.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.slot.memory().as_mut_ptr()
    }

    /// Takes the message as it was written through [`as_mut_ptr`](Self::as_mut_ptr).
    ///
    /// # Safety
    ///
    /// All of it has been written, and it is a value of `T`.
    #[inline]
    pub unsafe fn assume_init(self) -> Loan<'p, T> {
        Loan { slot: self.slot }
    }

    const NO_ZERO: crate::__private::Text = crate::__private::Text::new()
        .str("`zeroed` needs a type for which all-zero bytes are a value: ")
        .str(T::LAYOUT.zero_obstacle);
    const NO_REUSE: crate::__private::Text = crate::__private::Text::new()
        .str("`reused` needs a type of which every bit pattern is a value: ")
        .str(T::LAYOUT.plain_obstacle);
}

impl<T: ShmMessage> fmt::Debug for LoanUninit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoanUninit").field("type", &T::schema().name()).finish_non_exhaustive()
    }
}

/// A message in its slot, to be changed and sent.
///
/// Dropped, it publishes nothing, and the slot serves the next loan.
#[must_use = "a loan that is not sent is never seen by a subscriber"]
pub struct Loan<'p, T: ShmMessage> {
    slot: Slot<'p, T>,
}

impl<T: ShmMessage> Loan<'_, T> {
    /// Publishes the message.
    #[inline]
    pub fn send(self) {
        self.slot.publish();
    }
}

impl<T: ShmMessage> Deref for Loan<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: Whoever made the loan has seen to it that the slot holds a value.
        unsafe { self.slot.output.peek(&self.slot.claim).assume_init_ref() }
    }
}

impl<T: ShmMessage> DerefMut for Loan<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above.
        unsafe { self.slot.memory().assume_init_mut() }
    }
}

impl<T: ShmMessage + fmt::Debug> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loan").field(&**self).finish()
    }
}

/// The receiving end of a channel, for messages of type `T`, from all its publishers.
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
pub struct Subscriber<T: ShmMessage> {
    input: Input<T>,
    waiter: Waiter,
}

impl<T: ShmMessage> Subscriber<T> {
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
        let input = Input::open(&channel.into(), &options)?;
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
        Ok(self.input.next()?.map(Sample::new))
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
        Ok(self.input.latest()?.map(Sample::new))
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
        self.waiter.interrupter(self.input.control().clone(), self.input.id())
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
                return Ok(Some(Sample::new(received)));
            }
            // Only says whether to look again: the message itself comes out above, in registers.
            if let Some(end) = self.wait(&mut patience) {
                return end.map(|()| None);
            }
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
        self.waiter.wait(input.control(), input.id(), input.has_moved(), deadline, news)
    }
}

/// After so many times that there were news and no message came of it (a publisher laps us at every
/// look, or somebody has written garbage) a wait makes a pause.
const FUTILE: u32 = 64;
const FUTILE_PAUSE: Duration = Duration::from_millis(1);
/// The same while the channel is just being replaced.
const HOMELESS_PAUSE: Duration = Duration::from_micros(100);

/// How long one call waits.
struct Patience {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    rounds: u32,
}

impl Patience {
    fn new(timeout: Option<Duration>) -> Patience {
        Patience { timeout, deadline: None, rounds: 0 }
    }

    /// Found out when it is asked for the first time. A time beyond the end of the clock is none.
    fn deadline(&mut self) -> Option<Instant> {
        if let Some(timeout) = self.timeout.take() {
            self.deadline = Instant::now().checked_add(timeout);
        }
        self.deadline
    }

    /// Counts a round.
    fn count(&mut self) -> u32 {
        self.rounds = self.rounds.wrapping_add(1);
        self.rounds
    }
}

impl<T: ShmMessage> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("channel", &self.input.channel())
            .field("type", &T::schema().name())
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

fn wait_for_participants(
    timeout: Duration,
    enough: impl Fn() -> Result<bool, WaitError>,
    interrupted: impl Fn() -> bool,
) -> Result<bool, WaitError> {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        if enough()? {
            return Ok(true);
        }
        if interrupted() {
            return Err(WaitError::Interrupted);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
        std::thread::sleep(LOOK_FOR_PARTICIPANTS);
    }
}

/// The messages of a subscriber, see [`Subscriber::iter`].
#[must_use = "an iterator does nothing until it is asked for messages"]
#[derive(Debug)]
pub struct Iter<'s, T: ShmMessage> {
    subscriber: &'s mut Subscriber<T>,
}

impl<T: ShmMessage> Iterator for Iter<'_, T> {
    type Item = Result<Sample<T>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.subscriber.recv() {
            Err(RecvError::Interrupted) => None,
            result => Some(result),
        }
    }
}

impl<'s, T: ShmMessage> IntoIterator for &'s mut Subscriber<T> {
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
pub struct Sample<T: ShmMessage> {
    found: Found<Held<T>>,
    ring: u32,
}

impl<T: ShmMessage> Sample<T> {
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

    /// Its bytes, as they were published.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.found.right.bytes()
    }
}

impl<T: ShmMessage> Sample<T> {
    #[inline(always)]
    fn new((found, ring): Received<T>) -> Sample<T> {
        Sample { found, ring }
    }
}

impl<T: ShmMessage> Deref for Sample<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.found.right
    }
}

impl<T: ShmMessage + fmt::Debug> fmt::Debug for Sample<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("sequence", &self.sequence())
            .field("missed", &self.missed())
            .field("publisher", &self.publisher())
            .field("message", &**self)
            .finish()
    }
}
