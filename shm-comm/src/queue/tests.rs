//! What the queue does when nobody races; the races are in `model`.

use super::heap::*;
use super::*;

mod answers;
mod random;

/// The lap before the last one, of 2^44.
const NEAR_THE_END: u64 = (1 << 44) - 2;

/// So many slots, and where they start.
const QUEUES: [(u32, u64); 8] =
    [(1, 0), (2, 0), (3, 0), (5, 0), (8, 0), (1, NEAR_THE_END), (3, NEAR_THE_END), (4, 1 << 43)];

fn queues() -> impl Iterator<Item = Heap> {
    QUEUES.into_iter().map(|(slots, lap)| Heap::in_lap(slots, lap))
}

fn loan(heap: &Heap, me: u32, value: u64) -> Claim {
    let claim = claim(heap, owner(me)).expect("it is not full");
    heap.write(&claim, value);
    claim
}

fn send(heap: &Heap, claim: Claim) {
    assert!(publish(heap, claim, OwnerId::NOBODY));
}

fn take_one(heap: &Heap, me: u32) -> Taken {
    take_any(heap, owner(me)).expect("a job is there")
}

fn counts(heap: &Heap) -> Counts {
    let mut counts = Counts::default();
    for slot in 0..heap.slots() {
        counts.add(heap.look(slot));
    }
    counts
}

/// Whatever was done before, all slots are free, and all can be used, in order.
fn is_as_good_as_new(heap: &Heap) {
    let slots = heap.slots();
    assert_eq!(counts(heap), Counts { free: slots, ..Counts::default() });
    assert!(!is_ready(heap) && !is_any_ready(heap) && has_room(heap));
    // Those that are some laps ahead are used again when their turn comes.
    for i in 0..u64::from(slots) * u64::from(MOST_LAPS_AHEAD) {
        assert!(push(heap, 0, i), "full, though it is empty");
        assert_eq!(pull(heap, 1), Some(i));
    }
    for i in 0..u64::from(slots) {
        assert!(has_room(heap) && push(heap, 0, i));
    }
    assert!(!has_room(heap) && !push(heap, 0, 99));
    for i in 0..u64::from(slots) {
        assert_eq!(pull(heap, 1), Some(i));
    }
}

#[test]
fn jobs_come_out_in_the_order_in_which_they_went_in() {
    for heap in queues() {
        assert!(!is_ready(&heap) && pull(&heap, 1).is_none() && pull_any(&heap, 1).is_none());
        for i in 0..50 {
            assert!(push(&heap, 0, i));
            assert!(is_ready(&heap) && is_any_ready(&heap));
            assert_eq!(pull(&heap, 1), Some(i));
            assert!(!is_ready(&heap) && !is_any_ready(&heap));
        }
        is_as_good_as_new(&heap);
    }
}

#[test]
fn a_full_queue_says_so_and_has_room_when_its_oldest_job_is_taken_and_done() {
    for heap in queues() {
        let slots = u64::from(heap.slots());
        for i in 0..slots {
            assert!(has_room(&heap) && push(&heap, 0, i));
        }
        for i in 0..20 {
            assert!(!has_room(&heap));
            assert_eq!(claim(&heap, owner(0)).unwrap_err(), Full);
            let taken = take(&heap, owner(1)).unwrap();
            assert!(!has_room(&heap) && !push(&heap, 0, 99), "it is at work");
            assert_eq!(work(&heap, taken), i);
            assert!(has_room(&heap) && push(&heap, 0, slots + i));
        }
    }
}

#[test]
fn those_who_ask_a_full_queue_for_room_change_nothing() {
    for heap in queues() {
        let kept: Vec<_> = (0..u64::from(heap.slots()))
            .map(|i| {
                assert!(push(&heap, 0, i));
                take_one(&heap, 1)
            })
            .collect();
        let words = || (0..heap.slots()).map(|slot| heap.look(slot)).collect::<Vec<_>>();
        let before = words();
        for _ in 0..100 {
            assert!(!has_room(&heap) && !push(&heap, 0, 99));
        }
        assert_eq!(words(), before, "an owner who changes his word has no race");
        for (i, taken) in (0..).zip(kept) {
            assert_eq!(work(&heap, taken), i);
        }
        is_as_good_as_new(&heap);
    }
}

