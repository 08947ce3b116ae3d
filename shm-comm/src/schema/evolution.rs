//! Append-only evolution: which messages a program can read that knows an older type of them.
//!
//! A message may gain fields behind all of its bytes, padding included, so that what an older reader
//! looks at is what it has always been. Nothing else may change, and only the message itself may grow: a
//! nested one would move what follows it.

use super::diff::{SchemaDiff, elements, join};
use super::{Field, Kind, Schema};

impl Schema {
    /// Whether a reader of `older` can read messages of this schema in place: they are equal, or both are
    /// structs of one name and alignment, and this one has more fields behind all of `older`'s bytes.
    ///
    /// Only the message itself may grow, and only if it does not end in a slice.
    ///
    /// # Errors
    ///
    /// The [differences](Self::difference); and if this one has only grown, why it may not grow in this way.
    pub fn extends(&self, older: &Schema) -> Result<(), SchemaDiff> {
        let (
            Kind::Struct { name, fields },
            Kind::Struct { name: older_name, fields: older_fields },
        ) = (&self.kind, &older.kind)
        else {
            return if self == older { Ok(()) } else { Err(self.difference(older)) };
        };
        let is_equal = self == older;
        let starts_equal = name == older_name && fields.starts_with(older_fields);
        let is_sized = self.stride().is_none() && older.stride().is_none();
        let appended = fields.get(older_fields.len()..).unwrap_or_default();
        let is_behind = appended.iter().all(|field| field.offset >= older.size);
        let is_covered = self.size >= older.size && self.align == older.align;
        if is_equal || starts_equal && is_sized && is_behind && is_covered {
            return Ok(());
        }

        let mut diff = self.difference(older);
        if name != older_name {
            return Err(diff);
        }
        if !is_sized && !appended.is_empty() {
            diff.add_reason("", "a trailing slice ends evolution".to_owned());
        } else if starts_equal {
            add_reasons(self, older, appended, &mut diff);
        } else if has_inserted(fields, older_fields) {
            diff.add_reason("", "new fields go behind all others".to_owned());
        } else {
            add_grown("", self, older, &mut diff);
        }
        Err(diff)
    }
}

/// The message has gained fields, if anything, and not as it may.
fn add_reasons(newer: &Schema, older: &Schema, appended: &[Field], diff: &mut SchemaDiff) {
    if newer.align > older.align {
        let (now, before) = (newer.align, older.align);
        let text = format!("an appended field may not raise the alignment ({before}, now {now})");
        diff.add_reason("", text);
    }
    if let Some(Field { name, offset, .. }) = appended.first()
        && *offset < older.size
    {
        let text = format!(
            "an appended field may not take the place of padding (at {offset}, your message has {} \
             bytes): keep the padding, and append behind it",
            older.size
        );
        diff.add_reason(name, text);
    }
}

/// All fields are still there, in their order, with others between them.
fn has_inserted(newer: &[Field], older: &[Field]) -> bool {
    let mut rest = newer.iter();
    let mut is_there =
        |field: &Field| rest.any(|newer| newer.name == field.name && newer.schema == field.schema);
    newer.len() > older.len() && older.iter().all(&mut is_there)
}

