//! Request and reply: typed services, whose calls are written, served and answered in place.

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
use crate::error::{AttachError, CallError, RecvError, ReplyError, WaitError};
use crate::header::Schemas;
use crate::liveness::Side;
use crate::loan::{self, Loan, LoanUninit, Slot, sealed};
use crate::message::ShmMessage;
use crate::options::{Channel, ReplierOptions, RequesterOptions};
use crate::pattern::Pattern;
use crate::payload::Payload;
use crate::queue::calls::{self, Standing};
use crate::queue::{self, Claim, Counts, MAX_DELIVERIES, Memory, Taken};
use crate::schema::Schema;
use crate::sync::{AtomicU64, Ordering};
use crate::wait::{Interrupter, Patience, Rhythm, Waited, Waiter};

/// A call that may be repeated is given up after so many servers have died with it.
const MOST_SERVERS: u32 = 8;

/// What a service carries.
fn schemas<Q: Payload + ?Sized, R: Payload + ?Sized>() -> Schemas {
    Schemas { message: Schema::of::<Q>(), reply: Some(Schema::of::<R>()) }
}

fn open<Q: Payload + ?Sized, R: Payload + ?Sized>(
    channel: &Channel,
    side: Side,
) -> Result<Attachment, AttachError> {
    const { crate::channel::assert_layout::<R::Raw>() };
    let (pattern, schemas) = (Pattern::Service, schemas::<Q, R>());
    Attachment::open::<Q::Raw>(channel, pattern, schemas, side, MAX_DELIVERIES)
}

/// The client's end of a service: requests of type `Q`, replies of type `R`. Each is a [`ShmMessage`], sized
/// or not, or an [`Encoded`](crate::Encoded) value.
///
/// A call lives in one slot, the request and the reply in memory of their own, so that nothing is copied. Any
/// number of clients and servers, in any order of start; a reply reaches the call that it answers, and no
/// other.
///
/// A call is carried out **at most once**, and the client knows: it ends with the reply, or with one of
/// [`CallError`], of which [`NoServer`](CallError::NoServer) says that it was not carried out. With
/// [`repeatable`](RequesterOptions::repeatable) it is carried out **at least once** if it ends with the
/// reply.
///
/// Between its calls it keeps up to two slots at hand, as long as there are sixteen times as many as there are
/// clients: so a call need not wait for what can be done before it and after it. They count as
/// [kept](ServiceStats::kept).
///
/// `Send`, but neither `Sync` nor `Clone`: for a second thread open a second requester.
///
/// # Crash safety
///
/// Killed at any instruction, it leaves a service that works. The slots of its calls are free again when
/// a server or another client looks around, or somebody comes.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), shm_comm::Error> {
/// # let folder = tempfile::tempdir()?;
/// # let channel = shm_comm::Channel::new("math/add").root(folder.path().join("root"));
/// # let server_channel = channel.clone();
/// use std::time::Duration;
/// use shm_comm::{Replier, Requester};
///
/// let mut server = Replier::<[i64; 2], i64>::new(server_channel)?; // mostly in another process
/// let interrupter = server.interrupter();
/// let server = std::thread::spawn(move || server.serve(|[a, b]| a + b));
///
/// let mut client = Requester::<[i64; 2], i64>::new(&channel)?;
/// let sum = client.request(&[2, 3], Duration::from_secs(1))?;
/// assert_eq!(*sum, 5);
/// # drop(sum);
/// # interrupter.interrupt();
/// # server.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub struct Requester<Q: Payload + ?Sized, R: Payload + ?Sized> {
    at: Attachment,
    /// Of the segment that it is attached to.
    caller: Arc<Caller>,
    /// Of the last call.
    number: u64,
    /// The slot of the next call, claimed while the last one was served.
    ahead: Option<Claim>,
    message: PhantomData<fn(Box<Q>) -> Box<R>>,
}

/// What the calls of a requester have in common.
#[derive(Debug)]
struct Caller {
    party: Arc<Party>,
    waiter: Waiter,
    channel: String,
    repeatable: bool,
    aside: Aside,
}

/// A call whose reply was read, and whose slot is freed when there is time: while the next call is served. A
/// slot and one; 0 if there is none; or [`CLOSED`](Self::CLOSED). Whoever has read the reply may be another
/// thread: what it has read is released with its slot, and acquired by whoever frees that.
#[derive(Debug, Default)]
struct Aside(AtomicU64);

impl Aside {
    /// There will be no next call.
    const CLOSED: u64 = u64::MAX;

