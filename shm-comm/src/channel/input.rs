//! The receiving end of a channel: a place among its subscribers, and all its rings.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handover::{HEAD_START, Homeless};
use super::{Control, MappedRing, attach, check, hand_over, is_ring, take_place, too_many};
use crate::error::{AttachError, RecvError, WaitError};
use crate::events;
use crate::header::{self, Record, Schemas};
use crate::liveness::{self, Place, Side};
use crate::look;
use crate::message::{Invalid, ShmMessage};
use crate::options::{Channel, Start, SubscriberOptions};
use crate::pattern::Pattern;
use crate::process::Owner;
use crate::ring::{self, Found, PINS, Pin, Reader};
use crate::schema::Schema;
use crate::segment::{Role, Segment};
use crate::sync::{AtomicU32, Ordering};

/// A subscriber's place: pins, bed, registration. Kept by the subscriber and by its samples; the
/// last of them leaves.
#[derive(Debug)]
struct Seat {
    control: Control,
    id: u32,
    /// How many pins it may have.
    max_held: u8,
    owner: Owner,
    // Last: the segment is left after the seat is given up.
    segment: Segment,
}

impl Seat {
    /// Takes the lowest free id, and is registered.
    fn take<T: ShmMessage + ?Sized>(
        channel: &Channel,
        role: Role,
        schemas: &Schemas,
        max_held: Option<u8>,
    ) -> Result<Seat, AttachError> {
        let segment = attach::<T>(channel, Pattern::PubSub, role, schemas)?;
        let default = header::default_max_held(segment.geometry().payload.size);
        let max_held = max_held.unwrap_or(default);
        let control = Control::of(segment.mapping());
        let max = segment.geometry().max_subscribers;
        let places = (0..max).map(Place::Subscriber);
        let taken = take_place(&segment, places, |place| match place {
            Place::Subscriber(id) => Ok(Some(id)),
            _ => Ok(None),
        })?;
        let Some(id) = taken else {
            return Err(too_many(channel, Pattern::PubSub, Side::Subscribers, max));
        };
        control.clean(id);
        let record = Record::of_this_process(0, max_held.into());
        segment.write_record(segment.geometry().subscriber_record(id), &record);
        control.registered().fetch_or(1 << id, Ordering::SeqCst); // Edge C.
        let seat = Seat { control, id, max_held, owner: segment.owner(), segment };
        // Those that died holding slots are not to fill up the channel.
        let others = seat.control.registered().load(Ordering::Acquire) & !(1 << id);
        seat.control.reap(&seat.segment, others);
        Ok(seat)
    }

    fn cell(&self, cell: usize) -> &AtomicU32 {
        &self.control.pins(self.id)[cell % PINS]
    }

    /// Whether there is somebody who hears what is published.
    fn listen(&self, listens: bool) -> Result<(), AttachError> {
        let (place, file) = (Place::Listening(self.id), self.segment.file());
        if listens {
            place.take(file).map_err(self.segment.os("lock"))?;
        } else if self.segment.is_locked() {
            place.leave(file);
        }
        Ok(())
    }

    /// The rings of these that there are now.
    fn sources(
        &self,
        rings: u64,
        start: impl Fn(&MappedRing) -> Reader,
    ) -> Result<Vec<Source>, AttachError> {
        let numbers = 0..self.segment.geometry().max_publishers;
        let source = |number| {
            let ring = MappedRing::of(&self.segment, &self.control, number);
            let ring = ring.map_err(self.segment.os("map"))?;
            let reader = start(&ring);
            Ok(Source { ring, reader })
        };
        let there = |number: &u32| rings >> number & 1 == 1 && is_ring(&self.segment, *number);
        numbers.filter(there).map(source).collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // In a child nothing of this is there.
        if !self.owner.is_here() {
            return;
        }
        // Without its descriptor the place is still ours, until the segment is dropped.
        self.control.clean(self.id);
        if self.segment.is_locked() {
            let record = self.segment.geometry().subscriber_record(self.id);
            self.segment.write_record(record, &Record::default());
            Place::Subscriber(self.id).leave(self.segment.file());
        }
        events::detached(self.segment.path(), "subscriber", self.id);
    }
}

