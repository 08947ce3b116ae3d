use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C, packed)]
struct Sample {
    id: u32,
    value: f64,
}

fn main() {}
