//! Every interleaving of pushers, pullers, clients and servers, on small queues, with loom: nothing that was
//! published is lost, nothing that was acknowledged comes again, jobs of one pusher stay in order, nobody is
//! in another's payload, and every slot comes back, whoever is killed wherever.
//!
//! Run by `.ci/models`. The models named `broken_…` take one edge away and must fail.

use super::heap::*;
use super::*;
use crate::sync::model::{Break, without};
use loom::sync::Arc;
use loom::thread;

mod answers;
mod sleep;

/// Nobody sleeps: what is ordered is ordered by the edges A and B alone.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    without(Break::ChangeFences, || explore_with_fences(preemptions, model));
}

fn explore_with_fences(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

/// Takes what is left, and says everything that was done, with what was done before.
fn drain(heap: &Heap, mut done: Vec<u64>) -> Vec<u64> {
    while let Some(value) = pull_any(heap, 9) {
        done.push(value);
    }
    assert!(!is_any_ready(heap), "what is ready can be taken");
    done
}

/// Everything that was sent was done, once; and jobs of one pusher, which have the same tens, in order.
fn is_all_done_in_order(sent: &[u64], done: &[u64]) {
    is_all_done(sent, done);
    for pair in [[1, 2], [11, 12]] {
        let [first, second] = pair.map(|job| done.iter().position(|done| *done == job));
        assert!(second.is_none() || first < second, "out of order: {done:?}");
    }
}

fn is_all_done(sent: &[u64], done: &[u64]) {
    let sorted = |jobs: &[u64]| {
        let mut jobs = jobs.to_vec();
        jobs.sort_unstable();
        jobs
    };
    assert_eq!(sorted(sent), sorted(done), "sent, and done");
}

/// No slot has leaked, and jobs come out as they go in.
fn is_as_good_as_new(heap: &Heap) {
    for slot in 0..heap.slots() {
        assert_eq!(heap.look(slot).state(), State::Free, "slot {slot} has leaked");
    }
    assert!(has_room(heap) && !is_ready(heap));
    for job in 100..100 + u64::from(heap.slots()) {
        assert!(push(heap, 8, job), "full, though it is empty");
        assert_eq!(pull(heap, 9), Some(job), "first in, first out");
    }
}

fn pushes(heap: &Heap, me: u32, jobs: &[u64]) -> Vec<u64> {
    jobs.iter().copied().filter(|job| push(heap, me, *job)).collect()
}

fn pulls(heap: &Heap, me: u32, tries: u32) -> Vec<u64> {
    (0..tries).filter_map(|_| pull(heap, me)).collect()
}

fn two_pushers(slots: u32, jobs: &'static [u64], others: &'static [u64]) {
    let heap = Heap::new(slots);
    let (a, b) = (heap.other(), heap.other());
    let a = thread::spawn(move || pushes(&a, 1, jobs));
    let b = thread::spawn(move || pushes(&b, 2, others));
    let done = pulls(&heap, 3, 2);
    let mut sent = a.join().unwrap();
    sent.extend(b.join().unwrap());
    is_all_done_in_order(&sent, &drain(&heap, done));
    is_as_good_as_new(&heap);
}

#[test]
fn two_pushers_and_a_puller() {
    explore(1, || two_pushers(1, &[1], &[11]));
    explore(1, || two_pushers(2, &[1, 2], &[11]));
    explore(1, || two_pushers(3, &[1, 2], &[11]));
}

/// Two jobs are there, and the pusher goes on.
fn two_pullers(slots: u32, first: u64) {
    let heap = Heap::in_lap(slots, first);
    let mut sent = pushes(&heap, 1, &[1]);
    let (a, b) = (heap.other(), heap.other());
    let a = thread::spawn(move || pulls(&a, 2, 2));
    let b = thread::spawn(move || pulls(&b, 3, 1));
    sent.extend(pushes(&heap, 1, &[2]));
    let mut done = a.join().unwrap();
    let in_order = done.is_sorted();
    done.extend(b.join().unwrap());
    assert!(in_order, "one puller gets one pusher's jobs in order");
    is_all_done(&sent, &drain(&heap, done));
    is_as_good_as_new(&heap);
}

#[test]
fn a_pusher_and_two_pullers() {
    explore(1, || two_pullers(1, 0));
    // From the last lap into the first.
    explore(1, || two_pullers(2, (1 << 44) - 1));
}

/// Two jobs of a pusher are published behind a loan that takes long.
fn long_loan() {
    let heap = Heap::new(3);
    let loan = claim(&heap, owner(2)).expect("it is empty");
    let a = heap.other();
    // The loan is behind what is taken now, and one of those to come before it.
    let a = thread::spawn(move || pushes(&a, 1, &[1, 2]));
    let done = pulls(&heap, 3, 2);
    heap.write(&loan, 11);
    assert!(publish(&heap, loan, OwnerId::NOBODY));
    let mut sent = a.join().unwrap();
    sent.push(11);
    is_all_done_in_order(&sent, &drain(&heap, done));
    is_as_good_as_new(&heap);
}

#[test]
fn jobs_behind_a_long_loan_stay_in_order() {
    explore(3, long_loan);
}

#[test]
#[should_panic(expected = "out of order")]
fn broken_without_a_second_look() {
    without(Break::SecondLook, || explore(3, long_loan));
}

/// A loan is kept while its slot's turn comes again, and is published while pullers come to it.
#[test]
fn a_loan_that_was_passed_is_published_in_its_new_turn() {
    explore(1, || {
        let heap = Heap::new(2);
        let loan = claim(&heap, owner(2)).expect("it is empty");
        let (a, b) = (heap.other(), heap.other());
        assert!(push(&heap, 1, 1));
        let mut done = pulls(&heap, 3, 1);
        // It passes the loan, at the same time.
        let a = thread::spawn(move || pushes(&a, 1, &[2]));
        let b = thread::spawn(move || {
            b.write(&loan, 11);
            publish(&b, loan, OwnerId::NOBODY)
        });
        done.extend(pulls(&heap, 3, 2));
        let mut sent = a.join().unwrap();
        sent.extend([1, 11]);
        assert!(b.join().unwrap());
        is_all_done_in_order(&sent, &drain(&heap, done));
        is_as_good_as_new(&heap);
    });
}

/// What a puller meets first is taken, then free, and then filled, while it looks.
#[test]
fn jobs_in_slots_that_were_taken_stay_in_order() {
    explore(2, || {
        let heap = Heap::new(2);
        assert!(push(&heap, 1, 11) && push(&heap, 1, 12));
        let [first, second] = [(); 2].map(|()| take(&heap, owner(2)).expect("two jobs"));
        let a = heap.other();
        let a = thread::spawn(move || {
            let done = vec![work(&a, first), work(&a, second)];
            (done, pushes(&a, 1, &[1, 2]))
        });
        let done = pulls(&heap, 3, 2);
        let (mut all, sent) = a.join().unwrap();
        all.extend(drain(&heap, done));
        is_all_done_in_order(&[&[11, 12], &*sent].concat(), &all);
    });
}

/// Whoever looks everywhere looks at the slots in another order than that in which they are filled.
#[test]
fn jobs_that_are_looked_for_everywhere_stay_in_order() {
    explore(2, || {
        let heap = Heap::new(2);
        assert!(push(&heap, 1, 11));
        let done = pulls(&heap, 3, 1);
        let a = heap.other();
        // In the second slot, and in the first.
        let a = thread::spawn(move || pushes(&a, 1, &[1, 2]));
        let mut all: Vec<_> = (0..2).filter_map(|_| pull_any(&heap, 3)).collect();
        let sent = a.join().unwrap();
        all.splice(0..0, done);
        is_all_done_in_order(&[&[11], &*sent].concat(), &drain(&heap, all));
    });
}

/// Whether jobs come out again that a puller does not want, while others are pushed.
fn put_back_while_pushing(slots: u32) {
    let heap = Heap::new(slots);
    let mut sent = pushes(&heap, 1, &[1]);
    let (a, b) = (heap.other(), heap.other());
    let a = thread::spawn(move || {
        let Some(taken) = take(&a, owner(2)) else { return };
        a.read(&taken);
        assert_eq!(put_back(&a, taken, 3), PutBack::Offered);
    });
    let b = thread::spawn(move || pushes(&b, 1, &[2]));
    let done = (0..2).filter_map(|_| pull_any(&heap, 3)).collect();
    a.join().unwrap();
    sent.extend(b.join().unwrap());
    is_all_done(&sent, &drain(&heap, done));
    is_as_good_as_new(&heap);
}

#[test]
fn a_job_is_put_back_while_others_are_pushed() {
    explore(1, || put_back_while_pushing(2));
}

/// Does something until it is killed, and says what of it was done.
fn until_killed(heap: Heap, process: impl FnOnce(&Heap, &mut Vec<u64>)) -> Vec<u64> {
    let mut record = Vec::new();
    heap.run(|heap| process(heap, &mut record));
    record
}

fn pushes_until_killed(heap: Heap, jobs: &[u64]) -> Vec<u64> {
    until_killed(heap, |heap, sent| {
        for job in jobs {
            if push(heap, 1, *job) {
                sent.push(*job);
            }
        }
    })
}

fn pulls_until_killed(heap: Heap, tries: u32) -> Vec<u64> {
    until_killed(heap, |heap, done| {
        for _ in 0..tries {
            done.extend(pull_any(heap, 2));
        }
    })
}

/// So many accesses has a push, if nobody races, and a pull; and two of them.
const PUSH: usize = 7;
const PULL: usize = 9;

/// A pusher is killed before its access number `at`; another one and a puller go on.
fn killed_pusher(slots: u32, at: usize, jobs: &'static [u64]) {
    let heap = Heap::new(slots);
    let a = heap.killed_after(at);
    let a = thread::spawn(move || pushes_until_killed(a, jobs));
    let mut sent = pushes(&heap, 3, &[11]);
    let mut done = pulls(&heap, 3, 1);
    sent.extend(a.join().unwrap());
    reap(&heap, owner(1), 3);
    assert_eq!(reap(&heap, owner(1), 3), Reaped::default(), "once is enough");
    done = drain(&heap, done);
    is_all_done_in_order(&sent, &done);
    is_as_good_as_new(&heap);
}

#[test]
fn a_pusher_is_killed_at_every_access() {
    for at in 0..=PUSH {
        explore(2, move || killed_pusher(1, at, &[1]));
        explore(2, move || killed_pusher(2, at, &[1]));
    }
    for at in PUSH..=2 * PUSH {
        explore(1, move || killed_pusher(2, at, &[1, 2]));
        explore(1, move || killed_pusher(3, at, &[1, 2]));
    }
}

/// A puller is killed before its access number `at`; another one and a pusher go on.
fn killed_puller(slots: u32, at: usize) {
    let heap = Heap::new(slots);
    let mut sent = pushes(&heap, 1, &[1]);
    let a = heap.killed_after(at);
    let a = thread::spawn(move || pulls_until_killed(a, 2));
    sent.extend(pushes(&heap, 1, &[2]));
    let mut done = pulls(&heap, 3, 1);
    done.extend(a.join().unwrap());
    reap(&heap, owner(2), 3);
    assert_eq!(reap(&heap, owner(2), 3), Reaped::default(), "once is enough");
    is_all_done(&sent, &drain(&heap, done));
    is_as_good_as_new(&heap);
}

#[test]
fn a_puller_is_killed_at_every_access() {
    for at in 0..=2 * PULL {
        explore(1, move || killed_puller(1, at));
        explore(1, move || killed_puller(2, at));
    }
}

/// Two have died, one in a loan and one at work. Whoever puts that right dies, too, before his access number
/// `at`, and is followed by another. Somebody else pushes and pulls all the time.
fn killed_reaper(at: usize) {
    let heap = Heap::new(3);
    assert!(push(&heap, 3, 1));
    let _loan = claim(&heap, owner(1)).expect("it is not full");
    let _at_work = take(&heap, owner(2)).expect("a job");
    let (reaper, other) = (heap.killed_after(at), heap.other());
    let other = thread::spawn(move || {
        let sent = pushes(&other, 3, &[2]);
        (sent, pulls(&other, 3, 1))
    });
    reaper.run(|heap| [1, 2].map(|dead| reap(heap, owner(dead), 3)));
    for dead in [1, 2] {
        reap(&heap, owner(dead), 3);
        assert_eq!(reap(&heap, owner(dead), 3), Reaped::default(), "once is enough");
    }
    let (mut sent, done) = other.join().unwrap();
    sent.push(1);
    is_all_done(&sent, &drain(&heap, done));
    is_as_good_as_new(&heap);
}

#[test]
fn a_reaper_is_killed_at_every_access() {
    for at in 0..=12 {
        explore(1, move || killed_reaper(at));
    }
}

/// What a dead pusher was writing is free again, and behind it is a job. In turn it is found only if the slot
/// is free for the next lap: in this one, whoever finds it free believes that nobody was further on.
fn freed(for_the_next_lap: bool) {
    let heap = Heap::new(2);
    let _loan = claim(&heap, owner(1)).expect("it is empty");
    let other = heap.other();
    let other = thread::spawn(move || pushes(&other, 2, &[11]));
    if for_the_next_lap {
        reap(&heap, owner(1), 3);
    } else {
        let word = heap.look(0);
        assert!(change(&heap, 0, word, Word::new(word.lap(), 0, OwnerId::NOBODY, State::Free)));
    }
    let sent = other.join().unwrap();
    assert_eq!(pulls(&heap, 3, 1), sent, "what was sent is found in turn");
}

#[test]
fn a_job_behind_the_loan_of_the_dead_is_found() {
    explore(3, || freed(true));
}

#[test]
#[should_panic(expected = "what was sent is found in turn")]
fn broken_freed_for_the_same_lap() {
    explore(3, || freed(false));
}

/// One pushes, the other pulls.
fn handed_over() {
    let heap = Heap::new(1);
    let a = heap.other();
    let a = thread::spawn(move || pushes(&a, 1, &[1, 2]));
    let done = pulls(&heap, 2, 2);
    is_all_done_in_order(&a.join().unwrap(), &drain(&heap, done));
}

#[test]
fn a_payload_is_handed_over() {
    explore(3, handed_over);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn broken_without_release() {
    without(Break::ChangeOrder, || explore(3, handed_over));
}