#[test]
fn a_job_that_is_kept_delays_nobody() {
    for heap in queues().filter(|heap| heap.slots() > 1) {
        assert!(push(&heap, 0, 1000));
        let kept = take_one(&heap, 1);
        for i in 0..50 {
            assert!(has_room(&heap) && push(&heap, 0, i));
            assert!(is_ready(&heap));
            assert_eq!(pull(&heap, 2), Some(i));
        }
        assert_eq!(work(&heap, kept), 1000);
        is_as_good_as_new(&heap);
    }
}

#[test]
fn a_long_loan_delays_nobody() {
    for heap in queues().filter(|heap| heap.slots() > 1) {
        let kept = loan(&heap, 3, 1000);
        for i in 0..50 {
            assert!(has_room(&heap) && push(&heap, 0, i));
            assert!(is_ready(&heap), "a job waits behind the loan");
            assert_eq!(pull(&heap, 2), Some(i));
            assert!(!is_ready(&heap));
        }
        send(&heap, kept);
        assert_eq!(pull(&heap, 2), Some(1000));
        is_as_good_as_new(&heap);
    }
}

#[test]
fn a_loan_that_was_passed_comes_before_what_its_pusher_sends_after_it() {
    for heap in queues().filter(|heap| heap.slots() > 2) {
        for first in 0..40 {
            let kept = loan(&heap, 3, 1000);
            for i in 0..first {
                assert!(push(&heap, 0, i));
                assert_eq!(pull(&heap, 2), Some(i));
            }
            send(&heap, kept);
            // If it was published just before its slot's next turn, the queue is full because of it alone.
            let sent = push(&heap, 3, 1001);
            assert_eq!(pull(&heap, 2), Some(1000));
            assert_eq!(pull(&heap, 2), sent.then_some(1001));
        }
        is_as_good_as_new(&heap);
    }
}

#[test]
fn loans_that_are_given_up_leave_nothing_and_hide_nothing() {
    for heap in queues() {
        for loans in [1, 3, 1000] {
            for _ in 0..loans {
                give_up(&heap, loan(&heap, 0, 7));
            }
            // The tail is that many slots behind.
            assert!(push(&heap, 0, 1));
            assert!(is_ready(&heap));
            assert_eq!(pull(&heap, 1), Some(1));
            assert!(heap.laps_between() <= 1, "nobody has to look for it again");
        }
        is_as_good_as_new(&heap);
    }
}

#[test]
fn what_is_put_back_comes_at_once_and_knows_how_often_it_was_delivered() {
    for heap in queues() {
        for job in 0..u64::from(heap.slots()) {
            assert!(push(&heap, 0, job));
        }
        let mut taken = take_one(&heap, 1);
        for deliveries in 0..10 {
            assert_eq!((taken.deliveries(), heap.read(&taken)), (deliveries, 0));
            assert_eq!(put_back(&heap, taken, 15), PutBack::Offered);
            assert!(is_any_ready(&heap));
            taken = take_one(&heap, 1 + deliveries % 3);
        }
        assert_eq!(work(&heap, taken), 0);
        // It has a place in a later turn, and the others keep theirs.
        for job in 1..u64::from(heap.slots()) {
            assert_eq!(pull_any(&heap, 1), Some(job));
        }
        is_as_good_as_new(&heap);
    }
}

#[test]
fn what_is_put_back_says_that_it_lies_out_of_turn() {
    for heap in queues() {
        assert!(push(&heap, 0, 1));
        let before = heap.returned().load(Ordering::Relaxed);
        assert_eq!(put_back(&heap, take_one(&heap, 1), 5), PutBack::Offered);
        assert_eq!(heap.returned().load(Ordering::Relaxed), before + 1);
        assert_eq!(pull_any(&heap, 1), Some(1));
        is_as_good_as_new(&heap);
    }
}

