//! Text, lists and options with room for a fixed size, so that they lie in shared memory as they are.
//!
//! | type             | bytes                                              | aligned as |
//! |------------------|----------------------------------------------------|------------|
//! | [`ShmString<N>`] | count in 4, then `N` of UTF-8                       | `u8`       |
//! | [`ShmVec<T, N>`] | count in the first 4 of a [`Count`], then `N` `T`   | `T`        |
//! | [`ShmOption<T>`] | 0 or 1 in the first of a [`Word`], then a `T`       | `T`        |
//!
//! The count is a `u32` in the machine's byte order. No byte is padding: the count and the tag are as
//! aligned as what follows, and what they do not use is zero.
//!
//! What is not in use is zero in whatever the methods here make, so that no old text leaves a process
//! with a new one. On receive nobody looks at it, and a copy of a received value copies it, whatever
//! that is: where it may not travel on, make a new value of the text or the elements.
//!
//! [`Count`]: Word::Count

#[cfg(feature = "serde")]
mod serialize;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::str::{self, FromStr};

use crate::__private::cut_off;
use crate::message::{Invalid, Layout, ShmMessage, check_elements};
use crate::schema::{Kind, Schema};
use crate::text::Text;
use crate::word::Word;

/// More than a [`ShmString`] or a [`ShmVec`] has room for. Nothing of it was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} do not fit where there is room for {capacity}")]
#[non_exhaustive]
pub struct CapacityError {
    /// How many bytes of text, or elements, there would have been in all.
    pub needed: usize,
    /// How many there is room for: make the `N` of the type as large as `needed`.
    pub capacity: usize,
}

/// `needed` of them, if there is room.
fn fit(needed: usize, capacity: usize) -> Result<usize, CapacityError> {
    if needed <= capacity { Ok(needed) } else { Err(CapacityError { needed, capacity }) }
}

/// Counts are 32 bits wide, here and in every other language.
const fn assert_capacity(capacity: usize) {
    assert!(capacity <= u32::MAX as usize, "the capacity does not fit into 32 bits");
}

#[track_caller]
const fn too_aligned<T>(what: &str, instead: &str) -> ! {
    let text = Text::new().str(what).str(" is aligned to 16 bytes at most, and this one to ");
    text.num(align_of::<T>()).str(": use ").str(instead).refuse()
}

/// The count at the beginning of these bytes, if it is no more than the capacity.
#[inline]
pub(crate) fn checked_count(
    bytes: &[u8],
    capacity: usize,
    of_what: &str,
    expected: &'static str,
) -> Result<usize, Invalid> {
    let Some(count) = bytes.first_chunk() else { return Err(cut_off(bytes)) };
    let count = u32::from_ne_bytes(*count) as usize;
    if count > capacity {
        let found = format_args!("{count} {of_what} where there is room for {capacity}");
        return Err(Invalid::new(found, expected));
    }
    Ok(count)
}

/// The text of a [`ShmString`] with these bytes.
pub(crate) fn checked_text(bytes: &[u8], capacity: usize) -> Result<&str, Invalid> {
    let count = checked_count(bytes, capacity, "bytes of text", "`ShmString`")?;
    let Some(text) = bytes.get(4..).and_then(|rest| rest.get(..count)) else {
        return Err(cut_off(bytes));
    };
    str::from_utf8(text).map_err(|error| {
        let found =
            format_args!("{count} bytes of text, of which only {} are UTF-8", error.valid_up_to());
        Invalid::new(found, "`ShmString`")
    })
}

/// Whether a [`ShmOption`] with these bytes has a value.
#[inline]
pub(crate) fn checked_tag(bytes: &[u8]) -> Result<bool, Invalid> {
    match bytes.first() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(tag) => Err(Invalid::new(format_args!("a tag of {tag}"), "`ShmOption` (0 or 1)")),
        None => Err(cut_off(bytes)),
    }
}

// ── ShmString ────────────────────────────────────────────────────────────────────────────────────────

