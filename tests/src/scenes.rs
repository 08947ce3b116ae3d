//! What a peer does step by step in a queue or a service, to be killed or stopped at any of its
//! instructions. Its window is from its second mark to its third.
//!
//! A scene can also be played without another process, up to the window: whoever plays it says at each
//! mark whether to go on.

use crate::handover::{Task, patient};
use crate::notes::Id;
use shm_comm::{CallError, Channel, Pending, Puller, Pusher, Replier, Requester, Wait};
use std::path::Path;
use std::time::Duration;

/// What a scene comes to: what its process ends with.
pub type Played = Result<u8, Box<dyn std::error::Error>>;

/// A queue or a service of four slots.
pub fn small(root: &Path) -> Channel {
    Channel::new("small").root(root).depth(SLOTS).max_publishers(3).max_subscribers(3)
}

/// Of [`small`].
pub const SLOTS: u32 = 4;
/// The job, or the call, of the one who is killed.
pub const OWN: u64 = 100;

const LONG: Duration = Duration::from_secs(20);

/// The answer to a call.
pub fn reply_to(number: u64) -> Task {
    Task::new(Id { who: 1, generation: 0, number })
}

/// Plays a scene. `mark` is told which mark it is at.
pub fn play(scene: &str, root: &Path, argument: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    let channel = small(root);
    match scene {
        "push" => push(&channel, argument, mark),
        "pull" => pull(&channel, argument, mark),
        "come" => come(&channel, argument, mark),
        "die" => die(&channel, argument, mark),
        "call" => call(&channel, argument, mark),
        "serve" => serve(&channel, argument, mark),
        "come-to-service" => come_to_service(&channel, argument, mark),
        "die-in-service" => die_in_service(&channel, argument, mark),
        "live-in-queue" => live_in_queue(&channel, mark),
        "live-in-service" => live_in_service(&channel, mark),
        _ => Err(format!("no role {scene}").into()),
    }
}

/// Pushes its job, or lends a slot for nothing.
fn push(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    let mut pusher = Pusher::<Task>::new(channel)?;
    let job = Task::of(OWN);
    if !mark(1) || !mark(2) {
        return Ok(0);
    }
    match how % 10 {
        0 => pusher.send(&job)?,
        1 => pusher.loan()?.write(job),
        _ => drop(pusher.loan()?),
    }
    mark(3);
    Ok(0)
}

/// Takes a job, and does one of the things that can be done with it. Says which it has acknowledged.
fn pull(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    let mut puller = Puller::<Task>::with(channel, patient(Wait::default()))?;
    if !mark(1) || !mark(2) {
        return Ok(0);
    }
    let mut done = 0;
    match how {
        0 | 6 => {
            let job = puller.recv_timeout(LONG)?.ok_or("no job")?;
            done = job.number;
            job.done();
        }
        1 => drop(puller.recv_timeout(LONG)?.ok_or("no job")?),
        2 => puller.recv_timeout(LONG)?.ok_or("no job")?.reject(),
        3 => done = puller.take()?.number,
        4 => {
            if let Some(letter) = puller.dead_letters()? {
                done = letter.number;
                letter.done();
            }
        }
        _ => drop(puller.dead_letters()?),
    }
    mark(3);
    Ok(done as u8)
}

/// Comes and goes, where others have died.
fn come(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    if !mark(1) || !mark(2) {
        return Ok(0);
    }
    match how {
        0 => drop(Puller::<Task>::with(channel, patient(Wait::default()))?),
        _ => drop(Pusher::<Task>::new(channel)?),
    }
    mark(3);
    Ok(0)
}

/// Is to be killed at its first mark, with a job or with a loan.
fn die(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    if how == 0 {
        let mut puller = Puller::<Task>::new(channel)?;
        let _job = puller.recv_timeout(LONG)?.ok_or("no job")?;
        mark(1);
    } else {
        let mut pusher = Pusher::<Task>::new(channel)?;
        let _loan = pusher.loan()?;
        mark(1);
    }
    Ok(0)
}