#[test]
fn what_was_delivered_too_often_is_a_dead_letter() {
    for (limit, deliveries) in [(0, 1), (1, 1), (2, 2), (5, 5), (15, 15), (16, 15), (99, 15)] {
        for heap in queues() {
            assert!(push(&heap, 0, 7));
            for delivery in 1..deliveries {
                let put_back = put_back(&heap, take_one(&heap, 1), limit);
                assert_eq!(put_back, PutBack::Offered, "{delivery} of {limit}");
            }
            assert_eq!(put_back(&heap, take_one(&heap, 1), limit), PutBack::Dead);
            assert!(!is_any_ready(&heap) && take_any(&heap, owner(1)).is_none());
            assert_eq!(counts(&heap).dead, 1);
            let letter = exhume(&heap, owner(2), 0).unwrap();
            assert!(letter.is_dead_letter());
            assert_eq!((letter.deliveries(), heap.read(&letter)), (deliveries, 7));
            assert!(done(&heap, letter));
            is_as_good_as_new(&heap);
        }
    }
}

#[test]
fn a_dead_letter_is_looked_at_by_one_and_stays_until_it_is_done() {
    for heap in queues().filter(|heap| heap.slots() > 1) {
        for job in [1, 2] {
            assert!(push(&heap, 0, job));
            assert!(bury(&heap, take_one(&heap, 1)));
        }
        let first = exhume(&heap, owner(1), 0).unwrap();
        let second = exhume(&heap, owner(2), first.slot() + 1).unwrap();
        assert_eq!((heap.read(&first), heap.read(&second)), (1, 2));
        assert!(exhume(&heap, owner(3), 0).is_none(), "both are looked at");
        assert_eq!(counts(&heap).dead, 2);
        // Those who push pass them.
        for job in 0..20 {
            let sent = push(&heap, 0, job);
            assert_eq!(
                (sent, pull(&heap, 1)),
                if heap.slots() > 2 { (true, Some(job)) } else { (false, None) }
            );
        }
        assert_eq!(put_back(&heap, first, 5), PutBack::Dead, "it is not offered again");
        assert!(done(&heap, second));
        let first = exhume(&heap, owner(3), 0).unwrap();
        assert_eq!((heap.read(&first), first.deliveries()), (1, 1), "nobody was to do it");
        assert!(done(&heap, first));
        assert!(exhume(&heap, owner(3), 0).is_none());
        is_as_good_as_new(&heap);
    }
}

#[test]
fn who_has_died_loses_loans_and_jobs_and_nobody_else_does() {
    for heap in queues().filter(|heap| heap.slots() > 4) {
        for job in 0..3 {
            assert!(push(&heap, 1, job));
        }
        let [dead, other] = [1, 2].map(|me| take_one(&heap, me));
        let (dead_loan, others_loan) = (loan(&heap, 1, 10), loan(&heap, 2, 20));
        assert_eq!(owners(&heap, owner(9)), [owner(1), owner(2)]);
        assert_eq!(owners(&heap, owner(2)), [owner(1)]);
        let reaped = reap(&heap, owner(1), 5);
        assert_eq!(reaped, Reaped { freed: 1, offered: 1, dead: 0 });
        assert_eq!(reap(&heap, owner(1), 5), Reaped::default(), "once is enough");
        assert_eq!(owners(&heap, owner(9)), [owner(2)]);
        // It was not dead, and finds out.
        assert!(!publish(&heap, dead_loan, OwnerId::NOBODY));
        assert!(!done(&heap, dead));
        let again = take_one(&heap, 3);
        assert_eq!((again.deliveries(), work(&heap, again)), (1, 0));
        assert_eq!(work(&heap, other), 1);
        send(&heap, others_loan);
        assert_eq!([pull(&heap, 1), pull(&heap, 1)], [Some(2), Some(20)]);
        is_as_good_as_new(&heap);
    }
}

