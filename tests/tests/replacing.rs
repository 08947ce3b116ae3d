//! What holds when publishers replace the channel, and are killed or stopped at it, or gone at once.

use shm_comm::{AttachError, Channel, Publisher, RecvError, Subscriber, SubscriberOptions, Wait};
use shm_comm_tests::harness::{Guard, LAST, PEERS, Peer, REFUSED, Root, SOON, random, report};
use shm_comm_tests::trace::{Run, Stop, Tracee, stay_on_this_processor};
use shm_comm_tests::{Numbered, Travels, Watch};
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Lives of the publishers of these tests.
const EARLIER: u64 = 2;
const REPLACES: u64 = 3;
const NEWCOMER: u64 = 4;

/// The channel that the peers are on. Nobody chooses anything but the depth.
fn plain(root: &Root) -> Channel {
    root.named("small")
}

/// Starts a traced peer, which stands at its first mark; or says that this system does not permit it.
fn trace(root: &Root, role: &str, argument: u64) -> Option<Tracee> {
    match Tracee::start(PEER, root, role, argument) {
        Ok(mut tracee) => {
            tracee.run_to_mark();
            Some(tracee)
        }
        Err(error) => {
            let forbidden = [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported];
            assert!(forbidden.contains(&error.kind()), "{error}");
            report(format_args!("skipped: ptrace is not permitted: {error}"));
            None
        }
    }
}

/// Lets the peer begin or end so many system calls, and says whether it has made its next mark before,
/// or was refused.
fn has_marked(peer: &mut Tracee, system_calls: u32) -> bool {
    (0..system_calls).any(|_| match peer.run(Run::ToSystemCall) {
        Stop::There => false,
        Stop::Mark => true,
        Stop::Ended(code) => {
            assert_eq!(code, REFUSED);
            true
        }
    })
}

/// How somebody waits who stays.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Asleep in `recv`.
    Sleeps,
    /// In `recv`, with its eyes open.
    Spins,
    /// Looks now and then.
    Polls,
    /// Is away for up to three milliseconds after each message, and each time when there is none.
    IsBusy,
}

/// A subscriber with the defaults, there before every publisher, which hears all until the last
/// message.
struct Survivor {
    thread: JoinHandle<(Subscriber<Numbered>, Travels)>,
    heard: mpsc::Receiver<(u64, u64)>,
}

impl Survivor {
    fn start(channel: Channel, habit: Habit) -> Survivor {
        let wait = match habit {
            Habit::Spins => Wait::Spin,
            _ => Wait::Sleep,
        };
        let options = SubscriberOptions::new().wait(wait);
        let mut subscriber = Subscriber::<Numbered>::with(channel, options).unwrap();
        let (hears, heard) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut travels = Travels::from_the_start();
            let mut life = 0;
            while life != LAST {
                let sample = match habit {
                    Habit::Sleeps | Habit::Spins => subscriber.recv().map(Some),
                    Habit::Polls | Habit::IsBusy => subscriber.try_recv(),
                };
                let got = match sample {
                    Ok(sample) => sample.map(|sample| {
                        life = travels.enter(&sample).unwrap();
                        // Who listens may have gone.
                        let _ = hears.send((life, sample.sequence()));
                    }),
                    // Somebody is stopped at the door. The next call tries again.
                    Err(RecvError::Attach(error)) if is_busy(&error) => None,
                    Err(error) => panic!("{error}"),
                };
                match habit {
                    Habit::Polls if got.is_none() => {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    Habit::IsBusy => std::thread::sleep(Duration::from_micros(random(3000))),
                    _ => {}
                }
            }
            (subscriber, travels)
        });
        Survivor { thread, heard }
    }

    /// Waits until it has heard this message, and says which ones before.
    fn hear(&self, message: (u64, u64)) -> Vec<(u64, u64)> {
        let mut heard = Vec::new();
        self.gather(&mut heard, |heard| heard.last() == Some(&message));
        heard.pop();
        heard
    }

    /// Waits until what it has heard is enough.
    fn gather(&self, heard: &mut Vec<(u64, u64)>, enough: impl Fn(&[(u64, u64)]) -> bool) {
        let end = Instant::now() + SOON;
        while !enough(heard) {
            let next = self.heard.recv_timeout(end.saturating_duration_since(Instant::now()));
            heard.push(next.unwrap_or_else(|_| panic!("a message is not heard: {heard:?}")));
        }
    }

    /// After the last message.
    fn end(self) -> (Subscriber<Numbered>, Travels) {
        self.thread.join().unwrap()
    }
}