    /// Puts a call aside; the one that was there has to be finished now.
    #[inline(always)]
    fn put(&self, party: &Party, call: calls::Call) {
        let slot = calls::set_aside(call);
        let before = self.0.load(Ordering::Relaxed);
        let put = before != Self::CLOSED
            && self
                .0
                .compare_exchange(before, u64::from(slot) + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        Self::finish(party, if put { before } else { u64::from(slot) + 1 });
    }

    /// Finishes the one that is there.
    #[inline(always)]
    fn clear(&self, party: &Party) {
        if self.0.load(Ordering::Relaxed) != 0 {
            Self::finish(party, self.0.swap(0, Ordering::AcqRel));
        }
    }

    /// The same, and no other is put here.
    fn close(&self, party: &Party) {
        Self::finish(party, self.0.swap(Self::CLOSED, Ordering::AcqRel));
    }

    #[inline(always)]
    fn finish(party: &Party, slot: u64) {
        if slot != 0
            && slot != Self::CLOSED
            && let Some(call) = party.take_up((slot - 1) as u32)
        {
            party.finish(call);
        }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Requester<Q, R> {
    /// Opens a requester on the service, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the usual ones are `SchemaMismatch`, if the service has other types, and
    /// `TooManyParticipants`.
    pub fn new(channel: impl Into<Channel>) -> Result<Self, AttachError> {
        Requester::with(channel, RequesterOptions::new())
    }

    /// Opens a requester that is not the default one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with(
        channel: impl Into<Channel>,
        options: RequesterOptions,
    ) -> Result<Self, AttachError> {
        let at = open::<Q, R>(&channel.into(), Side::Subscribers)?;
        let caller = Arc::new(Caller {
            party: at.party().clone(),
            waiter: Waiter::new(options.wait),
            channel: at.channel().to_owned(),
            repeatable: options.repeatable,
            aside: Aside::default(),
        });
        Ok(Requester { at, caller, number: 0, ahead: None, message: PhantomData })
    }

    /// The most elements that a request may have, see [`Channel::max_len`]: of an encoded value the most
    /// bytes. 0 for requests of fixed size.
    pub fn max_len(&self) -> usize {
        self.at.party().message().max_len()
    }

    /// The most elements that a reply may have, see [`Channel::max_reply_len`].
    pub fn max_reply_len(&self) -> usize {
        self.at.party().reply().max_len()
    }

    /// How many servers are alive. 0 also in a forked child.
    pub fn servers(&self) -> usize {
        self.at.publishers()
    }

    /// Waits until at least `n` servers are there, and says whether they came in time. Calls do not need it:
    /// they wait by themselves.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait_for_servers(&mut self, n: usize, timeout: Duration) -> Result<bool, WaitError> {
        let came = self.at.wait_for(&self.caller.waiter, timeout, || self.servers() >= n)?;
        if came && self.at.is_retired() {
            // If that cannot be, the next call says why.
            let _ = self.follow();
        }
        Ok(came)
    }

    /// Something that ends a blocking call of this requester, from another thread or from a signal handler.
    pub fn interrupter(&self) -> Interrupter {
        self.at.interrupter(&self.caller.waiter)
    }

    /// What has happened so far, and how the service stands.
    pub fn stats(&self) -> ServiceStats {
        ServiceStats::of(self.at.party())
    }

    /// The right to fill a slot with a request of so many elements.
    #[inline(always)]
    fn claim(
        &mut self,
        len: usize,
        patience: Option<&mut Patience>,
    ) -> Result<Call<'_, Q::Raw, R>, CallError> {
        let channel = || self.at.channel().to_owned();
        if len > self.max_len() {
            let max_len = self.max_len();
            return Err(CallError::TooLong { channel: channel(), len, max_len });
        }
        if !self.at.party().is_here() {
            return Err(CallError::Forked { channel: channel() });
        }
        if self.at.is_retired() {
            self.follow()?;
        }
        let claim = match self.ahead.take().or_else(|| self.at.party().claim()) {
            Some(claim) => claim,
            None => self.claim_later(patience)?,
        };
        self.number = self.number.wrapping_add(1);
        let (caller, number, ahead) = (&self.caller, self.number, &mut self.ahead);
        Ok(Call { caller, ahead, number, claim: Some(claim), len, message: PhantomData })
    }

    /// Frees what it keeps at hand.
    fn let_go(&mut self) {
        let party = &self.caller.party;
        if let Some(claim) = self.ahead.take()
            && party.is_here()
        {
            party.give_up(claim);
        }
        if party.is_here() {
            self.caller.aside.close(party);
        }
    }

    #[cold]
    fn follow(&mut self) -> Result<(), CallError> {
        // Whoever replaces it takes microseconds.
        for _ in 0..FOLLOWS {
            let moved = self.at.follow().map_err(|error| CallError::Attach(Box::new(error)))?;
            if moved {
                self.let_go();
                let Caller { waiter, channel, repeatable, .. } = &*self.caller;
                self.caller = Arc::new(Caller {
                    party: self.at.party().clone(),
                    waiter: waiter.clone(),
                    channel: channel.clone(),
                    repeatable: *repeatable,
                    aside: Aside::default(),
                });
            }
            if !self.at.is_retired() {
                return Ok(());
            }
            std::thread::sleep(HOMELESS_PAUSE);
        }
        Ok(())
    }

    /// Every slot holds a call.
    #[cold]
    fn claim_later(&mut self, mut patience: Option<&mut Patience>) -> Result<Claim, CallError> {
        self.caller.aside.clear(&self.caller.party);
        loop {
            let locked = self.at.look_around();
            let party = self.at.party();
            if let Some(claim) = party.claim() {
                return Ok(claim);
            }
            let channel = || self.at.channel().to_owned();
            if !locked {
                return Err(CallError::LockLost { channel: channel() });
            }
            let full = || CallError::Full { channel: channel(), slots: party.slots().slots() };
            let Some(patience) = patience.as_deref_mut() else { return Err(full()) };
            let room = || queue::has_room(party.slots());
            match party.wait(&self.caller.waiter, Rhythm::WATCHFUL, patience, room, room) {
                Waited::Ready | Waited::LookAgain => {}
                Waited::TimedOut => return party.claim().ok_or_else(full),
                Waited::Interrupted => {
                    // Perhaps it was woken for room that it does not use.
                    if room() {
                        party.wake_filler(party.place().number() + 1);
                    }
                    return Err(CallError::Interrupted);
                }
            }
        }
    }

