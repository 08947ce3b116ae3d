//! Values that do not lie in memory as they are sent: how they become bytes, and values again.
//!
//! A [`Codec`] is a format, chosen at compile time by its name as a type. Three are here, each behind
//! the feature of its name, and others can be added by implementing the trait:
//!
//! | codec      | bytes                                                  | read by         |
//! |------------|--------------------------------------------------------|-----------------|
//! | `Msgpack`  | names of fields, every number in its shortest form     | every language  |
//! | `Postcard` | the fewest: no names, numbers of variable length       | Rust            |
//! | `Bincode`  | no names, numbers as they are in memory                | Rust            |
//!
//! With `Msgpack` a field can be added (`#[serde(default)]`) or removed on one side only. With the other
//! two, both sides need the same type, field by field.
//!
//! # Hostile input
//!
//! Bytes come from other processes. What these codecs make of them is bounded: memory and time by the
//! number of bytes, the stack by [`MAX_DEPTH`], and what is not exactly one value is an error. The
//! bounds are those of [`limit`], which codecs of your own can use, too.
//!
//! Not bounded is what a type itself does with what it is given. An enum with `#[serde(untagged)]` tries
//! one variant after the other: one that contains itself in several variants takes time that doubles with
//! every level, so up to 2 to the power of [`MAX_DEPTH`]. Tag such enums.

#[cfg(any(feature = "bincode", feature = "msgpack", feature = "postcard"))]
pub(crate) mod any;
#[cfg(feature = "bincode")]
mod bincode;
pub mod limit;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(any(feature = "bincode", feature = "postcard"))]
mod shape;
#[cfg(all(test, not(loom)))]
mod tests;

use std::io;

use serde::{Deserialize, Serialize};

pub use crate::error::{DecodeError, EncodeError};
#[cfg(feature = "bincode")]
pub use bincode::Bincode;
pub use limit::MAX_DEPTH;
#[cfg(feature = "msgpack")]
pub use msgpack::Msgpack;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;

/// A format: how values become bytes, and values again.
///
/// It is a name for the compiler, of which there is never a value in use. The bytes are decoded by
/// another process, which may be of another program: change the [`NAME`](Self::NAME) when the format
/// changes.
///
/// # Examples
///
/// Any format that serde knows can be one:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shm_comm::codec::{Codec, DecodeError, EncodeError, Sink, limit};
///
/// enum Json {}
///
/// impl Codec for Json {
///     const NAME: &'static str = "json";
///
///     fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Sink<'_>) -> Result<(), EncodeError> {
///         limit::serialize(Json::NAME, value, &mut serde_json::Serializer::new(into))
///     }
///
///     fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
///         let mut json = serde_json::Deserializer::from_slice(bytes);
///         let value = limit::deserialize(Json::NAME, bytes.len(), &mut json)?;
///         // Nothing may follow.
///         match json.end() {
///             Ok(()) => Ok(value),
///             Err(error) => Err(DecodeError::Codec { codec: Json::NAME, reason: error.to_string() }),
///         }
///     }
/// }
///
/// let mut slot = [0; 32];
/// let mut sink = Sink::new(&mut slot);
/// Json::encode(&("left", 0.5), &mut sink)?;
/// let len = sink.finish()?;
/// assert_eq!(&slot[..len], br#"["left",0.5]"#);
/// assert_eq!(Json::decode::<(&str, f64)>(&slot[..len])?, ("left", 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// What a channel's schema calls it: 1 to 32 of `a-z`, `0-9`, `_`, `.` and `-`.
    const NAME: &'static str;

    /// Writes `value`. What does not fit is no error here, but in [`Sink::finish`], which then knows
    /// how much it would have been: so do not stop early.
    ///
    /// # Errors
    ///
    /// The format has no form for this value, or it is nested too deeply.
    fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Sink<'_>) -> Result<(), EncodeError>;

    /// Makes a value of all of `bytes`, from which it may borrow.
    ///
    /// The bytes may be anything. An implementation must not panic, whatever they are, and use memory
    /// and stack within bounds, for which [`limit::deserialize`] is there.
    ///
    /// # Errors
    ///
    /// The bytes are not one value of the type, or break a limit.
    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError>;
}

/// Whether a codec can have this name.
#[doc(hidden)]
pub const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-') {
            return false;
        }
        at += 1;
    }
    1 <= at && at <= 32
}

/// Where a codec writes to: the bytes of a slot.
///
/// What does not fit is counted, not stored, and no error before [`finish`](Self::finish). So one pass
/// over the value tells how much room it needs. As an [`io::Write`] it takes everything and never fails.
///
/// ```
/// use std::io::Write;
///
/// use shm_comm::codec::{EncodeError, Sink};
///
/// let mut slot = [0; 4];
/// let mut sink = Sink::new(&mut slot);
/// sink.write_all(b"five!")?;
/// assert_eq!(sink.finish(), Err(EncodeError::TooLong { needed: 5, max: 4 }));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Sink<'a> {
    bytes: &'a mut [u8],
    /// Beyond the end of `bytes` if something did not fit. Never less than what is stored.
    needed: usize,
}

impl<'a> Sink<'a> {
    /// Writes to the beginning of `bytes`.
    #[inline]
    pub fn new(bytes: &'a mut [u8]) -> Sink<'a> {
        Sink { bytes, needed: 0 }
    }

    /// Bytes that were written up to now, or would have been if there were room.
    #[inline]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// How many bytes were written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] if that is more than there was room for. What the slot holds then is the
    /// beginning of the value.
    #[inline]
    pub fn finish(self) -> Result<usize, EncodeError> {
        match self.needed {
            needed if needed <= self.bytes.len() => Ok(needed),
            needed => Err(EncodeError::TooLong { needed, max: self.bytes.len() }),
        }
    }

    /// Where it writes to.
    pub(crate) fn room(&self) -> *const [u8] {
        self.bytes
    }

    /// Appends `bytes`, all or nothing.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let end = self.needed.saturating_add(bytes.len());
        // After something that did not fit, nothing does: it starts beyond the end.
        if let Some(room) = self.bytes.get_mut(self.needed..end) {
            room.copy_from_slice(bytes);
        }
        self.needed = end;
    }
}

impl io::Write for Sink<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes);
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
