use std::collections::HashMap;

use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Joints {
    angles: HashMap<u32, f64>,
}

fn main() {}