    /// Makes a call, and waits for its reply.
    #[inline(always)]
    fn call(
        &mut self,
        len: usize,
        timeout: Duration,
        mut fill: impl FnMut(Call<'_, Q::Raw, R>) -> Result<Pending<R>, CallError>,
    ) -> Result<Reply<R>, CallError> {
        let mut patience = Patience::new(Some(timeout));
        loop {
            let pending = fill(self.claim(len, Some(&mut patience))?)?;
            match pending.wait_until(&mut patience, timeout) {
                // Nobody has seen it: it goes where the service is now.
                Err(CallError::Replaced { .. }) => {}
                end => return end,
            }
        }
    }
}

/// So often a service is looked for that is just being replaced.
const FOLLOWS: u32 = 1000;
/// How long to wait meanwhile.
const HOMELESS_PAUSE: Duration = Duration::from_micros(200);

impl<Q: ShmMessage, R: Payload + ?Sized> Requester<Q, R> {
    /// Lends a slot, to write a request in place. Sent, it is a call to wait for.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`], at once; [`CallError::Attach`], and what is wrong with this handle.
    #[inline]
    pub fn loan(&mut self) -> Result<LoanUninit<Call<'_, Q, R>>, CallError> {
        self.claim(0, None).map(LoanUninit::of)
    }
}

impl<Q: ShmMessage + ?Sized, R: Payload + ?Sized> Requester<Q, R> {
    /// Calls the service, and waits for the reply. If all slots hold calls in flight, it waits for one, too.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Whatever it is, the call has ended: a late reply reaches nobody.
    #[inline]
    pub fn request(&mut self, request: &Q, timeout: Duration) -> Result<Reply<R>, CallError> {
        self.call(Q::len_of(request), timeout, |slot| loan::send_copy(slot, request))
    }

    /// Calls the service without waiting for the reply. There may be several calls in flight.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan), and [`CallError::TooLong`].
    #[inline]
    pub fn send(&mut self, request: &Q) -> Result<Pending<R>, CallError> {
        loan::send_copy(self.claim(Q::len_of(request), None)?, request)
    }

    /// Lends a slot for a request of `len` elements. For unsized ones: a slice `[Q]`, or a struct that ends
    /// in one. For others it is a compile error (of `cargo build`); they have `loan`.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    #[inline]
    pub fn loan_with_len(&mut self, len: usize) -> Result<LoanUninit<Call<'_, Q, R>>, CallError> {
        const { loan::assert_unsized::<Q>() };
        self.claim(len, None).map(LoanUninit::of)
    }
}

#[cfg(feature = "codec")]
impl<Q: Payload<Raw = [u8]> + ?Sized, R: Payload + ?Sized> Requester<Q, R> {
    pub(crate) fn encode_and_wait(
        &mut self,
        timeout: Duration,
        mut encode: impl FnMut(&mut Sink<'_>) -> Result<(), EncodeError>,
    ) -> Result<Reply<R>, CallError> {
        let channel = self.at.channel().to_owned();
        self.call(self.max_len(), timeout, |slot| {
            loan::send_encoded(slot, &mut encode)
                .map_err(|error| CallError::Encode { channel: channel.clone(), error })?
        })
    }

    pub(crate) fn encode(
        &mut self,
        encode: impl FnOnce(&mut Sink<'_>) -> Result<(), EncodeError>,
    ) -> Result<Pending<R>, CallError> {
        let sent = loan::send_encoded(self.claim(self.max_len(), None)?, encode);
        let failed = |error| CallError::Encode { channel: self.at.channel().to_owned(), error };
        sent.map_err(failed)?
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Drop for Requester<Q, R> {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Requester<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("channel", &self.at.channel())
            .field("request", &Schema::of::<Q>().name())
            .field("reply", &Schema::of::<R>().name())
            .field("place", &self.at.party().place().number())
            .field("stats", &self.stats())
            .finish()
    }
}

/// The slot of the next request of a requester: sent, it is a [`Pending`] call.
#[derive(Debug)]
pub struct Call<'p, Q: ShmMessage + ?Sized, R: Payload + ?Sized> {
    caller: &'p Arc<Caller>,
    ahead: &'p mut Option<Claim>,
    number: u64,
    claim: Option<Claim>,
    /// How many elements the request has; not above what there is room for.
    len: usize,
    message: PhantomData<fn(Box<Q>) -> Box<R>>,
}

impl<Q: ShmMessage + ?Sized, R: Payload + ?Sized> sealed::Slot for Call<'_, Q, R> {
    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        self.len = len;
    }
}

// SAFETY: The claim, which is there until it is sent, is the only right to the slot, which has room for `len`
// elements.
unsafe impl<Q: ShmMessage + ?Sized, R: Payload + ?Sized> Slot for Call<'_, Q, R> {
    type Message = Q;
    type Sent = Result<Pending<R>, CallError>;

    #[inline(always)]
    fn memory(&self) -> *mut Q {
        match &self.claim {
            Some(claim) => self.caller.party.claimed(claim, self.len),
            None => Q::at(std::ptr::null_mut(), 0),
        }
    }

    #[inline(always)]
    fn elements(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn send(mut self) -> Result<Pending<R>, CallError> {
        let (caller, number) = (self.caller, self.number);
        let arrivals = caller.party.arrivals().load(Ordering::Relaxed);
        let claim = self.claim.take();
        let call = claim.and_then(|claim| caller.party.post::<Q>(claim, self.len, number));
        let Some(call) = call else {
            return Err(CallError::LockLost { channel: caller.channel.clone() });
        };
        caller.party.count_alone(Tally::Handled);
        // Now that the call is on its way there is time for what has to be done once a call.
        caller.aside.clear(&caller.party);
        if self.ahead.is_none() && caller.party.has_slots_to_spare() {
            *self.ahead = caller.party.claim();
        }
        let call = Placed { call: Some(call), caller: caller.clone(), is_read: false };
        Ok(Pending { call, arrivals, saw_server: false, reply: PhantomData })
    }
}

