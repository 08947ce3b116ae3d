use std::cell::Cell;

use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Counter {
    hits: Cell<u32>,
}

fn main() {}
