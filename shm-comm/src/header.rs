//! The layout of a segment: what its header says, where everything lies, and which of it is believed.
//!
//! ```text
//! 0               Header, then the channel's name, then its schema in binary form
//! control_offset  control: rings and retired line · registered line · sleepers line · per subscriber
//!                 two lines
//! records_offset  one Record for each publisher, then one for each subscriber
//! rings_offset    ring 0 … ring P-1, each `ring_stride` bytes of whole pages, sparse until claimed
//! file_size
//!
//! ring            head line: head u64, generation u32 · at `SLOTS_OFFSET` the slots
//! slot            word u64, meta u64 · of an unsized message how many elements it has, u64 · at
//!                 `payload_offset` the payload · up to `slot_stride`
//! ```
//!
//! Header and records are parsed from bytes that were read into private memory, and nothing else
//! parses them. Whoever wrote them: every number is checked before it is used.

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::AttachError;
use crate::options::Channel;
use crate::process::{self, Identity};
use crate::ring::{self, MAX_PARTICIPANTS, PINS};
use crate::schema::{Schema, fnv1a};

const MAGIC: [u8; 8] = *b"shm-comm";
const BYTE_ORDER: u32 = 0x0102_0304;
/// Changes with every change of the layout above.
pub const FORMAT: u32 = 3;
/// No name has more bytes.
const MAX_NAME: usize = 1 << 16;
/// Where a core looks for its data; what is written by different processes lies in different ones.
pub const LINE: u64 = 64;
/// From the start of a ring to its first slot: away from the head, also for a prefetcher that
/// fetches lines in pairs.
pub const SLOTS_OFFSET: u64 = 128;
/// A slot's word and meta.
const SLOT_HEADER: u64 = 16;
/// From the start of a slot to the number of elements of its message, if that is unsized.
pub const LEN_OFFSET: u64 = SLOT_HEADER;
/// Bytes of an unsized message for which there is room if nobody says how many elements it may have.
const DEFAULT_ROOM: u64 = 16 << 10;
/// Two lines: pins, and the word on which it sleeps.
pub const SUBSCRIBER_STRIDE: u64 = 2 * LINE;
/// From the start of the control area to the lines with a bitmap each: which rings are allocated,
/// which subscribers are registered, which sleep.
pub const RINGS_OFFSET: u64 = 0;
pub const REGISTERED_OFFSET: u64 = LINE;
pub const SLEEPERS_OFFSET: u64 = 2 * LINE;
/// From the start of the control area to the word that says whether the segment is retired.
pub const RETIRED_OFFSET: u64 = 8;
/// What it says then. Anything else, a flipped bit for one, says nothing.
pub const RETIRED: u32 = u32::from_ne_bytes(*b"gone");
/// From the start of the control area to its first subscriber.
pub const SUBSCRIBERS_OFFSET: u64 = 3 * LINE;
/// The largest alignment of a message.
pub const MAX_ALIGN: usize = 4096;
const MAX_DEPTH: u32 = 1 << 16;

const _: () = assert!(size_of::<Header>() == 160);
const _: () = assert!(size_of::<Record>() == LINE as usize);
const _: () = assert!(PINS * size_of::<u32>() == LINE as usize);

/// The first bytes of a segment, as they lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    byte_order: u32,
    format: u32,
    pattern: u32,
    header_size: u32,
    /// FNV-1a of this header with 0 here, of the name and of the schema.
    checksum: u64,
    /// Of the schema's canonical text.
    layout_hash: u64,
    name_len: u32,
    schema_len: u32,
    depth: u32,
    slots: u32,
    max_publishers: u32,
    max_subscribers: u32,
    payload_size: u64,
    payload_fixed: u64,
    payload_stride: u64,
    max_len: u64,
    payload_align: u32,
    payload_offset: u32,
    slot_stride: u64,
    control_offset: u64,
    records_offset: u64,
    rings_offset: u64,
    ring_stride: u64,
    file_size: u64,
    /// Bit *i*: whoever made the segment has set option *i* of [`OPTIONS`].
    chosen: u32,
    /// Generations of publishers begin after this one.
    first_generation: u32,
}

/// The options that both sides of a channel share.
pub const OPTIONS: [&str; 4] = ["depth", "max_publishers", "max_subscribers", "max_len"];

