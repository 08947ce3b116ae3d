//! What holds when processes are killed or stopped at random, under the eyes of those who are not.

use shm_comm::{
    AttachError, Channel, LoanError, Publisher, PublisherId, Subscriber, SubscriberOptions, Wait,
};
use shm_comm_tests::harness::{
    Free, Guard, Peer, Root, SOON, StopAtEnd, nothing_is_lost, random, report,
};
use shm_comm_tests::{Big, Ledger, Message, Numbered, RINGS, Watch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A channel with the default options, which nobody is on.
const EVERYTHING: Free = Free { publishers: RINGS, subscribers: 64, slots: 128, held: 0 };

/// One who stays, reads everything, and sometimes holds a few samples.
struct Witness<T: Message> {
    subscriber: Subscriber<T>,
    ledger: Ledger,
}

impl<T: Message> Witness<T> {
    /// Before every publisher.
    fn new(channel: &Channel, wait: Wait) -> Witness<T> {
        let options = SubscriberOptions::new().wait(wait);
        let subscriber = Subscriber::with(channel, options).unwrap();
        Witness { subscriber, ledger: Ledger::from_the_start() }
    }

    fn read(&mut self, hold: usize, watch: &Watch, stop: &AtomicBool) {
        let stop = || stop.load(Ordering::Relaxed);
        self.ledger.read(&mut self.subscriber, hold, watch, stop).unwrap();
    }

    fn check(mut self, channel: &Channel, free: Free, watch: &Watch) -> u64 {
        nothing_is_lost(channel, free, Some((&mut self.subscriber, &mut self.ledger)), watch);
        self.ledger.received
    }
}

/// One who stays and publishes, slowly, with a loan most of the time.
fn publish_on(mut publisher: Publisher<Numbered>, watch: &Watch, stop: &AtomicBool) {
    let mut number = publisher.stats().published;
    while !stop.load(Ordering::Relaxed) {
        let loan = watch.time("loan", || publisher.loan().unwrap().init(Numbered::new(number)));
        std::thread::sleep(Duration::from_millis(2));
        loan.check().unwrap();
        watch.time("send", || loan.send());
        number += 1;
    }
    assert_eq!(publisher.stats().published, number);
}

/// One who comes and goes. Anybody can come at any time, and two that are there at a time are on
/// one channel.
fn visit(channel: &Channel, watch: &Watch) {
    let open = || Publisher::<Numbered>::new(channel).unwrap();
    let mut publisher = watch.time("open a publisher", open);
    let open = || Subscriber::<Numbered>::new(channel).unwrap();
    let mut subscriber = watch.time("open a subscriber", open);
    let number = publisher.stats().published;
    watch.time("send", || publisher.send(&Numbered::new(number)).unwrap());
    let end = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < end, "not on one channel");
        let sample = watch.time("recv", || subscriber.recv_timeout(SOON).unwrap());
        let sample = sample.expect("our own, at least");
        sample.check().unwrap();
        if sample.publisher() == publisher.id() {
            assert_eq!(sample.number, number);
            break;
        }
    }
    watch.time("close a publisher", || drop(publisher));
    watch.time("close a subscriber", || drop(subscriber));
}

/// Kills so many of these peers, one after the other, and starts each again.
fn kill_and_restart(count: u64, peers: usize, start: impl Fn(usize) -> Peer) {
    let mut peers: Vec<Peer> = (0..peers).map(&start).collect();
    for _ in 0..count {
        std::thread::sleep(Duration::from_micros(random(5000)));
        let i = random(peers.len() as u64) as usize;
        let peer = std::mem::replace(&mut peers[i], start(i));
        peer.kill();
    }
    peers.into_iter().for_each(Peer::kill);
}

/// Publishers and subscribers of all habits: that are busy, that sleep, that have a loan or samples
/// for long, that are in the middle of a large message, that come and go.
#[test]
fn two_thousand_kills_do_no_harm() {
    const KILLS: u64 = 2000;
    let root = Root::new();
    let watch = Guard::over(&root);
    let (crowd, quiet) = (root.named("crowd"), root.named("quiet"));
    // Of 64 KiB, so with fewer slots.
    let big = root.named("big").depth(8).max_publishers(4).max_subscribers(4);
    let mut crowd_witness = Witness::<Numbered>::new(&crowd, Wait::default());
    let mut quiet_witness = Witness::<Numbered>::new(&quiet, Wait::Sleep);
    let mut big_witness = Witness::<Big>::new(&big, Wait::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| crowd_witness.read(3, &watch, &stop));
        scope.spawn(|| quiet_witness.read(0, &watch, &stop));
        scope.spawn(|| big_witness.read(1, &watch, &stop));
        for channel in [&crowd, &quiet] {
            let publisher = Publisher::new(channel).unwrap();
            scope.spawn(|| publish_on(publisher, &watch, &stop));
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                visit(&crowd, &watch);
                visit(&quiet, &watch);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let peers = [
            ("crowd", "flood", 0),
            ("crowd", "publish", 0),
            ("crowd", "subscribe", 3),
            ("crowd", "subscribe", 14),
            ("crowd", "churn", 0),
            ("quiet", "lend", 0),
            ("quiet", "lend", 0),
            ("quiet", "subscribe", 1),
            ("quiet", "subscribe", 9),
            ("big", "publish-big", 0),
            ("big", "publish-big", 0),
            ("big", "subscribe-big", 2),
        ];
        kill_and_restart(KILLS, peers.len(), |i| {
            let (channel, role, argument) = peers[i];
            Peer::start_on(PEER, &root, channel, role, argument)
        });
    });
    let subscribers = EVERYTHING.subscribers - 1;
    let few = Free { publishers: 4, subscribers: 3, slots: 32, held: 0 };
    let received = [
        crowd_witness.check(&crowd, Free { subscribers, ..EVERYTHING }, &watch),
        quiet_witness.check(&quiet, Free { subscribers, ..EVERYTHING }, &watch),
        big_witness.check(&big, few, &watch),
    ];
    assert!(root.files().is_empty(), "{:?}", root.files());
    report(format_args!(
        "{KILLS} kills, {received:?} messages checked; {}",
        watch.nobody_was_delayed()
    ));
}

