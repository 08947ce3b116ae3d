//! What a look at a channel shows, and that it changes nothing.

mod common;

use shm_comm::{
    Access, AttachError, Channel, ChannelInfo, Error, Pattern, Publisher, Schema, ShmMessage,
    Subscriber, SubscriberOptions, Wait, channels,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn channel(&self, name: &str) -> Channel {
        Channel::new(name).root(self.path())
    }
    fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.pubsub"))
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.path()).unwrap().count()
    }
    /// What a channel looks like whose participants were killed.
    fn leave_stale(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap();
        set_mode(&self.file(name), 0o600);
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        set_mode(self.path(), 0o700);
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[derive(ShmMessage, Clone, Copy)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

fn info(channel: &Channel) -> ChannelInfo {
    let mut info = channel.info().unwrap();
    assert_eq!(info.len(), 1, "{info:?}");
    info.remove(0)
}

fn names(root: &Path) -> Vec<String> {
    channels(Some(root)).unwrap().into_iter().map(|channel| channel.name).collect()
}

#[test]
fn a_look_shows_who_is_there_and_what_he_does() {
    let root = Root::new();
    let channel = root.channel("a/points").depth(100).max_publishers(3).max_subscribers(7);
    let mut first = Publisher::<Point>::new(&channel).unwrap();
    let mut second = Publisher::<Point>::new(&channel).unwrap();
    let options = SubscriberOptions::new().max_held(9);
    let mut holder = Subscriber::<Point>::with(&channel, options).unwrap();
    let gone = Subscriber::<Point>::new(&channel).unwrap();
    let idle = Subscriber::<Point>::new(&channel).unwrap();
    let last = Subscriber::<Point>::new(&channel).unwrap();
    drop(gone);
    for _ in 0..1000 {
        first.send(&Point { x: 1.0, y: 2.0 }).unwrap();
    }
    second.send(&Point { x: 1.0, y: 2.0 }).unwrap();
    let held = [holder.recv().unwrap(), holder.recv().unwrap()];

    let info = info(&root.channel("a/points"));
    assert_eq!((info.name.as_str(), info.pattern), ("a/points", Pattern::PubSub));
    assert_eq!(info.pattern.to_string(), "pubsub");
    assert_eq!(info.path, root.path().join("a%2Fpoints.pubsub"));
    assert_eq!(info.type_name, "Point");
    assert_eq!(info.schema, Schema::of::<Point>());
    assert_eq!(info.layout_hash, info.schema.hash());
    assert_eq!((info.message_size, info.message_align), (16, 8));
    assert_eq!((info.depth, info.slots), (100, 128));
    assert_eq!((info.max_publishers, info.max_subscribers), (3, 7));
    let file = std::fs::metadata(&info.path).unwrap();
    assert_eq!((info.file_size, info.memory), (file.len(), file.blocks() * 512));
    assert!(info.memory < info.file_size, "the third ring takes no memory: {info:?}");
    assert!(!info.is_stale && !info.is_retired);

    let published: Vec<_> = info.publishers.iter().map(|p| (p.number, p.published)).collect();
    assert_eq!(published, [(first.id().ring, 1000), (second.id().ring, 1)]);
    for publisher in &info.publishers {
        assert_eq!((publisher.pid, publisher.generation), (std::process::id(), 1));
        assert!(publisher.alive && publisher.process_start > 0);
    }
    let subscribers: Vec<_> =
        info.subscribers.iter().map(|s| (s.number, s.held, s.max_held)).collect();
    assert_eq!(subscribers, [(0, 2, 9), (2, 0, 4), (3, 0, 4)]);
    for subscriber in &info.subscribers {
        assert_eq!(subscriber.pid, std::process::id());
        assert_eq!(subscriber.process_start, info.publishers[0].process_start);
        assert!(subscriber.alive && subscriber.listens && !subscriber.sleeping);
    }
    drop((held, idle, last));
}

#[test]
fn a_publisher_that_comes_after_another_has_its_ring_and_another_generation() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let _subscriber = Subscriber::<u64>::new(&channel).unwrap();
    for generation in 1..4 {
        let mut publisher = Publisher::<u64>::new(&channel).unwrap();
        publisher.send(&1).unwrap();
        let found = &info(&channel).publishers[0];
        assert_eq!((found.generation, found.published), (generation, generation.into()));
        drop(publisher);
        assert!(info(&channel).publishers.is_empty());
    }
}

#[test]
fn a_subscriber_that_sleeps_is_shown_asleep() {
    let root = Root::new();
    let options = SubscriberOptions::new().wait(Wait::Sleep);
    let channel = root.channel("numbers");
    let mut subscriber = Subscriber::<u64>::with(&channel, options).unwrap();
    let interrupter = subscriber.interrupter();
    let thread = std::thread::spawn(move || subscriber.recv().map(|sample| *sample));
    let end = Instant::now() + SOON;
    while !info(&channel).subscribers[0].sleeping {
        assert!(Instant::now() < end);
    }
    interrupter.interrupt();
    thread.join().unwrap().unwrap_err();
}

#[test]
fn a_subscriber_of_which_there_are_only_samples_does_not_listen() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
    publisher.send(&1).unwrap();
    let sample = subscriber.recv().unwrap();
    drop(subscriber);
    let found = &info(&channel).subscribers[0];
    assert!(found.alive && !found.listens && found.held == 1, "{found:?}");
    drop(sample);
    assert!(info(&channel).subscribers.is_empty());
}

