//! Anything in any order, compared with a simple queue that is only lists.

use super::*;
use crate::queue::calls::Standing;
use proptest::prelude::*;
use std::collections::VecDeque;

const OWNERS: u32 = 3;
const LIMIT: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    Loan(u32),
    /// Of one who has a loan.
    Publish(u32),
    GiveUp(u32),
    Take(u32),
    TakeAny(u32),
    /// Of the jobs that are taken, this one.
    Done(usize),
    PutBack(usize),
    Bury(usize),
    Exhume(u32),
    Reap(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let owner = 0..OWNERS;
    prop_oneof![
        4 => owner.clone().prop_map(Step::Push),
        2 => owner.clone().prop_map(Step::Loan),
        2 => owner.clone().prop_map(Step::Publish),
        1 => owner.clone().prop_map(Step::GiveUp),
        4 => owner.clone().prop_map(Step::Take),
        1 => owner.clone().prop_map(Step::TakeAny),
        4 => (0..9usize).prop_map(Step::Done),
        2 => (0..9usize).prop_map(Step::PutBack),
        1 => (0..9usize).prop_map(Step::Bury),
        1 => owner.clone().prop_map(Step::Exhume),
        1 => owner.prop_map(Step::Reap),
    ]
}

/// A job: its value, and how often it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Job(u64, u32);

#[derive(Default)]
struct Reference {
    sent: u64,
    /// Of each pusher, who has not more than one at once.
    loans: [Option<(Claim, u64)>; OWNERS as usize],
    /// Of each pusher, in order.
    fresh: [VecDeque<u64>; OWNERS as usize],
    back: Vec<Job>,
    dead: Vec<Job>,
    taken: Vec<(Taken, u32, Job)>,
    done: Vec<u64>,
    evicted: Vec<Taken>,
}

impl Reference {
    fn ready(&self) -> usize {
        self.back.len() + self.fresh.iter().map(VecDeque::len).sum::<usize>()
    }

    fn step(&mut self, heap: &Heap, step: Step) {
        match step {
            Step::Push(me) => {
                self.loan(heap, me);
                self.publish(heap, me);
            }
            Step::Loan(me) => self.loan(heap, me),
            Step::Publish(me) => self.publish(heap, me),
            Step::GiveUp(me) => {
                if let Some((claim, _)) = self.loans[me as usize].take() {
                    give_up(heap, claim);
                }
            }
            Step::Take(me) => {
                let (fresh, is_ready) = (self.ready() > self.back.len(), is_ready(heap));
                let taken = take(heap, owner(me));
                assert!(taken.is_some() || !is_ready, "`is_ready` agrees");
                assert!(is_ready || !fresh, "a job is there, in turn");
                self.taken(heap, me, taken);
            }
            Step::TakeAny(me) => {
                let (ready, back) = (self.ready(), !self.back.is_empty());
                assert_eq!(is_any_ready(heap), ready > 0);
                let taken = take_any(heap, owner(me));
                assert_eq!(taken.is_some(), ready > 0, "a job is there");
                let again = taken.as_ref().is_some_and(|taken| taken.deliveries() > 0);
                assert_eq!(again, back, "what was put back comes first");
                self.taken(heap, me, taken);
            }
            Step::Done(which) => {
                if let Some((taken, _, job)) = self.one(which) {
                    assert_eq!(work(heap, taken), job.0);
                    self.done.push(job.0);
                }
            }
            Step::PutBack(which) => {
                if let Some((taken, _, job)) = self.one(which) {
                    let was_dead = taken.is_dead_letter();
                    let expected = self.returns(job, was_dead);
                    assert_eq!(put_back(heap, taken, LIMIT), expected);
                }
            }
            Step::Bury(which) => {
                if let Some((taken, _, Job(value, deliveries))) = self.one(which) {
                    let once_more = u32::from(!taken.is_dead_letter());
                    assert!(bury(heap, taken));
                    self.dead.push(Job(value, deliveries + once_more));
                }
            }
            Step::Exhume(me) => {
                let letter = exhume(heap, owner(me), 0);
                assert_eq!(letter.is_some(), !self.dead.is_empty());
                if let Some(letter) = letter {
                    let job = Job(heap.read(&letter), letter.deliveries());
                    let at = self.dead.iter().position(|dead| *dead == job).expect("a dead letter");
                    self.taken.push((letter, me, self.dead.remove(at)));
                }
            }
            Step::Reap(me) => self.reap(heap, me),
        }
    }

    fn loan(&mut self, heap: &Heap, me: u32) {
        if self.loans[me as usize].is_some() {
            return;
        }
        let (room, claim) = (has_room(heap), claim(heap, owner(me)));
        assert_eq!(room, claim.is_ok(), "`has_room` agrees");
        let used = self.ready() + self.taken.len() + self.dead.len();
        let loans = self.loans.iter().flatten().count();
        assert!(room || used + loans > 0, "full, though it is empty");
        if let Ok(claim) = claim {
            self.sent += 1;
            heap.write(&claim, self.sent);
            self.loans[me as usize] = Some((claim, self.sent));
        }
    }

