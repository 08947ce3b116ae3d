//! What a message looks like: a description of every type, its canonical text, its hash.
//!
//! A [`Schema`] is made by [`Schema::of`] for every message, and stored in every segment, so that
//! whoever opens a channel can compare it with his own, and show messages of which he has no type. The
//! [*layout hash*](Schema::hash) is 64-bit FNV-1a over the *canonical text*, which any language can
//! compute.
//!
//! # The canonical text
//!
//! ```text
//! type      = primitive | nonzero | array | slice | string | vec | option | struct | enum | encoded
//! primitive = "u8" | "u16" | "u32" | "u64" | "u128" | "i8" | … | "f32" | "f64" | "bool" | "char"
//! nonzero   = "nonzero<" primitive ">"
//! array     = "[" type ";" length "]"
//! slice     = "[" type "]"
//! string    = "string<" capacity ">"
//! vec       = "vec<" type ";" capacity ">"
//! option    = "option<" type ">"
//! struct    = name "{" [field ("," field)*] "}" size "/" align
//! field     = name "@" offset ":" type
//! enum      = name ":" primitive "{" label "=" number ("," label "=" number)* "}"
//! encoded   = codec "(" name ")"
//! ```
//!
//! There are no spaces but those in names, numbers are decimal, offsets, sizes and alignments are bytes.
//! `name` is the type's own name, without its module path, and with its generic arguments:
//! `Stamped<Pose>`. Fields named `_pad…` do not appear. The size of a struct that ends in a slice is that of
//! what comes before.

mod diff;
mod evolution;
mod layout;
mod record;
mod table;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod view;

use std::fmt::{self, Write};
use std::ops::RangeInclusive;

use crate::payload::Payload;

pub use diff::{Difference, SchemaDiff};
pub use layout::Malformed;
pub use view::{List, Map, NoSuchField, Raw, Struct, Value, View};

/// The layout of one type: its size, its alignment and what it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Bytes of a value; of what comes before the slice if it ends in one.
    pub size: usize,
    /// Alignment of a value in bytes.
    pub align: usize,
    /// What the bytes mean.
    pub kind: Kind,
}

/// What a type consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A number, a `bool` or a `char`.
    Primitive(Primitive),
    /// An integer that is not 0: `NonZero<u32>`.
    NonZero(Primitive),
    /// `[element; len]`.
    Array {
        /// The schema of every element.
        element: Box<Schema>,
        /// How many elements there are.
        len: usize,
    },
    /// `[element]`: as many as the message has. Only a whole message, or its last field.
    Slice {
        /// The schema of every element.
        element: Box<Schema>,
    },
    /// A [`ShmString`](crate::ShmString).
    String {
        /// The most bytes of text.
        capacity: usize,
    },
    /// A [`ShmVec`](crate::ShmVec).
    Vec {
        /// The schema of every element.
        element: Box<Schema>,
        /// The most elements.
        capacity: usize,
    },
    /// A [`ShmOption`](crate::ShmOption).
    Option {
        /// The schema of the value.
        value: Box<Schema>,
    },
    /// A struct; padding fields are left out.
    Struct {
        /// The type's own name, without its module path.
        name: String,
        /// In the order of their offsets.
        fields: Vec<Field>,
    },
    /// An enum without fields.
    Enum {
        /// The type's own name, without its module path.
        name: String,
        /// The integer that holds the value.
        repr: Primitive,
        /// In the order of their declaration.
        variants: Vec<Variant>,
    },
    /// A value of any layout, as the bytes that a codec makes of it. Only a whole message.
    Encoded {
        /// The codec's name: `msgpack`.
        codec: String,
        /// The type's own name, without its module path.
        name: String,
    },
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As in the source.
    pub name: String,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// The field's own type.
    pub schema: Schema,
}

/// One value of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// As in the source.
    pub name: String,
    /// The integer that stands for it.
    pub value: i128,
}

