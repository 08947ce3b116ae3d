//! What a look at a channel shows, and that it changes nothing.

mod common;

use shm_comm::{
    Access, AttachError, CallError, Channel, ChannelInfo, Error, Pattern, Publisher, Puller,
    PullerOptions, Pusher, PusherOptions, Replier, Requester, Schema, ShmMessage, Subscriber,
    SubscriberOptions, Wait, channels,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);
/// Bytes of a segment before its name.
const HEADER: usize = 216;
/// Bytes of a ring of a few small slots.
const PAGE: usize = 4096;

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
        self.file_of(name, Pattern::PubSub)
    }
    fn file_of(&self, name: &str, pattern: Pattern) -> PathBuf {
        self.path().join(format!("{name}.{pattern}"))
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.path()).unwrap().count()
    }
    /// What a channel looks like whose participants were killed.
    fn leave_stale(&self, name: &str, bytes: &[u8]) {
        self.leave(name, Pattern::PubSub, bytes);
    }
    fn leave(&self, name: &str, pattern: Pattern, bytes: &[u8]) {
        let file = self.file_of(name, pattern);
        std::fs::write(&file, bytes).unwrap();
        set_mode(&file, 0o600);
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
    assert!(checked("renamed").ends_with("holds the pubsub \"whole\""));
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
    let header = (HEADER + "numbers".len() + schema.len()).next_multiple_of(64);
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

#[test]
fn a_look_at_a_queue_shows_who_is_there_and_what_is_in_it() {
    let root = Root::new();
    let channel = root.channel("jobs").depth(8).max_publishers(3).max_subscribers(5);
    let mut first = Pusher::<Point>::new(&channel).unwrap();
    let mut second = Pusher::<Point>::new(&channel).unwrap();
    let mut worker = Puller::<Point>::new(&channel).unwrap();
    let idle = Puller::<Point>::new(&channel).unwrap();
    for _ in 0..5 {
        first.send(&Point { x: 1.0, y: 2.0 }).unwrap();
    }
    worker.recv().unwrap().done();
    worker.recv().unwrap().reject();
    drop(worker.recv().unwrap()); // offered again
    let held = [worker.recv().unwrap(), worker.recv().unwrap()];
    let loan = second.loan().unwrap();

    let info = info(&root.channel("jobs"));
    assert_eq!((info.pattern, info.type_name.as_str()), (Pattern::Queue, "Point"));
    assert_eq!((info.depth, info.slots, info.max_len), (8, 8, None));
    assert_eq!((info.max_publishers, info.max_subscribers), (3, 5));
    assert!(info.reply.is_none() && info.service.is_none());
    assert!(!info.is_stale && !info.is_waiting && !info.is_retired);
    let queue = info.queue.unwrap();
    assert_eq!((queue.queued, queue.free, queue.held, queue.dead_letters), (1, 3, 3, 1));
    assert!(queue.oldest.is_some_and(|age| age < SOON), "{queue:?}");
    assert_eq!((queue.pushed, queue.delivered, queue.redelivered), (5, 5, 1));
    assert_eq!(queue.dead_lettered, 1);
    // The same as its participants say, but for the age, which goes on.
    let mut said = idle.stats();
    said.oldest = queue.oldest;
    assert_eq!(queue, said);

    let pushers: Vec<_> =
        info.publishers.iter().map(|p| (p.number, p.published, p.held, p.generation)).collect();
    assert_eq!(pushers, [(0, 5, 0, 0), (1, 0, 1, 0)]);
    let pullers: Vec<_> = info
        .subscribers
        .iter()
        .map(|s| (s.number, s.held, s.delivered, s.redelivered, s.dead_lettered))
        .collect();
    assert_eq!(pullers, [(0, 2, 5, 1, 1), (1, 0, 0, 0, 0)]);
    for publisher in &info.publishers {
        assert!(publisher.alive && !publisher.sleeping && publisher.process_start > 0);
        assert_eq!(publisher.pid, std::process::id());
    }
    for subscriber in &info.subscribers {
        assert!(subscriber.alive && subscriber.listens && !subscriber.sleeping);
        assert_eq!((subscriber.pid, subscriber.called), (std::process::id(), 0));
    }
    drop((held, loan));
    let letter = worker.dead_letters().unwrap().unwrap();
    let found = self::info(&channel);
    let queue = found.queue.unwrap();
    assert_eq!((queue.queued, queue.held, queue.dead_letters), (3, 0, 1));
    assert_eq!(found.subscribers[0].held, 1, "it looks at a dead letter");
    letter.done();
    while let Some(job) = worker.try_recv().unwrap() {
        job.done();
    }
    let queue = self::info(&channel).queue.unwrap();
    assert_eq!((queue.free, queue.oldest), (8, None));
    drop((first, second, worker, idle));
    assert_eq!(root.files(), 0);
}

#[test]
fn a_look_at_a_service_shows_its_calls_and_who_has_them() {
    let root = Root::new();
    let channel = root.channel("sum").depth(8).max_len(10).max_reply_len(20);
    let mut client = Requester::<[u16], [u32]>::new(&channel).unwrap();
    let mut other = Requester::<[u16], [u32]>::new(&channel).unwrap();
    let no_server = other.request(&[1], Duration::from_millis(1)).unwrap_err();
    assert!(matches!(no_server, CallError::NoServer { .. }), "{no_server}");
    let mut server = Replier::<[u16], [u32]>::new(&channel).unwrap();
    let answered = client.send(&[1, 2]).unwrap();
    let declined = client.send(&[2]).unwrap();
    let served = client.send(&[3]).unwrap();
    let waiting = other.send(&[4]).unwrap();
    server.recv().unwrap().reply(&[3]).unwrap();
    drop(server.recv().unwrap());
    let request = server.recv().unwrap();

    let info = info(&root.channel("sum"));
    assert_eq!((info.pattern, info.type_name.as_str()), (Pattern::Service, "[u16]"));
    assert_eq!((info.max_len, info.message_size), (Some(10), 20));
    let reply = info.reply.unwrap();
    assert_eq!((reply.type_name.as_str(), reply.max_len), ("[u32]", Some(20)));
    assert_eq!((reply.size, reply.align), (80, 4));
    assert_eq!((reply.schema, reply.layout_hash), (<[u32]>::schema(), <[u32]>::schema().hash()));
    assert!(info.queue.is_none() && !info.is_stale && !info.is_waiting);
    let service = info.service.unwrap();
    assert_eq!(service, server.stats());
    assert_eq!((service.queued, service.held, service.kept, service.free), (1, 1, 2, 4));
    assert_eq!((service.called, service.served, service.timed_out), (5, 1, 1));

    let servers: Vec<_> = info.publishers.iter().map(|p| (p.held, p.published)).collect();
    assert_eq!(servers, [(1, 1)]);
    let clients: Vec<_> =
        info.subscribers.iter().map(|s| (s.held, s.called, s.timed_out)).collect();
    assert_eq!(clients, [(1, 3, 0), (1, 2, 1)]);
    assert!(info.subscribers.iter().all(|s| s.alive && s.listens && s.delivered == 0));

    assert_eq!(answered.wait(SOON).unwrap()[..], [3]);
    declined.wait(SOON).unwrap_err();
    drop((served, waiting));
    let service = self::info(&channel).service.unwrap();
    assert_eq!((service.queued, service.held, service.failed), (0, 1, 1), "one is still served");
    drop(request);
    assert_eq!(self::info(&channel).service.unwrap().free, 8);
}

#[test]
fn a_queue_with_anything_in_it_waits_and_is_not_stale() {
    let root = Root::new();
    let channel = root.channel("jobs").depth(4);
    let look = || info(&channel);
    let states = || (look().is_stale, look().is_waiting);
    let mut pusher = Pusher::<u64>::new(&channel).unwrap();
    assert_eq!(states(), (false, false));
    let empty = std::fs::read(root.file_of("jobs", Pattern::Queue)).unwrap();
    pusher.send(&1).unwrap();
    drop(pusher);
    assert_eq!(states(), (false, true));
    assert!(look().publishers.is_empty() && look().subscribers.is_empty());
    assert!(!channel.remove_stale().unwrap());
    assert_eq!(look().queue.unwrap().queued, 1);

    // A dead letter waits as well.
    let mut puller = Puller::<u64>::new(&channel).unwrap();
    puller.recv().unwrap().reject();
    assert_eq!(states(), (false, false));
    drop(puller);
    assert_eq!((states(), look().queue.unwrap().dead_letters), ((false, true), 1));
    assert!(!channel.remove_stale().unwrap());

    // Who was killed while he held a job has left it.
    let mut pusher = Pusher::<u64>::new(&channel).unwrap();
    let mut puller = Puller::<u64>::new(&channel).unwrap();
    pusher.send(&2).unwrap();
    let job = puller.recv().unwrap();
    let other = Root::new();
    other.leave(
        "jobs",
        Pattern::Queue,
        &std::fs::read(root.file_of("jobs", Pattern::Queue)).unwrap(),
    );
    let killed = info(&other.channel("jobs"));
    assert!(killed.is_waiting && !killed.is_stale);
    let [worker] = &killed.subscribers[..] else { panic!("{killed:?}") };
    assert!(!worker.alive && !worker.listens);
    assert_eq!((worker.held, worker.pid), (1, std::process::id()));
    assert!(!killed.publishers[0].alive);
    assert!(!other.channel("jobs").remove_stale().unwrap());
    assert_eq!(other.files(), 1);
    let mut next = Puller::<u64>::new(other.channel("jobs")).unwrap();
    let again = next.recv_timeout(SOON).unwrap().unwrap();
    assert_eq!((*again, again.deliveries()), (2, 2));
    again.done();
    next.dead_letters().unwrap().unwrap().done();
    drop(next);
    assert_eq!(other.files(), 0);

    // With nothing in it, it is as any other channel.
    other.leave("jobs", Pattern::Queue, &empty);
    let stale = info(&other.channel("jobs"));
    assert!(stale.is_stale && !stale.is_waiting);
    assert!(other.channel("jobs").remove_stale().unwrap());
    assert_eq!(other.files(), 0);

    job.done();
    puller.dead_letters().unwrap().unwrap().done();
    drop((pusher, puller));
    assert_eq!(root.files(), 0);
}

#[test]
fn a_service_that_nobody_is_attached_to_is_stale_whatever_was_called() {
    let (root, other) = (Root::new(), Root::new());
    let channel = root.channel("sum");
    let mut client = Requester::<u64, u64>::new(&channel).unwrap();
    let mut server = Replier::<u64, u64>::new(&channel).unwrap();
    let _calls = [client.send(&1).unwrap(), client.send(&2).unwrap()];
    let _request = server.recv().unwrap();
    let bytes = std::fs::read(root.file_of("sum", Pattern::Service)).unwrap();
    other.leave("sum", Pattern::Service, &bytes);
    let killed = info(&other.channel("sum"));
    assert!(killed.is_stale && !killed.is_waiting);
    assert_eq!((killed.publishers[0].held, killed.subscribers[0].held), (1, 2));
    assert!(!killed.publishers[0].alive && !killed.subscribers[0].alive);
    assert!(other.channel("sum").remove_stale().unwrap());
    assert_eq!(other.files(), 0);
}

#[test]
fn those_who_wait_at_a_queue_or_a_service_are_shown_asleep() {
    let root = Root::new();
    let (jobs, sum) = (root.channel("jobs").depth(1), root.channel("sum"));
    let (pulls, pushes) = (PullerOptions::new(), PusherOptions::new());
    let mut puller = Puller::<u64>::with(&jobs, pulls.wait(Wait::Sleep)).unwrap();
    let mut pusher = Pusher::<u64>::with(&jobs, pushes.wait(Wait::Sleep)).unwrap();
    let mut server = Replier::<u64, u64>::new(&sum).unwrap();
    let mut client = Requester::<u64, u64>::new(&sum).unwrap();
    let wait_for = |is_so: &dyn Fn() -> bool| {
        let end = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < end);
        }
    };
    let stop = puller.interrupter();
    let thread = std::thread::spawn(move || puller.recv().map(drop));
    wait_for(&|| info(&jobs).subscribers[0].sleeping);
    stop.interrupt();
    thread.join().unwrap().unwrap_err();

    let stop = pusher.interrupter();
    let thread = std::thread::spawn(move || {
        pusher.send(&1).unwrap();
        (pusher.send(&2), pusher)
    });
    wait_for(&|| info(&jobs).publishers[0].sleeping);
    stop.interrupt();
    thread.join().unwrap().0.unwrap_err();

    let stop = server.interrupter();
    let thread = std::thread::spawn(move || (server.recv().map(drop), server));
    wait_for(&|| info(&sum).publishers[0].sleeping);
    stop.interrupt();
    let (interrupted, mut server) = thread.join().unwrap();
    interrupted.unwrap_err();

    let stop = client.interrupter();
    let thread = std::thread::spawn(move || client.request(&1, SOON).unwrap_err());
    let request = server.recv().unwrap();
    wait_for(&|| info(&sum).subscribers[0].sleeping);
    stop.interrupt();
    thread.join().unwrap();
    drop(request);

    let mut puller = Puller::<u64>::new(&jobs).unwrap();
    puller.recv().unwrap().done();
}

