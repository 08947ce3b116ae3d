//! Zero would be a value of what the derive has seen.

use shm_comm::ShmMessage;
use shm_comm_test_attributes::into_struct;

#[derive(ShmMessage)]
#[into_struct]
#[repr(u8)]
enum Mode {
    A,
    B,
}

fn main() {}
