use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Tagged<T> {
    tag: u32,
    value: T,
    check: u32,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Log {
    last: Tagged<f64>,
}

fn main() {}