    fn publish(&mut self, heap: &Heap, me: u32) {
        if let Some((claim, value)) = self.loans[me as usize].take() {
            send(heap, claim);
            self.fresh[me as usize].push_back(value);
        }
    }

    fn taken(&mut self, heap: &Heap, me: u32, taken: Option<Taken>) {
        let Some(taken) = taken else { return };
        let job = Job(heap.read(&taken), taken.deliveries());
        if let Some(at) = self.back.iter().position(|back| *back == job) {
            self.back.remove(at);
        } else {
            assert_eq!(job.1, 0, "it was never put back");
            let fresh = self.fresh.iter_mut().find(|fresh| fresh.front() == Some(&job.0));
            fresh.expect("the first of its pusher").pop_front();
        }
        self.taken.push((taken, me, job));
    }

    fn one(&mut self, which: usize) -> Option<(Taken, u32, Job)> {
        (!self.taken.is_empty()).then(|| self.taken.remove(which % self.taken.len()))
    }

    /// What becomes of a job that comes back.
    fn returns(&mut self, Job(value, deliveries): Job, was_dead: bool) -> PutBack {
        if !was_dead && deliveries + 1 < LIMIT {
            self.back.push(Job(value, deliveries + 1));
            PutBack::Offered
        } else {
            self.dead.push(Job(value, deliveries + u32::from(!was_dead)));
            PutBack::Dead
        }
    }

    fn reap(&mut self, heap: &Heap, dead: u32) {
        let mut expected = Reaped::default();
        if self.loans[dead as usize].take().is_some() {
            expected.freed += 1;
        }
        for (taken, me, job) in std::mem::take(&mut self.taken) {
            if me != dead {
                self.taken.push((taken, me, job));
                continue;
            }
            match self.returns(job, taken.is_dead_letter()) {
                PutBack::Offered => expected.offered += 1,
                _ => expected.dead += 1,
            }
            self.evicted.push(taken);
        }
        assert_eq!(reap(heap, owner(dead), LIMIT), expected);
        assert_eq!(reap(heap, owner(dead), LIMIT), Reaped::default(), "once is enough");
        for taken in self.evicted.drain(..) {
            assert!(!done(heap, taken), "it is not his any more");
        }
    }

    fn is_as(&self, heap: &Heap) {
        let letters = self.taken.iter().filter(|(taken, ..)| taken.is_dead_letter()).count();
        let expected = [
            self.loans.iter().flatten().count(),
            self.ready(),
            self.taken.len() - letters,
            self.dead.len() + letters,
        ];
        let Counts { free, writing, ready, taken, dead, garbage, ended } = counts(heap);
        assert_eq!([writing, ready, taken, dead].map(|count| count as usize), expected);
        assert_eq!(free as usize + expected.iter().sum::<usize>(), heap.slots() as usize);
        assert_eq!((garbage, ended), (0, 0));
    }

