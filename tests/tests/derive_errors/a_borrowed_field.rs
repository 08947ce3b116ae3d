use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Robot<'a> {
    name: &'a str,
}

fn main() {}
