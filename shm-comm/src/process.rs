//! What belongs to this process and not to its children.
//!
//! Locks say who is alive: see [`LockFile`]. A forked child has copies of its parent's handles. The
//! memory they lead to is not mapped there (`MADV_DONTFORK`), and a copy of a descriptor would keep the
//! parent's locks held after the parent has died. So a child closes every [`Descriptor`] before it does
//! anything else, and an [`Owner`] tells a handle, for the price of one load, whether it is still where
//! it was opened.
//!
//! Nothing of this module is half done when the process forks: [`without_fork`] holds a lock that a
//! fork takes, too. A fork that was on its way before there was anything to take may find the lock held
//! nevertheless; then the child starts anew, and keeps what it has inherited open.
//!
//! A process that is cloned by a bare system call, past the C library, does not close what it
//! inherits: it keeps its parent looking alive for as long as it lives or until it starts a program.
//! It notices that handles are not its own nevertheless, since Linux 4.14 (`MADV_WIPEONFORK`).

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::os::{self, FileId};
use crate::sync::{AtomicU32, Ordering};

/// The state of this module. The child of a fork starts with what [`in_child`] leaves of it.
#[derive(Debug)]
struct Process {
    /// The number of this process, in memory that is zeroes in a child.
    mark: &'static AtomicU32,
    /// The last number that was given out.
    numbers: u32,
    descriptors: Vec<Entry>,
    tickets: u64,
    identity: Option<Identity>,
    /// What this process has one of for each file.
    shared: Vec<(FileId, Weak<dyn Any + Send + Sync>)>,
}

/// A [`Descriptor`] that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    number: RawFd,
    id: FileId,
    ticket: u64,
}

/// A lock that a child can take which was forked while another thread held it.
#[derive(Debug)]
struct Lock {
    /// 0, or the pid of the process of which a thread holds it.
    holder: AtomicU32,
    state: UnsafeCell<Option<Process>>,
}

// SAFETY: The state is only reached through a `Guard`, and there is one at a time.
unsafe impl Sync for Lock {}

static PROCESS: Lock = Lock { holder: AtomicU32::new(0), state: UnsafeCell::new(None) };

/// How long to sleep while another thread opens a file or the like.
const PAUSE: Duration = Duration::from_micros(20);

impl Lock {
    fn lock(&self) -> Guard<'_> {
        let me = std::process::id();
        loop {
            match self.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Guard { lock: self, releases: true },
                // Held by this thread's own fork, in the middle of which somebody else's handler runs.
                Err(holder) if holder == me && FORKING.get() > 0 => {
                    return Guard { lock: self, releases: false };
                }
                Err(holder) if holder == me => std::thread::sleep(PAUSE),
                Err(parent) => {
                    // The thread that holds it is not in this process, and never will be.
                    let taken = self.holder.compare_exchange(
                        parent,
                        me,
                        Ordering::Acquire,
                        Ordering::Acquire,
                    );
                    if taken.is_ok() {
                        let guard = Guard { lock: self, releases: true };
                        // SAFETY: The guard is the only one. What was there is half done, and is
                        // neither looked at nor dropped.
                        unsafe { self.state.get().write(None) };
                        return guard;
                    }
                }
            }
        }
    }
}

/// The right to the state. Dropped: others may have it.
struct Guard<'l> {
    lock: &'l Lock,
    releases: bool,
}

impl Deref for Guard<'_> {
    type Target = Option<Process>;

    fn deref(&self) -> &Option<Process> {
        // SAFETY: There is one guard at a time.
        unsafe { &*self.lock.state.get() }
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Option<Process> {
        // SAFETY: As above.
        unsafe { &mut *self.lock.state.get() }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.releases {
            self.lock.holder.store(0, Ordering::Release);
        }
    }
}

/// Does something that no fork may find half done. Not to be nested.
pub fn without_fork<R>(act: impl FnOnce() -> R) -> R {
    let _process = PROCESS.lock();
    act()
}

/// What this process has for a file, and [`share`] was told of.
pub fn shared(file: FileId) -> Option<Arc<dyn Any + Send + Sync>> {
    let process = PROCESS.lock();
    let (_, value) = process.as_ref()?.shared.iter().find(|(id, _)| *id == file)?;
    value.upgrade()
}

/// Has others find this for the file, unless there is something that `is_good` already; then that.
pub fn share(
    file: FileId,
    value: &Arc<dyn Any + Send + Sync>,
    is_good: impl Fn(&Arc<dyn Any + Send + Sync>) -> bool,
) -> Option<Arc<dyn Any + Send + Sync>> {
    // What is not good is dropped after the lock.
    let mut others = Vec::new();
    let mut process = PROCESS.lock();
    let shared = &mut process.as_mut()?.shared;
    others.extend(shared.iter().filter(|(id, _)| *id == file).filter_map(|(_, old)| old.upgrade()));
    let found = others.iter().find(|old| is_good(old)).cloned();
    if found.is_none() {
        shared.retain(|(id, old)| *id != file && old.strong_count() > 0);
        shared.push((file, Arc::downgrade(value)));
    }
    drop(process);
    found
}

