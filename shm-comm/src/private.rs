//! What the expansion of `#[derive(ShmMessage)]` needs. Not for people: it may change in any release.
//!
//! The expansion of a struct is one [`Struct`], a table of its fields. What follows from the table
//! is computed here, by constant functions, rather than spelled out in every expansion.

pub use crate::__shm_sized;
pub use crate::message::{Invalid, Layout, ShmMessage};
pub use crate::schema::{Field, Kind, Primitive, Schema, Variant};
pub use crate::word::Word;

/// A struct and its fields, in the order of their offsets.
pub struct Struct {
    /// As in the source.
    pub name: &'static str,
    /// Bytes of the whole.
    pub size: usize,
    /// Every field, padding too.
    pub members: &'static [Member],
    /// The fields have no names, so that none can be inserted.
    pub is_tuple: bool,
    /// `_pad…` with this number and above are not in use.
    pub first_free_pad: usize,
}

/// One field of a [`Struct`], and what is known of its type.
pub struct Member {
    name: &'static str,
    offset: usize,
    size: usize,
    zero_is_valid: bool,
    plain: bool,
    zero_obstacle: &'static str,
    plain_obstacle: &'static str,
    needs_drop: bool,
    schema: fn() -> Schema,
    check: fn(&[u8]) -> Result<(), Invalid>,
}

impl Member {
    /// The one place where the expansion asks that a field be a message: one mistake, one error.
    pub const fn new<Field: ShmMessage>(name: &'static str, offset: usize) -> Member {
        Member {
            name,
            offset,
            size: size_of::<Field>(),
            schema: Field::schema,
            zero_is_valid: Field::ZERO_IS_VALID,
            plain: Field::PLAIN,
            zero_obstacle: Field::LAYOUT.zero_obstacle,
            plain_obstacle: Field::LAYOUT.plain_obstacle,
            needs_drop: std::mem::needs_drop::<Field>(),
            check: Field::check,
        }
    }

    /// What the schema says of it.
    pub fn field(&self) -> Field {
        Field { name: self.name.to_owned(), offset: self.offset, schema: (self.schema)() }
    }

    /// Whether this field of a struct with these bytes holds a value.
    #[inline]
    pub fn check(&self, bytes: &[u8]) -> Result<(), Invalid> {
        if self.plain {
            return Ok(());
        }
        let checked = match bytes.get(self.offset..self.end()) {
            Some(bytes) => (self.check)(bytes),
            None => Err(cut_off(bytes)),
        };
        checked.map_err(|invalid| invalid.in_field(self.name))
    }

    const fn end(&self) -> usize {
        self.offset + self.size
    }

    /// An array of bytes, which the derive has checked.
    const fn is_padding(&self) -> bool {
        matches!(self.name.as_bytes(), [b'_', b'p', b'a', b'd', ..])
    }
}

impl Struct {
    /// All-zero bytes are a value of every field.
    pub const fn zero_is_valid(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].zero_is_valid {
                return false;
            }
            i += 1;
        }
        true
    }

    /// All bytes are a value of every field.
    pub const fn plain(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].plain {
                return false;
            }
            i += 1;
        }
        true
    }

    /// The way to the first field that cannot be zero.
    pub const fn zero_obstacle(&self) -> Text {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].zero_is_valid {
                return self.way_to(i).str(self.members[i].zero_obstacle);
            }
            i += 1;
        }
        Text::new()
    }

    /// The way to the first field that cannot be anything.
    pub const fn plain_obstacle(&self) -> Text {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].plain {
                return self.way_to(i).str(self.members[i].plain_obstacle);
            }
            i += 1;
        }
        Text::new()
    }

    const fn way_to(&self, i: usize) -> Text {
        let text = Text::new().str("field `").str(self.members[i].name);
        text.str("` of `").str(self.name).str("`: ")
    }

    /// Bytes of padding between field `i` and the next one, or the end.
    pub const fn gap_after(&self, i: usize) -> usize {
        self.next_start(i).saturating_sub(self.members[i].end())
    }

    /// Where the padding after field `i` is, and how to get rid of it.
    pub const fn explain_gap_after(&self, i: usize) -> Text {
        let gap = self.gap_after(i);
        let member = &self.members[i];
        let is_last = i + 1 == self.members.len();

        let text = Text::new().str("`").str(self.name).str("`: ").num(gap);
        let text = text.str(if gap == 1 { " byte" } else { " bytes" }).str(" of padding ");
        let text = text.str(if is_last { "after `" } else { "between `" }).str(member.name);
        let text = text.str("` (ends at byte ").num(member.end());
        let text = if is_last {
            text.str(" of ").num(self.size).str("): ")
        } else {
            let text = text.str(") and `").str(self.members[i + 1].name);
            text.str("` (starts at byte ").num(self.next_start(i)).str("): ")
        };
        let text = if member.is_padding() {
            let size = member.size + gap;
            text.str("make `").str(member.name).str("` a `[u8; ").num(size).str("]`")
        } else {
            let text = text.str(if self.is_tuple { "name the fields and " } else { "" });
            let number = self.number_of_pad_after(i);
            let text = text.str("insert `_pad").num(number).str(": [u8; ").num(gap);
            text.str("],` after `").str(member.name).str("`")
        };
        if is_last { text } else { text.str(", or move larger fields to the front") }
    }

    /// Some field has a destructor, which was reported where its type is declared.
    pub const fn has_field_to_drop(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if self.members[i].needs_drop {
                return true;
            }
            i += 1;
        }
        false
    }

    /// Fields and gaps make up the whole: nothing is hidden, nothing overlaps.
    pub const fn is_covered(&self) -> bool {
        let mut covered = 0;
        let mut i = 0;
        while i < self.members.len() {
            covered += self.members[i].size + self.gap_after(i);
            i += 1;
        }
        covered == self.size
    }

    const fn next_start(&self, i: usize) -> usize {
        if i + 1 < self.members.len() { self.members[i + 1].offset } else { self.size }
    }

    /// All gaps are reported at once, and what is pasted for them must not collide.
    const fn number_of_pad_after(&self, i: usize) -> usize {
        let mut number = self.first_free_pad;
        let mut before = 0;
        while before < i {
            if self.gap_after(before) > 0 && !self.members[before].is_padding() {
                number += 1;
            }
            before += 1;
        }
        number
    }
}

