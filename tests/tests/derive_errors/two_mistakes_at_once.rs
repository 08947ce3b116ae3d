use shm_comm::ShmMessage;

#[derive(ShmMessage)]
struct Robot {
    name: String,
    friend: *mut Robot,
    parts: [Option<u32>; 4],
}

fn main() {}