fn is_busy(error: &AttachError) -> bool {
    matches!(error, AttachError::Busy { .. })
}

fn publisher(channel: Channel, watch: &Watch) -> Publisher<Numbered> {
    watch.time("open a publisher", || Publisher::new(channel).unwrap())
}

/// Sends a message, and says which.
fn send(publisher: &mut Publisher<Numbered>, life: u64, watch: &Watch) -> (u64, u64) {
    let sequence = publisher.stats().published;
    let message = Travels::message(life, sequence);
    watch.time("send", || publisher.send(&message).unwrap());
    (life, sequence)
}

fn wait_for_subscribers(publisher: &mut Publisher<Numbered>, count: usize, watch: &Watch) {
    let there = watch.time("be followed", || publisher.wait_for_subscribers(count, SOON).unwrap());
    assert!(there, "{} of {count} have come", publisher.subscribers());
}

/// Whoever comes now can use the channel: with each of these depths in turn. The survivor follows,
/// and hears all. Then everybody leaves, and nothing is left. Says how much else the survivor has heard.
fn newcomers_meet(root: &Root, survivor: Survivor, depths: [u32; 2], watch: &Watch) -> usize {
    assert!(root.segments().len() <= 1, "{:?}", root.files());
    let mut others = 0;
    let mut last = None;
    for (depth, life) in depths.into_iter().zip(NEWCOMER..) {
        drop(last);
        let mut newcomer = publisher(plain(root).depth(depth), watch);
        wait_for_subscribers(&mut newcomer, 1, watch);
        assert_eq!(root.segments().len(), 1, "{:?}", root.files());
        for _ in 0..4 {
            let message = send(&mut newcomer, life, watch);
            others += watch.time("hear", || survivor.hear(message)).len();
        }
        last = Some(newcomer);
    }
    let mut newcomer = last.unwrap();
    // Nobody was there before it.
    assert_eq!(send(&mut newcomer, LAST, watch), (LAST, 4));
    let (subscriber, travels) = survivor.end();
    assert_eq!(travels.missed, 0);
    if random(2) == 0 {
        drop((newcomer, subscriber));
    } else {
        drop((subscriber, newcomer));
    }
    assert!(root.files().is_empty(), "{:?}", root.files());
    others
}

/// Somebody who survives; perhaps a publisher of this depth was there before.
fn survivor(root: &Root, habit: Habit, earlier: Option<u32>, watch: &Watch) -> Survivor {
    let survivor = Survivor::start(plain(root), habit);
    if let Some(depth) = earlier {
        let mut earlier = publisher(plain(root).depth(depth), watch);
        survivor.hear(send(&mut earlier, EARLIER, watch));
    }
    survivor
}

/// Who is there when a peer comes: how the survivor waits, and whether a publisher was there.
const BEFORE: [(Habit, Option<u32>); 3] =
    [(Habit::Sleeps, None), (Habit::Polls, None), (Habit::Sleeps, Some(8))];

/// A publisher that replaces the channel, and a subscriber that does, by a depth nobody has chosen.
#[test]
fn killed_at_any_system_call_of_replacing_a_channel_it_harms_nobody() {
    let base = Root::new();
    let watch = Guard::over(&base);
    stay_on_this_processor();
    let cases = [("replace", 16, BEFORE.as_slice()), ("choose", 16, &BEFORE[..2])];
    for (role, depth, before) in cases {
        let (mut kills, mut heard) = (0, 0);
        for (habit, earlier) in before {
            for n in 0.. {
                let root = Root::within(base.path());
                let survivor = survivor(&root, *habit, *earlier, &watch);
                let Some(mut peer) = trace(&root, role, depth) else { return };
                let at_its_end = has_marked(&mut peer, n);
                peer.kill();
                kills += 1;
                let others = newcomers_meet(&root, survivor, [16, 32], &watch);
                heard += usize::from(others > 0);
                if at_its_end {
                    break;
                }
            }
        }
        report(format_args!(
            "{role}: killed at {kills} beginnings and ends of system calls, heard {heard} times; {}",
            watch.nobody_was_delayed()
        ));
    }
}

