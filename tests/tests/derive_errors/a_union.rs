use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
union Value {
    int: u32,
    float: f32,
}

fn main() {}
