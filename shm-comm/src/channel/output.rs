//! The publishing end of a channel: one ring.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Control, MappedRing, attach, check, hand_over, is_ring, take_place, too_many};
use crate::error::{AttachError, Holder, LoanError, WaitError};
use crate::events;
use crate::header::{Record, Schemas};
use crate::liveness::{Place, Side};
use crate::message::ShmMessage;
use crate::options::{Channel, PublisherOptions};
use crate::os::Protection;
use crate::pattern::Pattern;
use crate::process::Owner;
use crate::ring::{self, Claim, Writer};
use crate::schema::Schema;
use crate::segment::{Role, Segment};
use crate::sync::{Ordering, StoreFirst};

/// When to ask the kernel whether those that hold slots lap after lap are alive. A system call is
/// nothing for every lap: not before a second, and of those that are alive less and less often.
#[derive(Debug)]
struct Suspicion {
    /// Who was seen since they were asked after.
    suspects: u64,
    /// After whom was asked the last time.
    asked: u64,
    ask: Instant,
    pause: Duration,
}

impl Suspicion {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(16);

    fn new() -> Suspicion {
        Suspicion { suspects: 0, asked: 0, ask: Instant::now(), pause: Self::FIRST }
    }

    /// These hold slots. Whom is it time to ask after? All that were seen since the last time: each
    /// is seen once a lap, so that not all of them are in `suspects`.
    fn due(&mut self, suspects: u64) -> u64 {
        let now = Instant::now();
        if suspects & !self.suspects & !self.asked != 0 {
            // A new case. It does not put off those that are waiting.
            let first = now + Self::FIRST;
            self.ask = if self.suspects == 0 { first } else { self.ask.min(first) };
            self.pause = Self::FIRST;
        }
        self.suspects |= suspects;
        if now < self.ask {
            return 0;
        }
        self.pause = (self.pause * 2).min(Self::LONGEST);
        self.ask = now + self.pause;
        self.asked = std::mem::take(&mut self.suspects);
        self.asked
    }
}

/// The publishing end of a channel.
#[derive(Debug)]
pub struct Output<T: ?Sized> {
    // First, so that it is dropped first: the ring is left before the segment is.
    place: RingPlace,
    ring: MappedRing,
    writer: Writer,
    owner: Owner,
    sent: u64,
    suspicion: Suspicion,
    channel: String,
    message: PhantomData<fn(T)>,
}

/// A ring that is ours. Dropped: the next one may take it.
#[derive(Debug)]
struct RingPlace {
    number: u32,
    generation: u16,
    segment: Segment,
}

impl Drop for RingPlace {
    fn drop(&mut self) {
        let segment = &self.segment;
        if !segment.owner().is_here() {
            return;
        }
        // SAFETY: The writer is gone, or will not be used again: `Output` drops this first, and
        // its other fields do not touch the ring when they are dropped.
        let _ = unsafe { segment.mapping().protect_ring(self.number, Protection::Read) };
        // Without its descriptor the ring is ours until the segment is dropped.
        if segment.is_locked() {
            let record = segment.geometry().publisher_record(self.number);
            segment.write_record(record, &Record::default());
            Place::Publisher(self.number).leave(segment.file());
        }
        events::detached(segment.path(), "publisher", self.number);
    }
}

/// A ring that has just been taken.
struct Taken {
    number: u32,
    generation: u32,
    ring: MappedRing,
    writer: Writer,
}

