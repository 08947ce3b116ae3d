//! What holds between processes, and when they are killed.

use shm_comm::{Channel, Publisher, Sample, Subscriber, SubscriberOptions, Wait};
use shm_comm_tests::{Ledger, Numbered, RINGS};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

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
        Channel::new("peers").root(self.path())
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.path()).unwrap().count()
    }
}

/// A process that does not outlive its test.
struct Peer(Child);

impl Peer {
    fn start(root: &Root, role: &str, argument: u64) -> Peer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
        command.arg(role).arg(root.path()).arg(argument.to_string()).stdin(Stdio::null());
        Peer(command.spawn().unwrap())
    }

    /// Kills it, unless it has ended by itself, which none of these do unless something is wrong.
    fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended by itself: {status}");
    }

    fn wait(mut self) -> ExitStatus {
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
fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

#[test]
fn every_message_of_another_process_arrives_or_is_counted() {
    let root = Root::new();
    let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    let count = 100_000;
    let peers: Vec<_> = (0..3).map(|_| Peer::start(&root, "publish", count)).collect();
    let mut ledger = Ledger::from_the_start();
    let mut ended = false;
    let end = Instant::now() + SOON;
    while !ended || ledger.received + ledger.missed < 3 * count {
        assert!(Instant::now() < end, "{ledger:?}");
        ended = subscriber.publishers() == 0;
        ledger
            .read(&mut subscriber, 2, {
                let mut rounds = 0;
                move || {
                    rounds += 1;
                    rounds > 1000
                }
            })
            .unwrap();
    }
    assert_eq!(ledger.received + ledger.missed, 3 * count);
    let stats = subscriber.stats();
    assert_eq!((stats.received, stats.missed), (ledger.received, ledger.missed));
    for peer in peers {
        assert!(peer.wait().success());
    }
}

#[test]
fn a_held_sample_stays_as_it_is_while_another_process_laps_it_thousands_of_times() {
    let root = Root::new();
    let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    let count = 600_000;
    let peer = Peer::start(&root, "publish", count);
    let mut held: Vec<(u64, Sample<Numbered>)> = Vec::new();
    let mut newest = 0;
    let end = Instant::now() + SOON;
    while newest + 1 < count {
        assert!(Instant::now() < end, "only {newest} messages");
        if held.len() == 3 {
            held.remove(1);
        }
        if let Some(sample) = subscriber.latest().unwrap() {
            newest = sample.sequence();
            held.push((newest, sample));
        }
        for (number, sample) in &held {
            assert_eq!(**sample, Numbered::new(*number));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    // The first one was held while the ring of 128 slots went round thousands of times.
    assert!((newest - held[0].0) / 128 > 4000, "held from {} to {newest}", held[0].0);
    assert!(peer.wait().success());
}

#[test]
fn publishing_makes_no_system_call_while_nobody_sleeps() {
    for options in [None, Some(SubscriberOptions::new().wait(Wait::Spin))] {
        let root = Root::new();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Somebody who is there and never sleeps; or somebody who only looks.
            let channel = root.channel();
            scope.spawn(|| {
                let options = options.unwrap_or_default();
                let mut subscriber = Subscriber::<Numbered>::with(channel, options).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let _ = subscriber.try_recv().unwrap();
                }
            });
            let status = Peer::start(&root, "publish-without-system-calls", 500_000).wait();
            stop.store(true, Ordering::Relaxed);
            assert!(status.success(), "{status}");
        });
    }
}

#[test]
fn publishing_to_a_sleeper_makes_a_system_call() {
    // That the test above can fail.
    let root = Root::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let options = SubscriberOptions::new().wait(Wait::Sleep);
        let mut subscriber = Subscriber::<Numbered>::with(root.channel(), options).unwrap();
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _ = subscriber.recv_timeout(Duration::from_millis(500)).unwrap();
            }
        });
        let status = Peer::start(&root, "publish-without-system-calls", 1000).wait();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
    });
}

