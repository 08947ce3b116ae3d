//! Push and pull within one process: what the handles of a queue promise.

mod common;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use shm_comm::{
    AttachError, Channel, Job, Payload, Publisher, Puller, PullerOptions, PushError, Pusher,
    PusherOptions, QueueStats, RecvError, ShmMessage, Subscriber, Wait, WaitError,
};

/// Nothing takes so long.
const SOON: Duration = Duration::from_secs(20);
/// Long enough for somebody to be asleep.
const A_WHILE: Duration = Duration::from_millis(30);

const WAITS: [Wait; 4] =
    [Wait::Spin, Wait::Sleep, Wait::SpinThenSleep(Duration::ZERO), Wait::SpinThenSleep(A_WHILE)];

/// A root folder of its own for each test, gone with it. Whoever leaves something there says so.
struct Root {
    folder: tempfile::TempDir,
    is_left: Cell<bool>,
}

impl Root {
    fn new() -> Root {
        Root { folder: common::private_folder(), is_left: Cell::new(false) }
    }
    fn channel(&self) -> Channel {
        Channel::new("test/jobs").root(self.folder.path())
    }
    fn depth(&self, depth: u32) -> Channel {
        self.channel().depth(depth)
    }
    fn pusher(&self) -> Pusher<u64> {
        Pusher::new(self.channel()).unwrap()
    }
    fn puller(&self) -> Puller<u64> {
        Puller::new(self.channel()).unwrap()
    }
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if !thread::panicking() && !self.is_left.get() {
            assert_eq!(self.files(), [""; 0], "something is left behind");
        }
    }
}

#[track_caller]
fn next<T: Payload + ?Sized>(puller: &mut Puller<T>) -> Job<T> {
    puller.recv_timeout(SOON).unwrap().expect("a job")
}

/// Does the next job, and says which it was.
#[track_caller]
fn work(puller: &mut Puller<u64>) -> u64 {
    let job = next(puller);
    let number = *job;
    job.done();
    number
}

/// Does all jobs that are there.
fn work_off(puller: &mut Puller<u64>) -> Vec<u64> {
    let mut done = Vec::new();
    while let Some(job) = puller.try_recv().unwrap() {
        done.push(*job);
        job.done();
    }
    done
}

fn push(pusher: &mut Pusher<u64>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert!(pusher.send_timeout(&number, SOON).unwrap(), "no room for {number}");
    }
}

/// What a thread returns that is to end soon.
#[track_caller]
fn join<T>(thread: JoinHandle<T>) -> T {
    wait_until("the thread ends", || thread.is_finished());
    thread.join().unwrap()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Command {
    speed: f64,
    gear: Gear,
    brake: bool,
    _pad0: [u8; 6],
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Gear {
    Neutral = 0,
    Forward = 1,
    Back = 2,
}

const COMMAND: Command = Command { speed: 1.0, gear: Gear::Back, brake: true, _pad0: [0; 6] };

// ── what goes in comes out ───────────────────────────────────────────────────────────────────────

#[test]
fn a_job_arrives_in_either_order_of_start() {
    for pusher_first in [true, false] {
        let root = Root::new();
        let early = pusher_first.then(|| Pusher::<[f64; 7]>::new(root.channel()).unwrap());
        let mut puller = Puller::<[f64; 7]>::new(root.channel()).unwrap();
        let mut pusher = early.unwrap_or_else(|| Pusher::new(root.channel()).unwrap());
        pusher.send(&[0.5; 7]).unwrap();
        let job = next(&mut puller);
        assert_eq!((*job, job.deliveries()), ([0.5; 7], 1));
        assert_eq!(job.bytes(), [0.5f64.to_ne_bytes(); 7].concat());
        job.done();
        assert!(puller.try_recv().unwrap().is_none());
        assert_eq!(root.files(), ["test%2Fjobs.queue"]);
    }
}

#[test]
fn jobs_that_were_pushed_before_there_is_a_puller_wait_for_it() {
    let root = Root::new();
    let mut pusher = root.pusher();
    push(&mut pusher, 0..256);
    let mut puller = root.puller();
    assert_eq!(work_off(&mut puller), (0..256).collect::<Vec<_>>());
}

#[test]
fn every_way_to_fill_a_loan_arrives() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    pusher.loan().unwrap().write(1);
    let mut loan = pusher.loan().unwrap().init(40);
    *loan += 2;
    assert_eq!(*loan, 42);
    loan.send();
    let loan = pusher.loan().unwrap().zeroed();
    assert_eq!(*loan, 0);
    loan.send();
    let mut loan = pusher.loan().unwrap().reused();
    *loan = 4;
    loan.send();
    pusher.send(&5).unwrap();
    let mut loan = pusher.loan().unwrap();
    // SAFETY: The pointer is to the slot; all of it is written before it is sent.
    unsafe { loan.as_mut_ptr().write(6) };
    // SAFETY: As above.
    unsafe { loan.assume_init() }.send();
    pusher.try_loan().unwrap().unwrap().write(7);
    pusher.loan_timeout(SOON).unwrap().unwrap().write(8);
    assert!(pusher.try_send(&9).unwrap());
    assert!(pusher.send_timeout(&10, SOON).unwrap());
    assert_eq!(work_off(&mut puller), [1, 42, 0, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_reused_loan_has_what_an_older_job_left_and_a_zeroed_one_has_not() {
    let root = Root::new();
    let mut pusher = Pusher::<[u64; 4]>::new(root.depth(1)).unwrap();
    let mut puller = Puller::<[u64; 4]>::new(root.channel()).unwrap();
    pusher.send(&[7; 4]).unwrap();
    next(&mut puller).done();
    assert_eq!(*pusher.loan().unwrap().reused(), [7; 4]);
    pusher.loan().unwrap().zeroed().send();
    let job = next(&mut puller);
    assert_eq!(*job, [0; 4]);
    job.done();
}

#[test]
fn a_loan_that_is_dropped_pushes_nothing_and_its_slot_serves_others() {
    let root = Root::new();
    for depth in [1, 2, 3] {
        let mut pusher = Pusher::<u64>::new(root.depth(depth)).unwrap();
        let mut puller = root.puller();
        for round in 0..20 {
            drop(pusher.loan().unwrap());
            drop(pusher.try_loan().unwrap().unwrap().init(666));
            pusher.loan().unwrap().write(round);
            assert_eq!(work_off(&mut puller), [round], "depth {depth}");
        }
        assert_eq!(pusher.stats().free, depth);
    }
}

#[test]
fn the_slot_of_a_forgotten_loan_is_free_again_when_its_pusher_is_gone() {
    let root = Root::new();
    let mut puller = Puller::<u64>::new(root.depth(2)).unwrap();
    let mut careless = root.pusher();
    std::mem::forget(careless.loan().unwrap());
    std::mem::forget(careless.loan().unwrap().init(1));
    let mut pusher = root.pusher();
    assert!(!pusher.try_send(&2).unwrap());
    drop(careless);
    push(&mut pusher, 2..4);
    assert_eq!(work_off(&mut puller), [2, 3]);
}

#[test]
fn jobs_come_out_in_the_order_in_which_they_went_in_whichever_puller_takes_them() {
    for depth in [1, 2, 3, 7, 64] {
        let root = Root::new();
        let mut pusher = Pusher::<u64>::new(root.depth(depth)).unwrap();
        let mut pullers = [root.puller(), root.puller(), root.puller()];
        let (mut pushed, mut done) = (0, 0);
        for round in 0..300 {
            for _ in 0..=(round * 7) % u64::from(depth) {
                pushed += u64::from(pusher.try_send(&pushed).unwrap());
            }
            for _ in 0..=(round * 5) % u64::from(depth) {
                if let Some(job) = pullers[done as usize % 3].try_recv().unwrap() {
                    assert_eq!(*job, done, "depth {depth}");
                    done += 1;
                    job.done();
                }
            }
        }
        assert!(done >= 100, "depth {depth}: {done}");
        work_off(&mut pullers[0]);
    }
}

/// Numbers in the order of each pusher, in a queue of this depth, through several workers at a time.
fn many_push_and_many_pull(depth: u32, jobs: u64) {
    const PUSHERS: u64 = 3;
    const PULLERS: usize = 3;
    let root = Root::new();
    let keeper = Pusher::<[u64; 2]>::new(root.depth(depth)).unwrap();
    let pullers: Vec<_> = (0..PULLERS)
        .map(|_| {
            let mut puller = Puller::<[u64; 2]>::new(root.channel()).unwrap();
            thread::spawn(move || {
                let mut done: [Vec<u64>; PUSHERS as usize] = Default::default();
                loop {
                    let job = next(&mut puller);
                    let [pusher, number] = *job;
                    job.done();
                    if pusher == PUSHERS {
                        return done;
                    }
                    done[pusher as usize].push(number);
                }
            })
        })
        .collect();
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|id| {
            let mut pusher = Pusher::<[u64; 2]>::new(root.channel()).unwrap();
            thread::spawn(move || {
                for number in 0..jobs {
                    match number % 5 {
                        0 => {
                            let loan = pusher.loan_timeout(SOON).unwrap().expect("room");
                            // Others overtake it.
                            thread::yield_now();
                            loan.write([id, number]);
                        }
                        1 => {
                            drop(pusher.try_loan().unwrap());
                            assert!(pusher.send_timeout(&[id, number], SOON).unwrap());
                        }
                        _ => assert!(pusher.send_timeout(&[id, number], SOON).unwrap()),
                    }
                }
            })
        })
        .collect();
    pushers.into_iter().for_each(join);
    let mut last = Pusher::<[u64; 2]>::new(root.channel()).unwrap();
    for _ in 0..PULLERS {
        assert!(last.send_timeout(&[PUSHERS, 0], SOON).unwrap());
    }
    let mut all: [Vec<u64>; PUSHERS as usize] = Default::default();
    for puller in pullers {
        for (all, done) in all.iter_mut().zip(join(puller)) {
            assert!(done.is_sorted(), "depth {depth}: not in order");
            all.extend(done);
        }
    }
    for mut all in all {
        all.sort_unstable();
        assert!(all.into_iter().eq(0..jobs), "depth {depth}: each of them once");
    }
    let stats = keeper.stats();
    assert_eq!((stats.pushed, stats.delivered), (PUSHERS * jobs + 3, PUSHERS * jobs + 3));
    assert_eq!((stats.free, stats.redelivered), (depth, 0));
}

#[test]
fn jobs_of_each_pusher_stay_in_order_while_many_push_and_pull() {
    for (depth, jobs) in [(1, 500), (2, 1000), (5, 4000), (64, 10_000)] {
        many_push_and_many_pull(depth, jobs);
    }
}

// ── full ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn full_is_a_value_and_nothing_is_dropped() {
    for wait in WAITS {
        let root = Root::new();
        let options = PusherOptions::new().wait(wait);
        let mut pusher = Pusher::<u64>::with(root.depth(4), options).unwrap();
        let mut puller = root.puller();
        for number in 0..4 {
            assert!(pusher.try_send(&number).unwrap());
        }
        for time in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(130)] {
            assert!(!pusher.try_send(&4).unwrap());
            assert!(pusher.try_loan().unwrap().is_none());
            let start = Instant::now();
            assert!(!pusher.send_timeout(&4, time).unwrap());
            assert!(start.elapsed() >= time);
            let start = Instant::now();
            assert!(pusher.loan_timeout(time).unwrap().is_none());
            assert!(start.elapsed() >= time);
        }
        assert_eq!(work(&mut puller), 0);
        assert!(pusher.try_send(&4).unwrap());
        assert!(!pusher.try_send(&5).unwrap());
        assert_eq!(work_off(&mut puller), [1, 2, 3, 4]);
    }
}

#[test]
fn a_blocked_send_goes_on_when_a_job_is_done() {
    for wait in WAITS {
        let root = Root::new();
        let options = PusherOptions::new().wait(wait);
        let mut pusher = Pusher::<u64>::with(root.depth(2), options).unwrap();
        let mut puller = root.puller();
        push(&mut pusher, 0..2);
        for number in 2..12 {
            let sender = thread::spawn(move || {
                if number % 2 == 0 {
                    pusher.send(&number).unwrap();
                } else {
                    pusher.loan().unwrap().write(number);
                }
                pusher
            });
            if number < 5 {
                thread::sleep(A_WHILE);
                assert!(!sender.is_finished(), "there is no room");
            }
            assert_eq!(work(&mut puller), number - 2);
            pusher = join(sender);
        }
        assert_eq!(work_off(&mut puller), [10, 11]);
    }
}

#[test]
fn a_job_that_is_held_makes_no_room_until_it_is_done() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(2)).unwrap();
    let mut puller = root.puller();
    push(&mut pusher, 0..2);
    let (first, second) = (next(&mut puller), next(&mut puller));
    assert!(!pusher.try_send(&2).unwrap());
    second.done();
    assert!(pusher.try_send(&2).unwrap());
    assert!(!pusher.try_send(&3).unwrap());
    first.done();
    assert_eq!(work_off(&mut puller), [2]);
}

