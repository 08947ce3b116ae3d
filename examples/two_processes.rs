//! What a program needs that starts itself once more, so that one process publishes and the other
//! receives, and that counts what arrives.
//!
//! The publisher's process makes a [`folder`] for the channel, starts the other ([`Process`]),
//! [publishes](publish) and at last tells how many messages it was ([`Process::finish`]). The
//! subscriber's [receives](receive) until it has the last of them: that one is never overwritten.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{DirBuilder, Permissions};
use std::io::{BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use shm_comm::{Channel, LoanError, Payload, Publisher, RecvError, Sample, Subscriber};
use tempfile::TempDir;

/// How long one process waits for a thing that the other does at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a program ends.
pub fn report(result: Result<ExitCode, Box<dyn Error>>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// The same clock in both processes.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

// ── the publisher's process ──────────────────────────────────────────────────────────────────────

/// Becomes true when somebody presses Ctrl-C.
pub fn stop_flag() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let stop_too = stop.clone();
    ctrlc::set_handler(move || stop_too.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// A folder of our own, so that two that run at the same time do not meet. Dropped, it is removed.
pub fn folder(prefix: &str) -> Result<TempDir, String> {
    let root = std::env::var_os("SHM_COMM_ROOT").filter(|root| !root.is_empty());
    let root = root.unwrap_or("/dev/shm".into());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&root)
        .and_then(|()| {
            // Ours alone, whatever the umask says: the library insists on it.
            let mut folder = tempfile::Builder::new();
            folder.prefix(prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(&root)
        })
        .map_err(|error| format!("no folder for the channel in {}: {error}", root.display()))
}

/// The other process. Dropped: ended, whatever it is doing.
pub struct Process {
    child: Child,
    /// What it is called in errors.
    role: &'static str,
}

impl Process {
    /// This program once more, as a subscriber.
    pub fn start<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Process, Box<dyn Error>> {
        Process::start_as("subscriber", arguments)
    }

    /// This program once more.
    pub fn start_as<A: AsRef<OsStr>>(
        role: &'static str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Process, Box<dyn Error>> {
        let child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the {role}: {error}"))?;
        Ok(Process { child, role })
    }

    /// Waits until it has a subscriber, or is not wanted any more.
    pub fn wait_until_attached<T: Payload + ?Sized>(
        &mut self,
        publisher: &mut Publisher<T>,
        stop: &AtomicBool,
    ) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while !publisher.wait_for_subscribers(1, Duration::from_millis(20))? {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.check_alive()?;
            if Instant::now() >= deadline {
                return Err("the subscriber does not come".into());
            }
        }
        Ok(())
    }

    /// It does not end before it is told to, unless something is wrong.
    pub fn check_alive(&mut self) -> Result<(), Box<dyn Error>> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("the {} has ended too early: {status}", self.role).into()),
            None => Ok(()),
        }
    }

    /// `kill -9`, and waits until it is dead.
    pub fn kill(&mut self) -> std::io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Tells it how many were sent, and waits until it has received the last one.
    pub fn finish(&mut self, sent: u64) -> Result<ExitStatus, Box<dyn Error>> {
        if let Some(mut stdin) = self.child.stdin.take() {
            writeln!(stdin, "{sent}")
                .map_err(|error| format!("the subscriber is gone: {error}"))?;
        }
        self.wait()
    }

    /// Waits until it has come to an end by itself.
    pub fn wait(&mut self) -> Result<ExitStatus, Box<dyn Error>> {
        let deadline = Instant::now() + 2 * PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(format!("the {} does not come to an end", self.role).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both are harmless if it has ended.
        let _ = self.kill();
        let _ = self.child.wait();
    }
}