/// Makes a ring ready whose place is ours. `None`: what is in it is no ring any more.
fn take_over(
    segment: &Segment,
    control: &Control,
    number: u32,
) -> Result<Option<Taken>, AttachError> {
    let bit = 1 << number;
    let fresh = control.rings().load(Ordering::Acquire) & bit == 0;
    if !fresh && !is_ring(segment, number) {
        return Ok(None);
    }
    // First mapped and then allocated: what was allocated and is in no use would be lost.
    let ring = MappedRing::of(segment, control, number).map_err(segment.os("map"))?;
    if fresh {
        segment.allocate_ring(number)?;
    }
    // SAFETY: `ReadWrite` takes nothing from anybody.
    unsafe { segment.mapping().protect_ring(number, Protection::ReadWrite) }
        .map_err(segment.os("make writable"))?;
    if fresh {
        // Until the bit is set nobody else looks; killed before, it is done again.
        ring::initialise(&ring);
    }
    let last = if fresh {
        segment.geometry().first_generation
    } else {
        ring.generation().load(Ordering::Relaxed)
    };
    let generation = last.wrapping_add(1);
    let Ok(writer) = Writer::take_over(&ring, generation as u16) else {
        // SAFETY: The writer that could have written was not made.
        let _ = unsafe { segment.mapping().protect_ring(number, Protection::Read) };
        return Ok(None);
    };
    ring.generation().store(generation, Ordering::Relaxed);
    let record = segment.geometry().publisher_record(number);
    let pid = segment.read_record(record).pid;
    if pid != 0 {
        events::taken_over(segment.path(), number, pid);
    }
    segment.write_record(record, &Record::of_this_process(generation, 0));
    if fresh {
        control.rings().fetch_or(bit, Ordering::SeqCst);
    }
    Ok(Some(Taken { number, generation, ring, writer }))
}

impl<T: ShmMessage + ?Sized> Output<T> {
    /// Takes the lowest ring without a live writer.
    pub fn open(
        channel: &Channel,
        _: &PublisherOptions,
        schema: &Schema,
    ) -> Result<Self, AttachError> {
        let result = Self::try_open(channel, schema);
        match &result {
            Ok(output) => {
                let place = &output.place;
                events::attached(place.segment.path(), "publisher", place.number);
            }
            Err(error) => events::refused(channel, "publisher", error),
        }
        result
    }

    fn try_open(channel: &Channel, schema: &Schema) -> Result<Self, AttachError> {
        let schemas = Schemas::of(schema.clone());
        let segment = attach::<T>(channel, Pattern::PubSub, Role::Publisher, &schemas)?;
        let control = Control::of(segment.mapping());
        let max = segment.geometry().max_publishers;
        let places = (0..max).map(Place::Publisher);
        let taken = take_place(&segment, places, |place| match place {
            Place::Publisher(number) => take_over(&segment, &control, number),
            _ => Ok(None),
        })?;
        let Some(Taken { number, generation, ring, writer }) = taken else {
            return Err(too_many(channel, Pattern::PubSub, Side::Publishers, max));
        };
        let place = RingPlace { number, generation: generation as u16, segment };
        // Those that died holding slots are not to fill up the channel.
        control.reap(&place.segment, control.registered().load(Ordering::Acquire));
        Ok(Output {
            owner: place.segment.owner(),
            place,
            ring,
            writer,
            sent: 0,
            suspicion: Suspicion::new(),
            channel: channel.name.clone(),
            message: PhantomData,
        })
    }

    /// The right to write the next message.
    #[inline(always)]
    pub fn claim(&mut self) -> Result<Claim, LoanError> {
        if !self.owner.is_here() {
            return Err(self.forked());
        }
        match self.writer.claim(&self.ring) {
            Ok(claim) => Ok(claim),
            Err(ring::AllHeld) => self.claim_again(),
        }
    }

    #[cold]
    fn forked(&self) -> LoanError {
        LoanError::Forked { channel: self.channel.clone() }
    }

    #[cold]
    fn claim_again(&mut self) -> Result<Claim, LoanError> {
        if !self.place.segment.is_locked() {
            events::lock_lost(self.place.segment.path());
            return Err(LoanError::LockLost { channel: self.channel.clone() });
        }
        let control = &self.ring.control;
        let registered = control.registered().load(Ordering::Acquire);
        control.reap(&self.place.segment, registered);
        // Somebody may have let go of one slot and held another while the first try went round.
        let again = self.writer.claim(&self.ring).or_else(|_| self.writer.claim(&self.ring));
        again.map_err(|ring::AllHeld| {
            let segment = &self.place.segment;
            let holder = |id| Holder {
                subscriber: id,
                pid: segment.read_record(segment.geometry().subscriber_record(id)).pid,
                held: ring::held_by(&self.ring, id),
            };
            let holders = control.subscribers_in(registered).map(holder);
            LoanError::AllSlotsHeld {
                channel: self.channel.clone(),
                slots: self.ring.slots,
                holders: holders.filter(|holder| holder.held > 0).collect(),
            }
        })
    }