#[test]
fn a_queue_of_one_slot_works() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(1)).unwrap();
    let mut puller = root.puller();
    for number in 0..1000 {
        assert!(pusher.try_send(&number).unwrap());
        assert!(!pusher.try_send(&666).unwrap());
        for times in 1..=number % 4 {
            let job = next(&mut puller);
            assert_eq!((*job, u64::from(job.deliveries())), (number, times));
            assert!(!pusher.try_send(&666).unwrap(), "held");
            assert!(puller.try_recv().unwrap().is_none());
            drop(job);
            assert!(!pusher.try_send(&666).unwrap(), "offered again");
        }
        assert_eq!(work(&mut puller), number);
        assert!(puller.try_recv().unwrap().is_none());
    }
}

// ── payloads ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn an_empty_job_arrives() {
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Stop;

    let root = Root::new();
    let mut pusher = Pusher::<Stop>::new(root.depth(3)).unwrap();
    let mut puller = Puller::<Stop>::new(root.channel()).unwrap();
    for _ in 0..20 {
        pusher.send(&Stop).unwrap();
        pusher.loan().unwrap().write(Stop);
        let job = next(&mut puller);
        assert_eq!((&*job, job.bytes()), (&Stop, &[][..]));
        job.done();
        assert_eq!(puller.take().unwrap(), Stop);
        assert!(puller.try_recv().unwrap().is_none());
    }
}

#[test]
fn a_job_of_megabytes_does_not_pass_over_the_stack() {
    const LEN: usize = 8 << 20;
    let root = Root::new();
    let channel = root.depth(2);
    let thread = thread::Builder::new().stack_size(256 << 10).spawn(move || {
        let mut pusher = Pusher::<[u8; LEN]>::new(&channel).unwrap();
        let mut puller = Puller::<[u8; LEN]>::new(&channel).unwrap();
        for round in 1..4 {
            let mut loan = pusher.loan().unwrap().zeroed();
            loan[LEN - 1] = round;
            loan.send();
            let job = next(&mut puller);
            assert_eq!((job[0], job[LEN - 1], job.bytes().len()), (0, round, LEN));
            job.done();
        }
    });
    join(thread.unwrap());
}

#[test]
fn slices_from_nothing_to_megabytes_arrive() {
    const LEN: usize = 8 << 20;
    let root = Root::new();
    let mut pusher = Pusher::<[u8]>::new(root.depth(2).max_len(LEN)).unwrap();
    let mut puller = Puller::<[u8]>::new(root.channel()).unwrap();
    assert_eq!(pusher.max_len(), LEN);
    let content = |len: usize| (0..len).map(move |i| (i * 31 + len) as u8);
    for len in [0, 1, 2, 7, 63, 64, 65, 4096, 1 << 20, LEN, 3, 0] {
        let bytes: Vec<u8> = content(len).collect();
        pusher.send(&bytes).unwrap();
        let mut loan = pusher.loan_with_len(len).unwrap().reused();
        assert_eq!(loan.len(), len);
        loan.copy_from_slice(&bytes);
        loan.send();
        for _ in 0..2 {
            let job = next(&mut puller);
            assert!(*job == bytes[..], "{len}");
            assert!(job.bytes() == bytes, "{len}");
            job.done();
        }
    }
}

#[derive(ShmMessage, Debug)]
#[repr(C)]
struct Scan {
    stamp: u64,
    flag: bool,
    ranges: [u8],
}

#[test]
fn a_struct_that_ends_in_a_slice_is_filled_in_place() {
    let root = Root::new();
    let mut pusher = Pusher::<Scan>::new(root.depth(3).max_len(16)).unwrap();
    let mut puller = Puller::<Scan>::new(root.channel()).unwrap();
    for len in (0..=16).chain([0, 3]) {
        let mut loan = match len % 3 {
            0 => pusher.loan_with_len(len).unwrap(),
            1 => pusher.try_loan_with_len(len).unwrap().unwrap(),
            _ => pusher.loan_with_len_timeout(len, SOON).unwrap().unwrap(),
        }
        .zeroed();
        (loan.stamp, loan.flag) = (len as u64, true);
        loan.ranges.fill(7);
        loan.send();
        let job = next(&mut puller);
        assert_eq!((job.stamp, job.flag), (len as u64, true));
        assert_eq!(job.ranges, vec![7; len]);
        assert_eq!(job.bytes().len(), 9 + len);
        // From one slot to another.
        pusher.send(&job).unwrap();
        job.done();
        let again = next(&mut puller);
        assert_eq!((again.stamp, &again.ranges), (len as u64, &vec![7; len][..]));
        again.done();
    }
    for _ in 0..3 {
        pusher.loan_with_len(1).unwrap().zeroed().send();
    }
    assert!(pusher.try_loan_with_len(1).unwrap().is_none());
    assert!(pusher.loan_with_len_timeout(1, Duration::from_millis(5)).unwrap().is_none());
    while let Some(job) = puller.try_recv().unwrap() {
        job.done();
    }
}

