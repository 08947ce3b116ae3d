use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Pose {
    #[shm(pod = "three f64")]
    position: [f64; 3],
    #[shm(pod = "u8")]
    _pad0: [u8; 8],
    #[shm(pod = "[f64]")]
    points: [f64; 3],
    #[shm(name = "x")]
    named: f64,
}

#[derive(ShmMessage)]
#[shm(pod = "[f64; 3]")]
#[repr(C)]
struct Vector {
    x: f64,
}

fn main() {}