impl<Q: ShmMessage + ?Sized, R: Payload + ?Sized> Drop for Call<'_, Q, R> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take()
            && self.caller.party.is_here()
        {
            self.caller.party.give_up(claim);
        }
    }
}

/// The right to a call. Dropped: it ends, however it stands, and its slot is free.
#[derive(Debug)]
struct Placed {
    call: Option<calls::Call>,
    caller: Arc<Caller>,
    /// Its reply was received.
    is_read: bool,
}

impl Placed {
    fn finish(&mut self) {
        if let Some(call) = self.call.take()
            && self.caller.party.is_here()
        {
            let party = &self.caller.party;
            if self.is_read && party.has_slots_to_spare() {
                self.caller.aside.put(party, call);
            } else {
                party.finish(call);
            }
        }
    }
}

impl Drop for Placed {
    #[inline]
    fn drop(&mut self) {
        self.finish();
    }
}

/// A call whose reply has not been received yet. Dropped, it is cancelled: its reply reaches nobody.
///
/// It owns what it needs, and may be waited for by another thread. If several threads wait for calls of one
/// requester at a time, one of them is woken at once, and the others look every millisecond; open a requester
/// for each.
#[must_use = "a call that is dropped is cancelled"]
pub struct Pending<R: Payload + ?Sized> {
    call: Placed,
    /// How many servers had come when it was made.
    arrivals: u64,
    /// One was seen since then.
    saw_server: bool,
    reply: PhantomData<fn() -> Box<R>>,
}

impl<R: Payload + ?Sized> Pending<R> {
    /// Waits for the reply. A time-out cancels the call.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Whatever it is, the call has ended.
    pub fn wait(self, timeout: Duration) -> Result<Reply<R>, CallError> {
        self.wait_until(&mut Patience::new(Some(timeout)), timeout)
    }

    /// The reply, or `None` if it is not there yet.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait). After an error, as after the reply, the call has ended, and there is
    /// [`Ended`](CallError::Ended).
    pub fn poll(&mut self) -> Result<Option<Reply<R>>, CallError> {
        self.check_here()?;
        if let Some(end) = self.end() {
            return end.map(Some);
        }
        self.look_around(false)?;
        match self.end() {
            None if self.is_replaced() => Err(CallError::Replaced { channel: self.channel() }),
            end => end.transpose(),
        }
    }

    /// Whether a server has taken the request, and not answered yet.
    pub fn is_served(&self) -> bool {
        let standing = self.standing();
        matches!(standing, Some(Standing::Served(_)))
    }

    /// In a forked child nobody knows.
    fn standing(&self) -> Option<Standing> {
        let party = &self.call.caller.party;
        let call = self.call.call.as_ref().filter(|_| party.is_here());
        call.map(|call| calls::standing(party.slots(), call))
    }

    fn check_here(&self) -> Result<(), CallError> {
        if self.call.caller.party.is_here() {
            Ok(())
        } else {
            Err(CallError::Forked { channel: self.channel() })
        }
    }

    fn channel(&self) -> String {
        self.call.caller.channel.clone()
    }

    #[inline(always)]
    fn wait_until(
        mut self,
        patience: &mut Patience,
        timeout: Duration,
    ) -> Result<Reply<R>, CallError> {
        self.check_here()?;
        if self.call.caller.waiter.take_interrupt() {
            return Err(CallError::Interrupted);
        }
        loop {
            if let Some(end) = self.end() {
                return end;
            }
            let (party, Some(call)) = (&self.call.caller.party, &self.call.call) else {
                return Err(self.ended());
            };
            let news = || {
                !matches!(
                    calls::standing(party.slots(), call),
                    Standing::Waiting | Standing::Served(_)
                ) || party.control().is_retired()
            };
            match party.wait(&self.call.caller.waiter, Rhythm::ANXIOUS, patience, news, news) {
                Waited::Ready if !self.call.caller.party.control().is_retired() => {}
                Waited::Interrupted => return Err(CallError::Interrupted),
                // The reply may have come at that moment; or the server may be dead.
                waited => {
                    self.look_around(true)?;
                    if waited == Waited::TimedOut {
                        return self.end().unwrap_or_else(|| Err(self.timed_out(timeout)));
                    }
                    if self.is_replaced() {
                        return self.end().unwrap_or_else(|| {
                            Err(CallError::Replaced { channel: self.channel() })
                        });
                    }
                }
            }
        }
    }

    /// Nobody has it, and nobody will: servers are elsewhere.
    fn is_replaced(&self) -> bool {
        self.call.caller.party.control().is_retired() && !self.is_served()
    }

    fn ended(&self) -> CallError {
        CallError::Ended { channel: self.channel() }
    }

    /// Whether the call was served, or could have been.
    #[cold]
    fn timed_out(&self, waited: Duration) -> CallError {
        self.call.caller.party.count(Tally::Dead);
        let came = self.call.caller.party.arrivals().load(Ordering::Relaxed) != self.arrivals;
        let channel = self.channel();
        if self.saw_server || came || self.is_served() {
            CallError::TimedOut { channel, waited }
        } else {
            CallError::NoServer { channel, waited }
        }
    }

