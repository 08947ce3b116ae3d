use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Sample(u32, f64);

fn main() {}