/// Their values as a handle has set them.
pub fn options_of(channel: &Channel) -> [Option<u64>; OPTIONS.len()] {
    [
        channel.depth.map(u64::from),
        channel.max_publishers.map(u64::from),
        channel.max_subscribers.map(u64::from),
        channel.max_len.map(|len| len as u64),
    ]
}

/// What the channel does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Pattern {
    /// Every subscriber gets every message.
    PubSub = 1,
}

/// All of them.
pub const PATTERNS: [Pattern; 1] = [Pattern::PubSub];

impl Pattern {
    /// The ending of the file's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Pattern::PubSub => "pubsub",
        }
    }
}

impl fmt::Display for Pattern {
    /// As in the file's name: `pubsub`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.suffix())
    }
}

/// Who a participant is, for people: nothing is decided by it. All zeroes: nobody.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// As the process sees itself, see [`Identity`](crate::process::Identity).
    pub pid: u32,
    /// Of the ring's writer; 0 for a subscriber.
    pub generation: u32,
    /// As for `pid`.
    pub process_start: u64,
    /// How many samples a subscriber may hold; 0 for a publisher.
    pub max_held: u32,
    reserved: [u32; 11],
}

impl Record {
    /// This process.
    pub fn of_this_process(generation: u32, max_held: u32) -> Record {
        let Identity { pid, start: process_start } = process::identity();
        Record { pid, generation, process_start, max_held, reserved: [0; 11] }
    }
}

/// The numbers of a header that has been checked, or is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub depth: u32,
    pub slots: u32,
    pub max_publishers: u32,
    pub max_subscribers: u32,
    /// Bytes of the largest message: `payload_fixed`, `max_len` elements, and what Rust rounds up.
    pub payload_size: u64,
    pub payload_fixed: u64,
    /// Bytes of an element; 0 if the message is not unsized.
    pub payload_stride: u64,
    pub max_len: u64,
    pub payload_align: u32,
    pub payload_offset: u32,
    pub slot_stride: u64,
    pub control_offset: u64,
    pub records_offset: u64,
    pub rings_offset: u64,
    pub ring_stride: u64,
    pub file_size: u64,
    /// Of a segment that replaces another: the last generation that a publisher had there.
    pub first_generation: u32,
}

/// What a checked header says.
#[derive(Clone, Debug)]
pub struct Description {
    pub pattern: u32,
    pub name: String,
    pub schema: Schema,
    pub layout_hash: u64,
    pub geometry: Geometry,
    /// Which of [`OPTIONS`] were set by whoever made it.
    pub chosen: u32,
}

/// Why bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not ours, or damaged.
    NotAChannel(String),
    /// Ours, of another release.
    Format(u32),
}

/// How many samples a subscriber may hold if it does not say.
pub fn default_max_held(payload_size: u64) -> u8 {
    if payload_size > 64 << 10 { 1 } else { 4 }
}

/// For how many subscribers that hold all they may there are slots beyond the depth.
const HOLDING_SUBSCRIBERS: u64 = 8;

