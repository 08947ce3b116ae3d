//! How two schemas differ, field by field.
//!
//! Texts speak to the program that attaches: `vx: channel f64 at 8, you f32 at 8`. Offsets are from the
//! start of the struct that has the field. One difference is meant to be one line: what only follows from
//! another, such as the offsets behind a field that was inserted, is not listed.

use std::collections::HashMap;
use std::fmt;

use super::{Field, Kind, Schema, Variant};

/// More differences are only counted: then it is another type.
const MAX_LISTED: usize = 32;

/// How a channel's schema differs from this program's; [`Display`](fmt::Display) is one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaDiff {
    differences: Vec<Difference>,
    more: usize,
}

/// One difference between two schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    path: String,
    text: String,
}

impl SchemaDiff {
    /// The schemas are equal.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// In the order of the channel's fields, the first 32.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    fn len(&self) -> usize {
        self.differences.len() + self.more
    }

    /// Is to be seen, however long the list is.
    pub(crate) fn add_reason(&mut self, path: &str, text: String) {
        if self.differences.len() == MAX_LISTED {
            self.differences.pop();
            self.more += 1;
        }
        self.add(path, text);
    }

    /// The same, of a part of what a channel carries.
    pub(crate) fn within(mut self, part: &str) -> SchemaDiff {
        for difference in &mut self.differences {
            let dot = if difference.path.is_empty() || difference.path.starts_with('[') {
                ""
            } else {
                "."
            };
            difference.path = format!("{part}{dot}{}", difference.path);
        }
        self
    }

    fn add(&mut self, path: &str, text: String) {
        if self.differences.len() < MAX_LISTED {
            self.differences.push(Difference { path: path.to_owned(), text });
        } else {
            self.more += 1;
        }
    }
}

impl Difference {
    /// Of the field, `pose.position.x`, or `points[].x` for an element; empty for the message itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the channel has there, and what you have.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SchemaDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, difference) in self.differences.iter().enumerate() {
            let line = if i > 0 { "\n" } else { "" };
            write!(f, "{line}{difference}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the message" } else { &self.path };
        write!(f, "{path}: {}", self.text)
    }
}

impl Schema {
    /// What is different in `yours`, if this is the channel's. Empty only if they are equal.
    ///
    /// ```
    /// use shm_comm::{Schema, ShmMessage};
    /// # mod theirs {
    /// #[derive(shm_comm::ShmMessage)]
    /// #[repr(C)]
    /// struct Twist { vx: f64, vy: f64, wz: f64 }
    /// # pub fn schema() -> shm_comm::Schema { shm_comm::Schema::of::<Twist>() }
    /// # }
    /// # let channel = theirs::schema();
    ///
    /// mod mine {
    ///     #[derive(shm_comm::ShmMessage)]
    ///     #[repr(C)]
    ///     pub struct Twist { vx: f64, vy: f64, wz: f32, _pad0: [u8; 4] }
    /// }
    ///
    /// let difference = channel.difference(&Schema::of::<mine::Twist>());
    /// assert_eq!(difference.to_string(), "wz: channel f64 at 16, you f32 at 16");
    /// ```
    pub fn difference(&self, yours: &Schema) -> SchemaDiff {
        let mut comparison = Comparison::default();
        comparison.compare("", None, self, yours);
        comparison.diff
    }
}

/// Where a field is in the channel's message, and in yours.
type Offsets = Option<(usize, usize)>;

#[derive(Default)]
struct Comparison<'a> {
    diff: SchemaDiff,
    /// Structs and enums whose differences were listed where they came first.
    told: Vec<(&'a Schema, &'a Schema)>,
}

impl<'a> Comparison<'a> {
    /// Adds at least one difference if there is one that has not been told elsewhere.
    fn compare(&mut self, path: &str, at: Offsets, channel: &'a Schema, yours: &'a Schema) {
        if channel == yours || self.is_told(channel, yours) {
            return;
        }
        let before = self.diff.len();
        match (&channel.kind, &yours.kind) {
            (Kind::Struct { .. }, Kind::Struct { .. }) | (Kind::Enum { .. }, Kind::Enum { .. }) => {
                self.told.push((channel, yours));
                self.compare_insides(path, at, channel, yours);
            }
            _ => self.compare_lists(path, at, channel, yours),
        }
        if self.diff.len() == before {
            let text = match (channel, yours) {
                (c, y) if c.align != y.align => alignments(c, y),
                (c, y) if c.size != y.size => format!("channel {} bytes, you {}", c.size, y.size),
                _ => "not the same in the channel".to_owned(),
            };
            self.diff.add(path, text);
        }
    }