#[test]
fn more_elements_than_there_is_room_for_are_an_error_with_both_numbers() {
    let root = Root::new();
    let mut pusher = Pusher::<[u16]>::new(root.depth(1).max_len(10)).unwrap();
    let mut puller = Puller::<[u16]>::new(root.channel()).unwrap();
    let error = pusher.send(&[0; 11]).unwrap_err();
    assert!(matches!(error, PushError::TooLong { len: 11, max_len: 10, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "queue \"test/jobs\": a job of 11 elements, 10 are possible (max_len)"
    );
    assert!(matches!(pusher.loan_with_len(usize::MAX), Err(PushError::TooLong { .. })));
    assert!(matches!(pusher.try_send(&[0; 12]), Err(PushError::TooLong { .. })));
    assert!(puller.try_recv().unwrap().is_none(), "nothing was pushed");
    pusher.send(&[1; 10]).unwrap();
    let job = next(&mut puller);
    assert_eq!(*job, [1; 10]);
    job.done();
}

#[cfg(feature = "msgpack")]
mod encoded {
    use super::*;
    use serde::{Deserialize, Serialize};
    use shm_comm::{EncodeError, Msgpack};

    #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
    struct Plan {
        name: String,
        stops: Vec<[f64; 2]>,
    }

    fn plan(stops: usize) -> Plan {
        Plan { name: "dock".to_owned(), stops: vec![[0.25, -1.5]; stops] }
    }

    /// Another type of the same name.
    mod other {
        use super::*;

        #[derive(Serialize, Deserialize)]
        pub struct Plan {
            pub stops: String,
        }
    }

    #[test]
    fn encoded_jobs_arrive_and_are_given_back_and_taken() {
        let root = Root::new();
        let mut pusher = Pusher::<Msgpack<Plan>>::new(root.depth(2)).unwrap();
        let mut puller = Puller::<Msgpack<Plan>>::new(root.channel()).unwrap();
        for stops in 0..100 {
            pusher.send(&plan(stops)).unwrap();
            drop(next(&mut puller));
            let job = next(&mut puller);
            assert_eq!((&*job, job.deliveries()), (&plan(stops), 2));
            job.done();
        }
        assert!(pusher.try_send(&plan(1)).unwrap());
        assert!(pusher.send_timeout(&plan(2), SOON).unwrap());
        assert!(!pusher.try_send(&plan(3)).unwrap());
        assert!(!pusher.send_timeout(&plan(3), Duration::from_millis(5)).unwrap());
        assert_eq!(puller.take().unwrap(), plan(1));
        assert_eq!(puller.take().unwrap(), plan(2));
        assert!(puller.try_recv().unwrap().is_none());
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_both_numbers_and_pushes_nothing() {
        let root = Root::new();
        let mut pusher = Pusher::<Msgpack<Vec<u8>>>::new(root.depth(1).max_len(100)).unwrap();
        let mut puller = Puller::<Msgpack<Vec<u8>>>::new(root.channel()).unwrap();
        for _ in 0..10 {
            let error = pusher.send(&vec![0; 100]).unwrap_err();
            let PushError::Encode { error: EncodeError::TooLong { needed, max: 100, .. }, .. } =
                error
            else {
                panic!("{error}")
            };
            assert_eq!(needed, 103);
            assert!(puller.try_recv().unwrap().is_none());
        }
        pusher.send(&vec![7; 97]).unwrap();
        assert_eq!(puller.take().unwrap(), [7; 97]);
    }

    #[test]
    fn what_cannot_be_decoded_becomes_a_dead_letter_and_the_next_job_comes() {
        let root = Root::new();
        let mut bad = Pusher::<Msgpack<other::Plan>>::new(root.depth(2)).unwrap();
        let mut good = Pusher::<Msgpack<Plan>>::new(root.channel()).unwrap();
        let mut puller = Puller::<Msgpack<Plan>>::new(root.channel()).unwrap();
        bad.send(&other::Plan { stops: "none".to_owned() }).unwrap();
        good.send(&plan(1)).unwrap();
        let error = puller.recv_timeout(SOON).unwrap_err();
        assert!(matches!(error, RecvError::Decode { .. }), "{error}");
        assert_eq!(puller.take().unwrap(), plan(1));
        assert_eq!(puller.stats().dead_letters, 1);
        // Somebody with the right type can read it.
        let mut right = Puller::<Msgpack<other::Plan>>::new(root.channel()).unwrap();
        assert_eq!(right.dead_letters().unwrap().unwrap().stops, "none");
        // Nobody else can, and then it is gone.
        let error = puller.dead_letters().unwrap_err();
        assert!(matches!(error, RecvError::Decode { .. }), "{error}");
        assert!(puller.dead_letters().unwrap().is_none());
        assert_eq!(puller.stats().dead_letters, 0);
    }
}

// ── given back ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_dropped_job_is_offered_again_at_once_with_its_count_one_higher() {
    let root = Root::new();
    let mut pusher = root.pusher();
    let mut pullers = [root.puller(), root.puller()];
    push(&mut pusher, 0..3);
    for deliveries in 1..=7 {
        let job = pullers[deliveries as usize % 2].try_recv().unwrap().expect("at once");
        assert_eq!((*job, job.deliveries()), (0, deliveries));
        // The other one does not get it meanwhile.
        let other = pullers[1 - deliveries as usize % 2].try_recv().unwrap().unwrap();
        assert_ne!(*other, 0);
        other.done();
        push(&mut pusher, 10..11);
        drop(job);
    }
    let job = pullers[0].try_recv().unwrap().unwrap();
    assert_eq!((*job, job.deliveries()), (0, 8));
    job.done();
    work_off(&mut pullers[0]);
}

#[test]
fn a_worker_that_returns_early_or_panics_loses_nothing() {
    fn fails(puller: &mut Puller<u64>) -> Result<(), String> {
        let job = puller.recv_timeout(SOON).map_err(|error| error.to_string())?.ok_or("none")?;
        let _number: u8 = format!("x{}", *job).parse().map_err(|_| "no number")?;
        job.done();
        Ok(())
    }
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    push(&mut pusher, 7..8);
    assert_eq!(fails(&mut puller), Err("no number".to_owned()));
    let panics = thread::spawn(move || {
        let job = next(&mut puller);
        assert_eq!((*job, job.deliveries()), (7, 2));
        std::panic::resume_unwind(Box::new("the worker fails"));
    });
    wait_until("the worker fails", || panics.is_finished());
    assert!(panics.join().is_err());
    let mut puller = root.puller();
    let job = next(&mut puller);
    assert_eq!((*job, job.deliveries()), (7, 3));
    job.done();
    assert!(puller.try_recv().unwrap().is_none());
}

#[test]
fn a_sleeping_worker_hears_of_a_job_that_another_gives_back() {
    for wait in WAITS {
        let root = Root::new();
        let (mut pusher, mut first) = (root.pusher(), root.puller());
        let options = PullerOptions::new().wait(wait);
        let mut second = Puller::<u64>::with(root.channel(), options).unwrap();
        push(&mut pusher, 1..2);
        let job = next(&mut first);
        let waiting = thread::spawn(move || {
            let job = next(&mut second);
            let found = (*job, job.deliveries());
            job.done();
            found
        });
        thread::sleep(A_WHILE);
        drop(job);
        assert_eq!(join(waiting), (1, 2));
    }
}

#[test]
fn a_dropped_job_comes_first_though_the_queue_is_full_of_others() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(16)).unwrap();
    let (mut careless, mut puller) = (root.puller(), root.puller());
    let mut pushed = 0;
    let mut fill = |pusher: &mut Pusher<u64>| {
        while pusher.try_send(&pushed).unwrap() {
            pushed += 1;
        }
    };
    for _ in 0..100 {
        fill(&mut pusher);
        let job = next(&mut careless);
        let number = *job;
        fill(&mut pusher);
        drop(job);
        let again = next(&mut puller);
        assert_eq!((*again, again.deliveries()), (number, 2));
        again.done();
        work(&mut puller);
    }
    work_off(&mut puller);
}

#[test]
fn several_jobs_that_are_dropped_at_a_time_all_come_before_the_queue_has_gone_round() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(16)).unwrap();
    let mut puller = root.puller();
    let mut pushed = 0;
    let mut fill = |pusher: &mut Pusher<u64>| {
        while pusher.try_send(&pushed).unwrap() {
            pushed += 1;
        }
    };
    for _ in 0..50 {
        fill(&mut pusher);
        let held: Vec<_> = (0..5).map(|_| next(&mut puller)).collect();
        let mut expected: Vec<u64> = held.iter().map(|job| **job).collect();
        drop(held);
        let mut again = Vec::new();
        for _ in 0..16 {
            let job = next(&mut puller);
            if job.deliveries() == 2 {
                again.push(*job);
            }
            job.done();
            fill(&mut pusher);
        }
        again.sort_unstable();
        expected.sort_unstable();
        assert_eq!(again, expected);
    }
    work_off(&mut puller);
}

#[test]
fn several_jobs_that_are_dropped_at_a_time_are_offered_again_at_once() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(16)).unwrap();
    let mut puller = root.puller();
    push(&mut pusher, 0..16);
    drop([(); 5].map(|()| next(&mut puller)));
    for number in 0..5 {
        let job = next(&mut puller);
        let found = (*job, job.deliveries());
        job.done();
        if found != (number, 2) {
            work_off(&mut puller);
            panic!("{found:?} comes before {number}");
        }
    }
    work_off(&mut puller);
}

