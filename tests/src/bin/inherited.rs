//! What becomes of handles in a forked child, and of handles whose descriptors somebody closes:
//! `inherited ROLE ROOT`. Ends with 0, or says on stderr what is wrong and ends with 3.
//!
//! A program of its own, because a test harness has threads, and they do not survive a fork.

use shm_comm::{
    Channel, LoanError, Publisher, RecvError, Sample, Subscriber, SubscriberOptions, Wait,
    WaitError,
};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, root] = arguments.as_slice() else {
        eprintln!("inherited ROLE ROOT");
        return ExitCode::from(2);
    };
    let channel = Channel::new("inherited").root(root);
    let result = match role.as_str() {
        "use" => use_in_child(&channel, fork),
        "use-after-clone" => use_in_child(&channel, bare_clone),
        "open" => open_in_child(&channel),
        "outlive" => child_outlives_parent(&channel),
        "storm" => forks_while_threads_come_and_go(&channel),
        "close" => close_descriptors(&channel, root),
        "first" => first_use_while_forking(&channel),
        _ => Err(format!("no role {role}").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inherited {role}: {error}");
            ExitCode::from(3)
        }
    }
}

macro_rules! ensure {
    ($condition:expr) => {
        if !$condition {
            return Err(format!("line {}: {}", line!(), stringify!($condition)).into());
        }
    };
    ($value:expr, $pattern:pat) => {
        match $value {
            $pattern => {}
            other => return Err(format!("line {}: {other:?}", line!()).into()),
        }
    };
}

/// Who one is after a fork.
enum Side {
    Child,
    Parent(i32),
}

fn fork() -> Result<Side> {
    // SAFETY: Whoever has other threads uses nothing of theirs in the child.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid)),
    }
}

/// A fork that the C library does not notice.
fn bare_clone() -> Result<Side> {
    // SAFETY: The arguments of a plain fork.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid as i32)),
    }
}

/// Ends a child: 0 if all is well, and without what a process does when it ends normally.
fn end(result: Result<()>) -> ! {
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("child: {error}");
            3
        }
    };
    // SAFETY: Ends the process and touches nothing.
    unsafe { libc::_exit(code) }
}

fn wait_for(child: i32) -> Result<()> {
    let end = Instant::now() + SOON;
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        ensure!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    if status == 0 { Ok(()) } else { Err(format!("the child ended with {status:#x}").into()) }
}

/// Every method of an inherited handle is an error, and every drop is harmless.
fn use_in_child(channel: &Channel, fork: impl Fn() -> Result<Side>) -> Result<()> {
    let mut publisher = Publisher::<u64>::new(channel)?;
    let mut subscriber = Subscriber::<u64>::new(channel)?;
    let interrupter = subscriber.interrupter();
    publisher.send(&1)?;
    let sample: Sample<u64> = subscriber.recv()?;
    publisher.send(&2)?;
    let child = match fork()? {
        Side::Child => end((move || {
            ensure!(publisher.loan(), Err(LoanError::Forked { .. }));
            ensure!(publisher.send(&9), Err(LoanError::Forked { .. }));
            ensure!(publisher.subscribers() == 0);
            let wait = publisher.wait_for_subscribers(1, SOON);
            ensure!(wait, Err(WaitError::Forked { .. }));
            ensure!(publisher.stats().sent == 2);
            ensure!(format!("{publisher:?} {subscriber:?}").contains("inherited"));
            ensure!(subscriber.recv(), Err(RecvError::Forked { .. }));
            ensure!(subscriber.try_recv(), Err(RecvError::Forked { .. }));
            ensure!(subscriber.recv_timeout(SOON), Err(RecvError::Forked { .. }));
            ensure!(subscriber.latest(), Err(RecvError::Forked { .. }));
            ensure!(subscriber.iter().next(), Some(Err(RecvError::Forked { .. })));
            ensure!(subscriber.publishers() == 0);
            let wait = subscriber.wait_for_publishers(1, SOON);
            ensure!(wait, Err(WaitError::Forked { .. }));
            ensure!(sample.sequence() == 0);
            interrupter.interrupt();
            subscriber.interrupter().interrupt();
            drop((sample, interrupter, publisher, subscriber));
            Ok(())
        })()),
        Side::Parent(child) => child,
    };
    wait_for(child)?;
    // Nothing has happened to ours.
    ensure!(*sample == 1);
    ensure!(*subscriber.recv()? == 2);
    publisher.send(&3)?;
    ensure!(*subscriber.recv()? == 3);
    ensure!(publisher.subscribers() == 1 && subscriber.publishers() == 1);
    let mut newcomer = Publisher::<u64>::new(channel)?;
    ensure!(newcomer.id() != publisher.id());
    newcomer.send(&4)?;
    ensure!(*subscriber.recv()? == 4);
    Ok(())
}

