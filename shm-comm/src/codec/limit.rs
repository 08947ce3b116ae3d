//! How much one message may ask for: levels, elements, memory. For every format of serde.
//!
//! The format's (de)serialiser and the user's type are kept apart: each sees a wrapper in place of the
//! other, which counts what passes and hands it on, borrowed data as borrowed.
//!
//! * **Levels.** A struct, tuple, sequence, map, `Some` or newtype is one level deeper than what it is
//!   in. `Some` and newtypes count, because they may be no bytes at all, and yet a type may be an
//!   `Option` of itself.
//! * **Elements.** Those of sequences and maps count, fields of structs and tuples do not, whose number
//!   the type knows. An element takes a byte at least that is in no other element, unless its type has
//!   no size: so a message of `len` bytes may have `len` elements, and 4096 more for those.
//! * **Memory.** A sequence that claims a length gets room for that many elements at once, but all
//!   sequences of a message together for no more than it has bytes.
//!
//! A codec of your own is [`serialize`] and [`deserialize`] with another format's serialisers: see the
//! example of [`Codec`](super::Codec).

// How an error gets out: the user's type fails with a `Failure`. The format can only pass an error of
// its own on, and some formats keep no text. So the failure waits in the `Budget` while the format's
// error goes through the format (`carry`), and takes its place again on the other side (`uncarry`).

mod de;
mod ser;

use std::cell::Cell;
use std::fmt::{self, Display, Write};
use std::marker::PhantomData;

use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DecodeError, EncodeError};

/// How deeply a value may be nested, for encoding and for decoding.
///
/// Every struct, tuple, sequence, map, newtype, `Some` and enum variant with content is a level. So a
/// `struct Node { children: Vec<Node> }` takes two for each generation. They fit a thread's usual stack of
/// 2 MiB, in a debug build too, unless the type itself has kilobytes.
pub const MAX_DEPTH: usize = 128;

/// Elements of no size that a message may have, apart from one for each byte.
const FREE_VALUES: usize = 4096;

/// What is kept of a reason, in bytes: it may quote the message.
const MAX_REASON: usize = 256;

/// Serialises `value` with the serialiser of any format, down to [`MAX_DEPTH`].
///
/// `codec` is the codec's name, for errors.
///
/// # Errors
///
/// [`EncodeError::TooDeep`], and [`EncodeError::Codec`] for what the serialiser or the type says.
pub fn serialize<T: Serialize + ?Sized, S: Serializer>(
    codec: &'static str,
    value: &T,
    serializer: S,
) -> Result<S::Ok, EncodeError> {
    let budget = Budget::new(0);
    ser::serialize(value, serializer, budget.top()).map_err(|failure| match *failure.0 {
        Cause::Reason(reason) => EncodeError::Codec { codec, reason },
        // There is no limit for elements here.
        Cause::TooDeep | Cause::TooManyValues => EncodeError::TooDeep { max: MAX_DEPTH },
    })
}

/// Makes a value with the deserialiser of any format, down to [`MAX_DEPTH`], with no more elements and
/// memory than a message of `len` bytes can have a use for.
///
/// `codec` is the codec's name, for errors. What is left over is the caller's to look for.
///
/// # Errors
///
/// [`DecodeError::TooDeep`], [`DecodeError::TooManyValues`], and [`DecodeError::Codec`] for what the
/// deserialiser or the type says.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    codec: &'static str,
    len: usize,
    deserializer: D,
) -> Result<T, DecodeError> {
    deserialize_seed(codec, len, PhantomData, deserializer)
}

/// The same for a type that is only known at run time.
#[inline]
pub(crate) fn deserialize_seed<'de, T: DeserializeSeed<'de>, D: Deserializer<'de>>(
    codec: &'static str,
    len: usize,
    seed: T,
    deserializer: D,
) -> Result<T::Value, DecodeError> {
    let budget = Budget::new(len);
    de::deserialize(seed, deserializer, budget.top()).map_err(|failure| match *failure.0 {
        Cause::Reason(reason) => DecodeError::Codec { codec, reason },
        Cause::TooDeep => DecodeError::TooDeep { max: MAX_DEPTH },
        Cause::TooManyValues => {
            DecodeError::TooManyValues { len, max: len.saturating_add(FREE_VALUES) }
        }
    })
}

