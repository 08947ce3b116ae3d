use shm_comm::ShmMessage;

#[derive(ShmMessage)]
struct Point {
    x: f64,
    y: f64,
}

fn main() {}
