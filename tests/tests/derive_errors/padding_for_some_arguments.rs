use shm_comm::{Publisher, ShmMessage};

#[derive(ShmMessage)]
#[repr(C)]
struct Stamped<T> {
    stamp: u64,
    value: T,
}

fn main() {
    Publisher::<Stamped<f64>>::new("fine").unwrap();
    Publisher::<Stamped<u32>>::new("not/fine").unwrap();
}
