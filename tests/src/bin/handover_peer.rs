//! The other process of a test of queues or services: `handover-peer ROLE ROOT CHANNEL NUMBER [DESK
//! WHO DEPTH]`. Ends with 0 or what it is to report, is killed, or says on stderr what is wrong and ends
//! with 253. Ends when its parent does.

use shm_comm::{CallError, Puller, PullerOptions, Pusher, PusherOptions, RecvError, Replier};
use shm_comm::{ReplierOptions, Requester, RequesterOptions, Wait};
use shm_comm_tests::Watch;
use shm_comm_tests::handover::{Client, Fixed, Server, Slices, Talk, Task, Work, patient, wait_of};
use shm_comm_tests::harness::random;
use shm_comm_tests::notes::{Id, Notebook, What, is_stopped};
use shm_comm_tests::scenes;
use shm_comm_tests::system_calls::{exit, forbid_system_calls};
use shm_comm_tests::trace::mark;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Who takes part in a campaign.
struct Part {
    root: PathBuf,
    desk: PathBuf,
    who: u32,
    /// So often he was started before.
    generation: u32,
    depth: u32,
}

impl Part {
    fn wait(&self) -> Wait {
        wait_of(u64::from(self.who + self.depth))
    }
}

fn main() -> ExitCode {
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, root, _, number, more @ ..] = arguments.as_slice() else {
        eprintln!("handover-peer ROLE ROOT CHANNEL NUMBER [DESK WHO DEPTH]");
        return ExitCode::from(2);
    };
    let root = Path::new(root);
    let number: u64 = number.parse().unwrap_or(0);
    let part = || -> Result<Part> {
        let [desk, who, depth] = more else { return Err("DESK WHO DEPTH".into()) };
        let (desk, generation) = (desk.into(), number as u32);
        let (who, depth) = (who.parse()?, depth.parse()?);
        Ok(Part { root: root.to_owned(), desk, who, generation, depth })
    };
    let none = |()| 0;
    let result = match role.as_str() {
        "push-tasks" => part().and_then(|part| push::<Task>(&part)).map(none),
        "push-slices" => part().and_then(|part| push::<[u64]>(&part)).map(none),
        "pull-tasks" => part().and_then(|part| pull::<Task>(&part)).map(none),
        "pull-slices" => part().and_then(|part| pull::<[u64]>(&part)).map(none),
        "call-fixed" => part().and_then(|part| call::<Fixed>(&part, false)).map(none),
        "call-slices" => part().and_then(|part| call::<Slices>(&part, false)).map(none),
        "call-again" => part().and_then(|part| call::<Fixed>(&part, true)).map(none),
        "serve-fixed" => part().and_then(|part| serve::<Fixed>(&part, false)).map(none),
        "serve-slices" => part().and_then(|part| serve::<Slices>(&part, false)).map(none),
        "serve-all" => part().and_then(|part| serve::<Fixed>(&part, true)).map(none),
        "hold-job" => hold_job(root).map(none),
        "hold-call" => hold_call(root).map(none),
        "hold-calls" => hold_calls(root).map(none),
        "push-silently" => push_silently(root, number).map(none),
        "pull-silently" => pull_silently(root, number).map(none),
        "call-silently" => call_silently(root, number).map(none),
        "serve-silently" => serve_silently(root, number).map(none),
        scene => scenes::play(scene, root, number, &mut |_| {
            mark();
            true
        }),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("handover-peer {role}: {error}");
            ExitCode::from(253)
        }
    }
}

/// Pushes until stopped. Goes on where the one before was killed: with the number that he was about to
/// push, as one of this generation, or with the next.
fn push<T: Work + ?Sized>(part: &Part) -> Result<()> {
    let mut book = Notebook::open(&part.desk.join(format!("pusher-{}", part.who)))?;
    let first = match book.last()? {
        None => 0,
        Some(last) if last.what == What::Pushed => last.id.number + 1,
        Some(last) => last.id.number,
    };
    let options = PusherOptions::new().wait(part.wait());
    let mut pusher = Pusher::<T>::with(T::queue(&part.root, part.depth), options)?;
    for number in first.. {
        if number % 16 == 0 && is_stopped(&part.desk, "first") {
            break;
        }
        let id = Id { who: part.who, generation: part.generation, number };
        book.note(What::Pushing, id, 0)?;
        T::push(&mut pusher, id)?;
        book.note(What::Pushed, id, 0)?;
    }
    Ok(())
}

