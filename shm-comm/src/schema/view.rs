//! A message without its type: a [`Schema`] and bytes become values.
//!
//! [`Schema::view`] checks all bytes once, as a subscriber of the type would (`check`), and makes nothing
//! of them. A [`View`] is then two references, and looks at one level when it is asked. So nothing here can
//! fail any more; but the fields of a schema are public, and one that somebody has put together may be
//! the layout of nothing. Therefore `check` takes nothing for granted that a real schema has, and whatever
//! comes after it reads by `get`, as if it had not.
//!
//! An encoded value is decoded at once, to a tree ([`Any`]), if its bytes or the name of its type say
//! enough.

mod any;
mod check;
mod path;
mod plan;
#[cfg(feature = "serde")]
mod serialize;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::layout::{self, MAX_DEPTH};
use super::{Field, Kind, Primitive, Schema};
use crate::bounded::{checked_count, checked_tag, checked_text};
use crate::error::DecodeError;
use crate::message::Invalid;

pub(crate) use any::Any;
pub use path::NoSuchField;

/// Elements that take no bytes, with what is in them, of which there may be this many in a list. More
/// are not shown: a message of no bytes can have any number of them, and each may have a long name.
const FREE_VALUES: usize = 64;

impl Schema {
    /// The values that the bytes of one message stand for: for tools that know schemas, not types.
    ///
    /// A program that has the type receives a `&T` and needs none of this.
    ///
    /// `bytes` are those of a whole message and nothing else, as `Sample::bytes` gives them: up to the
    /// last element if the message ends in a slice.
    ///
    /// Costs what the check costs that a subscriber of the type makes: nothing for the elements of a list
    /// that may be anything, such as the bytes of an image, and never more than to go once through the
    /// schema and once through the bytes. An encoded value is decoded here, to no more than 1 048 576
    /// values (of 32 bytes and more), unless neither its bytes nor the name of its type say how; see
    /// [`Value::Raw`]. The schema may come from anybody. One that was put together by hand and is the
    /// layout of nothing is refused, or shows what it says; nothing panics.
    ///
    /// # Errors
    ///
    /// [`Invalid`], as it is for a subscriber of the type, or if there are too few bytes or too many.
    ///
    /// # Examples
    ///
    /// ```
    /// use shm_comm::{Schema, ShmMessage};
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(C)]
    /// struct Wheel { speed: f32, blocked: bool, _pad: [u8; 3] }
    ///
    /// let schema = Schema::of::<[Wheel; 2]>();
    /// let mut bytes = [0; 16];
    /// bytes[8..12].copy_from_slice(&0.5_f32.to_ne_bytes());
    ///
    /// let view = schema.view(&bytes)?;
    /// assert_eq!(view.get("[1].speed")?.to_string(), "0.5");
    /// assert_eq!(view.get("[1]")?.to_string(), "Wheel { speed: 0.5, blocked: false }");
    ///
    /// bytes[12] = 7;
    /// let error = schema.view(&bytes).unwrap_err();
    /// assert_eq!(error.to_string(), "field `[1].blocked` holds [7], which is no `bool` (0 or 1)");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> Result<View<'a>, Invalid> {
        check::check(self, bytes)?;
        Ok(match &self.kind {
            Kind::Encoded { codec, name } => {
                let decoded = Arc::new(decode(codec, name, bytes));
                View(Inner::Encoded { message: Message { schema: self, bytes }, decoded })
            }
            _ => View(Inner::Here(Place::Fixed { schema: self, bytes: Some(bytes) })),
        })
    }
}

/// What the bytes say, or why they say nothing, if it was tried.
type Decoded = Result<Any, Option<DecodeError>>;

#[cfg(any(feature = "bincode", feature = "msgpack", feature = "postcard"))]
fn decode(codec: &str, name: &str, bytes: &[u8]) -> Decoded {
    crate::codec::any::decode(codec, name, bytes)
}