#[test]
fn a_job_whose_pullers_die_again_and_again_is_a_dead_letter() {
    let heap = Heap::new(2);
    assert!(push(&heap, 0, 7));
    for deaths in 1..=3 {
        let _at_work = take_one(&heap, 1);
        let reaped = reap(&heap, owner(1), 3);
        let (offered, dead) = if deaths < 3 { (1, 0) } else { (0, 1) };
        assert_eq!(reaped, Reaped { offered, dead, freed: 0 });
    }
    // Whoever looks at it may die, too.
    let _looked_at = exhume(&heap, owner(1), 0).unwrap();
    assert_eq!(reap(&heap, owner(1), 3), Reaped { dead: 1, ..Reaped::default() });
    let letter = exhume(&heap, owner(2), 0).unwrap();
    assert_eq!((letter.deliveries(), heap.read(&letter)), (3, 7));
    assert!(done(&heap, letter));
    is_as_good_as_new(&heap);
}

#[test]
fn an_evicted_owner_changes_nothing_any_more() {
    let heap = Heap::new(1);
    let mine = loan(&heap, 1, 1);
    reap(&heap, owner(1), 5);
    assert!(push(&heap, 2, 2), "somebody else has the slot");
    give_up(&heap, mine);
    let taken = take_one(&heap, 1);
    reap(&heap, owner(1), 5);
    assert_eq!(put_back(&heap, taken, 5), PutBack::Evicted);
    assert_eq!(pull_any(&heap, 2), Some(2));
    is_as_good_as_new(&heap);
}

#[test]
fn a_pusher_killed_at_any_access_leaves_a_job_or_nothing() {
    for steps in 0..20 {
        for heap in queues() {
            let sent = heap.killed_after(steps).run(|heap| push(heap, 1, 7)).is_some();
            // The next one does not wait for anybody to find out.
            if heap.slots() > 1 {
                assert!(push(&heap, 0, 8));
            }
            let reaped = reap(&heap, owner(1), 5);
            assert_eq!(reaped.offered + reaped.dead, 0);
            let mut jobs = vec![];
            while let Some(job) = pull_any(&heap, 2) {
                jobs.push(job);
            }
            assert_eq!(jobs.contains(&7), sent, "{steps}: {jobs:?}");
            assert_eq!(jobs.contains(&8), heap.slots() > 1);
            is_as_good_as_new(&heap);
        }
    }
}

#[test]
fn a_puller_killed_at_any_access_has_done_its_job_or_not() {
    for steps in 0..30 {
        for heap in queues() {
            assert!(push(&heap, 0, 7));
            let done = heap.killed_after(steps).run(|heap| pull_any(heap, 1)).is_some();
            let reaped = reap(&heap, owner(1), 5);
            assert_eq!(reaped.freed + reaped.dead, 0);
            assert_eq!(pull_any(&heap, 2).is_none(), done, "{steps}");
            is_as_good_as_new(&heap);
        }
    }
}

#[test]
fn a_reaper_killed_at_any_access_is_followed_by_another() {
    for steps in 0..30 {
        for heap in queues().filter(|heap| heap.slots() > 2) {
            assert!(push(&heap, 0, 7));
            let _job = take_one(&heap, 1);
            let _loan = loan(&heap, 1, 8);
            heap.killed_after(steps).run(|heap| reap(heap, owner(1), 5));
            reap(&heap, owner(1), 5);
            let taken = take_one(&heap, 2);
            assert_eq!(taken.deliveries(), 1, "counted once");
            assert_eq!(work(&heap, taken), 7);
            is_as_good_as_new(&heap);
        }
    }
}

/// Everything that there is to do, with whatever lies there. It ends, and does not panic.
fn all_of_it(heap: &Heap) {
    for _ in 0..3 {
        let _ = (is_ready(heap), is_any_ready(heap), has_room(heap), owners(heap, owner(1)));
        if let Ok(claim) = claim(heap, owner(1)) {
            publish(heap, claim, OwnerId::NOBODY);
        }
        if let Ok(claim) = claim(heap, owner(2)) {
            give_up(heap, claim);
        }
        if let Some(taken) = take(heap, owner(1)) {
            done(heap, taken);
        }
        if let Some(taken) = take_any(heap, owner(2)) {
            put_back(heap, taken, 3);
        }
        if let Some(taken) = take_any(heap, owner(2)) {
            bury(heap, taken);
        }
        if let Some(letter) = exhume(heap, owner(3), 0) {
            done(heap, letter);
        }
        let _letter = exhume(heap, owner(3), 0);
        for dead in 0..4 {
            reap(heap, owner(dead), 3);
        }
        let _ = (counts(heap), calls::reap(heap, owner(1)));
    }
}