/// Text of at most `N` bytes, as a field of a message.
///
/// Reads as a `str`. A text that is too long is an error ([`TryFrom`], [`push_str`](Self::push_str)),
/// or cut on purpose ([`truncated`](Self::truncated)).
///
/// ```
/// use shm_comm::{ShmMessage, ShmString};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Robot {
///     id: u32,
///     name: ShmString<28>, // 32 bytes with its count
/// }
///
/// let robot = Robot { id: 7, name: "scout".try_into()? };
/// assert_eq!(robot.name, "scout");
/// assert!(robot.name.starts_with('s'));
///
/// let error = ShmString::<4>::try_from("scout").unwrap_err();
/// assert_eq!(error.to_string(), "5 do not fit where there is room for 4");
/// assert_eq!(ShmString::<4>::truncated("scout"), "scou");
/// # Ok::<(), shm_comm::CapacityError>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ShmString<const N: usize> {
    /// A `u32`. Invariant: at most `N`.
    count: [u8; 4],
    /// Invariant: the first `count` are UTF-8.
    bytes: [u8; N],
}

impl<const N: usize> ShmString<N> {
    /// An empty text.
    pub const fn new() -> Self {
        const { assert_capacity(N) };
        ShmString { count: [0; 4], bytes: [0; N] }
    }

    /// As much of `text` as there is room for, up to a character that would not fit whole.
    pub fn truncated(text: &str) -> Self {
        let mut end = text.len().min(N);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut this = ShmString::new();
        this.append(&text[..end]);
        this
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.count()];
        // SAFETY: Invariant of `bytes`: from a `str`, or what `check` has looked at.
        unsafe { str::from_utf8_unchecked(bytes) }
    }

    /// The most bytes of text: `N`.
    pub const fn capacity(&self) -> usize {
        N
    }

    /// Appends `text`.
    ///
    /// # Errors
    ///
    /// There is no room for all of it. Nothing is appended.
    pub fn push_str(&mut self, text: &str) -> Result<(), CapacityError> {
        fit(self.count() + text.len(), N)?;
        self.append(text);
        Ok(())
    }

    /// Appends a character.
    ///
    /// # Errors
    ///
    /// There is no room for it. Nothing is appended.
    pub fn push(&mut self, character: char) -> Result<(), CapacityError> {
        self.push_str(character.encode_utf8(&mut [0; 4]))
    }

    /// Takes the last character off.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.chars().next_back()?;
        self.truncate(self.count() - last.len_utf8());
        Some(last)
    }

    /// Cuts the text off behind `len` bytes. Does nothing if it is not longer.
    ///
    /// # Panics
    ///
    /// As [`String::truncate`]: if `len` is in the middle of a character.
    pub fn truncate(&mut self, len: usize) {
        let count = self.count();
        if len >= count {
            return;
        }
        assert!(self.is_char_boundary(len), "byte {len} is in the middle of a character");
        self.set_count(len);
        self.bytes[len..count].fill(0);
    }

    /// Removes all of the text.
    pub fn clear(&mut self) {
        *self = ShmString::new();
    }

    #[inline]
    fn count(&self) -> usize {
        // Another one only if somebody writes to a message that was published and checked.
        (u32::from_ne_bytes(self.count) as usize).min(N)
    }

    fn set_count(&mut self, count: usize) {
        self.count = (count as u32).to_ne_bytes();
    }

    /// For which there is room.
    fn append(&mut self, text: &str) {
        let start = self.count();
        let end = start + text.len();
        self.bytes[start..end].copy_from_slice(text.as_bytes());
        self.set_count(end);
    }
}

// SAFETY: Bytes, so no padding and no pointer; zero is the empty text; `check` accepts what the
// invariants ask for.
unsafe impl<const N: usize> ShmMessage for ShmString<N> {
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const LAYOUT: Layout = {
        assert_capacity(N);
        assert!(size_of::<Self>() == 4 + N && align_of::<Self>() == 1);
        Layout::of::<Self>().but("", "`ShmString`, which is only ever UTF-8")
    };
    type Word = u8;

    fn schema() -> Schema {
        let kind = Kind::String { capacity: N };
        Schema { size: size_of::<Self>(), align: 1, kind }
    }

    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        checked_text(bytes, N).map(drop)
    }

    crate::__shm_sized!();
}

