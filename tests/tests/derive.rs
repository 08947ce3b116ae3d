//! What `#[derive(ShmMessage)]` makes: schemas, hashes, checks and flags.

#![allow(dead_code)] // the messages are looked at, not used

use std::num::NonZero;

use shm_comm::{Invalid, Schema, ShmMessage, ShmOption, ShmString, ShmVec};

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

// ── fields ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_kind_of_field_is_in_the_schema() {
    #[derive(ShmMessage)]
    #[repr(C)]
    struct Everything {
        huge: u128,
        negative: i128,
        id: NonZero<u64>,
        gain: f64,
        path: ShmVec<[f32; 2], 3>,
        letter: char,
        deadline: ShmOption<u32>,
        nothing: Nothing,
        name: ShmString<12>,
        mode: ShmOption<Fault>,
        flags: [[bool; 3]; 2],
        _pad0: [u8; 10],
    }

    #[derive(ShmMessage)]
    #[repr(C)]
    struct Nothing {}

    assert_eq!(
        Schema::of::<Everything>().canonical(),
        "Everything{huge@0:u128,negative@16:i128,id@32:nonzero<u64>,gain@40:f64,\
         path@48:vec<[f32;2];3>,letter@76:char,deadline@80:option<u32>,nothing@88:Nothing{}0/1,\
         name@88:string<12>,mode@104:option<Fault:i32{None=0,TooHot=-7,TooFar=1048576}>,\
         flags@112:[[bool;3];2]}128/16"
    );
    const { assert!(!Everything::ZERO_IS_VALID && !Everything::PLAIN) };
    assert_eq!(
        Everything::LAYOUT.zero_obstacle,
        "field `id` of `Everything`: `NonZero<u64>`, which is never 0"
    );
}

#[test]
fn a_message_has_the_word_of_its_alignment() {
    fn check<T: ShmMessage + ?Sized>(align: usize) {
        assert_eq!(T::LAYOUT.align, align);
        assert_eq!(align_of::<T::Word>(), align.min(16));
    }

    #[derive(ShmMessage)]
    #[repr(C, align(16))]
    struct Aligned<T>([T; 2], [T; 2]);

    #[derive(ShmMessage)]
    #[repr(C, align(64))]
    struct Line([u8; 64]);

    check::<Raw>(8);
    check::<Mode>(1);
    check::<Fault>(4);
    check::<Stamped<u64>>(8);
    check::<JointState<3>>(8);
    check::<Pair<u16, 4>>(2);
    check::<Aligned<u32>>(16);
    check::<Line>(64);
    check::<Image>(8);
    check::<Cloud<[f32; 4]>>(8);
    check::<ShmVec<Stamped<u64>, 3>>(8);
}

// ── generics ─────────────────────────────────────────────────────────────────────────────────────

#[derive(ShmMessage)]
#[repr(C)]
struct Stamped<T> {
    stamp: u64,
    value: T,
}

#[derive(ShmMessage)]
#[shm(name = "robot/JointState")]
#[repr(C)]
struct JointState<const N: usize> {
    stamp: u64,
    angles: [f64; N],
}

#[derive(ShmMessage)]
#[repr(C)]
struct Pair<T, const N: usize = 2>
where
    T: Send,
{
    first: T,
    others: [T; N],
}

#[test]
fn the_name_of_a_generic_message_spells_its_arguments_out() {
    let name = |schema: Schema| schema.name();
    assert_eq!(name(Schema::of::<Stamped<Raw>>()), "Stamped<Raw>");
    assert_eq!(name(Schema::of::<JointState<7>>()), "robot/JointState<7>");
    assert_eq!(name(Schema::of::<Pair<[f64; 3], 4>>()), "Pair<[f64; 3], 4>");
    assert_eq!(name(Schema::of::<Pair<Stamped<i64>>>()), "Pair<Stamped<i64>, 2>");

    #[derive(ShmMessage)]
    #[repr(C)]
    struct Marked<const SIGNED: bool, const AXIS: char, const SHIFT: i8>(u32);
    assert_eq!(name(Schema::of::<Marked<true, 'x', -3>>()), "Marked<true, x, -3>");
}

#[test]
fn a_generic_message_has_the_schema_of_one_written_out() {
    assert_eq!(
        Schema::of::<Stamped<JointState<2>>>().canonical(),
        "Stamped<robot/JointState<2>>{stamp@0:u64,\
         value@8:robot/JointState<2>{stamp@0:u64,angles@8:[f64;2]}24/8}32/8"
    );
    assert_ne!(Schema::of::<JointState<6>>().hash(), Schema::of::<JointState<7>>().hash());
}

