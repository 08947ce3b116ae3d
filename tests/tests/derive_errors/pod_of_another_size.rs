use shm_comm::ShmMessage;

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C)]
struct Foreign {
    x: f64,
    y: f64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Pose {
    #[shm(pod = "[f64; 3]")]
    size: Foreign,
    #[shm(pod = "[u32; 4]")]
    alignment: Foreign,
    #[shm(pod = "[bool; 16]")]
    plain: Foreign,
}

fn main() {}