    /// The same two structs or enums, or lists of them, have been compared before.
    fn is_told(&self, channel: &Schema, yours: &Schema) -> bool {
        match elements(channel, yours) {
            Some((_, true, theirs, mine)) => self.is_told(theirs, mine),
            Some((_, false, ..)) => false,
            None => self.told.contains(&(channel, yours)),
        }
    }

    /// Two structs or two enums.
    fn compare_insides(&mut self, path: &str, at: Offsets, channel: &'a Schema, yours: &'a Schema) {
        match (&channel.kind, &yours.kind) {
            (
                Kind::Struct { name: theirs, fields: channel_fields },
                Kind::Struct { name: mine, fields: my_fields },
            ) => {
                if theirs != mine {
                    self.types(path, at, channel, yours);
                }
                let known = |field: &Field| my_fields.iter().any(|mine| mine.name == field.name);
                if theirs == mine || channel_fields.iter().any(known) {
                    self.compare_fields(path, channel_fields, my_fields);
                }
                let is_raised = |schema: &Schema, fields: &[Field]| {
                    schema.align > 1 && fields.iter().all(|field| field.schema.align < schema.align)
                };
                let raised = is_raised(channel, channel_fields) || is_raised(yours, my_fields);
                if channel.align != yours.align && raised {
                    self.diff.add(path, alignments(channel, yours));
                }
            }
            (
                Kind::Enum { name: theirs, repr: their_repr, variants: channel_variants },
                Kind::Enum { name: mine, repr: my_repr, variants: my_variants },
            ) => {
                if their_repr != my_repr {
                    let theirs = format!("{theirs} in a {}", their_repr.name());
                    self.line(path, at, &theirs, &format!("{mine} in a {}", my_repr.name()));
                } else if theirs != mine {
                    self.types(path, at, channel, yours);
                }
                let known = |value: &Variant| my_variants.iter().any(|my| my.name == value.name);
                if theirs == mine || channel_variants.iter().any(known) {
                    self.compare_variants(path, channel_variants, my_variants);
                }
            }
            _ => {}
        }
    }

    /// Lists of structs or enums are compared by their elements, others as a whole.
    fn compare_lists(&mut self, path: &str, at: Offsets, channel: &'a Schema, yours: &'a Schema) {
        let (mut theirs, mut mine) = (channel, yours);
        let (mut path_inside, mut same_bounds) = (path.to_owned(), true);
        while let Some((index, same_bound, their_element, my_element)) = elements(theirs, mine) {
            path_inside.push_str(index);
            same_bounds &= same_bound;
            (theirs, mine) = (their_element, my_element);
        }
        match (&theirs.kind, &mine.kind) {
            (Kind::Struct { .. }, Kind::Struct { .. }) | (Kind::Enum { .. }, Kind::Enum { .. }) => {
                if !same_bounds {
                    self.types(path, at, channel, yours);
                }
                self.compare(&path_inside, None, theirs, mine);
            }
            _ => self.types(path, at, channel, yours),
        }
    }

