//! A place in a queue or a service, and its slots as memory of types.
//!
//! The invariants are those of the [channel](super): a [`Slots`] is made of a checked geometry only, `&mut T`
//! is made for a [`Claim`], `&T` for a [`Taken`] or for a call that is answered, and the protocol gives out
//! one right to a slot at a time. Unlike a ring, a queue is mapped writable by all who take part.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Control, assert_layout, attach, check, hand_over, prefetch_read, prefetch_write, take_place,
    too_many,
};
use crate::error::{AttachError, WaitError};
use crate::events;
use crate::header::{self, Geometry, LINE, Record, Room, Schemas};
use crate::liveness::{self, Place, Side};
use crate::look;
use crate::message::{Invalid, ShmMessage};
use crate::options::Channel;
use crate::os::{self, Protection};
use crate::pattern::Pattern;
use crate::process::Owner;
use crate::queue::calls::{self, Call};
use crate::queue::{self, Claim, Counts, Memory, Own, OwnerId, PutBack, State, Taken, Word};
use crate::ring::MAX_PARTICIPANTS;
use crate::segment::{Role, Segment};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::wait::{Interrupter, Patience, Rhythm, Waited, Waiter, wait_for_participants};

/// Where in a slot a message lies, or a reply.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    offset: usize,
    /// Of how many elements it has, if it is unsized.
    len_offset: usize,
    /// The most elements; 0 if it has none.
    max_len: usize,
}

impl Part {
    fn of(room: &Room, len_offset: u64) -> Part {
        Part {
            offset: room.offset as usize,
            len_offset: len_offset as usize,
            max_len: room.max_len as usize,
        }
    }

    /// The most elements; 0 if it has none.
    pub fn max_len(&self) -> usize {
        self.max_len
    }
}

/// The slots of a queue in the mapped segment.
#[derive(Debug)]
pub struct Slots {
    first: NonNull<u8>,
    stride: usize,
    count: u32,
    message: Part,
    reply: Part,
    /// What its handle knows: slots are filled and taken by that alone.
    own: Own,
    control: Control,
}

// SAFETY: The pointer leads into the mapping that `control` keeps; access is atomic, or by a right.
unsafe impl Send for Slots {}
// SAFETY: As above.
unsafe impl Sync for Slots {}

impl Slots {
    fn of(segment: &Segment, control: &Control) -> io::Result<Slots> {
        let geometry = segment.geometry();
        let first = control.mapping.ring(0, segment.descriptor())?;
        // SAFETY: `ReadWrite` takes nothing from anybody.
        unsafe { segment.mapping().protect_ring(0, Protection::ReadWrite)? };
        let slots = Slots {
            first,
            stride: geometry.slot_stride as usize,
            count: geometry.slots,
            message: Part::of(&geometry.payload, header::LEN_OFFSET),
            reply: Part::of(&geometry.reply, geometry.reply_len_offset()),
            own: Own::default(),
            control: control.clone(),
        };
        queue::begin(&slots);
        Ok(slots)
    }

    #[inline(always)]
    fn slot(&self, slot: u32) -> NonNull<u8> {
        // What comes out of shared memory may be any number: one too large becomes another.
        let slot = if slot < self.count { slot } else { 0 };
        // SAFETY: The checked geometry has `count` slots in the ring, all of which is mapped.
        unsafe { self.first.add(slot as usize * self.stride) }
    }

    #[inline(always)]
    fn start(&self, part: Part, slot: u32) -> NonNull<u8> {
        // SAFETY: The checked geometry has the room inside the slot.
        unsafe { self.slot(slot).add(part.offset) }
    }

    /// How many elements there are: only where they are unsized.
    #[inline(always)]
    fn len(&self, part: Part, slot: u32) -> &AtomicU64 {
        // SAFETY: The checked geometry has it before the payload; aligned to 8, as the slot is to a line; only
        // ever used atomically.
        unsafe { self.slot(slot).add(part.len_offset).cast().as_ref() }
    }