/// Sends `count` messages, the `n`th when it is `due` after the start (`None`: at once), unless it is
/// stopped. An error if the other process does not live to see the end, which is looked at once a
/// second.
#[inline]
pub fn publish(
    title: impl Display,
    count: u64,
    due: impl Fn(u64) -> Option<Duration>,
    mut send: impl FnMut(u64) -> Result<(), LoanError>,
    subscriber: &mut Process,
    stop: &AtomicBool,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut next_progress = start + Duration::from_secs(1);
    for sent in 0..count {
        let due = due(sent);
        if let Some(due) = due {
            sleep_until(start, due, stop);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        send(sent)?;
        if (due.is_some() || sent % 65536 == 0) && Instant::now() >= next_progress {
            eprintln!("{title}: {} of {count} sent", sent + 1);
            subscriber.check_alive()?;
            next_progress += Duration::from_secs(1);
        }
    }
    Ok(())
}

/// Sleeps until it is `due` after `start`, or until it is stopped.
fn sleep_until(start: Instant, due: Duration, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = due.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

// ── the subscriber's process ─────────────────────────────────────────────────────────────────────

/// What a message says of itself.
pub struct Checked {
    /// When it was published, see [`monotonic_ns`].
    pub published_ns: u64,
    /// It is what was to be published under its number.
    pub is_right: bool,
}

/// What came of the messages that were sent.
pub struct Tally {
    pub sent: u64,
    pub received: u64,
    pub missed: u64,
    pub wrong: u64,
    /// In nanoseconds, up to a minute, to three digits.
    pub latency: Histogram<u64>,
}

impl Tally {
    /// Whether every message was right that arrived, and none is unaccounted for.
    pub fn exit_code(&self) -> ExitCode {
        let is_right = self.wrong == 0 && self.sent == self.received + self.missed;
        if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Receives and checks until it is told on stdin how many were sent, and has received the last of
/// them. The channel is the only one in the folder `root`.
pub fn receive<T: Payload + ?Sized>(
    root: &Path,
    channel: &Channel,
    mut check: impl FnMut(&Sample<T>) -> Checked,
) -> Result<Tally, Box<dyn Error>> {
    let mut subscriber = Subscriber::<T>::new(channel)?;

    // `None`: the publisher's process is gone.
    let told = Arc::new(OnceLock::<Option<u64>>::new());
    let (told_too, interrupter) = (told.clone(), subscriber.interrupter());
    thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let sent = read.ok().and_then(|_| line.trim_end().parse().ok());
        told_too.get_or_init(|| sent);
        interrupter.interrupt();
    });

    let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut tally = Tally { sent: 0, received: 0, missed: 0, wrong: 0, latency };
    let mut next_sequence = 0;
    loop {
        let sent = match told.get() {
            Some(Some(sent)) if next_sequence >= *sent => {
                tally.sent = *sent;
                return Ok(tally);
            }
            Some(None) => {
                drop(subscriber);
                tidy_up::<T>(root, channel);
                return Err("the publisher is gone".into());
            }
            sent => sent,
        };
        match subscriber.recv_timeout(PATIENCE) {
            Ok(Some(sample)) => {
                let received_ns = monotonic_ns();
                let Checked { published_ns, is_right } = check(&sample);
                tally.latency.saturating_record(received_ns.saturating_sub(published_ns));
                tally.received += 1;
                tally.missed += sample.missed();
                tally.wrong += u64::from(!is_right);
                next_sequence = sample.sequence() + 1;
            }
            Ok(None) if sent.is_some() => return Err("the last message did not come".into()),
            // A slow rate, or there is news on stdin.
            Ok(None) | Err(RecvError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes the folder of a publisher that was killed: nobody else is left to do it.
pub fn tidy_up<T: Payload + ?Sized>(root: &Path, channel: &Channel) {
    tidy_up_by(root, || drop(Subscriber::<T>::new(channel)));
}

/// The same for any channel: `visit` enters it and leaves it.
pub fn tidy_up_by(root: &Path, visit: impl Fn()) {
    let deadline = Instant::now() + PATIENCE;
    while root.exists() && std::fs::remove_dir(root).is_err() && Instant::now() < deadline {
        // While the dead one was not quite dead, its channel was not ours to remove. Who comes next
        // finds nobody there and, when leaving, removes it.
        visit();
        thread::sleep(Duration::from_millis(10));
    }
}
