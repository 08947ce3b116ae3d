//! Bytes become types and tokens become references: the ring protocol, laid over the memory of a
//! segment. Nearly all `unsafe` of the crate is here.
//!
//! Three invariants carry it:
//!
//! 1. **Places.** A [`Control`] or a [`MappedRing`] is made of a checked [`Geometry`] only, and
//!    keeps the mapping alive, so every address it computes lies in mapped memory. A ring is made
//!    only after its bit in `rings` was seen, so after its pages were allocated.
//! 2. **Types.** A handle for `T` attaches only if the segment's schema is that of `T`, so a payload
//!    has room for a `T` at its alignment; and `T: ShmMessage` has neither padding nor pointers.
//! 3. **Rights.** `&mut T` is made for the one [`Claim`] of a ring's one writer, `&T` for a [`Pin`]:
//!    the protocol never gives out both for one slot. At each hand-over [`hand_over`] keeps the
//!    compiler from moving accesses across.
//!
//! # Crash safety
//!
//! A place (a ring, a subscriber's id) is taken by its lock before anything of it is touched, and
//! whoever takes one cleans up what the last owner left. [`Control::clean`] may be killed anywhere
//! and done again.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::{Duration, Instant};

use crate::error::{AttachError, Holder, LoanError, RecvError};
use crate::header::{self, Geometry, LINE, Pattern, Record};
use crate::liveness::{Place, take_lowest};
use crate::message::ShmMessage;
use crate::options::{Channel, PublisherOptions, Read, Start, SubscriberOptions};
use crate::os::{self, Access};
use crate::ring::{self, Claim, Found, Memory, PINS, Pin, Reader, Writer};
use crate::segment::{Mapping, Segment};
use crate::sync::{AtomicU32, AtomicU64, Ordering, StoreFirst};
use crate::wait;

/// Memory changes hands here: the compiler may not move accesses across. (What the processor may
/// move is the ring's business.)
#[inline(always)]
fn hand_over() {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
    // SAFETY: No instruction at all; without `nomem` it counts as reading and writing all memory.
    unsafe {
        std::arch::asm!("", options(nostack, preserves_flags));
    }
}

/// What all participants of a channel write to: who is there, who holds what, who sleeps.
#[derive(Clone, Debug)]
pub struct Control {
    /// The first byte of the control area.
    start: NonNull<u8>,
    max_subscribers: u32,
    mapping: Arc<Mapping>,
}

// SAFETY: The pointer leads into the mapping that is kept; all access is atomic.
unsafe impl Send for Control {}
// SAFETY: As above.
unsafe impl Sync for Control {}

impl Control {
    fn of(segment: &Segment) -> Control {
        let geometry = segment.geometry();
        let mapping = segment.mapping().clone();
        // SAFETY: The checked geometry has the control area inside the mapping.
        let start = unsafe { mapping.start().add(geometry.control_offset as usize) };
        Control { start, max_subscribers: geometry.max_subscribers, mapping }
    }

    #[inline(always)]
    fn line(&self, number: u64) -> &AtomicU64 {
        // SAFETY: One of the three lines before the subscribers; aligned, because the mapping is to
        // a page and `control_offset` to a line; only ever used atomically; mapped while `self` lives.
        unsafe { self.start.add((number * LINE) as usize).cast().as_ref() }
    }

    /// Which rings are allocated and initialised. A bit is set once and never cleared.
    #[inline(always)]
    pub fn rings(&self) -> &AtomicU64 {
        self.line(0)
    }

    /// Which subscribers may have pins.
    #[inline(always)]
    pub fn registered(&self) -> &AtomicU64 {
        self.line(1)
    }

    /// Which subscribers sleep.
    #[inline(always)]
    pub fn sleepers(&self) -> &AtomicU64 {
        self.line(2)
    }

