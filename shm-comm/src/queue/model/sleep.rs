//! Whoever waits for something of a queue is woken: a puller for a job, a pusher for room, a client for its
//! answer.

use super::*;
use crate::queue::calls;
use crate::sync::{AtomicU32, StoreFirst};
use crate::wait::{announce, retract, wake_all};

/// Those who sleep: one of them.
struct Bed {
    sleepers: AtomicU64,
    word: AtomicU32,
}

impl Bed {
    fn new() -> Arc<Bed> {
        Arc::new(Bed { sleepers: AtomicU64::new(0), word: AtomicU32::new(0) })
    }

    /// What comes after every change that somebody may wait for.
    fn wake(&self) {
        if self.sleepers.load_after() != 0 {
            wake_all(&self.sleepers, |_| &self.word, |_| ());
        }
    }

    /// Looks, and sleeps if there is nothing. `false`: it sleeps. (To be woken and to find the word 0 is
    /// the same.)
    fn wait(&self, news: impl Fn() -> bool) -> bool {
        // At most two changes wake it here, the last of which is what it waits for.
        for _ in 0..3 {
            announce(&self.word, &self.sleepers, 5);
            if news() {
                retract(&self.word, &self.sleepers, 5);
                return true;
            }
            if self.word.load(Ordering::SeqCst) == 1 {
                return false;
            }
        }
        panic!("woken without news");
    }
}

/// `changes` runs beside somebody who waits for `news`.
fn waits(
    heap: &Heap,
    news: impl Fn(&Heap) -> bool + Send + 'static,
    changes: impl FnOnce(&Heap, &Bed),
) {
    let bed = Bed::new();
    let (other, theirs) = (heap.other(), bed.clone());
    let sleeper = thread::spawn(move || theirs.wait(|| news(&other)));
    changes(heap, &bed);
    if !sleeper.join().unwrap() {
        assert_eq!(bed.word.load(Ordering::SeqCst), 0, "asleep, and nobody wakes it");
    }
}

fn waits_for_a_job() {
    let heap = Heap::new(2);
    waits(&heap, is_any_ready, |heap, bed| {
        assert!(push(heap, 1, 1));
        bed.wake();
    });
}

#[test]
fn a_puller_is_woken_by_a_job() {
    explore_with_fences(3, waits_for_a_job);
}

#[test]
#[should_panic(expected = "asleep, and nobody wakes it")]
fn broken_job_without_fences() {
    without(Break::Fences, || explore_with_fences(3, waits_for_a_job));
}

#[test]
fn a_puller_is_woken_by_a_job_that_was_put_back() {
    explore_with_fences(3, || {
        let heap = Heap::new(2);
        assert!(push(&heap, 1, 1));
        let taken = take(&heap, owner(1)).expect("a job");
        waits(&heap, is_any_ready, |heap, bed| {
            assert_eq!(put_back(heap, taken, 3), PutBack::Offered);
            bed.wake();
        });
    });
}

/// Two are pushing, and either may be the one who sees that somebody sleeps.
#[test]
fn a_puller_is_woken_by_one_of_two_pushers() {
    explore_with_fences(2, || {
        let heap = Heap::new(2);
        waits(&heap, is_any_ready, |heap, bed| {
            let loan = claim(heap, owner(2)).expect("it is empty");
            assert!(push(heap, 1, 1));
            bed.wake();
            give_up(heap, loan);
            bed.wake();
        });
    });
}

fn waits_for_room() {
    let heap = Heap::new(1);
    assert!(push(&heap, 1, 1));
    waits(&heap, has_room, |heap, bed| {
        pull(heap, 2).expect("a job");
        bed.wake();
    });
}

#[test]
fn a_pusher_is_woken_by_room() {
    explore_with_fences(3, waits_for_room);
}

#[test]
#[should_panic(expected = "asleep, and nobody wakes it")]
fn broken_room_without_fences() {
    without(Break::Fences, || explore_with_fences(3, waits_for_room));
}

/// The queue is full because of its oldest job, though the slot behind it is free. It is not any more when
/// that job is taken, however long it takes then.
fn waits_for_the_oldest(take_wakes: bool) {
    let heap = Heap::new(2);
    let loan = claim(&heap, owner(1)).expect("it is empty");
    assert!(push(&heap, 1, 11));
    assert_eq!(pull(&heap, 2), Some(11), "a puller looks past the loan");
    heap.write(&loan, 1);
    assert!(publish(&heap, loan, OwnerId::NOBODY));
    assert!(!has_room(&heap));
    waits(&heap, has_room, |heap, bed| {
        let _at_work = take(heap, owner(2)).expect("a job");
        if take_wakes {
            bed.wake();
        }
    });
}

#[test]
fn a_pusher_is_woken_when_the_oldest_job_is_taken() {
    explore_with_fences(3, || waits_for_the_oldest(true));
}

#[test]
#[should_panic(expected = "asleep, and nobody wakes it")]
fn broken_take_that_wakes_nobody() {
    explore_with_fences(3, || waits_for_the_oldest(false));
}

fn waits_for_its_answer() {
    let heap = Heap::new(1);
    let claim = claim(&heap, owner(1)).expect("it is empty");
    let call = calls::post(&heap, claim, 7).expect("its own slot");
    let is_answered =
        move |heap: &Heap| matches!(calls::standing(heap, &call), calls::Standing::Replied);
    waits(&heap, is_answered, |heap, bed| {
        let taken = take(heap, owner(2)).expect("a call");
        heap.write_reply(&taken, 1);
        assert!(calls::reply(heap, taken));
        bed.wake();
    });
}

#[test]
fn a_client_is_woken_by_its_answer() {
    explore_with_fences(3, waits_for_its_answer);
}

#[test]
#[should_panic(expected = "asleep, and nobody wakes it")]
fn broken_answer_without_fences() {
    without(Break::Fences, || explore_with_fences(3, waits_for_its_answer));
}
