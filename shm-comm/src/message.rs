//! What may be a message: the trait, and the types that implement it without a derive.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;

use crate::schema::{Kind, Primitive, Schema};
use crate::word::Word;

/// Plain data with a known layout, which lies in shared memory as it is.
///
/// Implemented by `#[derive(ShmMessage)]` for structs and enums, and here for fixed-width integers,
/// floats, `bool`, `char`, `NonZero`, arrays and slices of messages. Nothing else should implement it.
///
/// A message may be *unsized*: `[T]`, or a struct whose last field is a `[T]`. Such a message has as
/// many elements as it is [loaned](crate::Publisher::loan_with_len) or sent with, up to the channel's
/// [`max_len`](crate::Channel::max_len).
///
/// # Safety
///
/// The type has no padding (but, if it is unsized, behind its last element), no pointers and no
/// destructor; its layout is what its schema and `LAYOUT` say; if
/// [`ZERO_IS_VALID`](Self::ZERO_IS_VALID), all-zero bytes are a value of it; if
/// [`PLAIN`](Self::PLAIN), all bytes are; what `check` accepts is a value of it; `at` makes a pointer
/// of the same address, to a value with that many elements, and `len_of` says how many a pointer has.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a message, nor a field of one",
    label = "not plain data with a known layout",
    note = "a struct of numbers, arrays and other messages can: put `#[derive(ShmMessage)] #[repr(C)]` on it",
    note = "an enum without fields can: put `#[derive(ShmMessage)] #[repr(u8)]` on it",
    note = "for text use `ShmString<N>`, for a list `ShmVec<T, N>` or an array, for an `Option` `ShmOption<T>`",
    note = "a plain type of another crate can be a field: `#[shm(pod = \"[f64; 3]\")]`",
    note = "anything that serde can express can be sent encoded: `Publisher<Msgpack<T>>`"
)]
pub unsafe trait ShmMessage: Send + Sync + 'static {
    /// All-zero bytes are a value: [`LoanUninit::zeroed`](crate::LoanUninit::zeroed) may be called.
    const ZERO_IS_VALID: bool;

    /// Every bit pattern is a value: nothing is checked on receive, and
    /// [`LoanUninit::reused`](crate::LoanUninit::reused) may be called.
    const PLAIN: bool;

    /// What the compiler has to know of it.
    #[doc(hidden)]
    const LAYOUT: Layout;

    /// An integer of the same alignment.
    #[doc(hidden)]
    type Word: Word;

    /// See [`Schema::of`].
    #[doc(hidden)]
    fn schema() -> Schema;

    /// Whether these bytes are a value: `size_of::<Self>()` of them, or up to the last element.
    #[doc(hidden)]
    fn check(bytes: &[u8]) -> Result<(), Invalid>;

    /// A pointer to the value that begins there; with so many elements if it is unsized.
    #[doc(hidden)]
    fn at(start: *mut u8, len: usize) -> *mut Self;

    /// How many elements the value at the end of this pointer has; 0 if it is not unsized.
    #[doc(hidden)]
    fn len_of(value: *const Self) -> usize;
}

/// What the compiler has to know of a message.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of a value; of what comes before the elements if it is unsized.
    pub fixed: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Bytes of an element; 0 if the message is not unsized.
    pub stride: usize,
    /// Names the first field that is in the way of `ZERO_IS_VALID`; empty if nothing is.
    pub zero_obstacle: &'static str,
    /// Names the first field that is in the way of `PLAIN`; empty if nothing is.
    pub plain_obstacle: &'static str,
}

impl Layout {
    /// Of a type of which every bit pattern is a value.
    pub const fn of<T>() -> Layout {
        Layout {
            fixed: size_of::<T>(),
            align: align_of::<T>(),
            stride: 0,
            zero_obstacle: "",
            plain_obstacle: "",
        }
    }

    /// The same with obstacles.
    pub const fn but(self, zero_obstacle: &'static str, plain_obstacle: &'static str) -> Layout {
        Layout { zero_obstacle, plain_obstacle, ..self }
    }

    /// Whether a message has as many elements as it likes.
    #[inline(always)]
    pub const fn is_unsized(&self) -> bool {
        self.stride != 0
    }