    #[inline(always)]
    fn subscriber(&self, id: u32) -> NonNull<u8> {
        // What comes out of a bitmap in shared memory may be any bit: an id too large becomes another.
        let id = if id < self.max_subscribers { id } else { 0 };
        let offset = header::SUBSCRIBERS_OFFSET + u64::from(id) * header::SUBSCRIBER_STRIDE;
        // SAFETY: The checked geometry has room for `max_subscribers` of them.
        unsafe { self.start.add(offset as usize) }
    }

    /// The pins of a subscriber: its first line.
    #[inline(always)]
    pub fn pins(&self, id: u32) -> &[AtomicU32; PINS] {
        // SAFETY: A line, aligned, only ever used atomically, mapped while `self` lives.
        unsafe { self.subscriber(id).cast().as_ref() }
    }

    /// The word on which a subscriber sleeps: its second line.
    #[inline(always)]
    pub fn sleep_word(&self, id: u32) -> &AtomicU32 {
        // SAFETY: As above.
        unsafe { self.subscriber(id).add(LINE as usize).cast().as_ref() }
    }

    /// Those bits of a bitmap of subscribers that stand for one.
    fn subscribers_in(&self, bitmap: u64) -> impl Iterator<Item = u32> + Clone + use<> {
        (0..self.max_subscribers).filter(move |id| bitmap >> id & 1 == 1)
    }

    /// Ends everything that a subscriber has here. The caller holds its place.
    fn clean(&self, id: u32) {
        ring::release_all(self.pins(id));
        wait::retract(self.sleep_word(id), self.sleepers(), id);
        self.registered().fetch_and(!(1 << id), Ordering::Release);
    }

    /// Cleans up after those of these subscribers that are dead. Never the owner of `file`.
    #[cold]
    fn reap(&self, segment: &Segment, suspects: u64) {
        for id in self.subscribers_in(suspects) {
            let place = Place::Subscriber(id);
            if let Ok(true) = place.take(segment.file()) {
                self.clean(id);
                place.leave(segment.file());
            }
        }
    }
}

/// One ring in the mapped segment.
#[derive(Debug)]
struct MappedRing {
    start: NonNull<u8>,
    first_slot: NonNull<u8>,
    slot_stride: usize,
    payload_offset: usize,
    payload_size: usize,
    /// Where in a slot the lines end that are worth a hint.
    hinted_end: usize,
    slots: u64,
    number: u32,
    control: Control,
}

// SAFETY: The pointers lead into the mapping that `control` keeps; access is atomic, or by a right.
unsafe impl Send for MappedRing {}

impl MappedRing {
    /// The ring's pages are allocated.
    fn of(geometry: &Geometry, control: &Control, number: u32) -> MappedRing {
        // SAFETY: The checked geometry has `max_publishers` rings inside the mapping, of which this
        // is one, and in each ring `slots` slots.
        let start = unsafe { control.mapping.start().add(geometry.ring_offset(number) as usize) };
        // SAFETY: As above.
        let first_slot = unsafe { start.add(geometry.slots_offset() as usize) };
        MappedRing {
            start,
            first_slot,
            slot_stride: geometry.slot_stride as usize,
            payload_offset: geometry.payload_offset as usize,
            payload_size: geometry.payload_size as usize,
            hinted_end: (u64::from(geometry.payload_offset) + geometry.payload_size)
                .min((1 + HINTED_LINES) * LINE) as usize,
            slots: geometry.slots.into(),
            number,
            control: control.clone(),
        }
    }

