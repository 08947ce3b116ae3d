use shm_comm::ShmMessage;

#[derive(ShmMessage)]
enum Mode {
    Idle,
    Moving,
}

fn main() {}
