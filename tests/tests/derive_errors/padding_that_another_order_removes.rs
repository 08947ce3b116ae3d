use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Sample {
    kind: u8,
    value: f64,
    valid: bool,
    flags: u16,
    id: u32,
}

#[derive(ShmMessage)]
#[repr(C)]
struct WithPadding {
    id: u32,
    _pad0: [u8; 3],
    x: f64,
    flags: u32,
}

fn main() {}
