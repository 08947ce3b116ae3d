//! A queue on the heap, for tests and models: each slot's payload is a number behind a cell that loom
//! watches, and so is its reply. A process can be killed before any access to the shared state.

use super::*;
use std::cell::Cell as StepCell;

#[cfg(loom)]
use loom::{cell::UnsafeCell, sync::Arc};
#[cfg(not(loom))]
use std::sync::Arc;

/// A number that only one may write, and none read meanwhile. Loom says when that is not so.
#[cfg(loom)]
struct Cell(UnsafeCell<u64>);
#[cfg(not(loom))]
struct Cell(AtomicU64);

impl Cell {
    #[cfg(loom)]
    fn new() -> Cell {
        Cell(UnsafeCell::new(0))
    }

    #[cfg(loom)]
    fn write(&self, value: u64) {
        // SAFETY: Loom fails the model if anybody else is in the cell.
        self.0.with_mut(|cell| unsafe { *cell = value });
    }

    #[cfg(loom)]
    fn read(&self) -> u64 {
        // SAFETY: Loom fails the model if a writer is in the cell.
        self.0.with(|cell| unsafe { *cell })
    }

    #[cfg(not(loom))]
    fn new() -> Cell {
        Cell(AtomicU64::new(0))
    }

    #[cfg(not(loom))]
    fn write(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[cfg(not(loom))]
    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An atomic, and for loom one more that every access changes. Without that it would miss much: to find
/// out what else can happen, it compares a change with the *last* access to the same atomic. Where a thread
/// loads a word and then changes it, that is its own load, and what another has loaded before is forgotten.
struct Watched {
    atomic: AtomicU64,
    #[cfg(loom)]
    accesses: AtomicU64,
}

impl Watched {
    fn new(value: u64) -> Watched {
        Watched {
            atomic: AtomicU64::new(value),
            #[cfg(loom)]
            accesses: AtomicU64::new(0),
        }
    }

    fn access(&self) -> &AtomicU64 {
        // Relaxed: it orders nothing.
        #[cfg(loom)]
        self.accesses.fetch_add(1, Ordering::Relaxed);
        &self.atomic
    }
}

/// What is shared.
pub struct Shared {
    words: Vec<Watched>,
    notes: Vec<Watched>,
    payloads: Vec<Cell>,
    replies: Vec<Cell>,
    head: Watched,
    tail: Watched,
    returned: Watched,
}

// SAFETY: The cells are what the protocol under test protects; loom reports its failures.
#[cfg(loom)]
unsafe impl Sync for Shared {}

/// The same memory as one process sees it.
pub struct Heap {
    shared: Arc<Shared>,
    /// What this process knows. It may know what another did: that stays true.
    own: Own,
    /// How many more accesses this process lives for.
    steps: StepCell<usize>,
}

/// What a process that is killed unwinds with.
pub struct Killed;

impl Heap {
    /// Zeroed memory.
    pub fn new(slots: u32) -> Heap {
        Heap::in_lap(slots, 0)
    }

    /// A queue that is empty at the beginning of a lap, of which there are 2^44.
    pub fn in_lap(slots: u32, lap: u64) -> Heap {
        let lap = lap.wrapping_mul(LAP);
        let start = |_| Watched::new(lap);
        let cells = || (0..slots).map(|_| Cell::new()).collect();
        let shared = Shared {
            words: (0..slots).map(start).collect(),
            notes: (0..slots).map(|_| Watched::new(0)).collect(),
            payloads: cells(),
            replies: cells(),
            head: Watched::new(lap),
            tail: Watched::new(lap),
            returned: Watched::new(0),
        };
        let own = Own::default();
        for position in [&own.fill, &own.fill_told, &own.take, &own.take_told] {
            position.set(lap);
        }
        Heap { shared: Arc::new(shared), own, steps: StepCell::new(usize::MAX) }
    }

    /// The same memory for another process.
    pub fn other(&self) -> Heap {
        self.killed_after(usize::MAX)
    }

    /// The same memory for a process that is killed before its access number `steps`.
    pub fn killed_after(&self, steps: usize) -> Heap {
        let (shared, own) = (self.shared.clone(), self.own.clone());
        Heap { shared, own, steps: StepCell::new(steps) }
    }

    fn step(&self) {
        match self.steps.get() {
            // Without the panic hook: nothing has gone wrong.
            0 => std::panic::resume_unwind(Box::new(Killed)),
            left => self.steps.set(left - 1),
        }
    }

    /// Runs a process until it is done or killed. That this returns is what the kernel tells of a dead
    /// process: everything it did has happened.
    pub fn run<T>(self, process: impl FnOnce(&Heap) -> T) -> Option<T> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| process(&self)))
            .map_err(|reason| {
                if !reason.is::<Killed>() {
                    std::panic::resume_unwind(reason);
                }
            })
            .ok()
    }

    pub fn write(&self, claim: &Claim, value: u64) {
        self.step();
        self.shared.payloads[claim.slot() as usize].write(value);
    }

    pub fn read(&self, taken: &Taken) -> u64 {
        self.step();
        self.shared.payloads[taken.slot() as usize].read()
    }

    pub fn write_reply(&self, taken: &Taken, value: u64) {
        self.step();
        self.shared.replies[taken.slot() as usize].write(value);
    }

    pub fn read_reply(&self, slot: u32) -> u64 {
        self.step();
        self.shared.replies[slot as usize].read()
    }

    /// What a slot's word says now. Not an access.
    pub fn look(&self, slot: u32) -> Word {
        Word::of(self.shared.words[slot as usize].atomic.load(Ordering::Acquire))
    }

    /// Puts anything into the words and hints.
    pub fn damage(&self, word: impl Fn(u32) -> Option<u64>, head: Option<u64>, tail: Option<u64>) {
        for (slot, old) in (0..).zip(&self.shared.words) {
            if let Some(word) = word(slot) {
                old.atomic.store(word, Ordering::Relaxed);
            }
        }
        let Shared { head: old_head, tail: old_tail, .. } = &*self.shared;
        for (hint, value) in [(old_head, head), (old_tail, tail)] {
            if let Some(value) = value {
                hint.atomic.store(value, Ordering::Relaxed);
            }
        }
    }

    /// How far the head is ahead of the tail, in laps; less than one is 0. (It may be some slots behind: both
    /// are moved on once in a while.)
    pub fn laps_between(&self) -> u64 {
        let [head, tail] = [&self.shared.head, &self.shared.tail].map(|hint| {
            Position::of(hint.atomic.load(Ordering::Relaxed), self.shared.words.len() as u32)
        });
        (head.ahead_of(tail).max(0) as u64) / LAP
    }
}