#[test]
fn no_job_is_lost_or_done_twice_by_workers_that_give_back_every_third() {
    const JOBS: u64 = 5_000;
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(32)).unwrap();
    let dropped: &'static [AtomicU64] = Vec::leak((0..=JOBS).map(|_| AtomicU64::new(0)).collect());
    let is_over: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..3)
        .map(|id| {
            let options = PullerOptions::new().max_deliveries(15);
            let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
            thread::spawn(move || {
                let mut done = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let Some(job) = puller.recv_timeout(Duration::from_millis(5)).unwrap() else {
                        continue;
                    };
                    let number = *job;
                    let before = dropped[number as usize].load(Ordering::Relaxed);
                    assert_eq!(u64::from(job.deliveries()), before + 1, "job {number}");
                    if (number + before + id).is_multiple_of(3) && before < 10 {
                        dropped[number as usize].fetch_add(1, Ordering::Relaxed);
                        drop(job);
                    } else {
                        job.done();
                        done.push(number);
                    }
                }
                done
            })
        })
        .collect();
    push(&mut pusher, 0..JOBS);
    wait_until("all is done", || pusher.stats().free == 32);
    is_over.store(true, Ordering::Relaxed);
    let mut done: Vec<u64> = workers.into_iter().flat_map(join).collect();
    done.sort_unstable();
    assert!(done.into_iter().eq(0..JOBS), "each of them once");
    let again: u64 = dropped.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let stats = pusher.stats();
    assert_eq!((stats.pushed, stats.delivered, stats.redelivered), (JOBS, JOBS + again, again));
    assert_eq!((stats.dead_lettered, stats.dead_letters), (0, 0));
}

#[test]
fn a_job_that_is_taken_is_done_in_one_step() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    push(&mut pusher, 0..3);
    assert_eq!((puller.take().unwrap(), puller.take().unwrap()), (0, 1));
    assert_eq!(puller.stats().queued, 1);
    drop(puller);
    assert_eq!(root.puller().take().unwrap(), 2);
    assert_eq!(pusher.stats().free, 256);
    let mut puller = root.puller();
    let blocked = thread::spawn(move || puller.take().unwrap());
    thread::sleep(A_WHILE);
    push(&mut pusher, 3..4);
    assert_eq!(join(blocked), 3);
}

// ── dead letters ─────────────────────────────────────────────────────────────────────────────────

/// All dead letters in one round, with how often they were delivered.
fn letters(puller: &mut Puller<u64>) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    while let Some(letter) = puller.dead_letters().unwrap() {
        found.push((*letter, letter.deliveries()));
    }
    found.sort_unstable();
    found
}

/// Removes all dead letters.
fn drain(puller: &mut Puller<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(letter) = puller.dead_letters().unwrap() {
        found.push(*letter);
        letter.done();
    }
    found.sort_unstable();
    found
}

#[test]
fn a_job_that_is_delivered_too_often_becomes_a_dead_letter() {
    for (limit, options) in [
        (8, PullerOptions::new()),
        (1, PullerOptions::new().max_deliveries(1)),
        (2, PullerOptions::new().max_deliveries(2)),
        (15, PullerOptions::new().max_deliveries(15)),
    ] {
        let root = Root::new();
        let mut pusher = root.pusher();
        let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
        push(&mut pusher, 5..6);
        for deliveries in 1..=limit {
            let job = next(&mut puller);
            assert_eq!((*job, job.deliveries()), (5, deliveries));
            drop(job);
        }
        assert!(puller.try_recv().unwrap().is_none());
        assert_eq!((puller.stats().dead_letters, puller.stats().dead_lettered), (1, 1));
        // To look at it does not count.
        for _ in 0..20 {
            assert_eq!(letters(&mut puller), [(5, limit)]);
        }
        assert_eq!(drain(&mut puller), [5]);
        assert_eq!(letters(&mut puller), []);
        assert_eq!((puller.stats().dead_letters, puller.stats().dead_lettered), (0, 1));
    }
}

#[test]
fn a_limit_that_cannot_be_counted_to_is_refused() {
    let root = Root::new();
    for limit in [0, 16, 255] {
        let options = PullerOptions::new().max_deliveries(limit);
        let error = Puller::<u64>::with(root.channel(), options).unwrap_err();
        assert!(
            matches!(error, AttachError::BadOption { option: "max_deliveries", .. }),
            "{error}"
        );
    }
}

#[test]
fn each_puller_goes_by_its_own_limit() {
    let root = Root::new();
    let mut pusher = root.pusher();
    let strict = PullerOptions::new().max_deliveries(2);
    let mut strict = Puller::<u64>::with(root.channel(), strict).unwrap();
    let mut patient = root.puller();
    push(&mut pusher, 1..2);
    for _ in 0..4 {
        drop(next(&mut patient));
    }
    drop(next(&mut strict));
    assert!(patient.try_recv().unwrap().is_none());
    assert_eq!(letters(&mut patient), [(1, 5)]);
    drain(&mut strict);
}

#[test]
fn a_rejected_job_is_a_dead_letter_until_somebody_removes_it() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    push(&mut pusher, 0..6);
    drop(next(&mut puller));
    for number in 0..6 {
        let job = next(&mut puller);
        assert_eq!(*job, number);
        if number % 2 == 0 { job.reject() } else { job.done() }
    }
    assert!(puller.try_recv().unwrap().is_none());
    assert_eq!(letters(&mut puller), [(0, 2), (2, 1), (4, 1)]);

    // One that is looked at is nobody else's meanwhile.
    let letter = puller.dead_letters().unwrap().unwrap();
    let mut other = root.puller();
    assert_eq!(letters(&mut other).len(), 2);
    letter.reject();
    assert_eq!(letters(&mut other).len(), 3);
    assert_eq!(other.stats().dead_lettered, 3, "each of them once");

    // To offer one again a copy is pushed.
    let letter = puller.dead_letters().unwrap().unwrap();
    pusher.send(&letter).unwrap();
    let number = *letter;
    letter.done();
    let job = next(&mut puller);
    assert_eq!((*job, job.deliveries()), (number, 1));
    job.done();
    assert_eq!(drain(&mut other).len(), 2);
}

