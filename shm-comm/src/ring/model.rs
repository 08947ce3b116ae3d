//! Every interleaving of a writer and its readers, on small rings, with loom: every message that a
//! reader gets is the one it should be, the count of the missed ones is exact, and nobody is stuck.
//!
//! Run by `tests/loom.sh`. The models named `broken_…` take one edge away and must fail.

use super::heap::{Heap, Killed};
use super::*;
use crate::sync::model::{Break, without};
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
    received: u64,
    missed: u64,
}

// SAFETY: `Heap` is not `Send` for its step counter alone, which moves with it.
unsafe impl Send for Process {}

impl Process {
    fn new(heap: &Heap, id: u32) -> Process {
        let heap = heap.killed_after(usize::MAX);
        let reader = Reader::at_first(&heap);
        Process { heap, reader, id, received: 0, missed: 0 }
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
        assert_eq!(self.received + self.missed, number + 1, "the missed ones are counted");
        found.right.release(self.heap.cell(self.id, 0));
    }

    /// With the writer at rest, everything that is left is read.
    fn drain(&mut self, published: u64) {
        for _ in 0..40 {
            if self.received + self.missed < published {
                self.receive();
            }
        }
        assert_eq!(self.received + self.missed, published, "received + missed = published");
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

/// The owner is killed before its access number `at`, and again the one that takes over.
fn killed(slots: usize, before: u32, at: usize, again: usize) {
    let heap = ring(slots, 1, false);
    let mut process = Process::new(&heap, 0);
    let reader = thread::spawn(move || {
        for _ in 0..2 {
            process.receive();
        }
        process
    });
    for (generation, steps) in [(1, at), (2, again)] {
        let mine = heap.killed_after(steps);
        // That it ends is what the kernel tells of a dead process: everything it did has happened.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut writer = Writer::take_over(&mine, generation).expect("a sound ring");
            for _ in 0..before {
                publish(&mine, &mut writer);
            }
        }))
        .map_err(|reason| assert!(reason.is::<Killed>(), "the model itself failed"));
    }
    let mut writer = Writer::take_over(&heap, 3).expect("a sound ring");
    publish(&heap, &mut writer);
    let mut process = reader.join().unwrap();
    process.drain(writer.published(&heap));
    publish(&heap, &mut writer);
    process.drain(writer.published(&heap));
}

#[test]
fn owner_killed_at_every_access() {
    // A take-over and two messages need less.
    for at in 0..50 {
        explore(1, move || killed(2, if at < 30 { 1 } else { 2 }, at, usize::MAX));
    }
}

#[test]
fn owner_and_its_successor_killed() {
    for at in (0..50).step_by(5) {
        for again in (0..24).step_by(2) {
            explore(1, move || killed(2, 2, at, again));
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
    explore(3, || plain(2, 1, 4, 3, true));
}
