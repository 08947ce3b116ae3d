//! What there is to look at in the elements of a list.
//!
//! Of a struct that may be only a `bool`: any bytes are a value of most types, and parts of no size have
//! none. So the schema of the elements is gone through once, and what is left is a list of parts, each of
//! which has a byte that no other has. Then checking takes time for the bytes, whatever the schema;
//! and of elements that may be anything nothing is left.

use std::ops::RangeInclusive;

use super::super::Variant;
use super::super::layout::MAX_DEPTH;
use super::check::{check_value, too_deep};
use super::{Elements, Kind, Primitive, Schema, elements_of, integer, payload_of};
use crate::__private::cut_off;
use crate::bounded::{checked_count, checked_tag};
use crate::message::Invalid;

/// How to check the values of a type.
pub(super) struct Plan<'s> {
    schema: &'s Schema,
    /// In the order in which the type checks them, so that the first mistake is the same.
    parts: Vec<Part<'s>>,
}

/// A part of a value, in structs and arrays of one as deeply as it may be.
struct Part<'s> {
    /// Where it is in the value.
    offset: usize,
    end: usize,
    schema: &'s Schema,
    check: Check<'s>,
}

enum Check<'s> {
    /// As if it were a value by itself, which has nothing inside.
    Itself,
    Bool,
    Enum(Values),
    Option(Plan<'s>),
    /// An array or a bounded list.
    List(Plan<'s>),
    /// Below more levels than a type has.
    TooDeep,
    /// Not where its struct has bytes, or what can be there in no type.
    Misplaced,
}

impl<'s> Plan<'s> {
    /// For a type that is so deep in a message.
    pub fn of(schema: &'s Schema, depth: usize) -> Plan<'s> {
        let mut plan = Plan { schema, parts: Vec::new() };
        plan.add(schema, 0, depth);
        plan
    }

    fn add(&mut self, schema: &'s Schema, offset: usize, depth: usize) {
        let end = offset.saturating_add(schema.size);
        let mut push = |check| self.parts.push(Part { offset, end, schema, check });
        if depth > MAX_DEPTH {
            return push(Check::TooDeep);
        }
        match &schema.kind {
            Kind::Primitive(Primitive::Bool) => push(Check::Bool),
            Kind::Primitive(Primitive::Char) => push(Check::Itself),
            Kind::Primitive(primitive) if schema.size == primitive.size() => {}
            Kind::Primitive(_) | Kind::NonZero(_) | Kind::String { .. } => push(Check::Itself),
            Kind::Array { len: 0, .. } => {}
            Kind::Array { element, len } => match element.size.checked_mul(*len) {
                Some(size) if size > schema.size => push(Check::Misplaced),
                None => push(Check::Misplaced),
                _ if is_one(element, *len) => self.add(element, offset, depth + 1),
                _ => {
                    let plan = Plan::of(element, depth + 1);
                    if !plan.parts.is_empty() {
                        push(Check::List(plan));
                    }
                }
            },
            Kind::Slice { .. } => push(Check::Misplaced),
            Kind::Vec { element, .. } => push(Check::List(Plan::of(element, depth + 1))),
            Kind::Option { value } => push(Check::Option(Plan::of(value, depth + 1))),
            Kind::Struct { fields, .. } => {
                for field in fields {
                    let field_end = field.offset.checked_add(field.schema.size);
                    if field_end.is_none_or(|end| end > schema.size) {
                        let check = Check::Misplaced;
                        return self.parts.push(Part { offset, end, schema, check });
                    }
                    // Both are in the value.
                    self.add(&field.schema, offset.saturating_add(field.offset), depth + 1);
                }
            }
            Kind::Enum { variants, .. } => push(Check::Enum(Values::of(variants))),
            // Shows nothing.
            Kind::Encoded { .. } => {}
        }
    }

    /// Whether each of these is a value.
    pub fn check_all(&self, elements: Elements<'_>) -> Result<(), Invalid> {
        if self.parts.is_empty() || elements.len == 0 {
            return Ok(());
        }
        let checked = |(i, element)| {
            self.check(element).map_err(|invalid| invalid.in_field(&format!("[{i}]")))
        };
        match self.schema.size {
            // One is like the other.
            0 => checked((0, &[])),
            size => elements.bytes.chunks_exact(size).enumerate().try_for_each(checked),
        }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), Invalid> {
        for part in &self.parts {
            let checked = match bytes.get(part.offset..part.end) {
                Some(bytes) if part.is_right_at_once(bytes) => continue,
                Some(bytes) => part.check(bytes),
                None => Err(cut_off(bytes)),
            };
            checked.map_err(|invalid| self.in_fields(part.schema, invalid))?;
        }
        Ok(())
    }

    /// The same, seen from the whole value.
    #[cold]
    fn in_fields(&self, part: &Schema, invalid: Invalid) -> Invalid {
        let mut way = Vec::new();
        find(self.schema, part, &mut way, 1);
        way.into_iter().rev().fold(invalid, Invalid::in_field)
    }
}

impl Part<'_> {
    /// Without what an error takes, for what there may be most of.
    #[inline]
    fn is_right_at_once(&self, bytes: &[u8]) -> bool {
        match (&self.check, &self.schema.kind) {
            (Check::Bool, _) => matches!(bytes, [0 | 1]),
            (Check::Enum(values), Kind::Enum { repr, .. }) => {
                integer(*repr, bytes).is_some_and(|value| values.contain(value))
            }
            _ => false,
        }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), Invalid> {
        let Part { schema, check, .. } = self;
        match (check, &schema.kind) {
            (Check::Option(plan), Kind::Option { value }) => match checked_tag(bytes)? {
                true => plan.check(payload_of(value, bytes).ok_or_else(|| cut_off(bytes))?),
                false => Ok(()),
            },
            (Check::List(plan), kind) => {
                if let Kind::Vec { capacity, .. } = kind {
                    checked_count(bytes, *capacity, "elements", "`ShmVec`")?;
                }
                plan.check_all(elements_of(schema, bytes).ok_or_else(|| cut_off(bytes))?)
            }
            (Check::TooDeep, _) => Err(too_deep()),
            (Check::Misplaced, _) => Err(cut_off(bytes)),
            (Check::Itself | Check::Bool | Check::Enum(_) | Check::Option(_), _) => {
                check_value(schema, bytes, 1)
            }
        }
    }
}

/// One element tells of all: it is the only one, or they have no size.
fn is_one(element: &Schema, len: usize) -> bool {
    len == 1 || (element.size == 0 && len > 0)
}

/// The names on the way from a schema to a part of it, as `Plan::add` goes.
fn find<'s>(from: &'s Schema, part: &Schema, way: &mut Vec<&'s str>, depth: usize) -> bool {
    if std::ptr::eq(from, part) {
        return true;
    }
    let mut is_in = |name, inside| {
        way.push(name);
        let is_found = find(inside, part, way, depth + 1);
        if !is_found {
            way.pop();
        }
        is_found
    };
    match &from.kind {
        _ if depth > MAX_DEPTH => false,
        Kind::Struct { fields, .. } => fields.iter().any(|field| is_in(&field.name, &field.schema)),
        Kind::Array { element, len } if is_one(element, *len) => is_in("[0]", element),
        _ => false,
    }
}

