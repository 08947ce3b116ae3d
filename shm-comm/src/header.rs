//! The layout of a segment: what its header says, where everything lies, and which of it is believed.
//!
//! ```text
//! 0               Header, then the channel's name, then its schema in binary form; of a service then
//!                 that of its replies
//! control_offset  control, see below
//! records_offset  one Record for each publisher, then one for each subscriber
//! rings_offset    ring 0 … ring P-1, each `ring_stride` bytes of whole pages, sparse until claimed; of a
//!                 queue or a service one ring, that is there from the beginning
//! file_size
//!
//! control         rings and retired line · registered line · sleepers line
//!   publish/sub.  · per subscriber two lines: pins · the word on which it sleeps
//!   else          · head line · tail line · per publisher, then per subscriber, a line: the word on which
//!                 it sleeps, and what it counts
//!
//! ring            head line: head u64, generation u32 · at `SLOTS_OFFSET` the slots; else only slots
//! slot            word u64, meta u64 · of an unsized message how many elements it has, u64 · of an
//!                 unsized reply the same · at the payload's offset the payload · at the reply's offset
//!                 the reply · up to `slot_stride`
//! ```
//!
//! A queue's pushers and a service's servers have the places of publishers, its pullers and clients those of
//! subscribers.
//!
//! Header and records are parsed from bytes that were read into private memory, and nothing else
//! parses them. Whoever wrote them: every number is checked before it is used.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::AttachError;
use crate::liveness::Place;
use crate::options::Channel;
use crate::pattern::Pattern;
use crate::process::{self, Identity};
use crate::queue;
use crate::ring::{self, MAX_PARTICIPANTS, PINS};
use crate::schema::{Malformed, Schema, fnv1a};

const MAGIC: [u8; 8] = *b"shm-comm";
const BYTE_ORDER: u32 = 0x0102_0304;
/// Changes with every change of the layout above.
pub const FORMAT: u32 = 4;
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
/// Bytes of a number of elements.
const LEN_SIZE: u64 = 8;
/// Bytes of an unsized message for which there is room if nobody says how many elements it may have.
const DEFAULT_ROOM: u64 = 16 << 10;
/// Two lines: pins, and the word on which it sleeps.
pub const SUBSCRIBER_STRIDE: u64 = 2 * LINE;
/// From the start of the control area to the lines with a bitmap each: which rings are allocated,
/// which subscribers are registered, which sleep.
pub const RINGS_OFFSET: u64 = 0;
pub const REGISTERED_OFFSET: u64 = LINE;
pub const SLEEPERS_OFFSET: u64 = 2 * LINE;
/// The same of publishers, where those can sleep, and who they are: the words after those.
pub const PUBLISHERS_REGISTERED_OFFSET: u64 = REGISTERED_OFFSET + 8;
pub const PUBLISHERS_SLEEPERS_OFFSET: u64 = SLEEPERS_OFFSET + 8;
/// In the line of the sleepers, which rarely changes, too: counts what was put back in a queue, and who has
/// come on the publishers' side.
pub const RETURNED_OFFSET: u64 = SLEEPERS_OFFSET + 16;
pub const ARRIVALS_OFFSET: u64 = SLEEPERS_OFFSET + 24;
/// From the start of the control area to the word that says whether the segment is retired.
pub const RETIRED_OFFSET: u64 = 8;
/// What it says then. Anything else, a flipped bit for one, says nothing.
pub const RETIRED: u32 = u32::from_ne_bytes(*b"gone");
/// From the start of the control area to its first subscriber.
pub const SUBSCRIBERS_OFFSET: u64 = 3 * LINE;
/// The same of a queue to its head, its tail, and its first participant.
pub const HEAD_OFFSET: u64 = 3 * LINE;
pub const TAIL_OFFSET: u64 = 4 * LINE;
pub const PARTICIPANTS_OFFSET: u64 = 5 * LINE;
/// From the start of a participant to what it counts: so many numbers.
pub const COUNTS_OFFSET: u64 = 8;
pub const COUNTS: usize = 7;
/// The largest alignment of a message.
pub const MAX_ALIGN: usize = 4096;
const MAX_DEPTH: u32 = 1 << 16;