/// One is killed while it replaces the channel, and another one while it clears up after that.
#[test]
fn killed_while_it_finishes_what_a_dead_one_has_begun_it_harms_nobody() {
    let base = Root::new();
    let watch = Guard::over(&base);
    stay_on_this_processor();
    let mut kills = 0;
    for role in ["replace", "choose", "follow"] {
        for n in 0.. {
            let root = Root::within(base.path());
            let survivor = survivor(&root, Habit::Sleeps, None, &watch);
            let Some(mut first) = trace(&root, "replace", 16) else { return };
            let follower = if role == "follow" { trace(&root, role, 0) } else { None };
            let at_its_end = has_marked(&mut first, n);
            first.kill();
            // It stays as long as there is something to follow.
            let replaces = follower.as_ref().map(|_| {
                let mut replaces = publisher(plain(&root).depth(32), &watch);
                send(&mut replaces, REPLACES, &watch);
                replaces
            });
            let second = follower.or_else(|| trace(&root, role, 32));
            let Some(mut second) = second else { return };
            has_marked(&mut second, random(150) as u32);
            second.kill();
            drop(replaces);
            kills += 1;
            newcomers_meet(&root, survivor, [16, 8], &watch);
            if at_its_end {
                break;
            }
        }
    }
    report(format_args!("killed {kills} times after another; {}", watch.nobody_was_delayed()));
}

/// Several at a time, a system call of one and then a system call of another; some are killed.
#[test]
fn in_any_order_of_their_system_calls_those_who_replace_a_channel_harm_nobody() {
    const ROUNDS: u32 = 200;
    let base = Root::new();
    let watch = Guard::over(&base);
    stay_on_this_processor();
    let (mut refused, mut killed, mut steps) = (0, 0, 0_u64);
    for _ in 0..ROUNDS {
        let root = Root::within(base.path());
        let survivor = survivor(&root, Habit::Sleeps, [None, Some(16)][random(2) as usize], &watch);
        let mut peers = Vec::new();
        for life in 10..12 + random(2) {
            let (role, depth) = [("replace", 16), ("replace", 32), ("replace", 64), ("choose", 16)]
                [random(4) as usize];
            let argument = if role == "replace" { life << 32 | depth } else { depth };
            let Some(peer) = trace(&root, role, argument) else { return };
            peers.push(peer);
        }
        while !peers.is_empty() {
            let i = random(peers.len() as u64) as usize;
            // Sometimes one of them goes on for a while.
            let far = if random(20) == 0 { random(50) } else { 1 };
            for _ in 0..far {
                steps += 1;
                match peers[i].run(Run::ToSystemCall) {
                    Stop::There if random(1500) == 0 => killed += 1,
                    Stop::There => continue,
                    Stop::Mark => {}
                    Stop::Ended(code) => {
                        assert_eq!(code, REFUSED);
                        refused += 1;
                    }
                }
                peers.remove(i).kill();
                break;
            }
        }
        newcomers_meet(&root, survivor, [16, 32], &watch);
    }
    report(format_args!(
        "{ROUNDS} rounds, {steps} beginnings and ends of system calls, {refused} refused, {killed} \
         killed on the way; {}",
        watch.nobody_was_delayed()
    ));
}

/// A publisher replaces the channel while the peer waits. `stays`: it is still there after the kill.
#[test]
fn killed_at_any_system_call_of_following_it_harms_nobody() {
    let base = Root::new();
    let watch = Guard::over(&base);
    stay_on_this_processor();
    let mut kills = 0;
    for (asleep, stays, together) in
        [(1, true, true), (1, false, true), (0, true, true), (0, false, true), (1, false, false)]
    {
        for n in 0.. {
            let root = Root::within(base.path());
            // Otherwise the survivor comes after the kill, and the peer follows alone.
            let early = together.then(|| survivor(&root, Habit::Sleeps, None, &watch));
            let Some(mut peer) = trace(&root, "follow", asleep) else { return };
            let replace = || {
                // The peer sleeps, or is on its way.
                std::thread::sleep(Duration::from_micros(asleep * 1000));
                let mut publisher = publisher(plain(&root).depth(16), &watch);
                send(&mut publisher, REPLACES, &watch);
                stays.then_some(publisher)
            };
            let (publisher, at_its_end) = std::thread::scope(|scope| {
                if asleep == 0 {
                    let publisher = replace();
                    return (publisher, has_marked(&mut peer, n));
                }
                let publisher = scope.spawn(replace);
                let at_its_end = has_marked(&mut peer, n);
                (publisher.join().unwrap(), at_its_end)
            });
            peer.kill();
            kills += 1;
            let survivor = early.unwrap_or_else(|| Survivor::start(plain(&root), Habit::Sleeps));
            if let Some(mut publisher) = publisher {
                let heard = survivor.hear(send(&mut publisher, REPLACES, &watch));
                assert_eq!(heard, [(REPLACES, 0)], "asleep: {asleep}, kill {n}");
            }
            newcomers_meet(&root, survivor, [32, 8], &watch);
            if at_its_end {
                break;
            }
        }
    }
    report(format_args!(
        "killed at {kills} beginnings and ends of system calls of following; {}",
        watch.nobody_was_delayed()
    ));
}

