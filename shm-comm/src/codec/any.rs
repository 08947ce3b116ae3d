//! Encoded values of types that are not known here.
//!
//! MessagePack says of everything what it is. In the other formats only the name of the type can help,
//! which is in the schema: if there are none but standard types in it, it says what the bytes are
//! (`shape`).

use std::cell::Cell;
use std::collections::TryReserveError;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Codec, DecodeError};
use crate::schema::view::Any;

/// Values that a tree may have. A value that takes a byte of a message takes 32 here, and more in a map.
///
/// The documentation of `Schema::view` and `Value::Raw` names the number.
const MAX_VALUES: usize = 1 << 20;
/// Elements for which room is made because a message says that they come.
const MAX_HINT: usize = 4096;

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

/// How many values there may still be in a tree.
pub(super) struct Left(Cell<usize>);

impl Left {
    pub fn new() -> Left {
        Left(Cell::new(MAX_VALUES))
    }

    /// Another one.
    pub fn count<E: Error>(&self) -> Result<(), E> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!(
                "it has more than {MAX_VALUES} values, the most that are shown without its type"
            ))),
        }
    }
}

/// A list with room for some of the elements that a message claims to have.
pub(super) fn list<T, E: Error>(claim: Option<usize>) -> Result<Vec<T>, E> {
    let mut list = Vec::new();
    list.try_reserve(claim.unwrap_or(0).min(MAX_HINT)).map_err(no_memory)?;
    Ok(list)
}

/// Where memory is short, a message is not shown; that is no reason for the program to end.
pub(super) fn push<T, E: Error>(list: &mut Vec<T>, value: T) -> Result<(), E> {
    list.try_reserve(1).map_err(no_memory)?;
    list.push(value);
    Ok(())
}

#[cold]
fn no_memory<E: Error>(error: TryReserveError) -> E {
    E::custom(format_args!("there is no memory for its values: {error}"))
}

/// Whatever a format says that there is: a whole tree.
impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
        AnySeed(&Left::new()).deserialize(deserializer)
    }
}

/// A value in a tree.
struct AnySeed<'l>(&'l Left);

impl<'de> DeserializeSeed<'de> for AnySeed<'_> {
    type Value = Any;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        self.0.count()?;
        deserializer.deserialize_any(AnyVisitor(self.0))
    }
}

/// A value that was counted.
pub(super) struct AnyVisitor<'l>(pub &'l Left);

