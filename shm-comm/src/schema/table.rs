//! A schema for people: a line for the whole, and a table of what is in it.

use std::fmt;

use super::{Kind, Schema};

/// A table: every field with its type, and its offset and size in bytes.
///
/// Fields of a nested struct follow it, indented, with offsets from the start of the message. Those of
/// the elements of a list are there once, as `[].x`, and `+8` is from the start of each element. An enum
/// is followed by its values.
///
/// ```
/// use shm_comm::{Schema, ShmMessage};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Wheel { angle: f64, speed: f64 }
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Drive { stamp: u64, wheels: [Wheel; 4] }
///
/// let table = "\
/// Drive: 72 bytes, aligned to 8, layout hash 0x2d5d95d909d97e47
///   field       type        offset  size
///   stamp       u64              0     8
///   wheels      [Wheel; 4]       8    64
///     [].angle  f64             +0     8
///     [].speed  f64             +8     8";
/// assert_eq!(Schema::of::<Drive>().to_string(), table);
/// ```
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        match (&self.kind, self.stride()) {
            (Kind::Encoded { .. }, _) => write!(f, "encoded")?,
            (Kind::Slice { .. }, Some(stride)) => write!(f, "{} each", bytes(stride))?,
            (_, Some(stride)) => write!(f, "{} and {stride} each", bytes(self.size))?,
            (_, None) => write!(f, "{}", bytes(self.size))?,
        }
        write!(f, ", aligned to {}, layout hash {:#018x}", self.align, self.hash())?;

        let mut rows = Vec::new();
        add_inside(self, "", Offset::START, 1, &mut rows);
        if rows.is_empty() {
            return Ok(());
        }
        rows.insert(0, ["  field", "type", "offset", "size"].map(str::to_owned));
        let mut widths = [0; 4];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let [field_width, kind_width, offset_width, size_width] = widths;
        for [field, kind, offset, size] in &rows {
            write!(f, "\n{field:field_width$}  ")?;
            match offset.as_str() {
                // The value of an enum is nowhere.
                "" => write!(f, "{kind}")?,
                _ => write!(f, "{kind:kind_width$}  {offset:>offset_width$}  {size:>size_width$}")?,
            }
        }
        Ok(())
    }
}

fn bytes(count: usize) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
}

/// Field, type, offset, size.
type Row = [String; 4];

/// From the start of the message, or of an element of a list.
#[derive(Clone, Copy)]
struct Offset {
    bytes: usize,
    is_in_element: bool,
}

impl Offset {
    const START: Offset = Offset { bytes: 0, is_in_element: false };
    const ELEMENT: Offset = Offset { bytes: 0, is_in_element: true };

    fn plus(self, bytes: usize) -> Offset {
        Offset { bytes: self.bytes.saturating_add(bytes), ..self }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_in_element { "+" } else { "" }, self.bytes)
    }
}