#[test]
fn dead_letters_delay_nobody_until_they_fill_the_queue_and_then_a_pusher_is_told() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(4)).unwrap();
    let mut puller = root.puller();
    for dead in 0..4 {
        for number in 100..200 {
            push(&mut pusher, number..number + 1);
            assert_eq!(work(&mut puller), number, "{dead} dead letters");
        }
        push(&mut pusher, dead..dead + 1);
        next(&mut puller).reject();
    }
    let told = |result: Result<bool, PushError>| match result {
        Err(error @ PushError::DeadLetters { slots: 4, .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        let text = told(pusher.try_send(&9));
        assert_eq!(text, "queue \"test/jobs\": all 4 slots hold dead letters");
        told(pusher.send(&9).map(|()| true));
        told(pusher.send_timeout(&9, SOON));
        told(pusher.loan().map(|_| true));
        told(pusher.try_loan().map(|_| true));
        told(pusher.loan_timeout(SOON).map(|_| true));
    }
    let letter = puller.dead_letters().unwrap().unwrap();
    told(pusher.try_send(&9));
    letter.done();
    assert!(pusher.try_send(&9).unwrap());
    assert!(!pusher.try_send(&10).unwrap(), "full, but of something that will be done");
    assert_eq!(work(&mut puller), 9);
    assert_eq!(drain(&mut puller).len(), 3);
}

#[test]
fn a_blocked_send_is_told_when_the_last_slot_becomes_a_dead_letter() {
    for wait in WAITS {
        let root = Root::new();
        let options = PusherOptions::new().wait(wait);
        let mut pusher = Pusher::<u64>::with(root.depth(2), options).unwrap();
        let mut puller = root.puller();
        push(&mut pusher, 0..2);
        let blocked = thread::spawn(move || pusher.send(&2));
        next(&mut puller).reject();
        thread::sleep(A_WHILE);
        assert!(!blocked.is_finished());
        next(&mut puller).reject();
        let told = join(blocked);
        assert!(matches!(told, Err(PushError::DeadLetters { .. })), "{told:?}");
        drain(&mut puller);
    }
}

#[test]
fn a_blocked_send_goes_on_when_a_dead_letter_is_removed() {
    let root = Root::new();
    let options = PusherOptions::new().wait(Wait::Sleep);
    let mut pusher = Pusher::<u64>::with(root.depth(2), options).unwrap();
    let mut puller = root.puller();
    push(&mut pusher, 0..2);
    next(&mut puller).reject();
    let blocked = thread::spawn(move || pusher.send(&2).unwrap());
    thread::sleep(A_WHILE);
    assert_eq!(drain(&mut puller), [0]);
    join(blocked);
    assert_eq!(work_off(&mut puller), [1, 2]);
}

#[test]
fn a_job_that_is_no_value_becomes_a_dead_letter_and_the_error_names_the_field() {
    let root = Root::new();
    let mut pusher = Pusher::<Command>::new(root.channel()).unwrap();
    let mut puller = Puller::<Command>::new(root.channel()).unwrap();
    for (offset, garbage) in [(8, 3), (9, 2)] {
        let mut loan = pusher.loan().unwrap();
        let start = loan.as_mut_ptr();
        // SAFETY: The pointer is to a slot for a `Command`, which has more bytes.
        unsafe { start.write(COMMAND) };
        // SAFETY: As above.
        unsafe { start.cast::<u8>().add(offset).write(garbage) };
        // SAFETY: It is not, on purpose. Nothing here looks at it before it is checked.
        unsafe { loan.assume_init() }.send();
    }
    pusher.send(&COMMAND).unwrap();
    let field = |result: Result<Option<Job<Command>>, RecvError>| match result {
        Err(RecvError::Invalid { invalid, .. }) => invalid.field().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(puller.try_recv()), "gear");
    assert_eq!(field(puller.recv_timeout(SOON)), "brake");
    let job = next(&mut puller);
    assert_eq!((*job, job.deliveries()), (COMMAND, 1));
    job.done();
    assert_eq!(puller.stats().dead_letters, 2);
    // Nobody can read them, and so they go.
    let mut fields = [field(puller.dead_letters()), field(puller.dead_letters())];
    fields.sort();
    assert_eq!(fields, ["brake", "gear"]);
    assert!(puller.dead_letters().unwrap().is_none());
    assert_eq!(puller.stats().dead_letters, 0);
}

#[test]
fn every_element_of_a_job_is_checked() {
    let root = Root::new();
    let mut pusher = Pusher::<[bool]>::new(root.channel().max_len(4)).unwrap();
    let mut puller = Puller::<[bool]>::new(root.channel()).unwrap();
    let mut loan = pusher.loan_with_len(4).unwrap();
    // SAFETY: Room for four bytes.
    unsafe { loan.as_mut_ptr().cast::<[u8; 4]>().write([0, 1, 1, 3]) };
    // SAFETY: It is not true, which is what this is about: the puller sees to it.
    unsafe { loan.assume_init() }.send();
    pusher.send(&[true, false]).unwrap();
    let error = puller.try_recv().unwrap_err().to_string();
    assert!(error.contains("`[3]` holds [3]"), "{error}");
    let job = next(&mut puller);
    assert_eq!(*job, [true, false]);
    job.done();
    puller.dead_letters().unwrap_err();
}

/// Numbers that look like chance, and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

/// Whatever one does with jobs in whatever order, each of them is where it is expected, and the queue is full
/// only if something waits or nothing is free.
#[test]
fn a_queue_does_what_a_list_would_do() {
    for (depth, seed) in [1, 2, 3, 4, 7]
        .into_iter()
        .zip(1..)
        .cycle()
        .take(50)
        .zip(0..)
        .map(|((depth, first), seed)| (depth, first * 1000 + seed))
    {
        let root = Root::new();
        let mut chance = Chance(seed);
        let mut pusher = Pusher::<u64>::new(root.depth(depth)).unwrap();
        let options = || PullerOptions::new().max_deliveries(4);
        let mut pullers = [(); 2].map(|()| Puller::<u64>::with(root.channel(), options()).unwrap());
        // What is expected: jobs that wait, with how often they were delivered.
        let mut ready: Vec<(u64, u32)> = Vec::new();
        let mut held: Vec<Job<u64>> = Vec::new();
        let mut dead = 0;
        let (mut pushed, mut newest) = (0, 0);
        for step in 0..600 {
            let what = format!("depth {depth}, seed {seed}, step {step}");
            let used = ready.len() + held.len() + dead;
            match chance.below(10) {
                0..4 => match pusher.try_send(&(pushed + 1)) {
                    Ok(true) => {
                        assert!(used < depth as usize, "{what}: there was no room");
                        pushed += 1;
                        ready.push((pushed, 0));
                    }
                    Ok(false) => {
                        assert!(used == depth as usize || !ready.is_empty(), "{what}: not full");
                        assert_ne!(dead, depth as usize, "{what}: it will always be full");
                    }
                    Err(PushError::DeadLetters { .. }) => {
                        assert_eq!(dead, depth as usize, "{what}")
                    }
                    Err(error) => panic!("{what}: {error}"),
                },
                4..7 => match pullers[chance.below(2)].try_recv().unwrap() {
                    Some(job) => {
                        let expected = ready.iter().position(|(number, _)| number == &*job);
                        let (_, before) =
                            ready.remove(expected.unwrap_or_else(|| panic!("{what}")));
                        assert_eq!(job.deliveries(), before + 1, "{what}");
                        if before == 0 {
                            assert!(*job > newest, "{what}: {} after {newest}", *job);
                            newest = *job;
                        }
                        held.push(job);
                    }
                    None => assert_eq!(ready, [], "{what}: it was not found"),
                },
                _ if held.is_empty() => {}
                7 => held.swap_remove(chance.below(held.len())).done(),
                8 => {
                    let job = held.swap_remove(chance.below(held.len()));
                    if job.deliveries() < 4 {
                        ready.push((*job, job.deliveries()));
                    } else {
                        dead += 1;
                    }
                }
                _ => match pullers[0].dead_letters().unwrap() {
                    Some(letter) => {
                        letter.done();
                        dead -= 1;
                    }
                    None if chance.below(4) == 0 => {
                        held.swap_remove(chance.below(held.len())).reject();
                        dead += 1;
                    }
                    None => {}
                },
            }
            let stats = pusher.stats();
            let found = [stats.queued, stats.held, stats.dead_letters].map(|n| n as usize);
            assert_eq!(found, [ready.len(), held.len(), dead], "{what}");
        }
        held.into_iter().for_each(Job::done);
        assert_eq!(work_off(&mut pullers[0]).len(), ready.len());
        drain(&mut pullers[0]);
        assert_eq!(drain(&mut pullers[0]).len() + pusher.stats().dead_letters as usize, 0);
        assert_eq!(pusher.stats().free, depth);
    }
}

// ── what stays, and what goes ────────────────────────────────────────────────────────────────────

#[test]
fn jobs_outlive_everybody() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(5)).unwrap();
    push(&mut pusher, 0..3);
    drop(pusher);
    assert_eq!(root.files(), ["test%2Fjobs.queue"]);
    let mut puller = root.puller();
    assert_eq!(work(&mut puller), 0);
    let held = next(&mut puller);
    drop(puller);
    drop(held);
    assert_eq!(root.files(), ["test%2Fjobs.queue"]);
    // Nor does somebody take them for something stale.
    assert!(!root.channel().remove_stale().unwrap());
    let mut pusher = root.pusher();
    assert_eq!(pusher.stats().queued, 2);
    assert_eq!(pusher.stats().free, 3, "with the depth that it had");
    push(&mut pusher, 3..4);
    drop(pusher);
    let mut puller = root.puller();
    let job = next(&mut puller);
    assert_eq!((*job, job.deliveries()), (1, 2));
    job.done();
    assert_eq!(work_off(&mut puller), [2, 3]);
    drop(puller);
    assert_eq!(root.files(), [""; 0]);
}

#[test]
fn dead_letters_outlive_everybody() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    push(&mut pusher, 0..2);
    next(&mut puller).reject();
    next(&mut puller).reject();
    // Also one that is just looked at.
    let looked_at = puller.dead_letters().unwrap().unwrap();
    drop((pusher, puller));
    drop(looked_at);
    assert_eq!(root.files(), ["test%2Fjobs.queue"]);
    let mut puller = root.puller();
    assert!(puller.try_recv().unwrap().is_none());
    assert_eq!(drain(&mut puller), [0, 1]);
    drop(puller);
    assert_eq!(root.files(), [""; 0]);
}

#[test]
fn a_job_that_is_held_keeps_the_queue_when_all_handles_are_gone() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    push(&mut pusher, 0..1);
    // Nobody gives it back as long as this process lives.
    std::mem::forget(next(&mut puller));
    drop((pusher, puller));
    root.is_left.set(true);
    assert_eq!(root.files(), ["test%2Fjobs.queue"]);
    let mut puller = root.puller();
    assert!(puller.try_recv().unwrap().is_none());
    assert_eq!((puller.stats().held, puller.stats().queued), (1, 0));
    assert!(!root.channel().remove_stale().unwrap());
}

#[test]
fn an_empty_queue_is_removed_by_the_last_to_leave() {
    for order in 0..4 {
        let root = Root::new();
        let (mut pusher, mut puller) = (root.pusher(), root.puller());
        match order {
            0 => drop((puller, pusher)),
            1 => drop((pusher, puller)),
            2 => {
                push(&mut pusher, 0..10);
                drop(pusher);
                assert_eq!(work_off(&mut puller).len(), 10);
                drop(puller);
            }
            _ => {
                push(&mut pusher, 0..1);
                let job = next(&mut puller);
                drop((puller, pusher));
                assert_eq!(root.files().len(), 1);
                job.done();
            }
        }
        assert_eq!(root.files(), [""; 0], "{order}");
    }
}

