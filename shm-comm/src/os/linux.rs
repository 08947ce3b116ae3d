//! Linux: files of a tmpfs, open-file-description locks, futexes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
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

/// The group that this process acts as, and that its files get.
pub fn group() -> u32 {
    // SAFETY: No pointers are involved; it cannot fail.
    unsafe { libc::getegid() }
}

/// The folder in which the channels of this user's group are, if nobody says another.
pub fn default_group_root() -> PathBuf {
    PathBuf::from(format!("/dev/shm/shm-comm-group-{}", group()))
}

/// Whether this process belongs to the group.
pub fn is_in_group(wanted: u32) -> bool {
    if group() == wanted {
        return true;
    }
    // SAFETY: With a size of 0 it only counts.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut groups = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: There is room for `count` groups.
    let count = unsafe { libc::getgroups(count, groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(count).unwrap_or(0));
    groups.contains(&wanted)
}

/// Makes a folder that only this user may enter, whatever the umask; with `parents` those that are not
/// there, too. Harmless if it is there.
pub fn create_folder(path: &Path, parents: bool) -> io::Result<()> {
    let missing = |path: &Path| {
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if parents
        && let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
        && missing(parent)
    {
        create_folder(parent, true)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        result => result?,
    }
    // The umask may have taken away what the owner needs, too, reading it for one.
    let name = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let folder = open_at(libc::AT_FDCWD, &name, flags)?;
    if folder.metadata()?.uid() == user() {
        // `fchmod` does not take a descriptor of a path.
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Changes who may do what with a file or folder, whatever the umask says.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    // SAFETY: The descriptor is open.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) })?;
    Ok(())
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

/// The same for reading only: to look at it.
pub fn open_file_to_read(folder: &File, name: &CStr) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    open_at(folder.as_raw_fd(), name, flags)
}

/// Opens a new file without a name, which is gone with its last descriptor unless it is given one.
pub fn create_nameless(folder: &File, mode: u32) -> io::Result<File> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    let file = open_at(folder.as_raw_fd(), c".", flags)?;
    set_mode(&file, mode)?;
    Ok(file)
}

/// Closes a descriptor that no owner will close.
pub fn close(descriptor: RawFd) {
    // SAFETY: The caller gives up the descriptor. May be called right after a fork.
    unsafe { libc::close(descriptor) };
}

/// A file, whatever it is called: device and inode. Unique while it is open or mapped.
pub type FileId = (u64, u64);

/// Which file this is.
pub fn file_id(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
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

/// Gives a file another name of the same folder, and takes that from whatever had it.
pub fn rename(folder: &File, from: &CStr, to: &CStr) -> io::Result<()> {
    let folder = folder.as_raw_fd();
    // SAFETY: Both names are C strings, the folder is open.
    check(unsafe { libc::renameat(folder, from.as_ptr(), folder, to.as_ptr()) })?;
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

/// Whether anything stands under this name. Never follows a link.
pub fn is_there(folder: &File, name: &CStr) -> bool {
    let (folder, flags) = (folder.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: The name is a C string.
    unsafe { libc::faccessat(folder, name.as_ptr(), libc::F_OK, flags) == 0 }
}

/// What stands under this name. Never follows a link.
pub fn look_at(folder: &File, name: &CStr) -> Option<std::fs::Metadata> {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let path = Path::new(&path).join(std::ffi::OsStr::from_bytes(name.to_bytes()));
    std::fs::symlink_metadata(path).ok()
}

/// Whether this descriptor leads to that file. May be called right after a fork.
pub fn is_file(descriptor: RawFd, id: FileId) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `found` has room for a `stat`; a descriptor that is closed is an error.
    if unsafe { libc::fstat(descriptor, found.as_mut_ptr()) } == -1 {
        return false;
    }
    // SAFETY: `fstat` succeeded, so it has filled it.
    let found = unsafe { found.assume_init() };
    (found.st_dev, found.st_ino) == id
}

/// A variable of the environment, but not for a program that has more rights than its caller.
pub fn environment(name: &str) -> Option<std::ffi::OsString> {
    // SAFETY: No pointers are involved.
    let has_more_rights = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if has_more_rights { None } else { std::env::var_os(name) }
}

/// So much is allocated at a time: a signal interrupts, and what was being allocated starts over.
const ALLOCATE_AT_ONCE: u64 = 1 << 20;
/// So many signals in one piece are no accident.
const MOST_INTERRUPTIONS: u32 = 1000;

/// Gets memory, or disk, for these bytes of the file, or changes nothing. Without this the first
/// touch of a page of a full tmpfs is a SIGBUS.
pub fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let end = offset.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
    // Not first everything that there is, and then the error.
    if space(file).is_some_and(|space| space.free < len) {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    let mut done = offset;
    while done < end {
        let piece = (end - done).min(ALLOCATE_AT_ONCE);
        if let Err(error) = allocate_piece(file, done, piece) {
            if done > offset {
                release(file, offset, done - offset);
            }
            return Err(error);
        }
        done += piece;
    }
    Ok(())
}

fn allocate_piece(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from_raw_os_error(libc::EFBIG);
    let offset = libc::off_t::try_from(offset).map_err(too_large)?;
    let len = libc::off_t::try_from(len).map_err(too_large)?;
    for _ in 0..MOST_INTERRUPTIONS {
        // SAFETY: The descriptor is open. The error is returned, not in `errno`.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset, len) } {
            0 => return Ok(()),
            libc::EINTR => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Gives back what was allocated and is in nobody's use.
pub fn release(file: &File, offset: u64, len: u64) {
    let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: The descriptor is open. If it fails the memory goes with the file.
    unsafe { libc::fallocate(file.as_raw_fd(), flags, offset as libc::off_t, len as libc::off_t) };
}

/// Bytes that a file of this process may have. What goes beyond is no error but a signal.
pub fn file_size_limit() -> u64 {
    let mut limit = std::mem::MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: There is room for an `rlimit`.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) } == -1 {
        return u64::MAX;
    }
    // SAFETY: It succeeded, so it has filled it.
    unsafe { limit.assume_init() }.rlim_cur
}

/// The error says that there is no room, or no room for that user.
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::ENOMEM))
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// All of it.
    pub size: u64,
    /// What is left for us.
    pub free: u64,
}

/// How much room the file system of this file has; `None` if that cannot be told, or is not limited.
pub fn space(file: &File) -> Option<Space> {
    let mut info = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: The descriptor is open, `info` has room for a `statvfs`.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), info.as_mut_ptr()) }).ok()?;
    // SAFETY: `fstatvfs` succeeded, so it has filled it.
    let info = unsafe { info.assume_init() };
    let bytes = |blocks: u64| blocks.checked_mul(info.f_frsize);
    let space = Space { size: bytes(info.f_blocks)?, free: bytes(info.f_bavail)? };
    (space.size > 0).then_some(space)
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

