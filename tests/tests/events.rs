//! What the `tracing` feature tells of channels: which events, with which fields, and none else.
//!
//! Events are collected where they happen: on the thread of the test.

use shm_comm::{AttachError, Channel, Publisher, RecvError, Subscriber, WaitError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Level, Metadata};

const SOON: Duration = Duration::from_secs(20);

/// One event of the library.
#[derive(Debug)]
struct Event {
    level: Level,
    /// With the message as `message`.
    fields: BTreeMap<&'static str, String>,
}

impl Event {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Checks everything that is in it.
    fn check(&self, level: Level, fields: &[(&'static str, &str)]) {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        assert_eq!((self.level, &self.fields), (level, &fields));
    }
}

impl Visit for Event {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

thread_local! {
    /// What has happened on this thread.
    static HAPPENED: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

/// One for the whole program: several that come and go while events happen for the first time miss
/// some.
struct Collector;

impl tracing::Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "shm_comm"
    }
    fn event(&self, event: &tracing::Event<'_>) {
        let mut found = Event { level: *event.metadata().level(), fields: BTreeMap::default() };
        event.record(&mut found);
        HAPPENED.with_borrow_mut(|events| events.push(found));
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// What happens on this thread since it was made.
struct Events;

impl Events {
    fn collect() -> Events {
        static COLLECTING: Once = Once::new();
        COLLECTING.call_once(|| tracing::subscriber::set_global_default(Collector).unwrap());
        HAPPENED.with_borrow_mut(Vec::clear);
        Events
    }

    /// What has happened since the last time.
    fn take<const N: usize>(&self) -> [Event; N] {
        let events = HAPPENED.take();
        events.try_into().unwrap_or_else(|events| panic!("not {N}: {events:#?}"))
    }
}

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        // Whatever the umask.
        let private = std::fs::Permissions::from_mode(0o700);
        Root(tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn channel(&self) -> Channel {
        Channel::new("events").root(self.path())
    }
    fn file(&self) -> PathBuf {
        self.path().join("events.pubsub")
    }
}

/// What tells a process in which only one test runs that it is the other one of that test, and where.
const ALONE: &str = "SHM_COMM_TEST_ALONE";

/// Where to act, in a process that was started by [`alone`].
fn root_of_other() -> Option<PathBuf> {
    let root = std::env::var_os(ALONE)?;
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    Some(root.into())
}

/// This program again, for one test.
fn alone(test: &str, root: &Root) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(ALONE, root.path()).stdin(Stdio::null());
    command
}

/// A process that does not outlive its test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_channel_tells_when_it_is_made_joined_left_and_removed_and_nothing_of_messages() {
    let root = Root::new();
    let events = Events::collect();
    let file = root.file();
    let path = ("path", file.to_str().unwrap());
    let handle = |kind, message| [("kind", kind), ("message", message), ("number", "0"), path];

    let mut publisher = Publisher::<u64>::new(root.channel()).unwrap();
    let [created, attached] = events.take();
    let geometry = [("depth", "64"), ("max_publishers", "8"), ("max_subscribers", "64")];
    let what = [("message", "channel created"), path, ("schema", "u64")];
    created.check(Level::INFO, &[&what[..], &geometry].concat());
    attached.check(Level::INFO, &handle("publisher", "attached"));

    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let [attached] = events.take();
    attached.check(Level::INFO, &handle("subscriber", "attached"));

    for value in 0..1000 {
        publisher.send(&value).unwrap();
        assert_eq!(*subscriber.recv().unwrap(), value);
    }
    assert!(subscriber.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
    root.channel().info().unwrap();
    let [] = events.take();

    drop(subscriber);
    let [detached] = events.take();
    detached.check(Level::INFO, &handle("subscriber", "detached"));
    drop(publisher);
    let [detached, removed] = events.take();
    detached.check(Level::INFO, &handle("publisher", "detached"));
    removed.check(Level::INFO, &[("message", "channel removed"), path]);
}

#[test]
fn a_channel_tells_when_it_is_replaced() {
    let root = Root::new();
    let _subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let events = Events::collect();
    let _publisher = Publisher::<u64>::new(root.channel().depth(300)).unwrap();
    let messages = events.take::<4>().map(|event| event.field("message").to_owned());
    assert_eq!(
        messages,
        [
            "channel replaced by one of another type or geometry",
            "channel removed",
            "channel created",
            "attached",
        ]
    );
}

#[test]
fn the_next_to_come_tells_who_was_killed() {
    if let Some(root) = root_of_other() {
        return hold_until_killed(&root);
    }
    let root = Root::new();
    // So that somebody is there all the time, and nobody replaces the segment.
    let _keeper = Subscriber::<u64>::new(root.channel()).unwrap();
    let mut other = alone("the_next_to_come_tells_who_was_killed", &root);
    let other = Peer(other.stdout(Stdio::null()).spawn().unwrap());
    let end = Instant::now() + SOON;
    while !root.channel().info().unwrap()[0].subscribers.iter().any(|s| s.held == 1) {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = other.0.id().to_string();
    drop(other);
    let dead = root.channel().info().unwrap().remove(0);
    assert!(!dead.publishers[0].alive, "{dead:?}");
    assert_eq!(dead.subscribers.iter().filter(|s| !s.alive && s.held == 1).count(), 1, "{dead:?}");

    let events = Events::collect();
    let publisher = Publisher::<u64>::new(root.channel()).unwrap();
    let file = root.file();
    let path = ("path", file.to_str().unwrap());
    let [taken_over, reaped, attached] = events.take();
    taken_over.check(
        Level::WARN,
        &[
            ("kind", "publisher"),
            ("message", "taken over: it has died"),
            ("number", "0"),
            path,
            ("pid", &pid),
        ],
    );
    reaped.check(
        Level::WARN,
        &[
            ("kind", "subscriber"),
            ("message", "reaped: it has died"),
            ("number", "1"),
            path,
            ("pid", &pid),
        ],
    );
    assert_eq!(attached.field("message"), "attached");

    // Said once.
    let _another = Subscriber::<u64>::new(root.channel()).unwrap();
    let [attached] = events.take();
    assert_eq!(attached.field("message"), "attached");
    assert_eq!(root.channel().info().unwrap()[0].subscribers.len(), 2);
    drop(publisher);
}

fn hold_until_killed(root: &Path) {
    let channel = Channel::new("events").root(root);
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
    publisher.send(&1).unwrap();
    let _sample = subscriber.recv().unwrap();
    std::thread::sleep(SOON);
    panic!("nobody has killed it");
}

#[test]
fn who_is_refused_is_told() {
    let root = Root::new();
    let _publisher = Publisher::<u64>::new(root.channel()).unwrap();
    let events = Events::collect();
    let texts = [
        ("publisher", Publisher::<i64>::new(root.channel()).unwrap_err()),
        ("subscriber", Subscriber::<i64>::new(root.channel()).unwrap_err()),
    ];
    for (refused, (kind, error)) in events.take::<2>().into_iter().zip(texts) {
        assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
        refused.check(
            Level::WARN,
            &[
                ("channel", "events"),
                ("error", &error.to_string()),
                ("kind", kind),
                ("message", "attach refused"),
            ],
        );
    }
}

#[test]
fn a_subscriber_that_waits_for_a_publisher_says_so_once() {
    let root = Root::new();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let events = Events::collect();
    assert!(subscriber.recv_timeout(Duration::from_secs(4)).unwrap().is_none());
    let [] = events.take();
    assert!(subscriber.recv_timeout(Duration::from_secs(2)).unwrap().is_none());
    let [lonely] = events.take();
    let file = root.file();
    let waited = lonely.field("waited").to_owned();
    assert!(waited.starts_with("5."), "{waited}");
    lonely.check(
        Level::WARN,
        &[
            ("message", "a subscriber waits, and there is no publisher"),
            ("path", file.to_str().unwrap()),
            ("waited", &waited),
        ],
    );
    assert!(subscriber.recv_timeout(Duration::from_millis(300)).unwrap().is_none());
    let [] = events.take();
}

/// In a process of its own: it closes descriptors that belong to somebody else.
#[test]
fn who_loses_his_lock_says_so() {
    if let Some(root) = root_of_other() {
        return lose_locks(&root);
    }
    let root = Root::new();
    let output = alone("who_loses_his_lock_says_so", &root).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn lose_locks(root: &Path) {
    let (channel, file) = (Channel::new("events").root(root), root.join("events.pubsub"));
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
    let events = Events::collect();
    close_all(&file);

    let error = subscriber.recv_timeout(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, RecvError::LockLost { .. }), "{error}");
    let error = subscriber.wait_for_publishers(1, Duration::ZERO).unwrap_err();
    assert!(matches!(error, WaitError::LockLost { .. }), "{error}");
    let error = publisher.wait_for_subscribers(1, Duration::ZERO).unwrap_err();
    assert!(matches!(error, WaitError::LockLost { .. }), "{error}");
    for lost in events.take::<3>() {
        lost.check(
            Level::WARN,
            &[
                ("message", "lock lost: its descriptor was closed by somebody else"),
                ("path", file.to_str().unwrap()),
            ],
        );
    }

    drop((publisher, subscriber));
    for detached in events.take::<2>() {
        assert_eq!(detached.field("message"), "detached");
    }
}

/// Closes every descriptor of this file.
fn close_all(file: &Path) {
    let wanted = std::fs::metadata(file).unwrap();
    let mut closed = 0;
    // Collected first: the folder that is read has a descriptor, too.
    let links: Vec<_> = std::fs::read_dir("/proc/self/fd").unwrap().flatten().collect();
    for link in links {
        // (Not by what the link says: a file that was made without a name has none there.)
        let Ok(found) = std::fs::metadata(link.path()) else { continue };
        if (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()) {
            let descriptor: RawFd = link.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: Of this process, and the library expects it.
            assert_eq!(unsafe { libc::close(descriptor) }, 0);
            closed += 1;
        }
    }
    assert!(closed >= 2, "{closed}");
}
