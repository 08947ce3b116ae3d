//! What an observer sees, and that nobody sees it.

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shm_comm::{
    AttachError, Channel, FileInfo, Observed, Observer, Publisher, ShmMessage, Start, Subscriber,
    files,
};

const SOON: Duration = Duration::from_secs(10);

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self) -> Channel {
        Channel::new("c").root(self.0.path())
    }
    fn file(&self) -> PathBuf {
        self.0.path().join("c.pubsub")
    }
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Numbered {
    number: u64,
    same: [u64; 20],
}

impl Numbered {
    fn new(number: u64) -> Numbered {
        Numbered { number, same: [number; 20] }
    }
}

#[track_caller]
fn next(observer: &mut Observer) -> Observed {
    observer.recv_timeout(SOON).unwrap().expect("a message")
}

#[track_caller]
fn number(message: &Observed) -> u64 {
    let view = message.view().unwrap();
    let number: u64 = view.get("number").unwrap().to_string().parse().unwrap();
    for i in 0..20 {
        assert_eq!(view.get(&format!("same[{i}]")).unwrap().to_string(), number.to_string());
    }
    number
}

#[test]
fn it_sees_what_is_published_from_where_it_starts() {
    let root = Root::new();
    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    for i in 0..5 {
        publisher.send(&Numbered::new(i)).unwrap();
    }
    let mut next_one = Observer::new(root.channel()).unwrap();
    let mut oldest = Observer::with(root.channel(), Start::Oldest).unwrap();
    assert!(next_one.try_recv().unwrap().is_none());
    for i in 0..5 {
        let message = oldest.try_recv().unwrap().unwrap();
        assert_eq!((number(&message), message.info.sequence, message.info.missed), (i, i, 0));
        assert_eq!(message.info.size, size_of::<Numbered>());
        assert_eq!((message.info.publisher.ring, message.info.publisher.generation), (0, 1));
    }
    publisher.send(&Numbered::new(5)).unwrap();
    for observer in [&mut next_one, &mut oldest] {
        assert_eq!(number(&next(observer)), 5);
        assert!(observer.try_recv().unwrap().is_none());
    }
    assert_eq!(publisher.subscribers(), 0, "nobody sees it");
}

#[test]
fn the_newest_is_there_again_and_again_and_what_is_older_is_passed() {
    let root = Root::new();
    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    let mut observer = Observer::with(root.channel(), Start::Oldest).unwrap();
    assert!(observer.latest().unwrap().is_none());
    for i in 0..7 {
        publisher.send(&Numbered::new(i)).unwrap();
    }
    for _ in 0..3 {
        let newest = observer.latest().unwrap().unwrap();
        assert_eq!((number(&newest), newest.info.missed), (6, 0));
    }
    assert!(observer.try_recv().unwrap().is_none());
    publisher.send(&Numbered::new(7)).unwrap();
    let after = observer.try_recv().unwrap().unwrap();
    assert_eq!((number(&after), after.info.missed), (7, 0));
}

#[test]
fn what_it_is_too_slow_for_is_counted() {
    let root = Root::new();
    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    let mut observer = Observer::new(root.channel()).unwrap();
    for i in 0..1000 {
        publisher.send(&Numbered::new(i)).unwrap();
    }
    let mut seen = 0;
    while let Some(message) = observer.try_recv().unwrap() {
        seen += 1 + message.info.missed;
        assert_eq!(number(&message) + 1, seen);
    }
    assert_eq!(seen, 1000);
    for i in 1000..2000 {
        publisher.send(&Numbered::new(i)).unwrap();
    }
    while let Some(info) = observer.try_skip().unwrap() {
        seen += 1 + info.missed;
        assert_eq!((info.sequence + 1, info.size), (seen, size_of::<Numbered>()));
    }
    assert_eq!(seen, 2000);
}

