//! Views for people: on a line, or as lines of a terminal.

use std::fmt::{self, Display, Formatter, Write};

use super::path::is_all_visible;
use super::{List, Map, Value, View};

/// Elements of a list that are shown.
const MAX_ELEMENTS: usize = 16;
/// Entries of a map: they may be the fields of a struct.
const MAX_ENTRIES: usize = 64;
const MAX_BYTES: usize = 32;

impl Display for View<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true if !fits_a_line(&self.value()) => write_block(self, 0, f),
            _ => write_line(self, f),
        }
    }
}

/// How many are shown, and how many are not.
fn shown(list: &List<'_>) -> (usize, usize) {
    let shown = if list.is_endless() { 0 } else { list.len().min(MAX_ELEMENTS) };
    (shown, list.len() - shown)
}

fn shown_entries(map: &Map<'_>) -> (usize, usize) {
    let shown = map.len().min(MAX_ENTRIES);
    (shown, map.len() - shown)
}

fn write_line(view: &View<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    match view.value() {
        Value::Bool(value) => write!(f, "{value}"),
        Value::Char(value) => write!(f, "{value:?}"),
        Value::Unsigned(value) => write!(f, "{value}"),
        Value::Signed(value) => write!(f, "{value}"),
        Value::F32(value) => match f.precision() {
            Some(digits) => write!(f, "{value:.digits$?}"),
            None => write!(f, "{value:?}"),
        },
        Value::F64(value) => match f.precision() {
            Some(digits) => write!(f, "{value:.digits$?}"),
            None => write!(f, "{value:?}"),
        },
        Value::Text(text) => write!(f, "{text:?}"),
        Value::Bytes(bytes) => write_bytes(bytes, f),
        Value::None => f.write_str("none"),
        Value::Some(value) => write_line(&value, f),
        Value::Enum { name, .. } => write!(f, "{}", Visible(name)),
        Value::List(list) => {
            let (shown, more) = shown(&list);
            f.write_char('[')?;
            for (i, element) in list.iter().take(shown).enumerate() {
                f.write_str(if i > 0 { ", " } else { "" })?;
                write_line(&element, f)?;
            }
            match (shown, more) {
                (_, 0) => f.write_char(']'),
                (0, more) => write!(f, "… {more} more]"),
                (_, more) => write!(f, ", … {more} more]"),
            }
        }
        Value::Struct(fields) if fields.is_tuple() => {
            write!(f, "{}(", Visible(fields.name()))?;
            for (i, (_, value)) in fields.iter().enumerate() {
                f.write_str(if i > 0 { ", " } else { "" })?;
                write_line(&value, f)?;
            }
            f.write_char(')')
        }
        Value::Struct(fields) => {
            write!(f, "{} {{", Visible(fields.name()))?;
            for (i, (name, value)) in fields.iter().enumerate() {
                write!(f, "{}{}: ", if i > 0 { ", " } else { " " }, Visible(name))?;
                write_line(&value, f)?;
            }
            f.write_str(if fields.is_empty() { "}" } else { " }" })
        }
        Value::Map(map) => {
            let (shown, more) = shown_entries(&map);
            f.write_char('{')?;
            for (i, (key, value)) in map.iter().take(shown).enumerate() {
                f.write_str(if i > 0 { ", " } else { " " })?;
                write_key(&key, f)?;
                f.write_str(": ")?;
                write_line(&value, f)?;
            }
            match more {
                0 => f.write_str(if map.is_empty() { "}" } else { " }" }),
                more => write!(f, ", … {more} more }}"),
            }
        }
        Value::Raw(raw) => {
            write!(f, "{}({}) ", Visible(raw.codec()), Visible(raw.type_name()))?;
            write_bytes(raw.bytes(), f)
        }
    }
}

/// Lines for what does not fit one, from the place where the first begins; the others are indented.
fn write_block(view: &View<'_>, indent: usize, f: &mut Formatter<'_>) -> fmt::Result {
    let next_line = |i: usize, f: &mut Formatter<'_>| match i {
        0 => Ok(()),
        _ => write!(f, "\n{:indent$}", ""),
    };
    match view.value() {
        Value::Some(value) => write_block(&value, indent, f),
        Value::Struct(fields) => {
            for (i, (name, value)) in fields.iter().enumerate() {
                next_line(i, f)?;
                write!(f, "{}:", Visible(name))?;
                write_below(&value, indent, f)?;
            }
            Ok(())
        }
        Value::Map(map) => {
            let (shown, more) = shown_entries(&map);
            for (i, (key, value)) in map.iter().take(shown).enumerate() {
                next_line(i, f)?;
                write_key(&key, f)?;
                f.write_char(':')?;
                write_below(&value, indent, f)?;
            }
            write_more(more, indent, f)
        }
        Value::List(list) => {
            let (shown, more) = shown(&list);
            for (i, element) in list.iter().take(shown).enumerate() {
                next_line(i, f)?;
                f.write_str("- ")?;
                match fits_a_line(&element.value()) {
                    true => write_line(&element, f)?,
                    false => write_block(&element, indent + 2, f)?,
                }
            }
            match more {
                0 => Ok(()),
                more => write!(f, "\n{:indent$}- … {more} more", ""),
            }
        }
        _ => write_line(view, f),
    }
}

fn write_more(more: usize, indent: usize, f: &mut Formatter<'_>) -> fmt::Result {
    match more {
        0 => Ok(()),
        more => write!(f, "\n{:indent$}… {more} more", ""),
    }
}

/// Behind the name of a field: on its line, or below it.
fn write_below(value: &View<'_>, indent: usize, f: &mut Formatter<'_>) -> fmt::Result {
    if fits_a_line(&value.value()) {
        f.write_char(' ')?;
        return write_line(value, f);
    }
    let indent = indent + 2;
    write!(f, "\n{:indent$}", "")?;
    write_block(value, indent, f)
}

/// It has nothing inside, or is a list of such.
fn fits_a_line(value: &Value<'_>) -> bool {
    match value {
        Value::Some(inside) => fits_a_line(&inside.value()),
        Value::List(list) => list.iter().take(shown(list).0).all(|view| is_leaf(&view.value())),
        other => is_leaf(other),
    }
}

fn is_leaf(value: &Value<'_>) -> bool {
    match value {
        Value::Some(inside) => is_leaf(&inside.value()),
        Value::List(list) => shown(list).0 == 0,
        Value::Struct(fields) => fields.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => true,
    }
}

fn write_bytes(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("0x")?;
    for byte in bytes.iter().take(MAX_BYTES) {
        write!(f, "{byte:02x}")?;
    }
    match bytes.len().saturating_sub(MAX_BYTES) {
        0 => Ok(()),
        more => write!(f, "… {more} more"),
    }
}

/// As a field if it looks like one.
fn write_key(key: &View<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    match key.value() {
        Value::Text(text) if is_word(text) => f.write_str(text),
        _ => write_line(key, f),
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        && is_all_visible(text)
}

/// A name, of which nothing is left that does not show itself.
pub(super) struct Visible<'a>(pub &'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_all_visible(self.0) {
            return f.write_str(self.0);
        }
        write!(f, "{}", self.0.escape_debug())
    }
}
