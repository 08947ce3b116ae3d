//! Headers and names, as in `std_msgs` of ROS 2.
//!
//! Not called `std`, which would hide the standard library from whoever imports everything.

use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};

use shm_comm::ShmMessage;

use crate::builtin::Time;

/// When something was so, and in which frame it is given. Source: `std_msgs/msg/Header`.
///
/// 48 bytes, a multiple of 8, so that nothing has to be filled between a header and the numbers
/// behind it.
///
/// ```
/// use shm_comm_schemas::{Header, Time};
///
/// let header = Header::new(Time::now(), "camera_color_optical_frame")?;
/// assert_eq!(header.frame_id, "camera_color_optical_frame");
/// # Ok::<(), shm_comm_schemas::NameError>(())
/// ```
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Header {
    /// When it was measured, or for when it is meant.
    pub stamp: Time,
    /// The frame that it is given in.
    pub frame_id: FrameId,
}

impl Header {
    /// A header with this frame.
    ///
    /// # Errors
    ///
    /// The name is none, or too long: it is not cut, because two frames could then have one name.
    pub const fn new(stamp: Time, frame_id: &str) -> Result<Header, NameError> {
        match FrameId::new(frame_id) {
            Ok(frame_id) => Ok(Header { stamp, frame_id }),
            Err(error) => Err(error),
        }
    }
}

/// The name of a frame.
///
/// 40 bytes: room for the longest names in use, such as `camera_color_optical_frame`, behind that of a
/// robot; and a multiple of 8.
pub type FrameId = Name<40>;

/// A name of at most `N` bytes, by which programs find things: a frame, a joint, an encoding.
///
/// The bytes of the name, then zeroes. Unlike a [`ShmString`](shm_comm::ShmString) it may hold any
/// bytes, so that nothing has to be checked before a message with a name can be read: an image is read
/// in place, and a loan for one may be [`reused`](shm_comm::LoanUninit::reused). That it is UTF-8 is
/// looked at by [`as_str`](Self::as_str). Comparing does not need to know.
///
/// ```
/// use shm_comm_schemas::Name;
///
/// let name = Name::<8>::new("elbow")?;
/// assert_eq!(name, "elbow");
/// assert_eq!(name.as_str(), Some("elbow"));
/// assert_eq!(format!("{name:>8}"), "   elbow");
///
/// let error = Name::<8>::new("shoulder_pan").unwrap_err();
/// assert_eq!(error.to_string(), "a name of 12 bytes, 8 are possible");
/// # Ok::<(), shm_comm_schemas::NameError>(())
/// ```
#[derive(ShmMessage, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Name<const N: usize> {
    /// The name ends at the first zero, if there is one.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    bytes: [u8; N],
}

impl<const N: usize> Name<N> {
    /// No name.
    pub const EMPTY: Name<N> = Name { bytes: [0; N] };

    /// This name.
    ///
    /// # Errors
    ///
    /// It is longer than `N` bytes, or has a zero in it, where it would end.
    pub const fn new(name: &str) -> Result<Name<N>, NameError> {
        let from = name.as_bytes();
        if from.len() > N {
            return Err(NameError::TooLong { len: from.len(), capacity: N });
        }
        let mut bytes = [0; N];
        let mut i = 0;
        while i < from.len() {
            if from[i] == 0 {
                return Err(NameError::Zero { at: i });
            }
            bytes[i] = from[i];
            i += 1;
        }
        Ok(Name { bytes })
    }

    /// This name, of which we know that it is one.
    pub(crate) const fn literal(name: &'static str) -> Name<N> {
        match Name::new(name) {
            Ok(name) => name,
            Err(_) => panic!("too long"),
        }
    }

    /// The name, unless another program has put something there that is no UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// The bytes of the name, whatever they are.
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
        &self.bytes[..len]
    }

    /// There is no name.
    pub const fn is_empty(&self) -> bool {
        N == 0 || self.bytes[0] == 0
    }
}

impl<const N: usize> Default for Name<N> {
    fn default() -> Name<N> {
        Name::EMPTY
    }
}

impl<const N: usize> TryFrom<&str> for Name<N> {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Name<N>, NameError> {
        Name::new(name)
    }
}

/// What is no UTF-8 is shown as `�`.
impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

// What is behind the end of a name is no part of it.
impl<const N: usize, const M: usize> PartialEq<Name<M>> for Name<N> {
    fn eq(&self, other: &Name<M>) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl<const N: usize> Eq for Name<N> {}

impl<const N: usize> PartialEq<str> for Name<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl<const N: usize> PartialEq<&str> for Name<N> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl<const N: usize> Hash for Name<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// A text that cannot be the [`Name`] it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It is too long for the field: shorten it, or make a message of your own with a longer [`Name`].
    TooLong {
        /// Bytes of the text.
        len: usize,
        /// Bytes that there is room for.
        capacity: usize,
    },
    /// It has a zero in it, which is the end of a name.
    Zero {
        /// Where, in bytes.
        at: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::TooLong { len, capacity } => {
                write!(f, "a name of {len} bytes, {capacity} are possible")
            }
            NameError::Zero { at } => write!(f, "a name with a zero in it, at byte {at}"),
        }
    }
}

impl Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_as_long_as_its_field() {
        assert_eq!(Name::<3>::new("arm").unwrap(), "arm");
        assert_eq!(Name::<3>::new("arms"), Err(NameError::TooLong { len: 4, capacity: 3 }));
        assert_eq!(Name::<0>::new("").unwrap(), Name::<0>::EMPTY);
        assert!(Name::<0>::EMPTY.is_empty());
        assert!(!Name::<3>::new("arm").unwrap().is_empty());
    }

    #[test]
    fn a_name_with_a_zero_in_it_is_refused() {
        assert_eq!(Name::<8>::new("a\0b"), Err(NameError::Zero { at: 1 }));
    }

    #[test]
    fn what_is_behind_the_end_of_a_name_does_not_matter() {
        let dirty = Name { bytes: *b"map\0odom" };
        assert_eq!(dirty, Name::<3>::new("map").unwrap());
        assert_eq!(dirty, "map");
        assert_eq!(format!("{dirty} {dirty:?}"), "map \"map\"");
    }

    #[test]
    fn any_bytes_are_a_name_but_not_all_are_text() {
        let garbage = Name { bytes: [b'm', 0xff, 0, 7] };
        assert_eq!((garbage.as_str(), garbage.as_bytes()), (None, &[b'm', 0xff][..]));
        assert_eq!(garbage.to_string(), "m\u{fffd}");
    }

    #[test]
    fn the_longest_frames_in_use_have_room_behind_the_name_of_a_robot() {
        assert!(FrameId::new("robot_12/camera_infra1_optical_frame").is_ok());
        assert!(Header::new(Time::default(), &"x".repeat(41)).is_err());
    }
}
