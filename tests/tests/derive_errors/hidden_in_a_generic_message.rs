use shm_comm::ShmMessage;

type List<T> = Vec<T>;

#[derive(ShmMessage)]
#[repr(C)]
struct Stamped<T> {
    stamp: u64,
    values: List<T>,
    last: T,
    first: [T; 2],
}

fn main() {}
