//! Compiles; with it the others are built, not only checked.

#![forbid(unsafe_code)]
#![deny(warnings)]

use shm_comm::{Schema, ShmMessage, ShmOption, ShmString, ShmVec};

/// Parameters may be called as they like, and have bounds, defaults and a `where`.
#[derive(ShmMessage)]
#[repr(C)]
pub struct Stamped<Self_, const __SHM: usize = 12, Word = u64>
where
    Word: PartialEq,
    [Word; 1]: Clone,
{
    pub stamp: Word,
    pub value: Self_,
    pub name: ShmString<__SHM>,
}

#[derive(ShmMessage, Clone, Copy)]
#[shm(bytemuck)]
#[repr(transparent)]
pub struct Metres<T: Copy>(pub T);

/// Of a type that asks for a message by itself.
#[derive(ShmMessage)]
#[repr(C)]
pub struct Path<P: ShmMessage, const N: usize> {
    pub corners: ShmVec<P, N>,
    pub goal: ShmOption<P>,
}

#[derive(ShmMessage)]
#[repr(C)]
pub struct Cloud<P> {
    head: Head,
    points: [P],
}

/// Less public than the messages that have it.
#[derive(ShmMessage)]
#[repr(C, align(16))]
struct Head {
    kind: Kind,
    _pad0: [u8; 15],
}

#[derive(ShmMessage)]
#[repr(u8)]
enum Kind {
    Lidar = 0,
}

#[derive(ShmMessage)]
#[repr(C)]
pub struct Report {
    head: Head,
    paths: [Path<[f64; 2], 3>; 2],
}

fn main() {
    Schema::of::<Stamped<Metres<f64>>>();
    Schema::of::<Cloud<Metres<f32>>>();
    Schema::of::<Report>();
    let _ = (Head { kind: Kind::Lidar, _pad0: [0; 15] }).kind;

    #[derive(ShmMessage)]
    #[repr(C)]
    struct Local<T>(T);
    Schema::of::<Local<[Kind; 2]>>();
}
