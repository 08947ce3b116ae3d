//! Another language reads schemas: a script that knows nothing but `docs/schema.md` finds the canonical
//! text and the layout hash, in the binary form and in a segment.

#![allow(dead_code)] // the messages are described, not used

use std::fs::{File, Permissions};
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use shm_comm::{
    Bincode, Channel, Msgpack, Postcard, Publisher, Schema, ShmMessage, ShmOption, ShmString,
    ShmVec,
};

#[derive(ShmMessage, Clone, Copy)]
#[repr(i8)]
enum Mode {
    Idle = 0,
    Fault = -128,
    Größer = 127,
}

#[derive(ShmMessage)]
#[repr(u64)]
enum Wide {
    Most = u64::MAX,
}

#[derive(ShmMessage, Clone, Copy)]
#[shm(name = "geometry/Point")]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Robot {
    id: NonZero<u64>,
    name: ShmString<28>,
    letter: char,
    _pad0: [u8; 4],
    path: ShmVec<Point, 8>,
    goal: ShmOption<Point>,
    modes: [[Mode; 2]; 2],
    on: bool,
    _pad1: [u8; 11],
    größe: u128,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Stamped<T, const N: usize> {
    stamp: u64,
    all: [T; N],
}

#[derive(ShmMessage)]
#[repr(C, align(32))]
struct Line(f32, [f32; 7]);

#[derive(ShmMessage)]
#[repr(C)]
struct Nothing;

#[derive(ShmMessage)]
#[repr(C)]
struct Scan {
    stamp: u64,
    count: u32,
    ranges: [f32],
}

#[derive(Serialize, Deserialize)]
struct Plan {
    stops: Vec<String>,
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    let has_it = found.is_ok_and(|output| output.status.success());
    if !has_it {
        let _ = writeln!(std::io::stderr(), "skipped: needs python3");
    }
    has_it
}

/// What the script prints.
fn run(files: &[PathBuf], input: Stdio) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/schema_hash.py");
    let output = Command::new("python3").arg(script).args(files).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn expected(schema: &Schema) -> String {
    format!("{}\n{:#018x}\n", schema.canonical(), schema.hash())
}

#[test]
fn python_finds_the_text_and_the_hash_of_every_kind_of_schema() {
    if !has_python() {
        return;
    }
    let schemas = [
        Schema::of::<u8>(),
        Schema::of::<char>(),
        Schema::of::<[[i16; 3]; 2]>(),
        Schema::of::<NonZero<i128>>(),
        Schema::of::<[Point]>(),
        Schema::of::<Mode>(),
        Schema::of::<Wide>(),
        Schema::of::<ShmString<0>>(),
        Schema::of::<ShmVec<ShmOption<u16>, 5>>(),
        Schema::of::<Robot>(),
        Schema::of::<Stamped<Point, 3>>(),
        Schema::of::<Stamped<Stamped<[bool; 8], 1>, 2>>(),
        Schema::of::<Line>(),
        Schema::of::<Nothing>(),
        Schema::of::<Scan>(),
        Schema::of::<Msgpack<Plan>>(),
        Schema::of::<Postcard<Vec<Option<u8>>>>(),
        Schema::of::<Bincode<(f32, String)>>(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let files = schemas.iter().enumerate().map(|(i, schema)| {
        let bytes = schema.to_bytes().unwrap();
        assert_eq!(Schema::from_bytes(&bytes).unwrap(), *schema);
        let file = folder.path().join(i.to_string());
        std::fs::write(&file, bytes).unwrap();
        file
    });
    let found = run(&files.collect::<Vec<_>>(), Stdio::null());
    assert_eq!(found, schemas.iter().map(expected).collect::<String>());
}

#[test]
fn python_finds_them_in_a_segment() {
    if !has_python() {
        return;
    }
    let private = Permissions::from_mode(0o700); // whatever the umask
    let root = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
    let channel = Channel::new("robot").root(root.path());
    let _publisher = Publisher::<Robot>::new(&channel).unwrap();
    let segment = File::open(root.path().join("robot.pubsub")).unwrap();
    assert_eq!(run(&[], segment.into()), expected(&Schema::of::<Robot>()));
}
