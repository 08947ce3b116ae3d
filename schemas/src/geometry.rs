//! Points, orientations and motions in space, as in `geometry_msgs` of ROS 2.
//!
//! All frames are right-handed. Which frame a message is given in is agreed upon by those who share
//! it.

use shm_comm::ShmMessage;

/// A position in space. Source: `geometry_msgs/msg/Point`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Point {
    /// Metres along the x axis, on a vehicle forward.
    pub x: f64,
    /// Metres along the y axis, on a vehicle to the left.
    pub y: f64,
    /// Metres along the z axis, on a vehicle up.
    pub z: f64,
}

/// A direction and a magnitude, not a position: moving the frame's origin does not change it.
///
/// Its unit is that of what it describes. Source: `geometry_msgs/msg/Vector3`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
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
#[repr(C)]
pub struct Pose {
    /// Where it is, in metres.
    pub position: Point,
    /// How it is turned.
    pub orientation: Quaternion,
}

/// A velocity, of a body that moves and turns. Source: `geometry_msgs/msg/Twist`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Twist {
    /// Metres per second along each axis.
    pub linear: Vector3,
    /// Radians per second about each axis, right-handed.
    pub angular: Vector3,
}

/// The way from one frame to another: rotate, then move. Source: `geometry_msgs/msg/Transform`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Transform {
    /// Metres along each axis.
    pub translation: Vector3,
    /// How the frame is turned.
    pub rotation: Quaternion,
}