    /// The generation of the last writer. Only for the one who holds the ring's place.
    fn generation(&self) -> &AtomicU32 {
        // SAFETY: In the head's line, after the head; aligned; only ever used atomically.
        unsafe { self.start.add(size_of::<u64>()).cast().as_ref() }
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> NonNull<u8> {
        let slot = (position & (self.slots - 1)) as usize;
        // SAFETY: Less than `slots`, and all of those are in the ring.
        unsafe { self.first_slot.add(slot * self.slot_stride) }
    }

    #[inline(always)]
    fn payload(&self, position: u64) -> NonNull<u8> {
        // SAFETY: The checked geometry has the payload inside the slot.
        unsafe { self.slot(position).add(self.payload_offset) }
    }

    /// Copies a payload that a writer may be writing at the same time.
    ///
    /// Strictly speaking that is a data race with the writer's plain stores; Rust has no atomic
    /// copy of bytes yet. Single loads that the compiler may not merge, and a look at the word
    /// after them, are as near as one can get: what is torn is thrown away unseen.
    ///
    /// # Safety
    ///
    /// `to` has room for the payload.
    #[inline(always)]
    unsafe fn copy(&self, position: u64, to: NonNull<u8>) {
        let from = self.payload(position);
        let words = self.payload_size / size_of::<u64>();
        for i in 0..words {
            // SAFETY: Inside the payload, which begins at a multiple of 8.
            let word: &AtomicU64 = unsafe { from.cast().add(i).as_ref() };
            // SAFETY: The caller's promise; perhaps not aligned.
            unsafe { to.cast::<u64>().add(i).write_unaligned(word.load(Ordering::Relaxed)) };
        }
        for i in words * size_of::<u64>()..self.payload_size {
            // SAFETY: Inside the payload.
            let byte: &AtomicU8 = unsafe { from.cast().add(i).as_ref() };
            // SAFETY: The caller's promise.
            unsafe { to.add(i).write(byte.load(Ordering::Relaxed)) };
        }
    }
}

impl Memory for MappedRing {
    #[inline(always)]
    fn slots(&self) -> u64 {
        self.slots
    }

    #[inline(always)]
    fn ring(&self) -> u32 {
        self.number
    }

    #[inline(always)]
    fn word(&self, position: u64) -> &AtomicU64 {
        // SAFETY: A slot begins with its word, at a multiple of a line. Readers have it mapped
        // read-only and only load it. For orderings above Relaxed that is more than `std::sync::atomic`
        // promises, and what 64-bit processors do: none of them loads 8 bytes by a store.
        unsafe { self.slot(position).cast().as_ref() }
    }

    #[inline(always)]
    fn meta(&self, position: u64) -> &AtomicU64 {
        // SAFETY: The meta follows the word; as above.
        unsafe { self.slot(position).cast::<AtomicU64>().add(1).as_ref() }
    }

    #[inline(always)]
    fn head(&self) -> &AtomicU64 {
        // SAFETY: A ring begins with its head, at a page; as above.
        unsafe { self.start.cast().as_ref() }
    }

    #[inline(always)]
    fn registered(&self) -> &AtomicU64 {
        self.control.registered()
    }

    #[inline(always)]
    fn pins(&self, subscriber: u32) -> &[AtomicU32; PINS] {
        self.control.pins(subscriber)
    }

    #[inline(always)]
    fn expect_read(&self, position: u64) {
        let slot = self.slot(position);
        // Not the first line, which has the word and is there.
        for offset in (LINE as usize..self.hinted_end).step_by(LINE as usize) {
            // SAFETY: Inside the slot.
            prefetch_read(unsafe { slot.add(offset) });
        }
    }
}

/// So many lines of a slot beside the first are worth a hint. The rest of a longer payload is what
/// the processor's own prefetching is for.
const HINTED_LINES: u64 = 8;

/// Has the line read ahead of time, where the processor can be told.
#[inline(always)]
fn prefetch_read(line: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: A hint: it faults nowhere and changes nothing that can be read.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
    }
    let _ = line;
}

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

/// The publishing end of a channel: one ring.
#[derive(Debug)]
pub struct Output<T> {
    // First, so that it is dropped first: the ring is left before the segment is.
    place: RingPlace,
    ring: MappedRing,
    writer: Writer,
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
        if !self.segment.is_ours() {
            return;
        }
        let geometry = self.segment.geometry();
        // SAFETY: The writer is gone, or will not be used again: `Output` drops this first, and
        // its other fields do not touch the ring when they are dropped.
        let _ = unsafe { self.segment.mapping().protect_ring(self.number, Access::Read) };
        self.segment.write_record(geometry.publisher_record(self.number), &Record::default());
        Place::Publisher(self.number).leave(self.segment.file());
    }
}