impl Geometry {
    /// Of a channel that is about to be made.
    ///
    /// # Errors
    ///
    /// [`AttachError::BadOption`] and [`AttachError::TooLarge`].
    pub fn plan(
        channel: &Channel,
        schema: &Schema,
        description_len: u64,
        page: u64,
    ) -> Result<Geometry, AttachError> {
        let bounded = |option, value: Option<u64>, default: u64, max: u64| match value {
            Some(value) if value == 0 || value > max => Err(AttachError::BadOption {
                channel: channel.name.clone(),
                option,
                value,
                min: 1,
                max,
            }),
            value => Ok(value.unwrap_or(default)),
        };
        let most = u64::from(MAX_PARTICIPANTS);
        let max_publishers =
            bounded("max_publishers", channel.max_publishers.map(u64::from), 8, most)?;
        let max_subscribers =
            bounded("max_subscribers", channel.max_subscribers.map(u64::from), most, most)?;
        let (fixed, align) = (schema.size as u64, schema.align as u64);
        let stride = schema.stride().unwrap_or(0) as u64;
        let max_len = match stride {
            0 if channel.max_len.is_some() => {
                let (channel, type_name) = (channel.name.clone(), schema.name());
                return Err(AttachError::FixedSize { channel, type_name });
            }
            0 => 0,
            stride => {
                let default = (DEFAULT_ROOM.saturating_sub(fixed) / stride).max(1);
                let asked = channel.max_len.map(|len| len as u64);
                bounded("max_len", asked, default, i64::MAX as u64 / stride)?
            }
        };
        let too_large = || AttachError::TooLarge { channel: channel.name.clone() };
        let size = payload_size(fixed, stride, max_len, align).ok_or_else(too_large)?;
        let default_depth = ((1 << 20) / size.max(1)).clamp(8, 64);
        let depth =
            bounded("depth", channel.depth.map(u64::from), default_depth, MAX_DEPTH.into())?;

        let holding = HOLDING_SUBSCRIBERS.min(max_subscribers);
        let mut slots = (depth + holding * u64::from(default_max_held(size))).next_power_of_two();
        // What the writer has claimed ahead is no history; and in a ring of two slots a reader with
        // one pin is sometimes in both.
        while slots < 4 || slots - ring::batch_of(slots) < depth {
            slots *= 2;
        }
        let payload_offset = slot_header(stride).next_multiple_of(align);
        let control_offset = (size_of::<Header>() as u64 + description_len).next_multiple_of(LINE);
        let records_offset =
            control_offset + SUBSCRIBERS_OFFSET + max_subscribers * SUBSCRIBER_STRIDE;
        let records_end = records_offset + (max_publishers + max_subscribers) * LINE;
        let rings_offset = records_end.next_multiple_of(page);
        let sizes = || {
            let end = payload_offset.checked_add(size)?;
            let slot_stride = end.checked_next_multiple_of(LINE.max(align))?;
            let slots_size = slot_stride.checked_mul(slots)?;
            let first = SLOTS_OFFSET.next_multiple_of(align);
            let ring_stride = slots_size.checked_add(first)?.checked_next_multiple_of(page)?;
            let file_size = ring_stride.checked_mul(max_publishers)?.checked_add(rings_offset)?;
            i64::try_from(file_size).ok()?;
            Some((slot_stride, ring_stride, file_size))
        };
        let (slot_stride, ring_stride, file_size) = sizes().ok_or_else(too_large)?;
        Ok(Geometry {
            depth: depth as u32,
            slots: slots as u32,
            max_publishers: max_publishers as u32,
            max_subscribers: max_subscribers as u32,
            payload_size: size,
            payload_fixed: fixed,
            payload_stride: stride,
            max_len,
            payload_align: align as u32,
            payload_offset: payload_offset as u32,
            slot_stride,
            control_offset,
            records_offset,
            rings_offset,
            ring_stride,
            file_size,
            first_generation: 0,
        })
    }

    /// From the start of a ring to its first slot.
    pub fn slots_offset(&self) -> u64 {
        SLOTS_OFFSET.next_multiple_of(u64::from(self.payload_align))
    }

    /// From the start of the file to a ring.
    pub fn ring_offset(&self, ring: u32) -> u64 {
        self.rings_offset + u64::from(ring) * self.ring_stride
    }

    /// From the start of the file to a publisher's record.
    pub fn publisher_record(&self, ring: u32) -> u64 {
        self.records_offset + u64::from(ring) * LINE
    }

    /// From the start of the file to a subscriber's record.
    pub fn subscriber_record(&self, id: u32) -> u64 {
        self.records_offset + u64::from(self.max_publishers + id) * LINE
    }

    /// The values of [`OPTIONS`].
    pub fn options(&self) -> [u64; OPTIONS.len()] {
        let (publishers, subscribers) = (self.max_publishers, self.max_subscribers);
        [self.depth.into(), publishers.into(), subscribers.into(), self.max_len]
    }

    /// Whether messages with this schema lie in it.
    fn is_of(&self, schema: &Schema) -> bool {
        let (fixed, align) = (schema.size as u64, schema.align as u64);
        let stride = schema.stride().unwrap_or(0) as u64;
        (self.payload_fixed, u64::from(self.payload_align), self.payload_stride)
            == (fixed, align, stride)
    }

