use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(u8)]
enum Goal {
    Stop,
    Turn(f32),
    Move { x: f32, y: f32 },
}

fn main() {}
