//! Ready messages for robots, with the field names and units of the ROS 2 common interfaces.
//!
//! Use them as they are, or as fields of your own messages:
//!
//! ```
//! use shm_comm::ShmMessage;
//! use shm_comm_schemas::{Point, Pose, Time};
//!
//! /// Where the robot believes it is.
//! #[derive(ShmMessage)]
//! #[repr(C)]
//! struct Estimate {
//!     stamp: Time,
//!     pose: Pose,
//!     confidence: f64,
//! }
//!
//! let estimate = Estimate {
//!     stamp: Time { sec: 1_700_000_000, nanosec: 250_000_000 },
//!     pose: Pose { position: Point { x: 1.5, ..Point::default() }, ..Pose::default() },
//!     confidence: 0.9,
//! };
//! assert_eq!(estimate.pose.orientation.w, 1.0); // not rotated
//! assert_eq!(size_of_val(&estimate), 72);
//! ```
//!
//! # Conventions
//!
//! Units are those of the SI: metres, radians, seconds. Frames are right-handed; on a vehicle `x`
//! points forward, `y` to the left and `z` up ([REP 103](https://www.ros.org/reps/rep-0103.html)).
//!
//! The definitions are those of `geometry_msgs` in
//! [`ros2/common_interfaces`](https://github.com/ros2/common_interfaces) and of `builtin_interfaces`
//! in [`ros2/rcl_interfaces`](https://github.com/ros2/rcl_interfaces). Fields have the same names,
//! types and order, so that bytes are laid out as a C compiler does it.
//!
//! # Compatibility
//!
//! A message's layout is part of what programs agree on: it only changes with the first number of
//! the version. `layouts.txt`, beside the sources, lists every layout and its hash.

pub mod builtin;
pub mod geometry;

pub use builtin::Time;
pub use geometry::{Point, Pose, Quaternion, Transform, Twist, Vector3};
