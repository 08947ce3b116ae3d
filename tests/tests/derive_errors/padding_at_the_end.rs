use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Sample {
    value: f64,
    valid: bool,
}

fn main() {}
