//! MessagePack, <https://msgpack.org>, as the crate `rmp-serde` writes it with named fields.

use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};
use serde::ser::Serialize;

use super::{Codec, DecodeError, EncodeError, Sink, limit};

/// [MessagePack](https://msgpack.org): read by every language, and by another version of the type.
///
/// A struct is a map of its fields by name; an enum is the name of its variant, or a map from that name
/// to its content; `u128` and `i128` are 16 bytes, big-endian; `None` and `()` are nil. So `Some(None)` and
/// `Some(())` come out as `None`.
///
/// Fields that the type does not have are skipped, those that are missing are an error, unless the type
/// has a default for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Msgpack {}

impl Codec for Msgpack {
    const NAME: &'static str = "msgpack";

    #[inline]
    fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Sink<'_>) -> Result<(), EncodeError> {
        let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
        limit::serialize(Msgpack::NAME, value, &mut serializer)
    }

    #[inline]
    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
        let value = limit::deserialize(Msgpack::NAME, bytes.len(), &mut deserializer)?;
        match deserializer.deserialize_option(Another) {
            Ok(()) => Err(trailing(bytes)),
            Err(_) => Ok(value),
        }
    }
}

/// Whether another value begins, which is not read. It is an error if there is no byte.
struct Another;

impl<'de> Visitor<'de> for Another {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the end")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D>(self, _: D) -> Result<(), D::Error>
    where
        D: Deserializer<'de>,
    {
        Ok(())
    }
}

/// The deserialiser does not tell how far it has come: so once more, through a reader that does.
#[cold]
fn trailing(bytes: &[u8]) -> DecodeError {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    match limit::deserialize::<IgnoredAny, _>(Msgpack::NAME, bytes.len(), &mut deserializer) {
        Ok(_) => DecodeError::Trailing { left: rest.len(), len: bytes.len() },
        Err(error) => error,
    }
}