    /// For somebody who waits: has a server died, and is there any?
    #[cold]
    fn look_around(&mut self, thorough: bool) -> Result<(), CallError> {
        if self.call.caller.party.check(&self.call.caller.channel).is_err() {
            return Err(CallError::LockLost { channel: self.channel() });
        }
        if let Some(call) = &self.call.call
            && let Standing::Served(server) = calls::standing(self.call.caller.party.slots(), call)
        {
            self.saw_server = true;
            self.call.caller.party.reap_owner(server);
        } else if thorough && !self.saw_server {
            self.saw_server = self.call.caller.party.is_anybody_registered(Side::Publishers)
                && self.call.caller.party.alive(Side::Publishers) > 0;
        }
        Ok(())
    }

    /// How the call has ended, if it has.
    #[inline(always)]
    fn end(&mut self) -> Option<Result<Reply<R>, CallError>> {
        let Some(call) = &self.call.call else { return Some(Err(self.ended())) };
        match calls::standing(self.call.caller.party.slots(), call) {
            Standing::Waiting | Standing::Served(_) => None,
            Standing::Replied => Some(self.received()),
            Standing::Lost(times) if self.call.caller.repeatable && times < MOST_SERVERS => {
                self.saw_server = true;
                self.call.caller.party.call_again(call);
                None
            }
            standing => Some(Err(self.failed(standing))),
        }
    }

    #[cold]
    fn failed(&mut self, standing: Standing) -> CallError {
        self.call.caller.party.count(Tally::Again);
        self.call.finish();
        let channel = self.channel();
        match standing {
            Standing::Lost(_) => CallError::ServerLost { channel },
            Standing::Declined => CallError::Declined { channel },
            // Its slot was taken from it, which happens only to those who are believed dead.
            _ => CallError::LockLost { channel },
        }
    }

    #[inline(always)]
    fn received(&mut self) -> Result<Reply<R>, CallError> {
        let caller = self.call.caller.clone();
        let mut call = Placed { call: self.call.call.take(), caller, is_read: false };
        let (channel, party) = (|| call.caller.channel.clone(), &call.caller.party);
        let Some(answered) = &call.call else { return Err(self.ended()) };
        // In case of an error the call ends with `call`.
        let message = party
            .answered::<R::Raw>(answered)
            .map_err(|invalid| CallError::Invalid { channel: channel(), invalid })?;
        // SAFETY: Mapped, a value, as was looked at, and the call is answered: it is its client's.
        let decoded = R::decode(unsafe { message.as_ref() })
            .map_err(|error| CallError::Decode { channel: channel(), error })?;
        call.is_read = true;
        Ok(Reply { message, _call: call, decoded })
    }
}

impl<R: Payload + ?Sized> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("channel", &self.call.caller.channel)
            .field("reply", &Schema::of::<R>().name())
            .finish_non_exhaustive()
    }
}

/// The answer to a call, read in place. Its slot is free again when it is dropped.
///
/// A reply of a type for which not every bit pattern is a value is checked when it is received, and then read
/// where it is: this trusts its server not to write to what it has answered.
#[must_use = "a reply that is not looked at need not be waited for"]
pub struct Reply<R: Payload + ?Sized> {
    message: NonNull<R::Raw>,
    /// Ends when this does.
    _call: Placed,
    decoded: R::Decoded,
}

// SAFETY: The reply is only read, by whoever has it, and nobody writes it meanwhile. A call may be finished by
// any thread (Edge B of the queue).
unsafe impl<R: Payload + ?Sized> Send for Reply<R>
where
    R::Raw: Send + Sync,
    R::Decoded: Send,
{
}
// SAFETY: As above: `&Reply<R>` gives `&R`.
unsafe impl<R: Payload + ?Sized> Sync for Reply<R>
where
    R::Raw: Send + Sync,
    R::Decoded: Sync,
{
}

impl<R: Payload + ?Sized> Reply<R> {
    /// Its bytes, as they were answered: of an unsized one up to its last element, of an encoded one what the
    /// codec has made of it.
    pub fn bytes(&self) -> &[u8] {
        crate::channel::bytes_of(self.raw())
    }

    #[inline(always)]
    fn raw(&self) -> &R::Raw {
        // SAFETY: A value in mapped memory, as was looked at when it was received; the call is ours until it is
        // finished, and its caller keeps the mapping.
        unsafe { self.message.as_ref() }
    }
}

impl<R: Payload + ?Sized> Deref for Reply<R> {
    type Target = R::Value;

    #[inline]
    fn deref(&self) -> &R::Value {
        R::value(self.raw(), &self.decoded)
    }
}

#[cfg(feature = "codec")]
impl<R: Payload + ?Sized> Reply<R> {
    /// What was decoded when it was received.
    pub(crate) fn into_decoded(self) -> R::Decoded {
        self.decoded
    }
}

impl<R: Payload + ?Sized> fmt::Debug for Reply<R>
where
    R::Value: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").field(&&**self).finish()
    }
}