/// Makes its call, and ends it in one of the ways in which calls end.
fn call(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    let mut client = Requester::<Task, Task>::new(channel)?;
    let request = Task::of(OWN);
    let mut pending: Option<Pending<Task>> = None;
    if !mark(1) {
        return Ok(0);
    }
    if how > 0 {
        pending = Some(client.send(&request)?);
    }
    if !mark(2) {
        return Ok(0);
    }
    match (pending, how) {
        (Some(pending), 1 | 6) => drop(pending),
        (Some(pending), 2) => {
            let reply = pending.wait(LONG)?;
            if *reply != reply_to(OWN) {
                return Err(format!("{reply:?}").into());
            }
        }
        (Some(pending), 3 | 4) => match pending.wait(Duration::ZERO) {
            Err(CallError::TimedOut { .. }) => {}
            // While it was stopped somebody has served it.
            Ok(reply) if how == 4 && *reply == reply_to(OWN) => {}
            other => return Err(format!("{other:?}").into()),
        },
        (Some(pending), _) => match pending.wait(LONG) {
            Err(CallError::Declined { .. }) => {}
            other => return Err(format!("{other:?}").into()),
        },
        (None, _) => {
            let pending = client.send(&request)?;
            mark(3);
            drop(pending);
            return Ok(0);
        }
    }
    mark(3);
    Ok(0)
}

/// Answers a call, or declines it. Says which.
fn serve(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    let mut server = Replier::<Task, Task>::new(channel)?;
    let mut request = None;
    if !mark(1) {
        return Ok(0);
    }
    if how == 3 {
        request = Some(server.recv_timeout(LONG)?.ok_or("no request")?);
    }
    if !mark(2) {
        return Ok(0);
    }
    let request = match request {
        Some(request) => request,
        None => server.recv_timeout(LONG)?.ok_or("no request")?,
    };
    let number = request.number;
    match how {
        1 => drop(request),
        2 => {
            let mut loan = request.loan_reply().init(Task::of(0));
            *loan = reply_to(loan.request().number);
            loan.send();
        }
        _ => drop(request.reply(&reply_to(number))?),
    }
    mark(3);
    Ok(number as u8)
}

/// Comes and goes, where others have died.
fn come_to_service(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    if !mark(1) || !mark(2) {
        return Ok(0);
    }
    match how {
        0 => drop(Replier::<Task, Task>::new(channel)?),
        _ => drop(Requester::<Task, Task>::new(channel)?),
    }
    mark(3);
    Ok(0)
}

/// Is to be killed at its first mark, with a request or with calls.
fn die_in_service(channel: &Channel, how: u64, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    if how == 0 {
        let mut server = Replier::<Task, Task>::new(channel)?;
        let _request = server.recv_timeout(LONG)?.ok_or("no request")?;
        mark(1);
    } else {
        let mut client = Requester::<Task, Task>::new(channel)?;
        let _call = client.send(&Task::of(OWN))?;
        let _loan = client.loan()?;
        mark(1);
    }
    Ok(0)
}

/// A whole life in a queue: pushes, sleeps, works, gives back. Its last mark is its end.
fn live_in_queue(channel: &Channel, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    mark(1);
    let mut pusher = Pusher::<Task>::new(channel)?;
    let mut puller = Puller::<Task>::with(channel, patient(Wait::Sleep))?;
    pusher.send(&Task::of(OWN))?;
    puller.recv_timeout(LONG)?.ok_or("our own job")?.done();
    if puller.recv_timeout(Duration::from_millis(1))?.is_some() {
        return Err("another job".into());
    }
    drop(pusher.loan()?);
    pusher.send(&Task::of(OWN + 1))?;
    drop(puller.recv_timeout(LONG)?.ok_or("our second job")?);
    puller.recv_timeout(LONG)?.ok_or("our second job, again")?.done();
    drop(puller);
    drop(pusher);
    mark(2);
    Ok(0)
}

/// A whole life in a service: calls, sleeps, serves. Its last mark is its end.
fn live_in_service(channel: &Channel, mark: &mut dyn FnMut(u32) -> bool) -> Played {
    mark(1);
    let mut client = Requester::<Task, Task>::new(channel)?;
    let mut server = Replier::<Task, Task>::new(channel)?;
    let first = client.send(&Task::of(OWN))?;
    let second = client.send(&Task::of(OWN + 1))?;
    let request = server.recv_timeout(LONG)?.ok_or("our own call")?;
    // It sleeps meanwhile.
    if !matches!(second.wait(Duration::from_millis(1)), Err(CallError::TimedOut { .. })) {
        return Err("a reply".into());
    }
    request.reply(&reply_to(OWN))?;
    if *first.wait(LONG)? != reply_to(OWN) {
        return Err("another reply".into());
    }
    if server.recv_timeout(Duration::from_millis(1))?.is_some() {
        return Err("a call that was cancelled".into());
    }
    drop(server);
    drop(client);
    mark(2);
    Ok(0)
}
