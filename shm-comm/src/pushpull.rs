//! Push and pull: a queue of jobs, each of which one worker gets; and another, if that dies.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{Attachment, Party, Tally};
#[cfg(feature = "codec")]
use crate::codec::Sink;
#[cfg(feature = "codec")]
use crate::error::EncodeError;
use crate::error::{AttachError, PushError, RecvError, WaitError};
use crate::header::Schemas;
use crate::liveness::Side;
use crate::loan::{self, LoanUninit, Slot, sealed};
use crate::message::ShmMessage;
use crate::options::{Channel, PullerOptions, PusherOptions};
use crate::os;
use crate::pattern::Pattern;
use crate::payload::Payload;
use crate::queue::{self, Claim, Counts, MAX_DELIVERIES, Memory, Taken, Turn};
use crate::schema::Schema;
use crate::sync::Ordering;
use crate::wait::{Interrupter, Patience, Rhythm, Waited, Waiter};

/// The end of a queue at which jobs are put in: a [`ShmMessage`], sized or not, or an
/// [`Encoded`](crate::Encoded) value.
///
/// A job stays in the queue until a [`Puller`] has acknowledged it; also when this pusher is gone, and when
/// everybody is. Jobs that were pushed before there is a puller wait for it. A queue that is full makes its
/// pushers wait: nothing is ever dropped.
///
/// Jobs of one pusher come out in the order in which they went in, but for those that are delivered again;
/// between pushers there is no order.
///
/// `Send`, but neither `Sync` nor `Clone`: for a second thread open a second pusher.
///
/// # Crash safety
///
/// Killed at any instruction, it leaves a queue that works. A job whose `send` has returned is done at least
/// once; one whose `send` has not returned may be in the queue or not, never in part.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), shm_comm::Error> {
/// # let folder = tempfile::tempdir()?;
/// # let channel = shm_comm::Channel::new("inspect/parts").root(folder.path().join("root"));
/// use shm_comm::{Puller, Pusher};
///
/// let mut parts = Pusher::<[f64; 3]>::new(&channel)?;
/// parts.send(&[0.1, 0.2, 0.3])?;
///
/// let mut worker = Puller::<[f64; 3]>::new(&channel)?; // mostly in another process
/// let part = worker.recv()?;
/// assert_eq!(part[1], 0.2);
/// part.done(); // else it is offered again
/// # Ok(())
/// # }
/// ```
pub struct Pusher<T: Payload + ?Sized> {
    at: Attachment,
    waiter: Waiter,
    message: PhantomData<fn(T)>,
}

impl<T: Payload + ?Sized> Pusher<T> {
    /// Opens a pusher on the queue, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the usual ones are `SchemaMismatch`, if the queue carries another type and
    /// either another pusher is there or anything is in it, and `TooManyParticipants`.
    pub fn new(channel: impl Into<Channel>) -> Result<Self, AttachError> {
        Pusher::with(channel, PusherOptions::new())
    }

