//! Texts put together at compile time, for the message of a `const` panic: what rustc shows of a
//! mistake that only it can find, such as padding.

/// A text put together at compile time, for the message of a `const` panic.
///
/// What does not fit is cut off, and ends in `…`.
pub struct Text {
    bytes: [u8; Text::CAPACITY],
    len: usize,
    is_cut: bool,
}

impl Text {
    const CAPACITY: usize = 1024;
    const CUT: &str = "…";

    /// An empty text.
    #[allow(clippy::new_without_default)] // `Default` is not const
    pub const fn new() -> Text {
        Text { bytes: [0; Text::CAPACITY], len: 0, is_cut: false }
    }

    /// Appends `text`.
    pub const fn str(mut self, text: &str) -> Text {
        if self.is_cut {
            return self;
        }
        // Whole or not at all: half a character would not be UTF-8.
        self.is_cut = self.len + text.len() > Text::CAPACITY - Text::CUT.len();
        let text = if self.is_cut { Text::CUT.as_bytes() } else { text.as_bytes() };
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

    #[test]
    fn texts_are_made_at_compile_time() {
        const TEXT: Text = Text::new().str("gap of ").num(120).str(" bytes");
        assert_eq!(const { TEXT.as_str() }, "gap of 120 bytes");
    }

    #[test]
    fn a_text_that_is_too_long_ends_with_dots() {
        let mut text = Text::new();
        for _ in 0..300 {
            text = text.str("four");
        }
        assert!(text.as_str().ends_with("four…"), "{}", text.as_str());
        assert!(text.as_str().len() <= Text::CAPACITY);
    }
}