/// Killed while they create, attach, detach and remove, with nobody who stays: there is never a
/// channel that nobody can use.
#[test]
fn five_hundred_kills_while_coming_and_going_do_no_harm() {
    const KILLS: u64 = 500;
    let root = Root::new();
    let watch = Guard::over(&root);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                visit(&root.channel(), &watch);
                // Mostly it is not there.
                std::thread::sleep(Duration::from_millis(random(20)));
            }
        });
        kill_and_restart(KILLS, 3, |_| Peer::start(PEER, &root, "churn", random(6)));
    });
    assert!(root.files().len() <= 1, "{:?}", root.files());
    nothing_is_lost::<Numbered>(&root.channel(), EVERYTHING, None, &watch);
    assert!(root.files().is_empty(), "{:?}", root.files());
    report(format_args!("{KILLS} kills; {}", watch.nobody_was_delayed()));
}

/// Sends so many messages with a pause after each, and says how many slots were passed.
fn skipped_while_sending(
    publisher: &mut Publisher<Numbered>,
    count: u64,
    pause: Duration,
    watch: &Watch,
) -> u64 {
    let before = publisher.stats().skipped_slots;
    for _ in 0..count {
        let number = publisher.stats().published;
        watch.time("send", || publisher.send(&Numbered::new(number)).unwrap());
        std::thread::sleep(pause);
    }
    publisher.stats().skipped_slots - before
}

/// A ring of 16 slots; a subscriber holds one of them.
fn a_held_slot(root: &Root, watch: &Watch) -> (Publisher<Numbered>, Peer) {
    let channel = root.channel().depth(8).max_subscribers(2);
    let mut publisher = Publisher::<Numbered>::new(channel).unwrap();
    let peer = Peer::start(PEER, root, "hold", 1);
    assert!(publisher.wait_for_subscribers(1, SOON).unwrap());
    let end = Instant::now() + SOON;
    while skipped_while_sending(&mut publisher, 64, Duration::ZERO, watch) == 0 {
        assert!(Instant::now() < end, "it does not hold a message");
        std::thread::sleep(Duration::from_millis(1));
    }
    (publisher, peer)
}

/// However slowly it publishes, and though nobody comes who would find the dead one; and at once if
/// somebody comes.
#[test]
fn the_slot_of_a_dead_holder_is_used_again() {
    const LAP: u64 = 32; // At least.
    let root = Root::new();
    let watch = Guard::over(&root);
    for pause in [Duration::ZERO, Duration::from_millis(10)] {
        let (mut publisher, peer) = a_held_slot(&root, &watch);
        peer.kill();
        let dead = Instant::now();
        while skipped_while_sending(&mut publisher, LAP, pause, &watch) > 0 {
            assert!(dead.elapsed() < SOON, "the slot of the dead one is lost");
        }
        let time = dead.elapsed();
        report(format_args!("killed; its slot is used again after {time:.1?}, pause {pause:?}"));
    }

    for publishes in [false, true] {
        let (mut publisher, peer) = a_held_slot(&root, &watch);
        peer.kill();
        let dead = Instant::now();
        let channel = root.channel();
        let publishing = publishes.then(|| Publisher::<Numbered>::new(&channel).unwrap());
        let subscribing = (!publishes).then(|| Subscriber::<Numbered>::new(&channel).unwrap());
        // What is claimed already may still be passed.
        skipped_while_sending(&mut publisher, LAP, Duration::ZERO, &watch);
        let time = dead.elapsed();
        assert_eq!(skipped_while_sending(&mut publisher, LAP, Duration::ZERO, &watch), 0);
        report(format_args!("killed; with a newcomer its slot is used again after {time:.1?}"));
        drop((publishing, subscribing, publisher));
        assert!(root.files().is_empty(), "{:?}", root.files());
    }
}

