use shm_comm::ShmMessage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Instant, SystemTime};

#[derive(ShmMessage)]
#[repr(C)]
struct Host {
    seen: Instant,
    born: SystemTime,
    any: IpAddr,
    v4: [Ipv4Addr; 2],
    socket: SocketAddr,
}

fn main() {}
