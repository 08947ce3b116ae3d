//! A process apart, which does what it is told: `isolated SET_UP…`, then one request a line on
//! stdin. It says `ready`, or `unavailable` and why, and answers each request with a line, `ok …` or
//! `error …`. Ends with its input, or with its parent.

use shm_comm::{AttachError, Channel, Publisher, Sample, Subscriber, SubscriberOptions};
use shm_comm_tests::isolation::SOON;
use shm_comm_tests::{Message, Numbered};
use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, BufRead};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() {
    die_with_the_parent();
    // A fault that a test wants leaves no file.
    let _ = limit(libc::RLIMIT_CORE, 0);
    // Whatever that of the tests is.
    // SAFETY: No pointers are involved; it cannot fail.
    unsafe { libc::umask(0o022) };
    for word in std::env::args().skip(1) {
        if let Err(error) = set_up(&word) {
            println!("unavailable {word}: {error}");
            return;
        }
    }
    println!("ready");
    let mut state = State::default();
    for line in io::stdin().lock().lines().map_while(io::Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        match state.answer(&words) {
            Ok(text) => println!("ok {text}"),
            Err(error) => println!("error {}", error.to_string().replace('\n', " ")),
        }
    }
}

fn die_with_the_parent() {
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// One word of the set-up, in the order in which they are given:
///
/// | word | what |
/// |---|---|
/// | `user=UID:GID[:GID…]` | becomes that user, of that group and the others |
/// | `umask=OCTAL` | |
/// | `files=N` | a limit: open files |
/// | `file-size=N` | a limit: bytes of a file that it writes |
/// | `addresses=N` | a limit: bytes of address space |
/// | `tmpfs=PATH,OPTIONS` | a mount that only this process sees |
/// | `bind=FROM:TO` | the same of a folder |
/// | `time-offset=SECONDS` | a time namespace: its monotonic clock is ahead by that |
/// | `pid-namespace` | one of its own, with its own `/proc`: it is pid 1 there |
/// | `join-pid-namespace=PID` | that of another |
fn set_up(word: &str) -> Result<()> {
    let (word, value) = word.split_once('=').unwrap_or((word, ""));
    match word {
        "user" => become_user(value),
        "umask" => {
            // SAFETY: No pointers are involved; it cannot fail.
            unsafe { libc::umask(u32::from_str_radix(value, 8)?) };
            Ok(())
        }
        "files" => limit(libc::RLIMIT_NOFILE, value.parse()?),
        "file-size" => limit(libc::RLIMIT_FSIZE, value.parse()?),
        "addresses" => limit(libc::RLIMIT_AS, value.parse()?),
        "tmpfs" => {
            let (path, options) = value.split_once(',').ok_or("tmpfs=PATH,OPTIONS")?;
            own_mounts()?;
            mount("tmpfs", path, "tmpfs", 0, options)
        }
        "bind" => {
            let (from, to) = value.split_once(':').ok_or("bind=FROM:TO")?;
            own_mounts()?;
            mount(from, to, "", libc::MS_BIND, "")
        }
        "time-offset" => {
            unshare(libc::CLONE_NEWTIME)?;
            let seconds: i64 = value.parse()?;
            let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
            std::fs::write("/proc/self/timens_offsets", offsets)?;
            go_on_in_a_child()
        }
        "pid-namespace" => {
            unshare(libc::CLONE_NEWPID)?;
            go_on_in_a_child()?;
            own_mounts()?;
            mount("proc", "/proc", "proc", 0, "")
        }
        "join-pid-namespace" => {
            let namespace = std::fs::File::open(format!("/proc/{value}/ns/pid"))?;
            // SAFETY: The descriptor is open.
            check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) })?;
            go_on_in_a_child()?;
            own_mounts()?;
            mount("proc", "/proc", "proc", 0, "")
        }
        _ => Err(format!("no set-up {word}").into()),
    }
}

fn become_user(ids: &str) -> Result<()> {
    let ids: Vec<u32> = ids.split(':').map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [user, group, others @ ..] = ids.as_slice() else { return Err("user=UID:GID".into()) };
    // SAFETY: So many numbers, which the kernel copies.
    check(unsafe { libc::setgroups(others.len(), others.as_ptr()) })?;
    // SAFETY: No pointers are involved.
    check(unsafe { libc::setgid(*group) })?;
    // SAFETY: No pointers are involved.
    check(unsafe { libc::setuid(*user) })?;
    // Another user: the kernel has forgotten it.
    die_with_the_parent();
    Ok(())
}

