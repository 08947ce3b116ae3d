use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Counter {
    hits: std::cell::UnsafeCell<u32>,
}

fn main() {}