impl<T: ShmMessage> Output<T> {
    /// Takes the lowest ring without a live writer.
    pub fn open(channel: &Channel, _: &PublisherOptions) -> Result<Self, AttachError> {
        const { assert_layout::<T>() };
        let segment = Segment::attach(channel, Pattern::PubSub, T::SCHEMA)?;
        let geometry = *segment.geometry();
        let places = (0..geometry.max_publishers).map(Place::Publisher);
        let place = take_lowest(segment.file(), places).map_err(segment.os("lock"))?;
        let Some(Place::Publisher(number)) = place else {
            return Err(AttachError::TooManyParticipants {
                channel: channel.name.clone(),
                kind: "publishers",
                max: geometry.max_publishers,
            });
        };
        let control = Control::of(&segment);
        let mut place = RingPlace { number, generation: 0, segment };
        let segment = &place.segment;
        let bit = 1 << number;
        let fresh = control.rings().load(Ordering::Acquire) & bit == 0;
        if fresh {
            segment.allocate_ring(number)?;
        }
        // SAFETY: `Access::ReadWrite` takes nothing from anybody.
        unsafe { segment.mapping().protect_ring(number, Access::ReadWrite) }
            .map_err(segment.os("make writable"))?;
        let ring = MappedRing::of(&geometry, &control, number);
        if fresh {
            // Until the bit is set nobody else looks; killed before, it is done again.
            ring::initialise(&ring);
        }
        let generation = ring.generation().load(Ordering::Relaxed).wrapping_add(1);
        let writer = Writer::take_over(&ring, generation as u16).map_err(|corrupt| {
            let reason = format!("the head of ring {number} is {}", corrupt.head);
            AttachError::NotAChannel { path: segment.path().to_owned(), reason }
        })?;
        ring.generation().store(generation, Ordering::Relaxed);
        let record = Record::of_this_process(generation, 0);
        segment.write_record(geometry.publisher_record(number), &record);
        if fresh {
            control.rings().fetch_or(bit, Ordering::SeqCst);
        }
        place.generation = generation as u16;
        // Those that died holding slots are not to fill up the channel.
        control.reap(&place.segment, control.registered().load(Ordering::Acquire));
        let channel = channel.name.clone();
        let suspicion = Suspicion::new();
        Ok(Output { place, ring, writer, sent: 0, suspicion, channel, message: PhantomData })
    }

    /// The right to write the next message.
    #[inline(always)]
    pub fn claim(&mut self) -> Result<Claim, LoanError> {
        match self.writer.claim(&self.ring) {
            Ok(claim) => Ok(claim),
            Err(ring::AllHeld) => self.claim_again(),
        }
    }