impl<const N: usize> Default for ShmString<N> {
    fn default() -> Self {
        ShmString::new()
    }
}

impl<const N: usize> TryFrom<&str> for ShmString<N> {
    type Error = CapacityError;

    fn try_from(text: &str) -> Result<Self, CapacityError> {
        let mut this = ShmString::new();
        this.push_str(text)?;
        Ok(this)
    }
}

impl<const N: usize> FromStr for ShmString<N> {
    type Err = CapacityError;

    fn from_str(text: &str) -> Result<Self, CapacityError> {
        ShmString::try_from(text)
    }
}

impl<const N: usize> Deref for ShmString<N> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> AsRef<str> for ShmString<N> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl<const N: usize> Borrow<str> for ShmString<N> {
    fn borrow(&self) -> &str {
        self
    }
}

/// Fails where there is no room for a piece of the text; what was written before stays.
impl<const N: usize> fmt::Write for ShmString<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text).map_err(|_| fmt::Error)
    }
}

impl<const N: usize> fmt::Display for ShmString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Debug for ShmString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> PartialEq for ShmString<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<const N: usize> Eq for ShmString<N> {}

impl<const N: usize> PartialEq<str> for ShmString<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<const N: usize> PartialEq<&str> for ShmString<N> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<const N: usize> PartialOrd for ShmString<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Ord for ShmString<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other)
    }
}

impl<const N: usize> Hash for ShmString<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

// ── ShmVec ───────────────────────────────────────────────────────────────────────────────────────────

/// At most `N` elements, as a field of a message.
///
/// Reads and writes as a slice. For elements of which there may be very many, let the message end in a
/// slice instead: a slot then has room for as many as the channel says, not the type.
///
/// ```
/// use shm_comm::{ShmMessage, ShmVec};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Path {
///     stamp: u64,
///     corners: ShmVec<[f64; 2], 16>,
/// }
///
/// let mut path = Path { stamp: 1, corners: ShmVec::new() };
/// path.corners.push([0.0, 1.0]).unwrap();
/// path.corners.extend_from_slice(&[[1.0, 1.0], [1.0, 0.0]])?;
/// assert_eq!(path.corners.len(), 3);
/// assert_eq!(path.corners.last(), Some(&[1.0, 0.0]));
///
/// let mut pair = ShmVec::<u8, 2>::try_from(&[1, 2][..])?;
/// assert_eq!(pair.push(3), Err(3));
/// # Ok::<(), shm_comm::CapacityError>(())
/// ```
///
/// The elements may be aligned to 16 bytes, not to more.
#[repr(C)]
pub struct ShmVec<T: ShmMessage, const N: usize> {
    /// A `u32` in the first four bytes. Invariant: at most `N`.
    count: <T::Word as Word>::Count,
    /// Invariant: the first `count` are values.
    items: [MaybeUninit<T>; N],
}

impl<T: ShmMessage, const N: usize> ShmVec<T, N> {
    const COUNT_SIZE: usize = size_of::<<T::Word as Word>::Count>();

    /// The invariant of the layout: no padding.
    const NO_PADDING: () = {
        assert_capacity(N);
        if align_of::<T>() != align_of::<T::Word>() {
            too_aligned::<T>(
                "an element of a `ShmVec`",
                "an array `[T; N]`, and a count beside it",
            );
        }
        assert!(size_of::<Self>() == Self::COUNT_SIZE + N * size_of::<T>());
    };

    /// An empty list.
    pub const fn new() -> Self {
        const { Self::NO_PADDING };
        // SAFETY: Zero is a value of the count, `Pod`, and anything is one of `MaybeUninit`.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        let items = &self.items[..self.count()];
        // SAFETY: Invariant of `items`: put in by `push`, or what `check` has looked at.
        unsafe { slice::from_raw_parts(items.as_ptr().cast(), items.len()) }
    }

