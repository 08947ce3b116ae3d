use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Goal {
    deadline: Option<u64>,
}

fn main() {}