    /// Opens a pusher that is not the default one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with(channel: impl Into<Channel>, options: PusherOptions) -> Result<Self, AttachError> {
        let schemas = Schemas::of(Schema::of::<T>());
        let (channel, side) = (channel.into(), Side::Publishers);
        // It never gives a job back, so that no limit is its.
        let limit = MAX_DELIVERIES;
        let at = Attachment::open::<T::Raw>(&channel, Pattern::Queue, schemas, side, limit)?;
        Ok(Pusher { at, waiter: Waiter::new(options.wait), message: PhantomData })
    }

    /// The most elements that a job may have, see [`Channel::max_len`]: of an encoded value the most bytes.
    /// 0 for jobs of fixed size.
    pub fn max_len(&self) -> usize {
        self.at.party().message().max_len()
    }

    /// How many pullers are alive. 0 also in a forked child.
    pub fn pullers(&self) -> usize {
        self.at.party().alive(Side::Subscribers)
    }

    /// Waits until at least `n` pullers are there, and says whether they came in time. Jobs do not need it:
    /// they wait by themselves.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait_for_pullers(&mut self, n: usize, timeout: Duration) -> Result<bool, WaitError> {
        self.at.wait_for(&self.waiter, timeout, || self.pullers() >= n)
    }

    /// Something that ends a blocking call of this pusher, from another thread or from a signal handler.
    pub fn interrupter(&self) -> Interrupter {
        self.at.interrupter(&self.waiter)
    }

    /// What has happened so far, and how the queue stands.
    pub fn stats(&self) -> QueueStats {
        QueueStats::of(self.at.party())
    }

    /// The right to fill a slot with a job of so many elements. `None`: there is none, in this time.
    #[inline(always)]
    fn claim(&mut self, len: usize, wait: Wait) -> Result<Option<Push<'_, T::Raw>>, PushError> {
        if len <= self.max_len()
            && self.at.party().is_here()
            && let Some(claim) = self.at.party().claim()
        {
            return Ok(Some(Push { at: &self.at, claim: Some(claim), len, message: PhantomData }));
        }
        self.claim_or_wait(len, wait)
    }

    #[cold]
    fn claim_or_wait(
        &mut self,
        len: usize,
        wait: Wait,
    ) -> Result<Option<Push<'_, T::Raw>>, PushError> {
        if len > self.max_len() {
            return Err(self.too_long(len));
        }
        if !self.at.party().is_here() {
            return Err(PushError::Forked { channel: self.at.channel().to_owned() });
        }
        let claim = self.claim_later(wait)?;
        let at = &self.at;
        Ok(claim.map(|claim| Push { at, claim: Some(claim), len, message: PhantomData }))
    }

    #[cold]
    fn too_long(&self, len: usize) -> PushError {
        let (channel, max_len) = (self.at.channel().to_owned(), self.max_len());
        PushError::TooLong { channel, len, max_len }
    }

    /// The queue is full.
    #[cold]
    fn claim_later(&mut self, wait: Wait) -> Result<Option<Claim>, PushError> {
        let mut patience = Patience::new(match wait {
            Wait::Not => Some(Duration::ZERO),
            Wait::For(timeout) => Some(timeout),
            Wait::Forever => None,
        });
        // Mostly there is room in a moment, and nothing else the matter.
        let mut looks = matches!(wait, Wait::Not);
        if !looks {
            self.let_others_work();
        }
        loop {
            if looks {
                self.look_for_room()?;
            }
            let party = self.at.party();
            if let Some(claim) = party.claim() {
                return Ok(Some(claim));
            }
            if let Wait::Not = wait {
                return Ok(None);
            }
            let room = || queue::has_room(party.slots());
            let waited = party.wait(&self.waiter, Rhythm::WATCHFUL, &mut patience, room, room);
            looks = waited != Waited::Ready;
            match waited {
                Waited::Ready | Waited::LookAgain => {}
                Waited::TimedOut => {
                    self.look_for_room()?;
                    return Ok(self.at.party().claim());
                }
                Waited::Interrupted => {
                    // Perhaps it was woken for room that it does not use.
                    if room() {
                        party.wake_filler(party.place().number() + 1);
                    }
                    return Err(PushError::Interrupted);
                }
            }
        }
    }
}

impl<T: Payload + ?Sized> Pusher<T> {
    /// Waits a moment for room for several jobs, for somebody who is faster than those who do them: every look
    /// takes the line away from who is just taking the next one.
    #[inline]
    fn let_others_work(&self) {
        let slots = self.at.party().slots();
        for _ in 0..LOOKS_FOR_BATCH {
            if queue::has_room_for_batch(slots) {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// For somebody who finds no room: who holds a slot may be dead, and perhaps nobody will ever make room.
    #[cold]
    fn look_for_room(&mut self) -> Result<(), PushError> {
        let locked = self.at.look_around();
        let (party, channel) = (self.at.party(), || self.at.channel().to_owned());
        if !locked {
            return Err(PushError::LockLost { channel: channel() });
        }
        let slots = party.slots().slots();
        if party.counts().0.dead == slots {
            return Err(PushError::DeadLetters { channel: channel(), slots });
        }
        Ok(())
    }
}

/// So often whoever is faster than the other side looks whether that has got on. A few microseconds.
const LOOKS_FOR_BATCH: u32 = 256;

/// For how long to wait while a queue is full.
#[derive(Clone, Copy)]
enum Wait {
    Not,
    For(Duration),
    Forever,
}

/// Without a deadline a wait ends with room or with an error.
fn forever<T>(slot: Option<T>) -> Result<T, PushError> {
    slot.ok_or(PushError::Interrupted)
}

impl<T: ShmMessage> Pusher<T> {
    /// Lends the next slot, to write a job in place. Waits while the queue is full.
    ///
    /// A loan that is kept long delays nobody: others fill the slots behind it, and it comes when it is sent.
    ///
    /// # Errors
    ///
    /// [`PushError::Interrupted`], [`PushError::DeadLetters`], and what is wrong with this handle.
    #[inline]
    pub fn loan(&mut self) -> Result<LoanUninit<Push<'_, T>>, PushError> {
        forever(self.claim(0, Wait::Forever)?).map(LoanUninit::of)
    }

    /// The same, for a time. `None`: it was full all the time.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan).
    #[inline]
    pub fn loan_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<LoanUninit<Push<'_, T>>>, PushError> {
        Ok(self.claim(0, Wait::For(timeout))?.map(LoanUninit::of))
    }

    /// The same, without waiting. `None`: it is full.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan), but it cannot be interrupted.
    #[inline]
    pub fn try_loan(&mut self) -> Result<Option<LoanUninit<Push<'_, T>>>, PushError> {
        Ok(self.claim(0, Wait::Not)?.map(LoanUninit::of))
    }
}

