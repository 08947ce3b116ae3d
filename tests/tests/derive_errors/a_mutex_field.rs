use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Counter {
    hits: std::sync::Mutex<u32>,
}

fn main() {}
