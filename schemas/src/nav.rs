//! Where a robot is, as in `nav_msgs` of ROS 2.

use shm_comm::ShmMessage;

use crate::geometry::{PoseWithCovariance, TwistWithCovariance};
use crate::standard::{FrameId, Header};

/// An estimate of where something is and how it moves. Source: `nav_msgs/msg/Odometry`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Odometry {
    /// When, and the frame of `pose`: mostly `odom`.
    pub header: Header,
    /// The frame of `twist`, that of what moves: mostly `base_link`.
    pub child_frame_id: FrameId,
    /// Where it is, in the frame of the header.
    pub pose: PoseWithCovariance,
    /// How it moves, in its own frame.
    pub twist: TwistWithCovariance,
}
