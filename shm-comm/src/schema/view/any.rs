//! What an encoded value is decoded to when its type is not known.

use super::{Items, List, Map, Message, Place, Value};

/// Any value of serde's.
// Without a codec nobody makes one.
#[cfg_attr(
    not(any(feature = "bincode", feature = "msgpack", feature = "postcard")),
    allow(dead_code)
)]
#[derive(Debug)]
pub(crate) enum Any {
    None,
    Some(Box<Any>),
    Bool(bool),
    Char(char),
    Unsigned(u128),
    Signed(i128),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Any>),
    Map(Vec<(Any, Any)>),
}

impl Any {
    /// Of the message that it was decoded from.
    pub(super) fn value<'v>(&'v self, message: Message<'v>) -> Value<'v> {
        match self {
            Any::None => Value::None,
            Any::Some(value) => Value::Some(Place::Tree { message, value }.view()),
            Any::Bool(value) => Value::Bool(*value),
            Any::Char(value) => Value::Char(*value),
            Any::Unsigned(value) => Value::Unsigned(*value),
            Any::Signed(value) => Value::Signed(*value),
            Any::F32(value) => Value::F32(*value),
            Any::F64(value) => Value::F64(*value),
            Any::Text(text) => Value::Text(text),
            Any::Bytes(bytes) => Value::Bytes(bytes),
            Any::List(values) => Value::List(List(Items::Tree { message, values })),
            Any::Map(entries) => Value::Map(Map { message, entries }),
        }
    }
}
