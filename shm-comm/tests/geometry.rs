//! Who decides what a channel is: its publishers, in whatever order everybody comes.

mod common;

use shm_comm::{AttachError, Channel, Publisher, RecvError, Subscriber, SubscriberOptions, Wait};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// A root folder of its own for each test, gone with it.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self) -> Channel {
        Channel::new("test/channel").root(self.0.path())
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.files(), 0, "something is left behind");
        }
    }
}

fn recv(subscriber: &mut Subscriber<u64>) -> u64 {
    *subscriber.recv_timeout(SOON).unwrap().expect("a message")
}

fn numbers(channel: Channel) -> Subscriber<u64> {
    Subscriber::new(channel).unwrap()
}

#[test]
fn a_subscriber_with_defaults_and_a_publisher_with_a_depth_meet_in_either_order() {
    for publisher_first in [true, false] {
        let root = Root::new();
        let publish = || Publisher::<u64>::new(root.channel().depth(256)).unwrap();
        let (mut publisher, mut subscriber) = if publisher_first {
            let publisher = publish();
            (publisher, numbers(root.channel()))
        } else {
            let subscriber = numbers(root.channel());
            (publish(), subscriber)
        };
        // The depth is the publisher's: nothing of so many is lost.
        for number in 0..256 {
            publisher.send(&number).unwrap();
        }
        for number in 0..256 {
            assert_eq!(recv(&mut subscriber), number, "publisher first: {publisher_first}");
        }
        assert_eq!(subscriber.stats().missed, 0);
        assert_eq!(publisher.subscribers(), 1);
        assert_eq!(subscriber.publishers(), 1);
        assert_eq!(root.files(), 1);
    }
}

#[test]
fn a_subscriber_that_stays_follows_publishers_of_other_depths_though_they_do_not_stay() {
    let root = Root::new();
    let mut subscriber = numbers(root.channel());
    let mut sent = 0;
    for depth in [8, 256, 16, 64, 64] {
        let mut publisher = Publisher::<u64>::new(root.channel().depth(depth)).unwrap();
        let first = sent;
        for _ in 0..depth.min(40) {
            publisher.send(&sent).unwrap();
            sent += 1;
        }
        // It has gone before the subscriber sees that there was a new channel.
        drop(publisher);
        for number in first..sent {
            assert_eq!(recv(&mut subscriber), number, "depth {depth}");
        }
        assert!(subscriber.try_recv().unwrap().is_none());
        assert_eq!(root.files(), 1);
    }
    assert_eq!(subscriber.stats().missed, 0);
}

#[test]
fn what_somebody_sends_and_leaves_waits_for_everybody_who_is_to_hear_it() {
    // However often it was replaced before.
    for depths in [[16].as_slice(), &[16, 32]] {
        let root = Root::new();
        let (mut first, mut second) = (numbers(root.channel()), numbers(root.channel()));
        for depth in depths {
            Publisher::<u64>::new(root.channel().depth(*depth)).unwrap().send(&7).unwrap();
            assert_eq!(recv(&mut first), 7);
        }
        drop(first);
        assert_eq!(recv(&mut second), 7);
        assert_eq!(root.files(), 1);
    }
}

#[test]
fn what_somebody_sends_and_leaves_is_not_lost_to_those_who_come_and_go_in_between() {
    let root = Root::new();
    let depth = |depth| root.channel().depth(depth);
    let send = |channel: Channel, number: u64| {
        Publisher::<u64>::new(channel).unwrap().send(&number).unwrap();
    };
    for between in 0..4 {
        let mut subscriber = numbers(root.channel());
        send(depth(16), 1);
        let expected: &[u64] = match between {
            0 => {
                send(depth(16), 2);
                &[1, 2]
            }
            1 => {
                send(root.channel(), 2);
                &[1, 2]
            }
            2 => {
                drop(numbers(root.channel()));
                assert!(!root.channel().remove_stale().unwrap());
                &[1]
            }
            // Only one segment has the name.
            _ => {
                send(depth(32), 2);
                &[2]
            }
        };
        for number in expected {
            assert_eq!(recv(&mut subscriber), *number, "{between}");
        }
        drop(subscriber);
        assert_eq!(root.files(), 0, "{between}");
    }
}

