//! Views as serde sees them: as it would see the messages.

use std::fmt::{self, Write};

use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{Kind, Place, Value, View};

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value() {
            Value::Bool(value) => serializer.serialize_bool(value),
            Value::Char(value) => serializer.serialize_char(value),
            Value::Unsigned(value) => match self.width(u64::try_from(value).is_ok()) {
                1 => serializer.serialize_u8(value as u8),
                2 => serializer.serialize_u16(value as u16),
                4 => serializer.serialize_u32(value as u32),
                8 => serializer.serialize_u64(value as u64),
                _ => serializer.serialize_u128(value),
            },
            Value::Signed(value) => match self.width(i64::try_from(value).is_ok()) {
                1 => serializer.serialize_i8(value as i8),
                2 => serializer.serialize_i16(value as i16),
                4 => serializer.serialize_i32(value as i32),
                8 => serializer.serialize_i64(value as i64),
                _ => serializer.serialize_i128(value),
            },
            Value::F32(value) => serializer.serialize_f32(value),
            Value::F64(value) => serializer.serialize_f64(value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::None => serializer.serialize_none(),
            Value::Some(value) => serializer.serialize_some(&value),
            Value::Enum { name, .. } => serializer.serialize_str(name),
            Value::List(list) => {
                if list.is_endless() {
                    let len = list.len();
                    return Err(S::Error::custom(format_args!("{len} elements without a size")));
                }
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for element in list.iter() {
                    seq.serialize_element(&element)?;
                }
                seq.end()
            }
            Value::Struct(fields) if fields.is_tuple() => {
                let mut values = fields.iter().map(|(_, value)| value);
                // As serde does: a struct of one field without a name is that field.
                if let (1, Some(value)) = (fields.len(), values.next()) {
                    return value.serialize(serializer);
                }
                serializer.collect_seq(fields.iter().map(|(_, value)| value))
            }
            Value::Struct(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields.iter() {
                    map.serialize_entry(name, &value)?;
                }
                map.end()
            }
            Value::Map(entries) => {
                let is_for_people = serializer.is_human_readable();
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries.iter() {
                    match is_for_people && !is_key(&key.value()) {
                        true => map.serialize_entry(&key_text(&key), &value)?,
                        false => map.serialize_entry(&key, &value)?,
                    }
                }
                map.end()
            }
            Value::Raw(raw) => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("codec", raw.codec())?;
                map.serialize_entry("type", raw.type_name())?;
                map.serialize_entry("hex", &Hex(raw.bytes()).to_string())?;
                map.end()
            }
        }
    }
}

impl View<'_> {
    /// Bytes of an integer. In a decoded value it is 8 if that is enough.
    fn width(&self, fits_8: bool) -> usize {
        match self.place() {
            Place::Fixed { schema, .. } => match &schema.kind {
                Kind::Primitive(primitive) | Kind::NonZero(primitive) => primitive.size(),
                _ => 16,
            },
            _ if fits_8 => 8,
            _ => 16,
        }
    }
}

/// Every format for people has such keys.
fn is_key(value: &Value<'_>) -> bool {
    match value {
        Value::Text(_) => true,
        Value::Unsigned(value) => u64::try_from(*value).is_ok(),
        Value::Signed(value) => i64::try_from(*value).is_ok(),
        _ => false,
    }
}

/// What stands for any other.
fn key_text(key: &View<'_>) -> String {
    match key.value() {
        Value::Text(text) => text.to_owned(),
        Value::Char(value) => value.to_string(),
        Value::Some(value) => key_text(&value),
        _ => key.to_string(),
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        for byte in self.0 {
            f.write_char(DIGITS[usize::from(byte >> 4)])?;
            f.write_char(DIGITS[usize::from(byte & 15)])?;
        }
        Ok(())
    }
}