#[test]
fn a_look_at_a_queue_or_a_service_changes_nothing() {
    let root = Root::new();
    let (jobs, sum) = (root.channel("jobs").depth(4), root.channel("sum").depth(4));
    let mut pusher = Pusher::<u64>::new(&jobs).unwrap();
    let mut puller = Puller::<u64>::new(&jobs).unwrap();
    (0..3).for_each(|job| pusher.send(&job).unwrap());
    puller.recv().unwrap().reject();
    let job = puller.recv().unwrap();
    let mut client = Requester::<u64, u64>::new(&sum).unwrap();
    let mut server = Replier::<u64, u64>::new(&sum).unwrap();
    let calls = [client.send(&1).unwrap(), client.send(&2).unwrap()];
    let request = server.recv().unwrap();
    let look = || {
        [("jobs", Pattern::Queue), ("sum", Pattern::Service)].map(|(name, pattern)| {
            let path = root.file_of(name, pattern);
            let file = std::fs::metadata(&path).unwrap();
            let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
            (std::fs::read(path).unwrap(), times, file.mode(), file.blocks())
        })
    };
    let before = look();
    for _ in 0..10 {
        assert_eq!(names(root.path()), ["jobs", "sum"]);
        for channel in [&jobs, &sum] {
            info(channel);
            assert_eq!(channel.check().unwrap(), [""; 0]);
            assert!(!channel.remove_stale().unwrap());
        }
    }
    assert!(look() == before);
    request.reply(&7).unwrap();
    server.recv().unwrap().reply(&8).unwrap();
    let [one, two] = calls.map(|call| *call.wait(SOON).unwrap());
    assert_eq!((*job, one, two), (1, 7, 8));
    job.done();
    assert_eq!(puller.take().unwrap(), 2);
    puller.dead_letters().unwrap().unwrap().done();
}

