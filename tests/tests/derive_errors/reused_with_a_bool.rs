use shm_comm::{Publisher, ShmMessage};

#[derive(ShmMessage)]
#[repr(C)]
struct Button {
    pressed: bool,
}

fn main() {
    let mut buttons = Publisher::<Button>::new("buttons").unwrap();
    buttons.loan().unwrap().reused().send();
}