/// The values of an enum.
enum Values {
    Range(RangeInclusive<i128>),
    Sorted(Vec<i128>),
}

impl Values {
    fn of(variants: &[Variant]) -> Values {
        let is_range =
            variants.windows(2).all(|pair| pair[0].value.checked_add(1) == Some(pair[1].value));
        match variants {
            [first, .., last] if is_range => Values::Range(first.value..=last.value),
            _ => {
                let mut values: Vec<i128> = variants.iter().map(|variant| variant.value).collect();
                values.sort_unstable();
                Values::Sorted(values)
            }
        }
    }

    #[inline]
    fn contain(&self, value: i128) -> bool {
        match self {
            Values::Range(range) => range.contains(&value),
            Values::Sorted(values) => values.binary_search(&value).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::*;

    /// So many parts of each element are looked at, and so many more in options and lists of it.
    fn parts(plan: &Plan<'_>) -> usize {
        let inside = |part: &Part<'_>| match &part.check {
            Check::Option(plan) | Check::List(plan) => 1 + parts(plan),
            _ => 1,
        };
        plan.parts.iter().map(inside).sum()
    }

    #[track_caller]
    fn check(schema: Schema, expected: usize) {
        assert_eq!(parts(&Plan::of(&schema, 1)), expected);
    }

    #[test]
    fn only_what_can_be_wrong_is_looked_at() {
        let truth = || primitive(Primitive::Bool);
        let named = |i| format!("x{i}");
        check(f64(), 0);
        check(strukt("Plain", [("a", f64()), ("b", array(array(u8(), 4), 2))]), 0);
        check(truth(), 1);
        let no_size =
            (0..900).map(|i| (named(i), array(truth(), 0))).chain([("on".into(), truth())]);
        check(strukt_of("S", no_size), 1);
        let numbers = (0..100).map(|i| (named(i), u8())).chain([("on".into(), truth())]);
        check(strukt_of("S", numbers), 1);
        check((0..60).fold(truth(), |inner, _| array(inner, 1)), 1);
        check((0..60).fold(truth(), |inner, _| strukt("S", [("x", inner)])), 1);
        check(array(truth(), 5), 2);
        check(strukt("S", [("a", option(f64())), ("b", vec(truth(), 3))]), 3);
    }

    #[test]
    fn values_of_an_enum_are_a_range_or_are_sorted() {
        let values = |values: &[i128]| {
            let variant = |value: &i128| Variant { name: format!("v{value}"), value: *value };
            Values::of(&values.iter().map(variant).collect::<Vec<_>>())
        };
        assert!(matches!(values(&[-1, 0, 1]), Values::Range(range) if range == (-1..=1)));
        assert!(matches!(values(&[9, 3, 6]), Values::Sorted(sorted) if sorted == [3, 6, 9]));
        assert!(matches!(values(&[7]), Values::Sorted(sorted) if sorted == [7]));
    }
}