#[test]
fn a_blocked_subscriber_hears_the_publisher_that_replaces_the_channel() {
    for wait in [Wait::Spin, Wait::Sleep, Wait::default()] {
        let root = Root::new();
        let options = SubscriberOptions::new().wait(wait);
        let mut subscriber = Subscriber::<u64>::with(root.channel(), options).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let first = recv(&mut subscriber);
                let second = recv(&mut subscriber);
                (first, second, subscriber)
            });
            for (number, depth) in [(1, 256), (2, 8)] {
                std::thread::sleep(Duration::from_millis(50));
                let mut publisher = Publisher::<u64>::new(root.channel().depth(depth)).unwrap();
                assert!(publisher.wait_for_subscribers(1, SOON).unwrap());
                publisher.send(&number).unwrap();
                let end = Instant::now() + SOON;
                while number == 2 && !reader.is_finished() {
                    assert!(Instant::now() < end);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let (first, second, _) = reader.join().unwrap();
            assert_eq!((first, second), (1, 2));
        });
    }
}

#[test]
fn what_was_published_before_the_subscriber_has_followed_is_counted_as_missed() {
    let root = Root::new();
    let mut subscriber = numbers(root.channel());
    let mut publisher = Publisher::<u64>::new(root.channel().depth(8)).unwrap();
    for number in 0..1000 {
        publisher.send(&number).unwrap();
    }
    let sample = subscriber.recv_timeout(SOON).unwrap().unwrap();
    assert_eq!(sample.missed(), *sample);
    assert!(sample.missed() > 900, "{sample:?}");
}

#[test]
fn publishers_of_a_replaced_channel_and_of_the_next_are_told_apart() {
    let root = Root::new();
    let mut subscriber = numbers(root.channel());
    let mut ids = Vec::new();
    for depth in [8, 8, 16, 16, 32] {
        let mut publisher = Publisher::<u64>::new(root.channel().depth(depth)).unwrap();
        publisher.send(&1).unwrap();
        let sample = subscriber.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(sample.publisher(), publisher.id());
        ids.push((sample.publisher().ring, sample.publisher().generation, sample.sequence()));
    }
    assert_eq!(ids, [(0, 1, 0), (0, 2, 1), (0, 3, 0), (0, 4, 1), (0, 5, 0)]);
}

#[test]
fn a_sample_of_a_replaced_channel_can_still_be_read() {
    let root = Root::new();
    let mut subscriber = numbers(root.channel());
    let mut old = Publisher::<u64>::new(root.channel()).unwrap();
    old.send(&7).unwrap();
    let sample = subscriber.recv_timeout(SOON).unwrap().unwrap();
    drop(old);
    let mut new = Publisher::<u64>::new(root.channel().depth(256)).unwrap();
    for number in 0..1000 {
        new.send(&number).unwrap();
    }
    subscriber.recv_timeout(SOON).unwrap().unwrap();
    assert_eq!(*sample, 7);
    drop((subscriber, new));
    assert_eq!(*sample, 7);
}

#[test]
fn latest_follows_too_but_not_past_a_message_that_was_not_read() {
    let root = Root::new();
    let mut subscriber = numbers(root.channel());
    let mut old = Publisher::<u64>::new(root.channel()).unwrap();
    old.send(&1).unwrap();
    drop(old);
    let mut new = Publisher::<u64>::new(root.channel().depth(256)).unwrap();
    new.send(&2).unwrap();
    assert_eq!(subscriber.latest().unwrap().map(|sample| *sample), Some(1));
    assert_eq!(subscriber.latest().unwrap().map(|sample| *sample), Some(2));
    assert_eq!(subscriber.latest().unwrap().map(|sample| *sample), Some(2));
}

#[test]
fn two_live_publishers_with_different_depths_do_not_meet() {
    let root = Root::new();
    let first = Publisher::<u64>::new(root.channel().depth(8)).unwrap();
    let error = Publisher::<u64>::new(root.channel().depth(256)).unwrap_err();
    assert_eq!(error.to_string(), "channel \"test/channel\" has depth 8, you ask for 256");
    assert!(matches!(error, AttachError::GeometryMismatch { option: "depth", .. }));
    // One that does not say adopts.
    Publisher::<u64>::new(root.channel()).unwrap();
    drop(first);
    Publisher::<u64>::new(root.channel().depth(256)).unwrap();
}

#[test]
fn a_subscriber_must_match_a_live_publisher_in_every_option_that_it_sets() {
    let root = Root::new();
    let channel = root.channel().depth(8).max_publishers(3).max_subscribers(4);
    let _publisher = Publisher::<u64>::new(&channel).unwrap();
    let refused = |channel: Channel| match Subscriber::<u64>::new(channel) {
        Err(AttachError::GeometryMismatch { option, found, asked, .. }) => (option, found, asked),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(root.channel().depth(9)), ("depth", 8, 9));
    assert_eq!(refused(root.channel().max_publishers(4)), ("max_publishers", 3, 4));
    assert_eq!(refused(root.channel().max_subscribers(5)), ("max_subscribers", 4, 5));
    assert!(Subscriber::<u64>::new(channel).is_ok());
}

