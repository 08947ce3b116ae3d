use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C, align(64))]
struct Head {
    next: u64,
}

fn main() {}
