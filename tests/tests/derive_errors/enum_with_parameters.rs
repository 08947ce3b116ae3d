use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(u8)]
enum Mode<const N: usize> {
    Idle = 0,
}

fn main() {}
