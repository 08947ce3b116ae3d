//! What a test of several processes needs: a root of its own, peers that do not outlive it, an end
//! if it hangs, and a look whether anything was lost.

use crate::{Ledger, Message, Watch};
use shm_comm::{Channel, Publisher, Subscriber};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// However busy the machine is.
pub const SOON: Duration = Duration::from_secs(20);

/// A folder for channels, gone with the test.
#[derive(Debug)]
pub struct Root(tempfile::TempDir);

impl Root {
    /// A new one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Root {
        Root::within(Path::new("/dev/shm"))
    }

    /// A new one in another folder.
    pub fn within(folder: &Path) -> Root {
        // Whatever the umask.
        let private = std::fs::Permissions::from_mode(0o700);
        Root(tempfile::Builder::new().permissions(private).tempdir_in(folder).unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The channel that peers use if nobody says another.
    pub fn channel(&self) -> Channel {
        self.named("peers")
    }

    /// A channel.
    pub fn named(&self, name: &str) -> Channel {
        Channel::new(name).root(self.path())
    }

    /// The files in it.
    pub fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Those among them that bear the name of a channel. A segment that was replaced bears another
    /// until everybody has followed.
    pub fn segments(&self) -> Vec<PathBuf> {
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "pubsub");
        self.files().into_iter().filter(is_segment).collect()
    }
}

/// The channel of the tests that look at every step: a ring of 32 slots goes round soon, and there
/// are no more places than are needed.
pub fn small(root: &Path) -> Channel {
    Channel::new("small").root(root).depth(8).max_publishers(2).max_subscribers(4)
}

/// The life of a peer that replaces a channel, see [`Travels`](crate::Travels).
pub const PEERS: u64 = 1;
/// The life of the publisher whose message ends those who hear it.
pub const LAST: u64 = u32::MAX as u64;
/// A peer ends with this code if the channel has another depth than its own.
pub const REFUSED: i32 = 4;

/// The command that starts a peer. `program` is `CARGO_BIN_EXE_peer`, which only tests know.
pub fn peer(program: &str, root: &Root, channel: &str, role: &str, argument: u64) -> Command {
    let mut command = Command::new(program);
    command.arg(role).arg(root.path()).arg(channel).arg(argument.to_string()).stdin(Stdio::null());
    command
}

/// A process that does not outlive its test.
#[derive(Debug)]
pub struct Peer(Child);

impl Peer {
    /// Starts one on the channel [`Root::channel`].
    pub fn start(program: &str, root: &Root, role: &str, argument: u64) -> Peer {
        Peer::start_on(program, root, "peers", role, argument)
    }

    /// Starts one.
    pub fn start_on(program: &str, root: &Root, channel: &str, role: &str, argument: u64) -> Peer {
        Peer(peer(program, root, channel, role, argument).spawn().unwrap())
    }

    /// Starts one with more arguments than usual.
    pub fn spawn(command: &mut Command) -> Peer {
        Peer(command.spawn().unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: No pointers are involved; it was not waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.0.id() as libc::pid_t, signal) }, 0);
    }

    /// Stops it, and waits until it is stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let end = Instant::now() + SOON;
        let stat = format!("/proc/{}/stat", self.0.id());
        // The state comes after the name.
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(Instant::now() < end, "it does not stop");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Kills it, unless it has ended by itself, which none of these do unless something is wrong.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended by itself: {status}");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("a peer does not end");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Different in every run; what goes wrong at random does so for good.
pub fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

/// Says something that is seen also if the test passes.
pub fn report(text: std::fmt::Arguments) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Takes some times, none of which may be above a quarter of a second. The machine may be busy: so each is
/// tried again a few times.
pub fn within_a_quarter_of_a_second(what: &str, time: impl Fn() -> Duration) {
    const BOUND: Duration = Duration::from_millis(250);
    let mut times = Vec::new();
    for _ in 0..8 {
        let mut tries = 0;
        loop {
            let time = time();
            times.push(time);
            if time < BOUND {
                break;
            }
            tries += 1;
            assert!(tries < 5, "{what}: {times:.1?}");
        }
    }
    report(format_args!("{what} after {times:.1?}"));
}

