use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Scan {
    ranges: Vec<f32>,
}

fn main() {}
