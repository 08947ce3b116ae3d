use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Image {
    data: [u8],
    rows: [[u8]; 4],
    lines: [[u8]],
    width: u32,
}

fn main() {}
