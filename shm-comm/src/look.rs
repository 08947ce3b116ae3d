//! A segment as somebody sees it who only looks: opened for reading, not mapped, not locked.
//!
//! Every number is read by a system call, so that a look disturbs nobody, works on a file that it may
//! not write to, and survives one that becomes shorter, where mapped memory would be a SIGBUS. What is
//! read of a damaged segment is what its checked header has room for: at worst wrong numbers.
//!
//! # What a read is worth
//!
//! The ring protocol needs loads of 8 bytes, one after the other. A `pread` is that: the kernel copies
//! aligned 8 bytes by one load, and the fence after the call keeps later ones behind it. On processors
//! that copy short strings in microcode the first is no promise. But a word only grows. A torn one that
//! looks like the word of a message was put together from bytes that changed at least sixteen laps apart;
//! then the copy of that message is wrong, which is a wrong picture on a screen, and not more: the bytes
//! are checked before they are shown.
//!
//! Of a queue or a service the words of its slots are read, and what is noted beside them; nothing is taken.
//! There a torn word is a wrong number for a moment, and whoever looks for damage looks again.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;

use crate::channel::{Tally, place_of};
use crate::door::Door;
use crate::error::AttachError;
use crate::header::{self, Description, Geometry};
use crate::liveness::{self, Place, Side};
use crate::options::Channel;
use crate::os::FileId;
use crate::pattern::Pattern;
use crate::process::Descriptor;
use crate::queue::{OwnerId, State, Word};
use crate::ring::{PINS, ReadMemory, pin_slot};
use crate::segment;
use crate::sync::{Ordering, fence};

/// A segment, open to be looked at.
#[derive(Debug)]
pub struct Look {
    pub door: Door,
    pub metadata: Metadata,
    pub description: Description,
    file: Descriptor,
}

impl Look {
    /// `None`: there is no such channel.
    pub fn at(channel: &Channel, pattern: Pattern) -> Result<Option<Look>, AttachError> {
        let Some(door) = Door::find(channel, pattern)? else { return Ok(None) };
        let Some((file, metadata)) = door.look()? else { return Ok(None) };
        let description = door.describe(file.file())?;
        segment::holds(&description, &channel.name, pattern)?;
        Ok(Some(Look { door, file, metadata, description }))
    }

    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// Which file it is: no other one is while this is open.
    pub fn id(&self) -> FileId {
        self.file.id()
    }

    /// False in a child that was forked off: there it is closed.
    pub fn is_here(&self) -> bool {
        self.file.owner().is_here()
    }

    /// Whether what was read until now was of this file: somebody may have closed it behind our back.
    pub fn is_intact(&self) -> bool {
        self.file.is_intact()
    }

    pub fn geometry(&self) -> &Geometry {
        &self.description.geometry
    }

    /// Whether this is still the channel's segment: not retired, not removed, not replaced.
    ///
    /// # Errors
    ///
    /// It is, and somebody has made it shorter.
    pub fn is_current(&self) -> Result<bool, AttachError> {
        let inspect = || self.door.os("inspect");
        if segment::is_retired(self.file(), self.geometry())
            || !self.door.is_named(self.file()).map_err(inspect())?
        {
            return Ok(false);
        }
        let (size, needed) =
            (self.file().metadata().map_err(inspect())?.len(), self.geometry().file_size);
        if size < needed {
            return Err(self.door.refused(format!("it has {size} bytes in place of {needed}")));
        }
        Ok(true)
    }

    /// The control area as it is now, as large as the checked geometry makes it: a little more
    /// than 8 KiB at most.
    pub fn control(&self) -> io::Result<Control> {
        let mut bytes = vec![0; self.geometry().control_size() as usize];
        self.file().read_exact_at(&mut bytes, self.geometry().control_offset)?;
        Ok(Control { bytes })
    }

    /// A bitmap, or another number, of the control area as it is now.
    pub fn bitmap(&self, offset: u64) -> u64 {
        segment::read_word(self.file(), self.geometry().control_offset + offset)
    }

