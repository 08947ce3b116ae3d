//! A schema as bytes: the form in which it lies in every segment.
//!
//! ```text
//! 0    Header   version u32 · nodes u32 · text_len u32 · 0 u32
//! 16   Node 0   of the message itself
//!      Node 1   of what is in it, each node before those inside it
//!      …        `nodes` of them, each
//!               kind u8 · primitive u8 · log2 of the alignment u8 · 0 u8 · name_len u16 · label_len u16
//!               size u64 · place u64 · count u64
//!      text     of each node its label and its name, without anything in between; `text_len` bytes
//! ```
//!
//! Numbers are little-endian. There are no offsets into the text, so that nothing overlaps, and what has
//! no meaning is 0: a schema has one form, and `docs/schema.md` says what each kind puts where.
//!
//! Whoever wrote the bytes: they were copied into private memory before they are read here, every
//! number is checked before it is used, and what comes out makes sense as the layout of a type.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::layout::{self, MAX_DEPTH, Malformed};
use super::{Field, Kind, Primitive, Schema, Variant};

/// Changes with every change of the layout above.
const VERSION: u32 = 1;
/// No schema has more bytes.
pub(super) const MAX_LEN: usize = 1 << 16;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    version: U32,
    nodes: U32,
    text_len: U32,
    reserved: U32,
}

/// A type, or a value of an enum.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Node {
    /// See [`kind`].
    kind: u8,
    /// Its place in [`PRIMITIVES`], from 1; 0 if the kind has none.
    primitive: u8,
    align_log2: u8,
    reserved: u8,
    name_len: U16,
    /// What it is called by what it is in: a field, a value; a codec.
    label_len: U16,
    size: U64,
    /// The offset of a field, the value of a variant with its sign extended.
    place: U64,
    /// Elements, capacity, fields, variants.
    count: U64,
}

const _: () = assert!(size_of::<Header>() == 16 && align_of::<Header>() == 1);
const _: () = assert!(size_of::<Node>() == 32 && align_of::<Node>() == 1);

mod kind {
    pub const PRIMITIVE: u8 = 1;
    pub const NON_ZERO: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const SLICE: u8 = 4;
    pub const STRING: u8 = 5;
    pub const VEC: u8 = 6;
    pub const OPTION: u8 = 7;
    pub const STRUCT: u8 = 8;
    pub const ENUM: u8 = 9;
    pub const ENCODED: u8 = 10;
    pub const VARIANT: u8 = 11;
}

/// The first is number 1.
const PRIMITIVES: [Primitive; 14] = [
    Primitive::U8,
    Primitive::U16,
    Primitive::U32,
    Primitive::U64,
    Primitive::U128,
    Primitive::I8,
    Primitive::I16,
    Primitive::I32,
    Primitive::I64,
    Primitive::I128,
    Primitive::F32,
    Primitive::F64,
    Primitive::Bool,
    Primitive::Char,
];

/// The bytes of a schema that is one of a type and not too long.
pub(super) fn write(schema: &Schema) -> Result<Vec<u8>, Malformed> {
    layout::check(schema)?;
    let bytes = encode(schema);
    if bytes.len() > MAX_LEN {
        return Err(Malformed::new(too_long(bytes.len())));
    }
    Ok(bytes)
}

/// The schema that these bytes are. What is accepted is written again as the same bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Schema, Malformed> {
    let wrong = |reason: String| Err(Malformed::new(reason));
    let len = bytes.len();
    if len > MAX_LEN {
        return wrong(too_long(len));
    }
    let Ok((header, rest)) = Header::ref_from_prefix(bytes) else {
        return wrong(format!("has {len} bytes, fewer than its header"));
    };
    let Header { version, nodes, text_len, reserved: _ } = header;
    if version.get() != VERSION {
        return wrong(format!("has version {version}, this program knows {VERSION}"));
    }
    let nodes_len = u64::from(nodes.get()) * size_of::<Node>() as u64;
    let needed = size_of::<Header>() as u64 + nodes_len + u64::from(text_len.get());
    if needed != len as u64 {
        return wrong(format!("has {len} bytes, its header speaks of {needed}"));
    }
    let Ok((nodes, text)) = <[Node]>::ref_from_prefix_with_elems(rest, nodes.get() as usize) else {
        return wrong(format!("has {len} bytes, too few for {nodes} nodes"));
    };
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return wrong(format!("has names that are no UTF-8: {error}")),
    };
    let mut rest = Rest { nodes: nodes.iter(), text };
    let root = rest.next()?;
    let schema = rest.schema(&root, 1)?;
    layout::check(&schema)?;
    // What was not looked at, too many nodes, or a label where none belongs.
    let again = encode(&schema);
    let same = again.iter().zip(bytes).take_while(|(again, byte)| again == byte).count();
    if again != bytes {
        return wrong(format!("has {len} bytes, and something without meaning at byte {same}"));
    }
    Ok(schema)
}