impl Process {
    /// The state, made when it is needed for the first time.
    fn get(slot: &mut Option<Process>) -> io::Result<&mut Process> {
        if slot.is_none() {
            let mark = os::page_that_children_lose()?;
            os::at_fork(before_fork, in_parent, in_child)?;
            *slot = Some(Process {
                mark,
                numbers: 0,
                descriptors: Vec::new(),
                tickets: 0,
                identity: None,
                shared: Vec::new(),
            });
        }
        slot.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }

    fn owner(&mut self) -> Owner {
        if self.mark.load(Ordering::Relaxed) == 0 {
            self.numbers += 1;
            self.mark.store(self.numbers, Ordering::Relaxed);
        }
        Owner { mark: self.mark, number: self.mark.load(Ordering::Relaxed) }
    }
}

thread_local! {
    /// How many of the handlers below are under way in this thread: a child that has started anew has
    /// them called twice.
    static FORKING: Cell<u32> = const { Cell::new(0) };
}

extern "C" fn before_fork() {
    let depth = FORKING.get();
    if depth == 0 {
        // Until after the fork, on either side of it. Before this thread counts as forking: until then it
        // waits for whoever has the lock.
        std::mem::forget(PROCESS.lock());
    }
    FORKING.set(depth + 1);
}

/// The right that `before_fork` has taken, once the last handler is called.
fn after_fork() -> Option<Guard<'static>> {
    let depth = FORKING.get().saturating_sub(1);
    FORKING.set(depth);
    (depth == 0).then(|| Guard { lock: &PROCESS, releases: true })
}

extern "C" fn in_parent() {
    drop(after_fork());
}

extern "C" fn in_child() {
    if let Some(mut guard) = after_fork()
        && let Some(process) = guard.as_mut()
    {
        process.mark.store(0, Ordering::Relaxed);
        process.identity = None;
        for entry in process.descriptors.drain(..) {
            // The number may be somebody else's, see `Descriptor`.
            if os::is_file(entry.number, entry.id) {
                os::close(entry.number);
            }
        }
    }
}

/// The process that a handle was opened in.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    mark: &'static AtomicU32,
    number: u32,
}

impl Owner {
    /// False in a child that was forked since.
    #[inline(always)]
    pub fn is_here(&self) -> bool {
        self.mark.load(Ordering::Relaxed) == self.number
    }
}

/// Who this process is, for people to look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As it sees itself.
    pub pid: u32,
    /// When it started, see [`os::process_start`].
    pub start: u64,
}

/// Who this process is.
pub fn identity() -> Identity {
    let ask = || Identity { pid: std::process::id(), start: os::process_start() };
    match PROCESS.lock().as_mut() {
        Some(process) => *process.identity.get_or_insert_with(ask),
        None => ask(),
    }
}

/// An open file or folder that no child keeps open. Dropped, or left behind by a fork: closed.
///
/// A program may close descriptors that it does not know (`close_range`, a loop in old daemons). Then
/// the number may soon be somebody else's, and closing it would take it from him.
#[derive(Debug)]
pub struct Descriptor {
    /// Valid until somebody closes descriptors behind our back, see `is_intact`.
    file: ManuallyDrop<File>,
    id: FileId,
    ticket: u64,
    owner: Owner,
}

impl Descriptor {
    /// Opens something, with no fork in the middle of it.
    pub fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Descriptor> {
        let mut process = PROCESS.lock();
        let process = Process::get(&mut process)?;
        let file = open()?;
        let id = os::file_id(&file)?;
        process.tickets += 1;
        let ticket = process.tickets;
        // Whoever had this descriptor before has lost it, if there is anybody.
        let number = file.as_raw_fd();
        process.descriptors.retain(|entry| entry.number != number);
        process.descriptors.push(Entry { number, id, ticket });
        let owner = process.owner();
        Ok(Descriptor { file: ManuallyDrop::new(file), id, ticket, owner })
    }

    /// The file. Another one, or none, if [`is_intact`](Self::is_intact) is false.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Which file was opened.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Which process has opened it.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether the descriptor is still ours. Whoever asks the kernel something through it looks
    /// *afterwards*: then the answer was about this file.
    pub fn is_intact(&self) -> bool {
        self.owner.is_here() && self.is_listed(&PROCESS.lock())
    }