    /// Where something is to be written, with `len` elements, which are not more than there may be. It holds
    /// what was there before, or zeroes.
    ///
    /// It points to mapped, writable, initialised, aligned memory that is large enough; whose it is the
    /// caller knows.
    #[inline(always)]
    fn at<T: ShmMessage + ?Sized>(&self, part: Part, slot: u32, len: usize) -> *mut T {
        T::at(self.start(part, slot).as_ptr(), len)
    }

    /// Says how many elements there are, and leaves nothing old behind the last of them.
    #[inline(always)]
    fn seal<T: ShmMessage + ?Sized>(&self, part: Part, slot: u32, len: usize) {
        if !T::LAYOUT.is_unsized() {
            return;
        }
        let end = T::LAYOUT.bytes(len);
        let rest = T::LAYOUT.size(len) - end;
        // SAFETY: Inside the room, which is for `max_len` elements and what Rust rounds up.
        let behind = unsafe { self.start(part, slot).add(end) };
        // SAFETY: As above; the caller has the right to write there.
        unsafe { behind.write_bytes(0, rest) };
        self.len(part, slot).store(len as u64, Ordering::Relaxed);
    }

    /// What somebody has written, after a look whether it is a value. The caller has the right to read it.
    #[inline(always)]
    fn value<T: ShmMessage + ?Sized>(&self, part: Part, slot: u32) -> Result<NonNull<T>, Invalid> {
        let mut len = 0;
        if T::LAYOUT.is_unsized() {
            let found = self.len(part, slot).load(Ordering::Relaxed);
            if found > part.max_len as u64 {
                return Err(Invalid::too_long(found, part.max_len));
            }
            len = found as usize;
        }
        let start = self.start(part, slot).as_ptr();
        if !T::PLAIN {
            // SAFETY: So many bytes are in the room; they are initialised, and nobody's to write.
            T::check(unsafe { std::slice::from_raw_parts(start, T::LAYOUT.bytes(len)) })?;
        }
        // SAFETY: `at` gives a pointer of the same address, which is not null.
        Ok(unsafe { NonNull::new_unchecked(T::at(start, len)) })
    }
}

impl Memory for Slots {
    #[inline(always)]
    fn slots(&self) -> u32 {
        self.count
    }

    #[inline(always)]
    fn word(&self, slot: u32) -> &AtomicU64 {
        // SAFETY: A slot begins with its word, at a multiple of a line; only ever used atomically.
        unsafe { self.slot(slot).cast().as_ref() }
    }

    #[inline(always)]
    fn note(&self, slot: u32) -> &AtomicU64 {
        // SAFETY: The meta follows the word; as above.
        unsafe { self.slot(slot).cast::<AtomicU64>().add(1).as_ref() }
    }

    #[inline(always)]
    fn head(&self) -> &AtomicU64 {
        self.control.line(header::HEAD_OFFSET)
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicU64 {
        self.control.line(header::TAIL_OFFSET)
    }

    #[inline(always)]
    fn returned(&self) -> &AtomicU64 {
        self.control.line(header::RETURNED_OFFSET)
    }

    #[inline(always)]
    fn own(&self) -> &Own {
        &self.own
    }

    #[inline(always)]
    fn expect_write(&self, slot: u32) {
        let start = self.slot(slot);
        prefetch_write(start);
        if self.stride > LINE as usize {
            // SAFETY: Inside the slot.
            prefetch_write(unsafe { start.add(LINE as usize) });
        }
    }

    #[inline(always)]
    fn expect_take(&self, slot: u32) {
        let start = self.slot(slot);
        // Its word is going to be changed.
        prefetch_write(start);
        if self.stride > LINE as usize {
            // SAFETY: Inside the slot.
            prefetch_read(unsafe { start.add(LINE as usize) });
        }
    }
}

/// A participant in the word of a slot.
fn owner_id(place: Place) -> OwnerId {
    match place.side() {
        Side::Publishers => OwnerId::new(place.number()),
        Side::Subscribers => OwnerId::new(MAX_PARTICIPANTS + place.number()),
    }
}

/// The place of an owner; `None`: there is no such place.
pub fn place_of(owner: OwnerId, geometry: &Geometry) -> Option<Place> {
    let number = owner.number()?;
    match number.checked_sub(MAX_PARTICIPANTS) {
        None => (number < geometry.max_publishers).then_some(Place::Publisher(number)),
        Some(number) => (number < geometry.max_subscribers).then_some(Place::Subscriber(number)),
    }
}

/// Who fills the slots: pushers, and clients.
fn fillers(pattern: Pattern) -> Side {
    match pattern {
        Pattern::Service => Side::Subscribers,
        _ => Side::Publishers,
    }
}

/// What participants count, each in a line of its own, which only its place writes. They go on over all who
/// have the place, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Jobs pushed, jobs delivered, calls made, calls answered.
    Handled = 0,
    /// Deliveries that were not the first. Of a client calls that failed.
    Again = 1,
    /// Jobs that became dead letters. Of a client calls that timed out.
    Dead = 2,
}