fn too_long(len: usize) -> String {
    format!("has {len} bytes, {MAX_LEN} are possible")
}

/// Of a schema that was checked: every number has room.
fn encode(schema: &Schema) -> Vec<u8> {
    let (mut nodes, mut text) = (Vec::new(), String::new());
    push(schema, "", 0, &mut nodes, &mut text);
    let header = Header {
        version: VERSION.into(),
        nodes: (nodes.len() as u32).into(),
        text_len: (text.len() as u32).into(),
        reserved: 0.into(),
    };
    [header.as_bytes(), nodes.as_bytes(), text.as_bytes()].concat()
}

fn push(schema: &Schema, label: &str, place: u64, nodes: &mut Vec<Node>, text: &mut String) {
    let (kind, primitive, label, name, count) = match &schema.kind {
        Kind::Primitive(primitive) => (kind::PRIMITIVE, Some(*primitive), label, "", 0),
        Kind::NonZero(primitive) => (kind::NON_ZERO, Some(*primitive), label, "", 0),
        Kind::Array { len, .. } => (kind::ARRAY, None, label, "", *len),
        Kind::Slice { .. } => (kind::SLICE, None, label, "", 0),
        Kind::String { capacity } => (kind::STRING, None, label, "", *capacity),
        Kind::Vec { capacity, .. } => (kind::VEC, None, label, "", *capacity),
        Kind::Option { .. } => (kind::OPTION, None, label, "", 0),
        Kind::Struct { name, fields } => (kind::STRUCT, None, label, &**name, fields.len()),
        Kind::Enum { name, repr, variants } => {
            (kind::ENUM, Some(*repr), label, &**name, variants.len())
        }
        Kind::Encoded { codec, name } => (kind::ENCODED, None, &**codec, &**name, 0),
    };
    let number = |primitive| PRIMITIVES.iter().position(|other| *other == primitive);
    nodes.push(Node {
        kind,
        primitive: primitive.and_then(number).map_or(0, |number| number as u8 + 1),
        align_log2: schema.align.trailing_zeros() as u8,
        reserved: 0,
        name_len: (name.len() as u16).into(),
        label_len: (label.len() as u16).into(),
        size: (schema.size as u64).into(),
        place: place.into(),
        count: (count as u64).into(),
    });
    text.push_str(label);
    text.push_str(name);
    match &schema.kind {
        Kind::Array { element: inner, .. }
        | Kind::Slice { element: inner }
        | Kind::Vec { element: inner, .. }
        | Kind::Option { value: inner } => push(inner, "", 0, nodes, text),
        Kind::Struct { fields, .. } => {
            for Field { name, offset, schema } in fields {
                push(schema, name, *offset as u64, nodes, text);
            }
        }
        Kind::Enum { variants, .. } => {
            for Variant { name, value } in variants {
                nodes.push(Node {
                    kind: kind::VARIANT,
                    label_len: (name.len() as u16).into(),
                    place: (*value as u64).into(),
                    ..Node::new_zeroed()
                });
                text.push_str(name);
            }
        }
        Kind::Primitive(_) | Kind::NonZero(_) | Kind::String { .. } | Kind::Encoded { .. } => {}
    }
}

/// What has not been read yet.
struct Rest<'a> {
    nodes: std::slice::Iter<'a, Node>,
    text: &'a str,
}

/// A node with its names.
struct Entry<'a> {
    node: &'a Node,
    label: &'a str,
    name: &'a str,
}

