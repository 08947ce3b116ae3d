//! Publish and subscribe within one process: what the handles promise.

mod common;

use shm_comm::{
    AttachError, Channel, LoanError, LoanUninit, Publish, Publisher, PublisherOptions, Read,
    RecvError, Sample, ShmMessage, Start, Subscriber, SubscriberOptions, Wait,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
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
    fn publisher(&self) -> Publisher<u64> {
        Publisher::new(self.channel()).unwrap()
    }
    fn subscriber(&self) -> Subscriber<u64> {
        self.subscriber_with(SubscriberOptions::new())
    }
    fn subscriber_with(&self, options: SubscriberOptions) -> Subscriber<u64> {
        Subscriber::with(self.channel(), options).unwrap()
    }
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn publish(publisher: &mut Publisher<u64>, values: std::ops::Range<u64>) {
    for value in values {
        publisher.loan().unwrap().write(value);
    }
}

fn try_recv(subscriber: &mut Subscriber<u64>) -> Option<u64> {
    subscriber.try_recv().unwrap().map(|sample| *sample)
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Command {
    speed: f64,
    gear: Gear,
    brake: bool,
    _pad0: [u8; 6],
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Gear {
    Neutral = 0,
    Forward = 1,
    Back = 2,
}

#[test]
fn a_message_arrives_in_either_order_of_start() {
    for publisher_first in [true, false] {
        let root = Root::new();
        let early = publisher_first.then(|| Publisher::<[f64; 7]>::new(root.channel()).unwrap());
        let mut subscriber = Subscriber::<[f64; 7]>::new(root.channel()).unwrap();
        let mut publisher =
            early.unwrap_or_else(|| Publisher::<[f64; 7]>::new(root.channel()).unwrap());
        publisher.loan().unwrap().write([0.5; 7]);
        let sample = subscriber.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(*sample, [0.5; 7]);
        assert_eq!((sample.sequence(), sample.missed()), (0, 0));
        assert_eq!(sample.bytes(), [0.5f64.to_ne_bytes(); 7].concat());
        assert_eq!(sample.publisher(), publisher.id());
    }
}

#[test]
fn every_way_to_fill_a_loan_arrives() {
    let root = Root::new();
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber();
    publisher.loan().unwrap().write(1);
    let mut loan = publisher.loan().unwrap().init(40);
    *loan += 2;
    assert_eq!(*loan, 42);
    loan.send();
    let loan = publisher.loan().unwrap().zeroed();
    assert_eq!(*loan, 0);
    loan.send();
    let mut loan = publisher.loan().unwrap().reused();
    *loan = 4;
    loan.send();
    publisher.send(&5).unwrap();
    let mut loan = publisher.loan().unwrap();
    // SAFETY: The pointer is to the slot; all of it is written before it is sent.
    unsafe { loan.as_mut_ptr().write(6) };
    // SAFETY: As above.
    unsafe { loan.assume_init() }.send();
    let received: Vec<u64> = std::iter::from_fn(|| try_recv(&mut subscriber)).collect();
    assert_eq!(received, [1, 42, 0, 4, 5, 6]);
}

#[test]
fn a_reused_loan_has_what_an_older_message_left() {
    let root = Root::new();
    let mut publisher = Publisher::<[u64; 4]>::new(root.channel().depth(8)).unwrap();
    for i in 0..200 {
        publisher.loan().unwrap().write([i; 4]);
    }
    let loan = publisher.loan().unwrap().reused();
    assert!(loan[0] > 0 && loan[0] < 200, "{}", loan[0]);
    assert_eq!(*loan, [loan[0]; 4]);
}

#[test]
fn a_large_message_does_not_pass_over_the_stack() {
    let root = Root::new();
    let channel = root.channel().depth(1).max_subscribers(1);
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
        let mut publisher = Publisher::<[u8; 4 << 20]>::new(&channel).unwrap();
        let mut subscriber = Subscriber::<[u8; 4 << 20]>::new(&channel).unwrap();
        let mut loan = publisher.loan().unwrap().zeroed();
        loan[4_000_000] = 7;
        loan.send();
        publisher.loan().unwrap().reused().send();
        let sample = subscriber.recv().unwrap();
        assert_eq!((sample[0], sample[4_000_000]), (0, 7));
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn a_loan_that_is_dropped_publishes_nothing() {
    let root = Root::new();
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber();
    drop(publisher.loan().unwrap());
    drop(publisher.loan().unwrap().init(7));
    publisher.loan().unwrap().write(8);
    let sample = subscriber.try_recv().unwrap().unwrap();
    assert_eq!((*sample, sample.sequence()), (8, 0));
}

#[test]
fn a_held_sample_does_not_change_while_the_publisher_goes_round() {
    let root = Root::new();
    let mut publisher = Publisher::<[u64; 32]>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<[u64; 32]>::new(root.channel()).unwrap();
    let mut held: Vec<(u64, Sample<[u64; 32]>)> = Vec::new();
    for i in 0..20_000 {
        publisher.loan().unwrap().write([i; 32]);
        if i % 1000 == 3 {
            if held.len() == 3 {
                held.remove(1);
            }
            let sample = subscriber.latest().unwrap().unwrap();
            assert_eq!(sample[0], i);
            held.push((i, sample));
        }
        for (value, sample) in &held {
            assert_eq!(**sample, [*value; 32]);
        }
    }
    assert!(publisher.stats().skipped_slots > 300, "{publisher:?}");
}

#[test]
fn one_sample_more_than_may_be_held_is_an_error_and_loses_nothing() {
    let root = Root::new();
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber_with(SubscriberOptions::new().max_held(2));
    publish(&mut publisher, 0..4);
    let first = subscriber.recv().unwrap();
    let second = subscriber.recv().unwrap();
    for _ in 0..3 {
        let error = subscriber.recv().unwrap_err();
        assert!(matches!(error, RecvError::TooManySamples { max_held: 2, .. }), "{error}");
        assert!(
            error.to_string().ends_with("no more samples may be held than 2 (max_held)"),
            "{error}"
        );
        assert!(subscriber.try_recv().is_err());
        assert!(subscriber.latest().is_err());
    }
    std::thread::spawn(move || drop(first)).join().unwrap();
    let third = subscriber.recv().unwrap();
    assert_eq!((*second, *third, third.missed()), (1, 2, 0));
}

#[test]
fn a_forgotten_sample_costs_one_hold() {
    let root = Root::new();
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber_with(SubscriberOptions::new().max_held(2));
    publish(&mut publisher, 0..1);
    std::mem::forget(subscriber.recv().unwrap());
    for i in 1..1000 {
        publish(&mut publisher, i..i + 1);
        assert_eq!(try_recv(&mut subscriber), Some(i));
    }
}

#[test]
fn a_lapped_subscriber_learns_how_many_it_missed() {
    let root = Root::new();
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber();
    let mut received = 0;
    for round in 0..50 {
        publish(&mut publisher, 0..round * 17);
        while let Some(sample) = subscriber.try_recv().unwrap() {
            assert_eq!(sample.sequence(), received + subscriber.stats().missed);
            received += 1;
        }
    }
    let stats = subscriber.stats();
    assert_eq!(stats.received, received);
    assert!(stats.missed > 0);
    assert_eq!(stats.received + stats.missed, publisher.stats().published);
}

#[test]
fn the_depth_is_what_a_subscriber_may_fall_behind() {
    for depth in [1, 2, 7, 64, 300] {
        let root = Root::new();
        let mut publisher = Publisher::<u64>::new(root.channel().depth(depth)).unwrap();
        let mut subscriber = root.subscriber();
        for _ in 0..20 {
            publish(&mut publisher, 0..depth.into());
            for i in 0..depth.into() {
                assert_eq!(try_recv(&mut subscriber), Some(i), "depth {depth}");
            }
        }
        assert_eq!(subscriber.stats().missed, 0);
    }
}

#[test]
fn latest_is_the_newest_seen_or_not_and_jumps_without_missing() {
    let root = Root::new();
    let mut publisher = root.publisher();
    publish(&mut publisher, 0..10);
    let mut subscriber = root.subscriber();
    assert_eq!(try_recv(&mut subscriber), None, "published before it came");
    for _ in 0..3 {
        let sample = subscriber.latest().unwrap().unwrap();
        assert_eq!((*sample, sample.sequence(), sample.missed()), (9, 9, 0));
        assert_eq!(try_recv(&mut subscriber), None);
    }
    publish(&mut publisher, 10..200);
    assert_eq!(*subscriber.latest().unwrap().unwrap(), 199);
    publish(&mut publisher, 200..202);
    let sample = subscriber.recv().unwrap();
    assert_eq!((*sample, sample.missed()), (200, 0));
    assert_eq!(subscriber.stats().missed, 0);
}

#[test]
fn latest_of_an_empty_channel_is_none() {
    let root = Root::new();
    assert!(root.subscriber().latest().unwrap().is_none());
    let _publisher = root.publisher();
    assert!(root.subscriber().latest().unwrap().is_none());
}

#[test]
fn latest_serves_every_publisher_in_its_turn() {
    let root = Root::new();
    let mut publishers = [root.publisher(), root.publisher(), root.publisher()];
    let mut subscriber = root.subscriber();
    for (i, publisher) in (0..).zip(&mut publishers) {
        publish(publisher, i * 100..i * 100 + 10);
    }
    let mut newest: Vec<u64> = (0..3).map(|_| *subscriber.latest().unwrap().unwrap()).collect();
    newest.sort();
    assert_eq!(newest, [9, 109, 209]);
    assert_eq!(try_recv(&mut subscriber), None);
}

#[test]
fn a_subscriber_can_start_with_the_oldest() {
    let root = Root::new();
    let mut publisher = root.publisher();
    publish(&mut publisher, 0..5);
    let mut subscriber = root.subscriber_with(SubscriberOptions::new().start(Start::Oldest));
    for i in 0..5 {
        assert_eq!(try_recv(&mut subscriber), Some(i));
    }
    publish(&mut publisher, 5..1000);
    let mut late = root.subscriber_with(SubscriberOptions::new().start(Start::Oldest));
    let first = late.recv().unwrap();
    assert!(*first > 800 && *first < 950, "{first:?}");
}

#[test]
fn copies_hold_nothing() {
    #[derive(ShmMessage, Clone, Copy, PartialEq, Debug)]
    #[repr(C)]
    struct Odd([u8; 13]);
    fn check<T: ShmMessage + PartialEq + std::fmt::Debug>(values: impl Fn(u64) -> T) {
        let root = Root::new();
        let mut publisher = Publisher::<T>::new(root.channel()).unwrap();
        let options = SubscriberOptions::new().read(Read::Copied).max_held(1);
        let mut subscriber = Subscriber::<T>::with(root.channel(), options).unwrap();
        let mut copies = Vec::new();
        for i in 0..100 {
            publisher.loan().unwrap().write(values(i));
            copies.push(if i % 2 == 0 {
                subscriber.recv().unwrap()
            } else {
                subscriber.latest().unwrap().unwrap()
            });
        }
        for (i, copy) in (0..).zip(&copies) {
            assert_eq!(**copy, values(i));
            assert_eq!(copy.sequence(), i);
        }
        assert_eq!(publisher.stats().skipped_slots, 0);
    }
    check(|i| i);
    check(|i| Odd([i as u8; 13]));
    check(|i| [i; 6]);
    check(|i| [i; 7]);
    check(|i| [i as u32; 1001]);
}

#[test]
fn a_sample_outlives_its_subscriber_and_detaches_last() {
    let root = Root::new();
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber();
    publish(&mut publisher, 0..2);
    let first = subscriber.recv().unwrap();
    let second = subscriber.recv().unwrap();
    drop(subscriber);
    drop(first);
    assert_eq!(publisher.subscribers(), 0, "a sample hears nothing");
    publish(&mut publisher, 2..1000);
    drop(publisher);
    assert_eq!(root.files(), ["test%2Fchannel.pubsub"]);
    assert_eq!(*second, 1);
    std::thread::spawn(move || drop(second)).join().unwrap();
    assert_eq!(root.files(), [""; 0], "the last one out removes the file");
}

#[test]
fn a_new_publisher_takes_over_the_lowest_free_ring_and_its_numbers() {
    let root = Root::new();
    let mut subscriber = root.subscriber();
    let mut first = root.publisher();
    let mut second = root.publisher();
    publish(&mut first, 0..10);
    publish(&mut second, 100..105);
    assert_eq!((first.id().ring, second.id().ring), (0, 1));
    drop(first.loan().unwrap());
    drop(first);
    let mut third = root.publisher();
    assert_eq!((third.id().ring, third.id().generation), (0, 2));
    publish(&mut third, 10..20);
    let mut of_ring_0 = Vec::new();
    while let Some(sample) = subscriber.try_recv().unwrap() {
        if sample.publisher().ring == 0 {
            let generation = if *sample < 10 { 1 } else { 2 };
            assert_eq!(sample.publisher().generation, generation);
            assert_eq!(sample.sequence(), *sample);
            of_ring_0.push(*sample);
        }
    }
    assert_eq!(of_ring_0, (0..20).collect::<Vec<_>>());
    drop((subscriber, second, third));
    assert_eq!(root.files(), [""; 0]);
    let mut publisher = root.publisher();
    let mut subscriber = root.subscriber();
    publish(&mut publisher, 5..6);
    let sample = subscriber.recv().unwrap();
    assert_eq!(sample.sequence(), 0, "all had gone, and so had the channel");
    assert_eq!(sample.publisher().generation, 1);
}

#[test]
fn no_publisher_starves() {
    let root = Root::new();
    let mut subscriber = root.subscriber();
    let mut publishers: Vec<_> = (0..8).map(|_| root.publisher()).collect();
    for publisher in &mut publishers {
        publish(publisher, 0..50);
    }
    for _ in 0..50 {
        let mut rings: Vec<u32> =
            (0..8).map(|_| subscriber.recv().unwrap().publisher().ring).collect();
        rings.sort();
        assert_eq!(rings, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn there_is_room_for_8_publishers_and_64_subscribers_and_a_clear_end() {
    let root = Root::new();
    let mut publishers: Vec<_> = (0..8).map(|_| root.publisher()).collect();
    let mut subscribers: Vec<_> = (0..64).map(|_| root.subscriber()).collect();
    let error = Publisher::<u64>::new(root.channel()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "channel \"test/channel\" has 8 publishers already, and no room for more (max_publishers)"
    );
    let error = Subscriber::<u64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::TooManyParticipants { kind: "subscribers", max: 64, .. }));
    assert_eq!(publishers[3].subscribers(), 64);
    assert_eq!(subscribers[9].publishers(), 8);
    for (i, publisher) in (0..).zip(&mut publishers) {
        publish(publisher, i..i + 1);
    }
    for subscriber in &mut subscribers {
        let mut values: Vec<u64> = (0..8).map(|_| *subscriber.recv().unwrap()).collect();
        values.sort();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    subscribers.remove(17);
    let _again = root.subscriber();
    assert_eq!(publishers[0].subscribers(), 64);
}

#[test]
fn when_all_slots_are_held_the_loan_says_by_whom() {
    let root = Root::new();
    let channel = root.channel().depth(1).max_subscribers(1);
    let mut publisher = Publisher::<u64>::new(&channel).unwrap();
    let options = SubscriberOptions::new().max_held(16);
    let mut subscriber = Subscriber::<u64>::with(&channel, options).unwrap();
    let mut held = Vec::new();
    let error = loop {
        match publisher.loan() {
            Ok(loan) => loan.write(held.len() as u64),
            Err(error) => break error,
        }
        held.push(subscriber.recv().unwrap());
    };
    let LoanError::AllSlotsHeld { slots, holders, .. } = &error else { panic!("{error}") };
    assert_eq!(*slots, 8);
    assert_eq!((holders[0].subscriber, holders[0].held), (0, 8));
    let pid = std::process::id();
    assert_eq!(holders[0].pid, pid);
    assert_eq!(
        error.to_string(),
        format!(
            "channel \"test/channel\": all 8 slots are held, by subscriber 0 (pid {pid}): 8 \
             (several may hold the same)"
        )
    );
    drop(held);
    publisher.send(&77).unwrap();
    assert_eq!(*subscriber.recv().unwrap(), 77);
}

#[test]
fn with_the_defaults_eight_subscribers_cannot_hold_all_slots() {
    fn check<T: ShmMessage>(hold: usize, publish: impl Fn(LoanUninit<Publish<T>>)) {
        let root = Root::new();
        let mut publisher = Publisher::<T>::new(root.channel()).unwrap();
        let mut subscribers: Vec<_> =
            (0..8).map(|_| Subscriber::<T>::new(root.channel()).unwrap()).collect();
        let mut held = Vec::new();
        for _ in 0..hold {
            for subscriber in &mut subscribers {
                publish(publisher.loan().unwrap());
                held.push(subscriber.latest().unwrap().unwrap());
            }
        }
        // All of them hold all they may, each sample another slot.
        for subscriber in &mut subscribers {
            assert!(matches!(subscriber.latest(), Err(RecvError::TooManySamples { .. })));
        }
        let before = publisher.stats().skipped_slots;
        for _ in 0..200 {
            drop(publisher.loan().unwrap());
            publish(publisher.loan().unwrap());
        }
        assert!(publisher.stats().skipped_slots >= before + held.len() as u64);
    }
    check::<u64>(4, |loan| loan.write(7));
    // A full-HD image of three bytes a pixel.
    check::<[u8; 6_220_800]>(1, |loan| loan.reused().send());
}

#[test]
fn another_type_is_refused_with_the_difference() {
    let root = Root::new();
    let _publisher = root.publisher();
    let error = Subscriber::<i64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }));
    assert_eq!(
        error.to_string(),
        "channel \"test/channel\" carries `u64`, not this program's `i64`:\n  \
         the message: channel u64, you i64"
    );
    assert!(Subscriber::<[u64; 1]>::new(root.channel()).is_err());
    assert!(Subscriber::<u64>::new(root.channel()).is_ok());
}

#[test]
fn an_option_that_is_set_must_match_and_one_that_is_not_adopts() {
    let root = Root::new();
    let _publisher = Publisher::<u64>::new(root.channel().depth(100).max_subscribers(3)).unwrap();
    let error = Subscriber::<u64>::new(root.channel().depth(64)).unwrap_err();
    assert_eq!(error.to_string(), "channel \"test/channel\" has depth 100, you ask for 64");
    let error = Subscriber::<u64>::new(root.channel().max_subscribers(4)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { option: "max_subscribers", .. }));
    assert!(Subscriber::<u64>::new(root.channel().depth(100)).is_ok());
    assert!(Subscriber::<u64>::new(root.channel()).is_ok());
}

#[test]
fn options_out_of_bounds_are_refused() {
    let root = Root::new();
    for channel in [
        root.channel().depth(0),
        root.channel().depth(1 << 17),
        root.channel().max_publishers(0),
        root.channel().max_publishers(65),
        root.channel().max_subscribers(65),
    ] {
        let error = Publisher::<u64>::new(&channel).unwrap_err();
        assert!(matches!(error, AttachError::BadOption { .. }), "{channel:?}: {error}");
    }
    for held in [0, 17] {
        let options = SubscriberOptions::new().max_held(held);
        let error = Subscriber::<u64>::with(root.channel(), options).unwrap_err();
        assert!(matches!(error, AttachError::BadOption { option: "max_held", .. }), "{error}");
    }
    assert_eq!(root.files(), [""; 0]);
}

#[test]
fn an_invalid_message_is_an_error_and_the_next_one_arrives() {
    let root = Root::new();
    let mut publisher = Publisher::<Command>::new(root.channel()).unwrap();
    for read in [Read::Pinned, Read::Copied] {
        let options = SubscriberOptions::new().read(read).max_held(1);
        let mut subscriber = Subscriber::<Command>::with(root.channel(), options).unwrap();
        let good = Command { speed: 1.0, gear: Gear::Back, brake: true, _pad0: [0; 6] };
        for (offset, garbage) in [(8, 3), (9, 2)] {
            let mut loan = publisher.loan().unwrap();
            let start = loan.as_mut_ptr();
            // SAFETY: The pointer is to a slot for a `Command`, which has more bytes.
            unsafe { start.write(good) };
            // SAFETY: As above.
            unsafe { start.cast::<u8>().add(offset).write(garbage) };
            // SAFETY: It is not, on purpose. Nothing here looks at it before it is checked.
            unsafe { loan.assume_init() }.send();
        }
        publisher.send(&good).unwrap();
        let text = |subscriber: &mut Subscriber<Command>| match subscriber.recv() {
            Err(RecvError::Invalid { invalid, .. }) => invalid.field().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(&mut subscriber), "gear");
        assert_eq!(text(&mut subscriber), "brake");
        let sample = subscriber.recv().unwrap();
        assert_eq!((*sample, sample.missed()), (good, 0));
    }
}

#[test]
fn a_message_that_was_checked_stays_as_it_was_whatever_its_publisher_does() {
    let root = Root::new();
    let mut publisher = Publisher::<Gear>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<Gear>::new(root.channel()).unwrap();
    let mut loan = publisher.loan().unwrap();
    // As a wild pointer would.
    let wild = loan.as_mut_ptr().cast::<u8>();
    loan.write(Gear::Back);
    let sample = subscriber.recv().unwrap();
    let newest = subscriber.latest().unwrap().unwrap();
    // SAFETY: The publisher's own memory, which nobody reads any more, or this test fails.
    unsafe { wild.write_volatile(200) };
    assert_eq!((sample.bytes(), newest.bytes()), (&[2][..], &[2][..]));
    assert_eq!((*sample, *newest), (Gear::Back, Gear::Back));
    // Nobody has it checked again.
    assert!(matches!(subscriber.latest(), Err(RecvError::Invalid { .. })));
}

#[test]
fn recv_timeout_ends_in_time() {
    let root = Root::new();
    let _publisher = root.publisher();
    for wait in [Wait::Spin, Wait::Sleep, Wait::default()] {
        let mut subscriber = root.subscriber_with(SubscriberOptions::new().wait(wait));
        for time in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(150)] {
            let start = Instant::now();
            assert!(subscriber.recv_timeout(time).unwrap().is_none());
            assert!(start.elapsed() >= time);
        }
    }
}

#[test]
fn every_wait_is_ended_by_a_message() {
    for wait in [Wait::Spin, Wait::Sleep, Wait::default(), Wait::SpinThenSleep(Duration::ZERO)] {
        let root = Root::new();
        let mut subscriber = root.subscriber_with(SubscriberOptions::new().wait(wait));
        let mut publisher = root.publisher();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..50 {
                    std::thread::sleep(Duration::from_micros(i % 5 * 100));
                    publish(&mut publisher, i..i + 1);
                }
            });
            for i in 0..50 {
                assert_eq!(*subscriber.recv_timeout(SOON).unwrap().unwrap(), i);
            }
        });
    }
}