    /// Every relation that the rest of the crate relies on. Names the first number that is wrong.
    fn check(&self, description_end: u64, page: u64) -> Result<(), String> {
        let g = self;
        let align = u64::from(g.payload_align);
        let participants = 1..=MAX_PARTICIPANTS;
        let wrong = |what: &str, value: u64| Err(format!("its {what} is {value}"));
        if g.slots < 2 || !g.slots.is_power_of_two() || g.slots > ring::MAX_SLOTS {
            return wrong("number of slots", g.slots.into());
        }
        if g.depth == 0 || g.depth > g.slots {
            return wrong("depth", g.depth.into());
        }
        if !participants.contains(&g.max_publishers) {
            return wrong("number of publishers", g.max_publishers.into());
        }
        if !participants.contains(&g.max_subscribers) {
            return wrong("number of subscribers", g.max_subscribers.into());
        }
        if !align.is_power_of_two() || align > MAX_ALIGN as u64 {
            return wrong("payload alignment", align);
        }
        let size = payload_size(g.payload_fixed, g.payload_stride, g.max_len, align);
        if size != Some(g.payload_size) {
            return wrong("payload size", g.payload_size);
        }
        let payload_offset = u64::from(g.payload_offset);
        if payload_offset < slot_header(g.payload_stride)
            || !payload_offset.is_multiple_of(align.max(8))
        {
            return wrong("payload offset", payload_offset);
        }
        let payload_end = payload_offset.checked_add(g.payload_size);
        if payload_end.is_none_or(|end| end > g.slot_stride)
            || !g.slot_stride.is_multiple_of(LINE.max(align))
        {
            return wrong("slot stride", g.slot_stride);
        }
        if g.control_offset < description_end || !g.control_offset.is_multiple_of(LINE) {
            return wrong("control offset", g.control_offset);
        }
        let control_size = SUBSCRIBERS_OFFSET + u64::from(g.max_subscribers) * SUBSCRIBER_STRIDE;
        let control_end = g.control_offset.checked_add(control_size);
        if control_end.is_none_or(|end| end > g.records_offset)
            || !g.records_offset.is_multiple_of(LINE)
        {
            return wrong("records offset", g.records_offset);
        }
        let records_size = u64::from(g.max_publishers + g.max_subscribers) * LINE;
        let records_end = g.records_offset.checked_add(records_size);
        if records_end.is_none_or(|end| end > g.rings_offset)
            || !g.rings_offset.is_multiple_of(page)
        {
            return wrong("rings offset", g.rings_offset);
        }
        let slots_end = g.slot_stride.checked_mul(g.slots.into());
        let ring_end = slots_end.and_then(|end| end.checked_add(g.slots_offset()));
        if ring_end.is_none_or(|end| end > g.ring_stride) || !g.ring_stride.is_multiple_of(page) {
            return wrong("ring stride", g.ring_stride);
        }
        let rings_size = g.ring_stride.checked_mul(g.max_publishers.into());
        let file_size = rings_size.and_then(|size| size.checked_add(g.rings_offset));
        if file_size != Some(g.file_size) || i64::try_from(g.file_size).is_err() {
            return wrong("file size by its own account", g.file_size);
        }
        Ok(())
    }
}

/// Bytes of a slot before its payload.
fn slot_header(payload_stride: u64) -> u64 {
    if payload_stride == 0 { SLOT_HEADER } else { LEN_OFFSET + size_of::<u64>() as u64 }
}

/// Bytes of a message with so many elements, as Rust counts them: a multiple of the alignment.
/// `None`: more than there can be, or more elements than it should have.
fn payload_size(fixed: u64, stride: u64, len: u64, align: u64) -> Option<u64> {
    if (stride == 0) != (len == 0) {
        return None;
    }
    let size = stride.checked_mul(len)?.checked_add(fixed)?.checked_next_multiple_of(align)?;
    i64::try_from(size).ok().map(|_| size)
}