/// The message is shorter than its type, so that this part of it does not exist.
#[cold]
pub fn cut_off(bytes: &[u8]) -> Invalid {
    Invalid::new(format_args!("part of only {} bytes", bytes.len()), "whole value")
}

/// A text put together at compile time, for the message of a `const` panic.
///
/// What does not fit is cut off.
pub struct Text {
    bytes: [u8; Text::CAPACITY],
    len: usize,
}

impl Text {
    const CAPACITY: usize = 1024;

    /// An empty text.
    #[allow(clippy::new_without_default)] // `Default` is not const
    pub const fn new() -> Text {
        Text { bytes: [0; Text::CAPACITY], len: 0 }
    }

    /// Appends `text`.
    pub const fn str(mut self, text: &str) -> Text {
        let text = text.as_bytes();
        // Whole or not at all: half a character would not be UTF-8.
        if self.len + text.len() > Text::CAPACITY {
            return self;
        }
        let mut i = 0;
        while i < text.len() {
            self.bytes[self.len] = text[i];
            self.len += 1;
            i += 1;
        }
        self
    }

    /// Appends `number` in decimal.
    pub const fn num(self, number: usize) -> Text {
        let text = if number >= 10 { self.num(number / 10) } else { self };
        text.str(match number % 10 {
            0 => "0",
            1 => "1",
            2 => "2",
            3 => "3",
            4 => "4",
            5 => "5",
            6 => "6",
            7 => "7",
            8 => "8",
            _ => "9",
        })
    }

    /// Ends the evaluation of a constant, with the text as the error.
    #[track_caller]
    pub const fn refuse(&self) -> ! {
        panic!("{}", self.as_str())
    }

    /// The text so far.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two gaps: after `a` and at the end.
    const GAPS: Struct = Struct {
        name: "Gaps",
        size: 12,
        members: &[
            Member::new::<u8>("a", 0),
            Member::new::<u32>("b", 4),
            Member::new::<bool>("flag", 8),
            Member::new::<[u8; 2]>("_pad0", 9),
        ],
        is_tuple: false,
        first_free_pad: 1,
    };

    #[test]
    fn a_gap_is_explained_with_what_to_write() {
        assert_eq!(
            GAPS.explain_gap_after(0).as_str(),
            "`Gaps`: 3 bytes of padding between `a` (ends at byte 1) and `b` (starts at byte 4): \
             insert `_pad1: [u8; 3],` after `a`, or move larger fields to the front"
        );
        assert_eq!(
            GAPS.explain_gap_after(3).as_str(),
            "`Gaps`: 1 byte of padding after `_pad0` (ends at byte 11 of 12): \
             make `_pad0` a `[u8; 3]`"
        );
    }

    #[test]
    fn padding_that_is_too_short_takes_no_number() {
        const SHORT: Struct = Struct {
            name: "Short",
            size: 24,
            members: &[
                Member::new::<u8>("id", 0),
                Member::new::<[u8; 3]>("_pad0", 1),
                Member::new::<f64>("x", 8),
                Member::new::<bool>("valid", 16),
            ],
            is_tuple: false,
            first_free_pad: 1,
        };
        assert_eq!(
            SHORT.explain_gap_after(1).as_str(),
            "`Short`: 4 bytes of padding between `_pad0` (ends at byte 4) and `x` (starts at byte \
             8): make `_pad0` a `[u8; 7]`, or move larger fields to the front"
        );
        assert_eq!(
            SHORT.explain_gap_after(3).as_str(),
            "`Short`: 7 bytes of padding after `valid` (ends at byte 17 of 24): \
             insert `_pad1: [u8; 7],` after `valid`"
        );
    }

    #[test]
    fn a_table_that_leaves_bytes_out_does_not_cover_the_struct() {
        assert!(GAPS.is_covered());
        const STARTS_LATE: Struct = Struct { members: &[Member::new::<u64>("late", 4)], ..GAPS };
        assert!(!STARTS_LATE.is_covered());
    }

    #[test]
    fn a_field_beyond_the_end_of_the_bytes_is_an_error() {
        let error = GAPS.members[2].check(&[0; 8]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `flag` holds part of only 8 bytes, which is no whole value"
        );
    }

    #[test]
    fn texts_are_made_at_compile_time() {
        const TEXT: Text = Text::new().str("gap of ").num(120).str(" bytes");
        assert_eq!(const { TEXT.as_str() }, "gap of 120 bytes");
    }
}