    fn compare_fields(&mut self, path: &str, channel: &'a [Field], yours: &'a [Field]) {
        let Pairs { mine_of, is_mine_alone, is_in_order } = Pairs::of(channel, yours);
        let path_of = |field: &Field| join(path, &field.name);
        // What is said already is why the fields that follow are in other places.
        let mut is_explained = mine_of
            .iter()
            .zip(&is_in_order)
            .any(|(mine, is_in_order)| mine.is_some() && !is_in_order);
        let mut next_mine = 0;
        let tell_mine = |diff: &mut SchemaDiff, indices: std::ops::Range<usize>| {
            let alone = |index: &usize| is_mine_alone[*index];
            let found: Vec<usize> = indices.filter(alone).collect();
            for index in &found {
                diff.add(&path_of(&yours[*index]), "not in the channel".to_owned());
            }
            !found.is_empty()
        };

        for (i, theirs) in channel.iter().enumerate() {
            let Some(index) = mine_of[i] else {
                let text = format!(
                    "unknown to you (channel {} at {})",
                    theirs.schema.name(),
                    theirs.offset
                );
                self.diff.add(&path_of(theirs), text);
                is_explained = true;
                continue;
            };
            let mine = &yours[index];
            if is_in_order[i] {
                is_explained |= tell_mine(&mut self.diff, next_mine..index);
                next_mine = index + 1;
            }
            let path = path_of(mine);
            if theirs.name != mine.name {
                self.diff.add(&path, format!("called {} in the channel", theirs.name));
            }
            let at = (theirs.offset, mine.offset);
            if !is_in_order[i] {
                let (their_type, my_type) = (theirs.schema.name(), mine.schema.name());
                let text = format!(
                    "channel {their_type} at {}, you {my_type} at {}, in another order",
                    at.0, at.1
                );
                self.diff.add(&path, text);
                is_explained = true;
            } else if theirs.schema == mine.schema && at.0 != at.1 && !is_explained {
                self.types(&path, Some(at), &theirs.schema, &mine.schema);
                is_explained = true;
            }
            if theirs.schema != mine.schema {
                self.compare(&path, Some(at), &theirs.schema, &mine.schema);
                is_explained = true;
            }
        }
        tell_mine(&mut self.diff, next_mine..yours.len());
    }

    fn compare_variants(&mut self, path: &str, channel: &[Variant], yours: &[Variant]) {
        let before = self.diff.len();
        for Variant { name, value } in channel {
            let same_name = yours.iter().find(|mine| mine.name == *name);
            let same_value = yours.iter().find(|mine| mine.value == *value);
            let text = match (same_name, same_value) {
                (Some(mine), _) if mine.value == *value => continue,
                (Some(mine), _) => {
                    format!("{name} is {value} in the channel, {} for you", mine.value)
                }
                // That name has a line of its own, unless it is only mine.
                (None, Some(mine)) if !channel.iter().any(|theirs| theirs.name == mine.name) => {
                    format!("value {value} is {name} in the channel, {} for you", mine.name)
                }
                (None, _) => format!("value {value} ({name}) unknown to you"),
            };
            self.diff.add(path, text);
        }
        for Variant { name, value } in yours {
            let same_name = channel.iter().any(|theirs| theirs.name == *name);
            let same_value = channel.iter().find(|theirs| theirs.value == *value);
            let is_told = same_name
                || same_value.is_some_and(|theirs| !yours.iter().any(|my| my.name == theirs.name));
            if !is_told {
                self.diff.add(path, format!("value {value} ({name}) not in the channel"));
            }
        }
        if self.diff.len() == before && channel != yours {
            self.diff.add(path, "the same values in another order".to_owned());
        }
    }

    /// Names both types, if that tells them apart or where they are does.
    fn types(&mut self, path: &str, at: Offsets, channel: &Schema, yours: &Schema) {
        let same_kind =
            std::mem::discriminant(&channel.kind) == std::mem::discriminant(&yours.kind);
        let name = |schema: &Schema| match &schema.kind {
            Kind::Struct { name, .. } if !same_kind => format!("struct {name}"),
            Kind::Enum { name, .. } if !same_kind => format!("enum {name}"),
            _ => schema.name(),
        };
        let (theirs, mine) = (name(channel), name(yours));
        if theirs != mine || at.is_some_and(|(theirs, mine)| theirs != mine) {
            self.line(path, at, &theirs, &mine);
        }
    }

    fn line(&mut self, path: &str, at: Offsets, theirs: &str, mine: &str) {
        let text = match at {
            Some((their_offset, my_offset)) => {
                format!("channel {theirs} at {their_offset}, you {mine} at {my_offset}")
            }
            None => format!("channel {theirs}, you {mine}"),
        };
        self.diff.add(path, text);
    }
}

fn alignments(channel: &Schema, yours: &Schema) -> String {
    format!("channel aligned to {}, you to {}", channel.align, yours.align)
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// How the elements are called, whether there can be as many, and both elements; if these are lists of
/// one kind.
pub(super) fn elements<'a>(
    a: &'a Schema,
    b: &'a Schema,
) -> Option<(&'static str, bool, &'a Schema, &'a Schema)> {
    match (&a.kind, &b.kind) {
        (Kind::Array { element: a, len }, Kind::Array { element: b, len: other }) => {
            Some(("[]", len == other, a, b))
        }
        (Kind::Vec { element: a, capacity }, Kind::Vec { element: b, capacity: other }) => {
            Some(("[]", capacity == other, a, b))
        }
        (Kind::Slice { element: a }, Kind::Slice { element: b }) => Some(("[]", true, a, b)),
        (Kind::Option { value: a }, Kind::Option { value: b }) => Some(("", true, a, b)),
        _ => None,
    }
}