impl<T: ShmMessage + ?Sized> Pusher<T> {
    /// Pushes a copy of `job`: of a message, of a slice `[T]`, of a struct that ends in one. Waits while the
    /// queue is full.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan), and [`PushError::TooLong`]. Nothing is pushed then.
    #[inline]
    pub fn send(&mut self, job: &T) -> Result<(), PushError> {
        let slot = self.claim(T::len_of(job), Wait::Forever)?;
        forever(slot).map(|slot| loan::send_copy(slot, job))
    }

    /// The same, for a time. `false`: it was full all the time, and nothing was pushed.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    #[inline]
    pub fn send_timeout(&mut self, job: &T, timeout: Duration) -> Result<bool, PushError> {
        let slot = self.claim(T::len_of(job), Wait::For(timeout))?;
        Ok(slot.map(|slot| loan::send_copy(slot, job)).is_some())
    }

    /// The same, without waiting. `false`: it is full, and nothing was pushed.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), but it cannot be interrupted.
    #[inline]
    pub fn try_send(&mut self, job: &T) -> Result<bool, PushError> {
        let slot = self.claim(T::len_of(job), Wait::Not)?;
        Ok(slot.map(|slot| loan::send_copy(slot, job)).is_some())
    }

    /// Lends the next slot for a job of `len` elements. For unsized ones: a slice `[T]`, or a struct that
    /// ends in one. For others it is a compile error (of `cargo build`); they have `loan`. Waits while
    /// the queue is full.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    #[inline]
    pub fn loan_with_len(&mut self, len: usize) -> Result<LoanUninit<Push<'_, T>>, PushError> {
        const { loan::assert_unsized::<T>() };
        forever(self.claim(len, Wait::Forever)?).map(LoanUninit::of)
    }

    /// The same, for a time. `None`: it was full all the time.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    #[inline]
    pub fn loan_with_len_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Option<LoanUninit<Push<'_, T>>>, PushError> {
        const { loan::assert_unsized::<T>() };
        Ok(self.claim(len, Wait::For(timeout))?.map(LoanUninit::of))
    }

    /// The same, without waiting. `None`: it is full.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), but it cannot be interrupted.
    #[inline]
    pub fn try_loan_with_len(
        &mut self,
        len: usize,
    ) -> Result<Option<LoanUninit<Push<'_, T>>>, PushError> {
        const { loan::assert_unsized::<T>() };
        Ok(self.claim(len, Wait::Not)?.map(LoanUninit::of))
    }
}