    /// Bytes of a value up to its last element. `len` is not above a capacity that was checked.
    #[inline(always)]
    pub const fn bytes(&self, len: usize) -> usize {
        self.fixed + self.stride * len
    }

    /// Bytes of a value as Rust counts them: what is behind the last element is in no use.
    #[inline(always)]
    pub const fn size(&self, len: usize) -> usize {
        self.bytes(len).next_multiple_of(self.align)
    }
}

/// The two functions that a type whose size is known need not think about.
#[doc(hidden)]
#[macro_export]
macro_rules! __shm_sized {
    () => {
        #[inline(always)]
        fn at(__shm_start: *mut ::core::primitive::u8, _: ::core::primitive::usize) -> *mut Self {
            __shm_start.cast()
        }

        #[inline(always)]
        fn len_of(_: *const Self) -> ::core::primitive::usize {
            0
        }
    };
}

/// A message that another process published is not a value of its type.
///
/// Says which field it is and what it holds. The subscriber goes on with the next message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    field: String,
    found: String,
    expected: Cow<'static, str>,
}

impl Invalid {
    /// `found` where an `expected` should be.
    #[doc(hidden)]
    #[cold]
    pub fn new(found: impl fmt::Display, expected: &'static str) -> Invalid {
        Invalid { field: String::new(), found: found.to_string(), expected: expected.into() }
    }

    /// The same of a type that is only known by its schema.
    #[cold]
    pub(crate) fn of_schema(found: impl fmt::Display, expected: String) -> Invalid {
        Invalid { field: String::new(), found: found.to_string(), expected: expected.into() }
    }

    /// More elements than there can be.
    #[doc(hidden)]
    #[cold]
    pub fn too_long(len: u64, max_len: usize) -> Invalid {
        let found = format!("{len} elements, in a channel of at most {max_len}");
        Invalid { field: String::new(), found, expected: "whole message".into() }
    }

    /// More elements than this process can copy.
    #[doc(hidden)]
    #[cold]
    pub fn too_large(len: u64) -> Invalid {
        let found = format!("{len} elements, more than this process has memory for");
        Invalid { field: String::new(), found, expected: "whole message".into() }
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

const fn primitive(primitive: Primitive, size: usize, align: usize) -> Schema {
    Schema { size, align, kind: Kind::Primitive(primitive) }
}

macro_rules! plain {
    ($($type:ty = $kind:ident $word:ty),+ $(,)?) => {$(
        // SAFETY: A number: no padding, no pointer, every bit pattern is a value.
        unsafe impl ShmMessage for $type {
            const ZERO_IS_VALID: bool = true;
            const PLAIN: bool = true;
            const LAYOUT: Layout = Layout::of::<$type>();
            type Word = $word;

            fn schema() -> Schema {
                primitive(Primitive::$kind, size_of::<$type>(), align_of::<$type>())
            }

            #[inline]
            fn check(_: &[u8]) -> Result<(), Invalid> {
                Ok(())
            }

            crate::__shm_sized!();
        }
    )+};
}

plain! {
    u8 = U8 u8, u16 = U16 u16, u32 = U32 u32, u64 = U64 u64, u128 = U128 u128,
    i8 = I8 u8, i16 = I16 u16, i32 = I32 u32, i64 = I64 u64, i128 = I128 u128,
    f32 = F32 u32, f64 = F64 u64,
}

// SAFETY: One byte; `check` accepts 0 and 1, which are all its values.
unsafe impl ShmMessage for bool {
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const LAYOUT: Layout = Layout::of::<bool>().but("", "`bool`, which is only ever 0 or 1");
    type Word = u8;

    fn schema() -> Schema {
        primitive(Primitive::Bool, 1, 1)
    }

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        match bytes {
            [0 | 1] => Ok(()),
            other => Err(Invalid::new(format_args!("{other:?}"), "`bool` (0 or 1)")),
        }
    }

    crate::__shm_sized!();
}

// SAFETY: Four bytes; `check` accepts what `char::from_u32` does.
unsafe impl ShmMessage for char {
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const LAYOUT: Layout = Layout::of::<char>().but("", "`char`, which is not any 32 bits");
    type Word = u32;

