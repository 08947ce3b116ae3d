//! Whether a schema can be that of a type: sizes, alignments, offsets, values and names.
//!
//! What is read from a segment is checked here as a whole, and so is what is about to be written
//! there: what has passed can be written, is read back equal, and can be shown to people.

use std::fmt;

use super::{Field, Kind, Primitive, Schema, Variant};

/// No schema is nested deeper.
pub(super) const MAX_DEPTH: usize = 64;
/// No name of a type, a field or a value has more bytes.
pub(super) const MAX_NAME: usize = 1024;
/// The largest alignment that the compiler knows.
const MAX_ALIGN: usize = 1 << 29;

/// Why something is no schema of a type: which part of it, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    field: String,
    reason: String,
}

impl Malformed {
    #[cold]
    pub(super) fn new(reason: impl Into<String>) -> Malformed {
        Malformed { field: String::new(), reason: reason.into() }
    }

    /// The same, seen from the struct that has the field, or from what has elements: `[]`.
    #[cold]
    fn inside(mut self, name: &str) -> Malformed {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "the schema {}", self.reason),
            field => write!(f, "field `{field}` of the schema {}", self.reason),
        }
    }
}

impl std::error::Error for Malformed {}

/// Where a part of a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// It is the whole.
    Root,
    /// The last field of a struct that is the whole.
    End,
    Inside,
}

/// Checks all that the rest of the crate relies on.
pub(super) fn check(schema: &Schema) -> Result<(), Malformed> {
    check_at(schema, Place::Root, 1)
}

fn check_at(schema: &Schema, place: Place, depth: usize) -> Result<(), Malformed> {
    let Schema { size, align, kind } = schema;
    let wrong = |reason: String| Err(Malformed::new(reason));
    let element_of = |of: &str, element: &Schema| {
        check_at(element, Place::Inside, depth + 1).map_err(|malformed| malformed.inside(of))
    };
    if depth > MAX_DEPTH {
        return wrong(format!("is nested more than {MAX_DEPTH} deep"));
    }
    if !align.is_power_of_two() || *align > MAX_ALIGN {
        return wrong(format!("has alignment {align}"));
    }
    // So that a size can be added to an offset.
    if *size > isize::MAX as usize {
        return wrong(format!("has size {size}"));
    }
    let (right_size, right_align) = match kind {
        Kind::Primitive(primitive) => (Some(primitive.size()), primitive.size()),
        Kind::NonZero(primitive) => {
            if primitive.range().is_none() {
                return wrong(format!("is not zero and is a {}", primitive.name()));
            }
            (Some(primitive.size()), primitive.size())
        }
        Kind::Array { element, len } => {
            element_of("[]", element)?;
            (element.size.checked_mul(*len), element.align)
        }
        Kind::Slice { element } => {
            if place == Place::Inside {
                return wrong("is a slice, which only a message can be, or its last field".into());
            }
            element_of("[]", element)?;
            if element.size == 0 {
                return wrong("is a slice of elements without a size".into());
            }
            (Some(0), element.align)
        }
        Kind::String { capacity } => {
            check_capacity(*capacity)?;
            (capacity.checked_add(4), 1)
        }
        Kind::Vec { element, capacity } => {
            check_capacity(*capacity)?;
            element_of("[]", element)?;
            let elements = element.size.checked_mul(*capacity);
            (elements.and_then(|bytes| bytes.checked_add(count_size(element))), element.align)
        }
        Kind::Option { value } => {
            element_of("", value)?;
            (value.size.checked_add(value.align), value.align)
        }
        Kind::Struct { name, fields } => {
            check_name("name", name, "")?;
            check_fields(schema, fields, place, depth)?;
            (Some(*size), *align)
        }
        Kind::Enum { name, repr, variants } => {
            check_name("name", name, "")?;
            check_variants(*repr, variants)?;
            (Some(repr.size()), repr.size())
        }
        Kind::Encoded { codec, name } => {
            if place != Place::Root {
                return wrong("is encoded, which only a whole message can be".into());
            }
            check_name("codec", codec, "()")?;
            check_name("name", name, "")?;
            (Some(0), 1)
        }
    };
    match right_size {
        None => wrong(format!("has more than {} bytes", usize::MAX)),
        Some(right) if right != *size => wrong(format!("has size {size} in place of {right}")),
        _ if right_align != *align => {
            wrong(format!("has alignment {align} in place of {right_align}"))
        }
        _ => Ok(()),
    }
}