/// A child that opens its own handles is a process like any other.
fn open_in_child(channel: &Channel) -> Result<()> {
    let inherited = Publisher::<u64>::new(channel)?;
    let mut subscriber = Subscriber::<u64>::new(channel)?;
    let child = match fork()? {
        Side::Child => end((|| {
            let mut publisher = Publisher::<u64>::new(channel)?;
            ensure!(publisher.id() != inherited.id());
            ensure!(publisher.wait_for_subscribers(2, SOON)?);
            publisher.send(&7)?;
            // And its own child, too.
            let grandchild = match fork()? {
                Side::Child => end((|| {
                    ensure!(publisher.send(&9), Err(LoanError::Forked { .. }));
                    Publisher::<u64>::new(channel)?.send(&8)?;
                    Ok(())
                })()),
                Side::Parent(grandchild) => grandchild,
            };
            wait_for(grandchild)?;
            drop(inherited);
            Ok(())
        })()),
        Side::Parent(child) => child,
    };
    let _second = Subscriber::<u64>::new(channel)?;
    let mut received = Vec::new();
    while received.len() < 2 {
        received.push(*subscriber.recv_timeout(SOON)?.ok_or("nothing")?);
    }
    ensure!(received == [7, 8]);
    wait_for(child)
}

/// A child does not keep its parent's handles alive. The parent is this process's child, so that
/// somebody is left who looks.
fn child_outlives_parent(channel: &Channel) -> Result<()> {
    let mut ends = [0; 2];
    // SAFETY: There is room for two descriptors.
    ensure!(unsafe { libc::pipe(ends.as_mut_ptr()) } == 0);
    let parent = match fork()? {
        Side::Child => end((|| {
            let mut publisher = Publisher::<u64>::new(channel)?;
            let mut subscriber = Subscriber::<u64>::new(channel)?;
            publisher.send(&1)?;
            let _sample = subscriber.recv()?;
            if let Side::Child = fork()? {
                // SAFETY: Sleeps until it is killed, or at most for a while.
                unsafe { libc::sleep(20) };
                end(Ok(()));
            }
            // SAFETY: Tells that all of this is there; then it waits for its end.
            ensure!(unsafe { libc::write(ends[1], c"x".as_ptr().cast(), 1) } == 1);
            std::thread::sleep(SOON);
            Ok(())
        })()),
        Side::Parent(parent) => parent,
    };
    let mut byte = 0_u8;
    // SAFETY: There is room for one byte.
    ensure!(unsafe { libc::read(ends[0], (&raw mut byte).cast(), 1) } == 1);
    let mut witness = Subscriber::<u64>::new(channel)?;
    ensure!(witness.publishers() == 1);
    // SAFETY: No pointers are involved.
    unsafe {
        libc::kill(parent, libc::SIGKILL);
        libc::waitpid(parent, std::ptr::null_mut(), 0);
    }
    // Once the child has run at all: it closes what it has inherited before anything else.
    let end = Instant::now() + SOON;
    while witness.publishers() > 0 {
        ensure!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut publisher = Publisher::<u64>::new(channel)?;
    ensure!((publisher.id().ring, publisher.id().generation) == (0, 2));
    ensure!(publisher.subscribers() == 1);
    publisher.send(&2)?;
    ensure!(*witness.recv()? == 2);
    Ok(())
}

/// A fork finds nothing half done, whatever other threads do at that moment.
fn forks_while_threads_come_and_go(channel: &Channel) -> Result<()> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(Publisher::<u64>::new(channel));
                    drop(Subscriber::<u64>::new(channel));
                }
            });
        }
        let result = (|| {
            for _ in 0..200 {
                match fork()? {
                    Side::Child => end((|| {
                        let mut publisher = Publisher::<u64>::new(channel)?;
                        let mut subscriber = Subscriber::<u64>::new(channel)?;
                        publisher.send(&5)?;
                        ensure!(subscriber.recv_timeout(SOON)?.is_some());
                        Ok(())
                    })()),
                    Side::Parent(child) => wait_for(child)?,
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// A child is forked at the moment when another thread uses the library for the first time, and can use
/// it. Each time in a process for which it is the first.
fn first_use_while_forking(channel: &Channel) -> Result<()> {
    for round in 0..150 {
        let process = match fork()? {
            Side::Child => end(first_use(channel, Duration::from_micros(round * 3))),
            Side::Parent(process) => process,
        };
        wait_for(process).map_err(|error| format!("round {round}: {error}"))?;
    }
    Ok(())
}

fn first_use(channel: &Channel, delay: Duration) -> Result<()> {
    let goes = AtomicBool::new(false);
    let both = || -> Result<()> {
        let mut publisher = Publisher::<u64>::new(channel)?;
        let mut subscriber = Subscriber::<u64>::new(channel)?;
        publisher.send(&5)?;
        ensure!(subscriber.recv_timeout(SOON)?.is_some());
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !goes.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            both().is_ok()
        });
        // It has begun by now.
        std::thread::sleep(Duration::from_millis(1));
        goes.store(true, Ordering::Relaxed);
        let start = Instant::now();
        while start.elapsed() < delay {
            std::hint::spin_loop();
        }
        let child = match fork()? {
            Side::Child => end(both()),
            Side::Parent(child) => child,
        };
        let result = wait_for(child);
        ensure!(other.join().is_ok_and(|ok| ok));
        result
    })
}

/// Somebody closes all descriptors that he can find, and opens others in their place.
fn close_descriptors(channel: &Channel, root: &str) -> Result<()> {
    let options = || SubscriberOptions::new().wait(Wait::Sleep);
    let mut publisher = Publisher::<u64>::new(channel)?;
    let mut subscriber = Subscriber::<u64>::with(channel, options())?;
    publisher.send(&1)?;
    let sample = subscriber.recv()?;
    // One of which all slots are held.
    let full = Channel::new("full").root(root).depth(1).max_subscribers(1);
    let mut blocked = Publisher::<u64>::new(&full)?;
    let mut holder = Subscriber::<u64>::with(&full, options().max_held(16))?;
    let mut held = Vec::new();
    while blocked.send(&1).is_ok() {
        held.push(holder.recv()?);
    }
    ensure!(blocked.loan(), Err(LoanError::AllSlotsHeld { .. }));
    // SAFETY: That is what must do no harm.
    ensure!(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } == 0);
    let others: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null")).collect();

    // It is reported.
    ensure!(subscriber.recv_timeout(SOON), Err(RecvError::LockLost { .. }));
    ensure!(subscriber.wait_for_publishers(2, SOON), Err(WaitError::LockLost { .. }));
    ensure!(publisher.wait_for_subscribers(2, SOON), Err(WaitError::LockLost { .. }));
    ensure!(blocked.loan(), Err(LoanError::LockLost { .. }));
    held.pop();
    blocked.send(&2)?;
    drop((held, holder, blocked));
    // It could not remove the file, as the last one does.
    ensure!(full.remove_stale()?);
    // Descriptors that others have now are left to them, also by a child.
    let child = match fork()? {
        Side::Child => end(others.iter().try_for_each(|other| {
            let other = other.as_ref().map_err(|error| error.to_string())?;
            ensure!(other.metadata().is_ok());
            Ok(())
        })),
        Side::Parent(child) => child,
    };
    wait_for(child)?;
    // What can work without asking the kernel does.
    publisher.send(&2)?;
    ensure!(*subscriber.recv()? == 2);
    ensure!(*sample == 1);

    // Nothing of it is given away: others see it alive, get other places, and do not free its slots.
    let mut newcomer = Publisher::<u64>::new(channel)?;
    ensure!(newcomer.id().ring == 1);
    ensure!(newcomer.subscribers() == 1);
    // That there is a ring which it cannot find is said at once, and it reads on.
    ensure!(subscriber.try_recv(), Err(RecvError::LockLost { .. }));
    publisher.send(&4)?;
    ensure!(*subscriber.recv()? == 4);
    let witness = Subscriber::<u64>::with(channel, options())?;
    ensure!(witness.publishers() == 2);
    let started = Instant::now();
    // Longer than a publisher waits before it asks whether a holder is alive.
    while started.elapsed() < Duration::from_millis(1500) {
        newcomer.send(&3)?;
        publisher.send(&3)?;
        ensure!(*sample == 1);
    }
    ensure!(publisher.stats().skipped_slots > 0);

    // When its handles are dropped its places are free.
    drop((sample, subscriber));
    ensure!(newcomer.subscribers() == 1);
    drop(publisher);
    ensure!(witness.publishers() == 1);
    let successor = Publisher::<u64>::new(channel)?;
    ensure!((successor.id().ring, successor.id().generation) == (0, 2));
    for other in others {
        ensure!(other?.metadata()?.len() == 0);
    }
    drop((successor, newcomer, witness));
    Ok(())
}
