//! Errors that need something out of the ordinary to happen, and what they say.
//!
//! The others are where what they are about is tested: `pubsub.rs`, `geometry.rs`, and the package of
//! tests with several processes.

mod common;

use shm_comm::{AttachError, Channel, Pattern, Publisher, Subscriber, WaitError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self, name: &str) -> Channel {
        Channel::new(name).root(self.0.path())
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pubsub"))
    }
    /// What a channel looks like that somebody was attached to when he died.
    fn leave_stale(&self, name: &str) {
        let publisher = Publisher::<u64>::new(self.channel(name)).unwrap();
        let copy = std::fs::read(self.file(name)).unwrap();
        drop(publisher);
        std::fs::write(self.file(name), copy).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.file(name), private).unwrap();
    }
}

/// Opens both ends, which must give the same error; its text.
fn refused(channel: &Channel) -> (AttachError, String) {
    let error = Publisher::<u64>::new(channel).unwrap_err();
    let text = error.to_string();
    assert_eq!(text, Subscriber::<u64>::new(channel).unwrap_err().to_string());
    assert!(!text.starts_with(char::is_uppercase) && !text.ends_with('.'), "{text}");
    (error, text)
}

/// Locks the byte that everybody who is attached holds shared.
fn lock_lifecycle(file: &std::fs::File) {
    // SAFETY: All zeroes are a `flock`.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::F_WRLCK as libc::c_short;
    request.l_start = 1 << 40;
    request.l_len = 1;
    // SAFETY: The request is a `flock`, as this command requires.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn open(path: PathBuf) -> std::fs::File {
    std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn a_segment_of_another_release_is_named_while_somebody_is_attached() {
    let root = Root::new();
    let publisher = Publisher::<u64>::new(root.channel("x")).unwrap();
    open(root.file("x")).write_all_at(&77_u32.to_ne_bytes(), 12).unwrap();
    let (error, text) = refused(&root.channel("x"));
    assert!(matches!(error, AttachError::FormatVersion { found: 77, known: 4, .. }), "{error}");
    let path = root.file("x");
    assert_eq!(text, format!("{} has memory format 77, this program knows 4", path.display()));
    drop(publisher);
    assert!(!path.exists());
}

#[test]
fn a_stale_segment_of_another_release_is_replaced() {
    let root = Root::new();
    root.leave_stale("x");
    open(root.file("x")).write_all_at(&1_u32.to_ne_bytes(), 12).unwrap();
    let mut publisher = Publisher::<u64>::new(root.channel("x")).unwrap();
    publisher.send(&1).unwrap();
    assert_eq!(publisher.stats().published, 1);
}

#[test]
fn a_segment_under_another_name_is_named() {
    let root = Root::new();
    let _publisher = Publisher::<u64>::new(root.channel("x")).unwrap();
    std::fs::hard_link(root.file("x"), root.file("y")).unwrap();
    let (error, text) = refused(&root.channel("y"));
    assert!(matches!(error, AttachError::WrongSegment { pattern: Pattern::PubSub, .. }), "{error}");
    assert_eq!(text, "the file of the pubsub \"y\" holds the pubsub \"x\"");
    assert!(Subscriber::<u64>::new(root.channel("x")).is_ok());
}

#[test]
fn somebody_who_keeps_the_door_shut_is_waited_for_and_not_for_ever() {
    let root = Root::new();
    root.leave_stale("x");
    // As somebody would who was stopped in the middle of removing it.
    let file = open(root.file("x"));
    lock_lifecycle(&file);
    let start = Instant::now();
    let error = Publisher::<u64>::new(root.channel("x")).unwrap_err();
    assert!(matches!(error, AttachError::Busy { .. }), "{error}");
    assert!(error.to_string().ends_with("was busy for 2s: others create, replace or remove it"));
    assert!(start.elapsed() >= Duration::from_secs(2));
    // And once he is gone, there is nothing in the way.
    drop(file);
    assert!(Publisher::<u64>::new(root.channel("x")).is_ok());
}

#[test]
fn a_wait_for_publishers_can_be_interrupted() {
    let root = Root::new();
    let mut subscriber = Subscriber::<u64>::new(root.channel("x")).unwrap();
    let interrupter = subscriber.interrupter();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            interrupter.interrupt();
        });
        let result = subscriber.wait_for_publishers(1, Duration::from_secs(10));
        assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
    });
}

#[test]
fn any_error_becomes_the_one_for_main_and_keeps_its_text() {
    let root = Root::new();
    let error = Publisher::<u64>::new(root.channel("")).unwrap_err();
    let text = error.to_string();
    let error = shm_comm::Error::from(error);
    assert_eq!(error.to_string(), text);
    assert_eq!(format!("{error:?}"), text);
}
