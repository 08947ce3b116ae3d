//! Every interleaving of a writer and its readers, on small rings, with loom: every message that a
//! reader gets is the one it should be, the count of the missed ones is exact, and nobody is stuck.
//!
//! Run by `.ci/models`. The models named `broken_…` take one edge away and must fail.

use super::heap::{Heap, Killed};
use super::*;
use crate::sync::model::{Break, without};
use loom::sync::Arc;
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

/// A fresh ring whose batch is `slots / 8`, at least one.
fn ring(slots: usize, readers: usize, blind: bool) -> Heap {
    let heap = Heap::with(slots, readers, blind);
    initialise(&heap);
    heap
}

/// Publishes its number in the payload.
fn publish(heap: &Heap, writer: &mut Writer) {
    let number = writer.published(heap);
    // In a ring of two slots one reader can be in both while the writer goes round once.
    let claim = (0..4).find_map(|_| writer.claim(heap).ok()).expect("fewer pins than slots");
    heap.write(claim.position(), number);
    writer.publish(heap, claim);
    writer.prepare(heap);
}

struct Process {
    heap: Heap,
    reader: Reader,
    id: u32,
    /// What was published before it came.
    before: u64,
    received: u64,
    missed: u64,
}

// SAFETY: `Heap` is not `Send` for its step counter alone, which moves with it.
unsafe impl Send for Process {}

impl Process {
    fn new(heap: &Heap, id: u32) -> Process {
        let heap = heap.killed_after(usize::MAX);
        let reader = Reader::at_first(&heap);
        Process { heap, reader, id, before: 0, received: 0, missed: 0 }
    }

    fn receive(&mut self) {
        let cell = self.heap.cell(self.id, 0);
        if let Some(found) = self.reader.next(&self.heap, cell) {
            self.enter(found);
        }
    }

    /// The same, with a pin that was made before the message.
    fn receive_expected(&mut self) {
        let cell = self.heap.cell(self.id, 0);
        let Some(pin) = self.reader.expect(&self.heap, cell) else { return self.receive() };
        match self.reader.next_expected(&self.heap, pin) {
            Ok(found) => self.enter(found),
            Err(pin) => pin.release(cell),
        }
    }

    fn enter(&mut self, found: Found<Pin>) {
        let number = self.heap.read(found.right.position());
        assert_eq!(number, found.sequence, "torn, or another message");
        self.received += 1;
        self.missed += found.missed;
        assert_eq!(self.counted(), number + 1, "the missed ones are counted");
        found.right.release(self.heap.cell(self.id, 0));
    }

    /// For somebody who does not know how many it missed.
    fn look(&self, found: Option<Found<Pin>>) {
        if let Some(found) = found {
            let number = self.heap.read(found.right.position());
            assert_eq!(number, found.sequence, "torn, or another message");
            found.right.release(self.heap.cell(self.id, 0));
        }
    }

    /// How many messages it knows of.
    fn counted(&self) -> u64 {
        self.before + self.received + self.missed
    }

    /// With the writer at rest, everything that is left is read.
    fn drain(&mut self, published: u64) {
        for _ in 0..40 {
            if self.counted() < published {
                self.receive();
            }
        }
        assert_eq!(self.counted(), published, "received + missed = published");
    }
}

fn plain(slots: usize, readers: u32, messages: u32, tries: u32, blind: bool) {
    let heap = ring(slots, readers as usize, blind);
    let threads: Vec<_> = (0..readers)
        .map(|id| {
            let mut process = Process::new(&heap, id);
            thread::spawn(move || {
                for _ in 0..tries {
                    process.receive();
                }
                process
            })
        })
        .collect();
    let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    for _ in 0..messages {
        publish(&heap, &mut writer);
    }
    for thread in threads {
        thread.join().unwrap().drain(u64::from(messages));
    }
}

#[test]
fn one_reader() {
    explore(2, || plain(2, 1, 3, 3, false));
}

#[test]
fn one_reader_four_slots() {
    explore(1, || plain(4, 1, 6, 4, false));
}

#[test]
fn two_readers() {
    explore(1, || plain(2, 2, 3, 1, false));
}

