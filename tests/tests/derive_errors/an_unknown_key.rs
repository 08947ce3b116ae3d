use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[shm(nmae = "geometry/Point")]
#[repr(C)]
struct Point {
    x: f64,
}

fn main() {}