#[test]
fn no_message_is_torn_while_it_is_published_as_fast_as_possible() {
    let root = Root::new();
    let mut publisher = Publisher::<Numbered>::new(root.channel().depth(1)).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !over.load(Ordering::Relaxed) {
                publisher.send(&Numbered::new(i)).unwrap();
                i += 1;
            }
        });
        let mut observer = Observer::new(root.channel()).unwrap();
        let start = Instant::now();
        let (mut seen, mut expected) = (0, None);
        while seen < 2000 || start.elapsed() < Duration::from_millis(300) {
            assert!(start.elapsed() < SOON, "{seen} seen");
            let Some(message) = observer.try_recv().unwrap() else { continue };
            assert_eq!(number(&message), message.info.sequence);
            if let Some(expected) = expected {
                assert_eq!(message.info.sequence, expected + message.info.missed);
            }
            expected = Some(message.info.sequence + 1);
            seen += 1;
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn it_waits_for_a_channel_and_follows_it() {
    let root = Root::new();
    let mut observer = Observer::new(root.channel()).unwrap();
    assert!(observer.schema().is_none() && observer.try_recv().unwrap().is_none());
    assert!(!root.file().exists(), "it makes nothing");

    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    publisher.send(&Numbered::new(0)).unwrap();
    assert_eq!(number(&next(&mut observer)), 0);
    // Everybody leaves, with a last word, and somebody else comes.
    publisher.send(&Numbered::new(1)).unwrap();
    drop(publisher);
    assert!(!root.file().exists(), "an observer keeps nothing");
    let mut publisher = Publisher::<[f32; 2]>::new(root.channel()).unwrap();
    publisher.send(&[0.5, 1.0]).unwrap();
    assert_eq!(number(&next(&mut observer)), 1, "what it has open it reads to the end");
    let message = next(&mut observer);
    assert_eq!(message.view().unwrap().to_string(), "[0.5, 1.0]");
    assert_eq!(observer.schema().unwrap().name(), "[f32; 2]");
    // A publisher of another type replaces it while a subscriber stays.
    let _subscriber = Subscriber::<[f32; 2]>::new(root.channel()).unwrap();
    drop(publisher);
    let mut publisher = Publisher::<u8>::new(root.channel()).unwrap();
    publisher.send(&7).unwrap();
    let message = next(&mut observer);
    assert_eq!((message.view().unwrap().to_string(), message.info.sequence), ("7".to_owned(), 0));
}

#[test]
fn it_sees_all_publishers_also_those_that_come_later() {
    let root = Root::new();
    let mut first = Publisher::<u64>::new(root.channel()).unwrap();
    let mut observer = Observer::new(root.channel()).unwrap();
    let mut second = Publisher::<u64>::new(root.channel()).unwrap();
    for i in 0..3 {
        first.send(&i).unwrap();
        second.send(&(10 + i)).unwrap();
    }
    let mut seen: Vec<(u32, String)> = (0..6)
        .map(|_| observer.try_recv().unwrap().unwrap())
        .map(|message| (message.info.publisher.ring, message.view().unwrap().to_string()))
        .collect();
    let rings: Vec<u32> = seen.iter().map(|(ring, _)| *ring).collect();
    assert_eq!(rings, [0, 1, 0, 1, 0, 1], "each in its turn");
    seen.sort();
    let expected = [(0, "0"), (0, "1"), (0, "2"), (1, "10"), (1, "11"), (1, "12")];
    assert_eq!(seen, expected.map(|(ring, text)| (ring, text.to_owned())));
    assert!(observer.try_recv().unwrap().is_none());
    // The newest of one that has something new.
    first.send(&99).unwrap();
    assert_eq!(observer.latest().unwrap().unwrap().view().unwrap().to_string(), "99");
}

#[test]
fn messages_of_any_length_are_as_long_as_they_are() {
    let root = Root::new();
    let mut publisher = Publisher::<[u16]>::new(root.channel().max_len(1000)).unwrap();
    let mut observer = Observer::new(root.channel()).unwrap();
    for len in [0, 1, 3, 1000] {
        publisher.send(&vec![7; len]).unwrap();
        let message = observer.try_recv().unwrap().unwrap();
        assert_eq!((message.bytes.len(), message.info.size), (2 * len, 2 * len));
        assert_eq!(message.view().unwrap().get("[0]").is_ok(), len > 0);
        publisher.send(&vec![7; len]).unwrap();
        assert_eq!(observer.try_skip().unwrap().unwrap().size, 2 * len);
    }
}

#[test]
fn it_changes_nothing() {
    let root = Root::new();
    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    for i in 0..200 {
        publisher.send(&Numbered::new(i)).unwrap();
    }
    let _held = subscriber.recv().unwrap();
    let look = || {
        let file = std::fs::metadata(root.file()).unwrap();
        let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
        (std::fs::read(root.file()).unwrap(), times, file.mode(), file.blocks(), file.nlink())
    };
    let before = look();
    for start in [Start::Next, Start::Oldest] {
        let mut observer = Observer::with(root.channel(), start).unwrap();
        while observer.try_recv().unwrap().is_some() {}
        observer.latest().unwrap().unwrap();
        assert!(observer.recv_timeout(Duration::from_millis(30)).unwrap().is_none());
        assert!(root.channel().check().unwrap().is_empty());
    }
    assert!(look() == before);
    assert_eq!((publisher.subscribers(), subscriber.publishers()), (1, 1));
}

#[test]
fn it_needs_no_right_to_write() {
    let root = Root::new();
    let mut publisher = Publisher::<u64>::new(root.channel()).unwrap();
    std::fs::set_permissions(root.file(), std::fs::Permissions::from_mode(0o400)).unwrap();
    let mut observer = Observer::new(root.channel()).unwrap();
    publisher.send(&7).unwrap();
    assert_eq!(next(&mut observer).view().unwrap().to_string(), "7");
}

/// Descriptors of this process that lead to a file and are for reading only.
fn descriptors_to_read(file: &std::path::Path) -> Vec<i32> {
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let leads_there = |number: &i32| {
        let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
        // SAFETY: Takes numbers only.
        let flags = unsafe { libc::fcntl(*number, libc::F_GETFL) };
        link.is_ok_and(|link| link == file) && flags & libc::O_ACCMODE == libc::O_RDONLY
    };
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(leads_there)
        .collect()
}

#[test]
fn a_descriptor_that_somebody_else_closes_is_opened_again() {
    let (root, other) = (Root::new(), Root::new());
    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    let mut stranger = Publisher::<Numbered>::new(other.channel()).unwrap();
    let mut observer = Observer::new(root.channel()).unwrap();
    for i in 0..20 {
        publisher.send(&Numbered::new(2 * i)).unwrap();
        stranger.send(&Numbered::new(666)).unwrap();
        let [descriptor] = descriptors_to_read(&root.file())[..] else { panic!("one of ours") };
        // The number is another file's at once.
        let file = std::fs::File::open(other.file()).unwrap();
        // SAFETY: As a daemon that closes what it does not know.
        assert!(unsafe { libc::dup2(file.as_raw_fd(), descriptor) } >= 0);
        publisher.send(&Numbered::new(2 * i + 1)).unwrap();
        for expected in [2 * i, 2 * i + 1] {
            let message = next(&mut observer);
            let info = message.info;
            assert_eq!((number(&message), info.sequence, info.missed), (expected, expected, 0));
        }
        assert!(observer.try_recv().unwrap().is_none());
        // SAFETY: The one that was made above.
        unsafe { libc::close(descriptor) };
    }
}

#[test]
fn what_is_no_value_is_said_and_the_bytes_are_there() {
    let root = Root::new();
    let mut publisher = Publisher::<bool>::new(root.channel()).unwrap();
    let mut observer = Observer::new(root.channel()).unwrap();
    let mut loan = publisher.loan().unwrap();
    // SAFETY: As a program in another language might: one byte, and no reader is a `bool` of Rust.
    let loan = unsafe {
        loan.as_mut_ptr().cast::<u8>().write(7);
        loan.assume_init()
    };
    loan.send();
    publisher.send(&true).unwrap();
    let message = observer.try_recv().unwrap().unwrap();
    assert_eq!(message.bytes, [7]);
    let error = message.view().unwrap_err().to_string();
    assert_eq!(error, "the message holds [7], which is no `bool` (0 or 1)");
    assert_eq!(next(&mut observer).view().unwrap().to_string(), "true");
}

#[test]
fn a_file_that_becomes_shorter_or_damaged_is_an_error_and_no_crash() {
    let root = Root::new();
    let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
    publisher.send(&Numbered::new(0)).unwrap();
    let mut observer = Observer::with(root.channel(), Start::Oldest).unwrap();
    // Not of this one: its members would die of it.
    std::mem::forget(publisher);
    let file = std::fs::OpenOptions::new().write(true).open(root.file()).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len / 100).unwrap();
    let start = Instant::now();
    let error = loop {
        match observer.recv_timeout(Duration::from_millis(20)) {
            Ok(_) => assert!(start.elapsed() < SOON, "no error"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AttachError::NotAChannel { .. } | AttachError::Os { .. }), "{error}");
    let error = Observer::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::NotAChannel { .. }), "{error}");
}