/// A reader that pins in advance.
fn expecting() {
    let heap = ring(2, 1, false);
    let mut process = Process::new(&heap, 0);
    let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    writer.prepare(&heap); // So that there is something to expect.
    let reader = thread::spawn(move || {
        process.receive_expected();
        process.receive_expected();
        process
    });
    for _ in 0..3 {
        publish(&heap, &mut writer);
    }
    reader.join().unwrap().drain(3);
}

/// A pin in advance takes no slot from the writer.
#[test]
fn expecting_costs_no_slot() {
    explore(3, || {
        let heap = ring(2, 1, false);
        let other = Process::new(&heap, 0);
        let reader = thread::spawn(move || {
            let Process { heap, reader, .. } = other;
            for _ in 0..2 {
                if let Some(pin) = reader.expect(&heap, heap.cell(0, 0)) {
                    pin.release(heap.cell(0, 0));
                }
            }
        });
        let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
        writer.prepare(&heap);
        reader.join().unwrap();
        assert_eq!(writer.skips(), 0);
        publish(&heap, &mut writer);
        assert_eq!(writer.skips(), 0);
    });
}

#[test]
fn expecting_reader() {
    explore(2, expecting);
}

#[test]
#[should_panic]
fn broken_expecting_without_fences() {
    without(Break::Fences, || explore(3, expecting));
}

/// Its slot is skipped when the writer dies and its successor scans again; nobody is stuck.
#[test]
fn expecting_reader_and_a_killed_owner() {
    for at in 0..30 {
        explore(1, move || {
            let heap = ring(2, 1, false);
            let mut process = Process::new(&heap, 0);
            let reader = thread::spawn(move || {
                process.receive_expected();
                process.receive_expected();
                process
            });
            let mine = heap.killed_after(at);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let mut writer = Writer::take_over(&mine, 1).expect("a sound ring");
                publish(&mine, &mut writer);
            }));
            let mut writer = Writer::take_over(&heap, 2).expect("a sound ring");
            publish(&heap, &mut writer);
            let mut process = reader.join().unwrap();
            process.drain(writer.published(&heap));
        });
    }
}

/// A reader that copies: what it confirms was one message, and its count is exact.
#[test]
fn copying_reader() {
    explore(2, || {
        let heap = ring(2, 1, false);
        let mut process = Process::new(&heap, 0);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                // The payload itself is not modelled: loom has no racy reads. Its word and meta are.
                if let Some(peek) = process.reader.peek(&process.heap, 0) {
                    if let Some(found) = process.reader.confirm(&process.heap, peek) {
                        process.received += 1;
                        process.missed += found.missed;
                        assert_eq!(process.received + process.missed, found.sequence + 1);
                    }
                }
            }
            process
        });
        let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
        for _ in 0..3 {
            publish(&heap, &mut writer);
        }
        thread.join().unwrap().drain(3);
    });
}

/// Somebody who only looks finds nothing wrong with a ring in use, gets the newest message whole, and
/// counts what was published; also if the writer is killed.
#[test]
fn onlooker() {
    for death in [usize::MAX, 9] {
        explore(2, move || {
            let heap = ring(2, 1, false);
            let onlooker = Process::new(&heap, 0);
            let writers = heap.killed_after(death);
            let thread = thread::spawn(move || {
                let Process { heap, mut reader, .. } = onlooker;
                assert_eq!(check(&heap), Ok(()));
                let seen = published(&heap).map_or(0, |(published, _)| published);
                if let Some(peek) = reader.peek_newest(&heap)
                    && let Some(found) = reader.confirm(&heap, peek)
                {
                    assert!(found.sequence + 1 >= seen, "the newest is not older than the count");
                }
            });
            let written = catch_unwind(AssertUnwindSafe(|| {
                let mut writer = Writer::take_over(&writers, 1).expect("a fresh ring");
                for _ in 0..2 {
                    publish(&writers, &mut writer);
                }
            }));
            assert!(written.is_ok() || death != usize::MAX);
            thread.join().unwrap();
        });
    }
}