/// Tells threads to stop when the test ends, also by a panic.
#[derive(Debug)]
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A [`Watch`] that ends the process if the test hangs. Nothing else ends a thread that is stuck.
#[derive(Debug)]
pub struct Guard(Arc<Watch>);

impl Guard {
    /// Watches until it is dropped. Who ends the process removes the root.
    pub fn over(root: &Root) -> Guard {
        const TEST: Duration = Duration::from_secs(240);
        let watch = Arc::new(Watch::default());
        let (weak, root): (Weak<Watch>, _) = (Arc::downgrade(&watch), root.path().to_owned());
        let end = Instant::now() + TEST;
        std::thread::spawn(move || {
            while let Some(watch) = weak.upgrade() {
                let stuck = watch.stuck(SOON);
                if stuck.is_some() || Instant::now() > end {
                    report(format_args!("it hangs: {}", stuck.unwrap_or("the test")));
                    let _ = std::fs::remove_dir_all(&root);
                    std::process::exit(101);
                }
                drop(watch);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Guard(watch)
    }

    /// Nobody was delayed. Says who was longest.
    pub fn nobody_was_delayed(&self) -> String {
        let (time, what) = self.longest();
        assert!(time < Watch::BOUND, "{what} took {time:?}");
        format!("longest operation of a survivor: {what}, {:.1} ms", time.as_secs_f64() * 1e3)
    }
}

impl Deref for Guard {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.0
    }
}

/// What must be left of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Free {
    /// Publishers that can come.
    pub publishers: usize,
    /// Subscribers that can come.
    pub subscribers: usize,
    /// At least the slots of a ring.
    pub slots: u64,
    /// Slots of all rings together that a survivor holds.
    pub held: u64,
}

/// With everybody dead who is to die: every message was accounted for, all places can be had, at
/// once, and all slots are free. `witness` was there before every publisher, and holds nothing.
pub fn nothing_is_lost<T: Message>(
    channel: &Channel,
    free: Free,
    mut witness: Option<(&mut Subscriber<T>, &mut Ledger)>,
    watch: &Watch,
) {
    let open = || watch.time("open a publisher", || Publisher::<T>::new(channel).unwrap());
    let mut publishers: Vec<_> = (0..free.publishers).map(|_| open()).collect();
    if let Some((subscriber, ledger)) = &mut witness {
        ledger.drain(subscriber).unwrap();
        for publisher in &publishers {
            // What the dead have published was seen or counted, and nothing else.
            let published = publisher.stats().published;
            assert_eq!(ledger.next(publisher.id().ring), Some(published), "{:?}", publisher.id());
        }
    }
    let open = || watch.time("open a subscriber", || Subscriber::<T>::new(channel).unwrap());
    let mut others: Vec<_> = (0..free.subscribers).map(|_| open()).collect();

    // What had been claimed and marked when they died is behind us after a lap.
    let skipped = |publishers: &[Publisher<T>]| -> u64 {
        publishers.iter().map(|p| p.stats().skipped_slots).sum()
    };
    let mut message = T::blank();
    let mut before = 0;
    for lap in 0..3 {
        for publisher in &mut publishers {
            for _ in 0..free.slots {
                message.fill(publisher.stats().published);
                watch.time("send", || publisher.send(&message).unwrap());
                if let Some((subscriber, ledger)) = &mut witness {
                    let sample = watch.time("recv", || subscriber.recv_timeout(SOON).unwrap());
                    let sample = sample.expect("the message that was just sent");
                    ledger.enter(&sample).unwrap();
                    assert_eq!((sample.missed(), sample.publisher()), (0, publisher.id()));
                }
            }
        }
        if lap == 0 {
            before = skipped(&publishers);
        }
    }
    // Two laps of messages are a little more than two laps of slots.
    let lost = skipped(&publishers) - before;
    assert!((2 * free.held..=3 * free.held).contains(&lost), "{lost} slots are still held");
    for subscriber in &mut others {
        let sample = watch.time("recv", || subscriber.recv_timeout(SOON).unwrap());
        Ledger::default().enter(&sample.expect("what was sent")).unwrap();
    }
}