/// Encodes a job into a slot. `false`: there was none.
#[cfg(feature = "codec")]
type Encode<'e> = &'e mut dyn FnMut(&mut Sink<'_>) -> Result<(), EncodeError>;

#[cfg(feature = "codec")]
impl<T: Payload<Raw = [u8]> + ?Sized> Pusher<T> {
    pub(crate) fn encode(&mut self, encode: Encode<'_>) -> Result<(), PushError> {
        self.encode_into_slot(Wait::Forever, encode).and_then(|sent| forever(sent.then_some(())))
    }

    pub(crate) fn encode_timeout(
        &mut self,
        timeout: Duration,
        encode: Encode<'_>,
    ) -> Result<bool, PushError> {
        self.encode_into_slot(Wait::For(timeout), encode)
    }

    pub(crate) fn try_encode(&mut self, encode: Encode<'_>) -> Result<bool, PushError> {
        self.encode_into_slot(Wait::Not, encode)
    }

    fn encode_into_slot(&mut self, wait: Wait, encode: Encode<'_>) -> Result<bool, PushError> {
        let sent = match self.claim(self.max_len(), wait)? {
            Some(slot) => loan::send_encoded(slot, encode),
            None => return Ok(false),
        };
        sent.map(|()| true).map_err(|error| {
            let channel = self.at.channel().to_owned();
            PushError::Encode { channel, error }
        })
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Pusher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher")
            .field("channel", &self.at.channel())
            .field("type", &Schema::of::<T>().name())
            .field("place", &self.at.party().place().number())
            .field("stats", &self.stats())
            .finish()
    }
}

/// The slot of the next job of a pusher.
#[derive(Debug)]
pub struct Push<'p, T: ShmMessage + ?Sized> {
    at: &'p Attachment,
    claim: Option<Claim>,
    /// How many elements the job has; not above what there is room for.
    len: usize,
    message: PhantomData<fn(T)>,
}

impl<T: ShmMessage + ?Sized> sealed::Slot for Push<'_, T> {
    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        self.len = len;
    }
}

// SAFETY: The claim, which is there until it is sent, is the only right to the slot, which has room for `len`
// elements.
unsafe impl<T: ShmMessage + ?Sized> Slot for Push<'_, T> {
    type Message = T;
    type Sent = ();

    #[inline(always)]
    fn memory(&self) -> *mut T {
        match &self.claim {
            Some(claim) => self.at.party().claimed(claim, self.len),
            None => T::at(std::ptr::null_mut(), 0),
        }
    }

    #[inline(always)]
    fn elements(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn send(mut self) {
        if let Some(claim) = self.claim.take() {
            self.at.party().push::<T>(claim, self.len);
        }
    }
}

impl<T: ShmMessage + ?Sized> Drop for Push<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take()
            && self.at.party().is_here()
        {
            self.at.party().give_up(claim);
        }
    }
}

/// The end of a queue at which workers take jobs out, each of which one worker gets.
///
/// A worker that has taken a job and dies, drops it, or panics, loses nothing: the job is offered again, with
/// its [count of deliveries](Job::deliveries) one higher. So a job is done **at least once**, if its worker
/// acknowledges with [`done`](Job::done) what it has done, and **at most once** if it takes jobs with
/// [`take`](Self::take). It is not promised that a job is done exactly once, nor is an order between pushers.
///
/// `Send`, but neither `Sync` nor `Clone`: for a second thread open a second puller.
///
/// # Crash safety
///
/// Killed at any instruction, it leaves a queue that works. Of the jobs that it held, others that wait find
/// out within a quarter of a second, or 10 ms if they spin; whoever opens a puller does so at once.
///
/// # Examples
///
/// ```no_run
/// use shm_comm::Puller;
///
/// fn main() -> Result<(), shm_comm::Error> {
///     let mut worker = Puller::<[f64; 3]>::new("inspect/parts")?;
///     loop {
///         let part = worker.recv()?;
///         println!("{:?}, attempt {}", *part, part.deliveries());
///         part.done();
///     }
/// }
/// ```
pub struct Puller<T: Payload + ?Sized> {
    at: Attachment,
    waiter: Waiter,
    /// The last that was seen of what was put back.
    returned: u64,
    /// When it last looked for the dead, though there was enough to do.
    looked: u64,
    /// So often it looks for several jobs before it waits for one.
    lull: u32,
    /// The slot at which to go on with dead letters.
    letter: u32,
    message: PhantomData<fn() -> T>,
}

/// How often a puller that always finds something looks for the dead, in nanoseconds: nobody else may, and
/// what they held is not to wait for the end of the queue.
const LOOK_AROUND: u64 = 50_000_000;