impl<'a> Rest<'a> {
    fn next(&mut self) -> Result<Entry<'a>, Malformed> {
        let Some(node) = self.nodes.next() else {
            return Err(Malformed::new("ends before its last node"));
        };
        let label = self.take(node.label_len)?;
        let name = self.take(node.name_len)?;
        Ok(Entry { node, label, name })
    }

    fn take(&mut self, len: U16) -> Result<&'a str, Malformed> {
        match self.text.split_at_checked(len.get().into()) {
            Some((taken, rest)) => {
                self.text = rest;
                Ok(taken)
            }
            None => Err(Malformed::new(format!(
                "has a name of {len} bytes, where {} are left or in the middle of a letter",
                self.text.len()
            ))),
        }
    }

    fn schema(&mut self, entry: &Entry, depth: usize) -> Result<Schema, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::new(format!("is nested more than {MAX_DEPTH} deep")));
        }
        let node = entry.node;
        let name = || entry.name.to_owned();
        let kind = match node.kind {
            kind::PRIMITIVE => Kind::Primitive(primitive(node)?),
            kind::NON_ZERO => Kind::NonZero(primitive(node)?),
            kind::ARRAY => Kind::Array { element: self.inner(depth)?, len: number(node.count)? },
            kind::SLICE => Kind::Slice { element: self.inner(depth)? },
            kind::STRING => Kind::String { capacity: number(node.count)? },
            kind::VEC => Kind::Vec { element: self.inner(depth)?, capacity: number(node.count)? },
            kind::OPTION => Kind::Option { value: self.inner(depth)? },
            kind::STRUCT => Kind::Struct { name: name(), fields: self.fields(node, depth)? },
            kind::ENUM => {
                let repr = primitive(node)?;
                Kind::Enum { name: name(), repr, variants: self.variants(node, repr)? }
            }
            kind::ENCODED => Kind::Encoded { codec: entry.label.to_owned(), name: name() },
            other => return Err(Malformed::new(format!("has a node of kind {other}"))),
        };
        // An alignment that is none is refused with the rest of the layout.
        let align = 1_usize.checked_shl(node.align_log2.into()).unwrap_or(0);
        Ok(Schema { size: number(node.size)?, align, kind })
    }

    fn inner(&mut self, depth: usize) -> Result<Box<Schema>, Malformed> {
        let entry = self.next()?;
        self.schema(&entry, depth + 1).map(Box::new)
    }

    /// As many as are there, whatever the count says.
    fn fields(&mut self, node: &Node, depth: usize) -> Result<Vec<Field>, Malformed> {
        let mut fields = Vec::new();
        for _ in 0..node.count.get() {
            let entry = self.next()?;
            let (name, offset) = (entry.label.to_owned(), number(entry.node.place)?);
            fields.push(Field { name, offset, schema: self.schema(&entry, depth + 1)? });
        }
        Ok(fields)
    }

    fn variants(&mut self, node: &Node, repr: Primitive) -> Result<Vec<Variant>, Malformed> {
        let is_signed = repr.range().is_some_and(|range| *range.start() < 0);
        let mut variants = Vec::new();
        for _ in 0..node.count.get() {
            let Entry { node, label, .. } = self.next()?;
            if node.kind != kind::VARIANT {
                return Err(Malformed::new(format!("has a value of kind {}", node.kind)));
            }
            let bits = node.place.get();
            let value = if is_signed { i128::from(bits as i64) } else { i128::from(bits) };
            variants.push(Variant { name: label.to_owned(), value });
        }
        Ok(variants)
    }
}

fn primitive(node: &Node) -> Result<Primitive, Malformed> {
    let index = usize::from(node.primitive).wrapping_sub(1);
    let unknown = || Malformed::new(format!("has a primitive of number {}", node.primitive));
    PRIMITIVES.get(index).copied().ok_or_else(unknown)
}

