use shm_comm::ShmMessage;

#[derive(Clone, Copy)]
#[repr(C)]
struct Foreign {
    x: f64,
    y: f64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Pose {
    #[shm(pod = "[f64; 2]")]
    position: Foreign,
}

fn main() {}