/// The count before the elements of a bounded list: four bytes, or as many as their alignment.
pub(super) fn count_size(element: &Schema) -> usize {
    element.align.max(4)
}

fn check_capacity(capacity: usize) -> Result<(), Malformed> {
    match u32::try_from(capacity) {
        Ok(_) => Ok(()),
        Err(_) => Err(Malformed::new(format!("has a capacity of {capacity}"))),
    }
}

/// The struct may end in a slice if it is the whole.
fn check_fields(
    whole: &Schema,
    fields: &[Field],
    place: Place,
    depth: usize,
) -> Result<(), Malformed> {
    check_unique("field", fields.iter().map(|field| field.name.as_str()))?;
    let mut end = 0;
    for (i, Field { name, offset, schema }) in fields.iter().enumerate() {
        check_name("field", name, STRUCTURE)?;
        if name.starts_with("_pad") {
            return Err(Malformed::new(format!("has padding as a field, `{name}`")));
        }
        let is_end = place == Place::Root && i + 1 == fields.len();
        let place = if is_end { Place::End } else { Place::Inside };
        check_at(schema, place, depth + 1).map_err(|malformed| malformed.inside(name))?;
        let wrong = |reason: String| Err(Malformed::new(reason).inside(name));
        if *offset < end {
            return wrong(format!("is at {offset}, before the end of what precedes it, {end}"));
        }
        if !offset.is_multiple_of(schema.align) {
            return wrong(format!("is at {offset}, aligned to {}", schema.align));
        }
        if schema.align > whole.align {
            return wrong(format!("is aligned to {} in a {}", schema.align, whole.align));
        }
        // Both are below the half of `usize`, or the field was refused as one that is too far out.
        end = match offset.checked_add(schema.size) {
            Some(end) if end <= whole.size => end,
            _ => {
                let (size, whole) = (schema.size, whole.size);
                return wrong(format!("is {size} bytes at {offset} of {whole}"));
            }
        };
        if schema.stride().is_some() && end != whole.size {
            return wrong(format!("begins at {offset}, not at the end, {}", whole.size));
        }
    }
    if whole.stride().is_none() && !whole.size.is_multiple_of(whole.align) {
        let Schema { size, align, .. } = whole;
        return Err(Malformed::new(format!("has size {size}, aligned to {align}")));
    }
    Ok(())
}

fn check_variants(repr: Primitive, variants: &[Variant]) -> Result<(), Malformed> {
    let range = match repr.range() {
        Some(range) if repr.size() <= 8 => range,
        _ => return Err(Malformed::new(format!("is an enum in a {}", repr.name()))),
    };
    if variants.is_empty() {
        return Err(Malformed::new("is an enum without values"));
    }
    check_unique("value", variants.iter().map(|variant| variant.name.as_str()))?;
    check_unique("value", variants.iter().map(|variant| variant.value))?;
    for Variant { name, value } in variants {
        check_name("value", name, STRUCTURE)?;
        if !range.contains(value) {
            let repr = repr.name();
            return Err(Malformed::new(format!("has the value {name} = {value} in a {repr}")));
        }
    }
    Ok(())
}

/// What structures the canonical text is not part of the name of a field or a value.
const STRUCTURE: &str = "{}@:,;=()[]<>/. ";

fn check_name(what: &str, name: &str, forbidden: &str) -> Result<(), Malformed> {
    let is_bad = |c: char| forbidden.contains(c) || !is_visible(c);
    if name.is_empty() {
        return Err(Malformed::new(format!("has a {what} without letters")));
    }
    if name.len() > MAX_NAME {
        return Err(Malformed::new(format!("has a {what} of {} bytes", name.len())));
    }
    match name.chars().find(|c| is_bad(*c)) {
        Some(bad) => Err(Malformed::new(format!("has a {what} with {bad:?} in it"))),
        None => Ok(()),
    }
}

