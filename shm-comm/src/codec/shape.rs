//! What the name of a type says of its bytes, if there are none but standard types in it:
//! `Vec<(String, Option<[f32; 3]>)>`.
//!
//! A name comes from a segment, and with it a shape. So its depth is bounded when it is parsed, and what
//! it makes of few bytes when these are decoded: [`limit`](super::limit) counts the elements of lists and maps,
//! here those values are counted that take no bytes in a tuple or an array, and [`Left`] counts all.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::DecodeError;
use super::any::{AnyVisitor, Left, list, push};
use crate::schema::view::Any;

/// Levels of a name. What has more is no type that anybody writes.
const MAX_DEPTH: usize = 32;
/// serde knows no longer ones.
const MAX_ARRAY: usize = 32;
/// Values that take no bytes, in a message.
const FREE_VALUES: usize = 4096;

#[derive(Debug, PartialEq)]
pub(super) enum Shape {
    Bool,
    Char,
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
    Text,
    Unit,
    Tuple(Vec<Shape>),
    Array(Box<Shape>, usize),
    List(Box<Shape>),
    Option(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
}

impl Shape {
    /// Of a type's name without module paths.
    pub fn parse(name: &str) -> Option<Shape> {
        let mut parser = Parser { rest: name };
        let shape = parser.shape(1)?;
        parser.rest.is_empty().then_some(shape)
    }

    /// What `decode` makes of its bytes by this shape.
    pub fn decode(
        &self,
        decode: impl FnOnce(Seed<'_>) -> Result<Any, DecodeError>,
    ) -> Result<Any, DecodeError> {
        decode(Seed { shape: self, left: &Left::new(), free: &Cell::new(FREE_VALUES) })
    }
}

struct Parser<'n> {
    rest: &'n str,
}

impl<'n> Parser<'n> {
    fn shape(&mut self, depth: usize) -> Option<Shape> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take("&") {
            self.lifetime();
            return self.shape(depth + 1);
        }
        if self.take("(") {
            return self.tuple(depth);
        }
        if self.take("[") {
            let element = self.shape(depth + 1)?.into();
            if self.take("]") {
                return Some(Shape::List(element));
            }
            self.expect("; ")?;
            let len = self.number().filter(|len| *len <= MAX_ARRAY)?;
            self.expect("]")?;
            return Some(Shape::Array(element, len));
        }
        Some(match self.word() {
            "bool" => Shape::Bool,
            "char" => Shape::Char,
            "u8" => Shape::U8,
            "u16" => Shape::U16,
            "u32" => Shape::U32,
            "u64" | "usize" => Shape::U64,
            "u128" => Shape::U128,
            "i8" => Shape::I8,
            "i16" => Shape::I16,
            "i32" => Shape::I32,
            "i64" | "isize" => Shape::I64,
            "i128" => Shape::I128,
            "f32" => Shape::F32,
            "f64" => Shape::F64,
            "str" | "String" => Shape::Text,
            "Option" => Shape::Option(self.argument(depth)?.into()),
            "Vec" | "VecDeque" | "BTreeSet" | "HashSet" => {
                Shape::List(self.argument(depth)?.into())
            }
            "BTreeMap" | "HashMap" => {
                self.expect("<")?;
                let key = self.shape(depth + 1)?.into();
                self.expect(", ")?;
                let value = self.shape(depth + 1)?.into();
                self.expect(">")?;
                Shape::Map(key, value)
            }
            // They are written as what is in them.
            "Box" | "Arc" | "Rc" | "Cow" => self.argument(depth)?,
            _ => return None,
        })
    }

    fn tuple(&mut self, depth: usize) -> Option<Shape> {
        if self.take(")") {
            return Some(Shape::Unit);
        }
        let mut fields = vec![self.shape(depth + 1)?];
        while self.take(", ") {
            fields.push(self.shape(depth + 1)?);
        }
        // Behind a single one there is a comma.
        let is_single = fields.len() == 1;
        self.expect(if is_single { ",)" } else { ")" })?;
        Some(Shape::Tuple(fields))
    }

    fn argument(&mut self, depth: usize) -> Option<Shape> {
        self.expect("<")?;
        if self.lifetime() {
            self.take(", ");
        }
        let argument = self.shape(depth + 1)?;
        self.expect(">")?;
        Some(argument)
    }

    /// Newer compilers write some of them.
    fn lifetime(&mut self) -> bool {
        let is_there = self.take("'");
        if is_there {
            self.word();
            self.take(" ");
        }
        is_there
    }

    fn word(&mut self) -> &'n str {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Option<usize> {
        self.word().parse().ok()
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.take(token).then_some(())
    }
}

/// A value of a shape.
#[derive(Clone, Copy)]
pub(super) struct Seed<'s> {
    shape: &'s Shape,
    left: &'s Left,
    /// How many values without bytes there may still be.
    free: &'s Cell<usize>,
}

