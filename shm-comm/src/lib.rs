//! Typed, zero-copy messages between the processes of one machine.

extern crate self as shm_comm;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod message;
mod ring;
pub mod schema;
mod sync;

pub use message::{Invalid, ShmMessage};
pub use schema::Schema;
pub use shm_comm_derive::ShmMessage;