/// Works until stopped and there is no more to do. Some take several jobs before they do them.
fn pull<T: Work + ?Sized>(part: &Part) -> Result<()> {
    let name = format!("worker-{}-{}", part.who, part.generation);
    let mut book = Notebook::open(&part.desk.join(name))?;
    let channel = T::queue(&part.root, part.depth);
    let mut puller = Puller::<T>::with(channel, patient(part.wait()))?;
    let at_a_time = 1 + u64::from(part.who % 3);
    let mut held = Vec::new();
    loop {
        let first = match random(4) {
            0 => puller.try_recv()?,
            _ => puller.recv_timeout(Duration::from_millis(20))?,
        };
        let Some(mut job) = first else {
            if is_stopped(&part.desk, "second") && puller.stats().queued == 0 {
                return Ok(());
            }
            continue;
        };
        let several = random(at_a_time);
        loop {
            let id = job.check()?;
            book.note(What::Got, id, job.deliveries().into())?;
            held.push((id, job));
            if held.len() as u64 > several {
                break;
            }
            let Some(next) = puller.try_recv()? else { break };
            job = next;
        }
        while !held.is_empty() {
            let (id, job) = held.swap_remove(random(held.len() as u64) as usize);
            let deliveries = u64::from(job.deliveries());
            if deliveries == 1 && random(100) == 0 {
                book.note(What::GivesBack, id, deliveries)?;
                drop(job);
                continue;
            }
            if random(200) == 0 {
                std::thread::sleep(Duration::from_micros(random(3000)));
            }
            // Nobody else has written to it.
            if job.check()? != id {
                return Err(format!("{id:?} has changed while it was held").into());
            }
            book.note(What::Did, id, deliveries)?;
            // The moment in which a death has it done twice.
            if random(100) == 0 {
                std::thread::sleep(Duration::from_micros(random(2000)));
            }
            job.done();
            book.note(What::Acknowledged, id, deliveries)?;
        }
    }
}

/// Calls until stopped, with several calls in flight.
fn call<T: Talk>(part: &Part, again: bool) -> Result<()> {
    let mut book = Notebook::open(&part.desk.join(format!("client-{}", part.who)))?;
    let options = RequesterOptions::new().wait(part.wait()).repeatable(again);
    let channel = T::service(&part.root, part.depth);
    let mut client = Client::<T>::with(channel, options)?;
    let timeouts = if again { [20_000; 4] } else { [1, 10, 50, 2000] };
    // Replies that nobody has read yet take slots, too. Whoever waits for a slot while he keeps others is
    // only waiting for those who do the same.
    let at_a_time = if part.depth < 16 { 2 } else { 5 };
    let mut flying = VecDeque::new();
    for number in book.last()?.map_or(0, |last| last.id.number + 1).. {
        let is_over = number % 16 == 0 && is_stopped(&part.desk, "first");
        let id = Id { who: part.who, generation: part.generation, number };
        let timeout = Duration::from_millis(timeouts[random(4) as usize]);
        let start = Instant::now();
        if is_over {
        } else if random(4) == 0 && (part.depth >= 16 || flying.is_empty()) {
            let end = T::request(&mut client, id, timeout);
            enter_end::<T>(&mut book, id, end, start, timeout, again)?;
        } else {
            match T::send(&mut client, id) {
                Ok(pending) => flying.push_back((id, pending)),
                // Others have more in flight than there is room for.
                Err(CallError::Full { .. }) => std::thread::sleep(Duration::from_micros(100)),
                Err(error) => return Err(error.into()),
            }
        }
        let keep = if is_over { 0 } else { random(at_a_time) };
        while flying.len() as u64 > keep {
            flying.rotate_left(random(flying.len() as u64) as usize);
            let Some((id, mut pending)) = flying.pop_front() else { break };
            let start = Instant::now();
            match random(8) {
                0 if !again => {
                    drop(pending);
                    book.note(What::Cancelled, id, 0)?;
                }
                1 => {
                    let end = loop {
                        match pending.poll() {
                            Ok(Some(reply)) => break Some(Ok(reply)),
                            Ok(None) if start.elapsed() > timeout => break None,
                            Ok(None) => std::thread::yield_now(),
                            Err(error) => break Some(Err(error)),
                        }
                    };
                    match end {
                        Some(end) => enter_end::<T>(&mut book, id, end, start, timeout, again)?,
                        None => book.note(What::Cancelled, id, 0)?,
                    }
                }
                _ => {
                    let end = pending.wait(timeout);
                    enter_end::<T>(&mut book, id, end, start, timeout, again)?;
                }
            }
        }
        if is_over {
            break;
        }
    }
    Ok(())
}

/// Notes how a call has ended, or says that it may not have ended so.
fn enter_end<T: Talk>(
    book: &mut Notebook,
    id: Id,
    end: std::result::Result<shm_comm::Reply<T::Reply>, CallError>,
    start: Instant,
    timeout: Duration,
    again: bool,
) -> Result<()> {
    let late = start.elapsed().saturating_sub(timeout);
    if late > Watch::BOUND {
        return Err(format!("{id:?} has ended {late:?} late: {:?}", end.map(drop)).into());
    }
    let what = match end {
        Ok(reply) => {
            let answered = T::check_reply(&reply)?;
            if answered != id {
                return Err(format!("the reply to {answered:?} has reached {id:?}").into());
            }
            What::Replied
        }
        Err(error) if again => return Err(format!("{id:?}: {error}").into()),
        Err(CallError::ServerLost { .. }) => What::ServerLost,
        Err(CallError::Declined { .. }) => What::Declined,
        Err(CallError::NoServer { .. }) => What::NoServer,
        Err(CallError::TimedOut { .. }) => What::TimedOut,
        // Not made.
        Err(CallError::Full { .. }) => return Ok(()),
        Err(error) => return Err(format!("{id:?}: {error}").into()),
    };
    book.note(what, id, late.as_micros() as u64)?;
    Ok(())
}

