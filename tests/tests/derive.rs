//! What `#[derive(ShmMessage)]` makes: schemas, hashes, checks and flags.

#![allow(dead_code)] // the messages are looked at, not used

use shm_comm::{Invalid, ShmMessage};

#[derive(ShmMessage)]
#[repr(u8)]
enum Mode {
    Idle = 1,
    Moving = 4,
    Stopped,
}

#[derive(ShmMessage)]
#[repr(i32)]
enum Fault {
    None = 0,
    TooHot = -7,
    TooFar = 1 << 20,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Joint {
    angle: f64,
    mode: Mode,
    powered: bool,
    _pad0: [u8; 6],
}

#[derive(ShmMessage)]
#[repr(C)]
struct Arm {
    stamp: u64,
    joints: [Joint; 2],
    grid: [[u16; 3]; 2],
    fault: Fault,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Raw {
    stamp: u64,
    values: [f32; 2],
}

/// An arm whose modes are valid, which zero is not.
fn bytes_of_an_arm() -> [u8; size_of::<Arm>()] {
    let mut bytes = [0; size_of::<Arm>()];
    bytes[16] = Mode::Idle as u8;
    bytes[32] = Mode::Stopped as u8;
    bytes
}

fn check_arm(change: impl FnOnce(&mut [u8])) -> Result<(), String> {
    let mut bytes = bytes_of_an_arm();
    change(&mut bytes);
    Arm::check(&bytes).map_err(|invalid: Invalid| invalid.to_string())
}

// ── schemas ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_schema_names_every_field_with_offset_and_type() {
    assert_eq!(Raw::schema().canonical(), "Raw{stamp@0:u64,values@8:[f32;2]}16/8");
    assert_eq!(Mode::schema().canonical(), "Mode:u8{Idle=1,Moving=4,Stopped=5}");
    assert_eq!(Fault::schema().canonical(), "Fault:i32{None=0,TooHot=-7,TooFar=1048576}");
}

#[test]
fn a_schema_holds_those_of_nested_messages_and_leaves_padding_out() {
    let joint = "Joint{angle@0:f64,mode@8:Mode:u8{Idle=1,Moving=4,Stopped=5},powered@9:bool}16/8";
    assert_eq!(Joint::schema().canonical(), joint);
    assert_eq!(
        Arm::schema().canonical(),
        format!(
            "Arm{{stamp@0:u64,joints@8:[{joint};2],grid@40:[[u16;3];2],\
             fault@52:Fault:i32{{None=0,TooHot=-7,TooFar=1048576}}}}56/8"
        )
    );
}

#[test]
fn fields_without_names_are_numbered() {
    #[derive(ShmMessage)]
    #[repr(transparent)]
    struct Metres(f64);

    #[derive(ShmMessage)]
    #[repr(C, align(16))]
    struct Pair(Metres, [u32; 2]);

    #[derive(ShmMessage)]
    #[repr(C)]
    struct Nothing;

    assert_eq!(Pair::schema().canonical(), "Pair{0@0:Metres{0@0:f64}8/8,1@8:[u32;2]}16/16");
    assert_eq!(Nothing::schema().canonical(), "Nothing{}0/1");
}

#[test]
fn a_message_may_have_another_name_than_its_type() {
    #[derive(ShmMessage)]
    #[shm(name = "geometry/Point")]
    #[repr(C)]
    struct MyPoint {
        r#type: u32,
    }
    assert_eq!(MyPoint::schema().name(), "geometry/Point");
    assert_eq!(MyPoint::schema().canonical(), "geometry/Point{type@0:u32}4/4");
}

// ── hashes ───────────────────────────────────────────────────────────────────────────────────────

/// `Sample` as another program may have it.
macro_rules! sample {
    ($($body:tt)*) => {{
        #[derive(ShmMessage)]
        #[repr(u8)]
        enum State { Off = 0, On = 1 }

        #[derive(ShmMessage)]
        #[repr(u8)]
        enum StateOfNext { Off = 0, On = 2 }

        #[derive(ShmMessage)]
        #[repr(C)]
        struct Sample { $($body)* }
        Sample::schema().hash()
    }};
}

#[test]
fn whatever_changes_what_bytes_mean_changes_the_hash() {
    let original = sample!(x: f32, y: f32, tags: [u8; 3], state: State);
    let changes = [
        ("two fields swapped", sample!(y: f32, x: f32, tags: [u8; 3], state: State)),
        ("a field renamed", sample!(x: f32, z: f32, tags: [u8; 3], state: State)),
        ("float or integer", sample!(x: f32, y: u32, tags: [u8; 3], state: State)),
        ("signed or not", sample!(x: f32, y: f32, tags: [i8; 3], state: State)),
        ("a length", sample!(x: f32, y: f32, tags: [u8; 7], state: State)),
        ("array or fields", sample!(xy: [f32; 2], tags: [u8; 3], state: State)),
        ("enum or integer", sample!(x: f32, y: f32, tags: [u8; 3], state: u8)),
        ("a field that became padding", sample!(x: f32, y: f32, _pad: [u8; 3], state: State)),
        ("another enum", sample!(x: f32, y: f32, tags: [u8; 3], state: StateOfNext)),
    ];
    for (change, hash) in changes {
        assert_ne!(hash, original, "{change}");
    }
    assert_eq!(sample!(x: f32, y: f32, tags: [u8; 3], state: State), original);
}

#[test]
fn an_enum_value_is_part_of_the_hash() {
    macro_rules! hash {
        ($repr:ident, $value:expr) => {{
            #[derive(ShmMessage)]
            #[repr($repr)]
            enum Mode {
                Idle = 0,
                Moving = $value,
            }
            Mode::schema().hash()
        }};
    }
    assert_ne!(hash!(u8, 1), hash!(u8, 2));
    assert_ne!(hash!(u8, 1), hash!(i8, 1));
    assert_eq!(hash!(u8, 1), hash!(u8, 1));
}

#[test]
fn where_a_type_is_declared_is_no_part_of_the_hash() {
    mod here {
        #[derive(shm_comm::ShmMessage)]
        #[repr(C)]
        pub struct Point {
            x: f64,
        }
    }
    mod there {
        pub mod deeper {
            /// Neither is what is said about it.
            #[derive(shm_comm::ShmMessage)]
            #[repr(C)]
            pub struct Point {
                pub x: f64,
            }
        }
    }
    assert_eq!(here::Point::schema().hash(), there::deeper::Point::schema().hash());
}

// ── checks ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_is_valid_everywhere_is_accepted() {
    assert_eq!(check_arm(|_| ()), Ok(()));
    assert_eq!(check_arm(|bytes| bytes[..8].fill(0xff)), Ok(()));
    assert_eq!(check_arm(|bytes| bytes[52..].copy_from_slice(&(-7i32).to_ne_bytes())), Ok(()));
    // Padding of a stranger may hold anything: no one reads it.
    assert_eq!(check_arm(|bytes| bytes[18..24].fill(0xff)), Ok(()));
}

