//! How the parts of a robot are, as in `diagnostic_msgs` of ROS 2.

use shm_comm::{ShmMessage, ShmString, ShmVec};

/// How one part of a robot is. Source: `diagnostic_msgs/msg/DiagnosticStatus`.
///
/// ```
/// use shm_comm_schemas::{DiagnosticLevel, DiagnosticStatus, KeyValue};
///
/// let mut status = DiagnosticStatus {
///     level: DiagnosticLevel::Warn,
///     name: "drive: left motor".try_into()?,
///     message: "warm".try_into()?,
///     ..DiagnosticStatus::default()
/// };
/// let temperature = KeyValue { key: "temperature".try_into()?, value: "71 °C".try_into()? };
/// status.values.push(temperature).expect("there are 16");
/// assert_eq!(status.values[0].value, "71 °C");
/// # Ok::<(), shm_comm::CapacityError>(())
/// ```
#[derive(ShmMessage, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct DiagnosticStatus {
    /// How bad it is.
    pub level: DiagnosticLevel,
    /// What this is about: a part, and one of its sides.
    pub name: ShmString<60>,
    /// What there is to say about it.
    pub message: ShmString<124>,
    /// Which one it is: a serial number, a port.
    pub hardware_id: ShmString<60>,
    /// The numbers behind the message.
    pub values: ShmVec<KeyValue, 16>,
}

/// How bad it is, the worse the greater. Source: the constants of `diagnostic_msgs/msg/DiagnosticStatus`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum DiagnosticLevel {
    /// It works.
    #[default]
    Ok = 0,
    /// It works, but somebody should look after it.
    Warn = 1,
    /// It does not work.
    Error = 2,
    /// Nothing has been heard of it for too long.
    Stale = 3,
}

/// A named value, as text. Source: `diagnostic_msgs/msg/KeyValue`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct KeyValue {
    /// What it is.
    pub key: ShmString<28>,
    /// Its value, with the unit.
    pub value: ShmString<60>,
}
