//! What messages say by default, and on their way.

use shm_comm::{Channel, Publisher, Subscriber};
use shm_comm_schemas::*;

fn root() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let mut root = tempfile::Builder::new();
    root.prefix("shm-comm-test-").permissions(std::fs::Permissions::from_mode(0o700));
    root.tempdir_in("/dev/shm").unwrap()
}

fn default<T: Default>() -> T {
    T::default()
}

#[test]
fn by_default_nothing_is_rotated() {
    assert_eq!(Pose::default().orientation, Quaternion { x: 0.0, y: 0.0, z: 0.0, w: 1.0 });
    assert_eq!(Transform::default().rotation, Quaternion::IDENTITY);
    assert_eq!(TransformStamped::default().transform.rotation, Quaternion::IDENTITY);
    assert_eq!(Odometry::default().pose.pose.orientation, Quaternion::IDENTITY);
    assert_eq!(Imu::default().orientation, Quaternion::IDENTITY);
}

#[test]
fn by_default_nothing_is_measured() {
    let joints: JointState<3> = default();
    assert!(joints.position.iter().chain(&joints.velocity).all(|value| value.is_nan()));
    assert!(joints.name.iter().all(Name::is_empty));
    let battery: BatteryState = default();
    assert!(battery.percentage.is_nan() && battery.temperature.is_nan() && !battery.present);
    assert_eq!(battery.power_supply_status, PowerSupplyStatus::Unknown);
    assert_eq!(default::<DiagnosticStatus>().level, DiagnosticLevel::Ok);
}

#[test]
fn diagnostic_levels_order_by_how_bad_they_are() {
    assert!(DiagnosticLevel::Ok < DiagnosticLevel::Warn);
    assert!(DiagnosticLevel::Warn < DiagnosticLevel::Error);
}

#[test]
fn rays_that_met_nothing_are_no_hits() {
    let root = root();
    let channel = Channel::new("scan").root(root.path()).max_len(8);
    let mut publisher = Publisher::<LaserScan>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<LaserScan>::new(&channel).unwrap();
    let mut scan = publisher.loan_with_len(5).unwrap().zeroed();
    (scan.angle_min, scan.angle_increment) = (-1.0, 0.5);
    (scan.range_min, scan.range_max) = (0.1, 10.0);
    for (point, range) in scan.points.iter_mut().zip([0.05, 1.0, f32::INFINITY, f32::NAN, 10.0]) {
        point.range = range;
    }
    scan.send();

    let scan = subscriber.try_recv().unwrap().unwrap();
    let hits: Vec<(f32, f32)> = scan.hits().map(|(angle, point)| (angle, point.range)).collect();
    assert_eq!(hits, [(-0.5, 1.0), (1.0, 10.0)]);
}

#[test]
fn pixels_begin_at_a_multiple_of_8_bytes() {
    let root = root();
    let channel = Channel::new("image").root(root.path()).max_len(24);
    let mut publisher = Publisher::<Image>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Image>::new(&channel).unwrap();
    for _ in 0..20 {
        let mut image = publisher.loan_with_len(24).unwrap().reused();
        image.describe(4, 3, 2, encoding::DEPTH_MM);
        image.data.fill(7);
        image.send();
        let image = subscriber.try_recv().unwrap().unwrap();
        assert_eq!(image.data.as_ptr().addr() % 8, 0);
        assert_eq!((image.encoding, image.step), (encoding::DEPTH_MM, 8));
        assert!(image.rows().eq([[7; 8]; 3]));
    }
}

#[test]
fn a_message_of_another_program_that_says_nonsense_does_no_harm() {
    let root = root();
    let channel = Channel::new("cloud").root(root.path()).max_len(8);
    let mut publisher = Publisher::<PointCloud>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<PointCloud>::new(&channel).unwrap();
    for (width, rows) in [(0, 5), (1, 5), (2, 2), (5, 1), (u32::MAX, 0)] {
        let mut cloud = publisher.loan_with_len(5).unwrap().zeroed();
        (cloud.width, cloud.height) = (width, u32::MAX);
        cloud.send();
        assert_eq!(subscriber.try_recv().unwrap().unwrap().rows().len(), rows);
    }
}
