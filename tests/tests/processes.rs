//! What holds between processes.

use shm_comm::{Sample, Subscriber, SubscriberOptions, Wait};
use shm_comm_tests::harness::{Peer, Root, SOON};
use shm_comm_tests::{Ledger, Numbered, Watch};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

#[test]
fn every_message_of_another_process_arrives_or_is_counted() {
    let root = Root::new();
    let mut subscriber = Subscriber::<Numbered>::new(root.channel()).unwrap();
    let count = 100_000;
    let peers: Vec<_> = (0..3).map(|_| Peer::start(PEER, &root, "publish", count)).collect();
    let mut ledger = Ledger::from_the_start();
    let mut ended = false;
    let end = Instant::now() + SOON;
    while !ended || ledger.received + ledger.missed < 3 * count {
        assert!(Instant::now() < end, "{ledger:?}");
        ended = subscriber.publishers() == 0;
        let pause = Instant::now() + Duration::from_millis(50);
        ledger.read(&mut subscriber, 2, &Watch::default(), || Instant::now() > pause).unwrap();
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
    let peer = Peer::start(PEER, &root, "publish", count);
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
            let status = Peer::start(PEER, &root, "publish-without-system-calls", 500_000).wait();
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
        let status = Peer::start(PEER, &root, "publish-without-system-calls", 1000).wait();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
    });
}
