use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(u8, align(4))]
enum Mode {
    Idle,
    Moving,
}

fn main() {}