#[test]
fn what_is_plain_depends_on_the_arguments() {
    const { assert!(Stamped::<f64>::PLAIN && Stamped::<f64>::ZERO_IS_VALID) };
    const { assert!(!Stamped::<[Mode; 8]>::PLAIN && !Stamped::<[Mode; 8]>::ZERO_IS_VALID) };
    assert_eq!(
        Stamped::<[Mode; 8]>::LAYOUT.zero_obstacle,
        "field `value` of `Stamped<T>`: `Mode`, which has no variant with value 0"
    );
    let mut bytes = [1; 16];
    assert_eq!(Stamped::<[Mode; 8]>::check(&bytes), Ok(()));
    bytes[12] = 0;
    assert_eq!(
        Stamped::<[Mode; 8]>::check(&bytes).unwrap_err().to_string(),
        "field `value[4]` holds 0, which is no `Mode`"
    );
}

// ── messages without a size ──────────────────────────────────────────────────────────────────────

#[derive(ShmMessage)]
#[repr(C, align(8))]
struct Image {
    width: u32,
    height: u32,
    format: u16,
    data: [u8],
}

#[derive(ShmMessage)]
#[repr(C)]
struct Cloud<T> {
    stamp: u64,
    frame: ShmString<12>,
    points: [T],
}

#[derive(ShmMessage)]
#[repr(transparent)]
struct Text([u8]);

#[test]
fn a_slice_at_the_end_is_described() {
    let cases = [
        (Schema::of::<Image>(), "Image{width@0:u32,height@4:u32,format@8:u16,data@10:[u8]}10/8"),
        (
            Schema::of::<Cloud<[f32; 4]>>(),
            "Cloud<[f32; 4]>{stamp@0:u64,frame@8:string<12>,points@24:[[f32;4]]}24/8",
        ),
        (Schema::of::<Text>(), "Text{0@0:[u8]}0/1"),
    ];
    for (schema, canonical) in cases {
        assert_eq!(schema.canonical(), canonical);
    }
    let layout = Cloud::<[f32; 4]>::LAYOUT;
    assert_eq!((layout.fixed, layout.align, layout.stride), (24, 8, 16));
    let layout = Image::LAYOUT;
    assert_eq!((layout.fixed, layout.align, layout.stride), (10, 8, 1));
    let layout = Text::LAYOUT;
    assert_eq!((layout.fixed, layout.align, layout.stride), (0, 1, 1));
}

/// The layout that is computed is that of the compiler.
#[test]
fn a_pointer_to_a_message_with_a_slice_is_made_of_its_length() {
    #[repr(C, align(16))]
    struct Room([u8; 128]);

    fn check<T: ShmMessage + ?Sized>(slice_of: impl Fn(&T) -> (*const u8, usize)) {
        let mut room = Room([0; 128]);
        for len in 0..4 {
            let start = room.0.as_mut_ptr();
            let message = T::at(start, len);
            assert_eq!(T::len_of(message), len);
            // SAFETY: Aligned, zero is a value, and there is room.
            let message = unsafe { &*message };
            assert_eq!(size_of_val(message), T::LAYOUT.size(len));
            assert_eq!(align_of_val(message), T::LAYOUT.align);
            let (slice, found) = slice_of(message);
            assert_eq!((slice, found), (start.wrapping_add(T::LAYOUT.fixed).cast_const(), len));
        }
    }
    check::<Image>(|image| (image.data.as_ptr(), image.data.len()));
    check::<Cloud<u64>>(|cloud| (cloud.points.as_ptr().cast(), cloud.points.len()));
    check::<Cloud<[f32; 3]>>(|cloud| (cloud.points.as_ptr().cast(), cloud.points.len()));
    check::<Text>(|text| (text.0.as_ptr(), text.0.len()));
}

#[test]
fn every_element_of_the_slice_is_checked() {
    let mut bytes = [0; 24 + 5];
    assert_eq!(Cloud::<bool>::check(&bytes), Ok(()));
    bytes[27] = 2;
    assert_eq!(
        Cloud::<bool>::check(&bytes).unwrap_err().to_string(),
        "field `points[3]` holds [2], which is no `bool` (0 or 1)"
    );
    assert_eq!(Cloud::<bool>::check(&bytes[..27]), Ok(()));
    bytes[8] = 13;
    assert_eq!(
        Cloud::<u8>::check(&bytes).unwrap_err().to_string(),
        "field `frame` holds 13 bytes of text where there is room for 12, which is no `ShmString`"
    );
    assert!(Cloud::<bool>::check(&bytes[..20]).is_err());
    assert_eq!(Text::check(&[0xff; 7]), Ok(()));
}