/// The types that are not made of others.
#[allow(missing_docs)] // their names say it all
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Primitive {
    U8,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
    Bool,
    Char,
}

impl Primitive {
    /// The type's name in Rust and in the canonical text.
    pub const fn name(self) -> &'static str {
        match self {
            Primitive::U8 => "u8",
            Primitive::U16 => "u16",
            Primitive::U32 => "u32",
            Primitive::U64 => "u64",
            Primitive::U128 => "u128",
            Primitive::I8 => "i8",
            Primitive::I16 => "i16",
            Primitive::I32 => "i32",
            Primitive::I64 => "i64",
            Primitive::I128 => "i128",
            Primitive::F32 => "f32",
            Primitive::F64 => "f64",
            Primitive::Bool => "bool",
            Primitive::Char => "char",
        }
    }

    /// Bytes of a value, which are also its alignment.
    pub(crate) const fn size(self) -> usize {
        match self {
            Primitive::U8 | Primitive::I8 | Primitive::Bool => 1,
            Primitive::U16 | Primitive::I16 => 2,
            Primitive::U32 | Primitive::I32 | Primitive::F32 | Primitive::Char => 4,
            Primitive::U64 | Primitive::I64 | Primitive::F64 => 8,
            Primitive::U128 | Primitive::I128 => 16,
        }
    }

    /// The values of an integer (of `u128` the lower half); `None` if it is none.
    pub(crate) fn range(self) -> Option<RangeInclusive<i128>> {
        let unsigned = |bits: u32| Some(0..=i128::MAX >> (127 - bits));
        let signed = |bits: u32| Some(i128::MIN >> (128 - bits)..=i128::MAX >> (128 - bits));
        match self {
            Primitive::U8 => unsigned(8),
            Primitive::U16 => unsigned(16),
            Primitive::U32 => unsigned(32),
            Primitive::U64 => unsigned(64),
            Primitive::U128 => unsigned(127),
            Primitive::I8 => signed(8),
            Primitive::I16 => signed(16),
            Primitive::I32 => signed(32),
            Primitive::I64 => signed(64),
            Primitive::I128 => signed(128),
            Primitive::F32 | Primitive::F64 | Primitive::Bool | Primitive::Char => None,
        }
    }
}

impl Schema {
    /// The most bytes that [`to_bytes`](Self::to_bytes) gives.
    pub const MAX_LEN: usize = record::MAX_LEN;

