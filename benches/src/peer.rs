//! The second process: this program again, on another core, told line by line what to do.
//!
//! It sleeps on its standard input between rows, and spins only during them. Neither process
//! outlives the other's end by much, though the loops that are timed have no deadline in them:
//!
//! | what happens | who notices | how |
//! |---|---|---|
//! | the first process dies | the kernel | `PR_SET_PDEATHSIG` kills the second |
//! | the second process dies | the watchdog, a thread of the first that sleeps in `poll` | its pidfd |
//! | both hang | the watchdog; `alarm` in the second | the deadline |
//! | Ctrl-C and its like | the watchdog | a signalfd |
//!
//! The watchdog removes the folder and ends the program with exit code 1.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::patterns::Served;
use crate::transport::{self, Job};
use crate::{Result, machine};

/// The hidden first argument of the second process.
const PEER: &str = "--peer";

/// The second process, as the first sees it. Dropped: it is killed, and the folder is removed.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    folder: TempDir,
    cores: (usize, usize),
    rows: u64,
    over: Arc<AtomicBool>,
}

impl Peer {
    /// Pins this process to a core, starts another on a second one, and watches both.
    pub fn start(deadline: Duration) -> Result<Peer> {
        let cores = match machine::cores()?[..] {
            [first, second, ..] => (first, second),
            _ => return Err("two cores are needed, this process may run on one only".into()),
        };
        let folder = tempfile::Builder::new()
            .prefix("shm-comm-bench-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700)) // whatever the umask
            .tempdir_in("/dev/shm")?;
        let signals = take_signals()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(PEER)
            .arg(cores.1.to_string())
            .arg(folder.path())
            .arg(deadline.as_secs().to_string())
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let over = Arc::new(AtomicBool::new(false));
        let watchdog = Watchdog {
            child: pidfd(&child)?,
            signals,
            deadline,
            folder: folder.path().to_owned(),
            over: over.clone(),
        };
        std::thread::spawn(move || watchdog.run());
        machine::pin_to(cores.0)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.ok_or("the second process has no output")?);
        let mut peer = Peer { child, input, output, folder, cores, rows: 0, over };
        peer.expect("hello")?;
        Ok(peer)
    }

    /// Where the transports put their files: on a tmpfs, and empty at first.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The core of this process and that of the other.
    pub fn cores(&self) -> (usize, usize) {
        self.cores
    }

    /// A row of its own, between the two.
    pub fn job(&mut self, transport: &str, mode: &str, payload: usize) -> Job {
        self.rows += 1;
        let channel = format!("row-{}", self.rows);
        Job { transport: transport.into(), mode: mode.into(), payload, channel }
    }

    /// Has the other process open its end.
    pub fn begin(&mut self, part: Served, job: &Job) -> Result<()> {
        let Job { transport, mode, payload, channel } = job;
        self.command(&format!("{}\t{transport}\t{mode}\t{payload}\t{channel}", part.name()))?;
        self.expect("ready")?;
        Ok(())
    }

    /// Has the other process close its end.
    pub fn end(&mut self) -> Result<()> {
        self.command("end")?;
        self.expect("ended")?;
        Ok(())
    }

    /// Sends a line.
    pub fn command(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("the second process was stopped")?;
        Ok(input.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Waits for a line that begins so, and returns the rest of it.
    pub fn expect(&mut self, answer: &str) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.trim_end().strip_prefix(answer) {
            Some(rest) => Ok(rest.trim_start().to_owned()),
            None => Err(format!("the second process said {line:?} instead of {answer:?}").into()),
        }
    }

    /// Ends it in an orderly way.
    pub fn stop(mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.input = None;
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Blocks the signals that would end this process and leave its folder; they are read instead.
fn take_signals() -> Result<OwnedFd> {
    // SAFETY: Plain data, initialised by the next call.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: A set of our own.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: As above.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    // SAFETY: As above. Threads that are started later inherit the mask, and so does the child,
    // which ends with this process anyway.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    // SAFETY: As above.
    owned(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) })
}

fn pidfd(child: &Child) -> Result<OwnedFd> {
    // SAFETY: Takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) } as i32)
}

fn owned(descriptor: i32) -> Result<OwnedFd> {
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: New, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sleeps until something goes wrong.
struct Watchdog {
    child: OwnedFd,
    signals: OwnedFd,
    deadline: Duration,
    folder: PathBuf,
    over: Arc<AtomicBool>,
}

impl Watchdog {
    fn run(self) {
        let watched = |descriptor: &OwnedFd| libc::pollfd {
            fd: descriptor.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut descriptors = [watched(&self.child), watched(&self.signals)];
        // SAFETY: An array of two.
        let ready = unsafe {
            libc::poll(descriptors.as_mut_ptr(), 2, self.deadline.as_millis() as libc::c_int)
        };
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        match ready {
            0 => eprintln!("error: not done after {:?}", self.deadline),
            _ if descriptors[0].revents != 0 => eprintln!("error: the second process ended early"),
            _ => eprintln!("error: interrupted"),
        }
        // The second process dies with this one.
        let _ = std::fs::remove_dir_all(&self.folder);
        std::process::exit(1);
    }
}

/// What the second process was told when it was started.
pub struct Assignment {
    core: usize,
    folder: PathBuf,
    deadline: u32,
    parent: u32,
}

/// This process's assignment, if it is the second one.
pub fn assignment() -> Option<Assignment> {
    let mut args = std::env::args().skip(1);
    if args.next()? != PEER {
        return None;
    }
    Some(Assignment {
        core: args.next()?.parse().ok()?,
        folder: args.next()?.into(),
        deadline: args.next()?.parse().ok()?,
        parent: args.next()?.parse().ok()?,
    })
}

/// The whole of the second process.
pub fn serve(assignment: Assignment) -> Result<()> {
    // SAFETY: Takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if std::os::unix::process::parent_id() != assignment.parent {
        return Err("the first process ended early".into());
    }
    // SAFETY: Takes a number only. Nobody handles the signal, so it kills.
    unsafe { libc::alarm(assignment.deadline) };
    machine::pin_to(assignment.core)?;
    let mut commands = Commands { input: BufReader::new(std::io::stdin()) };
    commands.answer("hello")?;
    while let Some(line) = commands.next()? {
        let words: Vec<&str> = line.split('\t').collect();
        let [part, transport, mode, payload, channel] = words[..] else {
            return Err(format!("{line:?} is no command").into());
        };
        let part: Served = part.parse()?;
        let job = Job {
            transport: transport.into(),
            mode: mode.into(),
            payload: payload.parse()?,
            channel: channel.into(),
        };
        (transport::named(transport, mode)?.serve)(&assignment.folder, &job, part, &mut commands)?;
        commands.answer("ended")?;
    }
    Ok(())
}

/// The first process, as the second sees it.
pub struct Commands {
    input: BufReader<std::io::Stdin>,
}

impl Commands {
    /// The next line; `None` when there are no more.
    fn next(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self.input.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }

    /// The number of the next message and how many there will be; `None` when the row is over.
    pub fn go(&mut self) -> Result<Option<(u64, u64)>> {
        let line = self.next()?.ok_or("the first process ended early")?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["go", first, count] => Ok(Some((first.parse()?, count.parse()?))),
            ["end"] => Ok(None),
            _ => Err(format!("{line:?} is no command").into()),
        }
    }

    /// Sends a line.
    pub fn answer(&mut self, line: &str) -> Result<()> {
        let mut output = std::io::stdout().lock();
        output.write_all(format!("{line}\n").as_bytes())?;
        Ok(output.flush()?)
    }
}