/// Names the nested messages that have only gained fields.
fn add_grown(path: &str, newer: &Schema, older: &Schema, diff: &mut SchemaDiff) {
    if let Some((index, _, newer, older)) = elements(newer, older) {
        return add_grown(&format!("{path}{index}"), newer, older, diff);
    }
    let (Kind::Struct { name, fields }, Kind::Struct { name: older_name, fields: older_fields }) =
        (&newer.kind, &older.kind)
    else {
        return;
    };
    if name != older_name {
        return;
    }
    if !fields.starts_with(older_fields) {
        for (field, older) in fields.iter().zip(older_fields) {
            add_grown(&join(path, &field.name), &field.schema, &older.schema, diff);
        }
    } else if fields.len() > older_fields.len() {
        diff.add_reason(path, "a nested message may not grow".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Primitive;
    use crate::schema::testing::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refuse(newer: Schema, older: Schema, lines: &[&str]) {
        let diff = newer.extends(&older).unwrap_err();
        assert_eq!(diff.to_string(), lines.join("\n"));
    }

    #[test]
    fn a_message_may_gain_fields_behind_all_its_bytes() {
        let twist = || strukt("Twist", [("x", f64()), ("n", u32()), ("_pad", u32())]);
        let newer = strukt("Twist", [("x", f64()), ("n", u32()), ("_pad", u32()), ("y", f64())]);
        assert_eq!(newer.extends(&twist()), Ok(()));
        assert_eq!(twist().extends(&twist()), Ok(()));
        let padded = strukt("Twist", [("x", f64()), ("n", u32()), ("_pad", array(u32(), 3))]);
        assert_eq!(padded.extends(&twist()), Ok(()));
        assert_eq!(newer.extends(&strukt("Twist", [])).unwrap_err().differences().len(), 4);
        assert_eq!(strukt("S", [("a", u8())]).extends(&strukt("S", [])), Ok(()));
        let scan = || strukt("Scan", [("n", u32()), ("ranges", slice(f32()))]);
        assert_eq!(scan().extends(&scan()), Ok(()));
        assert_eq!(f64().extends(&f64()), Ok(()));
    }

    #[test]
    fn a_reader_may_not_be_newer_than_the_channel() {
        let older = strukt("Twist", [("x", f64())]);
        let newer = strukt("Twist", [("x", f64()), ("y", f64())]);
        refuse(older, newer, &["y: not in the channel"]);
    }

    #[test]
    fn a_field_between_others_is_in_the_wrong_place() {
        let base = || [("x", f64()), ("y", f64())];
        let [x, y] = base();
        for fields in [[("pre", f64()), x.clone(), y.clone()], [x, ("mid", f64()), y]] {
            let error = strukt("Twist", fields).extends(&strukt("Twist", base())).unwrap_err();
            let text = error.to_string();
            assert!(text.ends_with("\nthe message: new fields go behind all others"), "{text}");
        }
    }

    #[test]
    fn where_a_message_may_not_grow_the_reason_is_told() {
        let older = || strukt("Twist", [("x", f64()), ("n", u32())]);
        let big = primitive(Primitive::U128);
        refuse(
            strukt("Twist", [("x", f64()), ("n", u32()), ("big", big)]),
            older(),
            &[
                "big: unknown to you (channel u128 at 16)",
                "the message: an appended field may not raise the alignment (8, now 16)",
            ],
        );
        refuse(
            strukt("Twist", [("x", f64()), ("n", u32()), ("m", u32())]),
            older(),
            &[
                "m: unknown to you (channel u32 at 12)",
                "m: an appended field may not take the place of padding (at 12, your message has 16 \
                 bytes): keep the padding, and append behind it",
            ],
        );
        let scan = strukt("Scan", [("n", u32()), ("ranges", slice(f32()))]);
        refuse(
            strukt("Scan", [("n", u32()), ("m", u32()), ("ranges", slice(f32()))]),
            scan.clone(),
            &[
                "m: unknown to you (channel u32 at 4)",
                "the message: a trailing slice ends evolution",
            ],
        );
        refuse(
            scan,
            strukt("Scan", [("n", u32())]),
            &[
                "ranges: unknown to you (channel [f32] at 4)",
                "the message: a trailing slice ends evolution",
            ],
        );
    }

    #[test]
    fn a_nested_message_may_not_grow() {
        let short = || strukt("Pose", [("x", f64())]);
        let long = || strukt("Pose", [("x", f64()), ("y", f64())]);
        let message = |it| strukt("Message", [("it", it), ("after", f64())]);
        refuse(
            message(long()),
            message(short()),
            &["it.y: unknown to you (channel f64 at 8)", "it: a nested message may not grow"],
        );
        refuse(
            message(array(strukt("Pair", [("a", long())]), 2)),
            message(array(strukt("Pair", [("a", short())]), 2)),
            &[
                "it[].a.y: unknown to you (channel f64 at 8)",
                "it[].a: a nested message may not grow",
            ],
        );
    }

    #[test]
    fn what_has_not_only_grown_is_just_different() {
        let older = strukt("Twist", [("x", f64()), ("y", f64())]);
        refuse(
            strukt("Twist", [("x", f32()), ("y", f64()), ("z", f64())]),
            older.clone(),
            &["x: channel f32 at 0, you f64 at 0", "z: unknown to you (channel f64 at 16)"],
        );
        refuse(
            strukt("Spin", [("x", f64()), ("y", f64()), ("z", f64())]),
            older,
            &["the message: channel Spin, you Twist", "z: unknown to you (channel f64 at 16)"],
        );
        let padded = || strukt("Twist", [("x", f64()), ("_pad", f64())]);
        refuse(
            strukt("Twist", [("x", f64())]),
            padded(),
            &["the message: channel 8 bytes, you 16"],
        );
        refuse(
            padded(),
            Schema { align: 16, ..padded() },
            &["the message: channel aligned to 8, you to 16"],
        );
    }

    proptest! {
        #[test]
        fn what_is_read_has_all_the_bytes_and_what_is_refused_says_why(
            schema in random::schema(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), -9..9_i8), 1..3),
        ) {
            let mut bytes = schema.to_bytes().unwrap();
            for (at, change) in edits {
                let byte = at.get_mut(&mut bytes[..]);
                *byte = byte.wrapping_add_signed(change);
            }
            if let Ok(changed) = Schema::from_bytes(&bytes) && changed != schema {
                match changed.extends(&schema) {
                    Ok(()) => {
                        prop_assert!(changed.size >= schema.size && changed.align == schema.align);
                        prop_assert!(schema.extends(&changed).is_err());
                    }
                    Err(refused) => prop_assert!(!refused.is_empty()),
                }
            }
        }

        #[test]
        fn a_field_more_is_read_or_refused_with_a_reason(
            mut schema in random::schema(),
            appended in random::sized(),
        ) {
            let older = schema.clone();
            let has_grown = match &mut schema.kind {
                Kind::Struct { fields, .. } if older.stride().is_none() => {
                    let offset = older.size.next_multiple_of(appended.align);
                    schema.align = older.align.max(appended.align);
                    schema.size = (offset + appended.size).next_multiple_of(schema.align);
                    fields.push(Field { name: "appended".to_owned(), offset, schema: appended });
                    true
                }
                _ => false,
            };
            if has_grown {
                let raised = schema.align > older.align;
                prop_assert_eq!(schema.extends(&older).is_err(), raised);
                prop_assert!(older.extends(&schema).is_err());
            }
        }
    }
}