/// The server's end of a service: requests of type `Q`, replies of type `R`. Each is a [`ShmMessage`], sized
/// or not, or an [`Encoded`](crate::Encoded) value.
///
/// Any number of servers share the calls: each gets the next one that nobody has. They may be answered in any
/// order, also by other threads.
///
/// `Send`, but neither `Sync` nor `Clone`: for a second thread open a second replier.
///
/// # Crash safety
///
/// Killed at any instruction, it leaves a service that works. Clients whose requests it held are told within
/// a quarter of a second ([`CallError::ServerLost`]), or another server gets them.
///
/// # Examples
///
/// ```no_run
/// use shm_comm::Replier;
///
/// fn main() -> Result<(), shm_comm::Error> {
///     let mut server = Replier::<[i64; 2], i64>::new("math/add")?;
///     server.serve(|[a, b]| a + b)?;
///     Ok(())
/// }
/// ```
pub struct Replier<Q: Payload + ?Sized, R: Payload + ?Sized> {
    at: Attachment,
    waiter: Waiter,
    /// The last that was seen of calls that were made again.
    returned: u64,
    message: PhantomData<fn(Box<R>) -> Box<Q>>,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Replier<Q, R> {
    /// Opens a replier on the service, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the usual ones are `SchemaMismatch`, if the service has other types and another
    /// server, and `TooManyParticipants`.
    pub fn new(channel: impl Into<Channel>) -> Result<Self, AttachError> {
        Replier::with(channel, ReplierOptions::new())
    }

    /// Opens a replier that is not the default one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with(channel: impl Into<Channel>, options: ReplierOptions) -> Result<Self, AttachError> {
        let at = open::<Q, R>(&channel.into(), Side::Publishers)?;
        let returned = at.party().slots().returned().load(Ordering::Relaxed).wrapping_sub(1);
        Ok(Replier { at, waiter: Waiter::new(options.wait), returned, message: PhantomData })
    }

    /// The most elements that a reply may have, see [`Channel::max_reply_len`]: of an encoded value the most
    /// bytes. 0 for replies of fixed size.
    pub fn max_reply_len(&self) -> usize {
        self.at.party().reply().max_len()
    }

    /// The most elements that a request may have, see [`Channel::max_len`].
    pub fn max_len(&self) -> usize {
        self.at.party().message().max_len()
    }

    /// The next request. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// `Interrupted`; `Invalid` and `Decode` for a request that is none, which is declined: the next call
    /// goes on.
    #[inline]
    pub fn recv(&mut self) -> Result<Request<Q, R>, RecvError> {
        // Without a deadline a wait ends with a request or with an error.
        self.recv_until(None)?.ok_or(RecvError::Interrupted)
    }

