//! What sensors say, as in `sensor_msgs` of ROS 2.

use shm_comm::{ShmMessage, ShmString, ShmVec};

use crate::geometry::{Quaternion, Vector3};
use crate::standard::{Header, Name};

// ── motion ───────────────────────────────────────────────────────────────────────────────────────

/// What an inertial measurement unit says. Source: `sensor_msgs/msg/Imu`.
///
/// Covariances are 3 × 3 matrices, row after row, about x, y and z. All 0: not known. If there is no
/// estimate of the value at all, the first element is -1.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Imu {
    /// When, and the frame of the unit.
    pub header: Header,
    /// How the frame of the unit is turned.
    pub orientation: Quaternion,
    /// In rad².
    pub orientation_covariance: [f64; 9],
    /// Radians per second about each axis.
    pub angular_velocity: Vector3,
    /// In (rad/s)².
    pub angular_velocity_covariance: [f64; 9],
    /// Metres per second² along each axis; with the gravity, if the unit does not say otherwise.
    pub linear_acceleration: Vector3,
    /// In (m/s²)².
    pub linear_acceleration_covariance: [f64; 9],
}

/// Where the `N` joints of a robot are and how they move: one element of each array for each joint.
/// Source: `sensor_msgs/msg/JointState`.
///
/// What is not known is NaN. (ROS leaves the whole array out.)
///
/// ```
/// use shm_comm_schemas::{Header, JointState, Name, Time};
///
/// let joints = JointState {
///     header: Header::new(Time::now(), "")?,
///     name: [Name::new("shoulder")?, Name::new("elbow")?],
///     position: [0.1, 1.2],
///     ..JointState::default()
/// };
/// assert!(joints.effort[1].is_nan());
/// # Ok::<(), shm_comm_schemas::NameError>(())
/// ```
#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct JointState<const N: usize> {
    /// When.
    pub header: Header,
    /// Which joints these are.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    pub name: [Name<40>; N],
    /// Radians, or metres if it slides.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    pub position: [f64; N],
    /// Radians or metres per second.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    pub velocity: [f64; N],
    /// Newton metres, or newtons if it slides.
    #[cfg_attr(feature = "serde", serde(with = "crate::arrays"))]
    pub effort: [f64; N],
}

/// Without names, and nothing is known.
impl<const N: usize> Default for JointState<N> {
    fn default() -> JointState<N> {
        JointState {
            header: Header::default(),
            name: [Name::EMPTY; N],
            position: [f64::NAN; N],
            velocity: [f64::NAN; N],
            effort: [f64::NAN; N],
        }
    }
}

// ── distances ────────────────────────────────────────────────────────────────────────────────────

/// One turn of a laser scanner in a plane. Source: `sensor_msgs/msg/LaserScan`.
///
/// It has no size of its own: a publisher loans one with so many points
/// ([`loan_with_len`](shm_comm::Publisher::loan_with_len)), up to the channel's
/// [`max_len`](shm_comm::Channel::max_len).
#[derive(ShmMessage, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[repr(C)]
pub struct LaserScan {
    /// When the first ray was measured, and the frame of the scanner: it turns about z, from x.
    pub header: Header,
    /// The angle of the first ray, in radians.
    pub angle_min: f32,
    /// The angle of the last ray, in radians.
    pub angle_max: f32,
    /// From one ray to the next, in radians.
    pub angle_increment: f32,
    /// From one ray to the next, in seconds.
    pub time_increment: f32,
    /// From one scan to the next, in seconds.
    pub scan_time: f32,
    /// Shorter ranges are no measurement, in metres.
    pub range_min: f32,
    /// Longer ranges are no measurement, in metres.
    pub range_max: f32,
    /// One for each ray.
    pub points: [ScanPoint],
}

impl LaserScan {
    /// The angle of a ray, in radians.
    pub fn angle_of(&self, ray: usize) -> f32 {
        self.angle_min + ray as f32 * self.angle_increment
    }

    /// The rays that have met something, and the angle of each in radians: those with a range from
    /// `range_min` to `range_max`.
    pub fn hits(&self) -> impl Iterator<Item = (f32, &ScanPoint)> {
        let valid = self.range_min..=self.range_max;
        let rays = self.points.iter().enumerate();
        rays.filter(move |(_, point)| valid.contains(&point.range))
            .map(|(ray, point)| (self.angle_of(ray), point))
    }
}

/// What one ray of a [`LaserScan`] has met.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct ScanPoint {
    /// How far it is, in metres.
    pub range: f32,
    /// How much light came back, in a unit of the scanner's; 0 if it does not say.
    pub intensity: f32,
}