const _: () = assert!(size_of::<Header>() == 216);
const _: () = assert!(COUNTS_OFFSET + 8 * COUNTS as u64 == LINE);
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
    reply_schema_len: u32,
    depth: u32,
    slots: u32,
    max_publishers: u32,
    max_subscribers: u32,
    /// Bit *i*: whoever made the segment has set option *i* of [`OPTIONS`].
    chosen: u32,
    /// As `layout_hash`, of replies; 0 if there are none.
    reply_hash: u64,
    payload: Room,
    reply: Room,
    slot_stride: u64,
    control_offset: u64,
    records_offset: u64,
    rings_offset: u64,
    ring_stride: u64,
    file_size: u64,
    /// Generations of publishers begin after this one.
    first_generation: u32,
    reserved: u32,
}

/// What a slot has room for: a message, or a reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Room {
    /// Bytes of the largest one: `fixed`, `max_len` elements, and what Rust rounds up.
    pub size: u64,
    pub fixed: u64,
    /// Bytes of an element; 0 if it is not unsized.
    pub stride: u64,
    pub max_len: u64,
    /// 0: there is no such room.
    pub align: u32,
    /// From the start of a slot.
    pub offset: u32,
}

/// The options that both sides of a channel share.
pub const OPTIONS: [&str; 5] =
    ["depth", "max_publishers", "max_subscribers", "max_len", "max_reply_len"];

/// Their values as a handle has set them.
pub fn options_of(channel: &Channel) -> [Option<u64>; OPTIONS.len()] {
    [
        channel.depth.map(u64::from),
        channel.max_publishers.map(u64::from),
        channel.max_subscribers.map(u64::from),
        channel.max_len.map(|len| len as u64),
        channel.max_reply_len.map(|len| len as u64),
    ]
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
    pub pattern: Pattern,
    pub depth: u32,
    pub slots: u32,
    pub max_publishers: u32,
    pub max_subscribers: u32,
    pub payload: Room,
    /// Of a service: for the answer to what is in the payload.
    pub reply: Room,
    pub slot_stride: u64,
    pub control_offset: u64,
    pub records_offset: u64,
    pub rings_offset: u64,
    pub ring_stride: u64,
    pub file_size: u64,
    /// Of a segment that replaces another: the last generation that a publisher had there.
    pub first_generation: u32,
}

/// What a channel carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Schemas {
    /// Its messages, jobs, or requests.
    pub message: Schema,
    /// Of a service its replies.
    pub reply: Option<Schema>,
}

impl Schemas {
    /// Of a channel without replies.
    pub fn of(message: Schema) -> Schemas {
        Schemas { message, reply: None }
    }
}

/// What a checked header says.
#[derive(Clone, Debug)]
pub struct Description {
    pub name: String,
    pub schemas: Schemas,
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

/// A number that a user may have set.
fn bounded(
    channel: &Channel,
    option: &'static str,
    value: Option<u64>,
    default: u64,
    max: u64,
) -> Result<u64, AttachError> {
    match value {
        Some(value) if value == 0 || value > max => Err(AttachError::BadOption {
            channel: channel.name.clone(),
            option,
            value,
            min: 1,
            max,
        }),
        value => Ok(value.unwrap_or(default)),
    }
}

impl Room {
    /// For values with this schema, of as many elements as `asked`. Its offset is not known yet.
    fn plan(
        channel: &Channel,
        option: &'static str,
        asked: Option<usize>,
        schema: &Schema,
    ) -> Result<Room, AttachError> {
        let (fixed, align) = (schema.size as u64, schema.align as u64);
        let stride = schema.stride().unwrap_or(0) as u64;
        let asked = asked.map(|len| len as u64);
        let max_len = match stride {
            0 if asked.is_some() => {
                let (channel, type_name) = (channel.name.clone(), schema.name());
                return Err(AttachError::FixedSize { channel, option, type_name });
            }
            0 => 0,
            stride => {
                let default = (DEFAULT_ROOM.saturating_sub(fixed) / stride).max(1);
                bounded(channel, option, asked, default, i64::MAX as u64 / stride)?
            }
        };
        let size = payload_size(fixed, stride, max_len, align)
            .ok_or_else(|| AttachError::TooLarge { channel: channel.name.clone() })?;
        Ok(Room { size, fixed, stride, max_len, align: align as u32, offset: 0 })
    }