/// Which field of the channel is which of mine.
struct Pairs {
    /// Of every field of the channel: the index of mine.
    mine_of: Vec<Option<usize>>,
    /// Of every field of mine: it is nowhere in `mine_of`.
    is_mine_alone: Vec<bool>,
    /// Of every field of the channel: it is one of the most fields that both have in one order.
    is_in_order: Vec<bool>,
}

impl Pairs {
    fn of(channel: &[Field], yours: &[Field]) -> Pairs {
        let indices: HashMap<&str, usize> =
            yours.iter().enumerate().map(|(i, mine)| (&*mine.name, i)).collect();
        let mut mine_of: Vec<Option<usize>> =
            channel.iter().map(|theirs| indices.get(&*theirs.name).copied()).collect();
        let mut is_mine_alone = vec![true; yours.len()];
        for index in mine_of.iter().flatten() {
            is_mine_alone[*index] = false;
        }
        // In the same place and of the same type: it was renamed.
        for (theirs, mine) in channel.iter().zip(&mut mine_of).filter(|(_, mine)| mine.is_none()) {
            *mine = yours.iter().enumerate().position(|(i, mine)| {
                is_mine_alone[i] && mine.offset == theirs.offset && mine.schema == theirs.schema
            });
            if let Some(index) = *mine {
                is_mine_alone[index] = false;
            }
        }
        let is_in_order = longest_in_order(&mine_of);
        Pairs { mine_of, is_mine_alone, is_in_order }
    }
}