/// Points in space, each a `P`. Source: `sensor_msgs/msg/PointCloud2`.
///
/// It has no size of its own: a publisher loans one with so many points
/// ([`loan_with_len`](shm_comm::Publisher::loan_with_len)), up to the channel's
/// [`max_len`](shm_comm::Channel::max_len).
///
/// What ROS says in `fields`, `point_step` and `is_bigendian`, the type says here: take another `P` for
/// points with a colour, a ring or a time, and all that read them agree.
#[derive(ShmMessage, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[repr(C)]
pub struct PointCloud<P: ShmMessage = PointXyzi> {
    /// When, and the frame of the points.
    pub header: Header,
    /// Rows of points, as the sensor has them; 1 if they are in no order.
    pub height: u32,
    /// Points in a row.
    pub width: u32,
    /// 1 if every point has been measured; 0 if there may be some that have not, with NaN in them.
    pub is_dense: u8,
    #[cfg_attr(feature = "serde", serde(skip))]
    _pad0: [u8; 7],
    /// Row after row: `height * width` of them.
    pub points: [P],
}

impl<P: ShmMessage> PointCloud<P> {
    /// The points, row after row: none if `width` is 0 or more than there are.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, P> {
        let width = (self.width as usize).max(1);
        self.points.chunks_exact(width)
    }
}

/// A point that a laser or a depth camera has seen.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct PointXyzi {
    /// Metres along the x axis.
    pub x: f32,
    /// Metres along the y axis.
    pub y: f32,
    /// Metres along the z axis.
    pub z: f32,
    /// How much light came back, in a unit of the sensor's.
    pub intensity: f32,
}

// ── images ───────────────────────────────────────────────────────────────────────────────────────

/// An image as it is, not compressed. Source: `sensor_msgs/msg/Image`.
///
/// It has no size of its own: a publisher loans one with so many bytes of data, up to the channel's
/// [`max_len`](shm_comm::Channel::max_len), and writes it in place.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir_in("/dev/shm")?;
/// # let channel = shm_comm::Channel::new("camera").root(folder.path().join("root"));
/// use shm_comm::{Publisher, Subscriber};
/// use shm_comm_schemas::{Header, Image, Time, encoding};
///
/// let mut camera = Publisher::<Image>::new(channel.clone().max_len(640 * 480 * 3))?;
/// let mut viewer = Subscriber::<Image>::new(channel)?;
///
/// let mut image = camera.loan_with_len(640 * 480 * 3)?.reused(); // what an older one left: no memset
/// image.header = Header::new(Time::now(), "camera")?;
/// image.describe(640, 480, 3, encoding::RGB8);
/// image.data.fill(0x80); // where a driver would write
/// image.send();
///
/// let image = viewer.recv()?;
/// assert_eq!(image.encoding, "rgb8");
/// assert_eq!(image.rows().len(), 480);
/// # Ok(())
/// # }
/// ```
#[derive(ShmMessage, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[repr(C)]
pub struct Image {
    /// When it was taken, and the optical frame of the camera: x to the right in the image, y down, z
    /// into it.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Pixels in a row.
    pub width: u32,
    /// What a pixel is: one of the names in [`encoding`], or one that those who share it agree upon.
    pub encoding: Encoding,
    /// 1 if numbers of more than one byte have the most significant byte first, else 0.
    pub is_bigendian: u8,
    #[cfg_attr(feature = "serde", serde(skip))]
    _pad0: [u8; 3],
    /// Bytes from one row to the next.
    pub step: u32,
    /// The pixels, row after row from the top, each from the left: `step * height` bytes. They begin
    /// at a multiple of 8 bytes in shared memory.
    pub data: [u8],
}

impl Image {
    /// Sets what there is to know of the pixels, in the byte order of this machine and without gaps
    /// between rows.
    pub fn describe(&mut self, width: u32, height: u32, bytes_per_pixel: u32, encoding: Encoding) {
        self.height = height;
        self.width = width;
        self.encoding = encoding;
        self.is_bigendian = u8::from(cfg!(target_endian = "big"));
        self.step = width.saturating_mul(bytes_per_pixel);
    }

    /// The rows, from the top: `step` bytes each.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        let step = (self.step as usize).max(1);
        self.data.chunks_exact(step)
    }
}

/// The name of what a pixel is. 16 bytes: the longest of ROS has 12.
pub type Encoding = Name<16>;

/// Names of what a pixel is. Source: `sensor_msgs/image_encodings.hpp`, which has more.
pub mod encoding {
    use super::{Encoding, Name};

