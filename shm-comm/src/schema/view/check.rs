//! Whether bytes are a value of a schema: what `ShmMessage::check` is for a type, with the same errors.
//!
//! The schema is not trusted, either: sizes and offsets are compared with each other and with the bytes.
//!
//! Nothing of the schema is gone through more than once: here what is there once in a message, and by a
//! [`Plan`] what is in a list.

use std::fmt::Display;

use super::super::layout::MAX_DEPTH;
use super::plan::Plan;
use super::{Kind, Place, Primitive, Schema, elements_of, field_of, integer, payload_of};
use crate::__private::cut_off;
use crate::bounded::{checked_count, checked_tag, checked_text};
use crate::message::{Invalid, ShmMessage};

/// Whether these are the bytes of a message.
pub(super) fn check(schema: &Schema, bytes: &[u8]) -> Result<(), Invalid> {
    let wrong = |expected: String| {
        let s = if bytes.len() == 1 { "" } else { "s" };
        Err(Invalid::of_schema(format_args!("{} byte{s}", bytes.len()), expected))
    };
    let tail = match &schema.kind {
        Kind::Struct { fields, .. } => fields.last().map(|field| &field.schema.kind),
        kind => Some(kind),
    };
    match tail {
        Some(Kind::Slice { element }) => {
            let elements = bytes.len().checked_sub(schema.size);
            let is_whole = elements.is_some_and(|bytes| bytes.checked_rem(element.size) == Some(0));
            if !is_whole {
                let (size, stride) = (schema.size, element.size);
                let name = limited_name(schema);
                return wrong(format!("`{name}` of {size} and {stride} for each element"));
            }
        }
        Some(Kind::Encoded { .. }) => {}
        _ if bytes.len() != schema.size => {
            return wrong(format!("`{}` of {}", limited_name(schema), schema.size));
        }
        _ => {}
    }
    check_value(schema, bytes, 1)
}

fn limited_name(schema: &Schema) -> String {
    if is_shallow(schema, 1) { schema.name() } else { "…".to_owned() }
}

/// Its name is put together of no more than a schema can have.
pub(super) fn is_shallow(schema: &Schema, depth: usize) -> bool {
    depth <= MAX_DEPTH
        && match &schema.kind {
            Kind::Array { element, .. } | Kind::Slice { element } | Kind::Vec { element, .. } => {
                is_shallow(element, depth + 1)
            }
            Kind::Option { value } => is_shallow(value, depth + 1),
            // The name of a struct is its own.
            _ => true,
        }
}

pub(super) fn check_value(schema: &Schema, bytes: &[u8], depth: usize) -> Result<(), Invalid> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match &schema.kind {
        Kind::Primitive(Primitive::Bool) => bool::check(bytes),
        Kind::Primitive(Primitive::Char) => char::check(bytes),
        Kind::Primitive(primitive) if bytes.len() == primitive.size() => Ok(()),
        Kind::Primitive(_) => Err(cut_off(bytes)),
        Kind::NonZero(primitive) => {
            let is_integer = primitive.range().is_some() && bytes.len() == primitive.size();
            if is_integer && bytes.iter().any(|byte| *byte != 0) {
                return Ok(());
            }
            Err(Invalid::of_schema(0, format!("`NonZero<{}>`", primitive.name())))
        }
        Kind::Array { .. } | Kind::Slice { .. } => check_elements(schema, bytes, depth),
        Kind::Vec { capacity, .. } => {
            checked_count(bytes, *capacity, "elements", "`ShmVec`")?;
            check_elements(schema, bytes, depth)
        }
        Kind::String { capacity } => checked_text(bytes, *capacity).map(drop),
        Kind::Option { value } => {
            if !checked_tag(bytes)? {
                return Ok(());
            }
            let payload = payload_of(value, bytes).ok_or_else(|| cut_off(bytes))?;
            check_value(value, payload, depth + 1)
        }
        Kind::Struct { fields, .. } => {
            for field in fields {
                field_of(field, bytes)
                    .ok_or_else(|| cut_off(bytes))
                    .and_then(|bytes| check_value(&field.schema, bytes, depth + 1))
                    .map_err(|invalid| invalid.in_field(&field.name))?;
            }
            Ok(())
        }
        Kind::Enum { name, repr, variants } => {
            let refuse = |found: &dyn Display| Err(Invalid::of_schema(found, format!("`{name}`")));
            match integer(*repr, bytes) {
                Some(value) if variants.iter().any(|variant| variant.value == value) => Ok(()),
                Some(value) => refuse(&value),
                None => refuse(&format_args!("{bytes:?}")),
            }
        }
        Kind::Encoded { .. } => Ok(()),
    }
}

fn check_elements(schema: &Schema, bytes: &[u8], depth: usize) -> Result<(), Invalid> {
    let elements = elements_of(schema, bytes).ok_or_else(|| cut_off(bytes))?;
    if elements.len > 1 && elements.element.size > 0 {
        return Plan::of(elements.element, depth + 1).check_all(elements);
    }
    // If they have no size, one is like the other.
    match elements.get(0) {
        Some(Place::Fixed { schema, bytes: Some(bytes) }) => {
            check_value(schema, bytes, depth + 1).map_err(|invalid| invalid.in_field("[0]"))
        }
        _ => Ok(()),
    }
}

#[cold]
pub(super) fn too_deep() -> Invalid {
    let found = format_args!("a value at level {}", MAX_DEPTH + 1);
    Invalid::of_schema(found, format!("one of {MAX_DEPTH} levels at most"))
}