#[test]
fn a_sleeping_subscriber_hears_a_publisher_that_comes_later() {
    let root = Root::new();
    let mut subscriber = root.subscriber_with(SubscriberOptions::new().wait(Wait::Sleep));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            publish(&mut root.publisher(), 5..6);
        });
        assert_eq!(*subscriber.recv_timeout(SOON).unwrap().unwrap(), 5);
    });
}

#[test]
fn an_interrupter_ends_the_current_or_the_next_call_once() {
    for wait in [Wait::Spin, Wait::Sleep, Wait::default()] {
        let root = Root::new();
        let mut publisher = root.publisher();
        let mut subscriber = root.subscriber_with(SubscriberOptions::new().wait(wait));
        let interrupter = subscriber.interrupter();
        interrupter.clone().interrupt();
        assert!(matches!(subscriber.recv_timeout(SOON), Err(RecvError::Interrupted)));
        assert!(subscriber.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                interrupter.interrupt();
            });
            assert!(matches!(subscriber.recv(), Err(RecvError::Interrupted)));
        });
        assert!(start.elapsed() < SOON);
        interrupter.interrupt();
        publish(&mut publisher, 0..3);
        assert_eq!(subscriber.iter().count(), 0, "an interrupted iteration ends");
        assert_eq!(subscriber.iter().take(3).count(), 3);
        drop(subscriber);
        interrupter.interrupt();
    }
}