    /// The first byte behind it; `None`: beyond all files.
    fn end(&self) -> Option<u64> {
        u64::from(self.offset).checked_add(self.size)
    }

    /// Bytes of a slot that say how many elements there are.
    fn len_size(&self) -> u64 {
        if self.stride == 0 { 0 } else { LEN_SIZE }
    }

    /// Whether values with this schema lie in it.
    fn is_of(&self, schema: Option<&Schema>) -> bool {
        let Some(schema) = schema else { return *self == Room::default() };
        let (fixed, align) = (schema.size as u64, schema.align as u64);
        let stride = schema.stride().unwrap_or(0) as u64;
        (self.fixed, u64::from(self.align), self.stride) == (fixed, align, stride)
    }

    /// Every relation that the rest of the crate relies on, in a slot where `begin` is the first byte that
    /// it may have. Names the first number that is wrong.
    fn check(&self, what: &str, begin: u64, slot_stride: u64) -> Result<(), String> {
        let (align, offset) = (u64::from(self.align), u64::from(self.offset));
        let wrong = |number: &str, value: u64| Err(format!("its {what} {number} is {value}"));
        if !align.is_power_of_two() || align > MAX_ALIGN as u64 {
            return wrong("alignment", align);
        }
        if payload_size(self.fixed, self.stride, self.max_len, align) != Some(self.size) {
            return wrong("size", self.size);
        }
        if offset < begin || !offset.is_multiple_of(align.max(8)) {
            return wrong("offset", offset);
        }
        if self.end().is_none_or(|end| end > slot_stride) || !slot_stride.is_multiple_of(align) {
            return Err(format!("its slot stride is {slot_stride}"));
        }
        Ok(())
    }
}

impl Geometry {
    /// Of a channel that is about to be made.
    ///
    /// # Errors
    ///
    /// [`AttachError::BadOption`] and its like, and [`AttachError::TooLarge`].
    pub fn plan(
        pattern: Pattern,
        channel: &Channel,
        schemas: &Schemas,
        description_len: u64,
        page: u64,
    ) -> Result<Geometry, AttachError> {
        let most = u64::from(MAX_PARTICIPANTS);
        let default = if pattern == Pattern::PubSub { 8 } else { most };
        let publishers = channel.max_publishers.map(u64::from);
        let max_publishers = bounded(channel, "max_publishers", publishers, default, most)?;
        let subscribers = channel.max_subscribers.map(u64::from);
        let max_subscribers = bounded(channel, "max_subscribers", subscribers, most, most)?;
        let mut payload = Room::plan(channel, "max_len", channel.max_len, &schemas.message)?;
        let mut reply = match &schemas.reply {
            Some(schema) => Room::plan(channel, "max_reply_len", channel.max_reply_len, schema)?,
            None if channel.max_reply_len.is_some() => {
                return Err(AttachError::NoReplies { channel: channel.name.clone(), pattern });
            }
            None => Room::default(),
        };
        let too_large = || AttachError::TooLarge { channel: channel.name.clone() };
        let size = payload.size.saturating_add(reply.size);
        let most = if pattern == Pattern::Queue { 256 } else { 64 };
        let default_depth = ((1 << 20) / size.max(1)).clamp(8, most);
        let asked = channel.depth.map(u64::from);
        let depth = bounded(channel, "depth", asked, default_depth, MAX_DEPTH.into())?;

        let mut slots = depth;
        if pattern == Pattern::PubSub {
            let holding = HOLDING_SUBSCRIBERS.min(max_subscribers);
            slots = (depth + holding * u64::from(default_max_held(size))).next_power_of_two();
            // What the writer has claimed ahead is no history; and in a ring of two slots a reader with
            // one pin is sometimes in both.
            while slots < 4 || slots - ring::batch_of(slots) < depth {
                slots *= 2;
            }
        }
        let align = u64::from(payload.align.max(reply.align));
        let header_end = SLOT_HEADER + payload.len_size() + reply.len_size();
        payload.offset = header_end.next_multiple_of(payload.align.into()) as u32;
        let mut slot_end = payload.end().ok_or_else(too_large)?;
        if schemas.reply.is_some() {
            let begin = reply_begin(slot_end, &reply).ok_or_else(too_large)?;
            reply.offset = u32::try_from(begin).map_err(|_| too_large())?;
            slot_end = reply.end().ok_or_else(too_large)?;
        }
        let mut geometry = Geometry {
            pattern,
            depth: depth as u32,
            slots: slots as u32,
            max_publishers: max_publishers as u32,
            max_subscribers: max_subscribers as u32,
            payload,
            reply,
            slot_stride: 0,
            control_offset: (size_of::<Header>() as u64 + description_len).next_multiple_of(LINE),
            records_offset: 0,
            rings_offset: 0,
            ring_stride: 0,
            file_size: 0,
            first_generation: 0,
        };
        geometry.records_offset = geometry.control_offset + geometry.control_size();
        let records_end = geometry.records_offset + (max_publishers + max_subscribers) * LINE;
        geometry.rings_offset = records_end.next_multiple_of(page);
        let rings = u64::from(geometry.rings());
        let first = geometry.slots_offset();
        let sizes = || {
            let slot_stride = slot_end.checked_next_multiple_of(LINE.max(align))?;
            let slots_size = slot_stride.checked_mul(slots)?;
            let ring_stride = slots_size.checked_add(first)?.checked_next_multiple_of(page)?;
            let file_size = ring_stride.checked_mul(rings)?.checked_add(geometry.rings_offset)?;
            i64::try_from(file_size).ok()?;
            Some((slot_stride, ring_stride, file_size))
        };
        let (slot_stride, ring_stride, file_size) = sizes().ok_or_else(too_large)?;
        Ok(Geometry { slot_stride, ring_stride, file_size, ..geometry })
    }