#[cfg(not(any(feature = "bincode", feature = "msgpack", feature = "postcard")))]
fn decode(_: &str, _: &str, _: &[u8]) -> Decoded {
    Err(None)
}

/// A value in a message whose type is not known here: made by [`Schema::view`], for tools.
///
/// It borrows schema and bytes, and copies nothing. [`value`](Self::value) looks one level deep,
/// [`get`](Self::get) goes to a field.
///
/// # Display
///
/// `{}` is one line, much like Rust: `Pose { x: 1.0, mode: Dock, name: "arm", tags: [1, 2, 3] }`.
/// `{:#}` is lines as in YAML, without the name of the type:
///
/// ```text
/// position:
///   x: 1.0
///   y: 2.0
/// mode: Dock
/// wheels:
///   - speed: 0.5
///     blocked: false
///   - … 30 more
/// ```
///
/// In both, an option is its value or `none`, an enum the name of its value, and text is quoted. Floats are
/// shown as floats (`1.0`), with as many digits as `{:.3}` asks for. Lists end after 16 elements
/// (`[0, 0, … 6220784 more]`), bytes after 32 (`0x00ff… 96 more`), maps after 64 entries; whatever is
/// not shown is not looked at. Characters that do something else than show themselves are escaped: all of
/// it may come from another process, and go to a terminal.
///
/// # Serialize
///
/// With the feature `serde` it is written as the message itself would be if it derived `Serialize`: structs
/// as maps (those without names of fields as lists), enums as the names of their values. [`Value::Raw`] is
/// a map of `codec`, `type` and `hex`. In formats for people, such as JSON, a key that is neither text nor
/// an integer of 64 bits becomes text. A list of elements that take no bytes is an
/// error if there are more than 64, with what is in them.
#[derive(Clone)]
pub struct View<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    Here(Place<'a>),
    /// A whole message, with what it was decoded to.
    Encoded {
        message: Message<'a>,
        decoded: Arc<Decoded>,
    },
}

/// A whole message that is encoded.
#[derive(Clone, Copy)]
struct Message<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
}

/// Where a value is.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// In bytes that were checked; or it is not there, being in an option that is none.
    Fixed { schema: &'a Schema, bytes: Option<&'a [u8]> },
    /// In what an encoded message was decoded to.
    Tree { message: Message<'a>, value: &'a Any },
    /// The whole of an encoded message that was not.
    Raw { message: Message<'a>, reason: Option<&'a DecodeError> },
}