/// Whether a character shows itself, and does not change how others are shown: names come from other
/// processes, and are printed.
pub(super) fn is_visible(c: char) -> bool {
    // Behind a letter, because a mark by itself is escaped, too.
    let is_escaped = || format!("a{c}").escape_debug().nth(1) == Some('\\');
    c.is_ascii_graphic() || c == ' ' || !is_escaped()
}

fn check_unique<T: Ord + fmt::Debug>(
    what: &str,
    all: impl Iterator<Item = T>,
) -> Result<(), Malformed> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    match all.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Malformed::new(format!("has the {what} {:?} twice", pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::*;

    #[test]
    fn names_have_only_what_can_be_seen() {
        for good in ["Pose", "Größe", "位置", "क्षेत्र", "Vec<&'static str>", "a\\b", "\"x\""]
        {
            assert_eq!(check_name("name", good, ""), Ok(()));
        }
        for bad in
            ['\n', '\u{1b}', '\u{7f}', '\u{85}', '\u{202e}', '\u{200b}', '\u{feff}', '\u{2028}']
        {
            let error = check_name("name", &format!("Po{bad}se"), "").unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[track_caller]
    fn refuse(schema: Schema, text: &str) {
        assert_eq!(check(&schema).unwrap_err().to_string(), text, "{schema:?}");
    }

    fn edited(mut schema: Schema, edit: impl FnOnce(&mut Vec<Field>)) -> Schema {
        match &mut schema.kind {
            Kind::Struct { fields, .. } => edit(fields),
            _ => unreachable!("these are structs"),
        }
        schema
    }

    #[test]
    fn what_a_type_can_be_is_accepted() {
        let odd = strukt("Odd", [("a", u8()), ("b", array(u8(), 0)), ("c", vec(u16(), 3))]);
        for schema in [
            u8(),
            nonzero(Primitive::I128),
            array(array(f64(), 3), 0),
            slice(odd.clone()),
            string(0),
            vec(f64(), 5),
            option(odd.clone()),
            odd,
            strukt("Nothing", []),
            strukt("Scan", [("n", f64()), ("m", u32()), ("ranges", slice(f32()))]),
            enumeration("Mode", Primitive::I8, [("A", -128), ("B", 127)]),
            enumeration("Mode", Primitive::U64, [("A", u64::MAX.into())]),
            encoded("msgpack", "Vec<Option<f64>>"),
        ] {
            assert_eq!(check(&schema), Ok(()), "{schema:?}");
        }
    }

    #[test]
    fn sizes_and_alignments_are_those_of_the_kind() {
        refuse(Schema { size: 2, ..u8() }, "the schema has size 2 in place of 1");
        refuse(Schema { align: 4, ..f64() }, "the schema has alignment 4 in place of 8");
        refuse(Schema { align: 3, ..f64() }, "the schema has alignment 3");
        refuse(Schema { align: 0, ..f64() }, "the schema has alignment 0");
        refuse(Schema { size: 9, ..array(u8(), 8) }, "the schema has size 9 in place of 8");
        refuse(Schema { size: 21, ..vec(f64(), 2) }, "the schema has size 21 in place of 24");
        refuse(Schema { size: 5, ..option(u16()) }, "the schema has size 5 in place of 4");
        refuse(Schema { align: 4, ..string(8) }, "the schema has alignment 4 in place of 1");
        refuse(
            Schema { size: 3, ..strukt("S", [("a", u16())]) },
            "the schema has size 3, aligned to 2",
        );
        refuse(
            Schema { kind: Kind::Array { element: f64().into(), len: 1 << 61 }, ..f64() },
            &format!("the schema has more than {} bytes", usize::MAX),
        );
        refuse(
            Schema { size: usize::MAX, ..strukt("S", []) },
            &format!("the schema has size {}", usize::MAX),
        );
        refuse(nonzero(Primitive::F32), "the schema is not zero and is a f32");
        refuse(string(1 << 32), "the schema has a capacity of 4294967296");
    }

    #[test]
    fn fields_lie_one_after_the_other_inside_the_struct() {
        let pair = || strukt("Pair", [("a", u32()), ("b", u32())]);
        refuse(
            edited(pair(), |fields| fields[1].offset = 0),
            "field `b` of the schema is at 0, before the end of what precedes it, 4",
        );
        refuse(
            edited(pair(), |fields| fields[1].offset = 6),
            "field `b` of the schema is at 6, aligned to 4",
        );
        refuse(
            edited(pair(), |fields| fields[1].offset = 8),
            "field `b` of the schema is 4 bytes at 8 of 8",
        );
        refuse(
            edited(pair(), |fields| fields[1].offset = usize::MAX - 3),
            &format!("field `b` of the schema is 4 bytes at {} of 8", usize::MAX - 3),
        );
        refuse(
            edited(pair(), |fields| fields[1].name = "a".into()),
            "the schema has the field \"a\" twice",
        );
        refuse(Schema { align: 2, ..pair() }, "field `a` of the schema is aligned to 4 in a 2");
        let inner = strukt("Inner", [("list", array(Schema { size: 1, ..pair() }, 2))]);
        refuse(
            strukt("Outer", [("inner", inner)]),
            "field `inner.list[].a` of the schema is 4 bytes at 0 of 1",
        );
    }

    #[test]
    fn only_a_message_or_its_end_is_a_slice_and_only_a_message_is_encoded() {
        let text = "of the schema is a slice, which only a message can be, or its last field";
        let scan = || strukt("Scan", [("ranges", slice(f32()))]);
        refuse(strukt("S", [("a", slice(u8())), ("b", u8())]), &format!("field `a` {text}"));
        refuse(strukt("S", [("scan", scan())]), &format!("field `scan.ranges` {text}"));
        refuse(slice(scan()), &format!("field `[].ranges` {text}"));
        refuse(slice(array(u8(), 0)), "the schema is a slice of elements without a size");
        refuse(
            Schema { size: 4, ..scan() },
            "field `ranges` of the schema begins at 0, not at the end, 4",
        );
        refuse(
            option(encoded("json", "T")),
            "the schema is encoded, which only a whole message can be",
        );
    }

    #[test]
    fn values_of_an_enum_fit_and_differ() {
        let mode = |repr, variants| enumeration("Mode", repr, variants);
        refuse(
            mode(Primitive::U8, [("A", 0), ("B", 256)]),
            "the schema has the value B = 256 in a u8",
        );
        refuse(
            mode(Primitive::I8, [("A", 0), ("B", 128)]),
            "the schema has the value B = 128 in a i8",
        );
        refuse(mode(Primitive::U8, [("A", 0), ("A", 1)]), "the schema has the value \"A\" twice");
        refuse(mode(Primitive::U8, [("A", 1), ("B", 1)]), "the schema has the value 1 twice");
        refuse(mode(Primitive::F32, [("A", 1), ("B", 2)]), "the schema is an enum in a f32");
        refuse(mode(Primitive::I128, [("A", 1), ("B", 2)]), "the schema is an enum in a i128");
        refuse(enumeration("Mode", Primitive::U8, []), "the schema is an enum without values");
    }

    #[test]
    fn names_can_be_shown_and_do_not_look_like_structure() {
        refuse(strukt("", []), "the schema has a name without letters");
        refuse(strukt("A\n", []), "the schema has a name with '\\n' in it");
        refuse(strukt(&"A".repeat(1025), []), "the schema has a name of 1025 bytes");
        refuse(strukt("S", [("a@0", u8())]), "the schema has a field with '@' in it");
        refuse(
            edited(strukt("S", [("a", u8())]), |fields| fields[0].name = "_pad0".into()),
            "the schema has padding as a field, `_pad0`",
        );
        assert_eq!(check(&strukt("Größe<[f64; 3]>", [("größe", u8())])), Ok(()));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| (1..depth).fold(u8(), |inner, _| array(inner, 1));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        let text = check(&nested(MAX_DEPTH + 1)).unwrap_err().to_string();
        assert!(text.ends_with("of the schema is nested more than 64 deep"), "{text}");
    }
}