    /// The rings of this bitmap that there can be.
    pub fn rings_in(&self, bitmap: u64) -> impl Iterator<Item = u32> + use<> {
        (0..self.geometry().max_publishers).filter(move |number| bitmap >> number & 1 == 1)
    }

    /// All slots of a queue or a service, one after the other.
    pub fn slots(&self) -> io::Result<Vec<FoundSlot>> {
        (0..self.geometry().slots).map(|slot| self.slot(slot)).collect()
    }

    /// A slot of a queue or a service as it is now.
    pub fn slot(&self, slot: u32) -> io::Result<FoundSlot> {
        let mut bytes = [[0; 8]; 2];
        self.file().read_exact_at(bytes.as_flattened_mut(), self.geometry().slot_offset(slot))?;
        fence(Ordering::Acquire);
        let [word, note] = bytes.map(u64::from_ne_bytes);
        Ok(FoundSlot { word, note })
    }

    /// A number in a slot of a queue or a service, so far from its beginning.
    pub fn in_slot(&self, slot: u32, offset: u64) -> u64 {
        let word = segment::read_word(self.file(), self.geometry().slot_offset(slot) + offset);
        fence(Ordering::Acquire);
        word
    }

    /// One of its rings, whose bit is set.
    pub fn ring(&self, number: u32) -> FileRing<'_> {
        FileRing { file: self.file(), geometry: self.geometry(), number }
    }
}

/// How many publishers are alive on the segment that has the channel's name now; none if there is
/// no such segment, or nobody can tell.
pub fn publishers(channel: &Channel, pattern: Pattern) -> usize {
    let Ok(Some(look)) = Look::at(channel, pattern) else { return 0 };
    let there = look.bitmap(match pattern {
        Pattern::PubSub => header::RINGS_OFFSET,
        _ => header::PUBLISHERS_REGISTERED_OFFSET,
    });
    liveness::publishers(look.file(), there, look.geometry().max_publishers)
}

/// One ring, in a file.
#[derive(Clone, Copy, Debug)]
pub struct FileRing<'a> {
    file: &'a File,
    geometry: &'a Geometry,
    number: u32,
}

impl FileRing<'_> {
    fn slot(&self, position: u64) -> u64 {
        let slot = position & (u64::from(self.geometry.slots) - 1);
        // Inside the file, by the checked geometry.
        let first = self.geometry.ring_offset(self.number) + self.geometry.slots_offset();
        first + slot * self.geometry.slot_stride
    }

    fn load(&self, offset: u64) -> u64 {
        let word = segment::read_word(self.file, offset);
        fence(Ordering::Acquire);
        word
    }

    /// How many elements the message of a position has: only where messages are unsized.
    pub fn len(&self, position: u64) -> u64 {
        self.load(self.slot(position) + header::LEN_OFFSET)
    }

    /// Copies the first bytes of a payload that a writer may be writing at the same time. Whether it did
    /// is for [`Reader::confirm`](crate::ring::Reader::confirm) to say.
    pub fn copy(&self, position: u64, to: &mut [u8]) -> io::Result<()> {
        let payload = self.slot(position) + u64::from(self.geometry.payload.offset);
        self.file.read_exact_at(to, payload)
    }
}

impl ReadMemory for FileRing<'_> {
    fn slots(&self) -> u64 {
        self.geometry.slots.into()
    }

    fn load_word(&self, position: u64) -> u64 {
        self.load(self.slot(position))
    }

    fn load_meta(&self, position: u64) -> u64 {
        self.load(self.slot(position) + size_of::<u64>() as u64)
    }

    fn load_head(&self) -> u64 {
        self.load(self.geometry.ring_offset(self.number))
    }
}

/// What was read of a slot of a queue or a service.
#[derive(Clone, Copy, Debug)]
pub struct FoundSlot {
    /// See [`Word`].
    pub word: u64,
    /// When its job was pushed, or whose call it holds.
    pub note: u64,
}

