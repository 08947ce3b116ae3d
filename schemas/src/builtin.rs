//! Time, as in `builtin_interfaces` of ROS 2.

use shm_comm::ShmMessage;

/// A point in time: seconds and nanoseconds since the epoch of the clock in use.
///
/// For a system clock the epoch is 1970-01-01 00:00 UTC. Times order as they follow each other, if
/// `nanosec` is below 1 000 000 000. Source: `builtin_interfaces/msg/Time`.
///
/// ```
/// use shm_comm_schemas::Time;
///
/// assert!(Time { sec: -1, nanosec: 999_999_999 } < Time::default());
/// ```
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Time {
    /// Seconds since the epoch, rounded down.
    pub sec: i32,
    /// Nanoseconds since that second began, 0 to 999 999 999.
    pub nanosec: u32,
}
