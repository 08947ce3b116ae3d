//! The way to a field: `pose.position.x`, `joints[2].angle`, `[3]`.

use std::fmt;

use super::super::layout::is_visible;
use super::check::is_shallow;
use super::show::Visible;
use super::{Any, Elements, Kind, Place, Schema, Value, View, elements_of, field_of, payload_of};
use crate::bounded::checked_tag;

/// Names that an error lists.
const MAX_NAMES: usize = 64;
/// The length of a list that may have any.
const ANY: usize = usize::MAX;

/// There is no such field in the message: see [`View::get`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchField {
    path: Box<str>,
    /// The part that leads nowhere.
    step: Box<str>,
    /// That is no name and no index.
    is_nonsense: bool,
    type_name: String,
    names: Vec<String>,
    /// Names that are not listed.
    more: usize,
    len: Option<usize>,
}

impl NoSuchField {
    /// The whole path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The type in which there is no such field, or what is there in an encoded value: `a map`.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The fields that this type has, or the keys of a map; the first 64 of them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many elements there are, if it is a list.
    pub fn elements(&self) -> Option<usize> {
        self.len
    }
}

impl fmt::Display for NoSuchField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoSuchField { path, step, is_nonsense, type_name, names, more, len } = self;
        if *is_nonsense {
            return write!(f, "no field {path:?}: {step:?} is neither `.name` nor `[number]`");
        }
        // What is in an encoded value has no type's name: `a list`.
        match type_name.contains(' ') && !type_name.contains(['<', '(', '[', ';']) {
            true => write!(f, "no field {path:?}: {} has no {step:?}", Visible(type_name))?,
            false => write!(f, "no field {path:?}: `{}` has no {step:?}", Visible(type_name))?,
        }
        match len {
            Some(1) => return f.write_str(", it has 1 element"),
            Some(len) => return write!(f, ", it has {len} elements"),
            None if names.is_empty() => return f.write_str(", nor any other field"),
            None => {}
        }
        for (i, name) in names.iter().enumerate() {
            write!(f, "{} `{}`", if i == 0 { ", it has" } else { "," }, Visible(name))?;
        }
        match more {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl std::error::Error for NoSuchField {}

impl<'a> View<'a> {
    /// The value at the end of a path: `pose.position.x`, `joints[2].angle`, `[3]`.
    ///
    /// An option is passed as if it were its value; in one that is none, every field of the type is
    /// there, and is none. A map in an encoded value has its keys for fields: `limits.left`, and `[3]`
    /// is the key 3. The empty path is the value itself.
    ///
    /// # Errors
    ///
    /// [`NoSuchField`], which says what there is.
    ///
    /// ```
    /// use shm_comm::{Schema, ShmMessage, ShmOption};
    ///
    /// #[derive(ShmMessage)]
    /// #[repr(C)]
    /// struct Goal { position: [f64; 2], deadline: ShmOption<u64> }
    ///
    /// let schema = Schema::of::<Goal>();
    /// let view = schema.view(&[0; 32])?;
    /// assert_eq!(view.get("position[1]")?.to_string(), "0.0");
    /// assert_eq!(view.get("deadline")?.to_string(), "none");
    ///
    /// let error = view.get("speed").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "no field \"speed\": `Goal` has no \"speed\", it has `position`, `deadline`"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&self, path: &str) -> Result<View<'_>, NoSuchField> {
        let mut here = self.place();
        let mut rest = path;
        let mut is_first = true;
        if path.is_empty() {
            return Ok(View(match &self.0 {
                super::Inner::Here(place) => super::Inner::Here(*place),
                encoded => encoded.clone(),
            }));
        }
        while !rest.is_empty() {
            let (step, after) = split(rest, is_first);
            here = here.step(step).map_err(|place| place.refuse(path, step))?;
            (rest, is_first) = (after, false);
        }
        Ok(here.view())
    }
}

impl Schema {
    /// The type at the end of a path, as [`View::get`] takes it, for a message that is not there yet. `None`:
    /// the message is encoded, and only the message itself knows what is in it.
    ///
    /// # Errors
    ///
    /// [`NoSuchField`]: no message of this type has it.
    ///
    /// ```
    /// use shm_comm::Schema;
    ///
    /// let schema = Schema::of::<[[f32; 3]; 2]>();
    /// assert_eq!(schema.field("[1]")?.map(Schema::name).as_deref(), Some("[f32; 3]"));
    /// assert!(schema.field("[1][3]").is_err());
    /// # Ok::<(), shm_comm::schema::NoSuchField>(())
    /// ```
    pub fn field(&self, path: &str) -> Result<Option<&Schema>, NoSuchField> {
        if let (Kind::Encoded { .. }, false) = (&self.kind, path.is_empty()) {
            return Ok(None);
        }
        let mut here = Place::Fixed { schema: self, bytes: None };
        let mut rest = path;
        while !rest.is_empty() {
            let (step, after) = split(rest, rest.len() == path.len());
            here = here.step(step).map_err(|place| place.refuse(path, step))?;
            rest = after;
        }
        match here {
            Place::Fixed { schema, .. } => Ok(Some(schema)),
            _ => Ok(None),
        }
    }
}