#[test]
fn what_is_published_is_right_while_it_is_published() {
    let root = Root::new();
    let channel = root.channel("numbers").depth(1).max_subscribers(1);
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
    publisher.send(&0).unwrap();
    // So that there are skipped slots to be told from messages.
    let _sample = subscriber.recv().unwrap();
    let count = 100_000;
    let thread = std::thread::spawn(move || {
        for value in 1..count {
            publisher.send(&value).unwrap();
        }
        publisher
    });
    let mut last = 0;
    while last < count {
        let published = info(&channel).publishers[0].published;
        assert!((last..=count).contains(&published), "{published} after {last}");
        last = published;
        if thread.is_finished() && last < count {
            assert_eq!(info(&channel).publishers[0].published, count);
        }
    }
    assert!(thread.join().unwrap().stats().skipped_slots > 0);
}

#[test]
fn nobody_who_comes_or_leaves_looks_dead() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let keeper = Subscriber::<u64>::new(&channel).unwrap();
    let end = Instant::now() + Duration::from_millis(300);
    let churn = |channel: Channel| {
        std::thread::spawn(move || {
            while Instant::now() < end {
                drop(Publisher::<u64>::new(&channel).unwrap());
                drop(Subscriber::<u64>::new(&channel).unwrap());
            }
        })
    };
    let threads = [churn(channel.clone()), churn(channel.clone())];
    while Instant::now() < end {
        let found = info(&channel);
        assert!(!found.is_stale);
        assert!(found.publishers.iter().all(|publisher| publisher.alive), "{found:?}");
        assert!(found.subscribers.iter().all(|subscriber| subscriber.alive), "{found:?}");
        assert_eq!(found.subscribers[0].number, 0);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    drop(keeper);
}

#[test]
fn a_look_changes_nothing() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
    publisher.send(&41).unwrap();
    publisher.send(&42).unwrap();
    let sample = subscriber.recv().unwrap();
    let look = || {
        let file = std::fs::metadata(root.file("numbers")).unwrap();
        let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
        (std::fs::read(root.file("numbers")).unwrap(), times, file.mode(), file.blocks())
    };
    let before = look();
    for _ in 0..10 {
        channel.info().unwrap();
        channels(Some(root.path())).unwrap();
    }
    assert!(look() == before);
    assert_eq!((*sample, *subscriber.recv().unwrap()), (41, 42));
    assert_eq!((publisher.subscribers(), subscriber.publishers()), (1, 1));
    let mut newcomer = Subscriber::<u64>::new(&channel).unwrap();
    assert_eq!((*newcomer.latest().unwrap().unwrap(), publisher.subscribers()), (42, 2));
}

#[test]
fn a_look_makes_nothing() {
    let root = Root::new();
    let channel = root.channel("numbers");
    assert!(channel.info().unwrap().is_empty());
    assert!(!channel.remove_stale().unwrap());
    assert_eq!(root.files(), 0);

    let missing = root.path().join("missing");
    for access in [Access::Owner, Access::Group] {
        let channel = Channel::new("numbers").root(&missing).access(access);
        assert!(channel.info().unwrap().is_empty());
        assert!(!channel.remove_stale().unwrap());
    }
    assert!(channels(Some(&missing)).unwrap().is_empty());
    assert!(!missing.exists());
}

