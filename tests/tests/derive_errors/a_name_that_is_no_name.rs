use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[shm(name = "geometry, Point")]
#[repr(C)]
struct Point {
    x: f64,
}

fn main() {}
