//! What a message looks like: a constant description of every type, its canonical text, its hash.
//!
//! A [`Schema`] is made by `#[derive(ShmMessage)]` and travels in two forms. The *canonical text*
//! is stored in every segment and compared when somebody attaches; the [*layout hash*](Schema::hash)
//! is 64-bit FNV-1a over that text, so that any language can compute it.
//!
//! # The canonical text
//!
//! ```text
//! type      = primitive | array | struct | enum
//! primitive = "u8" | "u16" | "u32" | "u64" | "u128" | "i8" | … | "f32" | "f64" | "bool" | "char"
//! array     = "[" type ";" length "]"
//! struct    = name "{" field ("," field)* "}" size "/" align
//! field     = name "@" offset ":" type
//! enum      = name ":" primitive "{" variant "=" value ("," variant "=" value)* "}"
//! ```
//!
//! There are no spaces, numbers are decimal, offsets, sizes and alignments are bytes. `name` is the
//! type's own name, without its module path. Fields named `_pad…` do not appear.

use std::fmt::{self, Write};

/// The layout of one type: its size, its alignment and what it consists of.
///
/// Constant data, one per type: see [`ShmMessage::SCHEMA`](crate::ShmMessage::SCHEMA).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Bytes of a value.
    pub size: usize,
    /// Alignment of a value in bytes.
    pub align: usize,
    /// What the bytes mean.
    pub kind: Kind,
}

/// What a type consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A number, a `bool` or a `char`.
    Primitive(Primitive),
    /// `[element; len]`.
    Array {
        /// The schema of every element.
        element: &'static Schema,
        /// How many elements there are.
        len: usize,
    },
    /// A struct; padding fields are left out.
    Struct {
        /// The type's own name, without its module path.
        name: &'static str,
        /// In the order of their offsets.
        fields: &'static [Field],
    },
    /// An enum without fields.
    Enum {
        /// The type's own name, without its module path.
        name: &'static str,
        /// The integer that holds the value.
        repr: Primitive,
        /// In the order of their declaration.
        variants: &'static [Variant],
    },
}

/// One field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As in the source.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// The field's own type.
    pub schema: &'static Schema,
}

/// One value of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// As in the source.
    pub name: &'static str,
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
}

impl Schema {
    /// The name of the type as a Rust programmer writes it: `Pose`, `[f64; 7]`.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Primitive(primitive) => primitive.name().to_owned(),
            Kind::Array { element, len } => format!("[{}; {len}]", element.name()),
            Kind::Struct { name, .. } | Kind::Enum { name, .. } => name.to_owned(),
        }
    }

    /// The text over which [`hash`](Self::hash) is computed; its grammar is at the top of this module.
    ///
    /// ```
    /// use shm_comm::ShmMessage;
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(C)]
    /// struct Point { x: f64, y: f64 }
    ///
    /// assert_eq!(Point::SCHEMA.canonical(), "Point{x@0:f64,y@8:f64}16/8");
    /// ```
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = self.write_canonical(&mut text);
        text
    }

    /// 64-bit FNV-1a of the [canonical text](Self::canonical).
    ///
    /// Two types with the same hash have the same fields, names, types and offsets (attaching
    /// compares the texts as well, so that a collision of hashes decides nothing).
    /// The constants are those of <http://www.isthe.com/chongo/tech/comp/fnv/>.
    pub fn hash(&self) -> u64 {
        fnv1a(self.canonical().as_bytes())
    }

    fn write_canonical(&self, to: &mut impl Write) -> fmt::Result {
        match self.kind {
            Kind::Primitive(primitive) => to.write_str(primitive.name()),
            Kind::Array { element, len } => {
                to.write_char('[')?;
                element.write_canonical(to)?;
                write!(to, ";{len}]")
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
        }
    }
}

/// The [name](Schema::name) of the type with this canonical text, whatever is in the text.
pub(crate) fn name_in(text: &str) -> String {
    let mut element = text;
    let mut lengths = Vec::new();
    while let Some(array) = element.strip_prefix('[').and_then(|array| array.strip_suffix(']'))
        && let Some((inner, len)) = array.rsplit_once(';')
    {
        lengths.push(len);
        element = inner;
    }
    let mut name = "[".repeat(lengths.len());
    name.push_str(element.split(['{', ':']).next().unwrap_or_default());
    for len in lengths.iter().rev() {
        name.push_str("; ");
        name.push_str(len);
        name.push(']');
    }
    name
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
    use crate::ShmMessage;

    #[test]
    fn fnv_agrees_with_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn arrays_and_primitives_have_a_text() {
        assert_eq!(<[[f64; 3]; 2]>::SCHEMA.canonical(), "[[f64;3];2]");
        assert_eq!(<[[f64; 3]; 2]>::SCHEMA.name(), "[[f64; 3]; 2]");
        assert_eq!(bool::SCHEMA.canonical(), "bool");
    }

    #[test]
    fn the_text_has_the_name() {
        let point = Kind::Struct { name: "Point", fields: &[] };
        let point: &'static Schema = Box::leak(Box::new(Schema { size: 0, align: 1, kind: point }));
        let points = Schema { kind: Kind::Array { element: point, len: 3 }, ..*point };
        let gear = Kind::Enum { name: "Gear", repr: Primitive::U8, variants: &[] };
        let gear = Schema { size: 1, align: 1, kind: gear };
        for schema in [point, &points, &gear, bool::SCHEMA, <[[f64; 3]; 2]>::SCHEMA] {
            assert_eq!(name_in(&schema.canonical()), schema.name());
        }
        for (garbage, name) in [("", ""), ("[", "["), ("[]", "[]"), ("[;]", "[; ]"), ("{:", "")] {
            assert_eq!(name_in(garbage), name, "{garbage}");
        }
    }

    #[test]
    fn the_length_of_an_array_is_part_of_the_hash() {
        assert_ne!(<[u8; 4]>::SCHEMA.hash(), <[u8; 5]>::SCHEMA.hash());
    }
}
