//! What holds when a process is killed, or stops, at any system call and at any instruction: every
//! one of them, in turn.
//!
//! At a system call the peer is killed for real. Between its instructions, of which there are
//! thousands, it is enough to look at the memory: what a kill leaves of a peer that has no system
//! call to make is what it has stored so far, and places that nobody has locked. So the peer runs
//! once, step by step, and whenever it has changed the memory, a copy of it gets newcomers. Some of
//! these kills are done for real, too.

use shm_comm::{AttachError, Interrupter, Publisher, PublisherId, RecvError, Sample, Subscriber};
use shm_comm::{SubscriberOptions, Wait};
use shm_comm_tests::harness::{Free, Guard, Root, SOON, nothing_is_lost, random, report, small};
use shm_comm_tests::trace::{Run, Stop, Tracee, stay_on_this_processor};
use shm_comm_tests::{Ledger, Message, Numbered, Watch};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Elsewhere a pair of instructions may be one atomic operation, which a stop in between makes fail
/// for ever.
const STEPS: bool = cfg!(target_arch = "x86_64");

/// How far to follow one who does the same again and again.
const STEPS_OF_ONE: u32 = 200_000;

/// The channel [`small`], with everybody gone.
const EVERYTHING: Free = Free { publishers: 2, subscribers: 4, slots: 32, held: 0 };

/// Starts a traced peer, or says that this system does not permit it.
fn trace(root: &Root, role: &str, argument: u64) -> Option<Tracee> {
    match Tracee::start(PEER, root, role, argument) {
        Ok(tracee) => Some(tracee),
        Err(error) => {
            let forbidden = [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported];
            assert!(forbidden.contains(&error.kind()), "{error}");
            report(format_args!("skipped: ptrace is not permitted: {error}"));
            None
        }
    }
}

/// A peer at the n-th beginning or end of a system call of its life, and its marks so far: 0 while
/// it opens, 1 from before it sends, 2 when it holds its message, 3 at its end. `None`: ptrace is not permitted.
fn live(root: &Root, order: u64, n: u32) -> Option<(Tracee, u32)> {
    let mut peer = trace(root, "live", order)?;
    peer.run_to_mark();
    let marks = (0..n).filter(|_| peer.run(Run::ToSystemCall) == Stop::Mark).count();
    Some((peer, marks as u32))
}

/// Who is there when a peer comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// Nobody ever was.
    Nothing,
    /// All that were there are dead.
    TheDead,
    /// A subscriber.
    ASurvivor,
    /// A subscriber that sleeps.
    ASleeper,
    /// A subscriber; others have died, with a loan and samples.
    ASurvivorAndTheDead,
}

/// A survivor was there before every publisher.
type Survivor = (Subscriber<Numbered>, Ledger);

fn survivor(root: &Root) -> Survivor {
    let options = SubscriberOptions::new().wait(Wait::Sleep);
    let subscriber = Subscriber::with(small(root.path()), options).unwrap();
    (subscriber, Ledger::from_the_start())
}

/// Leaves a peer dead in the middle of its life. `None`: ptrace is not permitted.
fn leave_the_dead(root: &Root) -> Option<()> {
    let mut dead = trace(root, "live", 0)?;
    // It has sent, and holds its own message.
    (0..3).for_each(|_| dead.run_to_mark());
    dead.kill();
    Some(())
}

/// A survivor that sleeps whenever there is nothing to read.
struct Sleeper {
    thread: JoinHandle<Survivor>,
    interrupter: Interrupter,
    heard: mpsc::Receiver<PublisherId>,
}

impl Sleeper {
    fn start((mut subscriber, mut ledger): Survivor) -> Sleeper {
        let interrupter = subscriber.interrupter();
        let (hears, heard) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            loop {
                match subscriber.recv() {
                    Ok(sample) => {
                        ledger.enter(&sample).unwrap();
                        hears.send(sample.publisher()).unwrap();
                    }
                    Err(RecvError::Interrupted) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            (subscriber, ledger)
        });
        Sleeper { thread, interrupter, heard }
    }

