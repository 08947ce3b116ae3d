use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Image {
    data: [std::mem::MaybeUninit<u8>; 64],
}

fn main() {}
