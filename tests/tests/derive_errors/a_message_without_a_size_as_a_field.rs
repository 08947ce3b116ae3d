use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Image {
    width: u32,
    data: [u8],
}

#[derive(ShmMessage)]
#[repr(C)]
struct Stereo {
    stamp: u32,
    left: Image,
}

fn main() {}