#[test]
fn nothing_is_wrong_with_a_queue_or_a_service_that_is_used() {
    let root = Root::new();
    let (jobs, sum) = (root.channel("jobs").depth(3), root.channel("sum").depth(3).max_len(4));
    let end = Instant::now() + Duration::from_millis(500);
    std::thread::scope(|scope| {
        let keepers =
            (Puller::<u64>::new(&jobs).unwrap(), Replier::<[u8], u64>::new(&sum).unwrap());
        scope.spawn(|| {
            let mut pusher = Pusher::<u64>::new(&jobs).unwrap();
            while Instant::now() < end {
                pusher.send_timeout(&1, Duration::from_millis(1)).ok();
                // One that comes and goes, and writes for a while.
                drop(Pusher::<u64>::new(&jobs).unwrap().try_loan().unwrap());
            }
        });
        scope.spawn(|| {
            let options = PullerOptions::new().max_deliveries(2);
            let mut puller = Puller::<u64>::with(&jobs, options).unwrap();
            let mut count = 0_u64;
            let timeout = Duration::from_millis(1);
            while Instant::now() < end {
                count += 1;
                match puller.recv_timeout(timeout).unwrap() {
                    Some(job) if count.is_multiple_of(3) => drop(job),
                    Some(job) => job.done(),
                    None => {}
                }
                if let Ok(Some(letter)) = puller.dead_letters() {
                    if count.is_multiple_of(2) { letter.done() } else { drop(letter) }
                }
            }
        });
        scope.spawn(|| {
            let mut server = Replier::<[u8], u64>::new(&sum).unwrap();
            while Instant::now() < end {
                if let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(1))
                    && request[0] != 0
                {
                    request.reply(&1).unwrap();
                }
            }
        });
        scope.spawn(|| {
            let mut client = Requester::<[u8], u64>::new(&sum).unwrap();
            for count in 0_u64.. {
                if Instant::now() >= end {
                    break;
                }
                let timeout = Duration::from_micros(if count % 5 == 0 { 1 } else { 1000 });
                let _ = client.request(&[(count % 3) as u8; 4], timeout);
            }
        });
        while Instant::now() < end {
            for channel in [&jobs, &sum] {
                let info = info(channel);
                assert!(!info.is_stale && !info.is_waiting);
                assert!(info.publishers.iter().all(|one| one.alive), "{info:?}");
                assert!(info.subscribers.iter().all(|one| one.alive), "{info:?}");
                assert_eq!(channel.check().unwrap(), [""; 0]);
            }
        }
        drop(keepers);
    });
    let mut puller = Puller::<u64>::new(&jobs).unwrap();
    while let Some(job) = puller.try_recv().unwrap() {
        job.done();
    }
    while let Some(letter) = puller.dead_letters().unwrap() {
        letter.done();
    }
    drop(puller);
    assert_eq!(root.files(), 0);
}