#[test]
fn a_subscriber_with_a_depth_meets_one_that_came_before_it_without() {
    // In whatever order a publisher, a subscriber that sets the depth and one that does not come.
    let root = Root::new();
    let mut plain = numbers(root.channel());
    let mut picky = numbers(root.channel().depth(256));
    let mut publisher = Publisher::<u64>::new(root.channel().depth(256)).unwrap();
    publisher.send(&5).unwrap();
    assert_eq!((recv(&mut plain), recv(&mut picky)), (5, 5));
    assert_eq!(root.files(), 1);
}

#[test]
fn two_subscribers_that_contradict_each_other_do_not_meet() {
    let root = Root::new();
    let _first = numbers(root.channel().depth(8));
    let error = Subscriber::<u64>::new(root.channel().depth(16)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { found: 8, asked: 16, .. }), "{error}");
}

#[test]
fn a_subscriber_that_contradicts_the_first_publisher_is_told_and_goes_on_when_that_has_left() {
    let root = Root::new();
    let mut subscriber = numbers(root.channel().depth(8));
    let publisher = Publisher::<u64>::new(root.channel().depth(256)).unwrap();
    for _ in 0..2 {
        match subscriber.recv_timeout(SOON) {
            Err(RecvError::Attach(error)) => assert_eq!(
                error.to_string(),
                "channel \"test/channel\" has depth 256, you ask for 8"
            ),
            other => panic!("{other:?}"),
        }
    }
    drop(publisher);
    let mut publisher = Publisher::<u64>::new(root.channel().depth(8)).unwrap();
    publisher.send(&3).unwrap();
    assert_eq!(recv(&mut subscriber), 3);
}

#[test]
fn the_first_publisher_decides_the_type_too() {
    let root = Root::new();
    let mut wrong = Subscriber::<i32>::new(root.channel()).unwrap();
    let mut publisher = Publisher::<u64>::new(root.channel()).unwrap();
    let mut right = numbers(root.channel());
    publisher.send(&1).unwrap();
    assert_eq!(recv(&mut right), 1);
    match wrong.recv_timeout(SOON) {
        Err(RecvError::Attach(error)) => {
            assert!(matches!(*error, AttachError::SchemaMismatch { .. }), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // But not while another publisher is there.
    let error = Publisher::<i32>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    let error = Subscriber::<i32>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
}

#[test]
fn an_interrupter_still_works_after_the_channel_was_replaced() {
    let root = Root::new();
    let options = SubscriberOptions::new().wait(Wait::Sleep);
    let mut subscriber = Subscriber::<u64>::with(root.channel(), options).unwrap();
    let interrupter = subscriber.interrupter();
    let mut publisher = Publisher::<u64>::new(root.channel().depth(256)).unwrap();
    publisher.send(&1).unwrap();
    assert_eq!(recv(&mut subscriber), 1);
    std::thread::scope(|scope| {
        let blocked = scope.spawn(move || subscriber.recv().map(|sample| *sample));
        std::thread::sleep(Duration::from_millis(50));
        interrupter.interrupt();
        let end = Instant::now() + SOON;
        while !blocked.is_finished() {
            assert!(Instant::now() < end, "not interrupted");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(blocked.join().unwrap(), Err(RecvError::Interrupted)));
    });
}

/// Publishers of different depths, each alone at its time, and subscribers that come and go.
#[test]
fn many_replacements_at_a_time_end_on_one_channel() {
    let root = Root::new();
    let end = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        let writer = |depth: u32| {
            let channel = root.channel().depth(depth);
            scope.spawn(move || {
                while Instant::now() < end {
                    match Publisher::<u64>::new(&channel) {
                        Ok(mut publisher) => publisher.send(&depth.into()).unwrap(),
                        Err(AttachError::GeometryMismatch { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        let writers = [8, 16, 256].map(writer);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let channel = root.channel();
                scope.spawn(move || {
                    let mut subscriber = numbers(channel);
                    let mut received = 0;
                    while Instant::now() < end {
                        let got = subscriber.recv_timeout(Duration::from_millis(10)).unwrap();
                        received += u64::from(got.is_some());
                    }
                    (received, subscriber)
                })
            })
            .collect();
        let readers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let mut publisher = Publisher::<u64>::new(root.channel().depth(32)).unwrap();
        publisher.send(&u64::MAX).unwrap();
        for (received, mut subscriber) in readers {
            assert!(received > 10, "{received}");
            while recv(&mut subscriber) != u64::MAX {}
        }
    });
}
