//! The layouts are what programs agree on. They change on purpose or not at all.

use std::fmt::Write;
use std::path::Path;

use shm_comm::schema::Kind;
use shm_comm::{Schema, ShmMessage};
use shm_comm_schemas::*;

/// Of generic messages two instances each.
fn all() -> Vec<Schema> {
    vec![
        Schema::of::<Time>(),
        Schema::of::<Name<16>>(),
        Schema::of::<FrameId>(),
        Schema::of::<Header>(),
        Schema::of::<Point>(),
        Schema::of::<Point32>(),
        Schema::of::<Vector3>(),
        Schema::of::<Quaternion>(),
        Schema::of::<Pose>(),
        Schema::of::<Twist>(),
        Schema::of::<Transform>(),
        Schema::of::<PoseStamped>(),
        Schema::of::<TwistStamped>(),
        Schema::of::<TransformStamped>(),
        Schema::of::<PoseWithCovariance>(),
        Schema::of::<TwistWithCovariance>(),
        Schema::of::<Odometry>(),
        Schema::of::<Imu>(),
        Schema::of::<JointState<6>>(),
        Schema::of::<JointState<7>>(),
        Schema::of::<ScanPoint>(),
        Schema::of::<LaserScan>(),
        Schema::of::<PointXyzi>(),
        Schema::of::<PointCloud>(),
        Schema::of::<PointCloud<Point32>>(),
        Schema::of::<Image>(),
        Schema::of::<PowerSupplyStatus>(),
        Schema::of::<PowerSupplyHealth>(),
        Schema::of::<PowerSupplyTechnology>(),
        Schema::of::<BatteryState>(),
        Schema::of::<DiagnosticLevel>(),
        Schema::of::<KeyValue>(),
        Schema::of::<DiagnosticStatus>(),
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

/// What a message is for a C compiler: its size (up to the slice at its end), its alignment, and where
/// its fields begin.
#[track_caller]
fn check<T: ShmMessage + ?Sized>(size: usize, align: usize, offsets: &[(&str, usize)]) {
    let schema = Schema::of::<T>();
    let Kind::Struct { fields, .. } = &schema.kind else { panic!("no struct: {schema:?}") };
    let found: Vec<(&str, usize)> =
        fields.iter().map(|field| (field.name.as_str(), field.offset)).collect();
    assert_eq!((schema.size, schema.align, &found[..]), (size, align, offsets));
}

#[test]
fn offsets_are_those_of_a_c_compiler() {
    check::<Time>(8, 4, &[("sec", 0), ("nanosec", 4)]);
    check::<Header>(48, 4, &[("stamp", 0), ("frame_id", 8)]);
    check::<Point>(24, 8, &[("x", 0), ("y", 8), ("z", 16)]);
    check::<Point32>(12, 4, &[("x", 0), ("y", 4), ("z", 8)]);
    check::<Vector3>(24, 8, &[("x", 0), ("y", 8), ("z", 16)]);
    check::<Quaternion>(32, 8, &[("x", 0), ("y", 8), ("z", 16), ("w", 24)]);
    check::<Pose>(56, 8, &[("position", 0), ("orientation", 24)]);
    check::<Twist>(48, 8, &[("linear", 0), ("angular", 24)]);
    check::<Transform>(56, 8, &[("translation", 0), ("rotation", 24)]);
    check::<PoseStamped>(104, 8, &[("header", 0), ("pose", 48)]);
    check::<TwistStamped>(96, 8, &[("header", 0), ("twist", 48)]);
    let transform = [("header", 0), ("child_frame_id", 48), ("transform", 88)];
    check::<TransformStamped>(144, 8, &transform);
    check::<PoseWithCovariance>(344, 8, &[("pose", 0), ("covariance", 56)]);
    check::<TwistWithCovariance>(336, 8, &[("twist", 0), ("covariance", 48)]);
    let odometry = [("header", 0), ("child_frame_id", 48), ("pose", 88), ("twist", 432)];
    check::<Odometry>(768, 8, &odometry);
    check::<Imu>(
        344,
        8,
        &[
            ("header", 0),
            ("orientation", 48),
            ("orientation_covariance", 80),
            ("angular_velocity", 152),
            ("angular_velocity_covariance", 176),
            ("linear_acceleration", 248),
            ("linear_acceleration_covariance", 272),
        ],
    );
    let joints =
        [("header", 0), ("name", 48), ("position", 288), ("velocity", 336), ("effort", 384)];
    check::<JointState<6>>(432, 8, &joints);
    check::<LaserScan>(
        76,
        4,
        &[
            ("header", 0),
            ("angle_min", 48),
            ("angle_max", 52),
            ("angle_increment", 56),
            ("time_increment", 60),
            ("scan_time", 64),
            ("range_min", 68),
            ("range_max", 72),
            ("points", 76),
        ],
    );
    let cloud = [("header", 0), ("height", 48), ("width", 52), ("is_dense", 56), ("points", 64)];
    check::<PointCloud>(64, 4, &cloud);
    check::<PointCloud<Point>>(64, 8, &cloud);
    check::<Image>(
        80,
        4,
        &[
            ("header", 0),
            ("height", 48),
            ("width", 52),
            ("encoding", 56),
            ("is_bigendian", 72),
            ("step", 76),
            ("data", 80),
        ],
    );
}

#[test]
fn what_is_large_or_frequent_is_read_in_place() {
    const {
        assert!(Header::PLAIN && PoseStamped::PLAIN && TwistStamped::PLAIN);
        assert!(TransformStamped::PLAIN && Odometry::PLAIN && Imu::PLAIN);
        assert!(JointState::<6>::PLAIN && LaserScan::PLAIN && Image::PLAIN);
        assert!(<PointCloud>::PLAIN && PointCloud::<Point>::PLAIN);
    }
}

#[test]
fn all_zero_bytes_are_a_value_of_every_message() {
    const {
        assert!(BatteryState::ZERO_IS_VALID && DiagnosticStatus::ZERO_IS_VALID);
    }
}