    /// Brightness, 8 bits.
    pub const MONO8: Encoding = Name::literal("mono8");
    /// Brightness, 16 bits.
    pub const MONO16: Encoding = Name::literal("mono16");
    /// Red, green, blue, 8 bits each.
    pub const RGB8: Encoding = Name::literal("rgb8");
    /// Red, green, blue, opacity, 8 bits each.
    pub const RGBA8: Encoding = Name::literal("rgba8");
    /// Blue, green, red, 8 bits each: OpenCV.
    pub const BGR8: Encoding = Name::literal("bgr8");
    /// Blue, green, red, opacity, 8 bits each.
    pub const BGRA8: Encoding = Name::literal("bgra8");
    /// One of red, green or blue, 8 bits, as the sensor has them: red and green in the first row, green
    /// and blue in the second.
    pub const BAYER_RGGB8: Encoding = Name::literal("bayer_rggb8");
    /// Brightness and colour of two pixels in four bytes: Y, U, Y, V.
    pub const YUYV: Encoding = Name::literal("yuyv");
    /// A plane of brightness, then one of colour with half as many rows and columns.
    pub const NV12: Encoding = Name::literal("nv12");
    /// Distances in millimetres as a `u16`; 0 is none ([REP 118](https://www.ros.org/reps/rep-0118.html)).
    pub const DEPTH_MM: Encoding = Name::literal("16UC1");
    /// Distances in metres as an `f32`; NaN is none ([REP 118](https://www.ros.org/reps/rep-0118.html)).
    pub const DEPTH_M: Encoding = Name::literal("32FC1");
}

// ── power ────────────────────────────────────────────────────────────────────────────────────────

/// How a battery is. Source: `sensor_msgs/msg/BatteryState`.
///
/// What is not measured is NaN, as in the default.
#[derive(ShmMessage, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct BatteryState {
    /// When.
    pub header: Header,
    /// Volts.
    pub voltage: f32,
    /// Degrees Celsius.
    pub temperature: f32,
    /// Amperes, negative when discharging.
    pub current: f32,
    /// What is in it, in ampere hours.
    pub charge: f32,
    /// What was in it when it was last full, in ampere hours.
    pub capacity: f32,
    /// What was in it when it was new and full, in ampere hours.
    pub design_capacity: f32,
    /// How full it is, 0 to 1.
    pub percentage: f32,
    /// What it does.
    pub power_supply_status: PowerSupplyStatus,
    /// Whether something is wrong with it.
    pub power_supply_health: PowerSupplyHealth,
    /// What it is made of.
    pub power_supply_technology: PowerSupplyTechnology,
    /// It is there.
    pub present: bool,
    /// Volts, of each cell.
    pub cell_voltage: ShmVec<f32, 32>,
    /// Degrees Celsius, of each cell.
    pub cell_temperature: ShmVec<f32, 32>,
    /// Into what it is put: a slot, a plug.
    pub location: ShmString<36>,
    /// Which one it is.
    pub serial_number: ShmString<36>,
}

/// Nothing is measured, and it is not there.
impl Default for BatteryState {
    fn default() -> BatteryState {
        BatteryState {
            header: Header::default(),
            voltage: f32::NAN,
            temperature: f32::NAN,
            current: f32::NAN,
            charge: f32::NAN,
            capacity: f32::NAN,
            design_capacity: f32::NAN,
            percentage: f32::NAN,
            power_supply_status: PowerSupplyStatus::default(),
            power_supply_health: PowerSupplyHealth::default(),
            power_supply_technology: PowerSupplyTechnology::default(),
            present: false,
            cell_voltage: ShmVec::new(),
            cell_temperature: ShmVec::new(),
            location: ShmString::new(),
            serial_number: ShmString::new(),
        }
    }
}

/// What a battery does. Source: `POWER_SUPPLY_STATUS_…` of `sensor_msgs/msg/BatteryState`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum PowerSupplyStatus {
    /// Not known.
    #[default]
    Unknown = 0,
    /// It becomes fuller.
    Charging = 1,
    /// It becomes emptier.
    Discharging = 2,
    /// Neither, and it is not full.
    NotCharging = 3,
    /// It is full.
    Full = 4,
}

/// Whether something is wrong with a battery. Source: `POWER_SUPPLY_HEALTH_…` of
/// `sensor_msgs/msg/BatteryState`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum PowerSupplyHealth {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Nothing is.
    Good = 1,
    /// It is too hot.
    Overheat = 2,
    /// It cannot be used any more.
    Dead = 3,
    /// Its voltage is too high.
    Overvoltage = 4,
    /// Something else.
    UnspecFailure = 5,
    /// It is too cold.
    Cold = 6,
    /// Nobody has told the charger for too long that he is still there.
    WatchdogTimerExpire = 7,
    /// Charging takes too long.
    SafetyTimerExpire = 8,
}

/// What a battery is made of. Source: `POWER_SUPPLY_TECHNOLOGY_…` of `sensor_msgs/msg/BatteryState`.
#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum PowerSupplyTechnology {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Nickel-metal hydride.
    Nimh = 1,
    /// Lithium-ion.
    Lion = 2,
    /// Lithium polymer.
    Lipo = 3,
    /// Lithium iron phosphate.
    Life = 4,
    /// Nickel-cadmium.
    Nicd = 5,
    /// Lithium and manganese dioxide.
    Limn = 6,
    /// Lithium with three metals: nickel, cobalt, and manganese or aluminium.
    Ternary = 7,
}