impl<T: Payload + ?Sized> Puller<T> {
    /// Opens a puller on the queue, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the usual ones are `SchemaMismatch`, if the queue carries another type, and
    /// `TooManyParticipants`.
    pub fn new(channel: impl Into<Channel>) -> Result<Self, AttachError> {
        Puller::with(channel, PullerOptions::new())
    }

    /// Opens a puller that is not the default one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), and `BadOption`.
    pub fn with(channel: impl Into<Channel>, options: PullerOptions) -> Result<Self, AttachError> {
        let (channel, side) = (channel.into(), Side::Subscribers);
        let limit = u32::from(options.max_deliveries);
        if !(1..=MAX_DELIVERIES).contains(&limit) {
            let (channel, option, value) = (channel.name, "max_deliveries", limit.into());
            let (min, max) = (1, MAX_DELIVERIES.into());
            return Err(AttachError::BadOption { channel, option, value, min, max });
        }
        let schemas = Schemas::of(Schema::of::<T>());
        let at = Attachment::open::<T::Raw>(&channel, Pattern::Queue, schemas, side, limit)?;
        Ok(Puller {
            // Something may have been put back while nobody was there: not what it is, but another.
            returned: returned(&at).wrapping_sub(1),
            at,
            waiter: Waiter::new(options.wait),
            looked: os::coarse_now(),
            lull: 0,
            letter: 0,
            message: PhantomData,
        })
    }

    /// The next job. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// `Interrupted`; `Invalid` and `Decode` for a job that is none, which becomes a dead letter: the next
    /// call goes on.
    #[inline]
    pub fn recv(&mut self) -> Result<Job<T>, RecvError> {
        match self.take_in_turn() {
            Some(taken) => self.job(taken),
            // Without a deadline a wait ends with a job or with an error.
            None => self.recv_later(None)?.ok_or(RecvError::Interrupted),
        }
    }

