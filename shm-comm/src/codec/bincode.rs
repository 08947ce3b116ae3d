//! The default wire format of the crate `bincode` 1, which is not maintained any more.
//!
//! ```text
//! u8 i8 … u128 i128, f32 f64   as in memory, little-endian
//! bool, Option                 u8: 0 or 1; then what is in the Some
//! char                         its UTF-8 bytes, 1 to 4 of them
//! str, bytes, seq              u64: length in bytes or elements; then those
//! map                          u64: number of pairs; then key, value, key, value, …
//! enum                         u32: the variant's number; then its content
//! struct, tuple, array         its fields
//! unit, newtype                nothing; what is in it
//! ```
//!
//! So only a char or a length can be wrong, a tag, or the end can come too early. Nothing says what
//! follows: a type that asks (`deserialize_any`) cannot be decoded.

mod de;
mod ser;

use std::marker::PhantomData;

use serde::de::DeserializeSeed;
use serde::{Deserialize, Serialize};

use super::{Codec, DecodeError, EncodeError, Sink, limit};

/// What the crate `bincode` 1 writes by default: plain numbers, for the same type on both sides.
///
/// No names; numbers as they are in memory, little-endian, lengths as `u64`; an enum is its variant's
/// number. Bytes after the value are an error, which `bincode::deserialize` ignored. Types that ask the
/// format what follows (`#[serde(untagged)]`, `#[serde(flatten)]`, `skip_serializing_if`) cannot be decoded.
///
/// The crate has no future (RUSTSEC-2025-0141), its format has: this is an implementation of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bincode {}

impl Codec for Bincode {
    const NAME: &'static str = "bincode";

    #[inline]
    fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Sink<'_>) -> Result<(), EncodeError> {
        limit::serialize(Bincode::NAME, value, &mut ser::Serializer { into })
    }

    #[inline]
    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
        Bincode::decode_seed(PhantomData, bytes)
    }
}

impl Bincode {
    /// As `decode`, of a type that is only known at run time.
    #[inline]
    pub(super) fn decode_seed<'a, T: DeserializeSeed<'a>>(
        seed: T,
        bytes: &'a [u8],
    ) -> Result<T::Value, DecodeError> {
        let mut deserializer = de::Deserializer { rest: bytes };
        let value = limit::deserialize_seed(Bincode::NAME, bytes.len(), seed, &mut deserializer);
        let (left, len) = (deserializer.rest.len(), bytes.len());
        match value {
            Ok(value) if left == 0 => Ok(value),
            Ok(_) => Err(DecodeError::Trailing { left, len }),
            Err(error) => Err(error.at(len - left)),
        }
    }
}