/// A reader that joins while the writer runs, and asks for the newest.
#[test]
fn joining_reader() {
    explore(2, || {
        let heap = ring(2, 1, false);
        let other = heap.killed_after(usize::MAX);
        let reader = Process { reader: Reader::at_first(&heap), ..Process::new(&other, 0) };
        let thread = thread::spawn(move || {
            let mut process = reader;
            process.reader = Reader::at_next(&process.heap);
            let first = process.reader.expected;
            let cell = process.heap.cell(0, 0);
            if let Some(found) = process.reader.newest(&process.heap, cell) {
                assert_eq!(process.heap.read(found.right.position()), found.sequence);
                assert_eq!(found.missed, 0);
                found.right.release(cell);
            }
            let expected = process.reader.expected;
            assert!(expected >= first, "the newest is not older than the start");
            if let Some(found) = process.reader.next(&process.heap, cell) {
                assert_eq!(process.heap.read(found.right.position()), found.sequence);
                if let Some(expected) = expected {
                    assert_eq!(found.sequence, expected + found.missed);
                }
                found.right.release(cell);
            }
        });
        let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
        for _ in 0..2 {
            publish(&heap, &mut writer);
        }
        thread.join().unwrap();
    });
}

/// The owner is killed before its access number `deaths[0]`, the one that takes over before its
/// number `deaths[1]`, and so on; the one after the last lives.
fn killed(slots: usize, messages: u32, deaths: &[usize]) {
    let heap = ring(slots, 1, false);
    let mut process = Process::new(&heap, 0);
    let reader = thread::spawn(move || {
        for _ in 0..2 {
            process.receive();
        }
        process
    });
    for (generation, steps) in (1..).zip(deaths) {
        let mine = heap.killed_after(*steps);
        // That it ends is what the kernel tells of a dead process: everything it did has happened.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut writer = Writer::take_over(&mine, generation).expect("a sound ring");
            for _ in 0..messages {
                publish(&mine, &mut writer);
            }
        }))
        .map_err(|reason| assert!(reason.is::<Killed>(), "the model itself failed"));
    }
    let mut writer = Writer::take_over(&heap, 3).expect("a sound ring");
    // Enough to come round to the slot of the first message.
    for _ in deaths.len()..3 {
        publish(&heap, &mut writer);
    }
    let mut process = reader.join().unwrap();
    process.drain(writer.published(&heap));
    publish(&heap, &mut writer);
    process.drain(writer.published(&heap));
}

/// So many accesses need a take-over of a fresh ring and one message; and with a second one, after
/// which the slot of the first is claimed again.
const ONE: usize = 21;
const TWO: usize = 30;

#[test]
fn owner_killed_at_every_access() {
    for at in 0..=TWO {
        explore(1, move || killed(2, if at < ONE { 1 } else { 2 }, &[at]));
    }
}

#[test]
fn owner_and_its_successor_killed() {
    for at in (0..=TWO).step_by(5) {
        for again in (0..24).step_by(3) {
            explore(1, move || killed(2, 2, &[at, again]));
        }
    }
}

#[test]
#[should_panic]
fn broken_without_fences() {
    without(Break::Fences, || explore(3, || plain(2, 1, 4, 3, false)));
}

/// A reader that re-uses its cell for the next pin, and a writer that reaches the first slot.
fn repinned() {
    let heap = ring(4, 1, false);
    let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    for _ in 0..3 {
        publish(&heap, &mut writer);
    }
    let mut process = Process::new(&heap, 0);
    let reader = thread::spawn(move || {
        process.receive();
        process.receive();
    });
    publish(&heap, &mut writer);
    publish(&heap, &mut writer);
    reader.join().unwrap();
}

#[test]
fn a_pin_does_not_hide_the_release_of_the_one_before() {
    explore(4, repinned);
}

#[test]
#[should_panic]
fn broken_relaxed_pins() {
    without(Break::PinOrder, || explore(4, repinned));
}

#[test]
#[should_panic]
fn broken_without_scan() {
    explore(2, || plain(2, 1, 4, 3, true));
}

/// A subscriber that comes while the writer runs. `Input::sit` does three things in this order: it is
/// registered, so that its pins are seen; finds out where to start; and says that it listens, by a lock
/// that others can ask for. One bit stands for the first or for the last of them here.
#[derive(Clone, Copy, PartialEq)]
enum Joins {
    Properly,
    /// It says that it listens before it knows where to start.
    BitFirst,
    /// With a pin before it is registered.
    PinFirst,
}