impl<'de> Visitor<'de> for AnyVisitor<'_> {
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
        let mut owned = String::new();
        owned.try_reserve_exact(text.len()).map_err(no_memory)?;
        owned.push_str(text);
        Ok(Any::Text(owned))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Any, E> {
        Ok(Any::Text(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Any, E> {
        let mut owned = Vec::new();
        owned.try_reserve_exact(bytes.len()).map_err(no_memory)?;
        owned.extend_from_slice(bytes);
        Ok(Any::Bytes(owned))
    }

    fn visit_none<E: Error>(self) -> Result<Any, E> {
        Ok(Any::None)
    }

    fn visit_unit<E: Error>(self) -> Result<Any, E> {
        Ok(Any::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        Ok(Any::Some(AnySeed(self.0).deserialize(deserializer)?.into()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Any, A::Error> {
        let mut values = list(from.size_hint())?;
        while let Some(value) = from.next_element_seed(AnySeed(self.0))? {
            push(&mut values, value)?;
        }
        Ok(Any::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Any, A::Error> {
        let mut entries = list(from.size_hint())?;
        while let Some(entry) = from.next_entry_seed(AnySeed(self.0), AnySeed(self.0))? {
            push(&mut entries, entry)?;
        }
        Ok(Any::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::Error;

    use super::*;

    /// `left` values, and whoever asks is told that there are all that can be.
    struct Liar {
        left: usize,
    }

    impl<'de> SeqAccess<'de> for Liar {
        type Error = Error;

        fn next_element_seed<T: DeserializeSeed<'de>>(
            &mut self,
            seed: T,
        ) -> Result<Option<T::Value>, Error> {
            let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
            self.left = left;
            seed.deserialize(serde::de::value::BoolDeserializer::new(true)).map(Some)
        }

        fn size_hint(&self) -> Option<usize> {
            Some(usize::MAX)
        }
    }

    impl<'de> MapAccess<'de> for Liar {
        type Error = Error;

        fn next_key_seed<T: DeserializeSeed<'de>>(
            &mut self,
            seed: T,
        ) -> Result<Option<T::Value>, Error> {
            self.next_element_seed(seed)
        }

        fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
            seed.deserialize(serde::de::value::BoolDeserializer::new(true))
        }

        fn size_hint(&self) -> Option<usize> {
            Some(usize::MAX)
        }
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        let all = Left::new();
        match AnyVisitor(&all).visit_seq(Liar { left: 3 }) {
            Ok(Any::List(values)) => {
                assert_eq!(values.len(), 3);
                assert!(values.capacity() <= MAX_HINT);
            }
            other => panic!("{other:?}"),
        }
        match AnyVisitor(&all).visit_map(Liar { left: 3 }) {
            Ok(Any::Map(entries)) => assert!(entries.len() == 3 && entries.capacity() <= MAX_HINT),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_there_is_no_memory_for_is_an_error() {
        let mut list = Vec::<Any>::new();
        let error = list.try_reserve(usize::MAX).map_err(no_memory::<Error>).unwrap_err();
        assert!(error.to_string().starts_with("there is no memory for its values: "), "{error}");
    }

    #[test]
    fn a_tree_has_a_bounded_number_of_values() {
        let text = "it has more than 1048576 values, the most that are shown without its type";
        let decoded = |codec, name, bytes: &[u8]| match decode(codec, name, bytes) {
            Ok(Any::List(values)) => Ok(values.len()),
            Ok(other) => panic!("{other:?}"),
            Err(reason) => Err(reason.unwrap().to_string()),
        };
        let is_refused = |result: Result<usize, String>| result.is_err_and(|e| e.contains(text));
        for (len, is_shown) in [(MAX_VALUES - 1, true), (MAX_VALUES, false)] {
            #[cfg(feature = "msgpack")]
            {
                let mut bytes = vec![0xc0; 5 + len];
                bytes[0] = 0xdd;
                bytes[1..5].copy_from_slice(&(len as u32).to_be_bytes());
                let result = decoded("msgpack", "Plan", &bytes);
                assert!(if is_shown { result == Ok(len) } else { is_refused(result) });
            }
            #[cfg(feature = "bincode")]
            {
                let bytes = [&(len as u64).to_le_bytes()[..], &vec![1; len]].concat();
                let result = decoded("bincode", "Vec<bool>", &bytes);
                assert!(if is_shown { result == Ok(len) } else { is_refused(result) });
            }
            #[cfg(feature = "postcard")]
            {
                let mut bytes = Vec::new();
                let mut rest = len;
                while rest > 0x7f {
                    bytes.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
                bytes.resize(bytes.len() + len, 1);
                let result = decoded("postcard", "Vec<bool>", &bytes);
                assert!(if is_shown { result == Ok(len) } else { is_refused(result) });
            }
        }
        // Whatever there is counts: keys, values, and what is in an option.
        #[cfg(feature = "bincode")]
        for name in ["Vec<Option<u8>>", "HashMap<u8, u8>", "Vec<(u8,)>"] {
            let len = MAX_VALUES / 2;
            let bytes = [&(len as u64).to_le_bytes()[..], &vec![1; 2 * len]].concat();
            let width = if name == "Vec<(u8,)>" { 1 } else { 2 };
            let result = decoded("bincode", name, &bytes[..8 + width * len]);
            assert!(is_refused(result), "{name}");
        }
    }
}