#[test]
fn what_is_invalid_is_named_with_its_path_and_value() {
    let cases = [
        (16..17, 0, "field `joints[0].mode` holds 0, which is no `Mode`"),
        (32..33, 6, "field `joints[1].mode` holds 6, which is no `Mode`"),
        (33..34, 2, "field `joints[1].powered` holds [2], which is no `bool` (0 or 1)"),
        (52..56, 0xff, "field `fault` holds -1, which is no `Fault`"),
    ];
    for (place, byte, expected) in cases {
        assert_eq!(check_arm(|bytes| bytes[place].fill(byte)), Err(expected.to_owned()));
    }
}

#[test]
fn bytes_that_end_too_early_are_an_error() {
    let bytes = bytes_of_an_arm();
    for len in 0..bytes.len() {
        assert!(Arm::check(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(
        Arm::check(&bytes[..54]).unwrap_err().to_string(),
        "field `fault` holds part of only 54 bytes, which is no whole value"
    );
    assert!(Mode::check(&[]).is_err());
}

// ── flags ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn numbers_are_plain_and_have_no_obstacle() {
    const { assert!(Raw::PLAIN && Raw::ZERO_IS_VALID) };
    assert_eq!((Raw::LAYOUT.plain_obstacle, Raw::LAYOUT.zero_obstacle), ("", ""));
    assert_eq!(Raw::check(&[0xff; 16]), Ok(()));
}

#[test]
fn an_obstacle_is_the_way_to_the_first_field_that_is_in_the_way() {
    const { assert!(!Arm::PLAIN && !Arm::ZERO_IS_VALID) };
    assert_eq!(
        Arm::LAYOUT.zero_obstacle,
        "field `joints` of `Arm`: field `mode` of `Joint`: `Mode`, which has no variant with value 0"
    );
    assert_eq!(
        Arm::LAYOUT.plain_obstacle,
        "field `joints` of `Arm`: field `mode` of `Joint`: `Mode`, which is only ever one of its \
         variants"
    );
}

#[test]
fn zero_is_a_value_of_an_enum_that_has_a_variant_for_it() {
    const { assert!(Fault::ZERO_IS_VALID && !Fault::PLAIN) };
    assert_eq!(Fault::LAYOUT.zero_obstacle, "");
    const { assert!(!Mode::ZERO_IS_VALID) };
}
