//! Every message is the same to a tool that has only its schema as to a program that has its type.
//!
//! Bytes in which every field has a value of its own are taken for a message, which writes itself as JSON,
//! and for a view, which must write the same.

use std::collections::BTreeSet;

use serde::Serialize;
use shm_comm::schema::{Kind, Primitive};
use shm_comm::{Schema, ShmMessage};
use shm_comm_schemas::*;

/// The canonical texts of the messages that were looked at.
type Seen = BTreeSet<String>;

#[test]
fn every_message_is_written_the_same_by_its_type_and_by_its_schema() {
    let mut seen = Seen::new();
    let all = &mut seen;
    check::<Time>(all);
    check::<Name<16>>(all);
    check::<FrameId>(all);
    check::<Header>(all);
    check::<Point>(all);
    check::<Point32>(all);
    check::<Vector3>(all);
    check::<Quaternion>(all);
    check::<Pose>(all);
    check::<Twist>(all);
    check::<Transform>(all);
    check::<PoseStamped>(all);
    check::<TwistStamped>(all);
    check::<TransformStamped>(all);
    check::<PoseWithCovariance>(all);
    check::<TwistWithCovariance>(all);
    check::<Odometry>(all);
    check::<Imu>(all);
    check::<JointState<6>>(all);
    check::<JointState<7>>(all);
    check::<ScanPoint>(all);
    check::<LaserScan>(all);
    check::<PointXyzi>(all);
    check::<PointCloud>(all);
    check::<PointCloud<Point32>>(all);
    check::<Image>(all);
    check::<PowerSupplyStatus>(all);
    check::<PowerSupplyHealth>(all);
    check::<PowerSupplyTechnology>(all);
    check::<BatteryState>(all);
    check::<DiagnosticLevel>(all);
    check::<KeyValue>(all);
    check::<DiagnosticStatus>(all);

    let golden = include_str!("../layouts.txt").lines().skip(1);
    let golden: Seen = golden.map(|line| texts_of(line).to_owned()).collect();
    assert_eq!(golden, seen, "some message is not looked at here");
}

/// The last column of: name, size, align, hash, canonical text. No name here has a space.
fn texts_of(line: &str) -> &str {
    line.splitn(5, ' ').last().unwrap()
}

fn check<T: ShmMessage + Serialize + ?Sized>(seen: &mut Seen) {
    let schema = Schema::of::<T>();
    seen.insert(schema.canonical());
    for len in [0, 1, 2, 7, 100] {
        for start in [0, 1, 2, 3, 250, 65_533] {
            let size = schema.size + len * schema.stride().unwrap_or(0);
            let mut bytes = vec![0; size];
            let mut number = start;
            fill(&schema, &mut bytes, &mut || {
                number += 1;
                number
            });
            let view = schema.view(&bytes).unwrap();
            assert_eq!(serde_json::to_string(&view).unwrap(), as_message::<T>(&bytes, len));
        }
    }
}

/// What a message with these bytes writes.
fn as_message<T: ShmMessage + Serialize + ?Sized>(bytes: &[u8], len: usize) -> String {
    assert_eq!(T::check(bytes), Ok(()));
    // As aligned as any message, and with room for what Rust rounds up to.
    let mut room = vec![0_u128; bytes.len() / 16 + 1];
    let start: *mut u8 = room.as_mut_ptr().cast();
    // SAFETY: There is room for them, in other memory.
    unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    // SAFETY: `check` accepts the bytes, which are aligned and those of so many elements.
    let message = unsafe { &*T::at(start, len) };
    serde_json::to_string(message).unwrap()
}

/// Makes a value of zeroes, with the next number in every field.
fn fill(schema: &Schema, bytes: &mut [u8], next: &mut impl FnMut() -> u64) {
    match &schema.kind {
        Kind::Primitive(Primitive::Bool) => bytes[0] = next() as u8 & 1,
        Kind::Primitive(Primitive::F32) => {
            bytes.copy_from_slice(&(next() as f32 * 1.5).to_ne_bytes());
        }
        Kind::Primitive(Primitive::F64) => {
            bytes.copy_from_slice(&(next() as f64 * -1.5).to_ne_bytes());
        }
        Kind::Primitive(_) => {
            let number = next().to_le_bytes();
            bytes.iter_mut().zip(number).for_each(|(byte, of_number)| *byte = of_number);
        }
        Kind::Array { element, .. } | Kind::Slice { element } => {
            bytes.chunks_exact_mut(element.size).for_each(|bytes| fill(element, bytes, next));
        }
        Kind::String { capacity } => {
            let text = format!("größe {}", next());
            let len = text.len().min(*capacity);
            bytes[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            bytes[4..4 + len].copy_from_slice(&text.as_bytes()[..len]);
        }
        Kind::Vec { element, capacity } => {
            let len = next() as usize % (capacity + 1);
            bytes[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            let start = element.align.max(4);
            let bytes = &mut bytes[start..start + len * element.size];
            bytes.chunks_exact_mut(element.size).for_each(|bytes| fill(element, bytes, next));
        }
        Kind::Struct { fields, .. } => {
            for field in fields {
                let end = match field.schema.stride() {
                    None => field.offset + field.schema.size,
                    Some(_) => bytes.len(),
                };
                fill(&field.schema, &mut bytes[field.offset..end], next);
            }
        }
        Kind::Enum { variants, .. } => {
            assert_eq!(bytes.len(), 1);
            bytes[0] = variants[next() as usize % variants.len()].value as u8;
        }
        other => panic!("no message here has {other:?}"),
    }
}

#[test]
fn a_message_is_read_as_it_was_written() {
    let odometry = Odometry { child_frame_id: Name::new("base").unwrap(), ..Odometry::default() };
    let json = serde_json::to_string(&odometry).unwrap();
    assert_eq!(serde_json::from_str::<Odometry>(&json).unwrap(), odometry);

    let mut status = DiagnosticStatus { level: DiagnosticLevel::Stale, ..Default::default() };
    status.values.push(KeyValue { key: "t".try_into().unwrap(), ..Default::default() }).unwrap();
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<DiagnosticStatus>(&json).unwrap(), status);

    let error = serde_json::from_str::<Name<3>>(r#"{"bytes":[1,2]}"#).unwrap_err().to_string();
    assert!(error.starts_with("invalid length 2, expected a list of 3 elements"), "{error}");
}

#[test]
fn padding_is_not_written() {
    let cloud = Schema::of::<PointCloud>();
    let bytes = vec![0xff; cloud.size + 16];
    let written = as_message::<PointCloud>(&bytes, 1);
    assert!(!written.contains("pad"), "{written}");
}