/// A place in a queue or a service. Kept by its handle and by what that has given out; the last of them
/// leaves.
#[derive(Debug)]
pub struct Party {
    slots: Slots,
    pattern: Pattern,
    place: Place,
    me: OwnerId,
    /// Where in the control area this place counts.
    tallies: u64,
    /// After so many deliveries a job is a dead letter.
    limit: u32,
    owner: Owner,
    /// Somebody of this process sleeps in this place's bed, for which there is one word.
    asleep: AtomicU32,
    // Last: the segment is left after the place is given up.
    segment: Segment,
}

impl Party {
    /// Takes the lowest free place, puts right what its last owner has left, and is registered.
    fn join(wanted: &Wanted, role: Role) -> Result<Party, AttachError> {
        let Wanted { channel, pattern, schemas, side, limit, attach } = wanted;
        let segment = attach(channel, *pattern, role, schemas)?;
        let control = Control::of(segment.mapping());
        let max = control.places(*side);
        let places = (0..max).map(|number| side.place(number));
        let Some(place) = take_place(&segment, places, |place| Ok(Some(place)))? else {
            return Err(too_many(channel, *pattern, *side, max));
        };
        let slots = match Slots::of(&segment, &control) {
            Ok(slots) => slots,
            Err(error) => {
                place.leave(segment.file());
                return Err(segment.os("map")(error));
            }
        };
        let party = Party {
            slots,
            pattern: *pattern,
            place,
            me: owner_id(place),
            tallies: segment.geometry().bed_offset(place) + header::COUNTS_OFFSET,
            limit: *limit,
            owner: segment.owner(),
            asleep: AtomicU32::new(0),
            segment,
        };
        party.clean(place);
        party.write_record(&Record::of_this_process(0, 0));
        party.control().registered_of(*side).fetch_or(1 << place.number(), Ordering::SeqCst);
        if *side == Side::Publishers {
            party.arrivals().fetch_add(1, Ordering::SeqCst);
        }
        events::attached(party.segment.path(), party.kind(), place.number());
        // What those who have died hold is not to wait for anybody else to look.
        party.reap(true);
        Ok(party)
    }