    /// Everything that was sent is done once, if it was not given up.
    fn ends(mut self, heap: &Heap) {
        for me in 0..OWNERS {
            self.step(heap, Step::Reap(me));
        }
        while self.ready() + self.dead.len() > 0 {
            self.step(heap, Step::TakeAny(0));
            self.step(heap, Step::Exhume(0));
            while !self.taken.is_empty() {
                self.step(heap, Step::Done(0));
            }
        }
        let done = self.done.len();
        self.done.sort_unstable();
        self.done.dedup();
        assert_eq!(self.done.len(), done, "done twice");
        is_as_good_as_new(heap);
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn queue() -> impl Strategy<Value = (u32, u64)> {
    (1..6u32, prop_oneof![Just(0), Just(NEAR_THE_END)])
}

#[test]
fn a_queue_is_what_a_simple_one_would_be() {
    let steps = prop::collection::vec(step(), 0..120);
    proptest!(cases(150), |((slots, lap) in queue(), steps in steps)| {
        let heap = Heap::in_lap(slots, lap);
        let mut reference = Reference::default();
        for step in steps {
            reference.step(&heap, step);
            reference.is_as(&heap);
        }
        reference.ends(&heap);
    });
}

#[derive(Clone, Debug)]
enum CallStep {
    Call(u32),
    Take(u32),
    Reply(usize),
    Decline(usize),
    Finish(usize),
    Again(usize),
    Reap(u32),
}

fn call_step() -> impl Strategy<Value = CallStep> {
    prop_oneof![
        4 => (0..2u32).prop_map(CallStep::Call),
        4 => (2..4u32).prop_map(CallStep::Take),
        3 => (0..9usize).prop_map(CallStep::Reply),
        1 => (0..9usize).prop_map(CallStep::Decline),
        3 => (0..9usize).prop_map(CallStep::Finish),
        2 => (0..9usize).prop_map(CallStep::Again),
        1 => (0..4u32).prop_map(CallStep::Reap),
    ]
}

/// A call, its client and its number, how often it was lost, and how it stands.
struct Made {
    call: calls::Call,
    client: u32,
    number: u64,
    lost: u32,
    standing: Standing,
}

/// Calls of two clients, 0 and 1, to two servers, 2 and 3.
#[derive(Default)]
struct CallReference {
    sent: u64,
    calls: Vec<Made>,
    /// With the number of its call.
    taken: Vec<(Taken, u32, u64)>,
}

impl CallReference {
    fn step(&mut self, heap: &Heap, step: CallStep) {
        match step {
            CallStep::Call(me) => {
                let (room, claim) = (has_room(heap), claim(heap, owner(me)));
                assert_eq!(room, claim.is_ok(), "`has_room` agrees");
                assert!(room || !self.calls.is_empty() || !self.taken.is_empty());
                if let Ok(claim) = claim {
                    self.sent += 1;
                    heap.write(&claim, self.sent);
                    let call = calls::post(heap, claim, self.sent).expect("its own slot");
                    let (number, standing) = (self.sent, Standing::Waiting);
                    self.calls.push(Made { call, client: me, number, lost: 0, standing });
                }
            }
            CallStep::Take(me) => {
                let waits = self.calls.iter().any(|made| made.standing == Standing::Waiting);
                let taken = take_any(heap, owner(me));
                assert_eq!(taken.is_some(), waits);
                if let Some(taken) = taken {
                    let number = heap.read(&taken);
                    let made = self.of(number).expect("nobody has finished it");
                    assert_eq!(made.standing, Standing::Waiting);
                    made.standing = Standing::Served(owner(me));
                    self.taken.push((taken, me, number));
                }
            }
            CallStep::Reply(which) => {
                if let Some((taken, number)) = self.one(which) {
                    heap.write_reply(&taken, number + 100);
                    assert_eq!(calls::is_wanted(heap, &taken), self.of(number).is_some());
                    self.answered(number, Standing::Replied, calls::reply(heap, taken));
                }
            }
            CallStep::Decline(which) => {
                if let Some((taken, number)) = self.one(which) {
                    self.answered(number, Standing::Declined, calls::decline(heap, taken));
                }
            }
            CallStep::Finish(which) => {
                if !self.calls.is_empty() {
                    let made = self.calls.remove(which % self.calls.len());
                    calls::finish(heap, made.call);
                }
            }
            CallStep::Again(which) => {
                let which = which % self.calls.len().max(1);
                if let Some(made) = self.calls.get_mut(which) {
                    let lost = matches!(made.standing, Standing::Lost(_));
                    assert_eq!(calls::again(heap, &made.call), lost);
                    if lost {
                        made.standing = Standing::Waiting;
                    }
                }
            }
            CallStep::Reap(dead) => {
                self.calls.retain(|made| made.client != dead);
                let mut bereaved = Vec::new();
                for (taken, me, number) in std::mem::take(&mut self.taken) {
                    if me != dead {
                        self.taken.push((taken, me, number));
                    } else if let Some(made) = self.of(number) {
                        made.lost = (made.lost + 1).min(MAX_DELIVERIES);
                        made.standing = Standing::Lost(made.lost);
                        bereaved.push(taken.from());
                    }
                }
                let mut reaped = calls::reap(heap, owner(dead));
                reaped.sort_unstable();
                bereaved.sort_unstable();
                assert_eq!(reaped, bereaved);
                assert_eq!(calls::reap(heap, owner(dead)), [], "once is enough");
            }
        }
        for Made { call, number, standing, .. } in &self.calls {
            assert_eq!(calls::standing(heap, call), *standing);
            if *standing == Standing::Replied {
                assert_eq!(heap.read_reply(call.slot()), number + 100, "another call's answer");
            }
        }
    }

    fn of(&mut self, number: u64) -> Option<&mut Made> {
        self.calls.iter_mut().find(|made| made.number == number)
    }

    fn one(&mut self, which: usize) -> Option<(Taken, u64)> {
        if self.taken.is_empty() {
            return None;
        }
        let (taken, _, number) = self.taken.remove(which % self.taken.len());
        Some((taken, number))
    }

    fn answered(&mut self, number: u64, how: Standing, wanted: bool) {
        let made = self.of(number);
        assert_eq!(wanted, made.is_some(), "whether its client still waits");
        if let Some(made) = made {
            made.standing = how;
        }
    }

    fn ends(mut self, heap: &Heap) {
        while !self.calls.is_empty() {
            self.step(heap, CallStep::Finish(0));
        }
        while !self.taken.is_empty() {
            self.step(heap, CallStep::Decline(0));
        }
        is_as_good_as_new(heap);
    }
}

#[test]
fn calls_are_what_simple_ones_would_be() {
    let steps = prop::collection::vec(call_step(), 0..120);
    proptest!(cases(150), |((slots, lap) in queue(), steps in steps)| {
        let heap = Heap::in_lap(slots, lap);
        let mut reference = CallReference::default();
        for step in steps {
            reference.step(&heap, step);
        }
        reference.ends(&heap);
    });
}