#[test]
fn a_check_finds_what_no_participant_leaves() {
    let root = Root::new();
    let mut publisher = Publisher::<u64>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    for i in 0..100 {
        publisher.send(&i).unwrap();
    }
    let _held = subscriber.recv().unwrap();
    assert_eq!(root.channel().check().unwrap(), [] as [&str; 0]);

    // A copy, so that nobody uses what is damaged.
    let other = Root::new();
    let whole = std::fs::read(root.file()).unwrap();
    let offset_of = |needle: u64| {
        let words = whole.chunks_exact(8).position(|word| word == needle.to_ne_bytes());
        8 * words.unwrap()
    };
    // The head: 128 slots, 100 messages.
    let head = offset_of(228);
    let damaged = |offset: usize, bytes: &[u8]| {
        let mut copy = whole.clone();
        copy[offset..offset + bytes.len()].copy_from_slice(bytes);
        std::fs::write(other.file(), copy).unwrap();
        std::fs::set_permissions(other.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
        other.channel().check().unwrap()
    };
    assert_eq!(damaged(0, b""), [] as [&str; 0]);
    let found = damaged(head, &3_u64.to_ne_bytes());
    assert_eq!(found, ["in ring 0, its head is 3, with 128 slots"]);
    let word = offset_of(227 * 4 + 3);
    let found = damaged(word, &u64::MAX.to_ne_bytes());
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("in ring 0, slot 99 is in state 3 of position"), "{found:?}");
    // The one pin, of a slot that there is not.
    let pin = whole.chunks_exact(4).position(|pin| pin[3] == 0x80).unwrap() * 4;
    let found = damaged(pin, &0x800f_ffff_u32.to_ne_bytes());
    assert_eq!(found, ["subscriber 0 holds a slot that is none: 0x800fffff"]);
}

