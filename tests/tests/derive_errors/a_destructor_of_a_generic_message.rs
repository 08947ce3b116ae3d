use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Handle<T> {
    id: T,
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {}
}

#[derive(ShmMessage)]
#[repr(C)]
struct Team {
    leader: Handle<u32>,
}

fn main() {}
