//! Bytes become types and tokens become references: the ring protocol, laid over the memory of a
//! segment. Nearly all `unsafe` of the crate is here and in the two ends of a channel: a publisher's
//! `output` and a subscriber's `input`.
//!
//! Three invariants carry it:
//!
//! 1. **Places.** A [`Control`] or a [`MappedRing`] is made of a checked [`Geometry`] only, and
//!    keeps the mapping alive, so every address it computes lies in mapped memory. A ring is made
//!    only after its bit in `rings` was seen, so after its pages were allocated.
//! 2. **Types.** A handle for `T` attaches only if the segment's schema is that of `T`, or begins with it,
//!    and the geometry is that of the schema. So a payload has room for a `T` at its alignment, with up
//!    to `max_len` elements if it is unsized; and `T: ShmMessage` has neither padding nor pointers.
//! 3. **Rights.** `&mut T` is made for the one [`Claim`] of a ring's one writer, `&T` for a [`Pin`]:
//!    the protocol never gives out both for one slot. At each hand-over [`hand_over`] keeps the
//!    compiler from moving accesses across.
//!
//! # Crash safety
//!
//! A place (a ring, a subscriber's id) is taken by its lock before anything of it is touched, and
//! whoever takes one cleans up what the last owner left. [`Control::clean`] may be killed anywhere
//! and done again.
//!
//! # Fork
//!
//! In a forked child none of this memory is mapped. Every handle, and every sample when it is dropped,
//! looks whether it is where it was opened ([`Owner`](crate::process::Owner)) before it touches any.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use crate::error::{AttachError, WaitError};
use crate::events;
use crate::header::{self, LINE, Record, Schemas};
use crate::liveness::{Place, Side};
use crate::mapping::Mapping;
use crate::message::ShmMessage;
use crate::options::Channel;
use crate::os;
use crate::pattern::Pattern;
use crate::ring::{self, Memory, PINS};
use crate::segment::{Role, Segment};
use crate::sync::{AtomicU32, AtomicU64, Ordering, StoreFirst};
use crate::wait;