/// How another open file has one of these bytes locked. Never sees the locks of `file` itself.
pub fn locked_by_others(file: &File, first: u64, bytes: u64) -> io::Result<Lock> {
    let mut request = Lock::Exclusive.request(first);
    request.l_len = bytes as libc::off_t;
    // SAFETY: `request` is a `flock` that may be written to, as this command requires.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut request) })?;
    Ok(match libc::c_int::from(request.l_type) {
        libc::F_UNLCK => Lock::None,
        libc::F_RDLCK => Lock::Shared,
        _ => Lock::Exclusive,
    })
}

/// Whether stores to mapped memory are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// They are faults.
    Read,
    /// They work.
    ReadWrite,
}

/// Changes what may be done with mapped pages.
///
/// # Safety
///
/// The bytes are whole pages of one mapping of the caller, and with `Read` nobody stores
/// to them any more.
pub unsafe fn protect(start: NonNull<u8>, len: usize, protection: Protection) -> io::Result<()> {
    let flags = match protection {
        Protection::Read => libc::PROT_READ,
        Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    };
    // SAFETY: The caller's promise.
    check(unsafe { libc::mprotect(start.as_ptr().cast(), len, flags) })?;
    Ok(())
}

/// A word that is 0 in every child that is forked: on a page that the kernel clears there, or else
/// for the handlers of [`at_fork`] to clear. It is never unmapped.
pub fn page_that_children_lose() -> io::Result<&'static AtomicU32> {
    let page = ManuallyDrop::new(memmap2::MmapMut::map_anon(size_of::<AtomicU32>())?);
    let start = page.as_ptr().cast_mut();
    // SAFETY: A page of ours. Kernels before 4.14 do not know this and say so.
    unsafe { libc::madvise(start.cast(), page.len(), libc::MADV_WIPEONFORK) };
    // SAFETY: Mapped for good, aligned to a page, and a zero is an `AtomicU32`.
    Ok(unsafe { &*start.cast::<AtomicU32>() })
}

/// Has these called by every `fork` of the C library: before it, and after it on either side.
pub fn at_fork(
    before: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: They are functions, and stay.
    match unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Nanoseconds since this machine was started, the time that it slept not counted, to a few milliseconds:
/// the same for all processes, and much faster than the exact time.
#[inline]
pub fn coarse_now() -> u64 {
    let mut now = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: It has room for the answer.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, now.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: It succeeded, so it has filled it.
    let now = unsafe { now.assume_init() };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
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

/// Opens the file once more, for a mapping: a mapping keeps the locks of the open file that it was
/// made of.
pub fn open_again(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}