/// The bytes at the start of a new segment, of a type with this schema, whose binary form is `record`.
pub fn write(
    pattern: Pattern,
    channel: &Channel,
    schema: &Schema,
    record: &[u8],
    geometry: &Geometry,
) -> Vec<u8> {
    let name = &channel.name;
    let set = options_of(channel).into_iter().enumerate().filter(|(_, value)| value.is_some());
    let mut header = Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER,
        format: FORMAT,
        pattern: pattern as u32,
        header_size: size_of::<Header>() as u32,
        checksum: 0,
        layout_hash: schema.hash(),
        name_len: name.len() as u32,
        schema_len: record.len() as u32,
        depth: geometry.depth,
        slots: geometry.slots,
        max_publishers: geometry.max_publishers,
        max_subscribers: geometry.max_subscribers,
        payload_size: geometry.payload_size,
        payload_fixed: geometry.payload_fixed,
        payload_stride: geometry.payload_stride,
        max_len: geometry.max_len,
        payload_align: geometry.payload_align,
        payload_offset: geometry.payload_offset,
        slot_stride: geometry.slot_stride,
        control_offset: geometry.control_offset,
        records_offset: geometry.records_offset,
        rings_offset: geometry.rings_offset,
        ring_stride: geometry.ring_stride,
        file_size: geometry.file_size,
        chosen: set.fold(0, |bits, (option, _)| bits | 1 << option),
        first_generation: geometry.first_generation,
    };
    let rest = [name.as_bytes(), record].concat();
    header.checksum = checksum(&header, &rest);
    [header.as_bytes(), &rest].concat()
}

fn checksum(header: &Header, rest: &[u8]) -> u64 {
    let header = Header { checksum: 0, ..*header };
    fnv1a(&[header.as_bytes(), rest].concat())
}