impl FoundSlot {
    pub fn word(self) -> Word {
        Word::of(self.word)
    }

    pub fn state(self) -> State {
        self.word().state()
    }

    /// Of a call that a server has: whose it is, as [`Note`](crate::queue::calls::Note) has it. Anything, if
    /// the slot was read while somebody else filled it.
    pub fn client(self) -> OwnerId {
        let number = (self.note >> 48 & 0xfff) as u32;
        number.checked_sub(1).map_or(OwnerId::NOBODY, OwnerId::new)
    }

    /// Who holds it: whoever writes it, has taken it, or waits for it; of a call that is served both.
    pub fn holders(self, geometry: &Geometry) -> impl Iterator<Item = Place> {
        let is_served = geometry.pattern == Pattern::Service && self.state() == State::Taken;
        let client = if is_served { self.client() } else { OwnerId::NOBODY };
        // Whose call has ended, or has not begun, has nothing in flight.
        let is_in_flight = match geometry.pattern {
            Pattern::Service => {
                matches!(self.state(), State::Ready | State::Taken | State::Abandoned)
            }
            _ => true,
        };
        let owner = if is_in_flight { self.word().owner() } else { OwnerId::NOBODY };
        let owners = [owner, client].into_iter();
        owners.filter_map(move |owner| place_of(owner, geometry))
    }
}

/// What was read of a control area.
pub struct Control {
    bytes: Vec<u8>,
}

impl Control {
    pub fn bitmap(&self, offset: u64) -> u64 {
        self.at(offset).map_or(0, u64::from_ne_bytes)
    }

    /// What a participant of a queue or a service has counted.
    pub fn tally(&self, geometry: &Geometry, place: Place, tally: Tally) -> u64 {
        let offset = geometry.bed_offset(place) + header::COUNTS_OFFSET + 8 * tally as u64;
        self.bitmap(offset)
    }

    /// What all of a side have counted, and those who had their places before.
    pub fn tally_of(&self, geometry: &Geometry, side: Side, tally: Tally) -> u64 {
        let places = (0..places(geometry, side)).map(|number| side.place(number));
        places.map(|place| self.tally(geometry, place, tally)).fold(0, u64::wrapping_add)
    }

    pub fn is_retired(&self) -> bool {
        self.at(header::RETIRED_OFFSET).map(u32::from_ne_bytes) == Some(header::RETIRED)
    }

    /// The cells of a subscriber that are not empty.
    pub fn pins(&self, subscriber: u32) -> impl Iterator<Item = u32> {
        let first = header::SUBSCRIBERS_OFFSET + u64::from(subscriber) * header::SUBSCRIBER_STRIDE;
        let cell = move |cell| first + (cell * size_of::<u32>()) as u64;
        let pin = move |offset| self.at(offset).map_or(0, u32::from_ne_bytes);
        (0..PINS).map(cell).map(pin).filter(|pin| *pin != 0)
    }

    fn at<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        self.bytes.get(offset as usize..)?.first_chunk().copied()
    }
}

/// How many places a side has.
pub fn places(geometry: &Geometry, side: Side) -> u32 {
    match side {
        Side::Publishers => geometry.max_publishers,
        Side::Subscribers => geometry.max_subscribers,
    }
}

/// Where the bitmap lies of those of a side who are there, and that of those who sleep.
pub fn bitmaps_of(side: Side) -> (u64, u64) {
    match side {
        Side::Publishers => {
            (header::PUBLISHERS_REGISTERED_OFFSET, header::PUBLISHERS_SLEEPERS_OFFSET)
        }
        Side::Subscribers => (header::REGISTERED_OFFSET, header::SLEEPERS_OFFSET),
    }
}

/// Whether a cell that is not empty is a pin that there can be.
pub fn is_pin(pin: u32, geometry: &Geometry) -> bool {
    let (rings, slots) = (geometry.max_publishers, geometry.slots);
    pin_slot(pin).is_some_and(|(ring, slot)| ring < rings && slot < slots)
}