    /// How many rings there are, used or not.
    pub fn rings(&self) -> u32 {
        if self.pattern == Pattern::PubSub { self.max_publishers } else { 1 }
    }

    /// Bytes that are real memory from the beginning. Of a ring the first publisher sees to that.
    pub fn allocated(&self) -> u64 {
        if self.pattern == Pattern::PubSub { self.rings_offset } else { self.file_size }
    }

    /// Bytes of the control area.
    pub fn control_size(&self) -> u64 {
        let (publishers, subscribers) =
            (u64::from(self.max_publishers), u64::from(self.max_subscribers));
        match self.pattern {
            Pattern::PubSub => SUBSCRIBERS_OFFSET + SUBSCRIBER_STRIDE * subscribers,
            _ => PARTICIPANTS_OFFSET + LINE * (publishers + subscribers),
        }
    }

    /// From the start of the control area to the line with the word on which somebody sleeps. Of a
    /// publisher there is none where those do not sleep.
    pub fn bed_offset(&self, place: Place) -> u64 {
        match (self.pattern, place) {
            (Pattern::PubSub, place) => {
                SUBSCRIBERS_OFFSET + SUBSCRIBER_STRIDE * u64::from(place.number()) + LINE
            }
            (_, Place::Publisher(number)) => PARTICIPANTS_OFFSET + LINE * u64::from(number),
            (_, place) => {
                PARTICIPANTS_OFFSET + LINE * u64::from(self.max_publishers + place.number())
            }
        }
    }

