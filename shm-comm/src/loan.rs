//! Loans: the right to write one slot in place, whatever becomes of it when it is sent.

use std::fmt;
use std::ops::{Deref, DerefMut};

#[cfg(feature = "codec")]
use crate::codec::Sink;
#[cfg(feature = "codec")]
use crate::error::EncodeError;
use crate::message::ShmMessage;

pub(crate) mod sealed {
    pub trait Slot {
        /// It will have so many elements, of those that there is room for.
        fn set_len(&mut self, len: usize);
    }
}

/// The slot that a loan is of: [`Publish`](crate::Publish), [`Push`](crate::Push),
/// [`Call`](crate::Call) or [`Answer`](crate::Answer).
///
/// Sealed: it is implemented for these, and for nothing else.
///
/// # Safety
///
/// `memory` is where the message is, with `elements` elements: large enough, aligned, initialised, if perhaps not
/// as a value of the message's type, and nobody else's while this lives.
pub unsafe trait Slot: sealed::Slot {
    /// What lies in it.
    type Message: ShmMessage + ?Sized;
    /// What one has of sending it.
    type Sent;

    #[doc(hidden)]
    fn memory(&self) -> *mut Self::Message;

    #[doc(hidden)]
    fn elements(&self) -> usize;

    #[doc(hidden)]
    fn send(self) -> Self::Sent;
}

/// A slot that is ours to write, with nothing in it yet.
///
/// Dropped, it sends nothing, and the slot serves somebody else. It borrows its handle: there is one loan at
/// a time.
#[must_use = "a loan that is not written is never seen by anybody"]
pub struct LoanUninit<S: Slot> {
    slot: S,
}

impl<S: Slot> LoanUninit<S> {
    pub(crate) fn of(slot: S) -> LoanUninit<S> {
        LoanUninit { slot }
    }

    pub(crate) fn slot(&self) -> &S {
        &self.slot
    }
}

impl<S: Slot> LoanUninit<S>
where
    S::Message: Sized,
{
    /// Writes the message and sends it.
    ///
    /// The value passes over the stack. For messages of megabytes fill the slot in place:
    /// [`zeroed`](Self::zeroed), [`reused`](Self::reused), [`as_mut_ptr`](Self::as_mut_ptr).
    #[inline]
    pub fn write(self, value: S::Message) -> S::Sent {
        self.init(value).send()
    }

    /// Writes the message, to be changed before it is [sent](Loan::send).
    #[inline]
    pub fn init(self, value: S::Message) -> Loan<S> {
        // SAFETY: The slot is ours and has room for one, aligned.
        unsafe { self.slot.memory().write(value) };
        Loan { slot: self.slot }
    }
}

impl<S: Slot> LoanUninit<S> {
    /// Fills the message with zeroes.
    ///
    /// Exists for types for which that is a value, and is a compile error (of `cargo build`) for
    /// others, which says what is in the way:
    ///
    /// ```compile_fail
    /// use shm_comm::{Publisher, ShmMessage};
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(u8)]
    /// enum Gear { First = 1, Second = 2 }
    ///
    /// let mut gears = Publisher::<Gear>::new("gears").unwrap();
    /// gears.loan().unwrap().zeroed().send(); // 0 is no gear
    /// ```
    #[inline]
    pub fn zeroed(self) -> Loan<S> {
        const {
            if !S::Message::ZERO_IS_VALID {
                Self::NO_ZERO.refuse()
            }
        }
        let bytes = S::Message::LAYOUT.size(self.slot.elements());
        // In place: a message of megabytes does not fit the stack.
        // SAFETY: The slot is ours and has room for a message with so many elements.
        unsafe { self.slot.memory().cast::<u8>().write_bytes(0, bytes) };
        Loan { slot: self.slot }
    }

    /// Takes the message as an older one left it in the slot (or zeroes): for large messages of
    /// which every part is written anyway.
    ///
    /// Exists for types of which every bit pattern is a value, and is a compile error (of
    /// `cargo build`) for others, which says what is in the way.
    #[inline]
    pub fn reused(self) -> Loan<S> {
        const {
            if !S::Message::PLAIN {
                Self::NO_REUSE.refuse()
            }
        }
        Loan { slot: self.slot }
    }

    /// Where to write the message, for drivers, decoders and C. It is not initialised.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut S::Message {
        self.slot.memory()
    }

    /// Takes the message as it was written through [`as_mut_ptr`](Self::as_mut_ptr).
    ///
    /// # Safety
    ///
    /// All of it has been written, and it is a value of its type.
    #[inline]
    pub unsafe fn assume_init(self) -> Loan<S> {
        Loan { slot: self.slot }
    }

    const NO_ZERO: crate::__private::Text = crate::__private::Text::new()
        .str("`zeroed` needs a type for which all-zero bytes are a value: ")
        .str(S::Message::LAYOUT.zero_obstacle);
    const NO_REUSE: crate::__private::Text = crate::__private::Text::new()
        .str("`reused` needs a type of which every bit pattern is a value: ")
        .str(S::Message::LAYOUT.plain_obstacle);
}