    /// It hears a newcomer, though perhaps nobody wakes it: the dead one was about to.
    fn wake(self, root: &Root, watch: &Watch) -> Survivor {
        let mut publisher = Publisher::<Numbered>::new(small(root.path())).unwrap();
        let number = publisher.stats().published;
        publisher.send(&Numbered::new(number)).unwrap();
        watch.time("wake up", || {
            while self.heard.recv_timeout(SOON).expect("it sleeps for ever") != publisher.id() {}
        });
        self.interrupter.interrupt();
        self.thread.join().unwrap()
    }
}

/// Newcomers find everything in order, and nothing stays behind.
fn check(root: &Root, survivor: Option<Survivor>, watch: &Watch) {
    let there = root.files().len();
    assert!(there <= 1, "{:?}", root.files());
    match survivor {
        Some((mut subscriber, mut ledger)) => {
            assert_eq!(there, 1);
            let free = Free { subscribers: EVERYTHING.subscribers - 1, ..EVERYTHING };
            let survivor = Some((&mut subscriber, &mut ledger));
            nothing_is_lost(&small(root.path()), free, survivor, watch);
        }
        None => nothing_is_lost::<Numbered>(&small(root.path()), EVERYTHING, None, watch),
    }
    assert!(root.files().is_empty(), "{:?}", root.files());
}

#[test]
fn killed_at_any_system_call_it_harms_nobody() {
    let base = Root::new();
    let watch = Guard::over(&base);
    let mut kills = 0;
    for before in [
        Before::Nothing,
        Before::TheDead,
        Before::ASurvivor,
        Before::ASleeper,
        Before::ASurvivorAndTheDead,
    ] {
        for order in 0..2 {
            for n in 0.. {
                let root = Root::within(base.path());
                let alone = matches!(before, Before::Nothing | Before::TheDead);
                let mut survivor = (!alone).then(|| survivor(&root));
                if matches!(before, Before::TheDead | Before::ASurvivorAndTheDead)
                    && leave_the_dead(&root).is_none()
                {
                    return;
                }
                let asleep = survivor.take_if(|_| before == Before::ASleeper).map(Sleeper::start);
                let Some((peer, marks)) = live(&root, order, n) else { return };
                peer.kill();
                kills += 1;
                let awake = asleep.map(|sleeper| sleeper.wake(&root, &watch));
                check(&root, survivor.or(awake), &watch);
                if marks == 3 {
                    break;
                }
            }
        }
    }
    report(format_args!(
        "killed at {kills} beginnings and ends of system calls; {}",
        watch.nobody_was_delayed()
    ));
}

/// One who comes while another stands in the middle of something. Says first that it is on the
/// channel; then waits until it may `go`; and tells whether it has heard the other one.
fn come(root: &Root, is_in: &mpsc::Sender<()>, go: &mpsc::Receiver<()>, watch: &Watch) -> bool {
    let channel = small(root.path());
    let mut publisher = Publisher::<Numbered>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Numbered>::new(&channel).unwrap();
    let _ = is_in.send(());
    let _ = go.recv();
    let number = publisher.stats().published;
    watch.time("send", || publisher.send(&Numbered::new(number)).unwrap());
    // The messages of two publishers come in any order.
    let (mut heard_itself, mut heard_the_other) = (false, false);
    let mut wait = SOON;
    while let Some(sample) = watch.time("recv", || subscriber.recv_timeout(wait).unwrap()) {
        sample.check().unwrap();
        let own = sample.publisher() == publisher.id();
        (heard_itself, heard_the_other) = (heard_itself | own, heard_the_other | !own);
        if heard_itself {
            wait = Duration::ZERO;
        }
    }
    assert!(heard_itself);
    heard_the_other
}