mod handover;
mod input;
mod output;
pub use handover::{Attachment, Party, Tally, count_slots, place_of};
pub use input::{Held, Input, Received};
pub use output::Output;

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
    fn of(mapping: &Arc<Mapping>) -> Control {
        let max_subscribers = mapping.geometry().max_subscribers;
        Control { start: mapping.control(), max_subscribers, mapping: mapping.clone() }
    }

    #[inline(always)]
    fn line(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: A word of the control area of the checked geometry: callers name constants, or what that
        // geometry says of a participant. Aligned to 8, because the mapping is to a page, `control_offset`
        // to a line, and those are to 8; only ever used atomically; mapped while `self` lives.
        unsafe { self.start.add(offset as usize).cast().as_ref() }
    }

    /// Which rings are allocated and initialised. A bit is set once and never cleared.
    #[inline(always)]
    pub fn rings(&self) -> &AtomicU64 {
        self.line(header::RINGS_OFFSET)
    }

    /// Says whether the segment is retired, see [`header::RETIRED`].
    #[inline(always)]
    fn retired(&self) -> &AtomicU32 {
        // SAFETY: In the first line, after the bitmap; as above.
        unsafe { self.start.add(header::RETIRED_OFFSET as usize).cast().as_ref() }
    }

    /// Another segment has this one's name now, or will have in a moment. Never again false.
    #[inline(always)]
    pub fn is_retired(&self) -> bool {
        self.retired().load(Ordering::Acquire) == header::RETIRED
    }

    /// Which subscribers may have pins.
    #[inline(always)]
    pub fn registered(&self) -> &AtomicU64 {
        self.line(header::REGISTERED_OFFSET)
    }

    /// Which subscribers sleep.
    #[inline(always)]
    pub fn sleepers(&self) -> &AtomicU64 {
        self.line(header::SLEEPERS_OFFSET)
    }

    /// Who has come, and not left.
    #[inline(always)]
    fn registered_of(&self, side: Side) -> &AtomicU64 {
        match side {
            Side::Publishers => self.line(header::PUBLISHERS_REGISTERED_OFFSET),
            Side::Subscribers => self.registered(),
        }
    }

    /// Who sleeps.
    #[inline(always)]
    fn sleepers_of(&self, side: Side) -> &AtomicU64 {
        match side {
            Side::Publishers => self.line(header::PUBLISHERS_SLEEPERS_OFFSET),
            Side::Subscribers => self.sleepers(),
        }
    }

    /// How many places there are.
    fn places(&self, side: Side) -> u32 {
        let geometry = self.mapping.geometry();
        match side {
            Side::Publishers => geometry.max_publishers,
            Side::Subscribers => geometry.max_subscribers,
        }
    }

    /// Where somebody sleeps: his word, and his bit of the sleepers.
    #[inline(always)]
    pub fn bed(&self, place: Place) -> (&AtomicU32, &AtomicU64, u32) {
        let (side, number) = (place.side(), place.number());
        (self.sleep_word_of(side, number), self.sleepers_of(side), number)
    }

    /// The word on which somebody sleeps.
    #[inline(always)]
    fn sleep_word_of(&self, side: Side, number: u32) -> &AtomicU32 {
        // What comes out of a bitmap in shared memory may be any bit: one too large becomes another.
        let number = if number < self.places(side) { number } else { 0 };
        let offset = self.mapping.geometry().bed_offset(side.place(number));
        // SAFETY: Inside the control area of the checked geometry; aligned, as every line is; only ever
        // used atomically; mapped while `self` lives.
        unsafe { self.start.add(offset as usize).cast().as_ref() }
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

    /// Those bits of a bitmap of subscribers that stand for one.
    fn subscribers_in(&self, bitmap: u64) -> impl Iterator<Item = u32> + Clone + use<> {
        (0..self.max_subscribers).filter(move |id| bitmap >> id & 1 == 1)
    }

    /// Ends everything that a subscriber has here. The caller holds its place.
    fn clean(&self, id: u32) {
        ring::release_all(self.pins(id));
        self.sign_off(Place::Subscriber(id));
    }

    /// Says that somebody neither sleeps nor is there. The caller holds his place.
    fn sign_off(&self, place: Place) {
        let (word, sleepers, number) = self.bed(place);
        wait::retract(word, sleepers, number);
        self.registered_of(place.side()).fetch_and(!(1 << number), Ordering::Release);
    }

    /// Cleans up after those of these subscribers that are dead. Never the owner of `file`.
    #[cold]
    fn reap(&self, segment: &Segment, suspects: u64) {
        for id in self.subscribers_in(suspects) {
            let place = Place::Subscriber(id);
            if !segment.is_locked() {
                events::lock_lost(segment.path());
                return;
            }
            if let Ok(true) = place.take(segment.file()) {
                if !segment.is_locked() {
                    // It was perhaps another file that said so.
                    events::lock_lost(segment.path());
                    return;
                }
                // Without its bit it has left in the meantime.
                if self.registered().load(Ordering::Acquire) >> id & 1 == 1 {
                    self.clean(id);
                    let record = segment.geometry().subscriber_record(id);
                    let pid = segment.read_record(record).pid;
                    segment.write_record(record, &Record::default());
                    events::reaped(segment.path(), id, pid);
                }
                place.leave(segment.file());
            }
        }
    }

    /// Says that another segment takes the place of this one, and wakes those who sleep.
    fn retire(&self) {
        self.retired().store_first(header::RETIRED); // Edge G of `wait`.
        if self.sleepers().load_after() != 0 {
            self.wake();
        }
    }

    /// Wakes every subscriber who sleeps.
    #[cold]
    fn wake(&self) {
        let word = |id| self.sleep_word_of(Side::Subscribers, id);
        wait::wake_all(self.sleepers(), word, os::futex_wake);
    }

    /// There are news for one of these. Wakes one who sleeps, if anybody does, in turn from this number.
    #[inline(always)]
    fn wake_one(&self, side: Side, first: u32) {
        let sleepers = self.sleepers_of(side);
        if sleepers.load_after() != 0 {
            let word = |id| self.sleep_word_of(side, id);
            wait::wake_one(sleepers, first % u64::BITS, word, os::futex_wake);
        }
    }

    /// There are news for this one. Wakes him if he sleeps.
    #[inline(always)]
    fn wake_at(&self, place: Place) {
        let (word, sleepers, number) = self.bed(place);
        if sleepers.load_after() >> (number % u64::BITS) & 1 == 1 {
            wait::wake(sleepers, number, word, os::futex_wake);
        }
    }

    /// False in a child that was forked off: there is no such memory.
    pub fn is_here(&self) -> bool {
        self.mapping.owner().is_here()
    }
}

