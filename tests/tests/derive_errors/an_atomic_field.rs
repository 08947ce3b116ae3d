use std::sync::atomic::AtomicU32;

use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Counter {
    hits: AtomicU32,
}

fn main() {}
