//! Any bytes are read as a schema. What is accepted is written as the same bytes, and everything that is
//! done with a schema can be done with it; also to view messages, whatever is in them.
//!
//! ```text
//! input   flags u8 · rest
//! rest    with `REPAIR`: kinds, names and numbers of nodes, which the header is made right for
//!         else with `EDIT`: edits of a schema that was right, each: offset u16, byte
//!         else the bytes of the schema
//! ```
#![no_main]

use std::io;
use std::num::NonZero;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shm_comm::{Schema, ShmMessage, ShmOption, ShmString, ShmVec};

/// The header is made right for the nodes and names that follow it.
const REPAIR: u8 = 1;
/// Edits of a schema that was right.
const EDIT: u8 = 2;

/// No longer message is viewed.
const LONGEST_MESSAGE: usize = 1 << 16;
/// No text has more: 32 differences, each with a path of all names that there can be.
const LONGEST: usize = 32 << 20;

#[derive(ShmMessage)]
#[repr(u8)]
enum Mode {
    Idle = 0,
    Drive = 3,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Robot {
    id: NonZero<u64>,
    path: ShmVec<Point, 8>,
    goal: ShmOption<Point>,
    corners: [[Point; 2]; 2],
    modes: [Mode; 4],
    name: ShmString<16>,
}

static ROBOT: LazyLock<(Schema, Vec<u8>)> = LazyLock::new(|| {
    let schema = Schema::of::<Robot>();
    let bytes = schema.to_bytes().unwrap();
    (schema, bytes)
});

fuzz_target!(|input: &[u8]| {
    let [flags, rest @ ..] = input else { return };
    let (robot, robot_bytes) = &*ROBOT;
    let bytes = match flags {
        flags if flags & REPAIR != 0 => repaired(rest),
        flags if flags & EDIT != 0 => edited(robot_bytes.clone(), rest),
        _ => rest.to_vec(),
    };
    let schema = match Schema::from_bytes(&bytes) {
        Ok(schema) => schema,
        Err(malformed) => return check(&malformed.to_string()),
    };
    assert_eq!(schema.to_bytes().as_ref(), Ok(&bytes), "written as other bytes");
    check(&schema.canonical());
    check(&schema.name());
    check(&schema.to_string());
    let _ = (schema.hash(), schema.stride());
    view(&schema, &[0]);
    view(&schema, rest);

    assert_eq!(schema.extends(&schema), Ok(()));
    for (one, other) in [(&schema, robot), (robot, &schema)] {
        let difference = one.difference(other);
        assert_eq!(difference.is_empty(), one == other, "{difference}");
        if one != other {
            check(&difference.to_string());
        }
        if let Err(refused) = one.extends(other) {
            check(&refused.to_string());
        }
    }
});

/// Views a message of as many bytes as it should have, made of these, again and again.
fn view(schema: &Schema, bytes: &[u8]) {
    let elements = schema.stride().unwrap_or(0).saturating_mul(bytes.len() % 20);
    let len = schema.size.saturating_add(elements);
    if len > LONGEST_MESSAGE || bytes.is_empty() {
        return;
    }
    let message: Vec<u8> = bytes.iter().copied().cycle().take(len).collect();
    match schema.view(&message) {
        Err(invalid) => check(&invalid.to_string()),
        Ok(view) => {
            check(&view.to_string());
            check(&format!("{view:#.3}"));
            assert_eq!(view.get("").unwrap().bytes(), message);
            if let Err(missing) = view.get("x.y[0]") {
                check(&missing.to_string());
            }
            let _ = serde_json::to_writer(io::sink(), &view);
        }
    }
}

/// Something can be said, and not too much.
fn check(text: &str) {
    assert!((1..LONGEST).contains(&text.len()), "{} bytes of text", text.len());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}

/// A header of as many nodes as there are bytes for, if there is one byte of names for each.
fn repaired(rest: &[u8]) -> Vec<u8> {
    let nodes = rest.len() / 33;
    let text_len = rest.len() - nodes * 32;
    let header = [1, nodes as u32, text_len as u32, 0];
    let mut bytes: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend(rest);
    bytes
}

fn edited(mut bytes: Vec<u8>, mut edits: &[u8]) -> Vec<u8> {
    while let [low, high, byte, rest @ ..] = edits {
        let offset = usize::from(u16::from_le_bytes([*low, *high])) % bytes.len();
        bytes[offset] = *byte;
        edits = rest;
    }
    bytes
}