fn limit(what: libc::__rlimit_resource_t, value: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` is an `rlimit`.
    check(unsafe { libc::setrlimit(what, &limit) })?;
    Ok(())
}

/// Who is not root may have namespaces inside one of users of its own, in which it is itself.
fn unshare(what: libc::c_int) -> Result<()> {
    // SAFETY: No pointers are involved; they cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: No pointers are involved.
    match check(unsafe { libc::unshare(what) }) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && user != 0 => {}
        result => return Ok(result.map(|_| ())?),
    }
    // SAFETY: No pointers are involved.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | what) })?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    Ok(())
}

/// What is mounted from here on nobody else sees.
fn own_mounts() -> Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")
}

fn mount(from: &str, to: &str, kind: &str, flags: libc::c_ulong, options: &str) -> Result<()> {
    let [from, to, kind, options] = [from, to, kind, options].map(CString::new);
    let (from, to, kind, options) = (from?, to?, kind?, options?);
    // SAFETY: Four C strings.
    check(unsafe {
        let options = options.as_ptr().cast();
        libc::mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, options)
    })?;
    Ok(())
}

/// New pid and time namespaces begin with a child. The parent says who it is, and ends as it ends.
fn go_on_in_a_child() -> Result<()> {
    let (mut wait, go) = io::pipe()?;
    // SAFETY: This process has one thread.
    let child = check(unsafe { libc::fork() })?;
    if child != 0 {
        println!("pid {child}");
        drop(go);
        let mut status = 0;
        // SAFETY: `status` has room for it.
        while check(unsafe { libc::waitpid(child, &mut status, 0) }).is_err() {}
        let signalled = libc::WIFSIGNALED(status);
        std::process::exit(match signalled {
            true => 128 + libc::WTERMSIG(status),
            false => libc::WEXITSTATUS(status),
        });
    }
    die_with_the_parent();
    drop(go);
    // What the parent says comes first.
    io::copy(&mut wait, &mut io::sink())?;
    Ok(())
}

/// What this process has, under the keys of the one who asks.
#[derive(Default)]
struct State {
    publishers: HashMap<String, Publisher<Numbered>>,
    subscribers: HashMap<String, Subscriber<Numbered>>,
    held: HashMap<String, Sample<Numbered>>,
}

impl State {
    fn answer(&mut self, words: &[&str]) -> Result<String> {
        let done = |()| String::new();
        Ok(match words {
            // Handles.
            ["publisher", key, root, options @ ..] => {
                let publisher = Publisher::new(channel(root, options)).map_err(named)?;
                let id = publisher.id();
                self.publishers.insert((*key).to_owned(), publisher);
                format!("{} {}", id.ring, id.generation)
            }
            ["subscriber", key, root, options @ ..] => {
                let choices = SubscriberOptions::new();
                let subscriber =
                    Subscriber::with(channel(root, options), choices).map_err(named)?;
                self.subscribers.insert((*key).to_owned(), subscriber);
                String::new()
            }
            ["drop", key] => {
                self.publishers.remove(*key);
                self.subscribers.remove(*key);
                self.held.remove(*key);
                String::new()
            }
            // Messages.
            ["send", key, count] => {
                let publisher = self.publishers.get_mut(*key).ok_or("no such publisher")?;
                let first = publisher.stats().published;
                for number in first..first + count.parse::<u64>()? {
                    publisher.send(&Numbered::new(number))?;
                }
                String::new()
            }
            ["receive", key] => {
                let sample = self.receive(key)?;
                format!("{} {}", sample.number, sample.missed())
            }
            ["hold", key] => {
                let sample = self.receive(key)?;
                let number = sample.number;
                self.held.insert((*key).to_owned(), sample);
                number.to_string()
            }
            ["check", key] => {
                let sample = self.held(key)?;
                sample.check()?;
                sample.number.to_string()
            }
            // All there is: how many were received, and missed.
            ["drain", key] => {
                let subscriber = self.subscribers.get_mut(*key).ok_or("no such subscriber")?;
                let (mut received, mut missed) = (0, 0);
                while let Some(sample) = subscriber.try_recv()? {
                    sample.check()?;
                    received += 1;
                    missed += sample.missed();
                }
                format!("{received} {missed}")
            }
            // Waits for a message that does not come: how many milliseconds.
            ["wait", key, milliseconds] => {
                let subscriber = self.subscribers.get_mut(*key).ok_or("no such subscriber")?;
                let start = Instant::now();
                let timeout = Duration::from_millis(milliseconds.parse()?);
                if subscriber.recv_timeout(timeout)?.is_some() {
                    return Err("there is a message".into());
                }
                start.elapsed().as_millis().to_string()
            }
            ["others", key] => match (self.publishers.get(*key), self.subscribers.get(*key)) {
                (Some(publisher), _) => publisher.subscribers().to_string(),
                (_, Some(subscriber)) => subscriber.publishers().to_string(),
                _ => return Err("no such handle".into()),
            },
            ["skipped", key] => {
                let publisher = self.publishers.get(*key).ok_or("no such publisher")?;
                publisher.stats().skipped_slots.to_string()
            }
            // The memory of a message.
            ["address", key] => (&raw const **self.held(key)?).addr().to_string(),
            ["scribble", key] => {
                let message = (&raw const **self.held(key)?).cast_mut().cast::<u64>();
                // SAFETY: None: it shows what happens to who does this. The page is not writable, so
                // that this store changes nothing.
                unsafe { message.write_volatile(!0) };
                String::new()
            }
            // This process and its machine.
            ["pid"] => std::process::id().to_string(),
            ["monotonic"] => {
                let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: `now` has room for it.
                check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) })?;
                now.tv_sec.to_string()
            }
            ["next-pid", pid] => {
                let last = pid.parse::<u32>()? - 1;
                std::fs::write("/proc/sys/kernel/ns_last_pid", last.to_string()).map(done)?
            }
            ["space", path] => {
                let Space { used, free, files, .. } = Space::of(path)?;
                format!("{used} {free} {files}")
            }
            ["fill", path, left] => {
                let free = Space::of(path)?.free;
                let file = std::fs::File::create_new(format!("{path}/filler"))?;
                let len = free.saturating_sub(left.parse()?) as libc::off_t;
                // SAFETY: The descriptor is open. The error is returned.
                match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len.max(1)) } {
                    0 => String::new(),
                    error => return Err(io::Error::from_raw_os_error(error).into()),
                }
            }
            // Files, as somebody might do who knows nothing of channels, or means harm.
            ["read", path] => std::fs::File::open(path).map(|_| String::new())?,
            ["write", path] => {
                std::fs::OpenOptions::new().write(true).open(path).map(|_| String::new())?
            }
            ["create", path] => std::fs::File::create_new(path).map(|_| String::new())?,
            ["truncate", path] => {
                let path = CString::new(*path)?;
                // SAFETY: A C string.
                check(unsafe { libc::truncate(path.as_ptr(), 0) })?;
                String::new()
            }
            ["chmod", mode, path] => {
                let mode = u32::from_str_radix(mode, 8)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map(done)?
            }
            ["mkdir", path] => std::fs::DirBuilder::new().mode(0o700).create(path).map(done)?,
            ["remove", path] => std::fs::remove_file(path).map(done)?,
            ["rmdir", path] => std::fs::remove_dir(path).map(done)?,
            ["rename", from, to] => std::fs::rename(from, to).map(done)?,
            ["symlink", to, path] => std::os::unix::fs::symlink(to, path).map(done)?,
            ["hardlink", to, path] => std::fs::hard_link(to, path).map(done)?,
            ["list", path] => std::fs::read_dir(path)?.count().to_string(),
            // Bytes that the file takes.
            ["takes", path] => (std::fs::metadata(path)?.blocks() * 512).to_string(),
            _ => return Err(format!("no request {words:?}").into()),
        })
    }

    fn receive(&mut self, key: &str) -> Result<Sample<Numbered>> {
        let subscriber = self.subscribers.get_mut(key).ok_or("no such subscriber")?;
        let sample = subscriber.recv_timeout(SOON)?.ok_or("no message")?;
        sample.check()?;
        Ok(sample)
    }

    fn held(&self, key: &str) -> Result<&Sample<Numbered>> {
        Ok(self.held.get(key).ok_or("no sample is held")?)
    }
}

/// The root `-` is the default one. Options: `name=…`, which comes first, `depth=…`, `access=group`.
fn channel(root: &str, options: &[&str]) -> Channel {
    let named = |name: &str| match root {
        "-" => Channel::new(name),
        _ => Channel::new(name).root(root),
    };
    let mut channel = named("apart");
    for option in options {
        channel = match option.split_once('=') {
            Some(("name", name)) => named(name),
            Some(("depth", depth)) => channel.depth(depth.parse().expect("a number")),
            Some(("access", "group")) => channel.access(shm_comm::Access::Group),
            _ => panic!("no option {option}"),
        };
    }
    channel
}

/// The error, and before it what it is called.
fn named(error: AttachError) -> String {
    let debug = format!("{error:?}");
    let name = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    format!("{name}: {error}")
}

/// Of a file system, in bytes; and how many files are on it.
struct Space {
    used: u64,
    free: u64,
    files: u64,
}

impl Space {
    fn of(path: &str) -> Result<Space> {
        let path = CString::new(path)?;
        let mut info = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: A C string, and room for a `statvfs`.
        check(unsafe { libc::statvfs(path.as_ptr(), info.as_mut_ptr()) })?;
        // SAFETY: `statvfs` succeeded, so it has filled it.
        let info = unsafe { info.assume_init() };
        let used = (info.f_blocks - info.f_bfree) * info.f_frsize;
        Ok(Space { used, free: info.f_bfree * info.f_frsize, files: info.f_files - info.f_ffree })
    }
}