#[test]
fn a_queue_a_topic_and_a_service_of_one_name_do_not_meet() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    let mut publisher = Publisher::<[u8; 3]>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<[u8; 3]>::new(root.channel()).unwrap();
    pusher.send(&1).unwrap();
    publisher.send(&[2; 3]).unwrap();
    assert_eq!(*subscriber.recv_timeout(SOON).unwrap().unwrap(), [2; 3]);
    assert_eq!(work(&mut puller), 1);
    assert_eq!(root.files().len(), 2);
}

// ── who decides what the queue is ────────────────────────────────────────────────────────────────

#[test]
fn options_that_one_side_sets_hold_for_both_in_either_order() {
    for pusher_sets in [true, false] {
        for pusher_first in [true, false] {
            let root = Root::new();
            let of = |sets: bool| if sets { root.depth(3) } else { root.channel() };
            let push_end = || Pusher::<u64>::new(of(pusher_sets)).unwrap();
            let pull_end = || Puller::<u64>::new(of(!pusher_sets)).unwrap();
            let (mut pusher, mut puller);
            if pusher_first {
                if !pusher_sets {
                    // A queue that is there, and in use, has the depth that it has.
                    let pusher = push_end();
                    let error = Puller::<u64>::new(root.depth(3)).unwrap_err();
                    assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{error}");
                    drop(pusher);
                    continue;
                }
                pusher = push_end();
                puller = pull_end();
            } else {
                puller = pull_end();
                pusher = push_end();
            }
            for number in 0..3 {
                assert!(pusher.try_send(&number).unwrap());
            }
            assert!(!pusher.try_send(&3).unwrap(), "{pusher_sets} {pusher_first}");
            for number in 0..3 {
                assert_eq!(work(&mut puller), number, "{pusher_sets} {pusher_first}");
            }
            assert_eq!(root.files().len(), 1);
        }
    }
}

#[test]
fn pullers_that_wait_follow_a_pusher_that_comes_with_another_depth() {
    for wait in WAITS {
        let root = Root::new();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let options = PullerOptions::new().wait(wait);
                let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
                thread::spawn(move || (work(&mut puller), work(&mut puller)))
            })
            .collect();
        thread::sleep(A_WHILE);
        let mut pusher = Pusher::<u64>::new(root.depth(9)).unwrap();
        assert!(pusher.wait_for_pullers(2, SOON).unwrap());
        push(&mut pusher, 0..4);
        let mut done: Vec<u64> =
            workers.into_iter().map(join).flat_map(|(one, two)| [one, two]).collect();
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2, 3]);
        assert_eq!(pusher.stats().free, 9);
    }
}

#[test]
fn a_puller_finds_the_jobs_of_pushers_of_other_depths_that_have_gone_again() {
    let root = Root::new();
    let mut puller = root.puller();
    for depth in [4, 9, 300, 2] {
        let mut pusher = Pusher::<u64>::new(root.depth(depth)).unwrap();
        push(&mut pusher, 0..2);
        drop(pusher);
        assert_eq!((work(&mut puller), work(&mut puller)), (0, 1), "depth {depth}");
        assert!(puller.try_recv().unwrap().is_none());
        assert_eq!(root.files().len(), 1);
    }
}

#[test]
fn a_puller_that_never_blocks_follows_too() {
    let root = Root::new();
    let mut puller = root.puller();
    let mut pusher = Pusher::<u64>::new(root.depth(4)).unwrap();
    push(&mut pusher, 0..1);
    let end = Instant::now() + SOON;
    let job = loop {
        if let Some(job) = puller.try_recv().unwrap() {
            break job;
        }
        assert!(Instant::now() < end);
    };
    job.done();
}

#[test]
fn a_puller_that_waits_for_pushers_counts_one_that_has_replaced_the_queue() {
    let root = Root::new();
    let mut puller = root.puller();
    let pusher = Pusher::<u64>::new(root.depth(4)).unwrap();
    assert!(puller.wait_for_pushers(1, Duration::from_secs(1)).unwrap());
    assert_eq!(puller.pushers(), 1);
    drop(pusher);
}

#[test]
fn a_puller_that_only_looks_for_dead_letters_finds_them_after_the_queue_was_replaced() {
    let root = Root::new();
    let mut undertaker = root.puller();
    let mut pusher = Pusher::<u64>::new(root.depth(4)).unwrap();
    push(&mut pusher, 5..6);
    next(&mut root.puller()).reject();
    let found = drain(&mut undertaker);
    // So that nothing is left behind, however this ends.
    drain(&mut root.puller());
    assert_eq!(found, [5]);
}

#[test]
fn another_type_is_refused_with_the_difference_while_a_pusher_is_there() {
    let root = Root::new();
    let pusher = root.pusher();
    let error = Puller::<i64>::new(root.channel()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "channel \"test/jobs\" carries `u64`, not this program's `i64`:\n  \
         the message: channel u64, you i64"
    );
    let error = Pusher::<i64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    drop(pusher);
    // Nobody is there, and nothing is left.
    Pusher::<i64>::new(root.channel()).unwrap();
}

#[test]
fn a_queue_with_anything_in_it_is_never_replaced() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(4)).unwrap();
    push(&mut pusher, 0..2);
    let mut puller = root.puller();
    let refused = |what: &str| {
        let error = Pusher::<i64>::new(root.channel()).unwrap_err();
        assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{what}: {error}");
        let error = Pusher::<u64>::new(root.depth(8)).unwrap_err();
        assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{what}: {error}");
        let error = Puller::<i64>::new(root.channel()).unwrap_err();
        assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{what}: {error}");
        let error = Puller::<u64>::new(root.depth(8)).unwrap_err();
        assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{what}: {error}");
    };
    drop(pusher);
    refused("ready");
    let first = next(&mut puller);
    assert_eq!(work(&mut puller), 1);
    refused("held");
    first.reject();
    refused("dead");
    let letter = puller.dead_letters().unwrap().unwrap();
    refused("looked at");
    letter.done();
    // Now it is empty, and this puller follows.
    let mut pusher = Pusher::<u64>::new(root.depth(8)).unwrap();
    push(&mut pusher, 7..8);
    assert_eq!(work(&mut puller), 7);
}