/// What one message may still take, and the failure that is on its way out.
struct Budget {
    values: Cell<usize>,
    /// Elements for which room may be made in advance.
    hints: Cell<usize>,
    failure: Cell<Option<Failure>>,
}

impl Budget {
    fn new(len: usize) -> Budget {
        Budget {
            values: Cell::new(len.saturating_add(FREE_VALUES)),
            hints: Cell::new(len),
            failure: Cell::new(None),
        }
    }

    fn top(&self) -> Level<'_> {
        Level { budget: self, left: MAX_DEPTH }
    }
}

/// A place in a value: how many levels may be below.
#[derive(Clone, Copy)]
struct Level<'b> {
    budget: &'b Budget,
    left: usize,
}

impl Level<'_> {
    /// The inside of something.
    #[inline]
    fn deeper(self) -> Result<Self, Failure> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Level { left, ..self }),
            None => Err(Failure::new(Cause::TooDeep)),
        }
    }

    /// Another element.
    #[inline]
    fn count(self) -> Result<(), Failure> {
        match self.budget.values.get().checked_sub(1) {
            Some(left) => {
                self.budget.values.set(left);
                Ok(())
            }
            None => Err(Failure::new(Cause::TooManyValues)),
        }
    }

    /// For how many of the elements that a sequence claims to have room may be made, besides `free`.
    #[inline]
    fn grant(self, claim: Option<usize>, free: usize) -> Option<usize> {
        let hints = self.budget.hints.get();
        let granted = claim?.min(hints.saturating_add(free));
        self.budget.hints.set(hints.saturating_sub(granted.saturating_sub(free)));
        Some(granted)
    }

    /// The format's error, which stands for the failure while it passes through the format.
    ///
    /// `custom` makes one with a text, for formats that add a place to it.
    #[cold]
    fn carry<E>(self, failure: Failure, custom: fn(&Failure) -> E) -> E {
        let error = custom(&failure);
        self.budget.failure.set(Some(failure));
        error
    }

    /// The failure that the format's error stands for, or one with the text of that error.
    #[cold]
    fn uncarry<E: Display>(self, error: E, custom: fn(&Failure) -> E) -> Failure {
        match self.budget.failure.take() {
            Some(carried) if carried.is_limit() => carried,
            // The format keeps no texts.
            Some(carried) if error.to_string() == custom(&Failure::custom("")).to_string() => {
                carried
            }
            // The text is the carried one, mostly with a place; or another, since a format may drop an
            // error and try something else.
            _ => Failure::custom(error),
        }
    }
}

/// What is told to the user's type in place of the format's error, and by it.
///
/// One pointer, so that results stay small where nothing fails.
#[derive(Debug)]
pub(super) struct Failure(Box<Cause>);

#[derive(Debug)]
enum Cause {
    TooDeep,
    TooManyValues,
    Reason(String),
}

impl Failure {
    #[cold]
    fn new(cause: Cause) -> Failure {
        Failure(Box::new(cause))
    }

    /// As much of the reason as is worth keeping.
    #[cold]
    pub(super) fn custom(reason: impl Display) -> Failure {
        let mut kept = Kept(String::new());
        // Fails where it is long enough.
        let _ = write!(kept, "{reason}");
        Failure::new(Cause::Reason(kept.0))
    }

    fn is_limit(&self) -> bool {
        !matches!(*self.0, Cause::Reason(_))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::TooDeep => f.write_str("nested too deeply"),
            Cause::TooManyValues => f.write_str("too many elements"),
            Cause::Reason(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    #[cold]
    fn custom<T: Display>(reason: T) -> Failure {
        Failure::custom(reason)
    }
}

impl serde::ser::Error for Failure {
    #[cold]
    fn custom<T: Display>(reason: T) -> Failure {
        Failure::custom(reason)
    }
}

/// The beginning of a text.
struct Kept(String);

impl Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_REASON.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        if room > 0 {
            let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            self.0.push_str(&text[..end]);
            self.0.push('…'); // Takes what room a cut character left, so that it is the last.
        }
        Err(fmt::Error)
    }
}
