use shm_comm::ShmMessage;

#[derive(ShmMessage)]
enum Never {}

fn main() {}