    /// The elements, to be changed.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let count = self.count();
        let items = &mut self.items[..count];
        // SAFETY: As in `as_slice`; `items` is borrowed for as long as the result.
        unsafe { slice::from_raw_parts_mut(items.as_mut_ptr().cast(), items.len()) }
    }

    /// The most elements: `N`.
    pub const fn capacity(&self) -> usize {
        N
    }

    /// There is room for no more.
    pub fn is_full(&self) -> bool {
        self.count() == N
    }

    /// Appends `value`.
    ///
    /// # Errors
    ///
    /// The list is full. The value comes back.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let count = self.count();
        let Some(item) = self.items.get_mut(count) else { return Err(value) };
        item.write(value);
        self.set_count(count + 1);
        Ok(())
    }

    /// Takes the last element off.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.count().checked_sub(1)?;
        self.set_count(last);
        let item = std::mem::replace(&mut self.items[last], MaybeUninit::zeroed());
        // SAFETY: Invariant of `items`: it was one of the first `count`.
        Some(unsafe { item.assume_init() })
    }

    /// Drops all elements but the first `len`. Does nothing if there are not more.
    pub fn truncate(&mut self, len: usize) {
        let count = self.count();
        if len >= count {
            return;
        }
        self.set_count(len);
        // Messages have no destructor that would have to run.
        self.items[len..count].fill_with(MaybeUninit::zeroed);
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Appends all `values`.
    ///
    /// # Errors
    ///
    /// There is no room for all of them. None is appended.
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<(), CapacityError>
    where
        T: Clone,
    {
        let start = self.count();
        let end = fit(start + values.len(), N)?;
        for (item, value) in self.items[start..end].iter_mut().zip(values) {
            item.write(value.clone());
        }
        self.set_count(end);
        Ok(())
    }

    #[inline]
    fn count(&self) -> usize {
        // Every `Count` has room for four bytes.
        let count = bytemuck::bytes_of(&self.count).first_chunk();
        // Above `N` only if somebody writes to a message that was published and checked.
        count.map_or(0, |count| u32::from_ne_bytes(*count) as usize).min(N)
    }

    #[inline]
    fn set_count(&mut self, count: usize) {
        bytemuck::bytes_of_mut(&mut self.count)[..4].copy_from_slice(&(count as u32).to_ne_bytes());
    }
}

// SAFETY: The count and the elements are all its bytes (asserted), and neither has padding or pointers;
// zero is the empty list; `check` accepts what the invariants ask for.
unsafe impl<T: ShmMessage, const N: usize> ShmMessage for ShmVec<T, N> {
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const LAYOUT: Layout = {
        let () = Self::NO_PADDING;
        // A mistake of the elements is one of the list.
        let _ = T::LAYOUT;
        Layout::of::<Self>().but("", "`ShmVec`, whose count is never above its capacity")
    };
    type Word = T::Word;

    fn schema() -> Schema {
        let kind = Kind::Vec { element: Box::new(T::schema()), capacity: N };
        Schema { size: size_of::<Self>(), align: align_of::<Self>(), kind }
    }

    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        let count = checked_count(bytes, N, "elements", "`ShmVec`")?;
        let end = Self::COUNT_SIZE + count * size_of::<T>();
        match bytes.get(Self::COUNT_SIZE..end) {
            Some(elements) => check_elements::<T>(elements),
            None => Err(cut_off(bytes)),
        }
    }

    crate::__shm_sized!();
}

impl<T: ShmMessage, const N: usize> Default for ShmVec<T, N> {
    fn default() -> Self {
        ShmVec::new()
    }
}

impl<T: ShmMessage + Clone, const N: usize> Clone for ShmVec<T, N> {
    fn clone(&self) -> Self {
        let mut this = ShmVec::new();
        for (item, value) in this.items.iter_mut().zip(self) {
            item.write(value.clone());
        }
        this.set_count(self.count());
        this
    }
}

impl<T: ShmMessage + Copy, const N: usize> Copy for ShmVec<T, N> {}

impl<T: ShmMessage + Clone, const N: usize> TryFrom<&[T]> for ShmVec<T, N> {
    type Error = CapacityError;

    fn try_from(values: &[T]) -> Result<Self, CapacityError> {
        let mut this = ShmVec::new();
        this.extend_from_slice(values)?;
        Ok(this)
    }
}

