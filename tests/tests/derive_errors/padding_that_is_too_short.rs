use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Between {
    id: u8,
    _pad0: [u8; 3],
    x: f64,
}

#[derive(ShmMessage)]
#[repr(C)]
struct AtTheEnd {
    x: f64,
    id: u8,
    _pad0: [u8; 3],
}

fn main() {}
