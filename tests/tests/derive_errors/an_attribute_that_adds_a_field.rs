//! Which the derive has not checked.

use shm_comm::ShmMessage;
use shm_comm_test_attributes::add_field;

#[derive(ShmMessage)]
#[add_field]
#[repr(C)]
struct Pose {
    x: f64,
    y: f64,
}

#[derive(ShmMessage)]
#[add_field]
#[repr(C)]
struct Cloud {
    stamp: u64,
    points: [f32],
}

fn main() {}