    fn is_listed(&self, process: &Option<Process>) -> bool {
        let entry = Entry { number: self.file.as_raw_fd(), id: self.id, ticket: self.ticket };
        process.as_ref().is_some_and(|process| process.descriptors.contains(&entry))
            && os::is_file(entry.number, self.id)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            return;
        }
        let mut process = PROCESS.lock();
        let intact = self.is_listed(&process);
        if let Some(process) = process.as_mut() {
            process.descriptors.retain(|entry| entry.ticket != self.ticket);
        }
        if intact {
            // SAFETY: Not used again.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// An open file for locks: they say that this process is alive.
///
/// Locks belong to the open file, and a mapping keeps that open, too. So each has a page of its own
/// mapped: when a program closes descriptors that it does not know, the locks stay, and a live process
/// does not look dead. It only cannot ask for locks or give them up any more.
#[derive(Debug)]
pub struct LockFile {
    descriptor: Descriptor,
    /// Never touched.
    anchor: ManuallyDrop<MmapRaw>,
}

impl LockFile {
    /// Opens a file of which no child will keep a descriptor.
    pub fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<LockFile> {
        let mut anchor = None;
        let descriptor = Descriptor::open(|| {
            let file = open()?;
            let page = MmapOptions::new().len(1).map_raw_read_only(&file)?;
            page.advise(Advice::DontFork)?;
            anchor = Some(page);
            Ok(file)
        })?;
        let anchor = anchor.ok_or(io::ErrorKind::Other)?;
        Ok(LockFile { descriptor, anchor: ManuallyDrop::new(anchor) })
    }
}

impl Deref for LockFile {
    type Target = Descriptor;

    fn deref(&self) -> &Descriptor {
        &self.descriptor
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.descriptor.owner.is_here() {
            // SAFETY: Not used again. Mapped by this process, so it is there. Without a descriptor,
            // this ends the locks.
            unsafe { ManuallyDrop::drop(&mut self.anchor) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;
    use std::path::Path;

    fn open(path: &Path) -> LockFile {
        LockFile::open(|| File::open(path)).unwrap()
    }

    /// What happens to a descriptor that is closed and soon opened again by somebody else.
    fn put_in_place_of(file: &LockFile, path: &Path) -> File {
        let new = File::open(path).unwrap();
        let descriptor = file.file().as_raw_fd();
        // SAFETY: Both descriptors are open. At once, so that no other test gets the number.
        assert_eq!(unsafe { libc::dup2(new.as_raw_fd(), descriptor) }, descriptor);
        // SAFETY: The first file has lost it.
        unsafe { File::from_raw_fd(descriptor) }
    }

    #[test]
    fn a_descriptor_that_somebody_else_has_now_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        std::fs::write(&ours, b"").unwrap();
        std::fs::write(&theirs, b"theirs").unwrap();
        let file = open(&ours);
        assert!(file.is_intact());
        let other = put_in_place_of(&file, &theirs);
        assert!(!file.is_intact());
        drop(file);
        assert_eq!(other.metadata().unwrap().len(), 6);
    }

    #[test]
    fn a_fork_waits_for_what_must_not_be_half_done() {
        use std::sync::atomic::AtomicBool;
        use std::sync::mpsc;
        let folder = tempfile::tempdir().unwrap();
        // From the first one on, forks are noticed.
        let _file = Descriptor::open(|| File::open(folder.path())).unwrap();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (begun, begins) = mpsc::channel();
            let is_done = &is_done;
            scope.spawn(move || {
                without_fork(|| {
                    begun.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    is_done.store(true, Ordering::Relaxed);
                });
            });
            begins.recv().unwrap();
            // SAFETY: The child ends at once.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: Ends the process and touches nothing.
                unsafe { libc::_exit(0) };
            }
            assert!(is_done.load(Ordering::Relaxed), "in the middle of it");
            let mut status = 1;
            // SAFETY: `status` is there to be written.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        });
    }

    #[test]
    fn a_lock_outlives_its_descriptor_and_ends_with_its_owner() {
        use crate::os::Lock;
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        std::fs::write(&ours, b"").unwrap();
        std::fs::write(&theirs, b"").unwrap();
        let write = |path| std::fs::OpenOptions::new().read(true).write(true).open(path);
        let file = LockFile::open(|| write(&ours)).unwrap();
        assert!(os::lock(file.file(), 7, Lock::Exclusive).unwrap());
        let _other = put_in_place_of(&file, &theirs);
        let observer = write(&ours).unwrap();
        assert_eq!(os::locked_by_others(&observer, 7, 1).unwrap(), Lock::Exclusive);
        drop(file);
        assert_eq!(os::locked_by_others(&observer, 7, 1).unwrap(), Lock::None);
    }

    #[test]
    fn the_same_file_opened_again_under_the_same_descriptor_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"").unwrap();
        let first = open(&path);
        let second = LockFile::open(|| Ok(put_in_place_of(&first, &path))).unwrap();
        assert!(!first.is_intact());
        drop(first);
        assert!(second.is_intact());
    }
}
