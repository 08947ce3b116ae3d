use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Node {
    next: Box<Node>,
}

fn main() {}