/// Without the second that a publisher waits before it asks after those who hold slots.
#[test]
fn when_every_slot_is_held_the_dead_are_found_at_once() {
    let root = Root::new();
    let watch = Guard::over(&root);
    let channel = root.channel().depth(8).max_subscribers(2);
    let mut publisher = Publisher::<Numbered>::new(&channel).unwrap();
    let peers = [(); 2].map(|()| Peer::start(PEER, &root, "hold", 16));
    assert!(publisher.wait_for_subscribers(2, SOON).unwrap());
    let mut number = 0;
    let end = Instant::now() + SOON;
    let mut send =
        || watch.time("send", || publisher.send(&Numbered::new(number)).map(|()| number += 1));
    // Both hold nearly every message.
    loop {
        assert!(Instant::now() < end, "they do not hold all");
        match send() {
            Ok(()) => std::thread::sleep(Duration::from_micros(500)),
            Err(LoanError::AllSlotsHeld { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    peers.into_iter().for_each(Peer::kill);
    for _ in 0..64 {
        send().unwrap();
    }
    drop(publisher);
    assert!(root.files().is_empty(), "{:?}", root.files());
    watch.nobody_was_delayed();
}

/// Longer than it takes until the publisher asks the kernel after it.
#[test]
fn a_stopped_subscriber_keeps_what_it_holds() {
    let root = Root::new();
    let watch = Guard::over(&root);
    let (mut publisher, peer) = a_held_slot(&root, &watch);
    peer.stop();
    let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let (mut laps, mut pause) = (0, Duration::ZERO);
    while start.elapsed() < Duration::from_millis(3500) {
        assert!(skipped_while_sending(&mut publisher, 32, pause, &watch) > 0, "it is taken away");
        // As fast as possible, and so slowly that every lap is a new one for the clock.
        pause = Duration::from_millis(2) - pause;
        laps += 2;
        ledger.drain(&mut subscriber).unwrap();
    }
    // Its place is not free, too.
    let full = Subscriber::<Numbered>::new(root.channel());
    assert!(matches!(full, Err(AttachError::TooManyParticipants { .. })), "{full:?}");
    assert_eq!(publisher.subscribers(), 2);
    peer.signal(libc::SIGCONT);
    // It looks at its sample every millisecond, and would end.
    std::thread::sleep(Duration::from_millis(50));
    peer.kill();
    drop(publisher);
    let free = Free { publishers: RINGS, subscribers: 1, slots: 32, held: 0 };
    nothing_is_lost::<Numbered>(&root.channel(), free, None, &watch);
    drop(subscriber);
    assert!(root.files().is_empty(), "{:?}", root.files());
    report(format_args!("stopped for {laps} laps; {}", watch.nobody_was_delayed()));
}

/// In the middle of whatever it does.
#[test]
fn a_stopped_publisher_keeps_its_ring() {
    let root = Root::new();
    let watch = Guard::over(&root);
    let channel = root.channel().max_publishers(2);
    let mut witness = Witness::<Numbered>::new(&channel, Wait::Sleep);
    for role in ["flood", "publish", "lend"] {
        let peer = Peer::start(PEER, &root, role, 0);
        assert!(witness.subscriber.wait_for_publishers(1, SOON).unwrap());
        let mut theirs = None;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_micros(random(5000)));
            peer.stop();
            // What it has published is there, whole; then nothing comes.
            witness.ledger.drain(&mut witness.subscriber).unwrap();
            let stopped = witness.ledger.clone();
            let open = || Publisher::<Numbered>::new(&channel).unwrap();
            let mut publisher = watch.time("open a publisher", open);
            let id: PublisherId = publisher.id();
            let its_ring = 1 - id.ring;
            assert!(theirs.is_none_or(|ring| ring == its_ring), "its ring was given away");
            theirs = Some(its_ring);
            let full = Publisher::<Numbered>::new(&channel);
            assert!(matches!(full, Err(AttachError::TooManyParticipants { .. })), "{full:?}");
            for _ in 0..300 {
                let number = publisher.stats().published;
                watch.time("send", || publisher.send(&Numbered::new(number)).unwrap());
                let sample = watch.time("recv", || witness.subscriber.recv_timeout(SOON).unwrap());
                let sample = sample.expect("what was just sent");
                witness.ledger.enter(&sample).unwrap();
                assert_eq!((sample.number, sample.publisher()), (number, id));
            }
            assert_eq!(witness.ledger.next(its_ring), stopped.next(its_ring));
            drop(publisher);
            peer.signal(libc::SIGCONT);
            // It goes on where it was.
            let end = Instant::now() + SOON;
            while witness.ledger.next(its_ring) == stopped.next(its_ring) {
                assert!(Instant::now() < end, "it does not go on");
                witness.ledger.drain(&mut witness.subscriber).unwrap();
            }
        }
        peer.kill();
    }
    let free = Free { publishers: 2, subscribers: EVERYTHING.subscribers - 1, ..EVERYTHING };
    witness.check(&channel, free, &watch);
    assert!(root.files().is_empty(), "{:?}", root.files());
    report(format_args!("stopped 60 times; {}", watch.nobody_was_delayed()));
}
