//! Calls between a client and a server.

use super::*;
use crate::queue::calls::*;

/// Not the queue's own.
fn reap(heap: &Heap, dead: u32) -> Vec<OwnerId> {
    calls::reap(heap, owner(dead))
}

const ANSWER: u64 = 100;

fn call(heap: &Heap, client: u32, number: u64) -> Call {
    post(heap, loan(heap, client, number), number).expect("its own slot")
}

fn serve(heap: &Heap, server: u32) -> bool {
    let taken = take_one(heap, server);
    heap.write_reply(&taken, heap.read(&taken) + ANSWER);
    reply(heap, taken)
}

/// Calls and is answered, in every slot, with answers that fit.
fn is_in_order(heap: &Heap) {
    assert_eq!(counts(heap).free, heap.slots());
    for number in 0..40 {
        let call = call(heap, 7, number);
        assert_eq!(standing(heap, &call), Standing::Waiting);
        assert!(serve(heap, 8));
        assert_eq!(standing(heap, &call), Standing::Replied);
        assert_eq!(heap.read_reply(call.slot()), number + ANSWER);
        finish(heap, call);
    }
    is_as_good_as_new(heap);
}

#[test]
fn a_call_is_taken_answered_and_finished() {
    for heap in queues() {
        let call = call(&heap, 1, 5);
        let taken = take_one(&heap, 2);
        assert_eq!(standing(&heap, &call), Standing::Served(owner(2)));
        assert_eq!((heap.read(&taken), taken.from()), (5, owner(1)));
        assert!(is_wanted(&heap, &taken));
        assert!(reply(&heap, taken));
        assert_eq!(standing(&heap, &call), Standing::Replied);
        assert!(take_any(&heap, owner(2)).is_none());
        assert_eq!(counts(&heap).ended, 1, "until its client has read it");
        finish(&heap, call);
        is_in_order(&heap);
    }
}

#[test]
fn a_call_that_is_not_answered_is_declined() {
    for heap in queues() {
        let call = call(&heap, 1, 5);
        assert!(decline(&heap, take_one(&heap, 2)));
        assert_eq!(standing(&heap, &call), Standing::Declined);
        assert!(!again(&heap, &call), "only what is lost");
        finish(&heap, call);
        is_in_order(&heap);
    }
}

#[test]
fn a_call_that_is_finished_before_it_was_taken_is_never_taken() {
    for heap in queues() {
        for number in 0..10 {
            finish(&heap, call(&heap, 1, number));
            assert!(!is_any_ready(&heap) && take_any(&heap, owner(2)).is_none());
        }
        is_in_order(&heap);
    }
}

#[test]
fn the_answer_to_a_call_that_timed_out_reaches_nobody() {
    for answers in [true, false] {
        for heap in queues() {
            let first = call(&heap, 1, 1);
            let taken = take_one(&heap, 2);
            finish(&heap, first);
            assert!(!is_wanted(&heap, &taken));
            let next = (heap.slots() > 1).then(|| call(&heap, 1, 2));
            assert_eq!(
                has_room(&heap),
                heap.slots() > 2,
                "its slot is its server's until it answers"
            );
            heap.write_reply(&taken, 1 + ANSWER);
            assert!(!if answers { reply(&heap, taken) } else { decline(&heap, taken) });
            assert!(has_room(&heap));
            if let Some(next) = next {
                assert_eq!(standing(&heap, &next), Standing::Waiting);
                finish(&heap, next);
            }
            let next = call(&heap, 1, 3);
            assert_eq!(standing(&heap, &next), Standing::Waiting, "not the late answer");
            finish(&heap, next);
            is_in_order(&heap);
        }
    }
}

#[test]
fn a_call_whose_server_has_died_is_lost_and_may_be_made_again() {
    for heap in queues() {
        let call = call(&heap, 1, 5);
        for deaths in 1..20 {
            let _at_work = take_one(&heap, 2);
            assert_eq!(reap(&heap, 2), [owner(1)]);
            assert_eq!(reap(&heap, 2), [], "once is enough");
            assert_eq!(standing(&heap, &call), Standing::Lost(deaths.min(MAX_DELIVERIES)));
            let before = heap.returned().load(Ordering::Relaxed);
            assert!(again(&heap, &call));
            assert_eq!(heap.returned().load(Ordering::Relaxed), before + 1, "it is out of turn");
            assert!(!again(&heap, &call), "once is enough");
            assert!(is_any_ready(&heap));
        }
        assert!(serve(&heap, 3), "another server");
        assert_eq!(heap.read_reply(call.slot()), 5 + ANSWER);
        finish(&heap, call);
        // Its slot is many laps ahead.
        for number in 0..100 {
            assert!(has_room(&heap));
            finish(&heap, self::call(&heap, 1, number));
        }
        is_in_order(&heap);
    }
}

#[test]
fn a_lost_call_may_be_finished() {
    for heap in queues() {
        let call = call(&heap, 1, 5);
        let _at_work = take_one(&heap, 2);
        assert_eq!(reap(&heap, 2), [owner(1)]);
        finish(&heap, call);
        is_in_order(&heap);
    }
}

