use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Sample {
    kind: u8,
    id: u32,
    _pad0: [u8; 2],
    flags: u32,
    value: f64,
    valid: bool,
}

fn main() {}
