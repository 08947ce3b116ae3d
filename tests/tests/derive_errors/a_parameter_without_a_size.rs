use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Stamped<T: ?Sized> {
    stamp: u64,
    value: T,
}

fn main() {}
