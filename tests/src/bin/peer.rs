//! The other process of a test: `peer ROLE ROOT [ARGUMENT]`. Ends with 0, is killed, or says on
//! stderr what is wrong and ends with 3. Ends when its parent does.

use shm_comm::{AttachError, Channel, Publisher, RecvError, Sample, Subscriber};
use shm_comm::{SubscriberOptions, Wait};
use shm_comm_tests::harness::{LAST, PEERS, REFUSED, random, small};
use shm_comm_tests::system_calls::{exit, forbid_system_calls};
use shm_comm_tests::trace::mark;
use shm_comm_tests::{Big, Ledger, Message, Numbered, Travels, Watch};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, root, name, number] = arguments.as_slice() else {
        eprintln!("peer ROLE ROOT CHANNEL NUMBER");
        return ExitCode::from(2);
    };
    let channel = Channel::new(name).root(root);
    let small = small(Path::new(root));
    let number = number.parse().unwrap_or(0);
    let result = match role.as_str() {
        "publish" => publish(&channel, number),
        "flood" => flood(&channel),
        "lend" => lend(&channel),
        "publish-big" => publish_big(&channel),
        "subscribe" => subscribe::<Numbered>(&channel, number),
        "subscribe-big" => subscribe::<Big>(&channel, number),
        "hold" => hold(&channel, number),
        "churn" => churn(&channel, number),
        "live" => live(&small, number),
        "step-send" => step_send(&small, false),
        "step-loan" => step_send(&small, true),
        "step-recv" => step_recv(&small),
        "step-wait" => step_wait(&small),
        "flood-in-steps" => flood_in_steps(&small),
        "subscribe-in-steps" => subscribe_in_steps(&small),
        "step-live" => step_live(&small, number),
        "replace" => replace(&channel, number),
        "follow" => follow(&channel, number),
        "choose" => choose(&channel, number),
        "send-one" => send_one(&channel, number),
        "rival" => rival(&channel, number),
        "travel" => travel(&channel, number),
        "publish-without-system-calls" => publish_without_system_calls(&channel, number),
        _ => Err(format!("no role {role}").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer {role}: {error}");
            ExitCode::from(3)
        }
    }
}

/// Publishes so many messages, or, if 0, until killed; now and then with a loan that it drops.
fn publish(channel: &Channel, count: u64) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    let first = publisher.stats().published;
    let end = if count == 0 { u64::MAX } else { first + count };
    for number in first..end {
        if number % 7 == 3 {
            drop(publisher.loan()?.init(Numbered::new(u64::MAX / 2)));
        }
        if number.is_multiple_of(5) {
            publisher.send(&Numbered::new(number))?;
        } else {
            publisher.loan()?.write(Numbered::new(number));
        }
        if count == 0 && number % 200 == 199 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

/// Publishes without a pause until killed.
fn flood(channel: &Channel) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    for number in publisher.stats().published.. {
        publisher.send(&Numbered::new(number))?;
    }
    Ok(())
}

/// Publishes until killed, and has a loan nearly all the time.
fn lend(channel: &Channel) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    for number in publisher.stats().published.. {
        let loan = publisher.loan()?.init(Numbered::new(number));
        std::thread::sleep(Duration::from_micros(random(3000)));
        // Nobody else has written to it.
        loan.check()?;
        loan.send();
    }
    Ok(())
}

/// Publishes until killed, mostly in the middle of a message.
fn publish_big(channel: &Channel) -> Result<()> {
    let mut publisher = Publisher::<Big>::new(channel)?;
    for number in publisher.stats().published.. {
        let mut loan = publisher.loan()?.reused();
        loan.fill(number);
        loan.send();
        std::thread::sleep(Duration::from_micros(random(200)));
    }
    Ok(())
}

/// Receives and checks until killed, holding so many samples.
fn subscribe<T: Message>(channel: &Channel, hold: u64) -> Result<()> {
    let wait = if hold.is_multiple_of(2) { Wait::default() } else { Wait::Sleep };
    let options = SubscriberOptions::new().max_held(hold as u8 + 1).wait(wait);
    let mut subscriber = Subscriber::<T>::with(channel, options)?;
    let watch = Watch::default();
    let delayed = || watch.longest().0 > Watch::BOUND;
    Ledger::default().read(&mut subscriber, hold as usize, &watch, delayed)?;
    Err(format!("delayed: {:?}", watch.longest()).into())
}