    /// The right to write the next message, with so many elements.
    #[inline(always)]
    pub fn claim_with_len(&mut self, len: usize) -> Result<Claim, LoanError> {
        if len > self.ring.max_len {
            return Err(self.too_long(len));
        }
        self.claim()
    }

    #[cold]
    fn too_long(&self, len: usize) -> LoanError {
        LoanError::TooLong { channel: self.channel.clone(), len, max_len: self.ring.max_len }
    }

    /// The most elements of a message; 0 if it has none.
    pub fn max_len(&self) -> usize {
        self.ring.max_len
    }

    /// The payload of a claimed slot, with `len` elements, which are not more than `max_len`. It holds
    /// what an older message left, or zeroes.
    ///
    /// By invariants 1 to 3 it points to mapped, writable, initialised, aligned memory that is large
    /// enough, and to which the claim is the only right.
    #[inline(always)]
    pub fn payload(&self, claim: &Claim, len: usize) -> *mut T {
        T::at(self.ring.payload(claim.position()).as_ptr(), len)
    }

    /// Shows a slot that has been written, with so many elements, to the subscribers, and wakes those
    /// that sleep.
    #[inline(always)]
    pub fn publish(&mut self, claim: Claim, len: usize) {
        if T::LAYOUT.is_unsized() {
            self.seal(&claim, len);
        }
        hand_over();
        self.writer.publish(&self.ring, claim);
        self.sent += 1;
        if self.ring.control.sleepers().load_after() != 0 {
            self.ring.control.wake();
        }
        // Only now, when the message is on its way.
        self.writer.prepare(&self.ring);
        let suspects = self.writer.take_suspects();
        if suspects != 0 {
            self.reap_suspects(suspects);
        }
    }

    /// Says how many elements there are, and leaves nothing old behind the last of them.
    #[inline(always)]
    fn seal(&mut self, claim: &Claim, len: usize) {
        let position = claim.position();
        let end = T::LAYOUT.bytes(len);
        let rest = T::LAYOUT.size(len) - end;
        // SAFETY: Inside the payload, which has room for `max_len` elements and what Rust rounds up.
        let behind = unsafe { self.ring.payload(position).add(end) };
        // SAFETY: As above; the claim is the right to write there.
        unsafe { behind.write_bytes(0, rest) };
        self.ring.len(position).store(len as u64, Ordering::Relaxed);
    }

    #[cold]
    fn reap_suspects(&mut self, suspects: u64) {
        let suspects = self.suspicion.due(suspects);
        if suspects != 0 {
            self.ring.control.reap(&self.place.segment, suspects);
        }
    }

    /// Its ring and generation.
    pub fn id(&self) -> (u32, u16) {
        (self.place.number, self.place.generation)
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// How many messages this handle published, how many the ring has seen, how many slots were
    /// passed because they were held.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.sent, self.writer.published(&self.ring), self.writer.skips())
    }

    /// How many subscribers are alive; none in a forked child.
    pub fn subscribers(&self) -> usize {
        if !self.owner.is_here() {
            return 0;
        }
        let registered = self.ring.control.registered().load(Ordering::Acquire);
        let file = self.place.segment.file();
        let alive = |id: &u32| Place::Listening(*id).is_taken(file).unwrap_or(false);
        self.ring.control.subscribers_in(registered).filter(alive).count()
    }

    /// Whether it can still be told who is there.
    pub fn check(&self) -> Result<(), WaitError> {
        check(&self.place.segment, &self.channel)
    }
}