#[test]
fn jobs_that_nobody_is_attached_to_are_not_replaced_either() {
    let root = Root::new();
    push(&mut Pusher::<u64>::new(root.depth(4)).unwrap(), 0..1);
    let error = Pusher::<i64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    let error = Puller::<u64>::new(root.depth(8)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{error}");
    assert_eq!(work_off(&mut root.puller()), [0]);
}

#[test]
fn a_puller_of_another_type_that_waits_is_told_when_a_pusher_comes() {
    let root = Root::new();
    let mut wrong = Puller::<i32>::new(root.channel()).unwrap();
    let pusher = root.pusher();
    for _ in 0..2 {
        match wrong.recv_timeout(SOON) {
            Err(RecvError::Attach(error)) => {
                assert!(matches!(*error, AttachError::SchemaMismatch { .. }), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    drop(pusher);
    let mut pusher = Pusher::<i32>::new(root.channel()).unwrap();
    pusher.send(&-3).unwrap();
    let job = next(&mut wrong);
    assert_eq!(*job, -3);
    job.done();
}

mod v1 {
    use super::ShmMessage;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
    }
}
mod v2 {
    use super::ShmMessage;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub sure: bool,
        pub _pad0: [u8; 7],
    }
}

#[test]
fn an_older_puller_reads_the_fields_that_it_knows() {
    let root = Root::new();
    let mut pusher = Pusher::<v2::Pose>::new(root.depth(2)).unwrap();
    let mut old = Puller::<v1::Pose>::new(root.channel()).unwrap();
    let mut new = Puller::<v2::Pose>::new(root.channel()).unwrap();
    for round in 0..10 {
        let pose = v2::Pose { x: round.into(), sure: true, _pad0: [0; 7] };
        pusher.send(&pose).unwrap();
        let job = next(&mut old);
        assert_eq!((*job, job.bytes().len()), (v1::Pose { x: round.into() }, 8));
        // What it gives back is whole.
        drop(job);
        let job = next(&mut new);
        assert_eq!((*job, job.deliveries()), (pose, 2));
        job.reject();
        while let Some(letter) = old.dead_letters().unwrap() {
            assert_eq!(letter.x, f64::from(round));
            letter.done();
        }
        assert_eq!(old.stats().dead_letters, 0);
    }
    let error = Pusher::<v1::Pose>::new(root.channel()).unwrap_err().to_string();
    assert!(error.contains("a pusher may not"), "{error}");
    drop((pusher, new));
    // And one that is newer than the pushers is told to start later.
    drop(old);
    let _pusher = Pusher::<v1::Pose>::new(root.channel()).unwrap();
    let error = Puller::<v2::Pose>::new(root.channel()).unwrap_err().to_string();
    assert!(error.contains("a puller may not be newer than the pushers"), "{error}");
}

#[test]
fn there_is_room_for_64_of_each_and_a_clear_end() {
    let root = Root::new();
    let mut pushers: Vec<_> = (0..64).map(|_| root.pusher()).collect();
    let mut pullers: Vec<_> = (0..64).map(|_| root.puller()).collect();
    let error = Pusher::<u64>::new(root.channel()).unwrap_err().to_string();
    let text =
        "channel \"test/jobs\" has 64 pushers already, and no room for more (max_publishers)";
    assert_eq!(error, text);
    let error = Puller::<u64>::new(root.channel()).unwrap_err().to_string();
    let text =
        "channel \"test/jobs\" has 64 pullers already, and no room for more (max_subscribers)";
    assert_eq!(error, text);
    assert_eq!((pushers[3].pullers(), pullers[9].pushers()), (64, 64));
    for (pusher, number) in pushers.iter_mut().zip(0..) {
        push(pusher, number..number + 1);
    }
    for (puller, number) in pullers.iter_mut().rev().zip(0..) {
        assert_eq!(work(puller), number);
    }
    pullers.remove(17);
    let mut again = root.puller();
    assert_eq!(pushers[0].pullers(), 64);
    // The last place of each side sleeps and is woken.
    let mut last = pushers.pop().unwrap();
    let worker = thread::spawn(move || work(&mut again));
    thread::sleep(A_WHILE);
    push(&mut last, 5..6);
    drop(pullers);
    assert_eq!(join(worker), 5);
}

#[test]
fn options_that_a_queue_has_not_are_refused() {
    let root = Root::new();
    let error = Pusher::<u64>::new(root.channel().max_reply_len(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "channel \"test/jobs\": max_reply_len is set, but a queue has no replies"
    );
    let error = Puller::<u64>::new(root.channel().max_len(1)).unwrap_err();
    assert!(matches!(error, AttachError::FixedSize { option: "max_len", .. }), "{error}");
    let error = Puller::<u64>::new(root.depth(0)).unwrap_err();
    assert!(matches!(error, AttachError::BadOption { option: "depth", .. }), "{error}");
}

// ── nobody delays anybody ────────────────────────────────────────────────────────────────────────

#[test]
fn a_long_loan_delays_nobody() {
    for depth in [2, 3, 8] {
        let root = Root::new();
        let mut slow = Pusher::<u64>::new(root.depth(depth)).unwrap();
        let (mut quick, mut puller) = (root.pusher(), root.puller());
        let loan = slow.loan().unwrap().init(7);
        for number in 0..2000 {
            push(&mut quick, number..number + 1);
            assert_eq!(work(&mut puller), number, "depth {depth}");
        }
        loan.send();
        assert_eq!(work_off(&mut puller), [7]);
        push(&mut slow, 8..9);
        assert_eq!(work_off(&mut puller), [8]);
    }
}

#[test]
fn a_slow_worker_delays_nobody() {
    for depth in [2, 3, 8] {
        let root = Root::new();
        let mut pusher = Pusher::<u64>::new(root.depth(depth)).unwrap();
        let (mut slow, mut quick) = (root.puller(), root.puller());
        push(&mut pusher, 7..8);
        let held = next(&mut slow);
        for number in 0..2000 {
            push(&mut pusher, number..number + 1);
            assert_eq!(work(&mut quick), number, "depth {depth}");
        }
        assert_eq!((*held, held.deliveries()), (7, 1));
        if depth == 8 {
            held.done();
        } else {
            drop(held);
            let again = next(&mut quick);
            assert_eq!((*again, again.deliveries()), (7, 2));
            again.done();
        }
        assert!(quick.try_recv().unwrap().is_none());
        assert_eq!(pusher.stats().free, depth);
    }
}

// ── waiting ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn recv_timeout_ends_in_time() {
    let root = Root::new();
    let _pusher = root.pusher();
    for wait in WAITS {
        let options = PullerOptions::new().wait(wait);
        let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
        for time in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(150)] {
            let start = Instant::now();
            assert!(puller.recv_timeout(time).unwrap().is_none());
            assert!(start.elapsed() >= time);
        }
    }
}

#[test]
fn every_wait_for_a_job_is_ended_by_one() {
    for wait in WAITS {
        let root = Root::new();
        let options = PullerOptions::new().wait(wait);
        let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
        let mut pusher = root.pusher();
        let sender = thread::spawn(move || {
            for number in 0..50 {
                thread::sleep(Duration::from_micros(number % 5 * 100));
                push(&mut pusher, number..number + 1);
            }
        });
        for number in 0..50 {
            assert_eq!(work(&mut puller), number);
        }
        join(sender);
    }
}

#[test]
fn a_time_beyond_the_end_of_the_clock_is_no_deadline() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(1)).unwrap();
    let mut puller = root.puller();
    let worker = thread::spawn(move || {
        let job = puller.recv_timeout(Duration::MAX).unwrap().unwrap();
        job.done();
        puller
    });
    assert!(pusher.send_timeout(&1, Duration::MAX).unwrap());
    let mut puller = join(worker);
    push(&mut pusher, 2..3);
    let sender = thread::spawn(move || pusher.send_timeout(&3, Duration::MAX).unwrap());
    thread::sleep(A_WHILE);
    assert_eq!(work(&mut puller), 2);
    assert!(join(sender));
    assert_eq!(work(&mut puller), 3);
}

#[test]
fn participants_can_be_waited_for() {
    let root = Root::new();
    let mut pusher = root.pusher();
    assert!(!pusher.wait_for_pullers(1, Duration::from_millis(5)).unwrap());
    assert!(pusher.wait_for_pullers(0, Duration::ZERO).unwrap());
    assert_eq!(pusher.pullers(), 0);
    let channel = root.channel();
    let worker = thread::spawn(move || {
        let mut puller = Puller::<u64>::new(channel).unwrap();
        assert!(puller.wait_for_pushers(1, SOON).unwrap());
        assert!(!puller.wait_for_pushers(2, Duration::ZERO).unwrap());
        assert_eq!(puller.pushers(), 1);
        work(&mut puller)
    });
    assert!(pusher.wait_for_pullers(1, SOON).unwrap());
    push(&mut pusher, 4..5);
    assert_eq!(join(worker), 4);
    assert_eq!(pusher.pullers(), 0);
}