/// Receives so many messages and keeps them until killed.
fn hold(channel: &Channel, count: u64) -> Result<()> {
    let options = SubscriberOptions::new().max_held(count as u8);
    let mut subscriber = Subscriber::<Numbered>::with(channel, options)?;
    let mut samples = Vec::new();
    loop {
        if (samples.len() as u64) < count {
            samples.push(subscriber.recv()?);
        }
        samples.iter().try_for_each(|sample| sample.check())?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Attaches and detaches, again and again.
fn churn(channel: &Channel, seed: u64) -> Result<()> {
    for round in seed.. {
        let mut publisher =
            (round % 3 != 0).then(|| Publisher::<Numbered>::new(channel)).transpose()?;
        let subscriber =
            (round % 3 != 1).then(|| Subscriber::<Numbered>::new(channel)).transpose()?;
        if let Some(publisher) = &mut publisher {
            let number = publisher.stats().published;
            publisher.send(&Numbered::new(number))?;
        }
        drop(publisher);
        drop(subscriber);
    }
    Ok(())
}

/// A whole life: comes, is heard, hears, sleeps, goes. With an odd number it comes and goes as a
/// subscriber first.
fn live(channel: &Channel, order: u64) -> Result<()> {
    let wait = SubscriberOptions::new().wait(Wait::Sleep);
    let open = || Subscriber::<Numbered>::with(channel, wait.clone());
    mark();
    let early = (order % 2 == 1).then(open).transpose()?;
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    let mut subscriber = early.map_or_else(open, Ok)?;
    mark();
    let number = publisher.stats().published;
    publisher.send(&Numbered::new(number))?;
    let sample = subscriber.recv_timeout(Duration::from_secs(20))?.ok_or("our own message")?;
    sample.check()?;
    mark();
    let nothing_else = subscriber.recv_timeout(Duration::from_millis(1))?;
    if order % 2 == 1 {
        drop((sample, nothing_else, subscriber, publisher));
    } else {
        drop((publisher, sample, nothing_else, subscriber));
    }
    mark();
    Ok(())
}

/// So many messages and the ring of `small` has gone round.
const ROUND: u64 = 50;

/// Sends before each mark; of what is sent before the first, somebody may hold the last one. The slot
/// of that one is in the way behind the second mark. With `loans` it makes two loans for each message.
fn step_send(channel: &Channel, loans: bool) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    // Made before, so that few of the steps are not the library's.
    let messages: Vec<Numbered> = (0..ROUND + 24 + 8).map(Numbered::new).collect();
    let nothing = Numbered::new(u64::MAX / 2);
    for (i, message) in messages.iter().enumerate() {
        if [ROUND, ROUND + 24].contains(&(i as u64)) {
            mark();
        }
        if loans {
            drop(publisher.loan()?.init(nothing));
            publisher.loan()?.init(*message).send();
        } else {
            publisher.send(message)?;
        }
    }
    if publisher.stats().skipped_slots == 0 {
        return Err("nothing was in the way".into());
    }
    mark();
    Ok(())
}

/// Between its second mark and its third it receives, and lets go in another order.
fn step_recv(channel: &Channel) -> Result<()> {
    let mut subscriber = Subscriber::<Numbered>::new(channel)?;
    mark();
    mark();
    let first = subscriber.try_recv()?.ok_or("no message")?;
    let second = subscriber.try_recv()?.ok_or("no second message")?;
    drop(first);
    let newest = subscriber.latest()?.ok_or("no newest message")?;
    drop((newest, second));
    mark();
    Ok(())
}

/// Between its second mark and its third it waits in vain, with its eyes open and asleep.
fn step_wait(channel: &Channel) -> Result<()> {
    let wait = Wait::SpinThenSleep(Duration::from_micros(1));
    let options = SubscriberOptions::new().wait(wait);
    let mut subscriber = Subscriber::<Numbered>::with(channel, options)?;
    mark();
    while subscriber.try_recv()?.is_some() {}
    mark();
    if subscriber.recv_timeout(Duration::from_millis(1))?.is_some() {
        return Err("a message".into());
    }
    mark();
    Ok(())
}

/// Publishes until killed, with few instructions that are not the library's.
fn flood_in_steps(channel: &Channel) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    let messages: Vec<Numbered> = (0..10_000).map(Numbered::new).collect();
    mark();
    for message in &messages {
        publisher.send(message)?;
    }
    Ok(())
}

/// Receives until killed, with one sample held, and few instructions that are not the library's.
fn subscribe_in_steps(channel: &Channel) -> Result<()> {
    let mut subscriber = Subscriber::<Numbered>::new(channel)?;
    let messages: Vec<Numbered> = (0..100_000).map(Numbered::new).collect();
    let mut next = 0;
    let mut held = None;
    let is_whole = |sample: &Sample<Numbered>| **sample == messages[sample.sequence() as usize];
    mark();
    loop {
        if let Some(sample) = subscriber.try_recv()? {
            let number = sample.sequence();
            if next + sample.missed() != number || !is_whole(&sample) {
                return Err(format!("expected {next}, got {number}: {sample:?}").into());
            }
            next = number + 1;
            held = Some(sample);
        }
        if let Some(sample) = &held
            && !is_whole(sample)
        {
            return Err(format!("changed while it was held: {sample:?}").into());
        }
    }
}

/// Between its second mark and its third it comes, sends the message of this number, and goes.
fn step_live(channel: &Channel, number: u64) -> Result<()> {
    let message = Numbered::new(number);
    mark();
    mark();
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    let mut subscriber = Subscriber::<Numbered>::new(channel)?;
    publisher.send(&message)?;
    drop(subscriber.try_recv()?.ok_or("our own message")?);
    drop((publisher, subscriber));
    mark();
    Ok(())
}