fn register(heap: &Heap, id: u32) {
    heap.registered().fetch_or(1 << id, Ordering::SeqCst); // Edge C.
}

/// Whoever sees that it listens and then publishes is heard: what comes after it is received or
/// counted as missed.
fn heard(joins: Joins) {
    let heap = ring(2, 1, false);
    heap.registered().store(0, Ordering::Relaxed);
    let mut process = Process::new(&heap, 0);
    let reader = thread::spawn(move || {
        if joins == Joins::BitFirst {
            register(&process.heap, 0);
        }
        process.reader = Reader::at_next(&process.heap);
        process.before = process.reader.expected.expect("less than a lap passes");
        if joins != Joins::BitFirst {
            register(&process.heap, 0);
        }
        process.receive();
        process
    });
    let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    let mut promised = u64::MAX;
    for _ in 0..2 {
        if heap.registered().load(Ordering::Acquire) != 0 {
            promised = promised.min(writer.published(&heap));
        }
        publish(&heap, &mut writer);
    }
    let mut process = reader.join().unwrap();
    assert!(process.before <= promised, "published to somebody who listens, and not heard");
    process.drain(2);
}

#[test]
fn a_message_to_one_who_listens_is_heard() {
    explore(2, || heard(Joins::Properly));
}

#[test]
#[should_panic(expected = "published to somebody who listens, and not heard")]
fn broken_listening_before_the_start_is_known() {
    explore(2, || heard(Joins::BitFirst));
}

/// It finds an old message at once and pins it, while the writer comes round.
fn pins_at_once(joins: Joins) {
    let heap = ring(2, 1, false);
    heap.registered().store(0, Ordering::Relaxed);
    let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    publish(&heap, &mut writer);
    let mut process = Process::new(&heap, 0);
    let reader = thread::spawn(move || {
        process.reader = Reader::at_oldest(&process.heap);
        let cell = process.heap.cell(0, 0);
        if joins == Joins::PinFirst {
            let found = process.reader.next(&process.heap, cell);
            register(&process.heap, 0);
            process.look(found);
        } else {
            register(&process.heap, 0);
            let found = process.reader.next(&process.heap, cell);
            process.look(found);
        }
    });
    for _ in 0..2 {
        publish(&heap, &mut writer);
    }
    reader.join().unwrap();
}

