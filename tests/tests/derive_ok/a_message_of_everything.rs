//! Compiles; with it the others are built, not only checked.

#![forbid(unsafe_code)]
#![deny(warnings)]

use shm_comm::ShmMessage;

mod own {
    use super::ShmMessage;

    /// Nobody has to give way to the names that the expansion uses, or to those it refuses.
    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Duration {
        pub sec: i32,
        pub nanosec: u32,
    }
}

pub struct Result;
pub struct Option;
pub enum Ok {}
pub struct Invalid;
pub trait TryFrom {}
pub const FIELDS: usize = 2;

#[derive(ShmMessage)]
#[repr(u8)]
pub enum Cell {
    Free = 0,
    Occupied = 1,
}

#[derive(ShmMessage)]
#[repr(i64)]
pub enum Direction {
    Back = -1,
    r#Stop,
    Forth,
}

#[derive(ShmMessage)]
#[repr(C)]
pub struct Nothing;

#[derive(ShmMessage)]
#[repr(transparent)]
pub struct Metres(pub f64);

#[derive(ShmMessage)]
#[repr(C, align(16))]
pub struct Pair(pub Metres, pub [f32; FIELDS]);

#[derive(ShmMessage)]
#[shm(name = "everything/Message")]
#[repr(C)]
pub struct Message {
    pub pair: Pair,
    pub direction: Direction,
    pub age: self::own::Duration,
    pub wide: [[i16; 4]; 3],
    pub r#type: char,
    pub flag: bool,
    pub cell: Cell,
    #[deprecated]
    pub old: i8,
    pub nothing: Nothing,
    _pad0: [u8; 1],
}

fn main() {
    let _ = Message::check(&[]);

    #[derive(ShmMessage)]
    #[repr(C)]
    struct Local {
        value: u32,
    }
    let _ = Local { value: 1 }.value;
}
