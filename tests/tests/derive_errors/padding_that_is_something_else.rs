//! What is called `u8` here is none, and padding is shown to nobody.

use shm_comm::ShmMessage;

mod aliased {
    #[allow(non_camel_case_types)]
    type u8 = bool;

    #[derive(super::ShmMessage)]
    #[repr(C)]
    struct Flagged {
        x: u64,
        _pad0: [u8; 8],
    }
}

fn main() {}