/// What comes of a newcomer while a peer stands somewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    IsIn,
    /// The peer is a publisher with another depth.
    IsRefused,
    /// The peer is at the door.
    Waits,
}

/// Opens a publisher though somebody may be stopped at the door, or have another depth. Says how it
/// goes.
fn open_in_time(channel: &Channel, says: &mpsc::Sender<Fate>) -> Publisher<Numbered> {
    let end = Instant::now() + SOON;
    loop {
        match Publisher::new(channel) {
            Ok(publisher) => {
                let _ = says.send(Fate::IsIn);
                return publisher;
            }
            Err(AttachError::GeometryMismatch { .. }) => {
                let _ = says.send(Fate::IsRefused);
            }
            Err(error) if is_busy(&error) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < end, "it does not enter");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A peer that stands at some system call, and what it will do.
struct Stopped {
    peer: Tracee,
    /// It is a subscriber and stays until the last message, unless it is refused; otherwise it is a
    /// publisher that goes by itself.
    listens: bool,
    may_be_refused: bool,
}

/// A newcomer comes with this depth while the peer stands. If it gets in, the survivor hears it,
/// though the peer does not go on. Then the peer does, to its end, and everybody is on one channel.
fn newcomer_and_the_stopped(
    root: &Root,
    stopped: Stopped,
    survivor: Survivor,
    depth: u32,
    watch: &Watch,
) -> Fate {
    let Stopped { mut peer, listens, may_be_refused } = stopped;
    let (says, said) = mpsc::channel();
    let (goes, go) = mpsc::channel();
    let mut heard = Vec::new();
    // In any order, if there are two publishers.
    let has = |life, count| {
        move |heard: &[(u64, u64)]| {
            heard.iter().filter(|message| message.0 == life).count() >= count
        }
    };
    let (fate, code, newcomer) = std::thread::scope(|scope| {
        let goes = goes; // Dropped when the test fails: then the newcomer goes, too.
        let newcomer = scope.spawn(move || {
            let mut newcomer = open_in_time(&plain(root).depth(depth), &says);
            wait_for_subscribers(&mut newcomer, 1, watch);
            send(&mut newcomer, NEWCOMER, watch);
            wait_for_subscribers(&mut newcomer, go.recv().unwrap_or(1), watch);
            send(&mut newcomer, LAST, watch);
            newcomer
        });
        let fate = said.recv_timeout(Duration::from_millis(20)).unwrap_or(Fate::Waits);
        if fate == Fate::IsIn {
            watch.time("hear", || survivor.gather(&mut heard, has(NEWCOMER, 1)));
        }
        let mut run_on = || loop {
            if let Stop::Ended(code) = peer.run(Run::ToMark) {
                break code;
            }
        };
        let code = if listens {
            goes.send(if may_be_refused { 1 } else { 2 }).unwrap();
            run_on()
        } else {
            let code = run_on();
            // All that it has sent: it has waited until somebody heard it.
            survivor.gather(&mut heard, has(PEERS, if code == 0 { 3 } else { 0 }));
            goes.send(1).unwrap();
            code
        };
        (fate, code, newcomer.join().unwrap())
    });
    assert!(code == 0 || (may_be_refused && code == REFUSED), "it ends with {code}");
    assert_eq!(root.segments().len(), 1, "{:?}", root.files());
    survivor.gather(&mut heard, has(LAST, 1));
    assert!(has(NEWCOMER, 1)(&heard), "{heard:?}");
    let (subscriber, travels) = survivor.end();
    assert_eq!(travels.missed, 0);
    drop((newcomer, subscriber));
    assert!(root.files().is_empty(), "{:?}", root.files());
    fate
}

/// What has happened before a peer goes on to where it is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    /// A publisher of the depth that the peer has was there: the peer has nothing to replace.
    SameDepth,
    /// A publisher has replaced the channel, and gone.
    Replaced,
}

/// Stops a peer at every system call in turn. `None`: ptrace is not permitted.
fn stop_everywhere(
    base: &Root,
    (role, argument): (&str, u64),
    before: Before,
    depth: u32,
    watch: &Guard,
) -> Option<()> {
    let (mut refused, mut waited) = (0, 0);
    for n in 0.. {
        let root = Root::within(base.path());
        let habit = if n % 2 == 0 { Habit::Sleeps } else { Habit::Polls };
        let survivor = survivor(&root, habit, (before == Before::SameDepth).then_some(17), watch);
        let mut peer = trace(&root, role, argument)?;
        if before == Before::Replaced {
            let mut replaces = publisher(plain(&root).depth(16), watch);
            send(&mut replaces, REPLACES, watch);
        }
        let at_its_end = has_marked(&mut peer, n);
        // A publisher that stays refuses other depths, and so does a subscriber that has chosen one.
        let may_be_refused = argument == 17 && depth != 17;
        let stopped = Stopped { peer, listens: role != "replace", may_be_refused };
        match newcomer_and_the_stopped(&root, stopped, survivor, depth, watch) {
            Fate::IsIn => {}
            Fate::IsRefused => refused += 1,
            Fate::Waits => waited += 1,
        }
        if at_its_end {
            report(format_args!(
                "{role}, {before:?}, and a newcomer with depth {depth}: stopped {} times, the newcomer was \
                 refused {refused} times and waited {waited} times; {}",
                n + 1,
                watch.nobody_was_delayed()
            ));
            break;
        }
    }
    Some(())
}

/// Who is stopped in the middle of replacing keeps newcomers waiting, or not; there are never two
/// channels.
#[test]
fn stopped_at_any_system_call_of_replacing_a_channel_it_does_not_split_it() {
    let base = Root::new();
    let watch = Guard::over(&base);
    let cases = [
        ("replace", Before::Nothing, 17),
        ("replace", Before::Nothing, 32),
        ("replace", Before::SameDepth, 32),
        ("choose", Before::Nothing, 17),
        ("choose", Before::Nothing, 32),
    ];
    for (role, before, depth) in cases {
        if stop_everywhere(&base, (role, 17), before, depth, &watch).is_none() {
            return;
        }
    }
}

#[test]
fn stopped_at_any_system_call_of_following_it_does_not_split_the_channel() {
    let base = Root::new();
    let watch = Guard::over(&base);
    for depth in [16, 32] {
        if stop_everywhere(&base, ("follow", 0), Before::Replaced, depth, &watch).is_none() {
            return;
        }
    }
}

/// Newcomers, and those who have seen the mark and follow.
#[test]
fn whoever_is_stopped_while_it_replaces_a_channel_is_reported_and_not_waited_for() {
    let base = Root::new();
    let watch = Guard::over(&base);
    for n in 0.. {
        let root = Root::within(base.path());
        let mut follower = Subscriber::<Numbered>::new(plain(&root)).unwrap();
        let Some(mut peer) = trace(&root, "replace", 17) else { return };
        assert!(!has_marked(&mut peer, n), "nobody has to wait");
        // A follower is the first to be told: it waits for a fraction of a second only.
        let mut told = Ok(None);
        for _ in 0..300 {
            told = watch.time("recv", || follower.recv_timeout(Duration::from_millis(1)));
            if !matches!(told, Ok(None)) {
                break;
            }
        }
        match told {
            Ok(None) => continue,
            Err(RecvError::Attach(error)) => assert!(is_busy(&error), "{error}"),
            other => panic!("{other:?}"),
        }
        let enter = || Publisher::<Numbered>::new(plain(&root).depth(32));
        let error = watch.time("enter", enter).unwrap_err();
        assert!(is_busy(&error), "{error}");
        // It goes on, and waits for somebody to hear it.
        std::thread::scope(|scope| {
            let (mut follower, watch) = (follower, &watch);
            let follower = scope.spawn(move || {
                let mut travels = Travels::from_the_start();
                let mut receive = || watch.time("recv", || follower.recv_timeout(SOON));
                for _ in 0..3 {
                    let sample = receive().unwrap().expect("its message");
                    assert_eq!(travels.enter(&sample), Ok(PEERS));
                }
            });
            while !matches!(peer.run(Run::ToMark), Stop::Ended(_)) {}
            follower.join().unwrap();
        });
        assert!(root.files().is_empty(), "{:?}", root.files());
        break;
    }
    report(format_args!("somebody at the door; {}", watch.nobody_was_delayed()));
}

/// Many publishers that each want their own depth and do not stay, or are killed; subscribers that
/// stay, or are killed.
#[test]
fn killed_at_random_while_publishers_replace_each_other_they_harm_nobody() {
    const KILLS: u32 = 400;
    let root = Root::new();
    let watch = Guard::over(&root);
    let habits = [Habit::Sleeps, Habit::Spins, Habit::Polls];
    let survivors = habits.map(|habit| Survivor::start(plain(&root), habit));
    let peers = [("rival", 9), ("rival", 16), ("travel", 0), ("travel", 1), ("travel", 1)];
    let start = |i: usize| {
        let (role, argument) = peers[i];
        Peer::start_on(PEER, &root, "small", role, argument)
    };
    let mut running: Vec<Peer> = (0..peers.len()).map(start).collect();
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_micros(random(10_000)));
        let i = random(peers.len() as u64) as usize;
        std::mem::replace(&mut running[i], start(i)).kill();
    }
    running.into_iter().for_each(Peer::kill);

    // The one who comes last meets everybody who is alive.
    let mut last = publisher(plain(&root).depth(32), &watch);
    wait_for_subscribers(&mut last, survivors.len(), &watch);
    assert_eq!(root.segments().len(), 1, "{:?}", root.files());
    let mut moves = Vec::new();
    for _ in 0..10 {
        let message = send(&mut last, NEWCOMER, &watch);
        for survivor in &survivors {
            survivor.hear(message);
        }
    }
    send(&mut last, LAST, &watch);
    for survivor in survivors {
        let (subscriber, travels) = survivor.end();
        moves.push((travels.moves, travels.received, travels.missed));
        drop(subscriber);
    }
    drop(last);
    assert!(root.files().is_empty(), "{:?}", root.files());
    report(format_args!(
        "{KILLS} kills; channels, messages received and missed by each who stayed: {moves:?}; {}",
        watch.nobody_was_delayed()
    ));
}