/// A message to read, wherever it is. Dropped: its slot, if it has one, is free again.
#[derive(Debug)]
pub struct Held<T: ?Sized> {
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
enum Where<T: ?Sized> {
    /// In its slot, which the pin keeps from being written.
    Pinned { message: NonNull<T>, pin: Option<Pin>, cell: usize, seat: Arc<Seat> },
    /// A copy beside this; `T` is sized and fits.
    Inline,
    /// A copy: so many elements.
    Boxed { memory: Memory, len: usize },
    /// Nowhere: somebody has written that it has so many elements, which cannot be, or for which there
    /// is no memory.
    Nowhere { len: u64 },
}

// SAFETY: A pinned message is only read, by whoever has the sample, and nobody writes it meanwhile;
// its pin may be released by any thread (Edge B of the ring). The rest is owned.
unsafe impl<T: Send + Sync + ?Sized> Send for Held<T> {}
// SAFETY: As above: `&Held<T>` gives `&T`.
unsafe impl<T: Send + Sync + ?Sized> Sync for Held<T> {}

/// Memory of our own for a copy.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// `None`: there is none.
    fn new(size: usize, align: usize) -> Option<Memory> {
        let layout = Layout::from_size_align(size, align).ok()?;
        let start = match layout.size() {
            0 => std::ptr::without_provenance_mut(layout.align()),
            // SAFETY: Not of size 0.
            _ => unsafe { alloc(layout) },
        };
        NonNull::new(start).map(|start| Memory { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.layout.size() != 0 {
            // SAFETY: Allocated by `new` with this layout, and not used again.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

impl<T: ShmMessage + ?Sized> Held<T> {
    /// Copies a message of `len` elements: `copy` is told where to, and how many bytes.
    ///
    /// How many elements a message has is what others say, so that it is no end of this process if it has
    /// no memory for them. For a `T` of fixed size it is, as for a `Box`.
    #[inline(always)]
    fn copied(len: usize, copy: impl FnOnce(NonNull<u8>, usize)) -> Held<T> {
        let layout = T::LAYOUT;
        let fits =
            !layout.is_unsized() && layout.fixed <= INLINE && layout.align <= align_of::<Inline>();
        let mut inline = MaybeUninit::uninit();
        let place = if fits {
            copy(NonNull::from(&mut inline).cast(), layout.fixed);
            Where::Inline
        } else {
            let size = layout.size(len);
            match Memory::new(size, layout.align) {
                Some(memory) => {
                    copy(memory.start, size);
                    Where::Boxed { memory, len }
                }
                None if layout.is_unsized() => Where::Nowhere { len: len as u64 },
                None => {
                    let layout = Layout::from_size_align(size, layout.align);
                    handle_alloc_error(layout.unwrap_or(Layout::new::<Inline>()))
                }
            }
        };
        Held { place, inline }
    }

    /// Nothing: somebody has written that the message has so many elements, which cannot be.
    fn nowhere(len: u64) -> Held<T> {
        Held { place: Where::Nowhere { len }, inline: MaybeUninit::uninit() }
    }

    #[inline(always)]
    fn start(&self) -> *const T {
        match &self.place {
            Where::Pinned { message, .. } => message.as_ptr(),
            Where::Inline => T::at(NonNull::from(&self.inline).cast().as_ptr(), 0),
            Where::Boxed { memory, len } => T::at(memory.start.as_ptr(), *len),
            // Never handed out by `Input`; as many bytes as there are to read: none.
            Where::Nowhere { .. } => T::at(NonNull::<Inline>::dangling().cast().as_ptr(), 0),
        }
    }

    /// The bytes of the message, up to its last element. A message has no padding: all of them are
    /// initialised.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        let start = self.start();
        let len = match &self.place {
            Where::Nowhere { .. } => 0,
            _ => T::LAYOUT.bytes(T::len_of(start)),
        };
        // SAFETY: Invariants 1 to 3 if pinned; a copy is ours. So many bytes either way.
        unsafe { std::slice::from_raw_parts(start.cast(), len) }
    }

    /// Whether it is a value.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    #[inline(always)]
    fn check(&self, max_len: usize) -> Result<(), Invalid> {
        if let (true, Where::Nowhere { len }) = (T::LAYOUT.is_unsized(), &self.place) {
            let cannot_be = *len > max_len as u64;
            return Err(match cannot_be {
                true => Invalid::too_long(*len, max_len),
                false => Invalid::too_large(*len),
            });
        }
        if T::PLAIN { Ok(()) } else { T::check(self.bytes()) }
    }

    /// The same in memory of its own.
    fn into_copy(self) -> Held<T> {
        if matches!(self.place, Where::Nowhere { .. }) {
            return self;
        }
        let from = self.start();
        Held::copied(T::len_of(from), |to, bytes| {
            // SAFETY: `to` has room for so many bytes, and is new; the message has them, with what
            // Rust rounds up.
            unsafe { std::ptr::copy_nonoverlapping(from.cast(), to.as_ptr(), bytes) }
        })
    }
}

impl<T: ShmMessage + ?Sized> Deref for Held<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: As for `bytes`; and the bytes are a `T`: checked by `Input::receive` before
        // anybody gets this, unless every bit pattern is one.
        unsafe { &*self.start() }
    }
}

impl<T: ?Sized> Drop for Held<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Where::Pinned { pin, cell, seat, .. } = &mut self.place {
            hand_over();
            if let Some(pin) = pin.take()
                && seat.owner.is_here()
            {
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
    fn pin<T: ShmMessage + ?Sized>(
        &mut self,
        seat: &Arc<Seat>,
        cell: usize,
    ) -> Option<Found<Held<T>>> {
        let found = self.reader.next(&self.ring, seat.cell(cell))?;
        Some(self.held(found, seat, cell))
    }

    fn newest<T: ShmMessage + ?Sized>(
        &mut self,
        seat: &Arc<Seat>,
        cell: usize,
    ) -> Option<Found<Held<T>>> {
        let found = self.reader.newest(&self.ring, seat.cell(cell))?;
        Some(self.held(found, seat, cell))
    }

    #[inline(always)]
    fn held<T: ShmMessage + ?Sized>(
        &self,
        found: Found<Pin>,
        seat: &Arc<Seat>,
        cell: usize,
    ) -> Found<Held<T>> {
        hand_over();
        found.map(|pin| match self.ring.checked_len::<T>(pin.position()) {
            Ok(len) => {
                let start = self.ring.payload(pin.position()).as_ptr();
                // SAFETY: `at` gives a pointer of the same address, which is not null.
                let message = unsafe { NonNull::new_unchecked(T::at(start, len)) };
                let place = Where::Pinned { message, pin: Some(pin), cell, seat: seat.clone() };
                Held { place, inline: MaybeUninit::uninit() }
            }
            Err(len) => {
                pin.release(seat.cell(cell));
                Held::nowhere(len)
            }
        })
    }

    #[inline(always)]
    fn copy<T: ShmMessage + ?Sized>(&mut self) -> Option<Found<Held<T>>> {
        for attempt in 0..ring::ATTEMPTS {
            let peek = self.reader.peek(&self.ring, attempt)?;
            let position = peek.position();
            let copy = match self.ring.checked_len::<T>(position) {
                Ok(len) => Held::copied(len, |to, bytes| {
                    // SAFETY: Invariant 2: the payload is at least as large as a `T` with so many
                    // elements, for which there is room.
                    unsafe { self.ring.copy(position, to, bytes) }
                }),
                Err(len) => Held::nowhere(len),
            };
            if let Some(found) = self.reader.confirm(&self.ring, peek) {
                return Some(found.map(|()| copy));
            }
        }
        None
    }
}

/// A message, and the ring it came from.
pub type Received<T> = (Found<Held<T>>, u32);

/// So often a subscriber starts over that is opened while the channel is replaced.
const MOVES: u32 = 8;
/// How often to look around while there is nothing to read.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// After so long without a publisher somebody should look why.
const LONELY: Duration = Duration::from_secs(5);

/// The receiving end of a channel.
#[derive(Debug)]
pub struct Input<T: ?Sized> {
    seat: Arc<Seat>,
    owner: Owner,
    sources: Vec<Source>,
    /// The rings that are among the sources.
    known: u64,
    /// The source to look at first.
    turn: usize,
    /// How many samples it may hold. Also of a channel that takes the place of the one it was opened on.
    max_held: u8,
    copies: bool,
    /// A pin on the next message of the first source, made while waiting for it, and its cell.
    expected: Option<(usize, Pin)>,
    received: u64,
    missed: u64,
    channel: Channel,
    /// Of its messages: the channel's may have more fields, at their end.
    schemas: Schemas,
    /// When it was last looked around.
    looked: Instant,
    /// Since when there is no publisher; `None` once that was said.
    alone_since: Option<Instant>,
    /// The segment was replaced at least once.
    has_moved: bool,
    homeless: Homeless,
    /// Where it listens until it has found a segment that is not retired.
    anchor: Option<Arc<Seat>>,
    /// A ring has appeared that cannot be read. That was said once, and is what to say if there is
    /// nothing else.
    trouble: Option<Box<RecvError>>,
    is_troubled: bool,
    message: PhantomData<fn() -> T>,
}

impl<T: ShmMessage + ?Sized> Input<T> {
    /// Takes the lowest free id. `copies`: messages are copied rather than pinned.
    pub fn open(
        channel: &Channel,
        options: &SubscriberOptions,
        schema: Schema,
        copies: bool,
    ) -> Result<Self, AttachError> {
        let result = Self::try_open(channel, options, schema, copies);
        if let Err(error) = &result {
            events::refused(channel, "subscriber", error);
        }
        result
    }

    fn try_open(
        channel: &Channel,
        options: &SubscriberOptions,
        schema: Schema,
        copies: bool,
    ) -> Result<Self, AttachError> {
        let max = PINS as u64;
        if let Some(value) = options.max_held.map(u64::from)
            && !(1..=max).contains(&value)
        {
            let (channel, option) = (channel.name.clone(), "max_held");
            return Err(AttachError::BadOption { channel, option, value, min: 1, max });
        }
        let schemas = Schemas::of(schema);
        let start = |ring: &MappedRing| match options.start {
            Start::Next => Reader::at_next(ring),
            Start::Oldest => Reader::at_oldest(ring),
        };
        let sit = || Self::sit(channel, Role::Subscriber, &schemas, options.max_held, start);
        let (mut seat, mut sources, mut known) = sit()?;
        for _ in 0..MOVES {
            // Who replaced the channel before we said that we listen does not wait for us.
            if !seat.control.is_retired() {
                break;
            }
            (seat, sources, known) = sit()?;
        }
        Ok(Input {
            owner: seat.owner,
            max_held: seat.max_held,
            seat,
            sources,
            known,
            turn: 0,
            copies,
            schemas,
            expected: None,
            received: 0,
            missed: 0,
            channel: channel.clone(),
            looked: Instant::now(),
            alone_since: Some(Instant::now()),
            has_moved: false,
            homeless: Homeless::default(),
            anchor: None,
            trouble: None,
            is_troubled: false,
            message: PhantomData,
        })
    }

    /// Takes a seat on the channel, and what there is to read.
    fn sit(
        channel: &Channel,
        role: Role,
        schemas: &Schemas,
        max_held: Option<u8>,
        start: impl Fn(&MappedRing) -> Reader,
    ) -> Result<(Arc<Seat>, Vec<Source>, u64), AttachError> {
        let seat = Seat::take::<T>(channel, role, schemas, max_held)?;
        let rings = seat.control.rings().load(Ordering::Acquire);
        let sources = seat.sources(rings, start)?;
        // Only now: whoever sees it and publishes is heard.
        seat.listen(true)?;
        events::attached(seat.segment.path(), "subscriber", seat.id);
        Ok((Arc::new(seat), sources, rings))
    }

    /// Adds the rings that have appeared. If that fails it is tried again at every call; the error is
    /// returned at once the first time, and then only if there is nothing to read.
    #[cold]
    fn adopt(&mut self) -> Result<(), RecvError> {
        let rings = self.seat.control.rings().load(Ordering::Acquire);
        let new = self.seat.sources(rings & !self.known, Reader::at_first).map_err(changed);
        // Afterwards: was it our file that has told which rings there are?
        let new = if self.seat.segment.is_locked() { new } else { Err(self.lock_lost()) };
        match new {
            Ok(new) => {
                self.sources.extend(new);
                // A ring never goes away, whatever becomes of its bit.
                self.known |= rings;
                self.trouble = None;
                self.is_troubled = false;
                Ok(())
            }
            Err(error) if self.is_troubled => {
                self.trouble = Some(Box::new(error));
                Ok(())
            }
            Err(error) => {
                self.is_troubled = true;
                Err(error)
            }
        }
    }

    /// Goes where the channel is now, and says whether it is there. What is published there is all
    /// new.
    #[cold]
    fn follow(&mut self) -> Result<bool, RecvError> {
        let waited = self.homeless.wait();
        let role = Role::Follower { makes: waited >= HEAD_START };
        let (channel, schemas) = (&self.channel, &self.schemas);
        let moved = Self::sit(channel, role, schemas, Some(self.max_held), Reader::at_first);
        if let Err(AttachError::Busy { .. }) = moved
            && !self.homeless.is_over(waited)
        {
            return Ok(false);
        }
        // The next call has all the patience again.
        self.homeless = Homeless::default();
        let (seat, sources, known) = moved.map_err(|error| match error {
            AttachError::Busy { path, .. } => changed(AttachError::Busy { path, waited }),
            error => changed(error),
        })?;
        self.forget_expected();
        let old = std::mem::replace(&mut self.seat, seat);
        (self.sources, self.known, self.turn) = (sources, known, 0);
        self.has_moved = true;
        if self.is_retired() {
            // Replaced in the meantime, by somebody who has seen that we listen there, or not yet here.
            self.anchor.get_or_insert(old);
        } else {
            let _ = old.listen(false);
            self.anchor.take().map(|anchor| anchor.listen(false));
        }
        (self.trouble, self.is_troubled) = (None, false);
        events::followed(self.seat.segment.path(), self.seat.id);
        Ok(true)
    }

    /// The segment is retired, and it is not known yet where to go.
    pub fn is_homeless(&self) -> bool {
        self.homeless.is_so()
    }

    fn lock_lost(&self) -> RecvError {
        events::lock_lost(self.seat.segment.path());
        RecvError::LockLost { channel: self.channel.name.clone() }
    }

    #[inline(always)]
    fn new_rings(&self) -> bool {
        self.seat.control.rings().load(Ordering::Acquire) & !self.known != 0
    }

    #[inline(always)]
    fn is_retired(&self) -> bool {
        self.seat.control.is_retired()
    }

    /// Something was published that was not read yet, or a publisher has come.
    #[inline(always)]
    pub fn anything_new(&self) -> bool {
        self.sources.iter().any(|source| source.reader.anything_new(&source.ring))
            || self.new_rings()
            || self.is_retired()
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
        RecvError::TooManySamples { channel: self.channel.name.clone(), max_held: self.max_held }
    }

    /// The next message of any publisher, each in its turn.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Received<T>>, RecvError> {
        if !self.owner.is_here() {
            return Err(self.forked());
        }
        if let Some(found) = self.take_expected() {
            return self.receive(0, found).map(Some);
        }
        if self.new_rings() {
            self.adopt()?;
        }
        self.look(|input| {
            if input.is_retired() || input.is_troubled { input.next_elsewhere() } else { Ok(None) }
        })
    }

    /// One look at every source; if there is nothing, `otherwise`. (What is found is returned from here,
    /// and not looked at again: a copy in it would be moved.)
    #[inline(always)]
    fn look(
        &mut self,
        otherwise: impl FnOnce(&mut Self) -> Result<Option<Received<T>>, RecvError>,
    ) -> Result<Option<Received<T>>, RecvError> {
        let cell = if self.copies { 0 } else { self.free_cell()? };
        for step in 0..self.sources.len() {
            let number = self.in_turn(step);
            let source = &mut self.sources[number];
            let found = if self.copies { source.copy() } else { source.pin(&self.seat, cell) };
            if let Some(found) = found {
                return self.receive(number, found).map(Some);
            }
        }
        otherwise(self)
    }

    /// There is nothing to read here, and something is the matter.
    #[cold]
    fn next_elsewhere(&mut self) -> Result<Option<Received<T>>, RecvError> {
        if !self.is_retired() {
            return self.trouble.take().map_or(Ok(None), |trouble| Err(*trouble));
        }
        // Its publishers were gone before it was retired. So what is not there now will not come;
        // but it may have come between the look at the sources and the look at the mark.
        if self.new_rings() {
            self.adopt()?;
        }
        self.look(|input| {
            let moved = input.follow()?;
            if moved { input.look(|_| Ok(None)) } else { Ok(None) }
        })
    }

    /// The newest message that is still there, see [`Subscriber::latest`](crate::Subscriber::latest).
    pub fn latest(&mut self) -> Result<Option<Received<T>>, RecvError> {
        if !self.owner.is_here() {
            return Err(self.forked());
        }
        let retired = self.is_retired();
        if self.new_rings() {
            self.adopt()?;
        }
        let unread = |source: &Source| source.reader.anything_new(&source.ring);
        if retired && !self.sources.iter().any(unread) {
            self.follow()?;
        }
        self.forget_expected();
        let cell = self.free_cell()?;
        let count = self.sources.len();
        // First those that have something new; then the one that was read last; then any.
        let in_turn = || (0..count).map(|step| self.in_turn(step));
        let fresh = in_turn().filter(|number| unread(&self.sources[*number]));
        let order: Vec<usize> = fresh.chain(in_turn().rev()).collect();
        for number in order {
            if let Some(found) = self.sources[number].newest(&self.seat, cell) {
                let found = if self.copies { found.map(Held::<T>::into_copy) } else { found };
                return self.receive(number, found).map(Some);
            }
        }
        self.trouble.take().map_or(Ok(None), |trouble| Err(*trouble))
    }

    /// For somebody who has waited and got nothing: what could be the matter?
    #[cold]
    pub fn look_around(&mut self) -> Result<(), RecvError> {
        let now = Instant::now();
        if now < self.looked + LOOK_AROUND {
            return Ok(());
        }
        if now > self.looked + 2 * LOOK_AROUND && self.alone_since.is_some() {
            // It was busy elsewhere, and has not waited all the time.
            self.alone_since = Some(now);
        }
        self.looked = now;
        if !self.seat.segment.is_locked() {
            events::lock_lost(self.seat.segment.path());
            return Err(RecvError::LockLost { channel: self.channel.name.clone() });
        }
        if self.publishers() > 0 {
            self.alone_since = Some(now);
        } else if let Some(since) = self.alone_since
            && now - since >= LONELY
        {
            events::lonely(self.seat.segment.path(), now - since);
            self.alone_since = None;
        }
        Ok(())
    }

    #[cold]
    fn forked(&self) -> RecvError {
        RecvError::Forked { channel: self.channel.name.clone() }
    }

    /// Whether it can still be told who is there.
    pub fn check(&self) -> Result<(), WaitError> {
        check(&self.seat.segment, &self.channel.name)
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
        let ring = &self.sources[source].ring;
        // If it is invalid it is dropped, and with it the pin.
        found.right.check(ring.max_len).map_err(|invalid| RecvError::Invalid {
            channel: self.channel.name.clone(),
            sequence: found.sequence,
            invalid,
        })?;
        Ok((found, ring.number))
    }

    /// How many messages were received and missed.
    pub fn counts(&self) -> (u64, u64) {
        (self.received, self.missed)
    }

    /// Its number among the subscribers.
    pub fn id(&self) -> u32 {
        self.seat.id
    }

    /// Its place.
    pub fn place(&self) -> Place {
        Place::Subscriber(self.seat.id)
    }

    /// Where it sleeps.
    pub fn control(&self) -> &Control {
        &self.seat.control
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel.name
    }

    /// Whether it sleeps elsewhere than when it was opened.
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// How many publishers are alive; none in a forked child.
    pub fn publishers(&self) -> usize {
        if !self.owner.is_here() {
            return 0;
        }
        if self.is_retired() {
            // Those that there are have another segment, where the next call goes.
            return look::publishers(&self.channel, Pattern::PubSub);
        }
        let rings = self.seat.control.rings().load(Ordering::Acquire);
        let segment = &self.seat.segment;
        liveness::publishers(segment.file(), rings, segment.geometry().max_publishers)
    }
}

impl<T: ?Sized> Drop for Input<T> {
    fn drop(&mut self) {
        // What samples keep is the seat; but they hear nothing.
        let _ = self.seat.listen(false);
        self.anchor.take().map(|anchor| anchor.listen(false));
    }
}

fn changed(error: AttachError) -> RecvError {
    RecvError::Attach(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_for_which_there_is_no_memory_are_an_error() {
        for len in [isize::MAX as usize - 15, 1 << 60] {
            let held = Held::<[u8]>::copied(len, |_, _| unreachable!());
            let text = held.check(len).unwrap_err().to_string();
            let expected = format!("{len} elements, more than this process has memory for");
            assert!(text.contains(&expected), "{text}");
            assert_eq!((held.bytes().len(), held.into_copy().bytes().len()), (0, 0));
        }
        let held = Held::<[u8]>::copied(100, |to, bytes| {
            // SAFETY: There is room for so many.
            unsafe { to.write_bytes(7, bytes) }
        });
        assert_eq!((held.check(100), &*held), (Ok(()), &[7; 100][..]));
    }
}