/// Comes between its first mark and its second as a publisher with the depth in the low half of the
/// number, and sends a few messages as the life in the high half, if there is one. With an odd depth
/// it waits for a subscriber.
fn replace(channel: &Channel, number: u64) -> Result<()> {
    let (life, depth) = ((number >> 32).max(PEERS), number as u32);
    mark();
    let mut publisher = match Publisher::<Numbered>::new(channel.clone().depth(depth)) {
        Ok(publisher) => publisher,
        Err(error) if is_refused(&error) => exit(REFUSED),
        Err(error) => return Err(error.into()),
    };
    if depth % 2 == 1 && !publisher.wait_for_subscribers(1, Duration::from_secs(10))? {
        return Err("nobody hears it".into());
    }
    for _ in 0..3 {
        let number = publisher.stats().published;
        publisher.send(&Travels::message(life, number))?;
    }
    drop(publisher);
    mark();
    Ok(())
}

/// Waits from its first mark on, and makes the second when it has got something. Ends with the last
/// message.
fn follow(channel: &Channel, asleep: u64) -> Result<()> {
    let wait = if asleep == 1 { Wait::Sleep } else { Wait::Spin };
    let options = SubscriberOptions::new().wait(wait);
    let mut subscriber = Subscriber::<Numbered>::with(channel, options)?;
    let mut travels = Travels::default();
    mark();
    let sample = subscriber.recv_timeout(Duration::from_secs(20))?.ok_or("no message")?;
    let mut life = travels.enter(&sample)?;
    drop(sample);
    mark();
    while life != LAST {
        life = travels.enter(&subscriber.recv()?)?;
    }
    Ok(())
}

/// Comes after its first mark as a subscriber that sets the depth, and makes the second when it has
/// gone. If the depth is odd it makes one when it is there, and stays until the last message.
fn choose(channel: &Channel, depth: u64) -> Result<()> {
    mark();
    let mut subscriber = match Subscriber::<Numbered>::new(channel.clone().depth(depth as u32)) {
        Ok(subscriber) => subscriber,
        Err(error) if is_refused(&error) => exit(REFUSED),
        Err(error) => return Err(error.into()),
    };
    let stays = depth % 2 == 1;
    if stays {
        mark();
        if !hears_the_last(&mut subscriber)? {
            exit(REFUSED);
        }
    }
    drop(subscriber);
    mark();
    Ok(())
}

/// Receives until the last message; or until a publisher has another depth, then it says false.
fn hears_the_last(subscriber: &mut Subscriber<Numbered>) -> Result<bool> {
    let mut travels = Travels::default();
    loop {
        match subscriber.recv_timeout(Duration::from_secs(20)) {
            Ok(Some(sample)) if travels.enter(&sample)? == LAST => return Ok(true),
            Ok(Some(_)) => {}
            Ok(None) => return Err("no message".into()),
            Err(RecvError::Attach(error)) if is_refused(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_refused(error: &AttachError) -> bool {
    matches!(error, AttachError::GeometryMismatch { .. })
}

/// Comes with the depth in the low half of the number, sends one message as the life in the high
/// half, and goes.
fn send_one(channel: &Channel, number: u64) -> Result<()> {
    let (life, depth) = (number >> 32, number as u32);
    let mut publisher = Publisher::<Numbered>::new(channel.clone().depth(depth))?;
    let number = publisher.stats().published;
    publisher.send(&Travels::message(life, number))?;
    Ok(())
}

/// Comes with this depth, again and again, unless another publisher has its own; sends, and goes.
fn rival(channel: &Channel, depth: u64) -> Result<()> {
    let channel = channel.clone().depth(depth as u32);
    // A life for each time, of which this process has a thousand.
    for life in u64::from(std::process::id()) << 10.. {
        std::thread::sleep(Duration::from_micros(random(500)));
        let mut publisher = match Publisher::<Numbered>::new(&channel) {
            Ok(publisher) => publisher,
            Err(error) if is_refused(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if random(2) == 0 {
            publisher.wait_for_subscribers(1, Duration::from_millis(random(20)))?;
        }
        for _ in 0..random(100) {
            let number = publisher.stats().published;
            publisher.send(&Travels::message(life, number))?;
        }
    }
    Ok(())
}

/// Receives and checks, wherever the channel is, until killed.
fn travel(channel: &Channel, asleep: u64) -> Result<()> {
    let wait = if asleep == 1 { Wait::Sleep } else { Wait::default() };
    let options = SubscriberOptions::new().wait(wait);
    let mut subscriber = Subscriber::<Numbered>::with(channel, options)?;
    let mut travels = Travels::default();
    loop {
        travels.enter(&subscriber.recv()?)?;
    }
}

/// Publishes with every system call but the end of the process forbidden: one, and it is killed.
fn publish_without_system_calls(channel: &Channel, count: u64) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    // A subscriber that is to sleep is given the time.
    publisher.wait_for_subscribers(1, Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(100));
    let first = publisher.stats().published;
    forbid_system_calls()?;
    for number in first..first + count {
        match publisher.loan() {
            Ok(loan) => loan.write(Numbered::new(number)),
            Err(_) => exit(4),
        }
    }
    exit(0)
}