/// One level of a [`View`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value<'v> {
    /// A `bool`.
    Bool(bool),
    /// A `char`.
    Char(char),
    /// An unsigned integer of any width.
    Unsigned(u128),
    /// A signed integer of any width. In an encoded value it may be one that was unsigned.
    Signed(i128),
    /// An `f32`.
    F32(f32),
    /// An `f64`.
    F64(f64),
    /// A [`ShmString`](crate::ShmString), or text in an encoded value.
    Text(&'v str),
    /// What serde calls bytes, in an encoded value only. MessagePack has numbers of 128 bits so, too.
    Bytes(&'v [u8]),
    /// An option that is none, or a field of what is in one; in an encoded value also `()`.
    None,
    /// An option with a value.
    Some(View<'v>),
    /// A value of an enum.
    Enum {
        /// Its name.
        name: &'v str,
        /// The integer that stands for it.
        value: i128,
    },
    /// An array, a slice, a [`ShmVec`](crate::ShmVec); in an encoded value also a tuple.
    List(List<'v>),
    /// A struct.
    Struct(Struct<'v>),
    /// A map in an encoded value; in MessagePack a struct is one, too.
    Map(Map<'v>),
    /// An encoded value of which only the bytes are known: neither they nor the name of the type say how
    /// to decode it (postcard and bincode can be decoded if the name has standard types only, such as
    /// `Vec<(String, f32)>`), the codec is not in this program, the bytes are wrong, or they are more than
    /// 1 048 576 values, each element, key and `Some` being one.
    ///
    /// The names of types have no module paths. So a type of your own that is called as a standard one,
    /// `String` or `Vec`, is taken for it. Mostly its bytes are none of the standard type, and stay raw; if
    /// they happen to be, the values shown are wrong. In MessagePack no name decides anything.
    Raw(Raw<'v>),
}

impl View<'_> {
    /// The schema of the value. What is in an encoded value has none of its own, and gives that of the
    /// message.
    pub fn schema(&self) -> &Schema {
        match self.place() {
            Place::Fixed { schema, .. } => schema,
            Place::Tree { message, .. } | Place::Raw { message, .. } => message.schema,
        }
    }

    /// The bytes of the value: none if it is not there, all of the message if it is in an encoded one.
    pub fn bytes(&self) -> &[u8] {
        match self.place() {
            Place::Fixed { bytes, .. } => bytes.unwrap_or(&[]),
            Place::Tree { message, .. } | Place::Raw { message, .. } => message.bytes,
        }
    }

    /// What it is, one level deep.
    ///
    /// ```
    /// use shm_comm::Schema;
    /// use shm_comm::schema::Value;
    ///
    /// let schema = Schema::of::<[u8; 3]>();
    /// let view = schema.view(&[1, 2, 3])?;
    /// let Value::List(list) = view.value() else { panic!("an array is a list") };
    /// assert_eq!(list.len(), 3);
    /// assert!(matches!(list.get(2).unwrap().value(), Value::Unsigned(3)));
    /// # Ok::<(), shm_comm::Invalid>(())
    /// ```
    pub fn value(&self) -> Value<'_> {
        self.place().value()
    }

    fn place(&self) -> Place<'_> {
        match &self.0 {
            Inner::Here(place) => *place,
            Inner::Encoded { message, decoded } => match &**decoded {
                Ok(value) => Place::Tree { message: *message, value },
                Err(reason) => Place::Raw { message: *message, reason: reason.as_ref() },
            },
        }
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> Place<'a> {
    fn view(self) -> View<'a> {
        View(Inner::Here(self))
    }

    fn value(self) -> Value<'a> {
        match self {
            // What was checked has a value.
            Place::Fixed { schema, bytes: Some(bytes) } => {
                fixed_value(schema, bytes).unwrap_or(Value::None)
            }
            Place::Fixed { bytes: None, .. } => Value::None,
            Place::Tree { message, value } => value.value(message),
            Place::Raw { message, reason } => match &message.schema.kind {
                Kind::Encoded { codec, name } => Value::Raw(Raw { codec, name, message, reason }),
                _ => Value::None,
            },
        }
    }
}

fn fixed_value<'a>(schema: &'a Schema, bytes: &'a [u8]) -> Option<Value<'a>> {
    Some(match &schema.kind {
        Kind::Primitive(primitive) | Kind::NonZero(primitive) => number(*primitive, bytes)?,
        Kind::Array { .. } | Kind::Slice { .. } | Kind::Vec { .. } => {
            Value::List(List(Items::Fixed(elements_of(schema, bytes)?)))
        }
        Kind::String { capacity } => Value::Text(checked_text(bytes, *capacity).ok()?),
        Kind::Option { value } => match checked_tag(bytes).ok()? {
            true => {
                let bytes = payload_of(value, bytes)?;
                Value::Some(Place::Fixed { schema: value, bytes: Some(bytes) }.view())
            }
            false => Value::None,
        },
        Kind::Struct { name, fields } => Value::Struct(Struct { name, fields, bytes }),
        Kind::Enum { repr, variants, .. } => {
            let value = integer(*repr, bytes)?;
            let variant = variants.iter().find(|variant| variant.value == value)?;
            Value::Enum { name: &variant.name, value }
        }
        // Only a whole message is encoded, and is another place.
        Kind::Encoded { .. } => return None,
    })
}

fn number(primitive: Primitive, bytes: &[u8]) -> Option<Value<'static>> {
    macro_rules! read {
        ($type:ty) => {
            <$type>::from_ne_bytes(bytes.try_into().ok()?)
        };
    }
    Some(match primitive {
        Primitive::U8 => Value::Unsigned(read!(u8).into()),
        Primitive::U16 => Value::Unsigned(read!(u16).into()),
        Primitive::U32 => Value::Unsigned(read!(u32).into()),
        Primitive::U64 => Value::Unsigned(read!(u64).into()),
        Primitive::U128 => Value::Unsigned(read!(u128)),
        Primitive::I8 => Value::Signed(read!(i8).into()),
        Primitive::I16 => Value::Signed(read!(i16).into()),
        Primitive::I32 => Value::Signed(read!(i32).into()),
        Primitive::I64 => Value::Signed(read!(i64).into()),
        Primitive::I128 => Value::Signed(read!(i128)),
        Primitive::F32 => Value::F32(read!(f32)),
        Primitive::F64 => Value::F64(read!(f64)),
        Primitive::Bool => Value::Bool(read!(u8) != 0),
        Primitive::Char => Value::Char(char::from_u32(read!(u32))?),
    })
}

/// The integer of an enum.
fn integer(repr: Primitive, bytes: &[u8]) -> Option<i128> {
    match number(repr, bytes)? {
        Value::Unsigned(value) => value.try_into().ok(),
        Value::Signed(value) => Some(value),
        _ => None,
    }
}

/// The elements of an array, a slice or a bounded list, as many as there are.
fn elements_of<'a>(schema: &'a Schema, bytes: &'a [u8]) -> Option<Elements<'a>> {
    let (element, len, start) = match &schema.kind {
        Kind::Array { element, len } => (element, *len, 0),
        Kind::Slice { element } => (element, bytes.len().checked_div(element.size)?, 0),
        Kind::Vec { element, capacity } => {
            let count = checked_count(bytes, *capacity, "elements", "`ShmVec`").ok()?;
            (element, count, layout::count_size(element))
        }
        _ => return None,
    };
    let end = element.size.checked_mul(len)?.checked_add(start)?;
    Some(Elements { element, len, bytes: bytes.get(start..end)? })
}

/// The value of an option: behind a tag that is as large as its alignment.
fn payload_of<'a>(value: &Schema, bytes: &'a [u8]) -> Option<&'a [u8]> {
    bytes.get(value.align..value.align.checked_add(value.size)?)
}

