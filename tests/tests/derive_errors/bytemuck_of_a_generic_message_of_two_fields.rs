use shm_comm::ShmMessage;

#[derive(ShmMessage, Clone, Copy)]
#[repr(transparent)]
#[shm(bytemuck)]
struct Pair<A, B> {
    a: A,
    b: B,
}

fn main() {}