/// What is written to a segment that was right, and what is said of it.
#[track_caller]
fn damaged(pattern: Pattern, whole: &[u8], offset: usize, bytes: &[u8], says: &str) {
    let root = Root::new();
    let mut damaged = whole.to_vec();
    damaged[offset..][..bytes.len()].copy_from_slice(bytes);
    root.leave("c", pattern, &damaged);
    let channel = root.channel("c");
    let problems = channel.check().unwrap();
    let [problem] = &problems[..] else { panic!("{says}: {problems:?}") };
    assert!(problem.contains(says), "{says}: {problem}");
    info(&channel);
}

#[test]
fn what_nobody_can_have_left_in_a_queue_is_found() {
    let root = Root::new();
    let channel = root.channel("c").depth(4).max_len(2).max_publishers(2).max_subscribers(2);
    let mut pusher = Pusher::<[u64]>::new(&channel).unwrap();
    let mut puller = Puller::<[u64]>::new(&channel).unwrap();
    // One is held, one is a dead letter, one is ready, one is free.
    (0..3).for_each(|job| pusher.send(&[job]).unwrap());
    let held = puller.recv().unwrap();
    puller.recv().unwrap().reject();
    let whole = std::fs::read(root.file_of("c", Pattern::Queue)).unwrap();
    assert!(channel.check().unwrap().is_empty());
    held.done();
    puller.recv().unwrap().done();
    puller.dead_letters().unwrap().unwrap().done();
    drop((pusher, puller));

    let schema = Schema::of::<[u64]>().to_bytes().unwrap();
    let control = (HEADER + 1 + schema.len()).next_multiple_of(64);
    let ring = whole.len() - PAGE;
    let slot = |number: usize| ring + 64 * number;
    let word = |number: usize| u64::from_ne_bytes(*whole[slot(number)..].first_chunk().unwrap());
    let check = |offset, bytes: u64, says: &str| {
        damaged(Pattern::Queue, &whole, offset, &bytes.to_ne_bytes(), says);
    };
    check(slot(3), 15, "slot 3, 0xf, is in a state that nobody writes");
    check(slot(3), 7, "in a state that slots of this pattern never have");
    check(slot(3), 1 << 4, "owned by somebody who cannot have it");
    check(slot(0), word(0) | 0xfff << 4, "owned by somebody who cannot have it");
    // By a pusher.
    check(slot(0), word(0) & !(0xfff << 4) | 1 << 4, "owned by somebody who cannot have it");
    check(slot(2), word(2) | 1 << 62, "in a lap to which the head does not fit");
    check(slot(2) + 16, 3, "longer than there is room");
    check(slot(1) + 16, u64::MAX, "longer than there is room");
    check(control, 1, "its bitmap of rings is 0x1, and a queue has none");
    check(control + 64, 0b111, "its bitmap of pullers is 0x7, for 2 pullers");
    check(control + 72, 1 << 40, "for 2 pushers");
    check(control + 128, 1 << 2, "its bitmap of sleepers is 0x4, for 2 pullers");
    check(control + 136, 1 << 63, "for 2 pushers");
    check(control + 192, 4, "its head is 0x4, in a lap of 4 slots");
    check(control + 256, 0xfffff, "its tail is 0xfffff, in a lap of 4 slots");
    check(control + 256, 1 << 30, "its tail, 0x40000000, is ahead of its head");
    // All slots together are one sentence.
    let mut bytes = whole[ring..].to_vec();
    (0..4).for_each(|slot| bytes[64 * slot] = 0x0f);
    damaged(Pattern::Queue, &whole, ring, &bytes, "(and so are 3 others)");
}

