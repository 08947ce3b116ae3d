//! Time, as in `builtin_interfaces` of ROS 2.

use std::time::{SystemTime, UNIX_EPOCH};

use shm_comm::ShmMessage;

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A point in time: seconds and nanoseconds since the epoch of the clock in use.
///
/// For a system clock the epoch is 1970-01-01 00:00 UTC. Times order as they follow each other, if
/// `nanosec` is below 1 000 000 000. Source: `builtin_interfaces/msg/Time`.
///
/// ```
/// use shm_comm_schemas::Time;
///
/// assert!(Time { sec: -1, nanosec: 999_999_999 } < Time::default());
/// assert_eq!(Time { sec: 1, nanosec: 5 }.as_nanos(), 1_000_000_005);
/// ```
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Time {
    /// Seconds since the epoch, rounded down.
    pub sec: i32,
    /// Nanoseconds since that second began, 0 to 999 999 999.
    pub nanosec: u32,
}

impl Time {
    /// The time of the system clock. It jumps when somebody sets the clock; 32 bits of seconds last
    /// until 2038, and then stay there.
    pub fn now() -> Time {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_nanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    /// So many nanoseconds after the epoch; the nearest time there is if that is beyond 32 bits of
    /// seconds.
    pub const fn from_nanos(nanos: i64) -> Time {
        let sec = nanos.div_euclid(NANOS_PER_SEC);
        if sec > i32::MAX as i64 {
            return Time { sec: i32::MAX, nanosec: 999_999_999 };
        }
        if sec < i32::MIN as i64 {
            return Time { sec: i32::MIN, nanosec: 0 };
        }
        Time { sec: sec as i32, nanosec: nanos.rem_euclid(NANOS_PER_SEC) as u32 }
    }

    /// Nanoseconds since the epoch, before it negative.
    pub const fn as_nanos(self) -> i64 {
        self.sec as i64 * NANOS_PER_SEC + self.nanosec as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_go_there_and_back() {
        for nanos in [0, 1, -1, 999_999_999, 1_000_000_000, -1_000_000_001, i64::from(i32::MAX)] {
            let time = Time::from_nanos(nanos);
            assert!(time.nanosec < 1_000_000_000);
            assert_eq!(time.as_nanos(), nanos);
        }
        assert_eq!(Time::from_nanos(-1), Time { sec: -1, nanosec: 999_999_999 });
    }

    #[test]
    fn what_is_beyond_32_bits_of_seconds_is_the_first_or_the_last_time() {
        assert_eq!(Time::from_nanos(i64::MAX), Time { sec: i32::MAX, nanosec: 999_999_999 });
        assert_eq!(Time::from_nanos(i64::MIN), Time { sec: i32::MIN, nanosec: 0 });
    }

    #[test]
    fn now_is_after_this_was_written() {
        assert!(Time::now().sec > 1_700_000_000);
    }
}