/// Publishers and subscribers are killed and started again, under the eyes of one who stays.
#[test]
fn two_hundred_kills_do_no_harm() {
    let root = Root::new();
    let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let witness = scope.spawn(|| {
            let mut ledger = Ledger::from_the_start();
            ledger.read(&mut subscriber, 3, || stop.load(Ordering::Relaxed)).map(|()| ledger)
        });
        let start = |i: usize| match i {
            0 | 1 => Peer::start(&root, "publish", 0),
            _ => Peer::start(&root, "subscribe", i as u64 * 3),
        };
        let mut peers: Vec<Peer> = (0..4).map(start).collect();
        for _ in 0..200 {
            std::thread::sleep(Duration::from_micros(random(6000)));
            let i = random(4) as usize;
            peers.remove(i).kill();
            peers.insert(i, start(i));
        }
        peers.into_iter().for_each(Peer::kill);
        // What was published last is read, too.
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        let ledger = witness.join().unwrap().unwrap();
        assert!(ledger.received > 1000, "{ledger:?}");
    });
    nothing_is_lost(&root, subscriber);
}

/// With everybody else dead: all places can be had, all slots are free, and the file goes.
fn nothing_is_lost(root: &Root, mut subscriber: Subscriber<Numbered>) {
    let mut publishers: Vec<_> =
        (0..RINGS).map(|_| Publisher::<Numbered>::new(root.channel()).unwrap()).collect();
    assert_eq!(publishers[0].subscribers(), 1);
    let mut others: Vec<_> =
        (0..63).map(|_| Subscriber::<Numbered>::new(root.channel()).unwrap()).collect();
    // Whatever had been claimed and marked when they died is behind us after a lap.
    for lap in 0..2 {
        let skipped: u64 = publishers.iter().map(|p| p.stats().skipped_slots).sum();
        for publisher in &mut publishers {
            for _ in 0..300 {
                let number = publisher.stats().published;
                publisher.send(&Numbered::new(number)).unwrap();
            }
        }
        let after: u64 = publishers.iter().map(|p| p.stats().skipped_slots).sum();
        assert!(lap == 0 || after == skipped, "{} slots are still held", after - skipped);
    }
    for subscriber in others.iter_mut().chain([&mut subscriber]) {
        assert!(subscriber.recv_timeout(SOON).unwrap().unwrap().check().is_ok());
    }
    drop((publishers, others, subscriber));
    assert_eq!(root.files(), 0);
}

/// However slowly it publishes, and though nobody comes who would find the dead one.
#[test]
fn a_publisher_finds_that_a_holder_is_dead_and_uses_its_slot_again() {
    let root = Root::new();
    let mut publisher =
        Publisher::<Numbered>::new(root.channel().depth(8).max_subscribers(1)).unwrap();
    let peer = Peer::start(&root, "hold", 0);
    assert!(publisher.wait_for_subscribers(1, SOON).unwrap());
    publisher.send(&Numbered::new(0)).unwrap();
    let mut skipped_in_a_lap = || {
        let before = publisher.stats().skipped_slots;
        for _ in 0..32 {
            let number = publisher.stats().published;
            publisher.send(&Numbered::new(number)).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        publisher.stats().skipped_slots - before
    };
    let end = Instant::now() + SOON;
    while skipped_in_a_lap() == 0 {
        assert!(Instant::now() < end, "it does not hold the message");
    }
    peer.kill();
    while skipped_in_a_lap() > 0 {
        assert!(Instant::now() < end, "the slot of the dead one is lost");
    }
}

/// Killed while they create, attach, detach and remove, with nobody who stays: there is never a
/// channel that nobody can use.
#[test]
fn two_hundred_kills_while_coming_and_going_do_no_harm() {
    let root = Root::new();
    let mut seed = 0;
    let mut start = |root: &Root| {
        seed += 1;
        Peer::start(root, "churn", seed)
    };
    let mut peers: Vec<Peer> = (0..3).map(|_| start(&root)).collect();
    for round in 0..200 {
        std::thread::sleep(Duration::from_micros(random(4000)));
        let i = random(3) as usize;
        peers.remove(i).kill();
        peers.insert(i, start(&root));
        if round % 10 == 0 {
            // Anybody can come at any time, and two that are there at a time are on one channel.
            let mut publisher = Publisher::<Numbered>::new(root.channel()).unwrap();
            let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
            let number = publisher.stats().published;
            publisher.send(&Numbered::new(number)).unwrap();
            let end = Instant::now() + SOON;
            let id = publisher.id();
            loop {
                assert!(Instant::now() < end, "not on one channel");
                let sample = subscriber.recv_timeout(SOON).unwrap().expect("our own, at least");
                sample.check().unwrap();
                if sample.publisher() == id {
                    assert_eq!(sample.number, number);
                    break;
                }
            }
        }
    }
    peers.into_iter().for_each(Peer::kill);
    assert!(root.files() <= 1);
    let subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    nothing_is_lost(&root, subscriber);
}
