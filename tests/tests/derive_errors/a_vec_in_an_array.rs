use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Scan {
    rings: [Vec<f32>; 16],
}

fn main() {}