#[test]
fn an_interrupter_ends_the_current_or_the_next_blocking_call_of_a_puller_once() {
    for wait in WAITS {
        let root = Root::new();
        let mut pusher = root.pusher();
        let options = PullerOptions::new().wait(wait);
        let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
        let interrupter = puller.interrupter();
        interrupter.clone().interrupt();
        assert!(matches!(puller.recv_timeout(SOON), Err(RecvError::Interrupted)));
        assert!(puller.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
        interrupter.interrupt();
        let waited = puller.wait_for_pushers(9, SOON);
        assert!(matches!(waited, Err(WaitError::Interrupted)), "{waited:?}");
        for call in [
            |puller: &mut Puller<u64>| puller.recv().map(drop),
            |puller: &mut Puller<u64>| puller.take().map(drop),
        ] {
            let blocked = thread::spawn(move || (call(&mut puller), puller));
            thread::sleep(A_WHILE);
            assert!(!blocked.is_finished());
            interrupter.interrupt();
            let result;
            (result, puller) = join(blocked);
            assert!(matches!(result, Err(RecvError::Interrupted)), "{result:?}");
        }
        // It loses nothing.
        push(&mut pusher, 0..1);
        interrupter.interrupt();
        assert!(puller.try_recv().unwrap().is_some(), "which cannot be interrupted");
        assert!(matches!(puller.recv_timeout(SOON), Err(RecvError::Interrupted)));
        assert_eq!(work(&mut puller), 0);
        drop(puller);
        interrupter.interrupt();
    }
}

#[test]
fn an_interrupter_ends_the_current_or_the_next_blocking_call_of_a_pusher_once() {
    for wait in WAITS {
        let root = Root::new();
        let options = PusherOptions::new().wait(wait);
        let mut pusher = Pusher::<u64>::with(root.depth(1), options).unwrap();
        let mut puller = root.puller();
        let interrupter = pusher.interrupter();
        push(&mut pusher, 0..1);
        interrupter.interrupt();
        assert!(!pusher.try_send(&1).unwrap(), "which cannot be interrupted");
        let result = pusher.send_timeout(&1, SOON);
        assert!(matches!(result, Err(PushError::Interrupted)), "{result:?}");
        assert!(!pusher.send_timeout(&1, Duration::from_millis(1)).unwrap());
        interrupter.interrupt();
        let waited = pusher.wait_for_pullers(9, SOON);
        assert!(matches!(waited, Err(WaitError::Interrupted)), "{waited:?}");
        for call in [
            |pusher: &mut Pusher<u64>| pusher.send(&1),
            |pusher: &mut Pusher<u64>| pusher.loan().map(drop),
        ] {
            let blocked = thread::spawn(move || (call(&mut pusher), pusher));
            thread::sleep(A_WHILE);
            assert!(!blocked.is_finished());
            interrupter.interrupt();
            let result;
            (result, pusher) = join(blocked);
            assert!(matches!(result, Err(PushError::Interrupted)), "{result:?}");
        }
        assert_eq!(work_off(&mut puller), [0], "nothing else was pushed");
        push(&mut pusher, 1..2);
        assert_eq!(work_off(&mut puller), [1]);
        drop(pusher);
        interrupter.interrupt();
    }
}

#[test]
fn an_interrupter_that_was_made_before_the_queue_was_replaced_still_works() {
    for wait in WAITS {
        let root = Root::new();
        let options = PullerOptions::new().wait(wait);
        let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
        let interrupter = puller.interrupter();
        let mut pusher = Pusher::<u64>::new(root.depth(4)).unwrap();
        push(&mut pusher, 0..1);
        assert_eq!(work(&mut puller), 0);
        let blocked = thread::spawn(move || puller.recv().map(drop));
        thread::sleep(A_WHILE);
        interrupter.interrupt();
        let result = join(blocked);
        assert!(matches!(result, Err(RecvError::Interrupted)), "{result:?}");
    }
}

#[test]
fn a_worker_that_is_interrupted_passes_the_job_on_that_it_was_woken_for() {
    const ROUNDS: u64 = 300;
    let root = Root::new();
    let mut pusher = root.pusher();
    let is_over: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let done: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let mut interrupters = Vec::new();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let options = PullerOptions::new().wait(Wait::Sleep);
            let mut puller = Puller::<u64>::with(root.channel(), options).unwrap();
            interrupters.push(puller.interrupter());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    match puller.recv_timeout(SOON) {
                        Ok(Some(job)) => {
                            job.done();
                            done.fetch_add(1, Ordering::SeqCst);
                        }
                        // It is busy with something else.
                        Err(RecvError::Interrupted) => thread::sleep(Duration::from_millis(1)),
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let interrupter = &interrupters[round as usize % 2];
        if round % 4 < 2 {
            interrupter.interrupt();
            push(&mut pusher, round..round + 1);
        } else {
            push(&mut pusher, round..round + 1);
            interrupter.interrupt();
        }
        wait_until("somebody does the job", || done.load(Ordering::SeqCst) == round + 1);
    }
    is_over.store(true, Ordering::Relaxed);
    interrupters.iter().for_each(|interrupter| interrupter.interrupt());
    workers.into_iter().for_each(join);
}

#[test]
fn a_pusher_that_is_interrupted_passes_the_room_on_that_it_was_woken_for() {
    const ROUNDS: u64 = 300;
    let root = Root::new();
    let mut first = Pusher::<u64>::new(root.depth(1)).unwrap();
    let mut puller = root.puller();
    push(&mut first, 0..1);
    let is_over: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let mut interrupters = Vec::new();
    let pushers: Vec<_> = (0..2)
        .map(|_| {
            let options = PusherOptions::new().wait(Wait::Sleep);
            let mut pusher = Pusher::<u64>::with(root.channel(), options).unwrap();
            interrupters.push(pusher.interrupter());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    match pusher.send_timeout(&1, SOON) {
                        Ok(true) => {}
                        Err(PushError::Interrupted) => thread::sleep(Duration::from_millis(1)),
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let interrupter = &interrupters[round as usize % 2];
        if round % 4 < 2 {
            interrupter.interrupt();
            work(&mut puller);
        } else {
            work(&mut puller);
            interrupter.interrupt();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    interrupters.iter().for_each(|interrupter| interrupter.interrupt());
    pushers.into_iter().for_each(join);
    work_off(&mut puller);
}

// ── what outlives its handle ─────────────────────────────────────────────────────────────────────

#[test]
fn a_job_outlives_its_puller_and_can_be_finished_by_another_thread() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    push(&mut pusher, 0..4);
    let jobs: Vec<_> = (0..4).map(|_| next(&mut puller)).collect();
    drop(puller);
    assert_eq!(pusher.pullers(), 1, "it is there until the last of its jobs is gone");
    let [first, second, third, fourth] = <[Job<u64>; 4]>::try_from(jobs).unwrap();
    join(thread::spawn(move || {
        assert_eq!((*first, *second, *third), (0, 1, 2));
        first.done();
        second.reject();
        drop(third);
    }));
    assert_eq!(*fourth, 3);
    let mut puller = root.puller();
    let again = next(&mut puller);
    assert_eq!((*again, again.deliveries()), (2, 2));
    again.done();
    assert_eq!(drain(&mut puller), [1]);
    assert!(puller.try_recv().unwrap().is_none());
    drop((puller, pusher));
    assert_eq!((*fourth, root.files().len()), (3, 1));
    fourth.done();
    assert_eq!(root.files(), [""; 0]);
}

#[test]
fn one_worker_holds_as_many_jobs_as_there_are_and_finishes_them_in_any_order() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(100)).unwrap();
    let mut puller = root.puller();
    push(&mut pusher, 0..100);
    let mut held: Vec<_> = (0..100).map(|_| next(&mut puller)).collect();
    assert!(puller.try_recv().unwrap().is_none());
    for step in 0..100 {
        let job = held.swap_remove((step * 37) % held.len());
        job.done();
        assert_eq!(pusher.stats().free, step as u32 + 1);
    }
    push(&mut pusher, 0..100);
    assert_eq!(work_off(&mut puller), (0..100).collect::<Vec<_>>());
}

#[test]
fn handles_may_be_sent_and_jobs_shared_and_all_say_what_they_are() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + 'static>() {}
    send::<Pusher<u64>>();
    send::<Puller<u64>>();
    share::<Job<Command>>();
    share::<Job<[u8]>>();
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    let text = format!("{pusher:?}");
    assert!(text.starts_with("Pusher { channel: \"test/jobs\", type: \"u64\""), "{text}");
    assert!(format!("{puller:?}").contains("queued: 0"));
    push(&mut pusher, 3..4);
    let job = next(&mut puller);
    assert_eq!(format!("{job:?}"), "Job { deliveries: 1, message: 3 }");
    job.done();
}

// ── figures ──────────────────────────────────────────────────────────────────────────────────────

/// All but the time.
fn figures(stats: QueueStats) -> ([u32; 4], [u64; 4]) {
    let QueueStats { queued, free, held, dead_letters, .. } = stats;
    let QueueStats { pushed, delivered, redelivered, dead_lettered, .. } = stats;
    ([queued, free, held, dead_letters], [pushed, delivered, redelivered, dead_lettered])
}

#[test]
fn the_figures_say_how_the_queue_stands() {
    let root = Root::new();
    let mut pusher = Pusher::<u64>::new(root.depth(8)).unwrap();
    let mut puller = root.puller();
    #[track_caller]
    fn check(
        pusher: &Pusher<u64>,
        puller: &Puller<u64>,
        now: [u32; 4], // queued, free, held, dead letters
        so_far: [u64; 4],
    ) {
        assert_eq!(figures(pusher.stats()), (now, so_far));
        assert_eq!(figures(puller.stats()), (now, so_far), "the same on both sides");
    }
    check(&pusher, &puller, [0, 8, 0, 0], [0, 0, 0, 0]);
    assert_eq!(pusher.stats().oldest, None);
    push(&mut pusher, 0..5);
    check(&pusher, &puller, [5, 3, 0, 0], [5, 0, 0, 0]);
    let job = next(&mut puller);
    check(&pusher, &puller, [4, 3, 1, 0], [5, 1, 0, 0]);
    drop(job);
    check(&pusher, &puller, [5, 3, 0, 0], [5, 1, 0, 0]);
    let job = next(&mut puller);
    check(&pusher, &puller, [4, 3, 1, 0], [5, 2, 1, 0]);
    job.reject();
    check(&pusher, &puller, [4, 3, 0, 1], [5, 2, 1, 1]);
    assert_eq!(work(&mut puller), 1);
    check(&pusher, &puller, [3, 4, 0, 1], [5, 3, 1, 1]);
    let mut other = root.pusher();
    let loan = other.loan().unwrap();
    check(&pusher, &puller, [3, 3, 1, 1], [5, 3, 1, 1]);
    loan.write(9);
    check(&pusher, &puller, [4, 3, 0, 1], [6, 3, 1, 1]);
    // What a handle has counted stays when it is gone.
    drop(other);
    check(&pusher, &puller, [4, 3, 0, 1], [6, 3, 1, 1]);
    let letter = puller.dead_letters().unwrap().unwrap();
    check(&pusher, &puller, [4, 3, 0, 1], [6, 3, 1, 1]);
    letter.done();
    check(&pusher, &puller, [4, 4, 0, 0], [6, 3, 1, 1]);
    work_off(&mut puller);
    check(&pusher, &puller, [0, 8, 0, 0], [6, 7, 1, 1]);
}

#[test]
fn the_oldest_job_is_the_one_that_has_waited_longest_though_it_was_given_back() {
    let root = Root::new();
    let (mut pusher, mut puller) = (root.pusher(), root.puller());
    let before = Instant::now();
    push(&mut pusher, 0..1);
    thread::sleep(Duration::from_millis(60));
    push(&mut pusher, 1..2);
    drop(next(&mut puller));
    let oldest = pusher.stats().oldest.unwrap();
    assert!(oldest >= Duration::from_millis(50), "{oldest:?}");
    assert!(oldest <= before.elapsed() + Duration::from_millis(20), "{oldest:?}");
    // One that somebody holds does not wait.
    let held = next(&mut puller);
    assert_eq!(*held, 0);
    thread::sleep(Duration::from_millis(60));
    assert!(puller.stats().oldest.unwrap() >= Duration::from_millis(50));
    assert_eq!(work(&mut puller), 1);
    assert_eq!(puller.stats().oldest, None);
    held.done();
}
