//! zerocopy and bytemuck beside ours: their types as fields, their traits on our messages, and both as
//! judges of what we call plain and valid.

#![allow(dead_code)] // most messages are looked at, not used

use std::fs::Permissions;
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;

use glam::{DVec3, Quat};
use num_complex::Complex;
use shm_comm::{Channel, Publisher, Schema, ShmMessage, Subscriber};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

fn root() -> tempfile::TempDir {
    let private = Permissions::from_mode(0o700); // whatever the umask
    tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap()
}

// ── types of other crates ────────────────────────────────────────────────────────────────────────

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Motion {
    #[shm(pod = "[f64; 3]")]
    position: DVec3,
    #[shm(pod = "[[f32; 2]; 4]")]
    spectrum: [Complex<f32>; 4],
    stamp: u64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Samples {
    rate: f64,
    #[shm(pod = "[[f64; 2]]")]
    values: [Complex<f64>],
}

#[test]
fn a_type_of_another_crate_is_a_field_with_the_schema_that_is_given() {
    assert_eq!(
        Schema::of::<Motion>().canonical(),
        "Motion{position@0:[f64;3],spectrum@24:[[f32;2];4],stamp@56:u64}64/8"
    );
    assert_eq!(Schema::of::<Samples>().canonical(), "Samples{rate@0:f64,values@8:[[f64;2]]}8/8");
    const { assert!(Motion::PLAIN && Motion::ZERO_IS_VALID) };
}

#[test]
fn a_type_of_another_crate_arrives() {
    let root = root();
    let channel = Channel::new("motion").root(root.path());
    let mut publisher = Publisher::<Motion>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Motion>::new(&channel).unwrap();
    let motion = Motion {
        position: DVec3::new(1.0, -2.0, 0.5),
        spectrum: [0.0, 1.0, 2.0, 3.0].map(|x| Complex::new(x, -x)),
        stamp: 7,
    };
    publisher.send(&motion).unwrap();
    let sample = subscriber.recv().unwrap();
    assert_eq!(*sample, motion);
    assert_eq!(sample.position.length_squared(), 5.25);

    let channel = Channel::new("samples").root(root.path()).max_len(10);
    let mut publisher = Publisher::<Samples>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Samples>::new(&channel).unwrap();
    let mut loan = publisher.loan_with_len(2).unwrap().zeroed();
    loan.values[1] = Complex::new(3.0, 4.0);
    loan.send();
    assert_eq!(subscriber.recv().unwrap().values[1].norm(), 5.0);
}

#[test]
fn a_program_without_the_other_crate_reads_the_same_channel() {
    mod plain {
        use super::*;
        #[derive(ShmMessage)]
        #[repr(C)]
        pub struct Motion {
            pub position: [f64; 3],
            pub spectrum: [[f32; 2]; 4],
            pub stamp: u64,
        }
    }
    assert_eq!(Schema::of::<plain::Motion>(), Schema::of::<Motion>());
}

// ── their traits on our messages ─────────────────────────────────────────────────────────────────

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[shm(bytemuck)]
#[repr(C)]
struct Reading {
    stamp: u64,
    values: [f32; 3],
    id: u32,
}

#[derive(ShmMessage, Clone, Copy)]
#[shm(bytemuck)]
#[repr(transparent)]
struct Metres<T>(T)
where
    T: Copy;

#[test]
fn a_message_can_have_the_traits_of_bytemuck_from_us() {
    let readings = [Reading { stamp: 1, values: [1.0, 2.0, 3.0], id: 9 }; 2];
    let bytes: &[u8] = bytemuck::cast_slice(&readings);
    assert_eq!(bytes.len(), 48);
    assert_eq!(bytemuck::pod_read_unaligned::<Reading>(&bytes[24..]), readings[1]);
    assert_eq!(bytemuck::bytes_of(&Metres(1.0f64)), 1.0f64.to_ne_bytes());
}

#[derive(
    ShmMessage,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    bytemuck::Pod,
    bytemuck::Zeroable,
    Clone,
    Copy,
)]
#[repr(C)]
struct Everybodys {
    stamp: u64,
    ranges: [[i16; 2]; 2],
}

/// Both traits have a `LAYOUT`.
#[derive(ShmMessage, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Pair<T> {
    first: T,
    second: T,
}

#[test]
fn a_generic_message_can_have_a_layout_of_zerocopys() {
    assert_eq!(Schema::of::<Pair<u16>>().canonical(), "Pair<u16>{first@0:u16,second@2:u16}4/2");
    assert_eq!(Pair::<u16>::check(&[0; 4]), Ok(()));
}

#[test]
fn a_message_can_have_the_derives_of_both_beside_ours() {
    let root = root();
    let channel = Channel::new("everybody").root(root.path());
    let mut publisher = Publisher::<Everybodys>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Everybodys>::new(&channel).unwrap();
    publisher.send(&Everybodys { stamp: 3, ranges: [[1, -1], [2, -2]] }).unwrap();
    let sample = subscriber.recv().unwrap();
    assert_eq!(IntoBytes::as_bytes(&*sample), sample.bytes());
    assert_eq!(bytemuck::bytes_of(&*sample), sample.bytes());
    assert_eq!(Everybodys::read_from_bytes(sample.bytes()).unwrap().ranges[1], [2, -2]);
}