const GARBAGE: [u64; 10] = [
    1,
    2,
    15,
    LAP,
    LAP - 1,
    LAP * 1000 + 2,
    u64::MAX,
    u64::MAX / 2,
    1 << 63,
    0x5555_5555_5555_5555,
];

#[test]
fn garbage_ends_in_time_and_in_no_panic() {
    for garbage in GARBAGE {
        for heap in queues() {
            heap.damage(|_| Some(garbage), None, None);
            all_of_it(&heap);
        }
        for slots in [1, 3, 64] {
            for damaged in 0..2 * slots {
                let heap = Heap::new(slots);
                heap.damage(|slot| (slot == damaged).then_some(garbage), Some(garbage), None);
                all_of_it(&heap);
                heap.damage(|_| None, None, Some(garbage.rotate_left(damaged)));
                all_of_it(&heap);
            }
        }
    }
}

/// With sound words, the hints may say anything: nothing is lost, and the order is as it was soon after.
#[test]
fn garbage_in_head_and_tail_loses_no_job() {
    for garbage in GARBAGE {
        for [head, tail] in [[Some(garbage), None], [None, Some(garbage)], [Some(garbage); 2]] {
            for heap in queues() {
                let jobs = u64::from(heap.slots());
                for job in 0..jobs {
                    assert!(push(&heap, 0, job));
                }
                heap.damage(|_| None, head, tail);
                let mut found: Vec<_> = (0..jobs).filter_map(|_| pull_any(&heap, 1)).collect();
                found.sort_unstable();
                assert_eq!(found, (0..jobs).collect::<Vec<_>>(), "{garbage:x} {head:?} {tail:?}");
                assert!(!is_any_ready(&heap));
            }
        }
    }
}

#[test]
fn a_tail_that_is_garbage_is_put_right() {
    for garbage in GARBAGE {
        for heap in queues() {
            for job in 0..3 {
                assert!(push(&heap, 0, job));
                assert_eq!(pull(&heap, 1), Some(job));
            }
            heap.damage(|_| None, None, Some(garbage));
            assert!(push(&heap, 0, 7));
            assert_eq!(pull_any(&heap, 1), Some(7));
            is_as_good_as_new(&heap);
        }
    }
}

#[test]
fn a_slot_that_is_garbage_costs_a_slot_and_no_job() {
    for garbage in [10, 11, 15, LAP + 10, u64::MAX / LAP * LAP + 12] {
        let heap = Heap::new(4);
        heap.damage(|slot| (slot == 1).then_some(garbage), None, None);
        assert_eq!(counts(&heap).garbage, 1);
        for job in 0..50 {
            assert!(push(&heap, 0, job));
            assert_eq!(pull_any(&heap, 1), Some(job), "{garbage:x}");
        }
    }
}

#[test]
fn numbers_of_participants_are_told_from_nobody() {
    assert_eq!(OwnerId::NOBODY.number(), None);
    for number in [0, 1, 63, 4094] {
        assert_eq!(OwnerId::new(number).number(), Some(number));
        let word = Word::new(Lap(0).next(), 15, OwnerId::new(number), State::Abandoned);
        assert_eq!((word.owner(), word.deliveries()), (OwnerId::new(number), 15));
        assert_eq!((word.state(), word.lap()), (State::Abandoned, Lap(LAP)));
    }
}

#[test]
fn every_state_is_told_from_every_other() {
    for (number, state) in (0..).zip(STATES) {
        assert_eq!(Word::of(number).state(), state);
        assert_eq!(state as u64, number);
    }
    for garbage in STATES.len() as u64..16 {
        assert_eq!(Word::of(garbage).state(), State::Garbage);
    }
}
