//! Ready messages for robots, with the field names and units of the ROS 2 common interfaces.
//!
//! Use them as they are, or as fields of your own messages:
//!
//! ```
//! use shm_comm::ShmMessage;
//! use shm_comm_schemas::{Header, Point, Pose, Time};
//!
//! /// Where the robot believes it is.
//! #[derive(ShmMessage)]
//! #[repr(C)]
//! struct Estimate {
//!     header: Header,
//!     pose: Pose,
//!     confidence: f64,
//! }
//!
//! let estimate = Estimate {
//!     header: Header::new(Time::now(), "map")?,
//!     pose: Pose { position: Point { x: 1.5, ..Point::default() }, ..Pose::default() },
//!     confidence: 0.9,
//! };
//! assert_eq!(estimate.pose.orientation.w, 1.0); // not rotated
//! assert_eq!(size_of_val(&estimate), 112);
//! # Ok::<(), shm_comm_schemas::NameError>(())
//! ```
//!
//! [`Image`], [`PointCloud`] and [`LaserScan`] end in a slice: they have as many pixels, points or rays
//! as they are loaned with, and are written and read in place.
//!
//! # Conventions
//!
//! Units are those of the SI: metres, radians, seconds. Frames are right-handed; on a vehicle `x`
//! points forward, `y` to the left and `z` up ([REP 103](https://www.ros.org/reps/rep-0103.html)).
//!
//! # What differs from ROS 2
//!
//! The definitions are those of
//! [`ros2/common_interfaces`](https://github.com/ros2/common_interfaces), and of `builtin_interfaces`
//! in [`ros2/rcl_interfaces`](https://github.com/ros2/rcl_interfaces): the same names, units and order.
//! They lie in memory as a C compiler puts them. ROS sends them as CDR, which aligns differently and
//! has lists of any length, so a bridge copies field by field.
//!
//! | message | ROS 2 | here | why |
//! |---|---|---|---|
//! | every header, [`TransformStamped`], [`Odometry`] | `string frame_id`, `child_frame_id` | [`FrameId`]: a name of 40 bytes | text of any length lies elsewhere; a [`Name`] need not be checked before the message is read |
//! | [`JointState`] | `name`, `position`, `velocity`, `effort` of any length, some empty | arrays of `N`, the number of joints; NaN is not known | a robot has as many joints as it has |
//! | [`LaserScan`] | `ranges` and `intensities` | `points`: one slice of both | a message has one slice, at its end |
//! | [`Image`] | `string encoding` | [`Name`] of 16 bytes | as for frames |
//! | [`PointCloud`] | `PointCloud2`: `fields`, `is_bigendian`, `point_step`, `row_step`, bytes; `bool is_dense` last | a slice of a type; `is_dense` before it, as a `u8` | the schema of a channel says what is in a point; any byte is a `u8`, so that a cloud is read in place |
//! | [`BatteryState`] | `uint8` constants; cells and text of any length | enums; up to 32 cells, text up to 36 bytes | the sets are closed; capacities are part of a layout |
//! | [`DiagnosticStatus`] | `byte` constants; text and values of any length | an enum; text up to 60, 124 and 60 bytes, up to 16 values | the same |
//! | [`KeyValue`] | text of any length | up to 28 and 60 bytes | the same |
//!
//! # Features
//!
//! * `serde`: all messages implement `Serialize`, and those of a fixed size `Deserialize`, so that they can
//!   be written to logs, as JSON for example, or be part of encoded values. A [`Name`] is a struct of its
//!   `bytes` there, too. Off by default.
//!
//! # Compatibility
//!
//! A message's layout is part of what programs agree on: it only changes with the first number of
//! the version. `layouts.txt`, beside the sources, lists every layout and its hash.

#[cfg(feature = "serde")]
mod arrays;
pub mod builtin;
pub mod diagnostic;
pub mod geometry;
pub mod nav;
pub mod sensor;
pub mod standard;

pub use builtin::Time;
pub use diagnostic::{DiagnosticLevel, DiagnosticStatus, KeyValue};
pub use geometry::{
    Point, Point32, Pose, PoseStamped, PoseWithCovariance, Quaternion, Transform, TransformStamped,
    Twist, TwistStamped, TwistWithCovariance, Vector3,
};
pub use nav::Odometry;
pub use sensor::{
    BatteryState, Encoding, Image, Imu, JointState, LaserScan, PointCloud, PointXyzi,
    PowerSupplyHealth, PowerSupplyStatus, PowerSupplyTechnology, ScanPoint, encoding,
};
pub use standard::{FrameId, Header, Name, NameError};