    /// From the start of a ring to its first slot.
    pub fn slots_offset(&self) -> u64 {
        match self.pattern {
            Pattern::PubSub => SLOTS_OFFSET.next_multiple_of(u64::from(self.payload.align)),
            _ => 0,
        }
    }

    /// From the start of the file to a slot of a queue or a service.
    pub fn slot_offset(&self, slot: u32) -> u64 {
        self.rings_offset + u64::from(slot) * self.slot_stride
    }

    /// From the start of a slot to the number of elements of an unsized reply.
    pub fn reply_len_offset(&self) -> u64 {
        SLOT_HEADER + self.payload.len_size()
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
        let (max_len, max_reply_len) = (self.payload.max_len, self.reply.max_len);
        [self.depth.into(), publishers.into(), subscribers.into(), max_len, max_reply_len]
    }

    /// Every relation that the rest of the crate relies on. Names the first number that is wrong.
    fn check(&self, description_end: u64, page: u64) -> Result<(), String> {
        let g = self;
        let participants = 1..=MAX_PARTICIPANTS;
        let wrong = |what: &str, value: u64| Err(format!("its {what} is {value}"));
        let (is_ring, slots) = (g.pattern == Pattern::PubSub, g.slots);
        let is_possible = match is_ring {
            true => slots >= 2 && slots.is_power_of_two() && slots <= ring::MAX_SLOTS,
            false => (1..=queue::MAX_SLOTS).contains(&slots),
        };
        if !is_possible {
            return wrong("number of slots", slots.into());
        }
        if g.depth == 0 || g.depth > slots || !is_ring && g.depth != slots {
            return wrong("depth", g.depth.into());
        }
        if !participants.contains(&g.max_publishers) {
            return wrong("number of publishers", g.max_publishers.into());
        }
        if !participants.contains(&g.max_subscribers) {
            return wrong("number of subscribers", g.max_subscribers.into());
        }
        let header_end = SLOT_HEADER + g.payload.len_size() + g.reply.len_size();
        if g.slot_stride == 0 || !g.slot_stride.is_multiple_of(LINE) {
            return wrong("slot stride", g.slot_stride);
        }
        g.payload.check("payload", header_end, g.slot_stride)?;
        if g.reply != Room::default() {
            // Where the payload ends was checked.
            g.reply.check("reply", g.payload.end().unwrap_or(u64::MAX), g.slot_stride)?;
        }
        if (g.pattern == Pattern::Service) != (g.reply != Room::default()) {
            return wrong("reply alignment", g.reply.align.into());
        }
        if g.control_offset < description_end || !g.control_offset.is_multiple_of(LINE) {
            return wrong("control offset", g.control_offset);
        }
        let control_end = g.control_offset.checked_add(g.control_size());
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
        let slots_end = g.slot_stride.checked_mul(slots.into());
        let ring_end = slots_end.and_then(|end| end.checked_add(g.slots_offset()));
        if ring_end.is_none_or(|end| end > g.ring_stride) || !g.ring_stride.is_multiple_of(page) {
            return wrong("ring stride", g.ring_stride);
        }
        let rings_size = g.ring_stride.checked_mul(g.rings().into());
        let file_size = rings_size.and_then(|size| size.checked_add(g.rings_offset));
        if file_size != Some(g.file_size) || i64::try_from(g.file_size).is_err() {
            return wrong("file size by its own account", g.file_size);
        }
        Ok(())
    }
}

/// Where in a slot a reply begins: in the line of the request if it ends there, so that one line goes there
/// and back; else in a line of its own, so that neither is in the way of the other.
fn reply_begin(payload_end: u64, reply: &Room) -> Option<u64> {
    let near = payload_end.checked_next_multiple_of(u64::from(reply.align).max(8))?;
    if near.checked_add(reply.size)? <= LINE {
        Some(near)
    } else {
        payload_end.checked_next_multiple_of(u64::from(reply.align).max(LINE))
    }
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

/// The binary form of what a channel carries: first the messages, then the replies.
pub struct Records {
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl Records {
    /// # Errors
    ///
    /// The schema that cannot be described, and why.
    pub fn of(schemas: &Schemas) -> Result<Records, (&Schema, Malformed)> {
        let of = |schema: &'_ Schema| schema.to_bytes();
        let message = of(&schemas.message).map_err(|error| (&schemas.message, error))?;
        let reply = match &schemas.reply {
            Some(schema) => of(schema).map_err(|error| (schema, error))?,
            None => Vec::new(),
        };
        Ok(Records { message, reply })
    }

    /// Bytes of both.
    pub fn len(&self) -> usize {
        self.message.len() + self.reply.len()
    }
}

/// The bytes at the start of a new segment.
pub fn write(
    channel: &Channel,
    schemas: &Schemas,
    records: &Records,
    geometry: &Geometry,
) -> Vec<u8> {
    let name = &channel.name;
    let set = options_of(channel).into_iter().enumerate().filter(|(_, value)| value.is_some());
    let mut header = Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER,
        format: FORMAT,
        pattern: geometry.pattern as u32,
        header_size: size_of::<Header>() as u32,
        checksum: 0,
        layout_hash: schemas.message.hash(),
        reply_hash: schemas.reply.as_ref().map_or(0, Schema::hash),
        name_len: name.len() as u32,
        schema_len: records.message.len() as u32,
        reply_schema_len: records.reply.len() as u32,
        depth: geometry.depth,
        slots: geometry.slots,
        max_publishers: geometry.max_publishers,
        max_subscribers: geometry.max_subscribers,
        chosen: set.fold(0, |bits, (option, _)| bits | 1 << option),
        payload: geometry.payload,
        reply: geometry.reply,
        slot_stride: geometry.slot_stride,
        control_offset: geometry.control_offset,
        records_offset: geometry.records_offset,
        rings_offset: geometry.rings_offset,
        ring_stride: geometry.ring_stride,
        file_size: geometry.file_size,
        first_generation: geometry.first_generation,
        reserved: 0,
    };
    let rest = [name.as_bytes(), &records.message, &records.reply].concat();
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
    let Some(pattern) = Pattern::of(header.pattern) else {
        return Err(Refusal::NotAChannel(format!("its pattern is {}", header.pattern)));
    };
    let (name_len, schema_len) = (header.name_len as usize, header.schema_len as usize);
    let reply_schema_len = header.reply_schema_len as usize;
    if name_len > MAX_NAME || schema_len.max(reply_schema_len) > Schema::MAX_LEN {
        return refuse("its name or its schema is too long");
    }
    let mut rest = vec![0; name_len + schema_len + reply_schema_len];
    if !read(&mut rest, size_of::<Header>() as u64) {
        return Err(Refusal::NotAChannel(format!("it is cut off after {file_size} bytes")));
    }
    if header.checksum != checksum(&header, &rest) {
        return refuse("its checksum is wrong");
    }
    let reply_record = rest.split_off(name_len + schema_len);
    let record = rest.split_off(name_len);
    let Ok(name) = String::from_utf8(rest) else { return refuse("its name is not UTF-8") };
    let parse = |record: &[u8]| {
        Schema::from_bytes(record)
            .map_err(|error| Refusal::NotAChannel(format!("its schema is none: {error}")))
    };
    let message = parse(&record)?;
    let reply = match reply_record.is_empty() {
        true => None,
        false => Some(parse(&reply_record)?),
    };
    if header.layout_hash != message.hash()
        || header.reply_hash != reply.as_ref().map_or(0, Schema::hash)
    {
        return refuse("its layout hash is not that of its schema");
    }
    let geometry = Geometry {
        pattern,
        depth: header.depth,
        slots: header.slots,
        max_publishers: header.max_publishers,
        max_subscribers: header.max_subscribers,
        payload: header.payload,
        reply: header.reply,
        slot_stride: header.slot_stride,
        control_offset: header.control_offset,
        records_offset: header.records_offset,
        rings_offset: header.rings_offset,
        ring_stride: header.ring_stride,
        file_size: header.file_size,
        first_generation: header.first_generation,
    };
    let description_end = (size_of::<Header>() + name_len + schema_len + reply_schema_len) as u64;
    geometry.check(description_end, page).map_err(Refusal::NotAChannel)?;
    if !geometry.payload.is_of(Some(&message)) || !geometry.reply.is_of(reply.as_ref()) {
        return refuse("its slots are not for messages of its schema");
    }
    if geometry.file_size != file_size {
        let reason = format!("it has {file_size} bytes and should have {}", geometry.file_size);
        return Err(Refusal::NotAChannel(reason));
    }
    Ok(Description {
        name,
        schemas: Schemas { message, reply },
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

    fn try_plan(channel: &Channel, schema: &Schema) -> Result<Geometry, AttachError> {
        Geometry::plan(Pattern::PubSub, channel, &Schemas::of(schema.clone()), 100, PAGE)
    }

    fn plan(channel: Channel, schema: &Schema) -> Geometry {
        try_plan(&channel, schema).unwrap()
    }

    fn written(channel: &Channel, schema: &Schema, geometry: &Geometry) -> Vec<u8> {
        written_of(channel, &Schemas::of(schema.clone()), geometry)
    }

    fn written_of(channel: &Channel, schemas: &Schemas, geometry: &Geometry) -> Vec<u8> {
        write(channel, schemas, &Records::of(schemas).ok().unwrap(), geometry)
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
        assert_eq!((read.name.as_str(), read.schemas.message), ("robot/é", <[f64; 7]>::schema()));
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
            Geometry { payload: Room { size: u64::MAX, ..good.payload }, ..good },
            Geometry { payload: Room { size: 16, ..good.payload }, ..good },
            Geometry { payload: Room { size: 16, fixed: 16, ..good.payload }, ..good },
            Geometry { payload: Room { size: 16, stride: 8, max_len: 1, ..good.payload }, ..good },
            Geometry { payload: Room { stride: 8, ..good.payload }, ..good },
            Geometry { payload: Room { max_len: 1, ..good.payload }, ..good },
            Geometry { payload: Room { align: 0, ..good.payload }, ..good },
            Geometry { payload: Room { align: 3, ..good.payload }, ..good },
            Geometry { payload: Room { offset: 0, ..good.payload }, ..good },
            Geometry { payload: Room { offset: 17, ..good.payload }, ..good },
            Geometry { payload: Room { offset: u32::MAX - 7, ..good.payload }, ..good },
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
        assert_eq!((good.payload.size, good.payload.offset, good.payload.max_len), (40, 24, 10));
        let bad = [
            Geometry { payload: Room { stride: 0, ..good.payload }, ..good },
            Geometry { payload: Room { stride: u64::MAX, ..good.payload }, ..good },
            Geometry { payload: Room { max_len: 0, ..good.payload }, ..good },
            Geometry { payload: Room { max_len: 11, ..good.payload }, ..good },
            Geometry { payload: Room { max_len: u64::MAX / 4 + 11, ..good.payload }, ..good },
            Geometry { payload: Room { fixed: 4, size: 44, ..good.payload }, ..good },
            Geometry { payload: Room { stride: 8, size: 80, ..good.payload }, ..good },
            Geometry { payload: Room { offset: 16, ..good.payload }, ..good },
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
            try_plan(&channel, schema)
        };
        let size = |max_len, schema: &Schema| plan(max_len, schema).unwrap().payload.size;
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
        let error = |channel| try_plan(&channel, &u64::schema()).unwrap_err();
        assert_eq!(
            error(Channel::new("x").depth(0)).to_string(),
            "channel \"x\": depth is 0, it can be 1 to 65536"
        );
        assert!(matches!(
            error(Channel::new("x").max_subscribers(65)),
            AttachError::BadOption { value: 65, max: 64, .. }
        ));
        let huge = Schema { size: usize::MAX / 2, ..u64::schema() };
        let error = try_plan(&Channel::new("x"), &huge).unwrap_err();
        assert!(matches!(error, AttachError::TooLarge { .. }));
    }
}