    #[cold]
    fn claim_again(&mut self) -> Result<Claim, LoanError> {
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

    /// The payload of a claimed slot: what an older message left, or zeroes.
    #[inline(always)]
    pub fn slot(&mut self, claim: &mut Claim) -> &mut MaybeUninit<T> {
        // SAFETY: Invariants 1 and 2: mapped, writable, large enough, aligned. Invariant 3: the
        // claim is the only right to this slot, and it is borrowed as long as the reference lives.
        unsafe { self.ring.payload(claim.position()).cast().as_mut() }
    }

    /// The same, to look at.
    #[inline(always)]
    pub fn peek(&self, claim: &Claim) -> &MaybeUninit<T> {
        // SAFETY: As for `slot`.
        unsafe { self.ring.payload(claim.position()).cast().as_ref() }
    }

    /// Shows a slot that has been written to the subscribers, and wakes those that sleep.
    #[inline(always)]
    pub fn publish(&mut self, claim: Claim) {
        hand_over();
        self.writer.publish(&self.ring, claim);
        self.sent += 1;
        if self.ring.control.sleepers().load_after() != 0 {
            self.wake();
        }
        // Only now, when the message is on its way.
        self.writer.prepare(&self.ring);
        let suspects = self.writer.take_suspects();
        if suspects != 0 {
            self.reap_suspects(suspects);
        }
    }

    #[cold]
    fn wake(&self) {
        let control = &self.ring.control;
        wait::wake_all(control.sleepers(), |id| control.sleep_word(id), os::futex_wake);
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

    /// How many subscribers are alive.
    pub fn subscribers(&self) -> usize {
        let registered = self.ring.control.registered().load(Ordering::Acquire);
        let file = self.place.segment.file();
        let alive = |id: &u32| Place::Listening(*id).is_taken(file).unwrap_or(false);
        self.ring.control.subscribers_in(registered).filter(alive).count()
    }
}

/// What the geometry of a segment can hold.
const fn assert_layout<T>() {
    assert!(align_of::<T>() <= header::MAX_ALIGN, "a message may be aligned to 4096 bytes at most");
    assert!(!std::mem::needs_drop::<T>(), "a message has no destructor");
}

/// A subscriber's place: pins, bed, registration. Kept by the subscriber and by its samples; the
/// last of them leaves.
#[derive(Debug)]
struct Seat {
    control: Control,
    id: u32,
    // Last: the segment is left after the seat is given up.
    segment: Segment,
}

impl Seat {
    fn cell(&self, cell: usize) -> &AtomicU32 {
        &self.control.pins(self.id)[cell % PINS]
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.segment.is_ours() {
            return;
        }
        self.control.clean(self.id);
        let record = self.segment.geometry().subscriber_record(self.id);
        self.segment.write_record(record, &Record::default());
        Place::Subscriber(self.id).leave(self.segment.file());
    }
}

/// A message to read, wherever it is. Dropped: its slot, if it has one, is free again.
#[derive(Debug)]
pub struct Held<T> {
    place: Where<T>,
    /// The message if it is `Inline`. Beside the enum and not in it, so that the compiler can keep
    /// the rest in registers, and nothing of this is ever moved for a pinned message.
    inline: MaybeUninit<Inline>,
}

/// The longest message whose copy lies in the sample itself: what shares a line with its header.
const INLINE: usize = 48;

/// Room for it, aligned to 16 bytes.
type Inline = [u128; INLINE / size_of::<u128>()];

#[derive(Debug)]
enum Where<T> {
    /// In its slot, which the pin keeps from being written.
    Pinned { message: NonNull<T>, pin: Option<Pin>, cell: usize, seat: Arc<Seat> },
    /// A copy beside this; `T` fits.
    Inline,
    /// A copy.
    Boxed(Box<MaybeUninit<T>>),
}

// SAFETY: A pinned message is only read, by whoever has the sample, and nobody writes it meanwhile;
// its pin may be released by any thread (Edge B of the ring). The rest is owned.
unsafe impl<T: Send + Sync> Send for Held<T> {}
// SAFETY: As above: `&Held<T>` gives `&T`.
unsafe impl<T: Send + Sync> Sync for Held<T> {}

impl<T> Held<T> {
    /// Copies `size_of::<T>()` bytes with `copy`.
    #[inline(always)]
    fn copied(copy: impl FnOnce(NonNull<u8>)) -> Held<T> {
        let fits = size_of::<T>() <= INLINE && align_of::<T>() <= align_of::<Inline>();
        let mut inline = MaybeUninit::uninit();
        let place = if fits {
            copy(NonNull::from(&mut inline).cast());
            Where::Inline
        } else {
            let mut boxed = Box::<T>::new_uninit();
            copy(NonNull::from(&mut *boxed).cast());
            Where::Boxed(boxed)
        };
        Held { place, inline }
    }

    #[inline(always)]
    fn start(&self) -> NonNull<T> {
        match &self.place {
            Where::Pinned { message, .. } => *message,
            Where::Inline => NonNull::from(&self.inline).cast(),
            Where::Boxed(boxed) => NonNull::from(&**boxed).cast(),
        }
    }

    /// The bytes of the message. A message has no padding: all of them are initialised.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: Invariants 1 to 3 if pinned; a copy is ours. `size_of::<T>()` bytes either way.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr().cast(), size_of::<T>()) }
    }
}

impl<T: ShmMessage> Deref for Held<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: As for `bytes`; and the bytes are a `T`: checked by `Input::receive` before
        // anybody gets this, unless every bit pattern is one.
        unsafe { self.start().as_ref() }
    }
}

