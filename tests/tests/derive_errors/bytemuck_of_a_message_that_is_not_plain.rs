use shm_comm::ShmMessage;

#[derive(ShmMessage, Clone, Copy)]
#[repr(C)]
struct Button {
    id: u8,
    pressed: bool,
}

#[derive(ShmMessage, Clone, Copy)]
#[shm(bytemuck)]
#[repr(C)]
struct Panel {
    buttons: [Button; 3],
}

fn main() {}
