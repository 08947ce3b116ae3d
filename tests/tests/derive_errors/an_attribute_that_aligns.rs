//! The derive has not seen the alignment. Of a struct with a size, the bytes tell.

use shm_comm::ShmMessage;
use shm_comm_test_attributes::realign;

#[derive(ShmMessage)]
#[realign]
#[repr(C)]
struct Cloud {
    stamp: u64,
    points: [f32],
}

#[derive(ShmMessage)]
#[realign]
#[repr(C)]
struct Pose {
    x: f64,
    y: f64,
}

fn main() {}