impl<T> Drop for Held<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Where::Pinned { pin, cell, seat, .. } = &mut self.place {
            hand_over();
            if let Some(pin) = pin.take() {
                pin.release(seat.cell(*cell));
            }
        }
    }
}

/// One ring as a subscriber sees it.
#[derive(Debug)]
struct Source {
    ring: MappedRing,
    reader: Reader,
}

impl Source {
    #[inline(always)]
    fn pin<T>(&mut self, seat: &Arc<Seat>, cell: usize) -> Option<Found<Held<T>>> {
        let found = self.reader.next(&self.ring, seat.cell(cell))?;
        Some(self.held(found, seat, cell))
    }

    fn newest<T>(&mut self, seat: &Arc<Seat>, cell: usize) -> Option<Found<Held<T>>> {
        let found = self.reader.newest(&self.ring, seat.cell(cell))?;
        Some(self.held(found, seat, cell))
    }

    #[inline(always)]
    fn held<T>(&self, found: Found<Pin>, seat: &Arc<Seat>, cell: usize) -> Found<Held<T>> {
        hand_over();
        found.map(|pin| {
            let message = self.ring.payload(pin.position()).cast();
            let place = Where::Pinned { message, pin: Some(pin), cell, seat: seat.clone() };
            Held { place, inline: MaybeUninit::uninit() }
        })
    }

    #[inline(always)]
    fn copy<T>(&mut self) -> Option<Found<Held<T>>> {
        for attempt in 0..ring::ATTEMPTS {
            let peek = self.reader.peek(&self.ring, attempt)?;
            // SAFETY: Invariant 2: the payload is as large as a `T`, for which there is room.
            let copy = Held::copied(|to| unsafe { self.ring.copy(peek.position(), to) });
            if let Some(found) = self.reader.confirm(&self.ring, peek) {
                return Some(found.map(|()| copy));
            }
        }
        None
    }
}

/// A message, and the ring it came from.
pub type Received<T> = (Found<Held<T>>, u32);

/// The receiving end of a channel: all its rings.
#[derive(Debug)]
pub struct Input<T> {
    seat: Arc<Seat>,
    sources: Vec<Source>,
    /// The rings that are among the sources.
    known: u64,
    /// The source to look at first.
    turn: usize,
    max_held: u8,
    copies: bool,
    /// A pin on the next message of the first source, made while waiting for it, and its cell.
    expected: Option<(usize, Pin)>,
    received: u64,
    missed: u64,
    channel: String,
    message: PhantomData<fn() -> T>,
}

