//! Calls: a client gets the answer to its call, or knows that there is none; no answer reaches another call;
//! and the slot comes back.

use super::*;
use crate::queue::calls::*;

use crate::queue::calls::reap as reap_calls;

/// The answer to a call.
const ANSWER: u64 = 100;

/// Calls with a number, which is also the request.
fn call(heap: &Heap, client: u32, number: u64) -> Option<Call> {
    let claim = claim(heap, owner(client)).ok()?;
    heap.write(&claim, number);
    post(heap, claim, number)
}

/// Takes a call and answers it. `None`: there is none. `false`: nobody waits for the answer.
fn serve(heap: &Heap, server: u32) -> Option<bool> {
    let taken = take(heap, owner(server))?;
    let answer = heap.read(&taken) + ANSWER;
    heap.write_reply(&taken, answer);
    Some(reply(heap, taken))
}

/// Looks once whether the answer is there, and ends the call. Says whether there was one.
fn receive(heap: &Heap, call: Call, number: u64) -> bool {
    let answered = standing(heap, &call) == Standing::Replied;
    if answered {
        assert_eq!(heap.read_reply(call.slot()), number + ANSWER, "another call's answer");
    }
    finish(heap, call);
    answered
}

fn is_free(heap: &Heap) {
    for slot in 0..heap.slots() {
        assert_eq!(heap.look(slot).state(), State::Free, "slot {slot} has leaked");
    }
    // A slot may be some laps ahead, but is not lost.
    assert!(has_room(heap));
    for number in 0..u64::from(heap.slots()) {
        let call = call(heap, 8, number).expect("full, though it is empty");
        assert_eq!(serve(heap, 9), Some(true));
        assert!(receive(heap, call, number));
    }
}

/// A client does not wait, and calls again, while the server answers.
#[test]
fn a_client_that_does_not_wait_gets_no_late_answer() {
    for (slots, preemptions) in [(1, 1), (2, 1)] {
        explore(preemptions, move || {
            let heap = Heap::new(slots);
            let server = heap.other();
            let first = call(&heap, 1, 1).expect("it is empty");
            let server =
                thread::spawn(move || (0..2).filter_map(|_| serve(&server, 2)).collect::<Vec<_>>());
            let mut received = u32::from(receive(&heap, first, 1));
            // Of one slot, only if the server has not taken the first call, or has answered.
            if let Some(second) = call(&heap, 1, 2) {
                received += u32::from(receive(&heap, second, 2));
            }
            let served = server.join().unwrap();
            let wanted = served.iter().filter(|wanted| **wanted).count();
            assert!(received as usize <= wanted, "an answer, though the server was told otherwise");
            is_free(&heap);
        });
    }
}

/// Either the client has the answer in the end, or it has given up before: never neither, never both.
#[test]
fn a_call_is_answered_or_given_up() {
    explore(3, || {
        let heap = Heap::new(1);
        let server = heap.other();
        let call = call(&heap, 1, 1).expect("it is empty");
        let server = thread::spawn(move || {
            let taken = take(&server, owner(2))?;
            let wanted = is_wanted(&server, &taken);
            server.write_reply(&taken, 1 + ANSWER);
            let replied = reply(&server, taken);
            assert!(wanted || !replied, "nobody waits again");
            Some(replied)
        });
        finish(&heap, call);
        match server.join().unwrap() {
            // Too late for this one, or given up before it was taken.
            Some(_) | None => is_free(&heap),
        }
    });
}

/// A server is killed before its access number `at`. Its client finds that out, and calls again.
fn killed_server(at: usize) {
    let heap = Heap::new(1);
    let call = call(&heap, 1, 1).expect("it is empty");
    let server = heap.killed_after(at);
    let server = thread::spawn(move || server.run(|heap| serve(heap, 2)));
    // Meanwhile it looks, but does not know yet.
    match standing(&heap, &call) {
        Standing::Waiting | Standing::Replied => {}
        Standing::Served(server) => assert_eq!(server, owner(2)),
        other => panic!("{other:?}"),
    }
    assert!(!again(&heap, &call), "it is not lost yet");
    server.join().unwrap();
    let bereaved = reap_calls(&heap, owner(2));
    match standing(&heap, &call) {
        Standing::Replied => assert_eq!(bereaved, []),
        Standing::Waiting => assert_eq!(serve(&heap, 3), Some(true)),
        Standing::Lost(times) => {
            assert_eq!((times, bereaved), (1, vec![owner(1)]));
            assert!(again(&heap, &call));
            // Two others race for it.
            let other = heap.other();
            let other = thread::spawn(move || serve(&other, 4));
            let served = [serve(&heap, 3), other.join().unwrap()];
            assert_eq!(served.iter().flatten().count(), 1, "one of them has it");
        }
        other => panic!("{other:?}"),
    }
    assert!(receive(&heap, call, 1), "there is an answer in the end");
    is_free(&heap);
}