/// A slice at the end has all bytes that are left.
fn field_of<'a>(field: &Field, bytes: &'a [u8]) -> Option<&'a [u8]> {
    match &field.schema.kind {
        Kind::Slice { .. } => bytes.get(field.offset..),
        _ => bytes.get(field.offset..field.offset.checked_add(field.schema.size)?),
    }
}

/// The elements of a [`Value::List`].
#[derive(Clone)]
pub struct List<'v>(Items<'v>);

#[derive(Clone)]
enum Items<'v> {
    Fixed(Elements<'v>),
    Tree { message: Message<'v>, values: &'v [Any] },
}

#[derive(Clone, Copy)]
struct Elements<'v> {
    element: &'v Schema,
    len: usize,
    /// Exactly so many.
    bytes: &'v [u8],
}

impl<'v> Elements<'v> {
    fn get(self, index: usize) -> Option<Place<'v>> {
        if index >= self.len {
            return None;
        }
        let start = index.checked_mul(self.element.size)?;
        let bytes = self.bytes.get(start..start.checked_add(self.element.size)?)?;
        Some(Place::Fixed { schema: self.element, bytes: Some(bytes) })
    }
}

impl<'v> List<'v> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Items::Fixed(elements) => elements.len,
            Items::Tree { values, .. } => values.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<View<'v>> {
        self.place(index).map(Place::view)
    }

    /// All of them. There may be very many, also in a message that is short, if they take no bytes.
    pub fn iter(&self) -> impl Iterator<Item = View<'v>> + use<'v> {
        let list = self.clone();
        (0..list.len()).map_while(move |index| list.get(index))
    }

    fn place(&self, index: usize) -> Option<Place<'v>> {
        match self.0 {
            Items::Fixed(elements) => elements.get(index),
            Items::Tree { message, values } => {
                Some(Place::Tree { message, value: values.get(index)? })
            }
        }
    }

    /// There are more elements of no size, with what is in them, than anybody can want to see.
    fn is_endless(&self) -> bool {
        match &self.0 {
            Items::Fixed(Elements { element, len, .. }) if element.size == 0 && *len > 0 => {
                len.saturating_mul(values_in(element, 1)) > FREE_VALUES
            }
            _ => false,
        }
    }
}

