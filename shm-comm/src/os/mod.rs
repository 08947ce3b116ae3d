//! What the operating system does for us. The only folder that names a system call.
//!
//! Linux: `linux.rs`. Another platform is another file with the same functions.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;
