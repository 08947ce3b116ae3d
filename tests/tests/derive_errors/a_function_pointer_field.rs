use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Job {
    run: fn(u32) -> u32,
}

fn main() {}