impl<'s> Seed<'s> {
    fn of(self, shape: &'s Shape) -> Seed<'s> {
        Seed { shape, ..self }
    }

    fn count_free<E: Error>(self) -> Result<(), E> {
        match self.free.get().checked_sub(1) {
            Some(left) => {
                self.free.set(left);
                Ok(())
            }
            None => Err(E::custom("too many values that take no bytes")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Any;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Any, D::Error> {
        self.left.count()?;
        let visitor = AnyVisitor(self.left);
        match self.shape {
            Shape::Bool => from.deserialize_bool(visitor),
            Shape::Char => from.deserialize_char(visitor),
            Shape::U8 => from.deserialize_u8(visitor),
            Shape::U16 => from.deserialize_u16(visitor),
            Shape::U32 => from.deserialize_u32(visitor),
            Shape::U64 => from.deserialize_u64(visitor),
            Shape::U128 => from.deserialize_u128(visitor),
            Shape::I8 => from.deserialize_i8(visitor),
            Shape::I16 => from.deserialize_i16(visitor),
            Shape::I32 => from.deserialize_i32(visitor),
            Shape::I64 => from.deserialize_i64(visitor),
            Shape::I128 => from.deserialize_i128(visitor),
            Shape::F32 => from.deserialize_f32(visitor),
            Shape::F64 => from.deserialize_f64(visitor),
            Shape::Text => from.deserialize_string(visitor),
            Shape::Unit => {
                self.count_free()?;
                from.deserialize_unit(visitor)
            }
            Shape::Tuple(fields) => from.deserialize_tuple(fields.len(), self),
            Shape::Array(_, len) => {
                if *len == 0 {
                    self.count_free()?;
                }
                from.deserialize_tuple(*len, self)
            }
            Shape::List(_) => from.deserialize_seq(self),
            Shape::Option(_) => from.deserialize_option(self),
            Shape::Map(..) => from.deserialize_map(self),
        }
    }
}

/// What has something in it.
impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the name of the type says")
    }

    fn visit_none<E: Error>(self) -> Result<Any, E> {
        Ok(Any::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Any, D::Error> {
        match self.shape {
            Shape::Option(inside) => Ok(Any::Some(self.of(inside).deserialize(from)?.into())),
            _ => Err(D::Error::custom("an option that is none")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Any, A::Error> {
        let mut values = list(from.size_hint())?;
        let mut fields: &mut dyn Iterator<Item = &Shape> = match self.shape {
            Shape::Tuple(fields) => &mut fields.iter(),
            Shape::Array(element, len) => &mut std::iter::repeat_n(&**element, *len),
            Shape::List(element) => {
                while let Some(value) = from.next_element_seed(self.of(element))? {
                    push(&mut values, value)?;
                }
                &mut std::iter::empty()
            }
            _ => &mut std::iter::empty(),
        };
        for field in &mut fields {
            match from.next_element_seed(self.of(field))? {
                Some(value) => push(&mut values, value)?,
                None => return Err(A::Error::invalid_length(values.len(), &self)),
            }
        }
        Ok(Any::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Any, A::Error> {
        let mut entries = list(from.size_hint())?;
        if let Shape::Map(key, value) = self.shape {
            while let Some(entry) = from.next_entry_seed(self.of(key), self.of(value))? {
                push(&mut entries, entry)?;
            }
        }
        Ok(Any::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_standard_types_have_a_shape() {
        fn list(element: Shape) -> Shape {
            Shape::List(element.into())
        }
        for (name, shape) in [
            ("u8", Shape::U8),
            ("usize", Shape::U64),
            ("()", Shape::Unit),
            ("(f32,)", Shape::Tuple(vec![Shape::F32])),
            ("(String, f32)", Shape::Tuple(vec![Shape::Text, Shape::F32])),
            ("Vec<u64>", list(Shape::U64)),
            ("Box<[char]>", list(Shape::Char)),
            ("&str", Shape::Text),
            ("&'static [bool]", list(Shape::Bool)),
            ("Cow<str>", Shape::Text),
            ("Cow<'_, str>", Shape::Text),
            ("Option<[u16; 3]>", Shape::Option(Shape::Array(Shape::U16.into(), 3).into())),
            ("HashMap<String, f64>", Shape::Map(Shape::Text.into(), Shape::F64.into())),
            (
                "BTreeMap<u8, HashSet<VecDeque<i128>>>",
                Shape::Map(Shape::U8.into(), list(list(Shape::I128)).into()),
            ),
        ] {
            assert_eq!(Shape::parse(name), Some(shape), "{name}");
        }
    }

    #[test]
    fn other_names_have_none() {
        let deep = format!("{}u8{}", "Vec<".repeat(32), ">".repeat(32));
        for name in [
            "",
            "Plan",
            "Vec<Plan>",
            "Vec<u8",
            "Vec<u8>>",
            "Vec",
            "(u8)",
            "(u8, )",
            "[u8; 33]",
            "[u8; -1]",
            "[u8;3]",
            "u8 ",
            "HashMap<u8>",
            "Duration",
            "größe",
            "(u8, größe)",
            "&'",
            &deep,
        ] {
            assert_eq!(Shape::parse(name), None, "{name}");
        }
        assert!(Shape::parse(&deep[4..deep.len() - 1]).is_some());
    }
}
