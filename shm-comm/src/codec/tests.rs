//! What all codecs promise is in `promises`, what the bytes of each are in the module of its name.

// Without any of the codecs there is little to test.
#![cfg_attr(
    not(any(feature = "bincode", feature = "msgpack", feature = "postcard")),
    allow(dead_code)
)]

#[cfg(feature = "bincode")]
mod bincode;
mod limit;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(any(feature = "bincode", feature = "msgpack", feature = "postcard"))]
mod promises;
mod sink;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::{Codec, DecodeError, EncodeError, Sink};

/// All of `value`, however long.
fn encode<C: Codec>(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, EncodeError> {
    let mut sink = Sink::new(&mut []);
    C::encode(value, &mut sink)?;
    let mut bytes = vec![0; sink.needed()];
    let mut sink = Sink::new(&mut bytes);
    C::encode(value, &mut sink)?;
    assert_eq!(sink.finish(), Ok(bytes.len()));
    Ok(bytes)
}

/// These are the bytes, and they are the value.
#[track_caller]
fn golden<C: Codec, T>(value: T, bytes: &[u8])
where
    T: Serialize + de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(encode::<C>(&value).as_deref(), Ok(bytes), "{value:?}");
    assert_eq!(C::decode::<T>(bytes), Ok(value));
}

/// Why it is no `T`.
#[track_caller]
fn refusal<'a, C: Codec, T: Deserialize<'a>>(bytes: &'a [u8]) -> String {
    match C::decode::<T>(bytes) {
        Err(DecodeError::Codec { codec, reason }) => {
            assert_eq!(codec, C::NAME);
            reason
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is a value"),
    }
}

/// What serde calls bytes, which is neither a `Vec<u8>` nor a `&[u8]` for it. Borrowed or nothing.
#[derive(Debug, PartialEq)]
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Raw)
    }
}

/// A type that takes nothing, whatever there is.
#[derive(Debug, PartialEq)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Nothing)
    }
}