#[test]
fn what_nobody_can_have_left_in_a_service_is_found() {
    let root = Root::new();
    let channel = root.channel("c").depth(4).max_publishers(2).max_subscribers(2).max_reply_len(2);
    let mut client = Requester::<u64, [u64]>::new(&channel).unwrap();
    let mut server = Replier::<u64, [u64]>::new(&channel).unwrap();
    // One is answered, one is served, one waits, one slot is free.
    let _calls = [1, 2, 3].map(|number| client.send(&number).unwrap());
    server.recv().unwrap().reply(&[1, 2]).unwrap();
    let _served = server.recv().unwrap();
    let whole = std::fs::read(root.file_of("c", Pattern::Service)).unwrap();
    assert!(channel.check().unwrap().is_empty());

    let slot = |number: usize| whole.len() - PAGE + 64 * number;
    let word = |number: usize| u64::from_ne_bytes(*whole[slot(number)..].first_chunk().unwrap());
    let check = |offset, bytes: u64, says: &str| {
        damaged(Pattern::Service, &whole, offset, &bytes.to_ne_bytes(), says);
    };
    check(slot(0) + 16, 3, "answered by more than there is room for");
    check(slot(3), 4, "in a state that slots of this pattern never have");
    check(slot(1) + 8, 0, "owned by somebody who cannot have it");
    check(slot(2), word(2) & !(0xfff << 4), "owned by somebody who cannot have it");
    check(slot(2), word(2) | 14, "in a state that nobody writes");
}

