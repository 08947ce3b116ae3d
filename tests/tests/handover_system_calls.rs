//! Queues and services make no system call while nobody sleeps.

use shm_comm::{Puller, PullerOptions, Pusher, ReplierOptions, Requester, RequesterOptions, Wait};
use shm_comm_tests::handover::{Fixed, Talk, Task, Work};
use shm_comm_tests::harness::{Peer, Root, SOON};
use shm_comm_tests::notes::Id;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PEER: &str = env!("CARGO_BIN_EXE_handover-peer");

/// So many jobs that nobody has to wait for room.
const DEPTH: u32 = 1 << 15;

/// Pushes to somebody in this process, and says how it has ended.
fn push_silently(count: u64, wait: Wait) -> ExitStatus {
    let root = Root::new();
    let stop = AtomicBool::new(false);
    let channel = Task::queue(root.path(), DEPTH);
    let mut puller = Puller::<Task>::with(&channel, PullerOptions::new().wait(wait)).unwrap();
    let status = std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(job) = puller.recv_timeout(Duration::from_millis(300)).unwrap() {
                    job.done();
                }
            }
            while let Some(job) = puller.try_recv().unwrap() {
                job.done();
            }
        });
        let status = Peer::start(PEER, &root, "push-silently", count).wait();
        stop.store(true, Ordering::Relaxed);
        status
    });
    // The dead one may have left a loan.
    drop(Puller::<Task>::new(&channel).unwrap());
    assert!(root.files().is_empty(), "{:?}", root.files());
    status
}

#[test]
fn pushing_makes_no_system_call_while_nobody_sleeps() {
    let status = push_silently(30_000, Wait::Spin);
    assert!(status.success(), "{status}");
}

#[test]
fn pushing_to_a_sleeper_makes_a_system_call() {
    // That the test above can fail.
    let status = push_silently(1000, Wait::Sleep);
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

/// Now and then a worker that has enough to do looks for the dead, though not in so many jobs.
#[test]
fn taking_jobs_that_are_there_makes_no_system_call() {
    const COUNT: u64 = 250;
    let root = Root::new();
    let mut pusher = Pusher::<Task>::new(Task::queue(root.path(), DEPTH)).unwrap();
    for number in 0..COUNT {
        pusher.send(&Task::of(number)).unwrap();
    }
    let status = Peer::start(PEER, &root, "pull-silently", COUNT).wait();
    assert!(status.success(), "{status}");
    let stats = pusher.stats();
    assert_eq!((stats.delivered, stats.free), (COUNT, DEPTH), "{stats:?}");
    drop(pusher);
    assert!(root.files().is_empty(), "{:?}", root.files());
}

/// Whoever waits long looks whether the other one is dead, which is a system call; and on a busy machine
/// any wait may be long. So it is tried some times.
fn once(what: &str, silently: impl Fn() -> ExitStatus) {
    let mut last = None;
    for _ in 0..20 {
        let status = silently();
        if status.success() {
            return;
        }
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{what}: {status}");
        last = Some(status);
    }
    panic!("{what}: {last:?}");
}

const CALLS: u64 = 200;

#[test]
fn calls_make_no_system_call_while_nobody_sleeps() {
    once("a client", || {
        let root = Root::new();
        let stop = AtomicBool::new(false);
        let options = ReplierOptions::new().wait(Wait::Spin);
        let channel = Fixed::service(root.path(), 4);
        let mut server = shm_comm::Replier::<Task, Task>::with(channel, options).unwrap();
        std::thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(request) = server.try_recv().unwrap() {
                        let number = !request.number;
                        request.reply(&Task::new(Id { who: 0, generation: 0, number })).unwrap();
                    }
                }
            });
            let status = Peer::start(PEER, &root, "call-silently", CALLS).wait();
            stop.store(true, Ordering::Relaxed);
            status
        })
    });
}

#[test]
fn replies_make_no_system_call_while_nobody_sleeps() {
    once("a server", || {
        let root = Root::new();
        let options = RequesterOptions::new().wait(Wait::Spin);
        let channel = Fixed::service(root.path(), 4);
        let mut client = Requester::<Task, Task>::with(channel, options).unwrap();
        let server = Peer::start(PEER, &root, "serve-silently", CALLS);
        assert!(client.wait_for_servers(1, SOON).unwrap());
        for number in 0..CALLS {
            match client.request(&Task::of(number), SOON) {
                Ok(reply) => assert_eq!(reply.number, !number),
                // It is dead: see how.
                Err(_) => break,
            }
        }
        server.wait()
    });
}
