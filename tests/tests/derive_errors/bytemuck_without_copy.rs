use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[shm(bytemuck)]
#[repr(C)]
struct Point {
    x: f64,
}

fn main() {}
