use shm_comm::ShmMessage;

type Name = String;

#[derive(ShmMessage)]
#[repr(C)]
struct Robot {
    id: u64,
    name: Name,
}

fn main() {}