/// Attaches to a channel that carries this: its messages lie in a slot as a `T`. Those who are attached to a
/// segment that is replaced are told.
fn attach<T: ShmMessage + ?Sized>(
    channel: &Channel,
    pattern: Pattern,
    role: Role,
    schemas: &Schemas,
) -> Result<Segment, AttachError> {
    const { assert_layout::<T>() };
    let retire = |mapping: &Arc<Mapping>| Control::of(mapping).retire();
    Segment::attach(channel, pattern, schemas, role, &retire)
}

/// There is no place left.
fn too_many(channel: &Channel, pattern: Pattern, side: Side, max: u32) -> AttachError {
    let (kind, option) = match side {
        Side::Publishers => (pattern.publishers(), "max_publishers"),
        Side::Subscribers => (pattern.subscribers(), "max_subscribers"),
    };
    AttachError::TooManyParticipants { channel: channel.name.clone(), kind, option, max }
}

/// Whether a handle of this channel can still tell who is there.
fn check(segment: &Segment, channel: &str) -> Result<(), WaitError> {
    let channel = || channel.to_owned();
    if !segment.owner().is_here() {
        Err(WaitError::Forked { channel: channel() })
    } else if !segment.is_locked() {
        events::lock_lost(segment.path());
        Err(WaitError::LockLost { channel: channel() })
    } else {
        Ok(())
    }
}

/// Whether there is a ring: its head is not where fresh memory has it. Read without touching the
/// mapping, because where there is no ring there may be no memory; and whoever makes a ring allocates all
/// of it before it writes the head.
fn is_ring(segment: &Segment, number: u32) -> bool {
    segment.read_word(segment.geometry().ring_offset(number)) != 0
}

/// So often places are looked at: one may be taken for a moment by somebody who cleans it up.
const ROUNDS: u32 = 3;

/// Takes the lowest of these places that nobody has and that `usable` likes. `None`: there is
/// none, again and again.
fn take_place<U>(
    segment: &Segment,
    places: impl Iterator<Item = Place> + Clone,
    usable: impl Fn(Place) -> Result<Option<U>, AttachError>,
) -> Result<Option<U>, AttachError> {
    for round in 0..ROUNDS {
        if round > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for place in places.clone() {
            if !place.take(segment.file()).map_err(segment.os("lock"))? {
                continue;
            }
            let result = usable(place);
            if let Ok(Some(usable)) = result {
                return Ok(Some(usable));
            }
            place.leave(segment.file());
            result?;
        }
    }
    Ok(None)
}