fn number(number: U64) -> Result<usize, Malformed> {
    let too_large = |_| Malformed::new(format!("has a number of {number} in it"));
    usize::try_from(number.get()).map_err(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::*;
    use proptest::prelude::*;

    fn arm() -> Schema {
        let mode = enumeration("Mode", Primitive::I8, [("Idle", 1), ("Off", -1)]);
        let joint = strukt("Joint", [("angle", f64()), ("mode", mode), ("_pad", array(u8(), 7))]);
        strukt("Arm", [("id", nonzero(Primitive::U64)), ("joints", array(joint, 2))])
    }

    #[test]
    fn the_form_does_not_change() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        let bytes = write(&arm()).unwrap();
        let (nodes, names) = bytes[16..].split_at(8 * 32);
        assert_eq!(bytes[..16], [1, 0, 0, 0, 8, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(text(names), "ArmidjointsJointanglemodeModeIdleOff");
        let joints = [3, 0, 3, 0, 0, 0, 6, 0, 32, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(nodes[64..80], joints);
        assert_eq!(nodes[80..96], [8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let off = [0xff; 8];
        assert_eq!(nodes[7 * 32..][..8], [11, 0, 0, 0, 0, 0, 3, 0]);
        assert_eq!(nodes[7 * 32 + 16..][..8], off);
    }

    #[test]
    fn every_cut_and_every_length_is_refused() {
        let bytes = write(&arm()).unwrap();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        let text = read(&longer).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "the schema has {0} bytes, its header speaks of {1}",
                longer.len(),
                bytes.len()
            )
        );
        let text = read(&vec![0; MAX_LEN + 1]).unwrap_err().to_string();
        assert_eq!(text, "the schema has 65537 bytes, 65536 are possible");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_number() {
        #[track_caller]
        fn check(at: usize, byte: u8, text: &str) {
            let mut bytes = write(&arm()).unwrap();
            bytes[at] = byte;
            assert_eq!(read(&bytes).unwrap_err().to_string(), format!("the schema {text}"));
        }
        let (root, joints, idle) = (16, 16 + 64, 16 + 6 * 32);
        check(0, 2, "has version 2, this program knows 1");
        check(12, 1, "has 308 bytes, and something without meaning at byte 12");
        check(root, 99, "has a node of kind 99");
        check(root + 2, 63, "has alignment 9223372036854775808");
        check(root + 2, 64, "has alignment 0");
        check(root + 3, 1, "has 308 bytes, and something without meaning at byte 19");
        check(root + 24, 1, "has 308 bytes, and something without meaning at byte 4");
        check(root + 24, 3, "ends before its last node");
        check(root + 31, 255, "ends before its last node");
        check(
            root + 4,
            200,
            "has a name of 200 bytes, where 36 are left or in the middle of a letter",
        );
        check(joints + 1, 1, "has 308 bytes, and something without meaning at byte 81");
        check(idle, 1, "has a value of kind 1");
        check(16 + 33, 15, "has a primitive of number 15");
        check(
            308 - 1,
            255,
            "has names that are no UTF-8: invalid utf-8 sequence of 1 bytes from index 35",
        );
    }

    #[test]
    fn deep_nesting_does_not_recurse_deeply() {
        let node = Node { kind: kind::OPTION, ..Node::new_zeroed() };
        let nodes = vec![node; 2000];
        let header = Header { version: 1.into(), nodes: 2000.into(), ..Header::new_zeroed() };
        let bytes = [header.as_bytes(), nodes.as_bytes()].concat();
        let text = read(&bytes).unwrap_err().to_string();
        assert_eq!(text, "the schema is nested more than 64 deep");
    }

    #[test]
    fn a_schema_that_is_none_or_too_long_is_not_written() {
        let text = write(&Schema { size: 3, ..f64() }).unwrap_err().to_string();
        assert_eq!(text, "the schema has size 3 in place of 8");
        let fields = (0..2000).map(|i| (format!("f{i}"), u8()));
        let text = write(&strukt_of("Wide", fields)).unwrap_err().to_string();
        assert_eq!(text, "the schema has 72942 bytes, 65536 are possible");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(schema in random::schema()) {
            let bytes = write(&schema).unwrap();
            prop_assert_eq!(read(&bytes), Ok(schema));
        }

        #[test]
        fn what_is_read_from_damaged_bytes_is_written_as_the_same_bytes(
            schema in random::schema(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = write(&schema).unwrap();
            for (at, byte) in edits {
                *at.get_mut(&mut bytes[..]) = byte;
            }
            if let Ok(schema) = read(&bytes) {
                prop_assert_eq!(write(&schema), Ok(bytes));
            }
        }

        #[test]
        fn any_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
            // As far as the nodes, whatever they are.
            let nodes = bytes.len().saturating_sub(16) / 32;
            if nodes > 0 {
                let text_len = bytes.len() - 16 - nodes * 32;
                let header = Header {
                    version: 1.into(),
                    nodes: (nodes as u32).into(),
                    text_len: (text_len as u32).into(),
                    reserved: 0.into(),
                };
                bytes[..16].copy_from_slice(header.as_bytes());
                for node in bytes[16..].chunks_exact_mut(32).take(nodes) {
                    node[0] = node[0] % 11 + 1;
                }
                let _ = read(&bytes);
            }
        }
    }
}
