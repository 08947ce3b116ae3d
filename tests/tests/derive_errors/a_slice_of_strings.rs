use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Names {
    count: u64,
    names: [String],
}

fn main() {}
