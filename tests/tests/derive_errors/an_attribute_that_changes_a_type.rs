//! The derive would take an `f32` for a `u32`, and a reference for a number.

use shm_comm::ShmMessage;
use shm_comm_test_attributes::retype;

#[derive(ShmMessage)]
#[retype(f32)]
#[repr(C)]
struct Counted {
    count: u32,
}

#[derive(ShmMessage)]
#[retype(&'static u64)]
#[repr(C)]
struct Numbered {
    number: u64,
}

fn main() {}
