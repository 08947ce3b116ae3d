use shm_comm::ShmMessage;

#[repr(C)]
struct Point {
    x: f64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Pose {
    position: Point,
}

fn main() {}