    /// What it is, in a word.
    fn kind(&self) -> &'static str {
        match self.place.side() {
            Side::Publishers => self.pattern.publishers(),
            Side::Subscribers => self.pattern.subscribers(),
        }
    }

    #[inline(always)]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    #[inline(always)]
    pub fn control(&self) -> &Control {
        &self.slots.control
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// False in a child that was forked off: there is no such memory.
    #[inline(always)]
    pub fn is_here(&self) -> bool {
        self.owner.is_here()
    }

    /// Where in a slot what is sent lies.
    #[inline(always)]
    pub fn message(&self) -> Part {
        self.slots.message
    }

    /// Where in a slot what is answered lies.
    #[inline(always)]
    pub fn reply(&self) -> Part {
        self.slots.reply
    }

    /// How many publishers have come so far.
    pub fn arrivals(&self) -> &AtomicU64 {
        self.control().line(header::ARRIVALS_OFFSET)
    }

    fn record_offset(&self, place: Place) -> u64 {
        let geometry = self.segment.geometry();
        match place.side() {
            Side::Publishers => geometry.publisher_record(place.number()),
            Side::Subscribers => geometry.subscriber_record(place.number()),
        }
    }

    fn write_record(&self, record: &Record) {
        self.segment.write_record(self.record_offset(self.place), record);
    }

    /// What this place counts.
    #[inline(always)]
    fn tally(&self, tally: Tally) -> &AtomicU64 {
        self.control().line(self.tallies + 8 * tally as u64)
    }

    /// Others have a place on this side, too, or had one and were not found dead.
    #[inline(always)]
    pub fn is_in_company(&self) -> bool {
        let registered = self.control().registered_of(self.place.side());
        registered.load(Ordering::Relaxed) & !(1 << self.place.number()) != 0
    }

    /// Counts one more. Samples of one handle may be given back by several threads.
    #[inline(always)]
    pub fn count(&self, tally: Tally) {
        self.tally(tally).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more, by the only thread that counts this.
    #[inline(always)]
    pub fn count_alone(&self, tally: Tally) {
        let tally = self.tally(tally);
        tally.store(tally.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    // ── who is alive ─────────────────────────────────────────────────────────────────────────

    /// Ends everything that somebody has here, wakes whom it concerns. The caller holds his place.
    fn clean(&self, place: Place) {
        let owner = owner_id(place);
        let takers = fillers(self.pattern).other();
        match self.pattern {
            Pattern::Service => {
                for client in calls::reap(&self.slots, owner) {
                    self.wake(client);
                }
            }
            _ => {
                let reaped = queue::reap(&self.slots, owner, self.limit);
                self.tally(Tally::Dead).fetch_add(reaped.dead.into(), Ordering::Relaxed);
                for number in 0..reaped.offered {
                    self.control().wake_one(takers, number);
                }
            }
        }
        self.control().wake_one(fillers(self.pattern), 0);
        self.control().sign_off(place);
    }

    /// Puts right what the dead have left: those who own slots, or, if `all`, whoever has come and not left.
    #[cold]
    pub fn reap(&self, all: bool) {
        let geometry = self.segment.geometry();
        // A pusher does not know after how many deliveries a job is a dead letter.
        let is_for_us = |place: &Place| {
            *place != self.place
                && (self.pattern == Pattern::Service
                    || self.place.side() == Side::Subscribers
                    || place.side() == Side::Publishers)
        };
        let owners = queue::owners(&self.slots, self.me);
        let mut suspects: Vec<Place> =
            owners.into_iter().filter_map(|owner| place_of(owner, geometry)).collect();
        if all {
            for side in [Side::Publishers, Side::Subscribers] {
                let registered = self.control().registered_of(side).load(Ordering::Acquire);
                let there = |number: &u32| registered >> number & 1 == 1;
                let places = (0..self.control().places(side)).filter(there);
                suspects.extend(places.map(|number| side.place(number)));
            }
        }
        for place in suspects.into_iter().filter(is_for_us) {
            self.reap_if_dead(place);
        }
    }

    /// The same for one who owns a slot.
    pub fn reap_owner(&self, owner: OwnerId) {
        if let Some(place) = place_of(owner, self.segment.geometry())
            && place != self.place
        {
            self.reap_if_dead(place);
        }
    }

    fn reap_if_dead(&self, place: Place) {
        let (segment, file) = (&self.segment, self.segment.file());
        if !segment.is_locked() {
            events::lock_lost(segment.path());
            return;
        }
        // Asked first, which is cheaper, and mostly the answer is that he lives.
        if place.is_taken(file).unwrap_or(true) || !place.take(file).unwrap_or(false) {
            return;
        }
        if !segment.is_locked() {
            // It was perhaps another file that said so.
            events::lock_lost(segment.path());
            return;
        }
        self.clean(place);
        let record = self.record_offset(place);
        let pid = segment.read_record(record).pid;
        if pid != 0 {
            segment.write_record(record, &Record::default());
            events::reaped(segment.path(), place.number(), pid);
        }
        place.leave(file);
    }

    /// How many of a side are alive; none in a forked child.
    pub fn alive(&self, side: Side) -> usize {
        if !self.is_here() {
            return 0;
        }
        let registered = self.control().registered_of(side).load(Ordering::Acquire);
        let (file, max) = (self.segment.file(), self.control().places(side));
        let others = liveness::count(file, registered, max, |number| side.place(number));
        // The kernel does not tell us of our own.
        others + usize::from(self.place.side() == side)
    }

    /// Whether anybody of a side has come, and not left or been found dead.
    pub fn is_anybody_registered(&self, side: Side) -> bool {
        self.control().registered_of(side).load(Ordering::Acquire) != 0
    }

    /// Whether it can still be told who is there.
    pub fn check(&self, channel: &str) -> Result<(), WaitError> {
        check(&self.segment, channel)
    }

    // ── waking ───────────────────────────────────────────────────────────────────────────────

    /// There is something to take.
    #[inline(always)]
    fn wake_taker(&self, slot: u32) {
        self.control().wake_one(fillers(self.pattern).other(), slot);
    }

    /// There is room. Also for somebody who was woken for it and leaves without using it.
    #[inline(always)]
    pub fn wake_filler(&self, slot: u32) {
        self.control().wake_one(fillers(self.pattern), slot);
    }

    /// Somebody was woken to take something, and leaves without looking.
    pub fn wake_another_taker(&self) {
        if queue::is_any_ready(&self.slots) {
            self.wake_taker(self.place.number() + 1);
        }
    }

    /// There are news for this one.
    #[inline(always)]
    fn wake(&self, owner: OwnerId) {
        if let Some(place) = place_of(owner, self.segment.geometry()) {
            self.control().wake_at(place);
        }
    }

    /// Waits until there are `news`, in the bed of this place. Before a sleep it must be sure that there is
    /// nothing: then it asks for `any`, which may take longer. If another thread sleeps in that bed, it looks
    /// every millisecond.
    pub fn wait(
        &self,
        waiter: &Waiter,
        rhythm: Rhythm,
        patience: &mut Patience,
        news: impl Fn() -> bool,
        any: impl Fn() -> bool,
    ) -> Waited {
        // Mostly it is a moment, in which nobody looks at the clock.
        if !patience.is_begun() && waiter.glance(&news) {
            patience.count();
            return Waited::Ready;
        }
        let deadline = patience.deadline();
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        // There may be news again and again that others are faster with.
        if patience.count() > 1 {
            if waiter.take_interrupt() {
                return Waited::Interrupted;
            }
            if is_over() {
                return Waited::TimedOut;
            }
        }
        let free = self.asleep.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        if free.is_ok() {
            let waited = waiter.wait(self.control(), self.place, rhythm, deadline, news, any);
            self.asleep.store(0, Ordering::Release);
            waited
        } else if any() {
            Waited::Ready
        } else if waiter.take_interrupt() {
            Waited::Interrupted
        } else if is_over() {
            Waited::TimedOut
        } else {
            std::thread::sleep(BED_IS_TAKEN);
            Waited::LookAgain
        }
    }

    // ── filling ──────────────────────────────────────────────────────────────────────────────

    /// The right to fill the next slot; `None`: there is no room.
    #[inline(always)]
    pub fn claim(&self) -> Option<Claim> {
        queue::claim(&self.slots, self.me).ok()
    }

    /// Where a message is to be written, with so many elements, which are not more than its part may have.
    #[inline(always)]
    pub fn claimed<T: ShmMessage + ?Sized>(&self, claim: &Claim, len: usize) -> *mut T {
        self.slots.at(self.slots.message, claim.slot(), len)
    }

    /// Gives up a slot without filling it.
    pub fn give_up(&self, claim: Claim) {
        let slot = claim.slot();
        queue::give_up(&self.slots, claim);
        self.wake_filler(slot);
    }

    /// Offers a job that was written, with so many elements.
    #[inline(always)]
    pub fn push<T: ShmMessage + ?Sized>(&self, claim: Claim, len: usize) {
        let slot = claim.slot();
        self.slots.seal::<T>(self.slots.message, slot, len);
        self.slots.note(slot).store(os::coarse_now(), Ordering::Relaxed); // Edge A of the queue.
        hand_over();
        queue::publish(&self.slots, claim, OwnerId::NOBODY);
        self.wake_taker(slot);
        self.count_alone(Tally::Handled);
    }

    /// Makes the call that was written, with so many elements. `None`: the slot was taken from us.
    #[inline(always)]
    pub fn post<T: ShmMessage + ?Sized>(
        &self,
        claim: Claim,
        len: usize,
        number: u64,
    ) -> Option<Call> {
        let slot = claim.slot();
        self.slots.seal::<T>(self.slots.message, slot, len);
        hand_over();
        let call = calls::post(&self.slots, claim, number);
        self.wake_taker(slot);
        call
    }

    // ── taking ───────────────────────────────────────────────────────────────────────────────

    /// Takes the next in turn.
    #[inline(always)]
    pub fn take(&self) -> Option<Taken> {
        let taken = queue::take(&self.slots, self.me)?;
        // It may have been what stopped the head.
        self.wake_filler(taken.slot());
        Some(taken)
    }

    /// Takes any that is there, those first that were put back.
    pub fn take_any(&self) -> Option<Taken> {
        let taken = queue::take_any(&self.slots, self.me)?;
        self.wake_filler(taken.slot());
        Some(taken)
    }

    /// Takes a dead letter to look at it: the first one at this slot or behind it.
    pub fn exhume(&self, first: u32) -> Option<Taken> {
        queue::exhume(&self.slots, self.me, first)
    }

    /// What was taken, after a look whether it is a value.
    #[inline(always)]
    pub fn taken<T: ShmMessage + ?Sized>(&self, taken: &Taken) -> Result<NonNull<T>, Invalid> {
        hand_over();
        self.slots.value(self.slots.message, taken.slot())
    }

    /// Acknowledges what was taken.
    #[inline(always)]
    pub fn done(&self, taken: Taken) {
        let slot = taken.slot();
        hand_over();
        queue::done(&self.slots, taken);
        self.wake_filler(slot);
    }

    /// Offers again what was taken.
    pub fn put_back(&self, taken: Taken) {
        let (slot, is_letter) = (taken.slot(), taken.is_dead_letter());
        hand_over();
        match queue::put_back(&self.slots, taken, self.limit) {
            PutBack::Offered => self.wake_taker(slot),
            PutBack::Dead if !is_letter => self.count(Tally::Dead),
            PutBack::Dead | PutBack::Evicted => {}
        }
    }

    /// Makes a dead letter of what was taken.
    pub fn bury(&self, taken: Taken) {
        let is_letter = taken.is_dead_letter();
        hand_over();
        if queue::bury(&self.slots, taken) && !is_letter {
            self.count(Tally::Dead);
        }
    }

    // ── answering ────────────────────────────────────────────────────────────────────────────

    /// Where the answer to a request is to be written, with so many elements, which are not more than its
    /// part may have.
    #[inline(always)]
    pub fn answer<R: ShmMessage + ?Sized>(&self, taken: &Taken, len: usize) -> *mut R {
        self.slots.at(self.slots.reply, taken.slot(), len)
    }

    /// Answers a request whose reply was written, with so many elements. `false`: nobody waits for it.
    #[inline(always)]
    pub fn send_answer<R: ShmMessage + ?Sized>(&self, taken: Taken, len: usize) -> bool {
        let (slot, client) = (taken.slot(), taken.from());
        self.slots.seal::<R>(self.slots.reply, slot, len);
        hand_over();
        let delivered = calls::reply(&self.slots, taken);
        if delivered {
            self.wake(client);
            // Only now: nobody waits for that.
            self.count(Tally::Handled);
        } else {
            self.wake_filler(slot);
        }
        delivered
    }

    /// Answers a request without a reply.
    pub fn decline(&self, taken: Taken) {
        let (slot, client) = (taken.slot(), taken.from());
        hand_over();
        if calls::decline(&self.slots, taken) {
            self.wake(client);
        } else {
            self.wake_filler(slot);
        }
    }

    /// Whether somebody still waits for the answer to a request.
    pub fn is_wanted(&self, taken: &Taken) -> bool {
        calls::is_wanted(&self.slots, taken)
    }

    /// The reply to a call that is answered, after a look whether it is a value.
    #[inline(always)]
    pub fn answered<R: ShmMessage + ?Sized>(&self, call: &Call) -> Result<NonNull<R>, Invalid> {
        hand_over();
        self.slots.value(self.slots.reply, call.slot())
    }

    /// Ends a call, and frees its slot.
    #[inline(always)]
    pub fn finish(&self, call: Call) {
        let slot = call.slot();
        hand_over();
        calls::finish(&self.slots, call);
        self.wake_filler(slot);
    }

    /// The call that was put aside at this slot.
    pub fn take_up(&self, slot: u32) -> Option<Call> {
        calls::take_up(&self.slots, slot, self.me)
    }

    /// Whether there are so many slots that nobody misses one that this keeps at hand. As all on its side keep
    /// two at most, an eighth of them is.
    #[inline(always)]
    pub fn has_slots_to_spare(&self) -> bool {
        let registered = self.control().registered_of(self.place.side());
        16 * registered.load(Ordering::Relaxed).count_ones() <= self.slots.count
    }

    /// Makes a call again that its server has lost.
    pub fn call_again(&self, call: &Call) {
        if calls::again(&self.slots, call) {
            self.wake_taker(call.slot());
        }
    }

    // ── figures ──────────────────────────────────────────────────────────────────────────────

    /// What the slots are doing, and how long the oldest job has waited.
    pub fn counts(&self) -> (Counts, Option<Duration>) {
        let word = |slot| self.slots.word(slot).load(Ordering::Acquire);
        let note = |slot| self.slots.note(slot).load(Ordering::Relaxed);
        count_slots(self.slots.count, word, note)
    }

    /// What all on a side have counted.
    pub fn tally_of(&self, side: Side, tally: Tally) -> u64 {
        let geometry = self.segment.geometry();
        let of = |number| {
            let bed = geometry.bed_offset(side.place(number));
            let tally = self.control().line(bed + header::COUNTS_OFFSET + 8 * tally as u64);
            tally.load(Ordering::Relaxed)
        };
        (0..self.control().places(side)).map(of).fold(0, u64::wrapping_add)
    }
}

/// What the slots of a queue are doing, and how long the oldest job that waits has done so.
pub fn count_slots(
    slots: u32,
    word: impl Fn(u32) -> u64,
    note: impl Fn(u32) -> u64,
) -> (Counts, Option<Duration>) {
    let mut counts = Counts::default();
    let mut oldest = None;
    for slot in 0..slots {
        let word = Word::of(word(slot));
        counts.add(word);
        if word.state() == State::Ready {
            let pushed = note(slot);
            oldest = Some(oldest.map_or(pushed, |oldest: u64| oldest.min(pushed)));
        }
    }
    let age = |pushed| Duration::from_nanos(os::coarse_now().saturating_sub(pushed));
    (counts, oldest.map(age))
}

impl Drop for Party {
    fn drop(&mut self) {
        // In a child nothing of this is there.
        if !self.is_here() {
            return;
        }
        // Without its descriptor the place is still ours, until the segment is dropped.
        self.clean(self.place);
        if self.segment.is_locked() {
            self.write_record(&Record::default());
            self.place.leave(self.segment.file());
        }
        events::detached(self.segment.path(), self.kind(), self.place.number());
    }
}

/// How often somebody looks again who has no bed.
const BED_IS_TAKEN: Duration = Duration::from_millis(1);

/// What a handle wants to take part in.
#[derive(Debug)]
struct Wanted {
    channel: Channel,
    pattern: Pattern,
    schemas: Schemas,
    side: Side,
    limit: u32,
    attach: fn(&Channel, Pattern, Role, &Schemas) -> Result<Segment, AttachError>,
}

/// How often whoever waits looks for the dead, at most.
const LOOK_AROUND: Duration = Duration::from_millis(5);

/// A handle's part in a channel. It goes along when that is replaced.
#[derive(Debug)]
pub struct Attachment {
    party: Arc<Party>,
    wanted: Wanted,
    /// When it was last looked around.
    looked: Instant,
    has_moved: bool,
    homeless: Homeless,
}

impl Attachment {
    /// Takes the lowest free place of a side. `T` is what lies in a slot.
    pub fn open<T: ShmMessage + ?Sized>(
        channel: &Channel,
        pattern: Pattern,
        schemas: Schemas,
        side: Side,
        limit: u32,
    ) -> Result<Attachment, AttachError> {
        const { assert_layout::<T>() };
        let (channel, attach) = (channel.clone(), attach::<T> as _);
        let wanted = Wanted { channel, pattern, schemas, side, limit, attach };
        let role = match side {
            Side::Publishers => Role::Publisher,
            Side::Subscribers => Role::Subscriber,
        };
        let party = Party::join(&wanted, role).inspect_err(|error| {
            let kind = match side {
                Side::Publishers => pattern.publishers(),
                Side::Subscribers => pattern.subscribers(),
            };
            events::refused(&wanted.channel, kind, error);
        })?;
        let (party, looked) = (Arc::new(party), Instant::now());
        Ok(Attachment { party, wanted, looked, has_moved: false, homeless: Homeless::default() })
    }

    #[inline(always)]
    pub fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.wanted.channel.name
    }

    /// The channel is elsewhere now, or will be in a moment.
    #[inline(always)]
    pub fn is_retired(&self) -> bool {
        self.party.control().is_retired()
    }

    /// How many publishers are alive: where the channel is now, also if this is not there yet.
    pub fn publishers(&self) -> usize {
        match self.is_here_and_retired() {
            true => look::publishers(&self.wanted.channel, self.wanted.pattern),
            false => self.party.alive(Side::Publishers),
        }
    }

    /// Waits until `enough` others are there, and says whether they came in time.
    pub fn wait_for(
        &self,
        waiter: &Waiter,
        timeout: Duration,
        enough: impl Fn() -> bool,
    ) -> Result<bool, WaitError> {
        // First asked, and then looked whether there was anybody to ask.
        let enough = || {
            let enough = enough();
            check(&self.party.segment, self.channel()).map(|()| enough)
        };
        wait_for_participants(timeout, enough, || waiter.take_interrupt())
    }

    /// Something that ends the blocking calls of a handle.
    pub fn interrupter(&self, waiter: &Waiter) -> Interrupter {
        waiter.interrupter(self.party.control().clone(), self.party.place())
    }

    fn is_here_and_retired(&self) -> bool {
        self.party.is_here() && self.is_retired()
    }

    /// Whether it sleeps elsewhere than when it was opened.
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Goes where the channel is now, and says whether it is there.
    ///
    /// # Errors
    ///
    /// It cannot be joined there. The next call tries again.
    #[cold]
    pub fn follow(&mut self) -> Result<bool, AttachError> {
        let waited = self.homeless.wait();
        let role = Role::Follower { makes: waited >= HEAD_START };
        let moved = Party::join(&self.wanted, role);
        if let Err(AttachError::Busy { .. }) = moved
            && !self.homeless.is_over(waited)
        {
            return Ok(false);
        }
        // The next call has all the patience again.
        self.homeless = Homeless::default();
        self.party = Arc::new(moved?);
        self.has_moved = true;
        events::followed(self.party.segment.path(), self.party.place.number());
        Ok(true)
    }

    /// For somebody who finds nothing: have others died, and left something? `false`: it cannot be told any
    /// more.
    #[cold]
    pub fn look_around(&mut self) -> bool {
        let now = Instant::now();
        if now < self.looked + LOOK_AROUND {
            return true;
        }
        self.looked = now;
        if !self.party.segment.is_locked() {
            events::lock_lost(self.party.segment.path());
            return false;
        }
        self.party.reap(false);
        true
    }
}

/// How long the one who retired a segment has for making the new one before others do.
pub const HEAD_START: Duration = Duration::from_millis(20);
/// How long to wait for the new one before that is an error.
const PATIENCE: Duration = Duration::from_millis(200);
/// And so often it is looked for, at least.
const ATTEMPTS: u32 = 20;

/// The segment is retired, and there is no other to go to yet.
#[derive(Debug, Default)]
pub struct Homeless {
    since: Option<Instant>,
    /// How often another was looked for since then.
    attempts: u32,
}

impl Homeless {
    /// One attempt more. For how long is that so?
    pub fn wait(&mut self) -> Duration {
        let now = Instant::now();
        self.attempts += 1;
        now - *self.since.get_or_insert(now)
    }

    /// Whether it was tried long enough.
    pub fn is_over(&self, waited: Duration) -> bool {
        waited >= PATIENCE && self.attempts >= ATTEMPTS
    }

    /// Whether it is so.
    pub fn is_so(&self) -> bool {
        self.since.is_some()
    }
}
