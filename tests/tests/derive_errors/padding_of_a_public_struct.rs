//! Who writes such a struct elsewhere has to name its padding.

use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
pub struct State {
    pub letter: char,
    pub x: f64,
    pub flag: bool,
}

fn main() {}