/// A participant of a test.
pub fn owner(number: u32) -> OwnerId {
    OwnerId::new(number)
}

/// `false`: full.
pub fn push(heap: &Heap, me: u32, value: u64) -> bool {
    let Ok(claim) = claim(heap, owner(me)) else { return false };
    heap.write(&claim, value);
    assert!(publish(heap, claim, OwnerId::NOBODY), "nobody else ends what is being written");
    true
}

/// Reads and acknowledges.
pub fn work(heap: &Heap, taken: Taken) -> u64 {
    let value = heap.read(&taken);
    assert!(done(heap, taken), "nobody else ends what was taken");
    value
}

/// The next job in turn.
pub fn pull(heap: &Heap, me: u32) -> Option<u64> {
    Some(work(heap, take(heap, owner(me))?))
}

/// Any job.
pub fn pull_any(heap: &Heap, me: u32) -> Option<u64> {
    Some(work(heap, take_any(heap, owner(me))?))
}

impl Memory for Heap {
    fn own(&self) -> &Own {
        &self.own
    }

    fn slots(&self) -> u32 {
        self.shared.words.len() as u32
    }
    fn word(&self, slot: u32) -> &AtomicU64 {
        self.step();
        self.shared.words[slot as usize].access()
    }
    fn note(&self, slot: u32) -> &AtomicU64 {
        self.step();
        self.shared.notes[slot as usize].access()
    }
    fn head(&self) -> &AtomicU64 {
        self.step();
        self.shared.head.access()
    }
    fn tail(&self) -> &AtomicU64 {
        self.step();
        self.shared.tail.access()
    }
    fn returned(&self) -> &AtomicU64 {
        self.step();
        self.shared.returned.access()
    }
}