    /// The next job, or `None` if none comes in time.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Job<T>>, RecvError> {
        match self.take_in_turn() {
            Some(taken) => self.job(taken).map(Some),
            None => self.recv_later(Some(timeout)),
        }
    }

    /// The next job, or `None` if there is none now. Then every slot was looked at.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv), but it cannot be interrupted.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Job<T>>, RecvError> {
        self.next(true)
    }

    /// A dead letter: a job that was rejected, delivered too often, or is no value of its type. Each call
    /// gives the next one; after the last there is `None`, and then it begins again.
    ///
    /// [`done`](Job::done) removes it; dropped, it stays a dead letter. To offer it again, push a copy, and
    /// then remove it.
    ///
    /// # Errors
    ///
    /// `Invalid` and `Decode` for one that is no value of its type. It is removed: nobody could read it.
    pub fn dead_letters(&mut self) -> Result<Option<Job<T>>, RecvError> {
        self.check_here()?;
        if self.at.is_retired() {
            self.follow()?;
        }
        match self.at.party().exhume(self.letter) {
            Some(taken) => {
                self.letter = taken.slot() + 1;
                self.job(taken).map(Some)
            }
            None => {
                self.letter = 0;
                Ok(None)
            }
        }
    }

    /// How many pushers are alive. 0 also in a forked child.
    pub fn pushers(&self) -> usize {
        self.at.publishers()
    }

    /// Waits until at least `n` pushers are there, and says whether they came in time.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait_for_pushers(&mut self, n: usize, timeout: Duration) -> Result<bool, WaitError> {
        self.at.wait_for(&self.waiter, timeout, || self.pushers() >= n)
    }

    /// Something that ends a blocking call of this puller, from another thread or from a signal handler.
    pub fn interrupter(&self) -> Interrupter {
        self.at.interrupter(&self.waiter)
    }

    /// What has happened so far, and how the queue stands.
    pub fn stats(&self) -> QueueStats {
        QueueStats::of(self.at.party())
    }

    fn check_here(&self) -> Result<(), RecvError> {
        if self.at.party().is_here() {
            Ok(())
        } else {
            Err(RecvError::Forked { channel: self.at.channel().to_owned() })
        }
    }

    /// The next job in turn, if nothing else is the matter.
    #[inline(always)]
    fn take_in_turn(&mut self) -> Option<Taken> {
        let party = self.at.party();
        let is_else = returned(&self.at) != self.returned || self.waiter.is_interrupted();
        if !party.is_here() || is_else {
            return None;
        }
        let taken = party.take()?;
        // By itself it has nobody to look after.
        if party.is_in_company() {
            self.look_after_others();
        }
        Some(taken)
    }

    /// There is nothing yet, or something is the matter.
    #[cold]
    fn recv_later(&mut self, timeout: Option<Duration>) -> Result<Option<Job<T>>, RecvError> {
        if self.waiter.take_interrupt() {
            return Err(RecvError::Interrupted);
        }
        if let Some(job) = self.next(false)? {
            return Ok(Some(job));
        }
        let mut patience = Patience::new(timeout);
        self.let_others_work();
        loop {
            let (party, last) = (self.at.party(), self.returned);
            let slots = party.slots();
            let looks = Cell::new(0_u32);
            let elsewhere =
                || slots.returned().load(Ordering::Relaxed) != last || party.control().is_retired();
            let rhythm = if self.at.has_moved() && self.waiter.has_interrupters() {
                Rhythm::ANXIOUS
            } else {
                Rhythm::WATCHFUL
            };
            let waited = party.wait(
                &self.waiter,
                rhythm,
                &mut patience,
                || match queue::look(slots) {
                    Turn::Ready => true,
                    Turn::Empty | Turn::Written => elsewhere(),
                    // Mostly others are just taking and filling.
                    Turn::Busy => {
                        looks.set(looks.get() + 1);
                        looks.get().is_multiple_of(LOOKS_BEHIND) && queue::is_ready(slots)
                            || elsewhere()
                    }
                },
                || queue::is_any_ready(slots) || elsewhere(),
            );
            if waited == Waited::Interrupted {
                // Perhaps it was woken for a job that it does not take.
                party.wake_another_taker();
                return Err(RecvError::Interrupted);
            }
            // Also if the time is over: it may have been woken at that moment.
            if let Some(job) = self.next(waited != Waited::Ready || patience.is_long())? {
                return Ok(Some(job));
            }
            if waited == Waited::TimedOut {
                return Ok(None);
            }
            if self.at.is_retired() {
                std::thread::sleep(HOMELESS_PAUSE);
            }
        }
    }

    /// Waits a moment until there are several jobs, for somebody who is faster than those who push them. It is
    /// found out by whether he meets them at their work; somebody who waits for single jobs does not.
    #[inline]
    fn let_others_work(&mut self) {
        let slots = self.at.party().slots();
        self.lull = match queue::look(slots) {
            Turn::Empty => self.lull / 4 * 3,
            Turn::Ready | Turn::Written | Turn::Busy => (self.lull * 4).clamp(8, LOOKS_FOR_BATCH),
        };
        for _ in 0..self.lull {
            if queue::is_batch_ready(slots) {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// The next job, if there is one. `sure`: if not, every slot was looked at.
    #[inline(always)]
    fn next(&mut self, sure: bool) -> Result<Option<Job<T>>, RecvError> {
        self.check_here()?;
        let party = self.at.party();
        let returned = returned(&self.at);
        let taken = if returned == self.returned { party.take() } else { None };
        match taken {
            Some(taken) => self.job(taken).map(Some),
            None if returned != self.returned || sure => self.next_anywhere(returned),
            None => Ok(None),
        }
    }

    /// Looks for the dead, though there is enough to do. What they leave is offered again, and comes next.
    #[inline]
    fn look_after_others(&mut self) {
        let now = os::coarse_now();
        if now.wrapping_sub(self.looked) >= LOOK_AROUND {
            self.looked = now;
            self.at.look_around();
        }
    }

    /// The next job wherever it is.
    #[cold]
    fn next_anywhere(&mut self, returned: u64) -> Result<Option<Job<T>>, RecvError> {
        if let Some(taken) = self.at.party().take_any() {
            // There may be more that were put back: not before they are all taken it is as it was.
            if taken.deliveries() == 0 {
                self.returned = returned;
            }
            return self.job(taken).map(Some);
        }
        self.returned = returned;
        if !self.at.look_around() {
            return Err(RecvError::LockLost { channel: self.at.channel().to_owned() });
        }
        if let Some(taken) = self.at.party().take_any() {
            return self.job(taken).map(Some);
        }
        if self.at.is_retired() && self.follow()? {
            return match self.at.party().take_any() {
                Some(taken) => self.job(taken).map(Some),
                None => Ok(None),
            };
        }
        Ok(None)
    }

    /// Goes where the queue is now, and says whether it is there.
    #[cold]
    fn follow(&mut self) -> Result<bool, RecvError> {
        let moved = self.at.follow().map_err(|error| RecvError::Attach(Box::new(error)))?;
        if moved {
            self.letter = 0;
        }
        Ok(moved)
    }

    /// What a user gets of what was taken. If it is no value it becomes a dead letter; a dead letter goes.
    #[inline(always)]
    fn job(&self, taken: Taken) -> Result<Job<T>, RecvError> {
        let party = self.at.party();
        if !taken.is_dead_letter() {
            party.count_alone(Tally::Handled);
            if taken.deliveries() > 0 {
                party.count_alone(Tally::Again);
            }
        }
        let channel = || self.at.channel().to_owned();
        let sequence = taken.number(party.slots().slots());
        let message = match party.taken::<T::Raw>(&taken) {
            Ok(message) => message,
            Err(invalid) => {
                self.discard(taken);
                return Err(RecvError::Invalid { channel: channel(), sequence, invalid });
            }
        };
        // SAFETY: Mapped, a value, as was looked at, and whoever has taken it is the only one to have a right.
        match T::decode(unsafe { message.as_ref() }) {
            Ok(decoded) => {
                let right = Right { taken: Some(taken), party: party.clone() };
                Ok(Job { message, right, decoded })
            }
            Err(error) => {
                self.discard(taken);
                Err(RecvError::Decode { channel: channel(), sequence, error })
            }
        }
    }

    #[cold]
    fn discard(&self, taken: Taken) {
        if taken.is_dead_letter() {
            self.at.party().done(taken);
        } else {
            self.at.party().bury(taken);
        }
    }
}

fn returned(at: &Attachment) -> u64 {
    at.party().slots().returned().load(Ordering::Relaxed)
}

/// One in so many looks of somebody who waits goes behind a slot that is being written.
const LOOKS_BEHIND: u32 = 16;

/// How long to wait while the queue is just being replaced.
const HOMELESS_PAUSE: Duration = Duration::from_micros(100);

impl<T: ShmMessage + Copy> Puller<T> {
    /// Copies the next job out and acknowledges it, in one step: **at most once**. If this process dies after
    /// that, the job is lost. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    pub fn take(&mut self) -> Result<T, RecvError> {
        let job = self.recv()?;
        let copy = *job;
        job.done();
        Ok(copy)
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Puller<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puller")
            .field("channel", &self.at.channel())
            .field("type", &Schema::of::<T>().name())
            .field("place", &self.at.party().place().number())
            .field("stats", &self.stats())
            .finish()
    }
}

/// One job, read in place. It is this worker's until it is acknowledged, rejected, or given back.
///
/// Dropped without a word, by an early `?` or a panic, it is offered again at once, and its count of
/// deliveries is one higher; after too many it becomes a dead letter
/// ([`max_deliveries`](PullerOptions::max_deliveries)).
///
/// A job that is kept long delays nobody. It owns what it needs and may outlive its puller, which is detached
/// when the last of its jobs is gone.
///
/// A job of a type for which not every bit pattern is a value is checked when it is received, and then read
/// where it is: this trusts its pusher not to write to what it has pushed.
#[must_use = "a job that is dropped is offered again: call `done` when it is done"]
pub struct Job<T: Payload + ?Sized> {
    message: NonNull<T::Raw>,
    right: Right,
    decoded: T::Decoded,
}

/// The right to a job. Dropped: it is offered again.
#[derive(Debug)]
struct Right {
    taken: Option<Taken>,
    party: Arc<Party>,
}

impl Right {
    /// What was taken, where that is worth something: in a forked child there is nothing to give back.
    #[inline(always)]
    fn give_up(&mut self) -> Option<Taken> {
        self.taken.take().filter(|_| self.party.is_here())
    }
}

impl Drop for Right {
    #[inline]
    fn drop(&mut self) {
        if let Some(taken) = self.give_up() {
            self.party.put_back(taken);
        }
    }
}

// SAFETY: The message is only read, by whoever has the job, and nobody writes it meanwhile. A job may be given
// back by any thread (Edge B of the queue).
unsafe impl<T: Payload + ?Sized> Send for Job<T>
where
    T::Raw: Send + Sync,
    T::Decoded: Send,
{
}
// SAFETY: As above: `&Job<T>` gives `&T`.
unsafe impl<T: Payload + ?Sized> Sync for Job<T>
where
    T::Raw: Send + Sync,
    T::Decoded: Sync,
{
}

impl<T: Payload + ?Sized> Job<T> {
    /// Acknowledges the job: it is done, and its slot is free.
    #[inline]
    pub fn done(mut self) {
        if let Some(taken) = self.right.give_up() {
            self.right.party.done(taken);
        }
    }

    /// Makes it a dead letter, see [`Puller::dead_letters`].
    pub fn reject(mut self) {
        if let Some(taken) = self.right.give_up() {
            self.right.party.bury(taken);
        }
    }

    /// How often it was delivered, this time included: 1 the first time. After 15 it is not counted any
    /// more.
    #[inline]
    pub fn deliveries(&self) -> u32 {
        self.right.taken.as_ref().map_or(0, |taken| match taken.is_dead_letter() {
            false => taken.deliveries() + 1,
            true => taken.deliveries(),
        })
    }

    /// Its bytes, as they were pushed: of an unsized job up to its last element, of an encoded one what
    /// the codec has made of it.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        crate::channel::bytes_of(self.raw())
    }

    #[inline(always)]
    fn raw(&self) -> &T::Raw {
        // SAFETY: A value in mapped memory, as was looked at when the job was received; what was taken is ours
        // until it is given back, and `party` keeps the mapping.
        unsafe { self.message.as_ref() }
    }
}