#[test]
fn the_pin_of_a_new_subscriber_is_respected() {
    explore(2, || pins_at_once(Joins::Properly));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn broken_pinned_before_the_registration() {
    explore(2, || pins_at_once(Joins::PinFirst));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn broken_registration_without_fences() {
    without(Break::Fences, || explore(2, || pins_at_once(Joins::Properly)));
}

/// The kernel's lock on a subscriber's place: tried, never waited for, and free when its holder
/// dies.
struct PlaceLock(AtomicU32);

impl PlaceLock {
    fn free() -> PlaceLock {
        PlaceLock(AtomicU32::new(0))
    }
    fn is_free(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
    fn take(&self) -> bool {
        self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
    fn leave(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// As `Control::clean`, but for the sleep word, which no ring knows. Killed after `steps` of it.
///
/// It empties the two cells that are used here, and not all, as [`release_all`] does: each further
/// store of a 0 over a 0 would double what there is to explore, and show nothing.
fn clean(heap: &Heap, id: u32, steps: usize) {
    for cell in [0, PINS - 1].iter().take(steps) {
        heap.cell(id, *cell).store(0, Ordering::Release); // Edge B.
    }
    if steps > 2 {
        heap.registered().fetch_and(!(1 << id), Ordering::Release);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Reaps {
    Properly,
    /// Without holding the lock that it has seen free.
    WithoutTheLock,
    /// Properly, but whoever takes the place next relies on it.
    ForTheNextOne,
}

/// A subscriber has died holding a pin. Somebody cleans up after it, and is perhaps killed after
/// `steps` of that: the publisher or a third. Somebody else takes the place and pins. The writer
/// goes on all the time.
fn reaped(reaps: Reaps, by_the_publisher: bool, steps: usize) {
    let heap = ring(2, 1, false);
    let lock = Arc::new(PlaceLock::free());
    let mut writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    publish(&heap, &mut writer);
    // In the cell that is emptied last.
    let dead = Process::new(&heap, 0).reader.next(&heap, heap.cell(0, PINS - 1));
    assert!(dead.is_some(), "it holds the first message");

    let move_in = move |process: &mut Process, lock: &PlaceLock| {
        let taken = lock.take();
        if taken {
            if reaps != Reaps::ForTheNextOne {
                clean(&process.heap, 0, usize::MAX);
            }
            process.reader = Reader::at_oldest(&process.heap);
            register(&process.heap, 0);
            let found = process.reader.next(&process.heap, process.heap.cell(0, 0));
            process.look(found);
        }
        taken
    };
    let reap = move |heap: &Heap, lock: &PlaceLock| {
        if reaps == Reaps::WithoutTheLock {
            if lock.is_free() {
                clean(heap, 0, steps);
            }
        } else if lock.take() {
            clean(heap, 0, steps);
            lock.leave();
        }
    };
    let (mut process, theirs) = (Process::new(&heap, 0), lock.clone());
    let reader = thread::spawn(move || {
        let taken = move_in(&mut process, &theirs);
        (process, taken)
    });
    let (third, theirs) = (Process::new(&heap, 0), lock.clone());
    let reaper = (!by_the_publisher).then(|| thread::spawn(move || reap(&third.heap, &theirs)));
    if by_the_publisher {
        reap(&heap, &lock);
    }
    for _ in 0..2 {
        publish(&heap, &mut writer);
    }
    reaper.into_iter().for_each(|reaper| reaper.join().unwrap());
    let (mut process, taken) = reader.join().unwrap();
    if !taken {
        assert!(move_in(&mut process, &lock), "the dead one's place is free");
    }
    if by_the_publisher {
        return;
    }
    // What was marked before is passed in the first lap.
    for _ in 0..2 {
        publish(&heap, &mut writer);
    }
    let skips = writer.skips();
    for _ in 0..2 {
        publish(&heap, &mut writer);
    }
    assert_eq!(writer.skips(), skips, "the slot of the dead one is used again");
}

#[test]
fn a_publisher_that_reaps_does_not_harm_the_next_owner() {
    explore(2, || reaped(Reaps::Properly, true, usize::MAX));
}

#[test]
fn a_reaper_killed_half_way_does_no_harm() {
    // In the middle of the pins, and not at all.
    for steps in [1, usize::MAX] {
        explore(1, move || reaped(Reaps::Properly, false, steps));
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn broken_reaping_without_the_lock() {
    explore(2, || reaped(Reaps::WithoutTheLock, true, usize::MAX));
}

#[test]
#[should_panic(expected = "the slot of the dead one is used again")]
fn broken_taking_a_place_without_cleaning_it() {
    explore(1, || reaped(Reaps::ForTheNextOne, false, 1));
}

/// A channel is replaced: whoever does it holds the lock that the publisher had, so that all
/// messages come before the flag. A subscriber that finds nothing and sees the flag looks again
/// before it leaves.
fn retired(second_look: bool) {
    let heap = ring(2, 1, false);
    let retired = Arc::new(AtomicU32::new(0));
    let (mut process, flag) = (Process::new(&heap, 0), retired.clone());
    let reader = thread::spawn(move || {
        for _ in 0..3 {
            let before = process.counted();
            process.receive();
            if process.counted() == before && flag.load(Ordering::Acquire) == 1 {
                if second_look {
                    process.receive();
                }
                if process.counted() == before {
                    return (process, true);
                }
            }
        }
        (process, false)
    });
    let other = Process::new(&heap, 0);
    let publisher = thread::spawn(move || {
        let mut writer = Writer::take_over(&other.heap, 1).expect("a fresh ring");
        for _ in 0..2 {
            publish(&other.heap, &mut writer);
        }
    });
    // The publisher gives its lock up, or dies: what it did has happened.
    publisher.join().unwrap();
    retired.store_first(1);
    let (mut process, left) = reader.join().unwrap();
    assert!(!left || process.counted() == 2, "left, and has not seen everything");
    process.drain(2);
}

#[test]
fn nothing_published_before_the_end_is_lost() {
    explore(2, || retired(true));
}

#[test]
#[should_panic(expected = "left, and has not seen everything")]
fn broken_leaving_without_a_second_look() {
    explore(2, || retired(false));
}
