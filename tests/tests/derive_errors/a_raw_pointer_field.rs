use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Image {
    data: *const u8,
}

fn main() {}