#[test]
fn a_folder_that_cannot_be_trusted_is_an_error_and_stays_as_it_is() {
    let root = Root::new();
    let folder = root.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let text = |error: Error| match error {
        Error::Attach(AttachError::UnsafeRoot { reason, .. }) => reason,
        other => panic!("{other}"),
    };
    for (mode, access, says) in [
        (0o722, Access::Owner, "may be written to by others (mode 0722)"),
        (0o770, Access::Group, "is not shared with its group (mode 0770 instead of 2770)"),
    ] {
        set_mode(&folder, mode);
        let channel = Channel::new("numbers").root(&folder).access(access);
        assert_eq!(text(channel.info().unwrap_err()), says);
        assert_eq!(text(channel.remove_stale().unwrap_err()), says);
        text(channels(Some(&folder)).unwrap_err());
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, mode);
    }
    let empty = Channel::new("numbers").root("");
    assert_eq!(text(empty.info().unwrap_err()), "is an empty path");
    assert_eq!(text(channels(Some("".as_ref())).unwrap_err()), "is an empty path");
}

#[test]
fn those_that_were_killed_are_shown_dead() {
    let (root, other) = (Root::new(), Root::new());
    let channel = root.channel("numbers");
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
    publisher.send(&1).unwrap();
    let _sample = subscriber.recv().unwrap();
    other.leave_stale("numbers", &std::fs::read(root.file("numbers")).unwrap());

    let stale = info(&other.channel("numbers"));
    assert!(stale.is_stale && !stale.is_retired);
    let [publisher] = &stale.publishers[..] else { panic!("{stale:?}") };
    assert_eq!((publisher.pid, publisher.published), (std::process::id(), 1));
    assert!(!publisher.alive);
    let [subscriber] = &stale.subscribers[..] else { panic!("{stale:?}") };
    assert_eq!((subscriber.pid, subscriber.held), (std::process::id(), 1));
    assert!(!subscriber.alive && !subscriber.listens);
    assert!(!info(&channel).is_stale);
}

#[test]
fn only_what_nobody_is_attached_to_is_removed() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let publisher = Publisher::<u64>::new(&channel).unwrap();
    assert!(!channel.remove_stale().unwrap());
    let bytes = std::fs::read(root.file("numbers")).unwrap();
    assert_eq!(root.files(), 1);
    drop(publisher);

    root.leave_stale("numbers", &bytes);
    assert!(channel.remove_stale().unwrap());
    assert_eq!(root.files(), 0);
    assert!(!channel.remove_stale().unwrap());

    root.leave_stale("numbers", b"shm-comm, or so it says");
    let error = channel.remove_stale().unwrap_err();
    assert!(matches!(error, Error::Attach(AttachError::NotAChannel { .. })), "{error}");
    assert_eq!(root.files(), 1);
}

#[test]
fn a_damaged_channel_is_the_error_that_attaching_gives() {
    let root = Root::new();
    let publisher = Publisher::<u64>::new(root.channel("whole")).unwrap();
    let whole = std::fs::read(root.file("whole")).unwrap();
    let checked = |name: &str| {
        let channel = root.channel(name);
        let error = channel.info().unwrap_err();
        assert_eq!(error.to_string(), Publisher::<u64>::new(channel).unwrap_err().to_string());
        error.to_string()
    };
    root.leave_stale("empty", b"");
    assert!(checked("empty").ends_with("0 bytes are no header"));
    root.leave_stale("cut", &whole[..whole.len() - 4096]);
    assert!(checked("cut").contains("bytes and should have"));
    std::os::unix::fs::symlink(root.file("whole"), root.file("link")).unwrap();
    assert!(checked("link").ends_with("it is a symbolic link"));
    std::fs::create_dir(root.file("folder")).unwrap();
    assert!(checked("folder").ends_with("it is a folder"));
    root.leave_stale("open", &whole);
    set_mode(&root.file("open"), 0o622);
    assert!(checked("open").ends_with("everybody may write to it (mode 0622)"));
    // Still attached, so that the newcomer does not replace it.
    std::fs::rename(root.file("whole"), root.file("renamed")).unwrap();
    assert!(checked("renamed").ends_with("holds channel \"whole\", pattern 1"));
    let name = "channel name \"\" is empty";
    assert_eq!(root.channel("").info().unwrap_err().to_string(), name);
    drop(publisher);
}

