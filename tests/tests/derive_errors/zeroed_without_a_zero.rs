use shm_comm::{Publisher, ShmMessage};

#[derive(ShmMessage)]
#[repr(u8)]
enum Gear {
    First = 1,
    Second = 2,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Command {
    speed: f32,
    gears: [Gear; 4],
}

fn main() {
    let mut commands = Publisher::<Command>::new("commands").unwrap();
    commands.loan().unwrap().zeroed().send();
}
