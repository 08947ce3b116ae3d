use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
enum Mode {
    Idle,
    Moving,
}

fn main() {}