#[test]
fn a_server_is_killed_at_every_access() {
    for at in 0..=14 {
        explore(2, move || killed_server(at));
    }
}

/// A client is killed before its access number `at`, in a call or in the next one, while it is served.
fn killed_client(slots: u32, at: usize) {
    let heap = Heap::new(slots);
    let client = heap.killed_after(at);
    let client = thread::spawn(move || {
        client.run(|heap| {
            for number in 1..3 {
                if let Some(call) = call(heap, 1, number) {
                    receive(heap, call, number);
                }
            }
        })
    });
    let served = [(); 2].map(|()| take(&heap, owner(2)));
    client.join().unwrap();
    let (reaper, mut kept) = (heap.other(), vec![]);
    // One is answered while that is put right, and what is left afterwards.
    let reaper = thread::spawn(move || assert_eq!(reap_calls(&reaper, owner(1)), []));
    for taken in served.into_iter().flatten() {
        if kept.is_empty() {
            kept.push(taken);
        } else {
            heap.write_reply(&taken, 1);
            reply(&heap, taken);
        }
    }
    if slots == 1 {
        for taken in kept.drain(..) {
            heap.write_reply(&taken, 1);
            reply(&heap, taken);
        }
    }
    reaper.join().unwrap();
    for taken in kept {
        assert!(!decline(&heap, taken), "its client is dead");
    }
    is_free(&heap);
}

#[test]
fn a_client_is_killed_at_every_access() {
    for at in (0..=24).step_by(2) {
        explore(1, move || killed_client(1, at));
    }
    for at in (1..=24).step_by(8) {
        explore(1, move || killed_client(2, at));
    }
}

/// Both have died, and two put that right at once, one for each.
#[test]
fn a_client_and_its_server_have_died() {
    for taken in [false, true] {
        explore(3, move || {
            let heap = Heap::new(1);
            let _call = call(&heap, 1, 1).expect("it is empty");
            let _taken = taken.then(|| take(&heap, owner(2)));
            let other = heap.other();
            let other = thread::spawn(move || reap_calls(&other, owner(2)));
            reap_calls(&heap, owner(1));
            other.join().unwrap();
            assert!(
                reap_calls(&heap, owner(1)).is_empty() && reap_calls(&heap, owner(2)).is_empty()
            );
            is_free(&heap);
        });
    }
}

/// A server has died, and its client ends the call or makes it again while somebody puts that right, who
/// dies, too, before his access number `at`.
#[test]
fn a_client_acts_while_its_server_is_reaped() {
    for at in 0..=5 {
        explore(3, move || {
            let heap = Heap::new(1);
            let call = call(&heap, 1, 1).expect("it is empty");
            let _taken = take(&heap, owner(2));
            let reaper = heap.killed_after(at);
            let reaper = thread::spawn(move || reaper.run(|heap| reap_calls(heap, owner(2))));
            if again(&heap, &call) {
                assert_eq!(serve(&heap, 3), Some(true));
                assert!(receive(&heap, call, 1));
            } else {
                finish(&heap, call);
            }
            reaper.join().unwrap();
            reap_calls(&heap, owner(2));
            is_free(&heap);
        });
    }
}

#[test]
fn two_clients_and_a_server() {
    for (slots, preemptions) in [(1, 1), (2, 1)] {
        explore(preemptions, move || {
            let heap = Heap::new(slots);
            let clients = [1, 3].map(|client| {
                let heap = heap.other();
                thread::spawn(move || {
                    call(&heap, client, u64::from(client))
                        .is_some_and(|call| receive(&heap, call, u64::from(client)))
                })
            });
            let wanted = (0..2).filter(|_| serve(&heap, 2) == Some(true)).count();
            let received = clients.map(|client| client.join().unwrap());
            assert!(received.iter().filter(|received| **received).count() <= wanted);
            while serve(&heap, 2).is_some() {}
            is_free(&heap);
        });
    }
}

/// A reply is read when the word says so.
fn answered() {
    let heap = Heap::new(1);
    let server = heap.other();
    let call = call(&heap, 1, 1).expect("it is empty");
    let server = thread::spawn(move || serve(&server, 2));
    receive(&heap, call, 1);
    server.join().unwrap();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn broken_answer_without_release() {
    without(Break::ChangeOrder, || explore(3, answered));
}
