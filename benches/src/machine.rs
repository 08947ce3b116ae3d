//! What the benchmarks need of the machine: cores, the clock, a shared page.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use crate::Result;

/// The cores that this process may run on.
pub fn cores() -> Result<Vec<usize>> {
    // SAFETY: A set is an array of words, of which zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: The set is as large as is said.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: The number is below the size of the set.
    let allowed = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(allowed).collect())
}

/// Keeps this thread, and those that it starts, on one core.
pub fn pin_to(core: usize) -> Result<()> {
    run_on(std::iter::once(core))
}

/// Lets this thread run wherever the machine lets it, also if the one that started it was kept on one core.
pub fn unpin() -> Result<()> {
    run_on(0..libc::CPU_SETSIZE as usize)
}

fn run_on(cores: impl Iterator<Item = usize>) -> Result<()> {
    // SAFETY: As in `cores`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores {
        // SAFETY: Below the size of the set, or out of a set of this size.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: The set is as large as is said.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// What a measured time is too long, because of the clock itself, in nanoseconds: the median of
/// intervals with nothing in them.
pub fn clock_cost() -> u64 {
    let mut empty: Vec<u64> = (0..10_001)
        .map(|_| {
            let start = Instant::now();
            start.elapsed().as_nanos() as u64
        })
        .collect();
    empty.sort_unstable();
    empty[empty.len() / 2]
}

/// Where one mapping ends and another may begin.
pub const PAGE: usize = 4096;

/// One page of zeroes that whoever opens the same file shares. Mapped until the process ends.
pub fn shared_page(file: &Path) -> Result<std::ptr::NonNull<u8>> {
    shared_memory(file, PAGE)
}

/// The same for more bytes.
pub fn shared_memory(file: &Path, bytes: usize) -> Result<std::ptr::NonNull<u8>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
    file.set_len(bytes as u64)?;
    // SAFETY: A new mapping, at an address that the kernel chooses.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(std::ptr::NonNull::new(page.cast()).expect("a mapping is never at zero"))
}