#[test]
fn every_file_of_a_folder_is_said_to_be_what_it_is() {
    let root = Root::new();
    let late = Subscriber::<u64>::new(root.channel()).unwrap();
    drop(Publisher::<u64>::new(root.channel().depth(4)).unwrap());
    let mut publisher = Publisher::<u64>::new(root.channel()).unwrap();
    publisher.send(&1).unwrap();
    std::fs::write(root.0.path().join("b.pubsub"), "something").unwrap();
    std::fs::write(root.0.path().join("notes"), "something").unwrap();
    std::fs::write(root.0.path().join(".0123456789abcdef.0.retired.x"), "something").unwrap();
    let look = || {
        let found = files(Some(root.0.path())).unwrap();
        found
            .iter()
            .map(|file| match file {
                FileInfo::Channel(info) => format!("channel {}", info.name),
                FileInfo::Refused { name, error: AttachError::NotAChannel { .. }, .. } => {
                    format!("refused {name}")
                }
                FileInfo::Replaced { name, is_awaited, .. } => {
                    format!("replaced {name} {is_awaited}")
                }
                FileInfo::Foreign { path } => {
                    format!("foreign {}", path.file_name().unwrap().display())
                }
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let foreign = ["foreign .0123456789abcdef.0.retired.x", "foreign notes"];
    assert_eq!(look(), [&foreign[..], &["refused b", "replaced c true", "channel c"]].concat());
    drop(late);
    assert_eq!(look(), [&foreign[..], &["refused b", "channel c"]].concat());
}
