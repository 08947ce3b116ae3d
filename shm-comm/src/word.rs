//! Integers that stand for an alignment: how a bounded container lays its count or its tag before
//! elements of any type without padding, and without wasting more than it must.
//!
//! `repr(C)` puts what comes first at its own alignment and pads up to that of what follows. If the
//! first is an integer of the very alignment of what follows, there is nothing to pad. Which integer
//! that is must be known as a type: so every message names its own ([`ShmMessage::Word`]), and that of
//! a struct is the widest of its fields', found out by [`Max`](Word::Max).
//!
//! [`ShmMessage::Word`]: crate::ShmMessage

use bytemuck::Pod;

/// An unsigned integer whose alignment is its size (in bytes 1, 2, 4, 8 or 16).
pub trait Word: Pod + Send + Sync {
    /// The wider one of two.
    type Max<Other: Word>: Word;
    /// This one, or a wider one: at least 2, 4, 8 bytes.
    #[doc(hidden)]
    type Or2: Word;
    #[doc(hidden)]
    type Or4: Word;
    #[doc(hidden)]
    type Or8: Word;
    /// Room for a `u32`, of this alignment: the word itself, or as many as it takes.
    type Count: Pod + Send + Sync;
}

macro_rules! words {
    ($($word:ty: $or2:ty, $or4:ty, $or8:ty, $count:ty, |$other:ident| $max:ty);+ $(;)?) => {$(
        const _: () = assert!(align_of::<$word>() == size_of::<$word>());
        impl Word for $word {
            type Max<$other: Word> = $max;
            type Or2 = $or2;
            type Or4 = $or4;
            type Or8 = $or8;
            type Count = $count;
        }
    )+};
}

words! {
    u8: u16, u32, u64, [u8; 4], |Other| Other;
    u16: u16, u32, u64, [u16; 2], |Other| Other::Or2;
    u32: u32, u32, u64, u32, |Other| Other::Or4;
    u64: u64, u64, u64, u64, |Other| Other::Or8;
    u128: u128, u128, u128, u128, |Other| u128;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max<A: Word, B: Word>() -> usize {
        size_of::<A::Max<B>>()
    }

    #[test]
    fn the_wider_one_of_two_words_is_found() {
        assert_eq!([max::<u8, u8>(), max::<u8, u16>(), max::<u16, u8>()], [1, 2, 2]);
        assert_eq!([max::<u32, u16>(), max::<u16, u32>(), max::<u64, u8>()], [4, 4, 8]);
        assert_eq!([max::<u64, u128>(), max::<u128, u8>(), max::<u8, u64>()], [16, 16, 8]);
    }

    #[test]
    fn a_count_has_room_for_four_bytes_at_the_alignment_of_its_word() {
        fn check<W: Word>() {
            assert!(size_of::<W::Count>() >= 4);
            assert_eq!(align_of::<W::Count>(), align_of::<W>());
        }
        check::<u8>();
        check::<u16>();
        check::<u32>();
        check::<u64>();
        check::<u128>();
    }
}