#[test]
fn participants_can_be_waited_for() {
    let root = Root::new();
    let mut publisher = root.publisher();
    assert!(!publisher.wait_for_subscribers(1, Duration::from_millis(5)).unwrap());
    assert!(publisher.wait_for_subscribers(0, Duration::ZERO).unwrap());
    let received = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut subscriber = root.subscriber();
            assert!(subscriber.wait_for_publishers(1, SOON).unwrap());
            assert_eq!(*subscriber.recv_timeout(SOON).unwrap().unwrap(), 0, "from the very first");
            received.store(true, Ordering::Relaxed);
        });
        assert!(publisher.wait_for_subscribers(1, SOON).unwrap());
        publish(&mut publisher, 0..1);
    });
    assert!(received.load(Ordering::Relaxed));
    assert!(!root.subscriber().wait_for_publishers(2, Duration::ZERO).unwrap());
}

#[test]
fn names_stay_inside_the_root() {
    let root = Root::new();
    let names = ["../../etc/x", ".", "..", "a/../b", "%", "%2F", "/", "a\nb", "臂", "~", "-x", " "];
    let handles: Vec<_> = names
        .iter()
        .map(|name| Publisher::<u64>::new(Channel::new(*name).root(root.0.path())).unwrap())
        .collect();
    assert_eq!(root.files().len(), names.len());
    drop(handles);
    assert_eq!(root.files(), [""; 0]);
    for name in ["", "a\0b", &"x".repeat(300)] {
        let error = Publisher::<u64>::new(Channel::new(name).root(root.0.path())).unwrap_err();
        assert!(matches!(error, AttachError::BadName { .. }), "{error}");
    }
}