impl<T: ShmMessage, const N: usize> Deref for ShmVec<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: ShmMessage, const N: usize> DerefMut for ShmVec<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

impl<T: ShmMessage, const N: usize> AsRef<[T]> for ShmVec<T, N> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<'v, T: ShmMessage, const N: usize> IntoIterator for &'v ShmVec<T, N> {
    type Item = &'v T;
    type IntoIter = slice::Iter<'v, T>;

    fn into_iter(self) -> slice::Iter<'v, T> {
        self.iter()
    }
}

impl<'v, T: ShmMessage, const N: usize> IntoIterator for &'v mut ShmVec<T, N> {
    type Item = &'v mut T;
    type IntoIter = slice::IterMut<'v, T>;

    fn into_iter(self) -> slice::IterMut<'v, T> {
        self.iter_mut()
    }
}

impl<T: ShmMessage + fmt::Debug, const N: usize> fmt::Debug for ShmVec<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: ShmMessage + PartialEq, const N: usize> PartialEq for ShmVec<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: ShmMessage + Eq, const N: usize> Eq for ShmVec<T, N> {}

impl<T: ShmMessage + PartialEq, const N: usize> PartialEq<[T]> for ShmVec<T, N> {
    fn eq(&self, other: &[T]) -> bool {
        self.as_slice() == other
    }
}

impl<T: ShmMessage + PartialEq, const N: usize> PartialEq<&[T]> for ShmVec<T, N> {
    fn eq(&self, other: &&[T]) -> bool {
        self.as_slice() == *other
    }
}

impl<T: ShmMessage + PartialEq, const N: usize, const M: usize> PartialEq<[T; M]> for ShmVec<T, N> {
    fn eq(&self, other: &[T; M]) -> bool {
        self.as_slice() == other
    }
}

impl<T: ShmMessage + PartialOrd, const N: usize> PartialOrd for ShmVec<T, N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.as_slice().partial_cmp(other)
    }
}

impl<T: ShmMessage + Ord, const N: usize> Ord for ShmVec<T, N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other)
    }
}

impl<T: ShmMessage + Hash, const N: usize> Hash for ShmVec<T, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

// ── ShmOption ────────────────────────────────────────────────────────────────────────────────────────

/// A value or none, as a field of a message.
///
/// ```
/// use shm_comm::{ShmMessage, ShmOption};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Goal {
///     position: [f64; 2],
///     deadline: ShmOption<u64>,
/// }
///
/// let mut goal = Goal { position: [1.0, 2.0], deadline: ShmOption::none() };
/// assert_eq!(goal.deadline.get(), None);
/// goal.deadline.set(900);
/// assert_eq!(goal.deadline, Some(900));
/// assert_eq!(goal.deadline.take(), Some(900));
/// assert!(goal.deadline.is_none());
/// ```
///
/// The value may be aligned to 16 bytes, not to more.
#[repr(C)]
pub struct ShmOption<T: ShmMessage> {
    /// Invariant: the first byte is 0 or 1.
    tag: T::Word,
    /// Invariant: a value if the first byte of the tag is 1.
    value: MaybeUninit<T>,
}

impl<T: ShmMessage> ShmOption<T> {
    /// The invariant of the layout: no padding.
    const NO_PADDING: () = {
        if align_of::<T>() != align_of::<T::Word>() {
            too_aligned::<T>("the value of a `ShmOption`", "the value, and an enum beside it");
        }
        assert!(size_of::<Self>() == size_of::<T::Word>() + size_of::<T>());
    };

    /// No value.
    pub const fn none() -> Self {
        const { Self::NO_PADDING };
        // SAFETY: Zero is a value of the tag, `Pod`, and anything is one of `MaybeUninit`.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    /// This value.
    pub fn some(value: T) -> Self {
        let mut this = ShmOption::none();
        this.set(value);
        this
    }

    /// The value, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: Invariant of `value`.
        self.is_some().then(|| unsafe { self.value.assume_init_ref() })
    }