impl<T: ShmMessage> Input<T> {
    /// Takes the lowest free id.
    pub fn open(channel: &Channel, options: &SubscriberOptions) -> Result<Self, AttachError> {
        const { assert_layout::<T>() };
        let name = || channel.name.clone();
        let max_held = options.max_held.unwrap_or(header::default_max_held(size_of::<T>() as u64));
        if max_held == 0 || usize::from(max_held) > PINS {
            let (option, value) = ("max_held", max_held.into());
            let channel = name();
            return Err(AttachError::BadOption {
                channel,
                option,
                value,
                min: 1,
                max: PINS as u64,
            });
        }
        let segment = Segment::attach(channel, Pattern::PubSub, T::SCHEMA)?;
        let geometry = *segment.geometry();
        let places = (0..geometry.max_subscribers).map(Place::Subscriber);
        let place = take_lowest(segment.file(), places).map_err(segment.os("lock"))?;
        let Some(Place::Subscriber(id)) = place else {
            let (kind, max) = ("subscribers", geometry.max_subscribers);
            return Err(AttachError::TooManyParticipants { channel: name(), kind, max });
        };
        let control = Control::of(&segment);
        control.clean(id);
        let record = Record::of_this_process(0, max_held.into());
        segment.write_record(geometry.subscriber_record(id), &record);
        let dead = control.registered().load(Ordering::Acquire) & !(1 << id);
        control.reap(&segment, dead);

        let mut input = Input {
            seat: Arc::new(Seat { control, id, segment }),
            sources: Vec::new(),
            known: 0,
            turn: 0,
            max_held,
            copies: options.read == Read::Copied,
            expected: None,
            received: 0,
            missed: 0,
            channel: name(),
            message: PhantomData,
        };
        // First where to start, then the registration: whoever sees it and publishes is heard.
        input.adopt(|ring| match options.start {
            Start::Next => Reader::at_next(ring),
            Start::Oldest => Reader::at_oldest(ring),
        });
        let Seat { control, segment, .. } = &*input.seat;
        control.registered().fetch_or(1 << id, Ordering::SeqCst); // Edge C.
        Place::Listening(id).take(segment.file()).map_err(segment.os("lock"))?;
        Ok(input)
    }

    /// Adds the rings that have appeared.
    #[cold]
    fn adopt(&mut self, start: impl Fn(&MappedRing) -> Reader) {
        let Seat { control, segment, .. } = &*self.seat;
        let rings = control.rings().load(Ordering::Acquire);
        for number in 0..segment.geometry().max_publishers {
            if (rings & !self.known) >> number & 1 == 1 {
                let ring = MappedRing::of(segment.geometry(), control, number);
                let reader = start(&ring);
                self.sources.push(Source { ring, reader });
            }
        }
        // A ring never goes away, whatever becomes of its bit.
        self.known |= rings;
    }

    #[inline(always)]
    fn new_rings(&self) -> bool {
        self.seat.control.rings().load(Ordering::Acquire) & !self.known != 0
    }

    /// Something was published that was not read yet, or a publisher has come.
    #[inline(always)]
    pub fn anything_new(&self) -> bool {
        self.sources.iter().any(|source| source.reader.anything_new(&source.ring))
            || self.new_rings()
    }

    /// Pins the next message in advance, for somebody who is about to wait for it. With several
    /// publishers it is not known whose it will be.
    pub fn expect(&mut self) {
        let [source] = &self.sources[..] else { return };
        if self.copies || self.expected.is_some() {
            return;
        }
        if let Ok(cell) = self.free_cell() {
            let pin = source.reader.expect(&source.ring, self.seat.cell(cell));
            self.expected = pin.map(|pin| (cell, pin));
        }
    }

    /// Gives up a pin that was made in advance. Whoever stops waiting holds nothing.
    pub fn forget_expected(&mut self) {
        if let Some((cell, pin)) = self.expected.take() {
            pin.release(self.seat.cell(cell));
        }
    }

    /// The message that was expected; or gives up expecting it.
    #[inline(always)]
    fn take_expected(&mut self) -> Option<Found<Held<T>>> {
        let (cell, pin) = self.expected.take()?;
        let source = self.sources.first_mut()?;
        match source.reader.next_expected(&source.ring, pin) {
            Ok(found) => Some(source.held(found, &self.seat, cell)),
            Err(pin) => {
                pin.release(self.seat.cell(cell));
                None
            }
        }
    }

    /// A cell for a pin.
    #[inline(always)]
    fn free_cell(&self) -> Result<usize, RecvError> {
        let pins = self.seat.control.pins(self.seat.id);
        let free = |pin: &AtomicU32| pin.load(Ordering::Acquire) == 0;
        match pins.iter().take(usize::from(self.max_held)).position(free) {
            Some(cell) => Ok(cell),
            None => Err(self.too_many()),
        }
    }