#[test]
fn what_is_no_segment_is_left_alone_and_named() {
    let root = Root::new();
    let path = root.0.path().join("test%2Fchannel.pubsub");
    let reason = || match Publisher::<u64>::new(root.channel()) {
        Err(error @ AttachError::NotAChannel { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::write(&path, "hello").unwrap();
    std::fs::set_permissions(&path, private.clone()).unwrap();
    assert!(reason().ends_with("is not a segment of a channel: 5 bytes are no header"));
    std::fs::write(&path, [7; 10_000]).unwrap();
    assert!(reason().ends_with(
        "it begins with \"\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\", not \"shm-comm\""
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(reason().ends_with("everybody may write to it (mode 0666)"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(reason().ends_with("it is a folder"));
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(reason().ends_with("it is a symbolic link"));
    std::fs::remove_file(&path).unwrap();
    assert!(Publisher::<u64>::new(root.channel()).is_ok());
}

#[test]
fn a_root_that_others_may_write_to_is_refused() {
    let root = Root::new();
    std::fs::set_permissions(root.0.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Publisher::<u64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::UnsafeRoot { .. }));
    assert!(error.to_string().ends_with("may be written to by others (mode 0777)"), "{error}");
}

#[test]
fn handles_say_what_they_are() {
    let root = Root::new();
    let publisher = Publisher::<u64>::with(root.channel(), PublisherOptions::new()).unwrap();
    let text = format!("{publisher:?}");
    assert!(text.starts_with("Publisher { channel: \"test/channel\", type: \"u64\""), "{text}");
    assert!(format!("{:?}", root.subscriber()).contains("received: 0"));
}

#[test]
fn handles_may_be_sent_and_samples_shared() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + 'static>() {}
    send::<Publisher<u64>>();
    send::<Subscriber<u64>>();
    share::<Sample<Command>>();
    share::<shm_comm::Interrupter>();
}

#[test]
fn threads_exchange_messages_without_a_torn_one() {
    let root = Root::new();
    let mut publishers: Vec<_> =
        (0..2).map(|_| Publisher::<[u64; 16]>::new(root.channel()).unwrap()).collect();
    let messages = 200_000;
    std::thread::scope(|scope| {
        for read in [Read::Pinned, Read::Copied] {
            let options = SubscriberOptions::new().read(read);
            let mut subscriber = Subscriber::<[u64; 16]>::with(root.channel(), options).unwrap();
            scope.spawn(move || {
                let mut next = [0; 2];
                while next != [messages; 2] {
                    let sample = subscriber.recv_timeout(SOON).unwrap().expect("more to come");
                    assert_eq!(*sample, [sample[0]; 16], "torn");
                    let next = &mut next[sample.publisher().ring as usize];
                    assert_eq!(sample.sequence(), sample[0]);
                    assert_eq!(*next + sample.missed(), sample.sequence());
                    *next = sample.sequence() + 1;
                }
                let stats = subscriber.stats();
                assert_eq!(stats.received + stats.missed, 2 * messages);
            });
        }
        for publisher in &mut publishers {
            scope.spawn(move || {
                for i in 0..messages {
                    publisher.loan().unwrap().write([i; 16]);
                }
            });
        }
    });
}