impl<S: Slot> fmt::Debug for LoanUninit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = S::Message::schema().name();
        f.debug_struct("LoanUninit").field("type", &name).finish_non_exhaustive()
    }
}

/// A message in its slot, to be changed and sent.
///
/// Dropped, it sends nothing, and the slot serves somebody else.
#[must_use = "a loan that is not sent is never seen by anybody"]
pub struct Loan<S: Slot> {
    slot: S,
}

impl<S: Slot> Loan<S> {
    /// Sends the message.
    #[inline]
    pub fn send(self) -> S::Sent {
        self.slot.send()
    }

    pub(crate) fn slot(&self) -> &S {
        &self.slot
    }
}

impl<S: Slot> Deref for Loan<S> {
    type Target = S::Message;

    #[inline]
    fn deref(&self) -> &S::Message {
        // SAFETY: Whoever made the loan has seen to it that the slot, which is ours, holds a value.
        unsafe { &*self.slot.memory() }
    }
}

impl<S: Slot> DerefMut for Loan<S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S::Message {
        // SAFETY: As above; and the loan is borrowed for writing.
        unsafe { &mut *self.slot.memory() }
    }
}

impl<S: Slot> fmt::Debug for Loan<S>
where
    S::Message: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loan").field(&&**self).finish()
    }
}

/// Sends a copy of a message, for which the slot has as many elements as it has.
#[inline(always)]
pub(crate) fn send_copy<S: Slot>(slot: S, message: &S::Message) -> S::Sent {
    let from = std::ptr::from_ref(message).cast::<u8>();
    // Up to the last element: what Rust rounds up may be anything, and is not to be seen by others.
    let bytes = S::Message::LAYOUT.bytes(slot.elements());
    // SAFETY: A message is plain data without a destructor, so a copy of its bytes is a message; the
    // slot is not where `message` is, which can be read while nobody may write a slot of ours.
    unsafe { std::ptr::copy_nonoverlapping(from, slot.memory().cast(), bytes) };
    slot.send()
}

/// Sends the bytes that `encode` puts into a slot, all of which it may use.
#[cfg(feature = "codec")]
pub(crate) fn send_encoded<S: Slot<Message = [u8]>>(
    mut slot: S,
    encode: impl FnOnce(&mut Sink<'_>) -> Result<(), EncodeError>,
) -> Result<S::Sent, EncodeError> {
    // SAFETY: The slot is ours, and its bytes are initialised: they are those of an older message, or
    // zeroes.
    let mut sink = Sink::new(unsafe { &mut *slot.memory() });
    let len = encode(&mut sink).and_then(|()| sink.finish())?;
    slot.set_len(len);
    Ok(slot.send())
}

/// A handle has `loan_with_len` for these only.
pub(crate) const fn assert_unsized<T: ShmMessage + ?Sized>() {
    assert!(
        T::LAYOUT.is_unsized(),
        "`loan_with_len` is for messages with a slice at their end: use `loan`"
    );
}
