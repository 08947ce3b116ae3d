//! The wire format of the crate `postcard`, <https://postcard.jamesmunns.com>.

use std::marker::PhantomData;

use postcard::de_flavors::Slice;
use postcard::ser_flavors::Flavor;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Serialize};

use super::{Codec, DecodeError, EncodeError, Sink, limit};

/// [postcard](https://postcard.jamesmunns.com): the fewest bytes, for the same type on both sides.
///
/// No names; numbers of 16 bits and more in 7-bit groups; an enum is its variant's number. Types
/// that ask the format what follows (`#[serde(untagged)]`, `#[serde(flatten)]`, `skip_serializing_if`)
/// cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postcard {}

impl Codec for Postcard {
    const NAME: &'static str = "postcard";

    #[inline]
    fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Sink<'_>) -> Result<(), EncodeError> {
        let mut serializer = postcard::Serializer { output: Output(into) };
        limit::serialize(Postcard::NAME, value, &mut serializer)
    }

    #[inline]
    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
        Postcard::decode_seed(PhantomData, bytes)
    }
}

impl Postcard {
    /// As `decode`, of a type that is only known at run time.
    #[inline]
    pub(super) fn decode_seed<'a, T: DeserializeSeed<'a>>(
        seed: T,
        bytes: &'a [u8],
    ) -> Result<T::Value, DecodeError> {
        let mut deserializer = postcard::Deserializer::from_flavor(Slice::new(bytes));
        let value = limit::deserialize_seed(Postcard::NAME, bytes.len(), seed, &mut deserializer);
        // A slice always says what is left of it.
        let left = deserializer.finalize().map_or(0, <[u8]>::len);
        let len = bytes.len();
        match value {
            Ok(value) if left == 0 => Ok(value),
            Ok(_) => Err(DecodeError::Trailing { left, len }),
            Err(error) => Err(error.at(len - left)),
        }
    }
}

/// A sink, as the crate wants it.
struct Output<'s, 'b>(&'s mut Sink<'b>);

impl Flavor for Output<'_, '_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put(&[byte]);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.put(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