    /// The next request, or `None` if none comes in time.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Request<Q, R>>, RecvError> {
        self.recv_until(Some(timeout))
    }

    /// The next request, or `None` if there is none now.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv), but it cannot be interrupted.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Request<Q, R>>, RecvError> {
        self.next(true)
    }

    /// How many clients are alive. 0 also in a forked child.
    pub fn clients(&self) -> usize {
        self.at.party().alive(Side::Subscribers)
    }

    /// Waits until at least `n` clients are there, and says whether they came in time.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait_for_clients(&mut self, n: usize, timeout: Duration) -> Result<bool, WaitError> {
        self.at.wait_for(&self.waiter, timeout, || self.clients() >= n)
    }

    /// Something that ends a blocking call of this replier, from another thread or from a signal handler.
    pub fn interrupter(&self) -> Interrupter {
        self.at.interrupter(&self.waiter)
    }

    /// What has happened so far, and how the service stands.
    pub fn stats(&self) -> ServiceStats {
        ServiceStats::of(self.at.party())
    }

    #[inline]
    fn recv_until(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Request<Q, R>>, RecvError> {
        if self.waiter.take_interrupt() {
            return Err(RecvError::Interrupted);
        }
        let mut patience = Patience::new(timeout);
        let mut sure = false;
        loop {
            if let Some(request) = self.next(sure)? {
                return Ok(Some(request));
            }
            let (party, last) = (self.at.party(), self.returned);
            let slots = party.slots();
            let again = || slots.returned().load(Ordering::Relaxed) != last;
            let waited = party.wait(
                &self.waiter,
                Rhythm::WATCHFUL,
                &mut patience,
                || queue::is_ready(slots) || again(),
                || queue::is_any_ready(slots) || again(),
            );
            match waited {
                Waited::Ready => sure = patience.is_long(),
                Waited::LookAgain => sure = true,
                // It may have been woken at that moment.
                Waited::TimedOut => return self.next(true),
                Waited::Interrupted => {
                    party.wake_another_taker();
                    return Err(RecvError::Interrupted);
                }
            }
        }
    }

    /// The next request, if there is one. `sure`: if not, every slot was looked at.
    #[inline(always)]
    fn next(&mut self, sure: bool) -> Result<Option<Request<Q, R>>, RecvError> {
        let party = self.at.party();
        if !party.is_here() {
            return Err(RecvError::Forked { channel: self.at.channel().to_owned() });
        }
        let returned = party.slots().returned().load(Ordering::Relaxed);
        let taken = if returned == self.returned { party.take() } else { None };
        match taken {
            Some(taken) => self.request(taken).map(Some),
            None if returned != self.returned || sure => self.next_anywhere(returned),
            None => Ok(None),
        }
    }

    /// The next request wherever it is.
    #[cold]
    fn next_anywhere(&mut self, returned: u64) -> Result<Option<Request<Q, R>>, RecvError> {
        self.returned = returned;
        if let Some(taken) = self.at.party().take_any() {
            return self.request(taken).map(Some);
        }
        if !self.at.look_around() {
            return Err(RecvError::LockLost { channel: self.at.channel().to_owned() });
        }
        match self.at.party().take_any() {
            Some(taken) => self.request(taken).map(Some),
            None => Ok(None),
        }
    }

    #[inline(always)]
    fn request(&self, taken: Taken) -> Result<Request<Q, R>, RecvError> {
        let party = self.at.party();
        let channel = || self.at.channel().to_owned();
        let sequence = taken.number(party.slots().slots());
        let message = match party.taken::<Q::Raw>(&taken) {
            Ok(message) => message,
            Err(invalid) => {
                party.decline(taken);
                return Err(RecvError::Invalid { channel: channel(), sequence, invalid });
            }
        };
        // SAFETY: Mapped, a value, as was looked at, and whoever has taken it is the only one to have a right.
        match Q::decode(unsafe { message.as_ref() }) {
            Ok(decoded) => {
                let open = Open { taken: Some(taken), party: party.clone() };
                Ok(Request { message, open, decoded, reply: PhantomData })
            }
            Err(error) => {
                party.decline(taken);
                Err(RecvError::Decode { channel: channel(), sequence, error })
            }
        }
    }

    /// Answers one request after the other, until interrupted. One that is none is declined.
    fn serve_with(&mut self, mut answer: impl FnMut(Request<Q, R>)) -> Result<(), RecvError> {
        loop {
            match self.recv() {
                Ok(request) => answer(request),
                Err(RecvError::Interrupted) => return Ok(()),
                Err(RecvError::Invalid { .. } | RecvError::Decode { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<Q: Payload + ?Sized, R: ShmMessage> Replier<Q, R> {
    /// Answers every request with what `answer` makes of it, until this replier's
    /// [interrupter](Self::interrupter) is used. A request that is not valid is declined; so is one at which
    /// `answer` panics, and the panic goes on.
    ///
    /// # Errors
    ///
    /// What is wrong with this handle.
    pub fn serve(&mut self, mut answer: impl FnMut(&Q::Value) -> R) -> Result<(), RecvError> {
        self.serve_with(|request| {
            let reply = answer(&request);
            request.loan_reply().write(reply);
        })
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Replier<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier")
            .field("channel", &self.at.channel())
            .field("request", &Schema::of::<Q>().name())
            .field("reply", &Schema::of::<R>().name())
            .field("place", &self.at.party().place().number())
            .field("stats", &self.stats())
            .finish()
    }
}

/// A request that is not answered yet. Dropped: it is declined.
#[derive(Debug)]
struct Open {
    taken: Option<Taken>,
    party: Arc<Party>,
}

impl Drop for Open {
    #[inline]
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take()
            && self.party.is_here()
        {
            self.party.decline(taken);
        }
    }
}

/// Whether a reply has somebody to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The caller has it, or will have.
    Yes,
    /// The caller waits no more: its time was over, it has cancelled the call, or is dead.
    CallerGone,
}

/// A request, read in place, to be answered once.
///
/// Dropped without an answer, by an early `?` or a panic, its client gets
/// [`Declined`](CallError::Declined). It owns what it needs, may outlive its replier, and may be answered by
/// another thread.
///
/// A request of a type for which not every bit pattern is a value is checked when it is received, and then read
/// where it is: this trusts its client not to write to what it has sent.
#[must_use = "a request that is dropped is declined"]
pub struct Request<Q: Payload + ?Sized, R: Payload + ?Sized> {
    message: NonNull<Q::Raw>,
    open: Open,
    decoded: Q::Decoded,
    reply: PhantomData<fn(Box<R>)>,
}

// SAFETY: The request is only read, by whoever has it, and nobody writes it meanwhile. It may be answered by
// any thread (Edge B of the queue).
unsafe impl<Q: Payload + ?Sized, R: Payload + ?Sized> Send for Request<Q, R>
where
    Q::Raw: Send + Sync,
    Q::Decoded: Send,
{
}
// SAFETY: As above: `&Request<Q, R>` gives `&Q`.
unsafe impl<Q: Payload + ?Sized, R: Payload + ?Sized> Sync for Request<Q, R>
where
    Q::Raw: Send + Sync,
    Q::Decoded: Sync,
{
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Request<Q, R> {
    /// Whether the client still waits. If not, nobody will read an answer.
    pub fn is_wanted(&self) -> bool {
        self.open.party.is_here()
            && self.open.taken.as_ref().is_some_and(|taken| self.open.party.is_wanted(taken))
    }

    /// How many servers have died with this request before: 0 unless its client has declared it
    /// [repeatable](RequesterOptions::repeatable).
    pub fn attempts(&self) -> u32 {
        self.open.taken.as_ref().map_or(0, Taken::deliveries)
    }

    /// Its bytes, as they were sent: of an unsized one up to its last element, of an encoded one what the
    /// codec has made of it.
    pub fn bytes(&self) -> &[u8] {
        crate::channel::bytes_of(self.raw())
    }

    #[inline(always)]
    fn raw(&self) -> &Q::Raw {
        // SAFETY: A value in mapped memory, as was looked at when the request was received; it is ours until it
        // is answered, and `party` keeps the mapping. The reply has memory of its own.
        unsafe { self.message.as_ref() }
    }

    /// The slot for an answer of so many elements.
    #[inline(always)]
    fn answer(self, len: usize) -> Result<Answer<Q, R>, ReplyError> {
        let max_len = self.open.party.reply().max_len();
        if !self.open.party.is_here() {
            Err(ReplyError::Forked)
        } else if len > max_len {
            Err(ReplyError::TooLong { len, max_len })
        } else {
            Ok(Answer { request: self, len })
        }
    }
}

impl<Q: Payload + ?Sized, R: ShmMessage> Request<Q, R> {
    /// Lends the memory of the reply, to write it in place. The request stays readable meanwhile:
    /// [`LoanUninit::request`]. Dropped, the request is declined.
    #[inline]
    pub fn loan_reply(self) -> LoanUninit<Answer<Q, R>> {
        LoanUninit::of(Answer { request: self, len: 0 })
    }
}

impl<Q: Payload + ?Sized, R: ShmMessage + ?Sized> Request<Q, R> {
    /// Answers with a copy of `reply`: a message, a slice `[R]`, a struct that ends in one.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]. The request is declined then.
    #[inline]
    pub fn reply(self, reply: &R) -> Result<Delivered, ReplyError> {
        Ok(loan::send_copy(self.answer(R::len_of(reply))?, reply))
    }

    /// Lends the memory of a reply of `len` elements. For unsized ones; for others it is a compile error (of
    /// `cargo build`), they have `loan_reply`.
    ///
    /// # Errors
    ///
    /// [`ReplyError::TooLong`]. The request is declined then.
    #[inline]
    pub fn loan_reply_with_len(self, len: usize) -> Result<LoanUninit<Answer<Q, R>>, ReplyError> {
        const { loan::assert_unsized::<R>() };
        self.answer(len).map(LoanUninit::of)
    }
}

#[cfg(feature = "codec")]
impl<Q: Payload + ?Sized, R: Payload<Raw = [u8]> + ?Sized> Request<Q, R> {
    pub(crate) fn encode(
        self,
        encode: impl FnOnce(&mut Sink<'_>) -> Result<(), EncodeError>,
    ) -> Result<Delivered, ReplyError> {
        let max_len = self.open.party.reply().max_len();
        loan::send_encoded(self.answer(max_len)?, encode).map_err(ReplyError::Encode)
    }
}

#[cfg(feature = "codec")]
impl<Q: Payload + ?Sized, R: Payload<Raw = [u8]> + ?Sized> Replier<Q, R> {
    pub(crate) fn serve_encoded(
        &mut self,
        answer: impl FnMut(Request<Q, R>),
    ) -> Result<(), RecvError> {
        self.serve_with(answer)
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Deref for Request<Q, R> {
    type Target = Q::Value;

    #[inline]
    fn deref(&self) -> &Q::Value {
        Q::value(self.raw(), &self.decoded)
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Request<Q, R>
where
    Q::Value: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("attempts", &self.attempts())
            .field("message", &&**self)
            .finish()
    }
}

/// The memory of the reply to a request: sent, it says whether it is [`Delivered`].
pub struct Answer<Q: Payload + ?Sized, R: Payload + ?Sized> {
    request: Request<Q, R>,
    /// How many elements the reply has; not above what there is room for.
    len: usize,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> sealed::Slot for Answer<Q, R> {
    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        self.len = len;
    }
}

// SAFETY: What was taken, which is there until it is sent, is the only right to the slot, which has room for a
// reply of `len` elements. In a forked child the memory is not mapped, and a loan that was made before the fork
// is as much a reference to it as every other.
unsafe impl<Q: Payload + ?Sized, R: Payload + ?Sized> Slot for Answer<Q, R> {
    type Message = R::Raw;
    type Sent = Delivered;

    #[inline(always)]
    fn memory(&self) -> *mut R::Raw {
        match &self.request.open.taken {
            Some(taken) => self.request.open.party.answer(taken, self.len),
            None => R::Raw::at(std::ptr::null_mut(), 0),
        }
    }

    #[inline(always)]
    fn elements(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn send(mut self) -> Delivered {
        let Open { taken, party } = &mut self.request.open;
        let taken = taken.take().filter(|_| party.is_here());
        match taken.is_some_and(|taken| party.send_answer::<R::Raw>(taken, self.len)) {
            true => Delivered::Yes,
            false => Delivered::CallerGone,
        }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> LoanUninit<Answer<Q, R>> {
    /// The request that is being answered.
    pub fn request(&self) -> &Q::Value {
        &self.slot().request
    }

    /// As [`Request::is_wanted`].
    pub fn is_wanted(&self) -> bool {
        self.slot().request.is_wanted()
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Loan<Answer<Q, R>> {
    /// The request that is being answered.
    pub fn request(&self) -> &Q::Value {
        &self.slot().request
    }

    /// As [`Request::is_wanted`].
    pub fn is_wanted(&self) -> bool {
        self.slot().request.is_wanted()
    }
}

/// How a service stands, and what has happened to it. Others go on meanwhile: each number is of a moment of
/// its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Calls that wait for a server.
    pub queued: u32,
    /// Calls that a server has.
    pub held: u32,
    /// Slots that clients have besides: of calls whose reply was not read yet or is looked at, of requests that
    /// are written, and those that they keep at hand between two calls.
    pub kept: u32,
    /// Slots for further ones.
    pub free: u32,
    /// Calls made, by all clients so far.
    pub called: u64,
    /// Calls answered, by all servers so far.
    pub served: u64,
    /// Calls whose client gave up after its time, so far.
    pub timed_out: u64,
    /// Calls that were declined or whose server died, so far.
    pub failed: u64,
}

impl ServiceStats {
    fn of(party: &Party) -> ServiceStats {
        if !party.is_here() {
            return ServiceStats::default();
        }
        let (counts, _) = party.counts();
        ServiceStats::found(counts, |side, tally| party.tally_of(side, tally))
    }

    /// Of what was found in the slots, and what all on a side have counted.
    pub(crate) fn found(counts: Counts, tally_of: impl Fn(Side, Tally) -> u64) -> ServiceStats {
        let (servers, clients) = (Side::Publishers, Side::Subscribers);
        ServiceStats {
            queued: counts.ready,
            held: counts.taken,
            kept: counts.writing + counts.ended,
            free: counts.free,
            called: tally_of(clients, Tally::Handled),
            served: tally_of(servers, Tally::Handled),
            timed_out: tally_of(clients, Tally::Dead),
            failed: tally_of(clients, Tally::Again),
        }
    }
}
