//! What a handle carries: a message as it is, or any value as the bytes that a codec makes of it.

use crate::error::DecodeError;
use crate::message::ShmMessage;
use crate::schema::Schema;

/// What a handle carries: every [`ShmMessage`], and [`Encoded`](crate::Encoded) values.
///
/// Sealed: it is implemented for these, and for nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be carried by a channel",
    label = "neither a message nor an encoded value",
    note = "a struct of numbers, arrays and other messages is one: put `#[derive(ShmMessage)] #[repr(C)]` on it",
    note = "anything that serde can express can be sent encoded: `Publisher<Msgpack<T>>`, where `T` has `#[derive(serde::Serialize, serde::Deserialize)]` and borrows nothing"
)]
pub trait Payload: sealed::Sealed {
    /// What a user sees: the message, or the value that was encoded.
    type Value: ?Sized;

    /// What lies in a slot.
    #[doc(hidden)]
    type Raw: ShmMessage + ?Sized;

    /// What a sample keeps beside that.
    #[doc(hidden)]
    type Decoded;

    /// See [`Schema::of`].
    #[doc(hidden)]
    fn describe() -> Schema;

    #[doc(hidden)]
    fn decode(raw: &Self::Raw) -> Result<Self::Decoded, DecodeError>;

    #[doc(hidden)]
    fn value<'s>(raw: &'s Self::Raw, decoded: &'s Self::Decoded) -> &'s Self::Value;
}

pub(crate) mod sealed {
    pub trait Sealed {}

    impl<T: super::ShmMessage + ?Sized> Sealed for T {}
}

impl<T: ShmMessage + ?Sized> Payload for T {
    type Value = T;
    type Raw = T;
    type Decoded = ();

    fn describe() -> Schema {
        T::schema()
    }

    #[inline(always)]
    fn decode(_: &T) -> Result<(), DecodeError> {
        Ok(())
    }

    #[inline(always)]
    fn value<'s>(raw: &'s T, (): &'s ()) -> &'s T {
        raw
    }
}