    /// The value, to be changed, if there is one.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: Invariant of `value`.
        self.is_some().then(|| unsafe { self.value.assume_init_mut() })
    }

    /// Puts this value in, whatever was there.
    pub fn set(&mut self, value: T) {
        self.value.write(value);
        bytemuck::bytes_of_mut(&mut self.tag)[0] = 1;
    }

    /// Takes the value out, and leaves none.
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into()
    }

    /// There is a value.
    #[inline]
    pub fn is_some(&self) -> bool {
        bytemuck::bytes_of(&self.tag)[0] != 0
    }

    /// There is no value.
    #[inline]
    pub fn is_none(&self) -> bool {
        !self.is_some()
    }
}

// SAFETY: The tag and the value are all its bytes (asserted), and neither has padding or pointers;
// zero is none; `check` accepts what the invariants ask for.
unsafe impl<T: ShmMessage> ShmMessage for ShmOption<T> {
    const ZERO_IS_VALID: bool = true;
    const PLAIN: bool = false;
    const LAYOUT: Layout = {
        let () = Self::NO_PADDING;
        // A mistake of the value is one of the option.
        let _ = T::LAYOUT;
        Layout::of::<Self>().but("", "`ShmOption`, whose tag is only ever 0 or 1")
    };
    type Word = T::Word;

    fn schema() -> Schema {
        let kind = Kind::Option { value: Box::new(T::schema()) };
        Schema { size: size_of::<Self>(), align: align_of::<Self>(), kind }
    }

    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        if !checked_tag(bytes)? {
            return Ok(());
        }
        match bytes.get(size_of::<T::Word>()..size_of::<Self>()) {
            Some(value) => T::check(value),
            None => Err(cut_off(bytes)),
        }
    }

    crate::__shm_sized!();
}

impl<T: ShmMessage> Default for ShmOption<T> {
    fn default() -> Self {
        ShmOption::none()
    }
}

impl<T: ShmMessage + Clone> Clone for ShmOption<T> {
    fn clone(&self) -> Self {
        self.get().cloned().into()
    }
}

impl<T: ShmMessage + Copy> Copy for ShmOption<T> {}

impl<T: ShmMessage> From<Option<T>> for ShmOption<T> {
    fn from(option: Option<T>) -> Self {
        match option {
            Some(value) => ShmOption::some(value),
            None => ShmOption::none(),
        }
    }
}

impl<T: ShmMessage> From<ShmOption<T>> for Option<T> {
    fn from(option: ShmOption<T>) -> Self {
        // SAFETY: Invariant of `value`.
        option.is_some().then(|| unsafe { option.value.assume_init() })
    }
}

impl<T: ShmMessage + fmt::Debug> fmt::Debug for ShmOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<T: ShmMessage + PartialEq> PartialEq for ShmOption<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: ShmMessage + Eq> Eq for ShmOption<T> {}

impl<T: ShmMessage + PartialEq> PartialEq<Option<T>> for ShmOption<T> {
    fn eq(&self, other: &Option<T>) -> bool {
        self.get() == other.as_ref()
    }
}