/// Many processes, each with another depth than the one before, send one message each and go at once.
/// Says how many of the messages were heard.
fn send_one_each(habit: Habit, waits_until_heard: bool, watch: &Watch) -> (u64, u64, Duration) {
    const LIVES: u64 = 300;
    let root = Root::new();
    let survivor = Survivor::start(plain(&root), habit);
    let start = Instant::now();
    for life in NEWCOMER..NEWCOMER + LIVES {
        let depth = 8 << (life % 2);
        let peer = Peer::start_on(PEER, &root, "small", "send-one", life << 32 | depth);
        assert!(peer.wait().success());
        if waits_until_heard {
            let before = watch.time("hear", || survivor.hear((life, 0)));
            assert!(before.is_empty(), "{before:?}");
        }
    }
    let time = start.elapsed();
    let mut last = publisher(plain(&root).depth(32), watch);
    wait_for_subscribers(&mut last, 1, watch);
    assert_eq!(root.segments().len(), 1, "{:?}", root.files());
    send(&mut last, LAST, watch);
    let (subscriber, travels) = survivor.end();
    assert_eq!(travels.missed, 0);
    drop((subscriber, last));
    assert!(root.files().is_empty(), "{:?}", root.files());
    (travels.received - 1, LIVES, time)
}

/// What they send reaches a subscriber that waits, though they do not.
#[test]
fn every_message_of_short_lived_publishers_of_different_depths_is_heard() {
    let base = Root::new();
    let watch = Guard::over(&base);
    for habit in [Habit::Sleeps, Habit::Spins, Habit::IsBusy] {
        let (heard, sent, time) = send_one_each(habit, true, &watch);
        report(format_args!("{habit:?}: {heard} of {sent} heard, one after the other, {time:.1?}"));
        assert_eq!(heard, sent);
    }
    watch.nobody_was_delayed();
}

/// They may be gone, and replaced, before anybody could hear them.
#[test]
fn short_lived_publishers_that_wait_for_nobody_leave_one_channel() {
    let base = Root::new();
    let watch = Guard::over(&base);
    for habit in [Habit::Sleeps, Habit::Spins, Habit::IsBusy] {
        let (heard, sent, time) = send_one_each(habit, false, &watch);
        report(format_args!(
            "{habit:?}: {heard} of {sent} heard, as fast as they come, {time:.1?}"
        ));
    }
    watch.nobody_was_delayed();
}
