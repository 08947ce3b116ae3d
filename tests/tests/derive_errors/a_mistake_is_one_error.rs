use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
struct Robot {
    id: u64,
    name: String,
    seen: *const u8,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Team {
    robots: [Robot; 4],
}

fn send<T: ShmMessage>(_: T) {}

fn test(robot: Robot, team: Team) {
    send(robot);
    send(team);
}

fn main() {}