/// Reads and checks the start of a segment of `file_size` bytes. `read` fills a buffer from an
/// offset of the file, and says whether there were that many bytes.
pub fn read(
    file_size: u64,
    page: u64,
    mut read: impl FnMut(&mut [u8], u64) -> bool,
) -> Result<Description, Refusal> {
    let refuse = |reason: &str| Err(Refusal::NotAChannel(reason.to_owned()));
    let mut bytes = [0; size_of::<Header>()];
    if !read(&mut bytes, 0) {
        return Err(Refusal::NotAChannel(format!("{file_size} bytes are no header")));
    }
    let Ok(header) = Header::read_from_bytes(&bytes) else {
        return refuse("its header has another size");
    };
    if header.magic != MAGIC {
        let found = header.magic.escape_ascii();
        return Err(Refusal::NotAChannel(format!("it begins with \"{found}\", not \"shm-comm\"")));
    }
    if header.byte_order != BYTE_ORDER {
        let found = header.byte_order;
        let reason = format!("it was made on a machine with another byte order ({found:#010x})");
        return Err(Refusal::NotAChannel(reason));
    }
    if header.format != FORMAT {
        return Err(Refusal::Format(header.format));
    }
    if header.header_size != size_of::<Header>() as u32 {
        return Err(Refusal::NotAChannel(format!("its header size is {}", header.header_size)));
    }
    let (name_len, schema_len) = (header.name_len as usize, header.schema_len as usize);
    if name_len > MAX_NAME || schema_len > Schema::MAX_LEN {
        return refuse("its name or its schema is too long");
    }
    let mut rest = vec![0; name_len + schema_len];
    if !read(&mut rest, size_of::<Header>() as u64) {
        return Err(Refusal::NotAChannel(format!("it is cut off after {file_size} bytes")));
    }
    if header.checksum != checksum(&header, &rest) {
        return refuse("its checksum is wrong");
    }
    let record = rest.split_off(name_len);
    let Ok(name) = String::from_utf8(rest) else { return refuse("its name is not UTF-8") };
    let schema = Schema::from_bytes(&record)
        .map_err(|error| Refusal::NotAChannel(format!("its schema is none: {error}")))?;
    if header.layout_hash != schema.hash() {
        return refuse("its layout hash is not that of its schema");
    }
    let geometry = Geometry {
        depth: header.depth,
        slots: header.slots,
        max_publishers: header.max_publishers,
        max_subscribers: header.max_subscribers,
        payload_size: header.payload_size,
        payload_fixed: header.payload_fixed,
        payload_stride: header.payload_stride,
        max_len: header.max_len,
        payload_align: header.payload_align,
        payload_offset: header.payload_offset,
        slot_stride: header.slot_stride,
        control_offset: header.control_offset,
        records_offset: header.records_offset,
        rings_offset: header.rings_offset,
        ring_stride: header.ring_stride,
        file_size: header.file_size,
        first_generation: header.first_generation,
    };
    let description_end = (size_of::<Header>() + name_len + schema_len) as u64;
    geometry.check(description_end, page).map_err(Refusal::NotAChannel)?;
    if !geometry.is_of(&schema) {
        return refuse("its slots are not for messages of its schema");
    }
    if geometry.file_size != file_size {
        let reason = format!("it has {file_size} bytes and should have {}", geometry.file_size);
        return Err(Refusal::NotAChannel(reason));
    }
    Ok(Description {
        pattern: header.pattern,
        name,
        schema,
        layout_hash: header.layout_hash,
        geometry,
        chosen: header.chosen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShmMessage;

    const PAGE: u64 = 4096;

    fn plan(channel: Channel, schema: &Schema) -> Geometry {
        Geometry::plan(&channel, schema, 100, PAGE).unwrap()
    }

    fn written(channel: &Channel, schema: &Schema, geometry: &Geometry) -> Vec<u8> {
        write(Pattern::PubSub, channel, schema, &schema.to_bytes().unwrap(), geometry)
    }

    fn parse(bytes: &[u8], file_size: u64) -> Result<Description, Refusal> {
        read(file_size, PAGE, |to, offset| {
            let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..to.len()));
            from.map(|from| to.copy_from_slice(from)).is_some()
        })
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let geometry = plan(Channel::new("x"), &<[f64; 7]>::schema());
        let bytes = written(&Channel::new("robot/é"), &<[f64; 7]>::schema(), &geometry);
        let read = parse(&bytes, geometry.file_size).unwrap();
        assert_eq!((read.name.as_str(), read.schema), ("robot/é", <[f64; 7]>::schema()));
        assert_eq!((read.geometry, read.chosen), (geometry, 0));
    }

    #[test]
    fn a_header_says_which_options_were_chosen() {
        let channel = Channel::new("x").depth(64).max_subscribers(3);
        let geometry = plan(channel.clone(), &u64::schema());
        let bytes = written(&channel, &u64::schema(), &geometry);
        assert_eq!(parse(&bytes, geometry.file_size).unwrap().chosen, 0b101);
    }

    #[test]
    fn every_flipped_bit_and_every_length_is_refused() {
        let geometry = plan(Channel::new("x"), &u64::schema());
        let bytes = written(&Channel::new("x"), &u64::schema(), &geometry);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped, geometry.file_size).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len], geometry.file_size).is_err(), "{len} bytes");
        }
        assert!(parse(&bytes, geometry.file_size - 1).is_err());
    }

    /// With a right checksum: it is no defence against somebody who means it.
    #[test]
    fn numbers_that_contradict_each_other_are_refused() {
        let good = plan(Channel::new("x"), &u64::schema());
        let bad = [
            Geometry { slots: 0, ..good },
            Geometry { slots: 3, ..good },
            Geometry { slots: 1 << 31, ..good },
            Geometry { depth: 0, ..good },
            Geometry { depth: u32::MAX, ..good },
            Geometry { max_publishers: 0, ..good },
            Geometry { max_publishers: 65, ..good },
            Geometry { max_subscribers: u32::MAX, ..good },
            Geometry { payload_size: u64::MAX, ..good },
            Geometry { payload_size: 16, ..good },
            Geometry { payload_size: 16, payload_fixed: 16, ..good },
            Geometry { payload_size: 16, payload_stride: 8, max_len: 1, ..good },
            Geometry { payload_stride: 8, ..good },
            Geometry { max_len: 1, ..good },
            Geometry { payload_align: 0, ..good },
            Geometry { payload_align: 3, ..good },
            Geometry { payload_offset: 0, ..good },
            Geometry { payload_offset: 17, ..good },
            Geometry { payload_offset: u32::MAX - 7, ..good },
            Geometry { slot_stride: 0, ..good },
            Geometry { slot_stride: u64::MAX - 63, ..good },
            Geometry { control_offset: 0, ..good },
            Geometry { control_offset: u64::MAX - 63, ..good },
            Geometry { records_offset: 64, ..good },
            Geometry { rings_offset: 4096, ..good },
            Geometry { ring_stride: 0, ..good },
            Geometry { ring_stride: u64::MAX - 4095, ..good },
            Geometry { file_size: good.file_size + 4096, ..good },
        ];
        for geometry in bad {
            let bytes = written(&Channel::new("x"), &u64::schema(), &geometry);
            let result = parse(&bytes, geometry.file_size);
            assert!(matches!(result, Err(Refusal::NotAChannel(_))), "{geometry:?}");
        }
    }

    #[test]
    fn depth_and_what_subscribers_may_hold_have_slots() {
        let slots = |size: usize| {
            let schema = Schema { size, ..u64::schema() };
            let geometry = plan(Channel::new("x"), &schema);
            (geometry.depth, geometry.slots)
        };
        assert_eq!(slots(64), (64, 128));
        assert_eq!(slots(64 << 10), (16, 64));
        assert_eq!(slots(6 << 20), (8, 16));
        for depth in 1..=MAX_DEPTH {
            let channel = Channel::new("x").depth(depth).max_subscribers(1);
            let slots = u64::from(plan(channel, &u64::schema()).slots);
            assert!(slots - ring::batch_of(slots) >= depth.into(), "depth {depth}");
            assert!(slots <= ring::MAX_SLOTS.into());
        }
    }

    #[test]
    fn numbers_of_unsized_messages_that_contradict_each_other_are_refused() {
        let good = plan(Channel::new("x").max_len(10), &<[u32]>::schema());
        assert_eq!((good.payload_size, good.payload_offset, good.max_len), (40, 24, 10));
        let bad = [
            Geometry { payload_stride: 0, ..good },
            Geometry { payload_stride: u64::MAX, ..good },
            Geometry { max_len: 0, ..good },
            Geometry { max_len: 11, ..good },
            Geometry { max_len: u64::MAX / 4 + 11, ..good },
            Geometry { payload_fixed: 4, payload_size: 44, ..good },
            Geometry { payload_stride: 8, payload_size: 80, ..good },
            Geometry { payload_offset: 16, ..good },
        ];
        for geometry in bad {
            let schema = <[u32]>::schema();
            let bytes = written(&Channel::new("x"), &schema, &geometry);
            let result = parse(&bytes, geometry.file_size);
            assert!(matches!(result, Err(Refusal::NotAChannel(_))), "{geometry:?}");
        }
    }

    #[test]
    fn an_unsized_message_has_room_for_its_elements() {
        let plan = |max_len: Option<usize>, schema: &Schema| {
            let channel = Channel { max_len, ..Channel::new("x") };
            Geometry::plan(&channel, schema, 100, PAGE)
        };
        let size = |max_len, schema: &Schema| plan(max_len, schema).unwrap().payload_size;
        assert_eq!(size(None, &<[u8]>::schema()), 16 << 10);
        assert_eq!(size(Some(1), &<[[u64; 3]]>::schema()), 24);
        assert_eq!(size(None, &<[[u64; 10_000]]>::schema()), 80_000);
        let error = plan(Some(0), &<[u8]>::schema()).unwrap_err();
        assert!(matches!(error, AttachError::BadOption { option: "max_len", .. }), "{error}");
        let error = plan(Some(usize::MAX / 16), &<[u64]>::schema()).unwrap_err();
        assert!(matches!(error, AttachError::TooLarge { .. }), "{error}");
        let error = plan(Some(5), &u64::schema()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "channel \"x\": max_len is set, but every `u64` has the same size"
        );
    }

    #[test]
    fn options_have_limits() {
        let error = |channel| Geometry::plan(&channel, &u64::schema(), 0, PAGE).unwrap_err();
        assert_eq!(
            error(Channel::new("x").depth(0)).to_string(),
            "channel \"x\": depth is 0, it can be 1 to 65536"
        );
        assert!(matches!(
            error(Channel::new("x").max_subscribers(65)),
            AttachError::BadOption { value: 65, max: 64, .. }
        ));
        let huge = Schema { size: usize::MAX / 2, ..u64::schema() };
        let error = Geometry::plan(&Channel::new("x"), &huge, 0, PAGE).unwrap_err();
        assert!(matches!(error, AttachError::TooLarge { .. }));
    }
}