#[test]
fn a_slot_of_a_call_made_again_without_end_comes_back() {
    for slots in [1, 2] {
        let heap = Heap::new(slots);
        let call = call(&heap, 1, 5);
        for _ in 0..5000 {
            let _at_work = take_one(&heap, 2);
            reap(&heap, 2);
            assert!(again(&heap, &call));
        }
        finish(&heap, call);
        assert!(has_room(&heap));
        // It is too far ahead for one look.
        let claim = (0..10).find_map(|_| claim(&heap, owner(1)).ok()).expect("room");
        give_up(&heap, claim);
    }
}

#[test]
fn a_client_that_has_died_leaves_no_call() {
    for heap in queues().filter(|heap| heap.slots() > 4) {
        let _waiting = call(&heap, 1, 0);
        let _served = [1, 2, 3].map(|number| call(&heap, 1, number));
        let served: Vec<_> = (0..3).map(|_| take_one(&heap, 2)).collect();
        let waiting = served[0].slot();
        let _loan = loan(&heap, 1, 9);
        assert_eq!(reap(&heap, 1), []);
        assert_eq!(reap(&heap, 1), [], "once is enough");
        assert!(served.iter().all(|taken| !is_wanted(&heap, taken)));
        assert_eq!(heap.look(waiting).state(), State::Abandoned);
        for taken in served {
            assert!(!reply(&heap, taken));
        }
        is_in_order(&heap);
    }
}

#[test]
fn a_client_with_the_number_of_a_dead_one_gets_no_answer_of_his() {
    let heap = Heap::new(2);
    let _dead = call(&heap, 1, 1);
    let taken = take_one(&heap, 2);
    reap(&heap, 1);
    let mine = call(&heap, 1, 2);
    assert!(!reply(&heap, taken));
    assert_eq!(standing(&heap, &mine), Standing::Waiting);
    finish(&heap, mine);
    is_in_order(&heap);
}

#[test]
fn a_client_that_was_thought_dead_finds_its_call_gone() {
    let heap = Heap::new(1);
    let mine = call(&heap, 1, 1);
    reap(&heap, 1);
    assert_eq!(standing(&heap, &mine), Standing::Gone);
    let other = call(&heap, 1, 2);
    assert!(serve(&heap, 2));
    assert_eq!(standing(&heap, &mine), Standing::Gone, "that is another call's answer");
    assert!(!again(&heap, &mine));
    finish(&heap, mine);
    assert_eq!(standing(&heap, &other), Standing::Replied, "and it does not end it");
    finish(&heap, other);
    is_in_order(&heap);
}

#[test]
fn a_server_that_was_thought_dead_answers_nobody() {
    let heap = Heap::new(1);
    let call = call(&heap, 1, 1);
    let first = take_one(&heap, 2);
    reap(&heap, 2);
    assert!(again(&heap, &call));
    let second = take_one(&heap, 3);
    assert!(!reply(&heap, first));
    assert_eq!(standing(&heap, &call), Standing::Served(owner(3)));
    assert!(reply(&heap, second));
    finish(&heap, call);
    is_in_order(&heap);
}

#[test]
fn a_client_and_its_server_may_die_in_any_order() {
    for order in [[1, 2], [2, 1]] {
        for heap in queues() {
            let _call = call(&heap, 1, 1);
            let _taken = take_one(&heap, 2);
            for dead in order {
                reap(&heap, dead);
            }
            reap(&heap, order[0]);
            is_in_order(&heap);
        }
    }
}

#[test]
fn a_server_killed_at_any_access_has_answered_or_is_lost_or_was_not_there() {
    for steps in 0..30 {
        for heap in queues() {
            let call = call(&heap, 1, 5);
            let served = heap.killed_after(steps).run(|heap| serve(heap, 2));
            let bereaved = reap(&heap, 2);
            match standing(&heap, &call) {
                Standing::Replied => assert_eq!((served, bereaved), (Some(true), vec![])),
                Standing::Waiting => assert!(serve(&heap, 3)),
                Standing::Lost(1) => {
                    assert_eq!(bereaved, [owner(1)]);
                    assert!(again(&heap, &call) && serve(&heap, 3));
                }
                other => panic!("{steps}: {other:?}"),
            }
            assert_eq!(heap.read_reply(call.slot()), 5 + ANSWER);
            finish(&heap, call);
            is_in_order(&heap);
        }
    }
}

#[test]
fn a_client_killed_at_any_access_leaves_no_call() {
    for steps in 0..30 {
        for heap in queues() {
            heap.killed_after(steps).run(|heap| finish(heap, call(heap, 1, 5)));
            let taken = take_any(&heap, owner(2));
            reap(&heap, 1);
            if let Some(taken) = taken {
                assert!(!reply(&heap, taken));
            }
            is_in_order(&heap);
        }
    }
}

#[test]
fn the_greatest_numbers_fit_into_a_note() {
    let heap = Heap::new(1);
    for number in [0, 1, (1 << 48) - 1, 1 << 48, u64::MAX] {
        let call = call(&heap, 4094, number);
        assert_eq!(heap.note(0).load(Ordering::Relaxed), 4095 << 48 | number & ((1 << 48) - 1));
        let _at_work = take_one(&heap, 2);
        assert_eq!(reap(&heap, 2), [owner(4094)]);
        finish(&heap, call);
    }
    is_in_order(&heap);
}