#[test]
fn what_is_no_channel_does_not_hide_those_that_are() {
    let root = Root::new();
    let _b = Publisher::<u64>::new(root.channel("b")).unwrap();
    let _a = Subscriber::<[f64; 7]>::new(root.channel("a/1")).unwrap();
    let whole = std::fs::read(root.file("b")).unwrap();
    root.leave_stale("stale", &whole); // of a channel that has another name
    root.leave_stale("garbage", &[0xff; 10_000]);
    root.leave_stale("cut", &whole[..100]);
    std::fs::write(root.path().join("notes.txt"), b"").unwrap();
    std::fs::write(root.path().join(".pubsub"), &whole).unwrap();
    std::os::unix::fs::symlink("nowhere", root.file("link")).unwrap();
    std::fs::create_dir(root.file("folder")).unwrap();
    use std::os::unix::ffi::OsStrExt;
    let no_text = std::ffi::OsStr::from_bytes(b"\xff.pubsub");
    std::fs::write(root.path().join(no_text), &whole).unwrap();

    let found = channels(Some(root.path())).unwrap();
    let found: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.type_name.as_str())).collect();
    assert_eq!(found, [("a/1", "[f64; 7]"), ("b", "u64")]);
}

/// The header is whole; of the rest nothing is.
#[test]
fn garbage_behind_a_header_gives_garbage_and_no_harm() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    publisher.send(&1).unwrap();
    let whole = std::fs::read(root.file("numbers")).unwrap();
    drop(publisher);
    let schema = Schema::of::<u64>().to_bytes().unwrap();
    let header = (160 + "numbers".len() + schema.len()).next_multiple_of(64);
    for garbage in [0xff, 0x80, 0x7f, 0x01, 0] {
        let mut bytes = whole.clone();
        bytes[header..].fill(garbage);
        root.leave_stale("numbers", &bytes);
        let found = info(&channel);
        let count = if garbage == 0 { 0 } else { 8 };
        assert_eq!(found.publishers.len(), count, "{garbage:#x}");
        assert!(found.publishers.iter().all(|publisher| !publisher.alive));
        assert!(found.subscribers.iter().all(|subscriber| subscriber.held <= 16));
        assert!(!found.is_retired);
        assert_eq!(names(root.path()), ["numbers"]);
    }
    // What whoever retires it writes there.
    let mut bytes = whole;
    bytes[header + 8..][..4].copy_from_slice(b"gone");
    root.leave_stale("numbers", &bytes);
    assert!(info(&channel).is_retired);
}

#[test]
fn a_look_needs_no_right_to_write() {
    let root = Root::new();
    let channel = root.channel("numbers");
    let _publisher = Publisher::<u64>::new(&channel).unwrap();
    set_mode(&root.file("numbers"), 0o400);
    set_mode(root.path(), 0o500);
    assert_eq!(info(&channel).publishers.len(), 1);
    assert_eq!(names(root.path()), ["numbers"]);
}

#[test]
fn channels_of_a_group_are_shown_too() {
    let root = Root::new();
    let shared = root.path().join("shared");
    let channel = Channel::new("numbers").root(&shared).access(Access::Group);
    let _publisher = Publisher::<u64>::new(&channel).unwrap();
    assert_eq!(info(&channel).publishers.len(), 1);
    assert_eq!(names(&shared), ["numbers"]);
    // Both sides say it.
    Channel::new("numbers").root(&shared).info().unwrap_err();
}

#[test]
fn a_subscriber_counts_the_publishers_that_have_replaced_its_channel() {
    let root = Root::new();
    let mut subscriber = Subscriber::<u64>::new(root.channel("numbers")).unwrap();
    assert_eq!(subscriber.publishers(), 0);
    let mut publisher = Publisher::<u64>::new(root.channel("numbers").depth(300)).unwrap();
    assert_eq!(subscriber.publishers(), 1);
    assert!(subscriber.wait_for_publishers(1, Duration::ZERO).unwrap());
    let second = Publisher::<u64>::new(root.channel("numbers")).unwrap();
    assert!(subscriber.wait_for_publishers(2, Duration::ZERO).unwrap());

    publisher.send(&7).unwrap();
    assert_eq!(*subscriber.recv_timeout(SOON).unwrap().unwrap(), 7);
    assert_eq!(subscriber.publishers(), 2);
    drop(second);
    assert_eq!(subscriber.publishers(), 1);
}
