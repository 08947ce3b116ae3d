use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Job {
    run: Box<dyn Fn()>,
}

fn main() {}
