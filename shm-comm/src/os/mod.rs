//! What the operating system does for us. The only folder that names a system call.
//!
//! Linux: `linux.rs`. Another platform is another file with the same functions.

mod linux;
pub use linux::*;
