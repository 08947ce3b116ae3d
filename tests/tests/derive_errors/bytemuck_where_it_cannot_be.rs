use shm_comm::ShmMessage;

#[derive(ShmMessage, Clone, Copy)]
#[shm(bytemuck)]
#[repr(u8)]
enum Mode {
    Idle,
}

#[derive(ShmMessage, Clone, Copy)]
#[shm(bytemuck)]
#[repr(C)]
struct Stamped<T> {
    stamp: u64,
    value: T,
}

#[derive(ShmMessage)]
#[shm(bytemuck)]
#[repr(C)]
struct Text {
    bytes: [u8],
}

fn main() {}
