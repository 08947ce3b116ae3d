//! The limits, with formats that are not ours.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::{DecodeError, EncodeError};
use crate::codec::{MAX_DEPTH, limit};

fn from_json<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, DecodeError> {
    limit::deserialize("json", json.len(), &mut serde_json::Deserializer::from_str(json))
}

#[test]
fn a_format_keeps_the_place_that_it_tells() {
    let reason = |result| match result {
        Err(DecodeError::Codec { codec: "json", reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(from_json::<Vec<(u8, bool)>>("[[1, true],\n [2, 3]]").map(drop)),
        "invalid type: integer `3`, expected a boolean at line 2 column 6"
    );
    assert_eq!(
        reason(from_json::<Vec<u8>>("[1, 2").map(drop)),
        "EOF while parsing a list at line 1 column 5"
    );
}

#[test]
fn a_format_may_be_human_readable() {
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    let mut bytes = Vec::new();
    limit::serialize("json", &[address], &mut serde_json::Serializer::new(&mut bytes)).unwrap();
    assert_eq!(bytes, br#"["127.0.0.1"]"#);
    assert_eq!(from_json::<[std::net::IpAddr; 1]>(r#"["127.0.0.1"]"#), Ok([address]));
}

#[test]
fn a_key_that_is_none_is_the_formats_error() {
    let map = std::collections::BTreeMap::from([(vec![1], 2)]);
    let mut bytes = Vec::new();
    let result = limit::serialize("json", &map, &mut serde_json::Serializer::new(&mut bytes));
    let reason = "key must be a string".to_owned();
    assert_eq!(result, Err(EncodeError::Codec { codec: "json", reason }));
}

/// How many elements each sequence says that it has, itself first.
#[derive(Debug, PartialEq)]
struct Hints(Vec<Option<usize>>);

impl<'de> Deserialize<'de> for Hints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Asks;
        impl<'de> Visitor<'de> for Asks {
            type Value = Hints;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sequences")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut inside: A) -> Result<Hints, A::Error> {
                let mut hints = vec![inside.size_hint()];
                while let Some(Hints(more)) = inside.next_element()? {
                    hints.extend(more);
                }
                Ok(Hints(hints))
            }
        }
        deserializer.deserialize_seq(Asks)
    }
}

/// A format that makes things up: sequences of `width` sequences, down to `depth`, that claim `claim`.
#[derive(Clone, Copy)]
struct Claims {
    claim: usize,
    width: usize,
    depth: usize,
}

impl<'de> Deserializer<'de> for Claims {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor
            .visit_seq(Elements { each: self, left: if self.depth > 0 { self.width } else { 0 } })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Elements {
    each: Claims,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements {
    type Error = de::value::Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(Claims { depth: self.each.depth - 1, ..self.each }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.each.claim)
    }
}

#[test]
fn all_sequences_together_claim_no_more_than_there_are_bytes() {
    let hints = |claim, len| {
        let format = Claims { claim, width: 1, depth: 4 };
        limit::deserialize::<Hints, _>("claims", len, format).unwrap().0
    };
    assert_eq!(hints(3, 100), [Some(3); 5]);
    assert_eq!(hints(3, 8), [Some(3), Some(3), Some(2), Some(0), Some(0)]);
    assert_eq!(hints(usize::MAX, 8), [Some(8), Some(0), Some(0), Some(0), Some(0)]);
}

#[test]
fn limits_hold_for_any_format() {
    let decode = |width, depth, len| {
        let format = Claims { claim: 0, width, depth };
        limit::deserialize::<Hints, _>("claims", len, format).map(|hints| hints.0.len())
    };
    assert_eq!(decode(1, MAX_DEPTH - 1, 0), Ok(MAX_DEPTH));
    assert_eq!(decode(1, MAX_DEPTH, 0), Err(DecodeError::TooDeep { max: MAX_DEPTH }));
    assert_eq!(decode(4096 + 5, 1, 5), Ok(1 + 4096 + 5));
    let error = DecodeError::TooManyValues { len: 5, max: 4096 + 5 };
    assert_eq!(decode(4096 + 6, 1, 5), Err(error));
}
