//! Linux: files of a tmpfs, open-file-description locks, futexes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Bytes of a page of memory.
pub fn page_size() -> u64 {
    // SAFETY: No pointers are involved.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// The user that this process acts as.
pub fn user() -> u32 {
    // SAFETY: No pointers are involved; it cannot fail.
    unsafe { libc::geteuid() }
}

/// The folder in which this user's channels are, if nobody says another.
pub fn default_root() -> PathBuf {
    PathBuf::from(format!("/dev/shm/shm-comm-{}", user()))
}

/// Makes a folder that only this user may enter; its parents, too. Harmless if it is there.
pub fn create_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a folder; a symbolic link in its place is an error.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    open_at(libc::AT_FDCWD, &path, flags)
}

/// Opens a file of the folder for reading and writing. Never follows a link, never waits for the
/// other end of a FIFO.
pub fn open_file(folder: &File, name: &CStr) -> io::Result<File> {
    let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    open_at(folder.as_raw_fd(), name, flags)
}

/// Opens a new file without a name, which is gone with its last descriptor unless it is given one.
pub fn create_nameless(folder: &File) -> io::Result<File> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    let file = open_at(folder.as_raw_fd(), c".", flags)?;
    // Whatever the umask says.
    // SAFETY: The descriptor is open.
    check(unsafe { libc::fchmod(file.as_raw_fd(), 0o600) })?;
    Ok(file)
}

fn open_at(folder: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<File> {
    // SAFETY: The name is a C string; the mode is only read when a file is made.
    let fd = check(unsafe { libc::openat(folder, name.as_ptr(), flags, 0o600) })?;
    // SAFETY: Just opened, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Gives a nameless file its name. `AlreadyExists`: somebody else was first.
pub fn link(file: &File, folder: &File, name: &CStr) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    // SAFETY: Both names are C strings, the folder is open.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            folder.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })?;
    Ok(())
}

/// Takes the name away; who has the file open or mapped keeps it.
pub fn unlink(folder: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: The name is a C string, the folder is open.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// Whether the name still stands for this file.
pub fn is_named(file: &File, folder: &File, name: &CStr) -> io::Result<bool> {
    let ours = file.metadata()?;
    let mut theirs = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: The name is a C string, `theirs` has room for a `stat`.
    let result = check(unsafe {
        libc::fstatat(
            folder.as_raw_fd(),
            name.as_ptr(),
            theirs.as_mut_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    });
    match result {
        Ok(_) => {
            // SAFETY: `fstatat` succeeded, so it has filled it.
            let theirs = unsafe { theirs.assume_init() };
            Ok(ours.nlink() > 0 && ours.ino() == theirs.st_ino && ours.dev() == theirs.st_dev)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What stands under this name if it is no regular file, in words.
pub fn what_is_there(folder: &File, name: &CStr) -> Option<&'static str> {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let path = Path::new(&path).join(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_symlink() {
        Some("a symbolic link")
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_file() {
        None
    } else {
        Some("neither a regular file nor a folder")
    }
}

/// Gets memory, or disk, for these bytes of the file. Without this the first touch of a page of a
/// full tmpfs is a SIGBUS.
pub fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from_raw_os_error(libc::EFBIG);
    let offset = libc::off_t::try_from(offset).map_err(too_large)?;
    let len = libc::off_t::try_from(len).map_err(too_large)?;
    loop {
        // SAFETY: The descriptor is open. The error is returned, not in `errno`.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset, len) } {
            0 => return Ok(()),
            libc::EINTR => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// The error says that there is no room, or no room for that user.
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::ENOMEM))
}

/// Bytes of the file system that has this file.
pub fn file_system_size(file: &File) -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: The descriptor is open, `info` has room for a `statvfs`.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), info.as_mut_ptr()) }).ok()?;
    // SAFETY: `fstatvfs` succeeded, so it has filled it.
    let info = unsafe { info.assume_init() };
    Some(info.f_blocks * info.f_frsize)
}

/// How a byte of a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
    /// Not any more.
    None,
}

impl Lock {
    fn request(self, byte: u64) -> libc::flock {
        let kind = match self {
            Lock::Shared => libc::F_RDLCK,
            Lock::Exclusive => libc::F_WRLCK,
            Lock::None => libc::F_UNLCK,
        };
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: byte as libc::off_t,
            l_len: 1,
            l_pid: 0, // Required of open-file-description locks.
        }
    }
}

/// Locks or unlocks one byte, which may lie beyond the end of the file. `false`: somebody else is
/// in the way. The kernel unlocks when the last descriptor of this open file is closed, which is
/// after the process's memory is gone (`exit_mm` comes before `exit_files`).
pub fn lock(file: &File, byte: u64, lock: Lock) -> io::Result<bool> {
    let request = lock.request(byte);
    // SAFETY: `request` is a `flock`, as this command requires.
    let result = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) });
    match result {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether another open file has this byte locked. Never sees the locks of `file` itself.
pub fn is_locked(file: &File, byte: u64) -> io::Result<bool> {
    let mut request = Lock::Exclusive.request(byte);
    // SAFETY: `request` is a `flock` that may be written to, as this command requires.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut request) })?;
    Ok(request.l_type != libc::F_UNLCK as libc::c_short)
}

/// Whether stores to mapped memory are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They are faults.
    Read,
    /// They work.
    ReadWrite,
}

/// Changes what may be done with mapped pages.
///
/// # Safety
///
/// The bytes are whole pages of one mapping of the caller, and with `Access::Read` nobody stores
/// to them any more.
pub unsafe fn protect(start: NonNull<u8>, len: usize, access: Access) -> io::Result<()> {
    let flags = match access {
        Access::Read => libc::PROT_READ,
        Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    };
    // SAFETY: The caller's promise.
    check(unsafe { libc::mprotect(start.as_ptr().cast(), len, flags) })?;
    Ok(())
}

/// Keeps mapped pages out of forked children.
///
/// # Safety
///
/// The bytes are whole pages of one mapping of the caller.
pub unsafe fn keep_from_children(start: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: The caller's promise.
    check(unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTFORK) })?;
    Ok(())
}

/// Sleeps while the word is `expected`, until it is woken, a signal comes, or the time is over.
/// Works between processes, unlike the standard library's.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // Every result is the same to the caller: it looks again.
    // SAFETY: The word is a live, aligned `u32`; the timeout is a `timespec`.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT, // No private flag: others wake it.
            expected,
            &raw const timeout,
            std::ptr::null::<u32>(),
            0,
        );
    }
}

/// Wakes whoever sleeps on the word. May be called from a signal handler.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: The word is a live, aligned `u32`.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}

/// When this process started, in clock ticks since boot; 0 where that is not known. Together with
/// the pid it tells a process from a later one with the same pid. For people only.
pub fn process_start() -> u64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0 };
    // The name, in parentheses, may contain anything; field 22 is the 20th after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}
