//! Found where it is used.

use shm_comm::{Channel, Publisher, ShmMessage};
use shm_comm_test_attributes::realign;

#[derive(ShmMessage)]
#[realign]
#[repr(C)]
struct Labelled<T> {
    label: T,
    points: [f32],
}

fn main() {
    let _ = Publisher::<Labelled<u64>>::new(Channel::new("labels"));
}
