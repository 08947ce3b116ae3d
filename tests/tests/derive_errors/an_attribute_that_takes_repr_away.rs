//! The compiler may put the fields in any order then.

use shm_comm::ShmMessage;
use shm_comm_test_attributes::without_repr;

#[derive(ShmMessage)]
#[without_repr]
#[repr(C)]
struct Cloud {
    a: u8,
    b: u64,
    c: u8,
    _pad0: [u8; 6],
    points: [u16],
}

fn main() {}