impl<T: ShmMessage + Hash> Hash for ShmOption<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.get().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fmt::Write;

    /// All bytes of a value, which has no padding.
    fn bytes_of<T: ShmMessage>(value: &T) -> &[u8] {
        // SAFETY: A message has no padding, so all its bytes are initialised.
        unsafe { slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }

    fn error_of<T: ShmMessage>(value: &T, change: impl FnOnce(&mut [u8])) -> String {
        let mut bytes = bytes_of(value).to_vec();
        assert_eq!(T::check(&bytes), Ok(()));
        change(&mut bytes);
        T::check(&bytes).unwrap_err().to_string()
    }

    // ── text ─────────────────────────────────────────────────────────────────────────────────────

    #[test]
    fn a_text_is_what_a_str_is() {
        let text: ShmString<16> = "grüße".parse().unwrap();
        assert_eq!((text.len(), text.capacity()), (7, 16));
        assert_eq!(format!("{text:>8}|{text:?}"), "   grüße|\"grüße\"");
        assert_eq!(text, "grüße");
        assert_eq!(text, *"grüße");
        assert!(text < ShmString::try_from("gz").unwrap() || text > ShmString::new());
        assert_eq!(HashMap::from([(text, 7)]).get("grüße"), Some(&7));
        assert_eq!(ShmString::<4>::default(), "");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut text = ShmString::<6>::try_from("grü").unwrap();
        assert_eq!(text.push_str("ßes"), Err(CapacityError { needed: 8, capacity: 6 }));
        assert_eq!(text.push('€'), Err(CapacityError { needed: 7, capacity: 6 }));
        assert_eq!(text, "grü");
        assert_eq!(text.push('ß'), Ok(()));
        assert_eq!(text, "grüß");
        assert!(write!(text, "{}", 1).is_err());
        assert_eq!("grüße".parse::<ShmString<6>>().unwrap_err().needed, 7);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (capacity_is_3, text) in [("gr", "grü"), ("abc", "abc"), ("", "💡")] {
            assert_eq!(ShmString::<3>::truncated(text), capacity_is_3);
        }
    }

    #[test]
    fn what_was_there_before_is_gone() {
        let mut text = ShmString::<8>::try_from("secret").unwrap();
        assert_eq!(text.pop(), Some('t'));
        text.truncate(1);
        assert_eq!(bytes_of(&text), [1, 0, 0, 0, b's', 0, 0, 0, 0, 0, 0, 0]);
        text.clear();
        assert_eq!(bytes_of(&text), [0; 12]);
        assert_eq!(text.pop(), None);

        let mut list = ShmVec::<u16, 3>::try_from(&[7, 8, 9][..]).unwrap();
        assert_eq!(list.pop(), Some(9));
        list.truncate(1);
        assert_eq!(bytes_of(&list), [1, 0, 0, 0, 7, 0, 0, 0, 0, 0]);
        list.clear();
        assert_eq!(bytes_of(&list), [0; 10]);

        let mut option = ShmOption::some(0xffu8);
        assert_eq!(option.take(), Some(0xff));
        assert_eq!(bytes_of(&option), [0; 2]);
        option = ShmOption::from(Some(3));
        assert_eq!(bytes_of(&option), [1, 3]);
    }

    #[test]
    fn a_count_that_changes_after_it_was_checked_is_not_believed() {
        let mut text = ShmString::<4>::truncated("abcd");
        let mut list = ShmVec::<u16, 3>::try_from(&[1, 2, 3][..]).unwrap();
        text.count = [0xff; 4];
        list.set_count(usize::MAX);
        assert_eq!((text.as_str(), text.len()), ("abcd", 4));
        assert_eq!(text.pop(), Some('d'));
        assert_eq!(list, [1, 2, 3]);
        assert_eq!(list.as_mut_slice().len(), 3);
        assert_eq!((list.push(4), list.pop()), (Err(4), Some(3)));
    }

    #[test]
    #[should_panic(expected = "byte 3 is in the middle of a character")]
    fn a_cut_through_a_character_panics_as_that_of_a_string() {
        ShmString::<8>::try_from("grün").unwrap().truncate(3);
    }

    #[test]
    fn a_text_that_is_none_is_refused() {
        let text = ShmString::<8>::try_from("grün").unwrap();
        assert_eq!(
            error_of(&text, |bytes| bytes[0] = 9),
            "the message holds 9 bytes of text where there is room for 8, which is no `ShmString`"
        );
        assert_eq!(
            error_of(&text, |bytes| bytes[7] = b'x'),
            "the message holds 5 bytes of text, of which only 2 are UTF-8, which is no `ShmString`"
        );
        assert!(ShmString::<8>::check(&[]).is_err());
        assert!(ShmString::<8>::check(&[5, 0, 0, 0, b'a']).is_err());
    }

    // ── lists ────────────────────────────────────────────────────────────────────────────────────

    #[test]
    fn a_list_is_what_a_slice_is() {
        let mut list = ShmVec::<u32, 4>::new();
        list.extend_from_slice(&[3, 1, 2]).unwrap();
        list.sort();
        assert_eq!(list, [1, 2, 3]);
        assert_eq!(format!("{list:?}"), "[1, 2, 3]");
        assert_eq!((&list).into_iter().sum::<u32>(), 6);
        for value in &mut list {
            *value += 1;
        }
        assert_eq!(list.clone(), list);
        assert_eq!(list.first(), Some(&2));
        assert!(!list.is_full());
        assert_eq!(list.push(5), Ok(()));
        assert!(list.is_full());
        assert_eq!(list.push(6), Err(6));
        assert_eq!(list.extend_from_slice(&[7, 8]), Err(CapacityError { needed: 6, capacity: 4 }));
        assert_eq!(list, [2, 3, 4, 5]);
        assert_eq!(ShmVec::<u8, 1>::new().pop(), None);
    }

    #[test]
    fn a_list_has_no_padding_whatever_its_elements() {
        fn check<T: ShmMessage + Copy + PartialEq + fmt::Debug>(value: T, size: usize) {
            let list = ShmVec::<T, 3>::try_from(&[value, value][..]).unwrap();
            assert_eq!(size_of_val(&list), size);
            assert_eq!(ShmVec::<T, 3>::LAYOUT.align, align_of::<T>());
            assert_eq!(list[1], value);
            assert_eq!(ShmVec::<T, 3>::check(bytes_of(&list)), Ok(()));
            let option = ShmOption::some(value);
            assert_eq!(option, Some(value));
            assert_eq!(ShmOption::<T>::check(bytes_of(&option)), Ok(()));
            assert_eq!(ShmOption::<T>::LAYOUT.fixed, size_of::<T::Word>() + size_of::<T>());
        }
        check(1u8, 4 + 3);
        check([1u8; 3], 4 + 9);
        check(1u16, 4 + 6);
        check(1f32, 4 + 12);
        check([1f64; 2], 8 + 48);
        check(1u128, 16 + 48);
        check([0u64; 0], 8);
        check('x', 4 + 12);
    }

    #[test]
    fn a_list_with_a_wrong_count_or_element_is_refused() {
        let list = ShmVec::<bool, 4>::try_from(&[true, false][..]).unwrap();
        assert_eq!(
            error_of(&list, |bytes| bytes[0] = 5),
            "the message holds 5 elements where there is room for 4, which is no `ShmVec`"
        );
        assert_eq!(
            error_of(&list, |bytes| bytes[5] = 2),
            "field `[1]` holds [2], which is no `bool` (0 or 1)"
        );
        // What is not in use may be anything.
        assert_eq!(ShmVec::<bool, 4>::check(&[2, 0, 0, 0, 1, 0, 7, 7]), Ok(()));
    }

    // ── options ──────────────────────────────────────────────────────────────────────────────────

    #[test]
    fn an_option_is_what_that_of_std_is() {
        let mut goal = ShmOption::<char>::default();
        assert!(goal.is_none());
        assert_eq!(goal.get_mut(), None);
        goal.set('a');
        *goal.get_mut().unwrap() = 'b';
        assert_eq!(format!("{goal:?}"), "Some('b')");
        assert_eq!(goal, goal.clone());
        assert_eq!(Option::from(goal), Some('b'));
    }

    #[test]
    fn an_option_with_a_wrong_tag_or_value_is_refused() {
        let goal = ShmOption::some('a');
        assert_eq!(
            error_of(&goal, |bytes| bytes[0] = 2),
            "the message holds a tag of 2, which is no `ShmOption` (0 or 1)"
        );
        assert_eq!(
            error_of(&goal, |bytes| bytes[4..].fill(0xff)),
            "the message holds 0xffffffff, which is no `char`"
        );
        let none = [0, 7, 7, 7, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(ShmOption::<char>::check(&none), Ok(()));
    }

    #[test]
    fn schemas_say_what_they_are() {
        assert_eq!(Schema::of::<ShmString<28>>().canonical(), "string<28>");
        assert_eq!(Schema::of::<ShmVec<[f64; 2], 16>>().canonical(), "vec<[f64;2];16>");
        assert_eq!(Schema::of::<ShmOption<bool>>().canonical(), "option<bool>");
        assert_eq!(Schema::of::<ShmOption<ShmVec<u8, 3>>>().name(), "ShmOption<ShmVec<u8, 3>>");
    }
}