/// Who is stopped at the door, alone in the channel, keeps others waiting. Nowhere else; and nobody
/// ever comes to another channel than the one that he is on.
#[test]
fn stopped_at_any_system_call_it_does_not_split_the_channel() {
    let base = Root::new();
    let watch = Guard::over(&base);
    let (mut stops, mut at_the_door) = (0, 0);
    let cases = [
        (Before::Nothing, false),
        (Before::Nothing, true),
        (Before::TheDead, false),
        (Before::ASurvivor, false),
    ];
    for ((before, dies), order) in cases.into_iter().flat_map(|case| [(case, 0), (case, 1)]) {
        for n in 0.. {
            let root = Root::within(base.path());
            if before == Before::TheDead && leave_the_dead(&root).is_none() {
                return;
            }
            let member = (before == Before::ASurvivor).then(|| survivor(&root));
            let Some((mut peer, marks)) = live(&root, order, n) else { return };
            // While the other one is perhaps about to join him.
            drop(member);
            let (is_in, hears_in) = mpsc::channel();
            let (goes, go) = mpsc::channel();
            std::thread::scope(|scope| {
                let goes = goes; // Dropped when the test fails: then the newcomer goes, too.
                let newcomer = scope.spawn(|| {
                    let go = go;
                    come(&root, &is_in, &go, &watch)
                });
                let early = hears_in.recv_timeout(Duration::from_millis(50)).is_ok();
                if dies {
                    peer.kill();
                } else {
                    loop {
                        match peer.run(Run::ToMark) {
                            Stop::Ended(code) => break assert_eq!(code, 0, "stop {n}"),
                            Stop::Mark | Stop::There => {}
                        }
                    }
                }
                if !early {
                    at_the_door += 1;
                    watch.time("enter", || hears_in.recv_timeout(SOON).expect("it does not enter"));
                }
                let _ = goes.send(());
                let heard = newcomer.join().unwrap();
                // Its message came after the newcomer.
                let expected = early && marks == 0 && !dies;
                assert!(heard || !expected, "two channels of one name: {before:?}, stop {n}");
            });
            stops += 1;
            assert!(root.files().is_empty(), "{:?}", root.files());
            if marks == 3 {
                break;
            }
        }
    }
    report(format_args!(
        "stopped at {stops} beginnings and ends of system calls, {at_the_door} of them at the door; {}",
        watch.nobody_was_delayed()
    ));
}

