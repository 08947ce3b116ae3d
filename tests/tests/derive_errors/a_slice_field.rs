use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Image {
    data: [u8],
}

fn main() {}
