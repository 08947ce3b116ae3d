use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Nothing;

#[derive(ShmMessage)]
#[repr(C)]
struct Nothings {
    some: u32,
    more: [Nothing],
}

fn main() {}