// ── both as judges ───────────────────────────────────────────────────────────────────────────────

/// What we call plain, both libraries accept as plain.
fn accepted_by_both<T>()
where
    T: ShmMessage + FromBytes + IntoBytes + Immutable + bytemuck::Pod,
{
    const { assert!(T::PLAIN && T::ZERO_IS_VALID) };
    assert_eq!(T::check(&vec![0xa5; size_of::<T>()]), Ok(()));
}

macro_rules! plain {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty),* $(,)? })+) => {
        $(
            #[derive(
                ShmMessage, FromBytes, IntoBytes, Immutable, bytemuck::Pod, bytemuck::Zeroable,
                Clone, Copy,
            )]
            $(#[$meta])*
            struct $name { $($field: $type),* }
        )+

        #[test]
        fn what_we_call_plain_both_accept() {
            $(accepted_by_both::<$name>();)+
            accepted_by_both::<u128>();
            accepted_by_both::<[[i8; 3]; 2]>();
        }
    };
}

plain! {
    #[repr(C)]
    struct Numbers { a: u8, b: i8, c: u16, d: i32, e: f32, f: u32, g: f64, h: i64 }
    #[repr(C)]
    struct Wide { a: u128, b: i128 }
    #[repr(C)]
    struct Nested { first: Numbers, wide: [Inner; 3], last: [[u16; 2]; 2] }
    #[repr(C)]
    struct Padded { id: u32, _pad0: [u8; 4], stamp: u64 }
    #[repr(transparent)]
    struct Inner { value: f64 }
    #[repr(C, align(16))]
    struct Aligned { a: u64, b: [f32; 2] }
    #[repr(C)]
    struct Empty {}
}

#[derive(ShmMessage, TryFromBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(u8)]
enum Mode {
    Idle = 0,
    Drive = 3,
    Dock = 200,
}

#[derive(ShmMessage, TryFromBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(i16)]
enum Gear {
    Back = -1,
    Neutral = 0,
    First = 1,
}

#[derive(ShmMessage, TryFromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Judged {
    letter: char,
    count: NonZero<u16>,
    gear: Gear,
    modes: [Mode; 2],
    flag: bool,
    plain: u8,
}

#[derive(ShmMessage, TryFromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct JudgedNested {
    first: Judged,
    flags: [[bool; 2]; 2],
    wide: NonZero<i64>,
}

/// Bytes that are often valid, and often not quite.
fn bytes(random: &mut impl FnMut() -> u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for byte in &mut bytes {
        let pick = random();
        *byte = match pick % 8 {
            0..4 => 0,
            4 | 5 => (pick >> 8) as u8 & 1,
            6 => [3, 200, 0xff, 0xd8, 0x10][(pick >> 8) as usize % 5],
            _ => (pick >> 8) as u8,
        };
    }
    bytes
}

fn verdicts<T: ShmMessage + TryFromBytes>(random: &mut impl FnMut() -> u64) -> [usize; 2] {
    let mut verdicts = [0; 2];
    for _ in 0..200_000 {
        let bytes = bytes(random, size_of::<T>());
        let theirs = T::try_read_from_bytes(&bytes).is_ok();
        let ours = T::check(&bytes);
        assert_eq!(ours.is_ok(), theirs, "{bytes:?}: {ours:?}");
        verdicts[usize::from(theirs)] += 1;
    }
    verdicts
}

#[test]
fn what_we_call_valid_zerocopy_calls_valid() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    };
    let count = |verdicts: [usize; 2]| assert!(verdicts.iter().all(|n| *n > 1000), "{verdicts:?}");
    count(verdicts::<bool>(&mut random));
    count(verdicts::<char>(&mut random));
    count(verdicts::<NonZero<u8>>(&mut random));
    count(verdicts::<Mode>(&mut random));
    count(verdicts::<Gear>(&mut random));
    count(verdicts::<Judged>(&mut random));
    let [bad, good] = verdicts::<JudgedNested>(&mut random);
    assert!(bad > 1000 && good > 100, "{bad} {good}");
}

/// Of a type that is aligned to 16 bytes.
#[derive(ShmMessage)]
#[repr(C)]
struct Turn {
    #[shm(pod = "Aligned4")]
    rotation: Quat,
}

/// As glam lays a quaternion out.
#[derive(ShmMessage)]
#[repr(C, align(16))]
struct Aligned4([f32; 4]);

#[test]
fn a_message_can_stand_for_a_type_with_an_alignment_of_its_own() {
    let turn = Schema::of::<Turn>();
    assert_eq!((turn.size, turn.align), (size_of::<Quat>(), align_of::<Quat>()));
}
