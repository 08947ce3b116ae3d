use shm_comm::ShmMessage;

use shm_comm::{ShmOption, ShmVec};

#[derive(ShmMessage)]
#[repr(C, align(32))]
struct Simd {
    lanes: [f32; 8],
}

#[derive(ShmMessage)]
#[repr(C)]
struct List {
    items: ShmVec<Simd, 4>,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Maybe {
    item: ShmOption<Simd>,
}

fn main() {}
