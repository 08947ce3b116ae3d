use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Progress {
    done: usize,
}

fn main() {}
