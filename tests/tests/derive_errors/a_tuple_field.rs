use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Limits {
    range: (f64, f64),
}

fn main() {}
