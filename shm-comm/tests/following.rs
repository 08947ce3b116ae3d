//! A channel is replaced while subscribers are behind, hold samples, come and go: nobody who keeps up
//! misses a message of a publisher that has gone.

mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shm_comm::{AttachError, Channel, Publisher, Sample, ShmMessage, Subscriber};

const SOON: Duration = Duration::from_secs(10);

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self) -> Channel {
        Channel::new("c").root(self.0.path())
    }
    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
    fn assert_empty(&self) {
        assert_eq!(self.files(), [] as [PathBuf; 0], "left behind");
    }
}

/// A publisher with this depth comes, sends, and goes.
fn send_one(channel: &Channel, depth: u32, message: u64) {
    let mut publisher = Publisher::<u64>::new(channel.clone().depth(depth)).unwrap();
    publisher.send(&message).unwrap();
}

#[track_caller]
fn next(subscriber: &mut Subscriber<u64>) -> Sample<u64> {
    subscriber.recv_timeout(SOON).unwrap().expect("a message")
}

#[test]
fn an_older_listener_that_leaves_takes_no_message_of_others_with_it() {
    for it_reads in [false, true] {
        let root = Root::new();
        let mut late = Subscriber::<u64>::new(root.channel()).unwrap();
        drop(Publisher::<u64>::new(root.channel().depth(4)).unwrap());
        let mut prompt = Subscriber::<u64>::new(root.channel()).unwrap();
        assert!(prompt.try_recv().unwrap().is_none());
        send_one(&root.channel(), 8, 7);
        if it_reads {
            assert_eq!(*next(&mut late), 7);
        }
        drop(late);
        assert_eq!(*next(&mut prompt), 7);
        drop(prompt);
        root.assert_empty();
    }
}

#[test]
fn readers_that_are_behind_by_different_numbers_of_replacements_all_come() {
    let root = Root::new();
    let mut behind = Vec::new();
    // More than there are names for what is set aside; the last one then is not awaited, but follows.
    for depth in 2..14 {
        behind.push(Subscriber::<u64>::new(root.channel()).unwrap());
        drop(Publisher::<u64>::new(root.channel().depth(depth)).unwrap());
    }
    let mut publisher = Publisher::<u64>::new(root.channel().depth(30)).unwrap();
    publisher.send(&9).unwrap();
    for mut subscriber in behind {
        assert_eq!(*next(&mut subscriber), 9);
    }
    drop(publisher);
    root.assert_empty();
}

#[test]
fn a_sample_of_a_former_segment_is_no_end_of_what_comes_after() {
    let root = Root::new();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let mut held = Vec::new();
    for (message, depth) in (0..).zip([4, 8, 16, 32]) {
        send_one(&root.channel(), depth, message);
        let sample = next(&mut subscriber);
        assert_eq!(*sample, message);
        if held.is_empty() {
            held.push(sample);
        }
    }
    assert_eq!(*held[0], 0);
    drop(held);
    drop(subscriber);
    root.assert_empty();
}

mod v1 {
    use super::ShmMessage;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
    }
}
mod v2 {
    use super::ShmMessage;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
    }
}