#[test]
fn whoever_is_stopped_at_the_door_is_reported_and_not_waited_for() {
    let base = Root::new();
    let watch = Guard::over(&base);
    for n in 0.. {
        let root = Root::within(base.path());
        let Some((mut peer, marks)) = live(&root, 0, n) else { return };
        assert!(marks < 3, "there is no door");
        let enter = || Subscriber::<Numbered>::new(small(root.path()));
        match watch.time("enter", enter) {
            Ok(_) => {}
            Err(AttachError::Busy { .. }) => {
                while !matches!(peer.run(Run::ToMark), Stop::Ended(_)) {}
                watch.time("enter", enter).unwrap();
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    report(format_args!("somebody at the door; {}", watch.nobody_was_delayed()));
}

/// A peer at its second mark, with everybody who is to see what it does now.
struct Stage {
    // Dropped first: it is traced by this thread.
    peer: Tracee,
    /// Held since before the last round of the ring, by somebody who does nothing else.
    held: Sample<Numbered>,
    keeper: Subscriber<Numbered>,
    survivor: Survivor,
    /// If the peer is a subscriber.
    publisher: Option<Publisher<Numbered>>,
    file: File,
}

impl Stage {
    /// `None`: ptrace is not permitted. `dead`: so many have died on the second ring.
    fn set(root: &Root, role: &str, dead: u64) -> Option<Stage> {
        let channel = small(root.path());
        let mut keeper = Subscriber::new(&channel).unwrap();
        let mut survivor = survivor(root);
        let publishes = matches!(role, "step-send" | "step-loan");
        let mut publisher = (!publishes).then(|| Publisher::<Numbered>::new(&channel).unwrap());
        let mut send = |count| {
            for _ in 0..count {
                let Some(publisher) = &mut publisher else { return };
                publisher.send(&Numbered::new(publisher.stats().published)).unwrap();
            }
        };
        if dead == 1 {
            leave_the_dead(root)?;
        }
        let mut peer = trace(root, role, dead)?;
        peer.run_to_mark();
        send(50);
        let held = keeper.latest().unwrap().unwrap();
        send(24);
        peer.run_to_mark();
        survivor.1.drain(&mut survivor.0).unwrap();
        let file = File::open(&root.files()[0]).unwrap();
        Some(Stage { peer, held, keeper, survivor, publisher, file })
    }

    /// All that the participants share, into `bytes`.
    fn memory(&self, bytes: &mut Vec<u8>) {
        bytes.resize(self.file.metadata().unwrap().len() as usize, 0);
        self.file.read_exact_at(bytes, 0).unwrap();
    }

    /// Kills it for real where it stands. Those who stay and those who come find all in order.
    fn kill(self, root: &Root, watch: &Watch) {
        let Stage { peer, held, keeper, mut survivor, publisher, .. } = self;
        peer.kill();
        drop(publisher);
        let survivor = Some((&mut survivor.0, &mut survivor.1));
        nothing_is_lost(&small(root.path()), WITHOUT_TWO, survivor, watch);
        held.check().unwrap();
        drop(keeper);
    }
}

/// Beside the keeper, which holds a slot, and the survivor.
const WITHOUT_TWO: Free = Free { subscribers: 2, held: 1, ..EVERYTHING };

/// Another channel that gets the memory of the first one, as it was when its peer stood somewhere;
/// only that the peer is not there. It does not matter which file it is.
struct Twin {
    file: File,
    /// The number, and where its message lies.
    held: (u64, u64),
    before: Vec<u8>,
    ledger: Ledger,
    /// Stands in for the keeper of the first channel, and keeps the file.
    keeper: Option<Subscriber<Numbered>>,
    root: Root,
}

impl Twin {
    fn of(stage: &Stage, base: &Root) -> Twin {
        let root = Root::within(base.path());
        let keeper = Some(Subscriber::new(small(root.path())).unwrap());
        let file = File::options().read(true).write(true).open(&root.files()[0]).unwrap();
        let mut before = Vec::new();
        stage.memory(&mut before);
        let bytes = stage.held.bytes();
        let found = before.windows(bytes.len()).position(|window| window == bytes).unwrap();
        let held = (stage.held.number, found as u64);
        Twin { file, held, before, ledger: stage.survivor.1.clone(), keeper, root }
    }

    fn newcomers_find_all_in_order(&mut self, memory: &[u8], watch: &Watch) {
        for lets_go in [false, true] {
            // First a survivor, who has read all that was there; then what the peer has done since.
            self.file.write_all_at(&self.before, 0).unwrap();
            let (mut subscriber, _) = survivor(&self.root);
            let mut ledger = self.ledger.clone();
            self.file.write_all_at(memory, 0).unwrap();
            let mut free = WITHOUT_TWO;
            if lets_go {
                // What was passed stays passed, also if nobody holds it any more.
                ledger.drain(&mut subscriber).unwrap();
                self.keeper = None;
                self.keeper = Some(Subscriber::new(small(self.root.path())).unwrap());
                free.held = 0;
            }
            let survivor = Some((&mut subscriber, &mut ledger));
            nothing_is_lost(&small(self.root.path()), free, survivor, watch);
            assert_eq!(ledger.missed, self.ledger.missed, "a message is lost");
            if !lets_go {
                self.held_is_unchanged();
            }
        }
    }

    fn held_is_unchanged(&self) {
        let (number, offset) = self.held;
        let held = Numbered::new(number);
        let mut bytes = [0; size_of::<Numbered>()];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        let words = bytes.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        assert!(words.eq([held.number].into_iter().chain(held.words)), "a held message is changed");
    }
}

#[test]
fn killed_at_any_instruction_it_harms_nobody() {
    if !STEPS {
        return;
    }
    let base = Root::new();
    let watch = Guard::over(&base);
    stay_on_this_processor();
    let roles = [
        ("step-send", 0),
        ("step-loan", 0),
        ("step-recv", 0),
        ("step-wait", 0),
        ("step-live", 0),
        ("step-live", 1),
    ];
    for (role, dead) in roles {
        let root = Root::within(base.path());
        let Some(mut stage) = Stage::set(&root, role, dead) else { return };
        let mut twin = Twin::of(&stage, &base);
        let (mut instructions, mut changes) = (0_u32, vec![0]);
        let (mut last, mut memory) = (twin.before.clone(), Vec::new());
        twin.newcomers_find_all_in_order(&last, &watch);
        loop {
            match stage.peer.run(Run::OneInstruction) {
                Stop::There => instructions += 1,
                stop => break assert_eq!(stop, Stop::Mark),
            }
            stage.memory(&mut memory);
            if memory != last {
                // For those who stay it has only stopped.
                stage.survivor.1.drain(&mut stage.survivor.0).unwrap();
                twin.newcomers_find_all_in_order(&memory, &watch);
                changes.push(instructions);
                std::mem::swap(&mut memory, &mut last);
            }
        }
        stage.kill(&root, &watch);
        // Some of them for real, to show that it is the same. The way to later ones is too long.
        let near: Vec<u32> = changes.iter().copied().filter(|n| *n < 10_000).collect();
        let real: Vec<u32> = near.iter().copied().step_by(near.len() / 8 + 1).collect();
        for instruction in &real {
            let root = Root::within(base.path());
            let Some(mut stage) = Stage::set(&root, role, dead) else { return };
            for _ in 0..*instruction {
                let stop = stage.peer.run(Run::OneInstruction);
                // Who waits does so by the clock, and this time it may have taken fewer instructions.
                if role == "step-wait" && stop == Stop::Mark {
                    break;
                }
                assert_eq!(stop, Stop::There);
            }
            stage.kill(&root, &watch);
        }
        report(format_args!(
            "{role}: killed at any of {instructions} instructions, {} of which change the memory, \
             {} times for real; {}",
            changes.len(),
            real.len(),
            watch.nobody_was_delayed()
        ));
    }
}

/// Somebody reads, holds and lets go while a publisher stands between two instructions.
#[test]
fn a_reader_may_do_anything_between_two_instructions_of_a_publisher() {
    if !STEPS {
        return;
    }
    let base = Root::new();
    let watch = Guard::over(&base);
    let (mut subscriber, mut ledger) = survivor(&base);
    let Some(mut peer) = trace(&base, "flood-in-steps", 0) else { return };
    stay_on_this_processor();
    peer.run_to_mark();
    let mut held = VecDeque::new();
    for step in 0..STEPS_OF_ONE {
        assert_eq!(peer.run(Run::OneInstruction), Stop::There);
        // First it keeps up, then it is lapped, then it comes now and then.
        let pace = [4, u64::MAX, u64::MAX, 400][(step * 4 / STEPS_OF_ONE) as usize];
        if random(pace) > 0 {
            continue;
        }
        held.iter().for_each(|sample: &Sample<Numbered>| sample.check().unwrap());
        while held.len() > random(4) as usize {
            held.rotate_left(random(2) as usize);
            held.pop_front();
        }
        if let Some(sample) = watch.time("recv", || subscriber.try_recv().unwrap()) {
            ledger.enter(&sample).unwrap();
            held.push_back(sample);
        }
    }
    peer.kill();
    let (received, missed) = (ledger.received, ledger.missed);
    assert!(missed > 0, "it was not lapped");
    held.iter().for_each(|sample| sample.check().unwrap());
    drop(held);
    let free = Free { subscribers: EVERYTHING.subscribers - 1, ..EVERYTHING };
    nothing_is_lost(&small(base.path()), free, Some((&mut subscriber, &mut ledger)), &watch);
    report(format_args!("{STEPS_OF_ONE} instructions: {received} messages read, {missed} missed"));
}

/// A publisher sends, a few messages or a lap of them, while a reader stands between two
/// instructions. The reader looks whether what it gets, and holds, is whole.
#[test]
fn a_publisher_may_do_anything_between_two_instructions_of_a_reader() {
    if !STEPS {
        return;
    }
    let base = Root::new();
    let watch = Guard::over(&base);
    let (mut subscriber, mut ledger) = survivor(&base);
    let mut publisher = Publisher::<Numbered>::new(small(base.path())).unwrap();
    let Some(mut peer) = trace(&base, "subscribe-in-steps", 0) else { return };
    stay_on_this_processor();
    peer.run_to_mark();
    for _ in 0..STEPS_OF_ONE / 2 {
        assert_eq!(peer.run(Run::OneInstruction), Stop::There);
        let count = if random(300) == 0 { random(80) } else { 0 };
        for _ in 0..count {
            let number = publisher.stats().published;
            watch.time("send", || publisher.send(&Numbered::new(number)).unwrap());
        }
    }
    let stats = publisher.stats();
    peer.kill();
    drop(publisher);
    let free = Free { subscribers: EVERYTHING.subscribers - 1, ..EVERYTHING };
    nothing_is_lost(&small(base.path()), free, Some((&mut subscriber, &mut ledger)), &watch);
    assert!(stats.skipped_slots > 0, "it has held nothing");
    report(format_args!(
        "{} instructions: {} messages sent, {} slots passed",
        STEPS_OF_ONE / 2,
        stats.sent,
        stats.skipped_slots
    ));
}