/// One ring in the mapped segment.
#[derive(Debug)]
struct MappedRing {
    start: NonNull<u8>,
    first_slot: NonNull<u8>,
    slot_stride: usize,
    payload_offset: usize,
    /// The most elements of a message; 0 if it has none.
    max_len: usize,
    /// Bytes of an element, and where in a slot the first one is.
    stride: usize,
    elements_offset: usize,
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
    fn of(segment: &Segment, control: &Control, number: u32) -> io::Result<MappedRing> {
        let geometry = segment.geometry();
        let start = control.mapping.ring(number, segment.descriptor())?;
        // SAFETY: The checked geometry has `slots` slots in a ring, all of which is mapped.
        let first_slot = unsafe { start.add(geometry.slots_offset() as usize) };
        Ok(MappedRing {
            start,
            first_slot,
            slot_stride: geometry.slot_stride as usize,
            payload_offset: geometry.payload.offset as usize,
            max_len: geometry.payload.max_len as usize,
            stride: geometry.payload.stride as usize,
            elements_offset: geometry.payload.offset as usize + geometry.payload.fixed as usize,
            hinted_end: (u64::from(geometry.payload.offset) + geometry.payload.size)
                .min((1 + HINTED_LINES) * LINE) as usize,
            slots: geometry.slots.into(),
            number,
            control: control.clone(),
        })
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

    /// How many elements the message of a position has: only where messages are unsized. It belongs to the
    /// payload: who has the right to that has the right to this.
    #[inline(always)]
    fn len(&self, position: u64) -> &AtomicU64 {
        // SAFETY: The checked geometry has it between the meta and the payload of an unsized message;
        // aligned, as a slot is to a line; only ever used atomically.
        unsafe { self.slot(position).add(header::LEN_OFFSET as usize).cast().as_ref() }
    }

    /// The number of elements of the message at a position, for `T`: 0 if that has none.
    ///
    /// # Errors
    ///
    /// The number if it is none that a message may have. Somebody has written garbage.
    #[inline(always)]
    fn checked_len<T: ShmMessage + ?Sized>(&self, position: u64) -> Result<usize, u64> {
        if !T::LAYOUT.is_unsized() {
            return Ok(0);
        }
        let len = self.len(position).load(Ordering::Relaxed);
        if len <= self.max_len as u64 { Ok(len as usize) } else { Err(len) }
    }

    /// Copies the first bytes of a payload that a writer may be writing at the same time.
    ///
    /// Strictly speaking that is a data race with the writer's plain stores; Rust has no atomic
    /// copy of bytes yet. Single loads that the compiler may not merge, and a look at the word
    /// after them, are as near as one can get: what is torn is thrown away unseen.
    ///
    /// # Safety
    ///
    /// `to` has room for so many bytes, and the payload has them.
    #[inline(always)]
    unsafe fn copy(&self, position: u64, to: NonNull<u8>, bytes: usize) {
        let from = self.payload(position);
        let words = bytes / size_of::<u64>();
        for i in 0..words {
            // SAFETY: Inside the payload, which begins at a multiple of 8.
            let word: &AtomicU64 = unsafe { from.cast().add(i).as_ref() };
            // SAFETY: The caller's promise; perhaps not aligned.
            unsafe { to.cast::<u64>().add(i).write_unaligned(word.load(Ordering::Relaxed)) };
        }
        for i in words * size_of::<u64>()..bytes {
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
        let mut end = self.hinted_end;
        if self.stride != 0 {
            // It may be a wrong one still: then so is the hint.
            let len = self.len(position).load(Ordering::Relaxed) as usize;
            end = end.min(self.elements_offset.saturating_add(self.stride.saturating_mul(len)));
        }
        // Not the first line, which has the word and is there.
        for offset in (LINE as usize..end).step_by(LINE as usize) {
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

/// Has the line fetched for writing ahead of time, where the processor can be told.
#[inline(always)]
fn prefetch_write(line: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: A hint: it faults nowhere and changes nothing that can be read. Where it is not known it is
    // no operation, by the architecture.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, readonly));
    }
    let _ = line;
}

/// The bytes of a message, up to its last element.
pub fn bytes_of<T: ShmMessage + ?Sized>(message: &T) -> &[u8] {
    let start = std::ptr::from_ref(message);
    // SAFETY: So many bytes are the message, which has no padding: all of them are initialised.
    unsafe { std::slice::from_raw_parts(start.cast(), T::LAYOUT.bytes(T::len_of(start))) }
}

/// What the geometry of a segment can hold.
pub const fn assert_layout<T: ShmMessage + ?Sized>() {
    let layout = T::LAYOUT;
    assert!(layout.align <= header::MAX_ALIGN, "a message may be aligned to 4096 bytes at most");
    assert!(!std::mem::needs_drop::<T>(), "a message has no destructor");
}