#[test]
fn a_newcomer_takes_nothing_away_that_a_slower_reader_has_still_to_come_for() {
    let root = Root::new();
    let mut quick = Subscriber::<v1::Pose>::new(root.channel()).unwrap();
    let mut slow = Subscriber::<v1::Pose>::new(root.channel()).unwrap();
    let mut publisher = Publisher::<v1::Pose>::new(root.channel().max_publishers(3)).unwrap();
    publisher.send(&v1::Pose { x: 1.0 }).unwrap();
    drop(publisher);
    assert_eq!(quick.recv_timeout(SOON).unwrap().unwrap().x, 1.0);
    let error = Subscriber::<v2::Pose>::new(root.channel().max_publishers(3)).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    let error = Subscriber::<v1::Pose>::new(root.channel().depth(5).max_publishers(3)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{error}");
    assert_eq!(slow.recv_timeout(SOON).unwrap().unwrap().x, 1.0);
    // Now nobody has to come any more.
    let newer = Subscriber::<v2::Pose>::new(root.channel().max_publishers(3)).unwrap();
    assert!(quick.try_recv().unwrap().is_none());
    assert!(slow.try_recv().unwrap().is_none());
    drop((newer, quick, slow));
    root.assert_empty();
}

#[test]
fn a_subscriber_does_not_undo_what_another_has_chosen_for_an_option_of_its_own() {
    let root = Root::new();
    let mut first = Subscriber::<u64>::new(root.channel().depth(4)).unwrap();
    let error = Subscriber::<u64>::new(root.channel().max_publishers(2)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{error}");
    assert!(first.try_recv().unwrap().is_none());
    // Who chooses the same may choose more.
    let mut second = Subscriber::<u64>::new(root.channel().depth(4).max_publishers(2)).unwrap();
    send_one(&root.channel(), 4, 1);
    assert_eq!((*next(&mut first), *next(&mut second)), (1, 1));
    drop((first, second));
    root.assert_empty();
}

#[test]
fn what_the_dead_have_set_aside_is_stale() {
    let root = Root::new();
    let subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let publisher = Publisher::<u64>::new(root.channel().depth(4)).unwrap();
    let is_aside = |path: &PathBuf| path.extension().is_some_and(|end| end == "retired");
    let aside = root.files().into_iter().find(is_aside).expect("a segment that is set aside");
    let copy = root.0.path().join("copy");
    std::fs::copy(&aside, &copy).unwrap();
    drop((subscriber, publisher));
    assert_eq!(root.files(), [copy.as_path()]);
    // As when all are killed between the renaming and the making of the next one.
    std::fs::rename(copy, aside).unwrap();
    assert!(root.channel().remove_stale().unwrap());
    root.assert_empty();
    assert!(!root.channel().remove_stale().unwrap());
}

/// Two readers that keep up hear every publisher, of whatever depth, while others come and go and look for
/// what is stale.
#[test]
fn readers_that_keep_up_hear_everybody_whoever_comes_and_goes() {
    const TIME: Duration = Duration::from_secs(2);
    let root = Root::new();
    let channel = root.channel();
    let stop = AtomicBool::new(false);
    let heard: [AtomicU64; 2] = Default::default();
    let subscribers = [(); 2].map(|()| Subscriber::<u64>::new(&channel).unwrap());
    let is_over = || stop.load(Ordering::Relaxed);
    let sent = std::thread::scope(|scope| {
        for (mut subscriber, heard) in subscribers.into_iter().zip(&heard) {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over() {
                    if let Some(sample) =
                        subscriber.recv_timeout(Duration::from_millis(20)).unwrap()
                    {
                        heard.store(*sample, Ordering::SeqCst);
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_over() {
                let _ = Subscriber::<u64>::new(&channel).unwrap().try_recv().unwrap();
            }
        });
        scope.spawn(|| {
            while !is_over() {
                channel.remove_stale().unwrap();
            }
        });
        let start = Instant::now();
        let mut message = 0;
        let mut everybody_hears = true;
        while start.elapsed() < TIME && everybody_hears {
            message += 1;
            send_one(&channel, if message % 2 == 0 { 4 } else { 8 }, message);
            let since = Instant::now();
            let behind = || heard.iter().any(|heard| heard.load(Ordering::SeqCst) < message);
            while behind() && since.elapsed() < SOON {
                std::thread::yield_now();
            }
            everybody_hears = !behind();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(everybody_hears, "message {message} is lost");
        message
    });
    assert!(sent > 0);
    root.assert_empty();
}

#[test]
fn what_is_no_segment_and_has_the_name_of_one_set_aside_is_left_alone() {
    let root = Root::new();
    // What the name is.
    let late = Subscriber::<u64>::new(root.channel()).unwrap();
    send_one(&root.channel(), 4, 1);
    let is_aside = |path: &PathBuf| path.extension().is_some_and(|end| end == "retired");
    let aside = root.files().into_iter().find(is_aside).unwrap();
    drop(late);
    root.channel().remove_stale().unwrap();
    root.assert_empty();

    std::fs::write(&aside, "precious").unwrap();
    let second = aside.to_str().unwrap().replace(".0.retired", ".1.retired");
    std::os::unix::fs::symlink("/nowhere", &second).unwrap();
    let mut late = Subscriber::<u64>::new(root.channel()).unwrap();
    send_one(&root.channel(), 4, 1);
    send_one(&root.channel(), 8, 2);
    assert_eq!(*next(&mut late), 2, "there are other names");
    assert!(!root.channel().remove_stale().unwrap());
    drop(late);
    assert!(!root.channel().remove_stale().unwrap());
    let mut left = root.files();
    left.sort();
    assert_eq!(left, [aside.clone(), PathBuf::from(second)], "and nobody waits for them");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "precious");
}
