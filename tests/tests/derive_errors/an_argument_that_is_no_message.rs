use shm_comm::ShmMessage;

use shm_comm::Schema;

#[derive(ShmMessage)]
#[repr(C)]
struct Stamped<T> {
    stamp: u64,
    value: T,
}

type Note = Stamped<String>;

fn main() {
    Schema::of::<Note>();
}