/// Adds what is in a type, which `index` leads to from the row before: `[]` for elements.
fn add_inside(schema: &Schema, index: &str, start: Offset, depth: usize, rows: &mut Vec<Row>) {
    let indent = "  ".repeat(depth);
    match &schema.kind {
        Kind::Struct { fields, .. } => {
            let dot = if index.is_empty() { "" } else { "." };
            for field in fields {
                let offset = start.plus(field.offset);
                let size = match &field.schema.kind {
                    Kind::Slice { element } => format!("{} each", element.size),
                    _ => field.schema.size.to_string(),
                };
                let label = format!("{indent}{index}{dot}{}", field.name);
                rows.push([label, field.schema.name(), offset.to_string(), size]);
                add_inside(&field.schema, "", offset, depth + 1, rows);
            }
        }
        Kind::Enum { variants, .. } => {
            for variant in variants {
                let label = format!("{indent}{}", variant.name);
                rows.push([label, format!("= {}", variant.value), String::new(), String::new()]);
            }
        }
        Kind::Array { element, .. } | Kind::Slice { element } | Kind::Vec { element, .. } => {
            add_inside(element, &format!("{index}[]"), Offset::ELEMENT, depth, rows);
        }
        // Its tag takes as many bytes as its alignment.
        Kind::Option { value } => {
            add_inside(value, index, start.plus(value.align), depth, rows);
        }
        Kind::Primitive(_) | Kind::NonZero(_) | Kind::String { .. } | Kind::Encoded { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::testing::*;
    use crate::schema::{Primitive, Schema};

    #[track_caller]
    fn check(schema: Schema, lines: &[&str]) {
        let table = schema.to_string();
        let (first, rest) = table.split_once('\n').unwrap_or((&table, ""));
        let (first, hash) = first.split_once(", layout hash ").unwrap();
        assert_eq!(hash, format!("{:#018x}", schema.hash()));
        assert_eq!([first].into_iter().chain(rest.lines()).collect::<Vec<_>>(), lines);
        assert!(table.lines().all(|line| line.trim_end() == line), "{table}");
    }

    #[test]
    fn fields_of_structs_are_indented_with_offsets_in_the_message() {
        let point = strukt("Point", [("x", f64()), ("y", f64())]);
        let mode = enumeration("Mode", Primitive::U8, [("Idle", 0), ("Emergency", 255)]);
        let pose = strukt("Pose", [("position", point), ("heading", f64()), ("mode", mode)]);
        check(
            strukt("Odometry", [("stamp", f64()), ("pose", pose), ("größe", string(8))]),
            &[
                "Odometry: 56 bytes, aligned to 8",
                "  field          type          offset  size",
                "  stamp          f64                0     8",
                "  pose           Pose               8    32",
                "    position     Point              8    16",
                "      x          f64                8     8",
                "      y          f64               16     8",
                "    heading      f64               24     8",
                "    mode         Mode              32     1",
                "      Idle       = 0",
                "      Emergency  = 255",
                "  größe          ShmString<8>      40    12",
            ],
        );
    }

    #[test]
    fn elements_of_lists_are_there_once() {
        let point = || strukt("Point", [("x", f32()), ("y", f32())]);
        let side = enumeration("Side", Primitive::I8, [("Left", -1)]);
        let edge = strukt("Edge", [("to", array(point(), 2)), ("sides", array(side, 4))]);
        check(
            strukt(
                "Map",
                [
                    ("grid", array(array(u16(), 3), 2)),
                    ("corners", array(array(point(), 2), 2)),
                    ("goal", option(point())),
                    ("edges", vec(edge, 8)),
                    ("rest", slice(point())),
                ],
            ),
            &[
                "Map: 220 bytes and 8 each, aligned to 4",
                "  field       type              offset    size",
                "  grid        [[u16; 3]; 2]          0      12",
                "  corners     [[Point; 2]; 2]       12      32",
                "    [][].x    f32                   +0       4",
                "    [][].y    f32                   +4       4",
                "  goal        ShmOption<Point>      44      12",
                "    x         f32                   48       4",
                "    y         f32                   52       4",
                "  edges       ShmVec<Edge, 8>       56     164",
                "    [].to     [Point; 2]            +0      16",
                "      [].x    f32                   +0       4",
                "      [].y    f32                   +4       4",
                "    [].sides  [Side; 4]            +16       4",
                "      Left    = -1",
                "  rest        [Point]              220  8 each",
                "    [].x      f32                   +0       4",
                "    [].y      f32                   +4       4",
            ],
        );
    }

    #[test]
    fn a_message_without_fields_is_one_line() {
        check(f64(), &["f64: 8 bytes, aligned to 8"]);
        check(array(u8(), 1), &["[u8; 1]: 1 byte, aligned to 1"]);
        check(slice(f32()), &["[f32]: 4 bytes each, aligned to 4"]);
        check(strukt("Nothing", []), &["Nothing: 0 bytes, aligned to 1"]);
        check(encoded("msgpack", "Plan"), &["msgpack(Plan): encoded, aligned to 1"]);
    }

    #[test]
    fn a_message_that_is_a_list_shows_an_element() {
        check(
            slice(strukt("Point", [("x", f32()), ("y", f32())])),
            &[
                "[Point]: 8 bytes each, aligned to 4",
                "  field  type  offset  size",
                "  [].x   f32       +0     4",
                "  [].y   f32       +4     4",
            ],
        );
    }
}
