use std::time::Duration;

use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Lease {
    left: Duration,
}

fn main() {}