/// Marks a longest increasing subsequence.
fn longest_in_order(indices: &[Option<usize>]) -> Vec<bool> {
    // Of the longest one that ends here: how long it is, and where it was before.
    let mut ends: Vec<(usize, Option<usize>)> = Vec::new();
    for (i, index) in indices.iter().enumerate() {
        let before = (0..i).filter(|j| indices[*j].is_some() && indices[*j] < *index);
        let best = before.max_by_key(|j| (ends[*j].0, std::cmp::Reverse(*j)));
        ends.push((best.map_or(0, |j| ends[j].0) + 1, best));
    }
    let mut is_in_order = vec![false; indices.len()];
    let paired = (0..indices.len()).filter(|i| indices[*i].is_some());
    let mut next = paired.max_by_key(|i| (ends[*i].0, std::cmp::Reverse(*i)));
    while let Some(i) = next {
        is_in_order[i] = true;
        next = ends[i].1;
    }
    is_in_order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Primitive;
    use crate::schema::testing::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(channel: Schema, yours: Schema, lines: &[&str]) {
        let diff = channel.difference(&yours);
        assert_eq!(diff.to_string(), lines.join("\n"));
        assert!(yours.difference(&yours).is_empty());
        assert!(!yours.difference(&channel).is_empty(), "seen from the other side");
    }

    /// Of messages with one field of these types.
    #[track_caller]
    fn check_field(channel: Schema, yours: Schema, lines: &[&str]) {
        let message = |field| strukt("Message", [("stamp", f64()), ("it", field)]);
        check(message(channel), message(yours), lines);
    }

    #[track_caller]
    fn check_fields<const N: usize, const M: usize>(
        channel: [(&str, Schema); N],
        yours: [(&str, Schema); M],
        lines: &[&str],
    ) {
        check(strukt("Twist", channel), strukt("Twist", yours), lines);
    }

    #[test]
    fn another_type_in_the_same_place_is_named() {
        let boolean = || primitive(Primitive::Bool);
        let letter = || primitive(Primitive::Char);
        check_field(f64(), f32(), &["it: channel f64 at 8, you f32 at 8"]);
        check_field(u32(), primitive(Primitive::I32), &["it: channel u32 at 8, you i32 at 8"]);
        check_field(u32(), f32(), &["it: channel u32 at 8, you f32 at 8"]);
        check_field(boolean(), u8(), &["it: channel bool at 8, you u8 at 8"]);
        check_field(letter(), u32(), &["it: channel char at 8, you u32 at 8"]);
        let positive = nonzero(Primitive::U32);
        check_field(positive, u32(), &["it: channel NonZero<u32> at 8, you u32 at 8"]);
        let pose = || strukt("Pose", [("x", f64())]);
        check_field(pose(), f64(), &["it: channel struct Pose at 8, you f64 at 8"]);
        let mode = || enumeration("Mode", Primitive::U8, [("Idle", 0)]);
        check_field(mode(), u8(), &["it: channel enum Mode at 8, you u8 at 8"]);
        let fake = strukt("Mode", [("0", u8())]);
        check_field(mode(), fake, &["it: channel enum Mode at 8, you struct Mode at 8"]);
        let fake = strukt("f64", [("0", f64())]);
        check_field(fake, f64(), &["it: channel struct f64 at 8, you f64 at 8"]);
    }

    #[test]
    fn lists_and_texts_are_named_with_their_bounds() {
        check_field(
            array(f64(), 3),
            array(f64(), 4),
            &["it: channel [f64; 3] at 8, you [f64; 4] at 8"],
        );
        check_field(
            array(f64(), 3),
            array(f32(), 6),
            &["it: channel [f64; 3] at 8, you [f32; 6] at 8"],
        );
        check_field(
            array(array(u8(), 2), 3),
            array(array(u8(), 3), 2),
            &["it: channel [[u8; 2]; 3] at 8, you [[u8; 3]; 2] at 8"],
        );
        check_field(
            string(16),
            string(32),
            &["it: channel ShmString<16> at 8, you ShmString<32> at 8"],
        );
        check_field(
            string(16),
            array(u8(), 20),
            &["it: channel ShmString<16> at 8, you [u8; 20] at 8"],
        );
        check_field(
            vec(f64(), 8),
            vec(f64(), 9),
            &["it: channel ShmVec<f64, 8> at 8, you ShmVec<f64, 9> at 8"],
        );
        check_field(
            vec(f64(), 8),
            vec(f32(), 8),
            &["it: channel ShmVec<f64, 8> at 8, you ShmVec<f32, 8> at 8"],
        );
        check_field(
            option(f64()),
            option(f32()),
            &["it: channel ShmOption<f64> at 8, you ShmOption<f32> at 8"],
        );
        check_field(option(f64()), f64(), &["it: channel ShmOption<f64> at 8, you f64 at 8"]);
        check_field(array(u8(), 16), slice(u8()), &["it: channel [u8; 16] at 8, you [u8] at 8"]);
        check_field(slice(u8()), slice(u16()), &["it: channel [u8] at 8, you [u16] at 8"]);
    }

    #[test]
    fn the_message_itself_may_be_another() {
        let pose = |name| strukt(name, [("x", f64()), ("y", f64())]);
        check(pose("Odometry"), pose("Pose"), &["the message: channel Odometry, you Pose"]);
        check(
            strukt("Odometry", [("vx", f64())]),
            pose("Pose"),
            &["the message: channel Odometry, you Pose"],
        );
        check(f64(), u32(), &["the message: channel f64, you u32"]);
        check(pose("Pose"), f64(), &["the message: channel struct Pose, you f64"]);
        check(slice(f32()), slice(f64()), &["the message: channel [f32], you [f64]"]);
        check(slice(f32()), array(f32(), 4), &["the message: channel [f32], you [f32; 4]"]);
        let plan = |codec| encoded(codec, "Plan");
        check(
            plan("msgpack"),
            plan("json"),
            &["the message: channel msgpack(Plan), you json(Plan)"],
        );
        check(
            encoded("json", "Plan"),
            encoded("json", "Map"),
            &["the message: channel json(Plan), you json(Map)"],
        );
        check(plan("json"), pose("Plan"), &["the message: channel json(Plan), you struct Plan"]);
    }

    #[test]
    fn a_field_that_only_one_side_has_is_one_line() {
        let base = || [("vx", f64()), ("vy", f64()), ("wz", f64())];
        let [vx, vy, wz] = base();
        check_fields(
            [vx.clone(), vy.clone(), wz.clone(), ("heading", f64())],
            base(),
            &["heading: unknown to you (channel f64 at 24)"],
        );
        check_fields(
            [vx.clone(), ("vz", f32()), vy.clone(), wz.clone()],
            base(),
            &["vz: unknown to you (channel f32 at 8)"],
        );
        check_fields([vx.clone(), wz.clone()], base(), &["vy: not in the channel"]);
        check_fields([vy.clone(), wz.clone()], base(), &["vx: not in the channel"]);
        check_fields([vx.clone(), vy.clone()], base(), &["wz: not in the channel"]);
        check_fields(
            [("stamp", f64()), vx, vy],
            base(),
            &["stamp: unknown to you (channel f64 at 0)", "wz: not in the channel"],
        );
    }

    #[test]
    fn a_renamed_field_is_one_line() {
        check_fields(
            [("x", f64()), ("heading", f64())],
            [("x", f64()), ("theta", f64())],
            &["theta: called heading in the channel"],
        );
        // Of another type it is another field.
        check_fields(
            [("x", f64()), ("heading", f64())],
            [("x", f64()), ("theta", f32())],
            &["heading: unknown to you (channel f64 at 8)", "theta: not in the channel"],
        );
    }

    #[test]
    fn a_field_in_another_place_is_told_from_those_that_follow() {
        check_fields(
            [("x", f64()), ("_pad", f64()), ("y", f64()), ("z", f64())],
            [("x", f64()), ("y", f64()), ("z", f64())],
            &["y: channel f64 at 16, you f64 at 8"],
        );
        check_fields(
            [("x", f64()), ("y", f64()), ("z", f64())],
            [("x", f64()), ("z", f64()), ("y", f64())],
            &["z: channel f64 at 16, you f64 at 8, in another order"],
        );
        let to_the_front = [("z", f64()), ("w", f64()), ("x", f64()), ("y", f64())];
        check_fields(
            to_the_front,
            [("w", f64()), ("x", f64()), ("y", f64()), ("z", f64())],
            &["z: channel f64 at 0, you f64 at 24, in another order"],
        );
        // What has become longer moves the rest.
        check_fields(
            [("x", array(f64(), 2)), ("y", f64()), ("z", f64())],
            [("x", f64()), ("y", f64()), ("z", f64())],
            &["x: channel [f64; 2] at 0, you f64 at 0"],
        );
    }

    #[test]
    fn sizes_and_alignments_that_no_field_explains_are_told() {
        let twist = || strukt("Twist", [("x", f64())]);
        let padded = strukt("Twist", [("x", f64()), ("_pad", f64())]);
        let aligned = || Schema { size: 16, align: 16, ..twist() };
        check(padded, twist(), &["the message: channel 16 bytes, you 8"]);
        check(aligned(), twist(), &["the message: channel aligned to 16, you to 8"]);
        check_field(aligned(), twist(), &["it: channel aligned to 16, you to 8"]);
        check(
            Schema { align: 16, ..strukt("Twist", [("x", f64()), ("y", f64())]) },
            twist(),
            &[
                "y: unknown to you (channel f64 at 8)",
                "the message: channel aligned to 16, you to 8",
            ],
        );
    }

    #[test]
    fn values_of_an_enum_are_compared_by_name_and_number() {
        let mode = |variants: [(&str, i128); 3]| enumeration("Mode", Primitive::U8, variants);
        let base = || mode([("Idle", 0), ("Drive", 1), ("Stop", 2)]);
        let two = || enumeration("Mode", Primitive::U8, [("Idle", 0), ("Drive", 1)]);
        check_field(base(), two(), &["it: value 2 (Stop) unknown to you"]);
        check_field(two(), base(), &["it: value 2 (Stop) not in the channel"]);
        check_field(
            base(),
            mode([("Idle", 0), ("Drive", 1), ("Park", 2)]),
            &["it: value 2 is Stop in the channel, Park for you"],
        );
        check_field(
            base(),
            mode([("Idle", 0), ("Drive", 1), ("Stop", 3)]),
            &["it: Stop is 2 in the channel, 3 for you"],
        );
        check_field(
            base(),
            mode([("Idle", 0), ("Drive", 2), ("Stop", 1)]),
            &[
                "it: Drive is 1 in the channel, 2 for you",
                "it: Stop is 2 in the channel, 1 for you",
            ],
        );
        check_field(
            base(),
            mode([("Idle", 0), ("Stop", 1), ("Park", 2)]),
            &[
                "it: value 1 (Drive) unknown to you",
                "it: Stop is 2 in the channel, 1 for you",
                "it: value 2 (Park) not in the channel",
            ],
        );
        check_field(
            base(),
            mode([("Drive", 1), ("Idle", 0), ("Stop", 2)]),
            &["it: the same values in another order"],
        );
        check_field(
            enumeration("Mode", Primitive::U16, [("Idle", 0), ("Drive", 1)]),
            two(),
            &["it: channel Mode in a u16 at 8, you Mode in a u8 at 8"],
        );
        check_field(
            enumeration("State", Primitive::U8, [("Idle", 0), ("Drive", 1)]),
            two(),
            &["it: channel State at 8, you Mode at 8"],
        );
        check_field(
            enumeration("Color", Primitive::U8, [("Red", 0)]),
            two(),
            &["it: channel Color at 8, you Mode at 8"],
        );
    }

    #[test]
    fn what_is_nested_is_told_by_its_path() {
        let point = |x| strukt("Point", [("x", x), ("y", f64())]);
        let pose = |x| strukt("Pose", [("heading", f64()), ("position", point(x))]);
        check_field(pose(f64()), pose(f32()), &["it.position.x: channel f64 at 0, you f32 at 0"]);
        check_field(
            array(point(f64()), 3),
            array(point(f32()), 3),
            &["it[].x: channel f64 at 0, you f32 at 0"],
        );
        check_field(
            array(array(point(f64()), 3), 2),
            array(array(point(f32()), 4), 2),
            &[
                "it: channel [[Point; 3]; 2] at 8, you [[Point; 4]; 2] at 8",
                "it[][].x: channel f64 at 0, you f32 at 0",
            ],
        );
        check_field(
            vec(point(f64()), 3),
            vec(point(f32()), 3),
            &["it[].x: channel f64 at 0, you f32 at 0"],
        );
        check_field(
            option(point(f64())),
            option(point(f32())),
            &["it.x: channel f64 at 0, you f32 at 0"],
        );
        check(slice(point(f64())), slice(point(f32())), &["[].x: channel f64 at 0, you f32 at 0"]);
        check_field(
            point(f64()),
            strukt("Vector", [("x", f64()), ("y", f64())]),
            &["it: channel Point at 8, you Vector at 8"],
        );
        check_field(
            array(point(f64()), 2),
            array(strukt("Vector", [("x", f64()), ("y", f64())]), 2),
            &["it[]: channel Point, you Vector"],
        );
    }

    #[test]
    fn a_type_that_is_used_twice_is_told_once() {
        let point = |x| strukt("Point", [("x", x), ("y", f64())]);
        let line = |x: Schema| {
            let more = array(option(point(x.clone())), 4);
            [("from", point(x.clone())), ("to", point(x)), ("more", more)]
        };
        check_fields(line(f64()), line(f32()), &["from.x: channel f64 at 0, you f32 at 0"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let wide =
            |schema: Schema| strukt_of("Wide", (0..40).map(|i| (format!("f{i}"), schema.clone())));
        let diff = wide(u32()).difference(&wide(f32()));
        assert_eq!(diff.differences().len(), 32);
        assert_eq!(diff.differences()[1].path(), "f1");
        assert_eq!(diff.differences()[1].text(), "channel u32 at 4, you f32 at 4");
        assert!(diff.to_string().ends_with("\nand 8 more"));
    }

    /// Every difference has a line, however small it is, and what is refused says why.
    fn check_any(channel: &Schema, yours: &Schema) -> Result<(), TestCaseError> {
        let diff = channel.difference(yours);
        prop_assert_eq!(diff.is_empty(), channel == yours, "{:?}", diff);
        Ok(())
    }

    proptest! {
        #[test]
        fn two_schemas_are_equal_or_differ_somewhere(
            channel in random::schema(),
            yours in random::schema(),
        ) {
            check_any(&channel, &yours)?;
            check_any(&yours, &yours)?;
        }

        #[test]
        fn a_small_change_is_a_difference(
            schema in random::schema(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), -9..9_i8), 1..3),
        ) {
            let mut bytes = schema.to_bytes().unwrap();
            for (at, change) in edits {
                let byte = at.get_mut(&mut bytes[..]);
                *byte = byte.wrapping_add_signed(change);
            }
            if let Ok(changed) = Schema::from_bytes(&bytes) {
                check_any(&schema, &changed)?;
                check_any(&changed, &schema)?;
            }
        }
    }
}
