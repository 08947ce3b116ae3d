use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Cloud {
    stamp: u32,
    points: [[f64; 3]],
}

#[derive(ShmMessage)]
#[repr(C)]
struct Scan {
    kind: u8,
    count: u16,
    flags: u8,
    ranges: [f32],
}

fn main() {}