/// The header is whole; of the rest nothing is.
#[test]
fn garbage_behind_the_header_of_a_queue_or_a_service_does_no_harm() {
    let root = Root::new();
    let channel = root.channel("c").depth(8);
    let pusher = Pusher::<u64>::new(&channel).unwrap();
    let client = Requester::<u64, u64>::new(&channel).unwrap();
    for pattern in [Pattern::Queue, Pattern::Service] {
        let whole = std::fs::read(root.file_of("c", pattern)).unwrap();
        let schema = Schema::of::<u64>().to_bytes().unwrap().len();
        let schemas = if pattern == Pattern::Queue { schema } else { 2 * schema };
        let control = (HEADER + 1 + schemas).next_multiple_of(64);
        for garbage in [0xff, 0x80, 0x7f, 0x33, 0x22, 0x01] {
            let other = Root::new();
            let mut bytes = whole.clone();
            bytes[control..].fill(garbage);
            other.leave("c", pattern, &bytes);
            let found = info(&other.channel("c"));
            assert!(!found.publishers.is_empty() && !found.subscribers.is_empty());
            assert!(found.publishers.iter().all(|one| !one.alive && one.held <= 8));
            assert!(found.subscribers.iter().all(|one| !one.alive && one.held <= 8));
            assert!(!other.channel("c").check().unwrap().is_empty(), "{garbage:#x}");
        }
    }
    drop((pusher, client));
}