/// One part of a path.
#[derive(Clone, Copy)]
enum Step<'p> {
    Name(&'p str),
    Index(&'p str),
    /// No part of a path.
    Nonsense(&'p str),
}

/// The first part of a path that is not empty, and the rest.
fn split(path: &str, is_first: bool) -> (Step<'_>, &str) {
    if let Some(inside) = path.strip_prefix('[') {
        return match inside.split_once(']') {
            Some((index, rest)) => (Step::Index(index), rest),
            None => (Step::Nonsense(path), ""),
        };
    }
    let name = match path.strip_prefix('.') {
        Some(name) if !is_first => name,
        None if is_first => path,
        _ => return (Step::Nonsense(path), ""),
    };
    let (name, rest) = match name.find(['.', '[']) {
        Some(end) => name.split_at(end),
        None => (name, ""),
    };
    (Step::Name(name), rest)
}

impl<'a> Place<'a> {
    /// One step further, or this place, with its options passed, as the one where it ends.
    fn step(self, step: Step<'_>) -> Result<Place<'a>, Place<'a>> {
        let here = self.through_options();
        match here {
            Place::Fixed { schema, bytes } => match (&schema.kind, step) {
                (Kind::Struct { fields, .. }, Step::Name(name)) => {
                    let field = fields.iter().find(|field| field.name == name).ok_or(here)?;
                    let bytes = bytes.and_then(|bytes| field_of(field, bytes));
                    Ok(Place::Fixed { schema: &field.schema, bytes })
                }
                (_, Step::Index(index)) => {
                    let elements = here.elements().ok_or(here)?;
                    let index = index.parse().ok().filter(|i| *i < elements.len).ok_or(here)?;
                    let nothing = Place::Fixed { schema: elements.element, bytes: None };
                    Ok(elements.get(index).unwrap_or(nothing))
                }
                _ => Err(here),
            },
            Place::Tree { value: Any::None, .. } => Ok(here),
            Place::Tree { message, value } => {
                let found = match (value, step) {
                    (Any::List(values), Step::Index(index)) => {
                        index.parse::<usize>().ok().and_then(|index| values.get(index))
                    }
                    (Any::Map(entries), Step::Name(name) | Step::Index(name)) => entries
                        .iter()
                        .find(|(key, _)| match key {
                            Any::Text(text) => text == name,
                            other => {
                                Place::Tree { message, value: other }.view().to_string() == name
                            }
                        })
                        .map(|(_, value)| value),
                    _ => None,
                };
                found.map(|value| Place::Tree { message, value }).ok_or(here)
            }
            Place::Raw { .. } => Err(here),
        }
    }

    fn through_options(mut self) -> Place<'a> {
        loop {
            self = match self {
                Place::Fixed { schema, bytes } => match &schema.kind {
                    Kind::Option { value } => {
                        let some = bytes.filter(|bytes| matches!(checked_tag(bytes), Ok(true)));
                        let bytes = some.and_then(|bytes| payload_of(value, bytes));
                        Place::Fixed { schema: value, bytes }
                    }
                    _ => return self,
                },
                Place::Tree { message, value: Any::Some(value) } => Place::Tree { message, value },
                _ => return self,
            };
        }
    }

    /// Of what is not there, all that there could be.
    fn elements(self) -> Option<Elements<'a>> {
        match self {
            Place::Fixed { schema, bytes: Some(bytes) } => elements_of(schema, bytes),
            Place::Fixed { schema, bytes: None } => match &schema.kind {
                Kind::Array { element, len: most } | Kind::Vec { element, capacity: most } => {
                    Some(Elements { element, len: *most, bytes: &[] })
                }
                // As many as a message has.
                Kind::Slice { element } => Some(Elements { element, len: ANY, bytes: &[] }),
                _ => None,
            },
            _ => None,
        }
    }

    #[cold]
    fn refuse(self, path: &str, step: Step<'_>) -> NoSuchField {
        let is_nonsense = matches!(step, Step::Nonsense(_));
        let step = match step {
            Step::Name(name) | Step::Nonsense(name) => name.to_owned(),
            Step::Index(index) => format!("[{index}]"),
        };
        let mut error = NoSuchField {
            path: path.into(),
            step: step.into(),
            is_nonsense,
            type_name: self.type_name(),
            names: Vec::new(),
            more: 0,
            len: None,
        };
        let names: &mut dyn Iterator<Item = String> = match self {
            Place::Fixed { schema, .. } => match &schema.kind {
                Kind::Struct { fields, .. } => &mut fields.iter().map(|field| field.name.clone()),
                _ => &mut std::iter::empty(),
            },
            Place::Tree { value: Any::Map(entries), message } => {
                &mut entries.iter().map(move |(key, _)| match key {
                    Any::Text(text) => text.clone(),
                    other => Place::Tree { message, value: other }.view().to_string(),
                })
            }
            _ => &mut std::iter::empty(),
        };
        error.names.extend(names.take(MAX_NAMES));
        error.more = names.count();
        error.len = match self {
            Place::Tree { value: Any::List(values), .. } => Some(values.len()),
            _ => self.elements().map(|elements| elements.len).filter(|len| *len != ANY),
        };
        error
    }

    fn type_name(self) -> String {
        match self {
            Place::Fixed { schema, .. } if is_shallow(schema, 1) => schema.name(),
            Place::Raw { message, .. } => message.schema.name(),
            _ => match self.value() {
                Value::Text(_) => "a text",
                Value::Bytes(_) => "bytes",
                Value::List(_) => "a list",
                Value::Map(_) => "a map",
                _ => "a value",
            }
            .to_owned(),
        }
    }
}

/// It shows itself, all of it.
pub(super) fn is_all_visible(text: &str) -> bool {
    text.chars().all(is_visible)
}
