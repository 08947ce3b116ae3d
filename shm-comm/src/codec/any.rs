//! Encoded values of types that are not known here.
//!
//! MessagePack says of everything what it is. In the other formats only the name of the type can help,
//! which is in the schema: if there are none but standard types in it, it says what the bytes are
//! (`shape`).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Codec, DecodeError};
use crate::schema::view::Any;

/// What these bytes say, under the names of a codec and a type; or why they say nothing, if it was tried.
pub(crate) fn decode(codec: &str, name: &str, bytes: &[u8]) -> Result<Any, Option<DecodeError>> {
    // Not every codec needs it.
    let _ = name;
    #[cfg(feature = "msgpack")]
    if codec == super::Msgpack::NAME {
        return super::Msgpack::decode(bytes).map_err(Some);
    }
    #[cfg(feature = "postcard")]
    if codec == super::Postcard::NAME {
        let shape = super::shape::Shape::parse(name).ok_or(None)?;
        return shape.decode(|seed| super::Postcard::decode_seed(seed, bytes)).map_err(Some);
    }
    #[cfg(feature = "bincode")]
    if codec == super::Bincode::NAME {
        let shape = super::shape::Shape::parse(name).ok_or(None)?;
        return shape.decode(|seed| super::Bincode::decode_seed(seed, bytes)).map_err(Some);
    }
    Err(None)
}

/// Whatever a format says that there is.
impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

pub(super) struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Any, E> {
        Ok(Any::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Any, E> {
        Ok(Any::Signed(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Any, E> {
        Ok(Any::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Any, E> {
        Ok(Any::Unsigned(value.into()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Any, E> {
        Ok(Any::Unsigned(value))
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<Any, E> {
        Ok(Any::F32(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Any, E> {
        Ok(Any::F64(value))
    }

    fn visit_char<E: Error>(self, value: char) -> Result<Any, E> {
        Ok(Any::Char(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Any, E> {
        Ok(Any::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Any, E> {
        Ok(Any::Text(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Any, E> {
        Ok(Any::Bytes(bytes.to_owned()))
    }

    fn visit_none<E: Error>(self) -> Result<Any, E> {
        Ok(Any::None)
    }

    fn visit_unit<E: Error>(self) -> Result<Any, E> {
        Ok(Any::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        Ok(Any::Some(Any::deserialize(deserializer)?.into()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        Any::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Any, A::Error> {
        let mut values = Vec::with_capacity(from.size_hint().unwrap_or(0));
        while let Some(value) = from.next_element()? {
            values.push(value);
        }
        Ok(Any::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Any, A::Error> {
        let mut entries = Vec::with_capacity(from.size_hint().unwrap_or(0));
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(Any::Map(entries))
    }
}
