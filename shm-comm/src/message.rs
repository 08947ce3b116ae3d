//! What may be a message: the trait, and the types that implement it without a derive.

use std::fmt;

use crate::schema::{Kind, Primitive, Schema};

/// Plain data with a known layout, which lies in shared memory as it is.
///
/// Implemented by `#[derive(ShmMessage)]` for structs and enums, and here for fixed-width integers,
/// floats, `bool`, `char` and arrays of messages. Nothing else should implement it.
///
/// # Safety
///
/// The type has no padding, no pointers and no destructor; its layout is what
/// [`SCHEMA`](Self::SCHEMA) says; if [`ZERO_IS_VALID`](Self::ZERO_IS_VALID), all-zero bytes are a
/// value of it; if [`PLAIN`](Self::PLAIN), all bytes are; and what [`check`](Self::check) accepts
/// is a value of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a message, nor a field of one",
    label = "not plain data with a known layout",
    note = "a struct of numbers, arrays and other messages can: put `#[derive(ShmMessage)] #[repr(C)]` on it",
    note = "an enum without fields can: put `#[derive(ShmMessage)] #[repr(u8)]` on it",
    note = "what is behind a pointer (`String`, `Vec`, `Box`, `&T`) cannot: use an array `[T; N]`"
)]
pub unsafe trait ShmMessage: Send + Sync + 'static {
    /// The layout: fields, types, offsets, sizes.
    const SCHEMA: &'static Schema;

    /// All-zero bytes are a value: [`LoanUninit::zeroed`](crate::LoanUninit::zeroed) may be called.
    const ZERO_IS_VALID: bool;

    /// Every bit pattern is a value: nothing is checked on receive, and
    /// [`LoanUninit::reused`](crate::LoanUninit::reused) may be called.
    const PLAIN: bool;

    /// Names the first field that is in the way of `ZERO_IS_VALID`; empty if nothing is.
    #[doc(hidden)]
    const ZERO_OBSTACLE: &'static str;

    /// Names the first field that is in the way of `PLAIN`; empty if nothing is.
    #[doc(hidden)]
    const PLAIN_OBSTACLE: &'static str;

    /// Whether these bytes, `size_of::<Self>()` of them, are a value.
    #[doc(hidden)]
    fn check(bytes: &[u8]) -> Result<(), Invalid>;
}

/// A message that another process published is not a value of its type.
///
/// Says which field it is and what it holds. The subscriber goes on with the next message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    field: String,
    found: String,
    expected: &'static str,
}

impl Invalid {
    /// `found` where an `expected` should be.
    #[doc(hidden)]
    #[cold]
    pub fn new(found: impl fmt::Display, expected: &'static str) -> Invalid {
        Invalid { field: String::new(), found: found.to_string(), expected }
    }

    /// The same, seen from the struct that has the field.
    #[doc(hidden)]
    #[cold]
    pub fn in_field(mut self, name: &str) -> Invalid {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    /// The path of the field, `pose.mode` or `flags[3]`; empty if the message itself is the value.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What the field holds.
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Invalid { field, found, expected } = self;
        match field.as_str() {
            "" => write!(f, "the message holds {found}, which is no {expected}"),
            field => write!(f, "field `{field}` holds {found}, which is no {expected}"),
        }
    }
}

impl std::error::Error for Invalid {}

macro_rules! plain {
    ($($type:ty = $kind:ident),+ $(,)?) => {$(
        // SAFETY: A number: no padding, no pointer, every bit pattern is a value.
        unsafe impl ShmMessage for $type {
            const SCHEMA: &'static Schema = &Schema {
                size: size_of::<$type>(),
                align: align_of::<$type>(),
                kind: Kind::Primitive(Primitive::$kind),
            };
            const ZERO_IS_VALID: bool = true;
            const PLAIN: bool = true;
            const ZERO_OBSTACLE: &'static str = "";
            const PLAIN_OBSTACLE: &'static str = "";
            #[inline]
            fn check(_: &[u8]) -> Result<(), Invalid> {
                Ok(())
            }
        }
    )+};
}

plain! {
    u8 = U8, u16 = U16, u32 = U32, u64 = U64, u128 = U128,
    i8 = I8, i16 = I16, i32 = I32, i64 = I64, i128 = I128,
    f32 = F32, f64 = F64,
}

// SAFETY: One byte; `check` accepts 0 and 1, which are all its values.
unsafe impl ShmMessage for bool {
    const SCHEMA: &'static Schema =
        &Schema { size: 1, align: 1, kind: Kind::Primitive(Primitive::Bool) };
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const ZERO_OBSTACLE: &'static str = "";
    const PLAIN_OBSTACLE: &'static str = "`bool`, which is only ever 0 or 1";

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        match bytes {
            [0 | 1] => Ok(()),
            other => Err(Invalid::new(format_args!("{other:?}"), "`bool` (0 or 1)")),
        }
    }
}

// SAFETY: Four bytes; `check` accepts what `char::from_u32` does.
unsafe impl ShmMessage for char {
    const SCHEMA: &'static Schema =
        &Schema { size: 4, align: align_of::<char>(), kind: Kind::Primitive(Primitive::Char) };
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const ZERO_OBSTACLE: &'static str = "";
    const PLAIN_OBSTACLE: &'static str = "`char`, which is not any 32 bits";

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        let number = bytes.try_into().map(u32::from_ne_bytes).unwrap_or(u32::MAX);
        match char::from_u32(number) {
            Some(_) => Ok(()),
            None => Err(Invalid::new(format_args!("{number:#x}"), "`char`")),
        }
    }
}

// SAFETY: An array has no padding beyond that of its elements, and elements have none.
unsafe impl<T: ShmMessage, const N: usize> ShmMessage for [T; N] {
    const SCHEMA: &'static Schema = &Schema {
        size: size_of::<Self>(),
        align: align_of::<Self>(),
        kind: Kind::Array { element: T::SCHEMA, len: N },
    };
    const ZERO_IS_VALID: bool = T::ZERO_IS_VALID;
    const PLAIN: bool = T::PLAIN;
    const ZERO_OBSTACLE: &'static str = T::ZERO_OBSTACLE;
    const PLAIN_OBSTACLE: &'static str = T::PLAIN_OBSTACLE;

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        if T::PLAIN || size_of::<T>() == 0 {
            return Ok(());
        }
        for (i, element) in bytes.chunks_exact(size_of::<T>()).enumerate() {
            T::check(element).map_err(|invalid| invalid.in_field(&format!("[{i}]")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bool_that_is_neither_is_named() {
        assert_eq!(bool::check(&[1]), Ok(()));
        let error = <[bool; 3]>::check(&[0, 1, 7]).unwrap_err().in_field("flags");
        assert_eq!(error.to_string(), "field `flags[2]` holds [7], which is no `bool` (0 or 1)");
    }

    #[test]
    fn a_surrogate_is_no_char() {
        assert_eq!(char::check(&('é' as u32).to_ne_bytes()), Ok(()));
        let error = char::check(&0xd800u32.to_ne_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the message holds 0xd800, which is no `char`");
    }
}
