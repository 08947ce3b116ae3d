//! The layouts are what programs agree on. They change on purpose or not at all.

use std::fmt::Write;
use std::mem::offset_of;
use std::path::Path;

use shm_comm::{Schema, ShmMessage};
use shm_comm_schemas::{Point, Pose, Quaternion, Time, Transform, Twist, Vector3};

fn all() -> [Schema; 7] {
    [
        Point::schema(),
        Vector3::schema(),
        Quaternion::schema(),
        Pose::schema(),
        Twist::schema(),
        Transform::schema(),
        Time::schema(),
    ]
}

#[test]
fn layouts_are_those_of_the_golden_file() {
    let mut current = String::from("# name size align hash canonical text\n");
    for schema in all() {
        let Schema { size, align, .. } = &schema;
        let (name, hash, text) = (schema.name(), schema.hash(), schema.canonical());
        writeln!(current, "{name} {size} {align} {hash:016x} {text}").unwrap();
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("layouts.txt");
    if std::env::var_os("UPDATE_LAYOUTS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == current,
        "layouts differ from schemas/layouts.txt, so that older programs are refused. If that is \
         meant, write it anew and name the change in the changelog:\n\
         UPDATE_LAYOUTS=1 cargo test -p shm-comm-schemas --test layouts\n\n\
         in the file:\n{golden}\nnow:\n{current}"
    );
}

#[test]
fn offsets_are_those_of_a_c_compiler() {
    assert_eq!([offset_of!(Point, x), offset_of!(Point, y), offset_of!(Point, z)], [0, 8, 16]);
    assert_eq!(
        [offset_of!(Vector3, x), offset_of!(Vector3, y), offset_of!(Vector3, z)],
        [0, 8, 16]
    );
    assert_eq!([offset_of!(Quaternion, x), offset_of!(Quaternion, y)], [0, 8]);
    assert_eq!([offset_of!(Quaternion, z), offset_of!(Quaternion, w)], [16, 24]);
    assert_eq!([offset_of!(Pose, position), offset_of!(Pose, orientation)], [0, 24]);
    assert_eq!([offset_of!(Twist, linear), offset_of!(Twist, angular)], [0, 24]);
    assert_eq!([offset_of!(Transform, translation), offset_of!(Transform, rotation)], [0, 24]);
    assert_eq!([offset_of!(Time, sec), offset_of!(Time, nanosec)], [0, 4]);
    let sizes = all().map(|schema| (schema.size, schema.align));
    assert_eq!(sizes, [(24, 8), (24, 8), (32, 8), (56, 8), (48, 8), (56, 8), (8, 4)]);
}

#[test]
fn every_message_is_plain_numbers() {
    const {
        assert!(Point::PLAIN && Vector3::PLAIN && Quaternion::PLAIN && Pose::PLAIN);
        assert!(Twist::PLAIN && Transform::PLAIN && Time::PLAIN);
    }
}

#[test]
fn the_default_pose_is_not_rotated() {
    assert_eq!(Pose::default().orientation, Quaternion { x: 0.0, y: 0.0, z: 0.0, w: 1.0 });
    assert_eq!(Transform::default().rotation, Quaternion::IDENTITY);
}