#[cfg(feature = "codec")]
impl<T: Payload + ?Sized> Job<T> {
    /// Acknowledges the job, and gives what was decoded when it was received.
    pub(crate) fn done_with(mut self) -> T::Decoded {
        if let Some(taken) = self.right.give_up() {
            self.right.party.done(taken);
        }
        self.decoded
    }
}

impl<T: Payload + ?Sized> Deref for Job<T> {
    type Target = T::Value;

    #[inline]
    fn deref(&self) -> &T::Value {
        T::value(self.raw(), &self.decoded)
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Job<T>
where
    T::Value: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("deliveries", &self.deliveries())
            .field("message", &&**self)
            .finish()
    }
}

/// How a queue stands, and what has happened to it. Others go on meanwhile: each number is of a moment of its
/// own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Jobs that wait for a worker.
    pub queued: u32,
    /// Slots for further ones.
    pub free: u32,
    /// Jobs that a worker holds, and slots that a pusher is writing to.
    pub held: u32,
    /// Jobs that were rejected, or delivered too often, and were not removed yet.
    pub dead_letters: u32,
    /// How long the oldest job that waits has been in the queue, to a few milliseconds; `None` if none waits.
    pub oldest: Option<Duration>,
    /// Jobs pushed, by all pushers so far.
    pub pushed: u64,
    /// Jobs delivered to workers, so far; each time counts.
    pub delivered: u64,
    /// Those of them that were delivered before.
    pub redelivered: u64,
    /// Jobs that became dead letters, so far.
    pub dead_lettered: u64,
}

impl QueueStats {
    fn of(party: &Party) -> QueueStats {
        if !party.is_here() {
            return QueueStats::default();
        }
        let (counts, oldest) = party.counts();
        QueueStats::found(counts, oldest, |side, tally| party.tally_of(side, tally))
    }

    /// Of what was found in the slots, and what all on a side have counted.
    pub(crate) fn found(
        counts: Counts,
        oldest: Option<Duration>,
        tally_of: impl Fn(Side, Tally) -> u64,
    ) -> QueueStats {
        let (pushers, pullers) = (Side::Publishers, Side::Subscribers);
        QueueStats {
            queued: counts.ready,
            free: counts.free,
            held: counts.taken + counts.writing,
            dead_letters: counts.dead,
            oldest,
            pushed: tally_of(pushers, Tally::Handled),
            delivered: tally_of(pullers, Tally::Handled),
            redelivered: tally_of(pullers, Tally::Again),
            dead_lettered: tally_of(pullers, Tally::Dead),
        }
    }
}
