//! Whatever a program calls `u8`, `assert` or `bytes`, the derive means what it says.

#![forbid(unsafe_code)]
#![allow(non_upper_case_globals, non_camel_case_types, dead_code, unused_macros)]

mod plain {
    pub type wide = u64;
    pub type list = [f32];
}

macro_rules! assert {
    ($($anything:tt)*) => {
        compile_error!("not this one")
    };
}

const bytes: i32 = 1;
const value: i32 = 2;
const start: i32 = 3;
const len: i32 = 4;
const room: i32 = 5;
const whole: i32 = 6;
const align: i32 = 7;
const tail: i32 = 8;

struct u8;
struct usize;
struct bool;

#[derive(shm_comm::ShmMessage)]
#[repr(C)]
struct Stamped<T> {
    stamp: plain::wide,
    it: T,
}

#[derive(shm_comm::ShmMessage)]
#[repr(C)]
struct Scan {
    stamp: plain::wide,
    ranges: [f32],
}

#[derive(shm_comm::ShmMessage)]
#[repr(u16)]
enum Mode {
    Idle = 0,
    Drive = 1,
}

fn main() {
    use shm_comm::ShmMessage;
    let is_plain = (Stamped::<i64>::PLAIN, Scan::PLAIN, Mode::PLAIN);
    std::assert_eq!(is_plain, (true, true, false));
    std::assert_eq!(Scan::schema().canonical(), "Scan{stamp@0:u64,ranges@8:[f32]}8/8");
}
