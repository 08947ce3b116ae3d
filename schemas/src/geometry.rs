//! Points, orientations and motions in space, as in `geometry_msgs` of ROS 2.
//!
//! All frames are right-handed. Which frame a message is given in says its header, or is agreed upon by
//! those who share it if it has none.

use shm_comm::ShmMessage;

use crate::standard::{FrameId, Header};

/// A position in space. Source: `geometry_msgs/msg/Point`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Point {
    /// Metres along the x axis, on a vehicle forward.
    pub x: f64,
    /// Metres along the y axis, on a vehicle to the left.
    pub y: f64,
    /// Metres along the z axis, on a vehicle up.
    pub z: f64,
}

/// A position in space at half the precision: for points of which there are many. Source:
/// `geometry_msgs/msg/Point32`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Point32 {
    /// Metres along the x axis.
    pub x: f32,
    /// Metres along the y axis.
    pub y: f32,
    /// Metres along the z axis.
    pub z: f32,
}

/// A direction and a magnitude, not a position: moving the frame's origin does not change it.
///
/// Its unit is that of what it describes. Source: `geometry_msgs/msg/Vector3`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Vector3 {
    /// The part along the x axis, on a vehicle forward.
    pub x: f64,
    /// The part along the y axis, on a vehicle to the left.
    pub y: f64,
    /// The part along the z axis, on a vehicle up.
    pub z: f64,
}

/// An orientation as a unit quaternion `x i + y j + z k + w`: `w` comes **last**.
///
/// A rotation by `angle` (radians, right-handed) about the unit `axis` is `x, y, z = axis ·
/// sin(angle / 2)`, `w = cos(angle / 2)`. The default is no rotation, `w = 1`, as in ROS 2; all-zero
/// bytes are a value, but no orientation. Source: `geometry_msgs/msg/Quaternion`.
#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Quaternion {
    /// Of the vector part, along the x axis. No unit, -1 to 1, as all four.
    pub x: f64,
    /// Of the vector part, along the y axis.
    pub y: f64,
    /// Of the vector part, along the z axis.
    pub z: f64,
    /// The scalar part.
    pub w: f64,
}

impl Quaternion {
    /// No rotation.
    pub const IDENTITY: Quaternion = Quaternion { x: 0.0, y: 0.0, z: 0.0, w: 1.0 };
}

impl Default for Quaternion {
    fn default() -> Quaternion {
        Quaternion::IDENTITY
    }
}

/// A position and an orientation. Source: `geometry_msgs/msg/Pose`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Pose {
    /// Where it is, in metres.
    pub position: Point,
    /// How it is turned.
    pub orientation: Quaternion,
}

/// A velocity, of a body that moves and turns. Source: `geometry_msgs/msg/Twist`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Twist {
    /// Metres per second along each axis.
    pub linear: Vector3,
    /// Radians per second about each axis, right-handed.
    pub angular: Vector3,
}

/// The way from one frame to another: rotate, then move. Source: `geometry_msgs/msg/Transform`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Transform {
    /// Metres along each axis.
    pub translation: Vector3,
    /// How the frame is turned.
    pub rotation: Quaternion,
}

/// A [`Pose`] at a time, in a frame. Source: `geometry_msgs/msg/PoseStamped`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct PoseStamped {
    /// When, and the frame of `pose`.
    pub header: Header,
    /// Where it is and how it is turned.
    pub pose: Pose,
}

/// A [`Twist`] at a time, in a frame. Source: `geometry_msgs/msg/TwistStamped`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct TwistStamped {
    /// When, and the frame of `twist`.
    pub header: Header,
    /// How it moves and turns.
    pub twist: Twist,
}

/// Where a frame is, at a time, seen from another one. Source: `geometry_msgs/msg/TransformStamped`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct TransformStamped {
    /// When, and the frame from which it is seen: the parent.
    pub header: Header,
    /// The frame that is seen.
    pub child_frame_id: FrameId,
    /// Takes coordinates in the child's frame to those in the parent's.
    pub transform: Transform,
}

/// A [`Pose`], and how sure one is of it. Source: `geometry_msgs/msg/PoseWithCovariance`.
#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct PoseWithCovariance {
    /// The estimate.
    pub pose: Pose,
    /// The 6 × 6 matrix of covariances, row after row, of x, y, z (metres) and the rotations about the
    /// fixed axes x, y and z (radians). On its diagonal, elements 0, 7, 14, 21, 28 and 35, are the
    /// variances: m² and rad². All 0: not known.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    pub covariance: [f64; 36],
}

impl Default for PoseWithCovariance {
    fn default() -> PoseWithCovariance {
        PoseWithCovariance { pose: Pose::default(), covariance: [0.0; 36] }
    }
}

/// A [`Twist`], and how sure one is of it. Source: `geometry_msgs/msg/TwistWithCovariance`.
#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct TwistWithCovariance {
    /// The estimate.
    pub twist: Twist,
    /// The 6 × 6 matrix of covariances, row after row, of the velocities along x, y, z (metres per
    /// second) and about x, y, z (radians per second). All 0: not known.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    pub covariance: [f64; 36],
}

impl Default for TwistWithCovariance {
    fn default() -> TwistWithCovariance {
        TwistWithCovariance { twist: Twist::default(), covariance: [0.0; 36] }
    }
}