    fn schema() -> Schema {
        primitive(Primitive::Char, 4, align_of::<char>())
    }

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        let number = bytes.try_into().map(u32::from_ne_bytes).unwrap_or(u32::MAX);
        match char::from_u32(number) {
            Some(_) => Ok(()),
            None => Err(Invalid::new(format_args!("{number:#x}"), "`char`")),
        }
    }

    crate::__shm_sized!();
}

macro_rules! non_zero {
    ($($type:ident = $kind:ident $word:ty),+ $(,)?) => {$(
        // SAFETY: Laid out as its integer; `check` accepts all but 0, which are all its values.
        unsafe impl ShmMessage for NonZero<$type> {
            const ZERO_IS_VALID: bool = false;
            const PLAIN: bool = false;
            const LAYOUT: Layout = Layout::of::<Self>().but(
                concat!("`NonZero<", stringify!($type), ">`, which is never 0"),
                concat!("`NonZero<", stringify!($type), ">`, which is never 0"),
            );
            type Word = $word;

            fn schema() -> Schema {
                let kind = Kind::NonZero(Primitive::$kind);
                Schema { size: size_of::<Self>(), align: align_of::<Self>(), kind }
            }

            #[inline]
            fn check(bytes: &[u8]) -> Result<(), Invalid> {
                if bytes.len() == size_of::<Self>() && bytes.iter().any(|byte| *byte != 0) {
                    Ok(())
                } else {
                    Err(Invalid::new(0, concat!("`NonZero<", stringify!($type), ">`")))
                }
            }

            crate::__shm_sized!();
        }
    )+};
}

non_zero! {
    u8 = U8 u8, u16 = U16 u16, u32 = U32 u32, u64 = U64 u64, u128 = U128 u128,
    i8 = I8 u8, i16 = I16 u16, i32 = I32 u32, i64 = I64 u64, i128 = I128 u128,
}

/// Whether each of these elements, one after the other, is a value.
#[inline]
pub(crate) fn check_elements<T: ShmMessage>(bytes: &[u8]) -> Result<(), Invalid> {
    if T::PLAIN || size_of::<T>() == 0 {
        return Ok(());
    }
    for (i, element) in bytes.chunks_exact(size_of::<T>()).enumerate() {
        T::check(element).map_err(|invalid| invalid.in_field(&format!("[{i}]")))?;
    }
    Ok(())
}

// SAFETY: An array has no padding beyond that of its elements, and elements have none.
unsafe impl<T: ShmMessage, const N: usize> ShmMessage for [T; N] {
    const ZERO_IS_VALID: bool = T::ZERO_IS_VALID;
    const PLAIN: bool = T::PLAIN;
    const LAYOUT: Layout =
        Layout::of::<Self>().but(T::LAYOUT.zero_obstacle, T::LAYOUT.plain_obstacle);
    type Word = T::Word;

    fn schema() -> Schema {
        let kind = Kind::Array { element: Box::new(T::schema()), len: N };
        Schema { size: size_of::<Self>(), align: align_of::<Self>(), kind }
    }

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        check_elements::<T>(bytes)
    }

    crate::__shm_sized!();
}

/// The layout of so many `T` behind a fixed part.
pub(crate) const fn stride_of<T: ShmMessage>() -> usize {
    assert!(size_of::<T>() != 0, "the elements of a slice in a message must have a size");
    size_of::<T>()
}

// SAFETY: As for an array; `[T]` is behind its pointer as many `T` as the pointer says.
unsafe impl<T: ShmMessage> ShmMessage for [T] {
    const ZERO_IS_VALID: bool = T::ZERO_IS_VALID;
    const PLAIN: bool = T::PLAIN;
    const LAYOUT: Layout = Layout { fixed: 0, stride: stride_of::<T>(), ..T::LAYOUT };
    type Word = T::Word;

    fn schema() -> Schema {
        let kind = Kind::Slice { element: Box::new(T::schema()) };
        Schema { size: 0, align: align_of::<T>(), kind }
    }

    #[inline]
    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        check_elements::<T>(bytes)
    }

    #[inline(always)]
    fn at(start: *mut u8, len: usize) -> *mut [T] {
        std::ptr::slice_from_raw_parts_mut(start.cast(), len)
    }

    #[inline(always)]
    fn len_of(value: *const [T]) -> usize {
        value.len()
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