/// How many values a type of no size has, itself included. Beyond [`FREE_VALUES`] nobody counts.
fn values_in(schema: &Schema, depth: usize) -> usize {
    match &schema.kind {
        _ if depth > MAX_DEPTH => usize::MAX,
        // What would be in it was not looked at.
        Kind::Array { len: 0, .. } => 1,
        Kind::Array { element, len } => {
            len.saturating_mul(values_in(element, depth + 1)).saturating_add(1)
        }
        Kind::Struct { fields, .. } => {
            let mut values = 1_usize;
            for field in fields {
                values = values.saturating_add(values_in(&field.schema, depth + 1));
                if values > FREE_VALUES {
                    break;
                }
            }
            values
        }
        _ => 1,
    }
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({})", self.len())
    }
}

/// The fields of a [`Value::Struct`].
#[derive(Clone, Debug)]
pub struct Struct<'v> {
    name: &'v str,
    fields: &'v [Field],
    bytes: &'v [u8],
}

impl<'v> Struct<'v> {
    /// The type's own name, without its module path.
    pub fn name(&self) -> &'v str {
        self.name
    }

    /// How many fields there are; padding is none.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// They have no names in the source, but are called `0`, `1` and so on.
    pub fn is_tuple(&self) -> bool {
        let mut fields = self.fields.iter().enumerate();
        !self.is_empty() && fields.all(|(i, field)| field.name == i.to_string())
    }

    /// Their names and values, in the order of their offsets.
    pub fn iter(&self) -> impl Iterator<Item = (&'v str, View<'v>)> + use<'v> {
        let Struct { fields, bytes, .. } = *self;
        fields.iter().map(move |field| {
            let place = Place::Fixed { schema: &field.schema, bytes: field_of(field, bytes) };
            (field.name.as_str(), place.view())
        })
    }
}

/// The entries of a [`Value::Map`].
#[derive(Clone)]
pub struct Map<'v> {
    message: Message<'v>,
    entries: &'v [(Any, Any)],
}

impl<'v> Map<'v> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their keys and values, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = (View<'v>, View<'v>)> + use<'v> {
        let Map { message, entries } = *self;
        entries.iter().map(move |(key, value)| {
            (Place::Tree { message, value: key }.view(), Place::Tree { message, value }.view())
        })
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.len())
    }
}

/// What is known of a [`Value::Raw`].
#[derive(Clone)]
pub struct Raw<'v> {
    codec: &'v str,
    name: &'v str,
    message: Message<'v>,
    reason: Option<&'v DecodeError>,
}

impl<'v> Raw<'v> {
    /// The codec's name: `postcard`.
    pub fn codec(&self) -> &'v str {
        self.codec
    }

    /// The name of the type, without its module path.
    pub fn type_name(&self) -> &'v str {
        self.name
    }

    /// What the codec has made of the value.
    pub fn bytes(&self) -> &'v [u8] {
        self.message.bytes
    }

    /// Why it is not decoded, if that was tried.
    pub fn reason(&self) -> Option<&'v DecodeError> {
        self.reason
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Raw { codec, name, reason, .. } = self;
        f.debug_struct("Raw")
            .field("codec", codec)
            .field("type_name", name)
            .field("reason", reason)
            .finish_non_exhaustive()
    }
}
