use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Shift {
    by: isize,
}

fn main() {}
