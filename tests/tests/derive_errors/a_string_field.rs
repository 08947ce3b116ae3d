use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Robot {
    name: String,
}

fn main() {}
