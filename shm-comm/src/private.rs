//! What the expansion of `#[derive(ShmMessage)]` needs. Not for people: it may change in any release.

pub use crate::message::{Invalid, ShmMessage};
pub use crate::schema::{Field, Kind, Primitive, Schema, Variant};

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
    use super::Text;

    #[test]
    fn texts_are_made_at_compile_time() {
        const TEXT: Text = Text::new().str("gap of ").num(120).str(" bytes");
        assert_eq!(const { TEXT.as_str() }, "gap of 120 bytes");
    }
}
