//! A message, or some of its fields, as one record: of JSON, of a table, or for people.

use std::io::Write;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use shm_comm::MessageInfo;
use shm_comm::schema::{Kind, Schema, Value, View};

use crate::failure::Failure;
use crate::folder;

/// What is printed of a message.
pub struct Record<'a> {
    message: &'a View<'a>,
    info: &'a MessageInfo,
    /// Whether `info` is part of it.
    has_info: bool,
    /// Only these, if there are any; none for what this message does not have, but others may.
    fields: Vec<(&'a str, Option<View<'a>>)>,
}

/// The name of a message that is no struct, where it needs one.
const VALUE: &str = "value";
/// The name of what is known of a message beside its fields.
const META: &str = "_meta";

impl<'a> Record<'a> {
    /// What a message does not have, and none can have, is an error. Of an encoded message nobody knows what
    /// others have, so it is one in the first, and none in those that come `later`.
    pub fn of(
        message: &'a View<'a>,
        info: &'a MessageInfo,
        has_info: bool,
        paths: &'a [String],
        later: bool,
    ) -> Result<Record<'a>, Failure> {
        let may_have = |path: &str| match message.schema().field(path) {
            Ok(Some(_)) => true,
            Ok(None) => later,
            Err(_) => false,
        };
        let field = |path: &'a String| match message.get(path) {
            Ok(view) => Ok((path.as_str(), Some(view))),
            Err(_) if may_have(path) => Ok((path.as_str(), None)),
            Err(error) => Err(no_field(path, &error.to_string(), error.names())),
        };
        let fields = paths.iter().map(field).collect::<Result<_, _>>()?;
        Ok(Record { message, info, has_info, fields })
    }

    /// Whether the messages of a channel have these fields, as far as their schema can tell.
    pub fn check_fields(schema: &Schema, paths: &[String]) -> Result<(), Failure> {
        for path in paths {
            if let Err(error) = schema.field(path) {
                return Err(no_field(path, &error.to_string(), error.names()));
            }
        }
        Ok(())
    }

    pub fn write_for_people(&self, out: &mut impl Write) -> Result<(), Failure> {
        match &self.fields[..] {
            [] => {
                let MessageInfo { publisher, sequence, missed, .. } = self.info;
                write!(out, "--- {sequence}")?;
                if publisher.ring > 0 {
                    write!(out, " of publisher {}", publisher.ring)?;
                }
                if *missed > 0 {
                    write!(out, " ({missed} missed)")?;
                }
                writeln!(out, "\n{:#}", self.message)?;
            }
            [(_, field)] => writeln!(out, "{}", shown(field))?,
            fields => {
                let mut comma = "";
                for (path, field) in fields {
                    write!(out, "{comma}{path}: {}", shown(field))?;
                    comma = ", ";
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

fn shown(field: &Option<View>) -> String {
    field.as_ref().map_or("none".to_owned(), View::to_string)
}

fn no_field(path: &str, error: &str, names: &[String]) -> Failure {
    let last = path.rsplit(['.', ']']).next().unwrap_or(path);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = match folder::similar(last, &names)[..] {
        [] => String::new(),
        [first, ..] => format!("; is it `{first}`?"),
    };
    Failure::NoField(format!("{error}{hint}"))
}

impl Serialize for Record<'_> {
    /// One object, whatever the message is.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let meta = self.has_info.then(|| Meta::of(self.info));
        // What is an object by itself is one with its own entries.
        let is_object = match self.message.value() {
            Value::Struct(fields) => !fields.is_tuple(),
            Value::Map(_) | Value::Raw(_) => true,
            _ => false,
        };
        if self.fields.is_empty() && is_object {
            return Object { meta, message: self.message }.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        if let Some(meta) = meta {
            map.serialize_entry(META, &meta)?;
        }
        if self.fields.is_empty() {
            map.serialize_entry(VALUE, self.message)?;
        }
        for (path, field) in &self.fields {
            map.serialize_entry(path, field)?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Object<'a> {
    // `META`, which an attribute cannot name.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    #[serde(flatten)]
    message: &'a View<'a>,
}

#[derive(serde::Serialize)]
struct Meta {
    publisher: u32,
    generation: u16,
    sequence: u64,
    missed: u64,
}

impl Meta {
    fn of(info: &MessageInfo) -> Meta {
        let MessageInfo { publisher, sequence, missed, .. } = *info;
        Meta { publisher: publisher.ring, generation: publisher.generation, sequence, missed }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The columns of a table: a path for each.
pub struct Columns {
    schema: Arc<Schema>,
    has_info: bool,
    paths: Vec<String>,
}

/// Arrays of more elements are one column, of JSON.
const MOST_ELEMENTS: usize = 64;

impl Columns {
    /// One for each number and text that every message has; what is of any length is one, as JSON.
    pub fn of(schema: &Arc<Schema>, record: &Record) -> Columns {
        let mut paths = Vec::new();
        match &record.fields[..] {
            [] => add(schema, String::new(), &mut paths),
            fields => {
                for (path, _) in fields {
                    match schema.field(path) {
                        Ok(Some(field)) => add(field, (*path).to_owned(), &mut paths),
                        // Only the message itself knows what it consists of.
                        _ => paths.push((*path).to_owned()),
                    }
                }
            }
        }
        Columns { schema: schema.clone(), has_info: record.has_info, paths }
    }

    /// Whether a message of this schema has the same ones.
    pub fn check(&self, schema: &Arc<Schema>, channel: &str) -> Result<(), Failure> {
        if Arc::ptr_eq(schema, &self.schema) || schema == &self.schema {
            return Ok(());
        }
        Err(Failure::OtherType {
            channel: channel.to_owned(),
            now: schema.name(),
            before: self.schema.name(),
        })
    }

    pub fn header(&self) -> Vec<String> {
        let info = ["publisher", "generation", "sequence", "missed"];
        let info = info.iter().filter(|_| self.has_info).map(|name| format!("{META}.{name}"));
        let name = |path: &String| if path.is_empty() { VALUE.to_owned() } else { path.clone() };
        info.chain(self.paths.iter().map(name)).collect()
    }

    pub fn row(&self, record: &Record) -> Vec<String> {
        let meta = Meta::of(record.info);
        let info = [
            meta.publisher.to_string(),
            meta.generation.to_string(),
            meta.sequence.to_string(),
            meta.missed.to_string(),
        ];
        let info = info.into_iter().filter(|_| self.has_info);
        let cell =
            |path: &String| record.message.get(path).map_or(String::new(), |view| cell(&view));
        info.chain(self.paths.iter().map(cell)).collect()
    }
}

/// Adds the columns of a type, whose path is `path`.
fn add(schema: &Schema, path: String, paths: &mut Vec<String>) {
    match &schema.kind {
        Kind::Struct { fields, .. } if !fields.is_empty() => {
            for field in fields {
                let dot = if path.is_empty() { "" } else { "." };
                add(&field.schema, format!("{path}{dot}{}", field.name), paths);
            }
        }
        Kind::Array { element, len } if (1..=MOST_ELEMENTS).contains(len) => {
            for index in 0..*len {
                add(element, format!("{path}[{index}]"), paths);
            }
        }
        Kind::Option { value } => add(value, path, paths),
        _ => paths.push(path),
    }
}

/// A number or a text as it is; nothing for what is none; JSON for the rest.
fn cell(view: &View) -> String {
    match view.value() {
        Value::None => String::new(),
        Value::Some(value) => cell(&value),
        Value::Text(text) => text.to_owned(),
        Value::Char(c) => c.to_string(),
        Value::Enum { name, .. } => name.to_owned(),
        Value::F32(_) | Value::F64(_) | Value::Bool(_) => view.to_string(),
        Value::Unsigned(_) | Value::Signed(_) => view.to_string(),
        Value::Raw(raw) => hex(raw.bytes()),
        // It has no keys that JSON does not know.
        _ => serde_json::to_string(view).unwrap_or_default(),
    }
}
