use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Point {
    #[shm(unit = "m")]
    x: f64,
}

fn main() {}