    /// The schema of what a handle carries: a message, `[T]`, or an encoded value.
    ///
    /// ```
    /// use shm_comm::{Schema, ShmMessage};
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(C)]
    /// struct Point { x: f64, y: f64 }
    ///
    /// assert_eq!(Schema::of::<Point>().canonical(), "Point{x@0:f64,y@8:f64}16/8");
    /// ```
    pub fn of<P: Payload + ?Sized>() -> Schema {
        P::describe()
    }

    /// The name of the type as a Rust programmer writes it: `Pose`, `[f64; 7]`.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Primitive(primitive) => primitive.name().to_owned(),
            Kind::NonZero(primitive) => format!("NonZero<{}>", primitive.name()),
            Kind::Array { element, len } => format!("[{}; {len}]", element.name()),
            Kind::Slice { element } => format!("[{}]", element.name()),
            Kind::String { capacity } => format!("ShmString<{capacity}>"),
            Kind::Vec { element, capacity } => format!("ShmVec<{}, {capacity}>", element.name()),
            Kind::Option { value } => format!("ShmOption<{}>", value.name()),
            Kind::Struct { name, .. } | Kind::Enum { name, .. } => name.clone(),
            Kind::Encoded { codec, name } => format!("{codec}({name})"),
        }
    }

    /// The text over which [`hash`](Self::hash) is computed; its grammar is at the top of this module.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = self.write_canonical(&mut text);
        text
    }

    /// 64-bit FNV-1a of the [canonical text](Self::canonical).
    ///
    /// Two types with the same fields, names, types and offsets have the same hash. Attaching compares
    /// the schemas themselves, so that a collision of hashes decides nothing.
    /// The constants are those of <http://www.isthe.com/chongo/tech/comp/fnv/>.
    pub fn hash(&self) -> u64 {
        fnv1a(self.canonical().as_bytes())
    }

    /// The form in which it lies in a segment; `docs/schema.md` describes it.
    ///
    /// # Errors
    ///
    /// If it has more than [`MAX_LEN`](Self::MAX_LEN) bytes, or (which only one made by hand can) is not
    /// the schema of any type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        record::write(self)
    }

    /// The schema that was written as these bytes. They may come from anybody: what is accepted makes
    /// sense as the layout of a type, and is written again as the same bytes.
    ///
    /// # Errors
    ///
    /// Says which part is wrong, and what is wrong there.
    ///
    /// ```
    /// use shm_comm::Schema;
    ///
    /// let bytes = Schema::of::<[f64; 7]>().to_bytes()?;
    /// assert_eq!(Schema::from_bytes(&bytes)?, Schema::of::<[f64; 7]>());
    /// # Ok::<(), shm_comm::schema::Malformed>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Schema, Malformed> {
        record::read(bytes)
    }

    /// Bytes of one element of the slice at the end, if there is one. The elements of an encoded value
    /// are its bytes.
    pub fn stride(&self) -> Option<usize> {
        match &self.kind {
            Kind::Slice { element } => Some(element.size),
            Kind::Encoded { .. } => Some(1),
            Kind::Struct { fields, .. } => fields.last()?.schema.stride(),
            _ => None,
        }
    }

    fn write_canonical(&self, to: &mut impl Write) -> fmt::Result {
        match &self.kind {
            Kind::Primitive(primitive) => to.write_str(primitive.name()),
            Kind::NonZero(primitive) => write!(to, "nonzero<{}>", primitive.name()),
            Kind::Array { element, len } => {
                to.write_char('[')?;
                element.write_canonical(to)?;
                write!(to, ";{len}]")
            }
            Kind::Slice { element } => {
                to.write_char('[')?;
                element.write_canonical(to)?;
                to.write_char(']')
            }
            Kind::String { capacity } => write!(to, "string<{capacity}>"),
            Kind::Vec { element, capacity } => {
                to.write_str("vec<")?;
                element.write_canonical(to)?;
                write!(to, ";{capacity}>")
            }
            Kind::Option { value } => {
                to.write_str("option<")?;
                value.write_canonical(to)?;
                to.write_char('>')
            }
            Kind::Struct { name, fields } => {
                write!(to, "{name}{{")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(to, "{comma}{}@{}:", field.name, field.offset)?;
                    field.schema.write_canonical(to)?;
                }
                write!(to, "}}{}/{}", self.size, self.align)
            }
            Kind::Enum { name, repr, variants } => {
                write!(to, "{name}:{}{{", repr.name())?;
                for (i, variant) in variants.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(to, "{comma}{}={}", variant.name, variant.value)?;
                }
                to.write_char('}')
            }
            Kind::Encoded { codec, name } => write!(to, "{codec}({name})"),
        }
    }
}

/// Also the checksum of the segment header.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_agrees_with_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn arrays_and_primitives_have_a_text() {
        let grid = Schema::of::<[[f64; 3]; 2]>();
        assert_eq!(grid.canonical(), "[[f64;3];2]");
        assert_eq!(grid.name(), "[[f64; 3]; 2]");
        assert_eq!(Schema::of::<bool>().canonical(), "bool");
        assert_eq!(Schema::of::<[u16]>().canonical(), "[u16]");
        assert_eq!(Schema::of::<[u16]>().stride(), Some(2));
    }

    #[test]
    fn the_length_of_an_array_is_part_of_the_hash() {
        assert_ne!(Schema::of::<[u8; 4]>().hash(), Schema::of::<[u8; 5]>().hash());
    }
}