    #[cold]
    fn too_many(&self) -> RecvError {
        RecvError::TooManySamples { channel: self.channel.clone(), max_held: self.max_held }
    }

    /// The next message of any publisher, each in its turn.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Received<T>>, RecvError> {
        if let Some(found) = self.take_expected() {
            return self.receive(0, found).map(Some);
        }
        if self.new_rings() {
            self.adopt(Reader::at_first);
        }
        let cell = if self.copies { 0 } else { self.free_cell()? };
        for step in 0..self.sources.len() {
            let number = self.in_turn(step);
            let source = &mut self.sources[number];
            let found = if self.copies { source.copy() } else { source.pin(&self.seat, cell) };
            if let Some(found) = found {
                return self.receive(number, found).map(Some);
            }
        }
        Ok(None)
    }

    /// The newest message that is still there, see [`Subscriber::latest`](crate::Subscriber::latest).
    pub fn latest(&mut self) -> Result<Option<Received<T>>, RecvError> {
        if self.new_rings() {
            self.adopt(Reader::at_first);
        }
        let cell = self.free_cell()?;
        let count = self.sources.len();
        // First those that have something new; then the one that was read last; then any.
        let in_turn = || (0..count).map(|step| self.in_turn(step));
        let source = |number: &usize| &self.sources[*number];
        let fresh = in_turn().filter(|i| source(i).reader.anything_new(&source(i).ring));
        let order: Vec<usize> = fresh.chain(in_turn().rev()).collect();
        for number in order {
            if let Some(found) = self.sources[number].newest(&self.seat, cell) {
                let found = if self.copies { found.map(Held::<T>::into_copy) } else { found };
                return self.receive(number, found).map(Some);
            }
        }
        Ok(None)
    }

    /// The source that comes `step` after the one that was read last; 0 is the next one.
    #[inline(always)]
    fn in_turn(&self, step: usize) -> usize {
        let number = self.turn + step;
        if number < self.sources.len() { number } else { number - self.sources.len() }
    }

    /// Counts a message, after a look whether it is one.
    #[inline(always)]
    fn receive(&mut self, source: usize, found: Found<Held<T>>) -> Result<Received<T>, RecvError> {
        self.turn = if source + 1 < self.sources.len() { source + 1 } else { 0 };
        self.missed = self.missed.saturating_add(found.missed);
        self.received += 1;
        if !T::PLAIN {
            // If it is invalid it is dropped, and with it the pin.
            T::check(found.right.bytes()).map_err(|invalid| RecvError::Invalid {
                channel: self.channel.clone(),
                sequence: found.sequence,
                invalid,
            })?;
        }
        Ok((found, self.sources[source].ring.number))
    }

    /// How many messages were received and missed.
    pub fn counts(&self) -> (u64, u64) {
        (self.received, self.missed)
    }

    /// Its number among the subscribers.
    pub fn id(&self) -> u32 {
        self.seat.id
    }

    /// Where it sleeps.
    pub fn control(&self) -> &Control {
        &self.seat.control
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// How many publishers are alive.
    pub fn publishers(&self) -> usize {
        let rings = self.seat.control.rings().load(Ordering::Acquire);
        let segment = &self.seat.segment;
        (0..segment.geometry().max_publishers)
            .filter(|number| rings >> number & 1 == 1)
            .filter(|number| Place::Publisher(*number).is_taken(segment.file()).unwrap_or(false))
            .count()
    }
}

impl<T> Drop for Input<T> {
    fn drop(&mut self) {
        // What samples keep is the seat; but they hear nothing.
        if self.seat.segment.is_ours() {
            Place::Listening(self.seat.id).leave(self.seat.segment.file());
        }
    }
}

impl<T: ShmMessage> Held<T> {
    /// The same in memory of its own.
    fn into_copy(self) -> Held<T> {
        Held::copied(|to| {
            let from = self.bytes();
            // SAFETY: `to` has room for a `T`, and is new.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) }
        })
    }
}