/// Answers until stopped: in any order, late, or not at all; or, if it is to answer `all`, late.
fn serve<T: Talk>(part: &Part, all: bool) -> Result<()> {
    let options = ReplierOptions::new().wait(part.wait());
    let mut server = Server::<T>::with(T::service(&part.root, part.depth), options)?;
    let interrupter = server.interrupter();
    let desk = part.desk.clone();
    std::thread::spawn(move || {
        while !is_stopped(&desk, "second") {
            std::thread::sleep(Duration::from_millis(10));
        }
        interrupter.interrupt();
    });
    if part.who == 2 {
        return Ok(T::serve(&mut server)?);
    }
    let mut held = Vec::new();
    loop {
        // Whoever holds some does not wait long for more.
        let patience = if held.is_empty() { 20_000 } else { 300 };
        let request = match server.recv_timeout(Duration::from_micros(patience)) {
            Ok(request) => request,
            Err(RecvError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_late = request.is_none();
        if let Some(request) = request {
            let id = T::check_request(&request)?;
            held.push((id, request));
            match random(30) {
                0 | 1 if !all => drop(held.pop()),
                2 => std::thread::sleep(Duration::from_micros(random(15_000))),
                3..=10 if held.len() < 3 => continue,
                _ => {}
            }
        }
        while let Some((id, request)) = held.pop() {
            if T::check_request(&request)? != id {
                return Err(format!("{id:?} has changed while it was held").into());
            }
            T::reply(request, id)?;
            if !is_late && random(4) == 0 {
                break;
            }
        }
    }
}

/// Takes a job and keeps it until killed.
fn hold_job(root: &Path) -> Result<()> {
    let mut puller = Puller::<Task>::new(Task::queue(root, 4))?;
    let _job = puller.recv()?;
    loop {
        std::thread::park();
    }
}

/// Takes a call and keeps it until killed.
fn hold_call(root: &Path) -> Result<()> {
    let mut server = Replier::<Task, Task>::new(Fixed::service(root, 4))?;
    let _request = server.recv()?;
    loop {
        std::thread::park();
    }
}

/// Makes two calls, has a loan, and keeps them until killed.
fn hold_calls(root: &Path) -> Result<()> {
    let mut client = Requester::<Task, Task>::new(Fixed::service(root, 4))?;
    let _first = client.send(&Task::of(1))?;
    let _second = client.send(&Task::of(2))?;
    let _loan = client.loan()?;
    loop {
        std::thread::park();
    }
}

/// As large as nobody needs to wait for room.
pub const SILENT: u32 = 1 << 15;

/// Pushes so many jobs with every system call forbidden but the end of the process.
fn push_silently(root: &Path, count: u64) -> Result<()> {
    let mut pusher = Pusher::<Task>::new(Task::queue(root, SILENT))?;
    // A worker that is to sleep is given the time.
    pusher.wait_for_pullers(1, Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(100));
    forbid_system_calls()?;
    for number in 0..count {
        match number % 3 {
            0 => pusher.loan()?.write(Task::of(number)),
            1 => pusher.send(&Task::of(number))?,
            _ => assert!(pusher.try_send(&Task::of(number))?),
        }
    }
    exit(0)
}

/// Takes so many jobs, which are there, in the same way.
fn pull_silently(root: &Path, count: u64) -> Result<()> {
    let options = PullerOptions::new().wait(Wait::Spin);
    let mut puller = Puller::<Task>::with(Task::queue(root, SILENT), options)?;
    // The first look is for what was put back while nobody was there, and for the dead.
    puller.recv()?.done();
    forbid_system_calls()?;
    for number in 1..count {
        let job = puller.recv()?;
        if job.number != number {
            exit(4);
        }
        job.done();
    }
    exit(0)
}

/// Makes so many calls, and has the replies, in the same way.
fn call_silently(root: &Path, count: u64) -> Result<()> {
    let options = RequesterOptions::new().wait(Wait::Spin);
    let mut client = Requester::<Task, Task>::with(Fixed::service(root, 4), options)?;
    drop(client.request(&Task::of(0), Duration::from_secs(10))?);
    forbid_system_calls()?;
    for number in 1..count {
        let reply = client.request(&Task::of(number), Duration::from_secs(10))?;
        if !reply.number != number {
            exit(4);
        }
    }
    exit(0)
}

/// Answers so many calls in the same way.
fn serve_silently(root: &Path, count: u64) -> Result<()> {
    let options = ReplierOptions::new().wait(Wait::Spin);
    let mut server = Replier::<Task, Task>::with(Fixed::service(root, 4), options)?;
    Fixed::reply(server.recv()?, Id { who: 0, generation: 0, number: 0 })?;
    forbid_system_calls()?;
    for number in 1..count {
        let request = server.recv()?;
        request.loan_reply().write(Task::of(!number));
    }
    exit(0)
}
