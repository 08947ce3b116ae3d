//! A ring on the heap, for tests and models: each slot's payload is a number behind a cell that
//! loom watches, and a process can be killed before any access to the shared state.

use super::{Memory, PINS};
use crate::sync::{AtomicU32, AtomicU64};
use std::cell::Cell;

#[cfg(loom)]
use loom::{cell::UnsafeCell, sync::Arc};
#[cfg(not(loom))]
use std::sync::Arc;

/// What is shared.
pub struct Shared {
    words: Vec<AtomicU64>,
    metas: Vec<AtomicU64>,
    #[cfg(loom)]
    payloads: Vec<UnsafeCell<u64>>,
    #[cfg(not(loom))]
    payloads: Vec<AtomicU64>,
    head: AtomicU64,
    registered: AtomicU64,
    pins: Vec<[AtomicU32; PINS]>,
    /// Pretends that nobody has a pin.
    pub blind: bool,
    nobody: [AtomicU32; PINS],
}

// SAFETY: The payload cells are what the protocol under test protects; loom reports its failures.
#[cfg(loom)]
unsafe impl Sync for Shared {}

/// The same memory as one process sees it.
#[derive(Clone)]
pub struct Heap {
    shared: Arc<Shared>,
    /// How many more accesses this process lives for.
    steps: Cell<usize>,
}

/// What a process that is killed unwinds with.
pub struct Killed;

fn no_pins() -> [AtomicU32; PINS] {
    std::array::from_fn(|_| AtomicU32::new(0))
}

impl Heap {
    /// Zeroed memory, `readers` of them registered.
    pub fn new(slots: usize, readers: usize) -> Heap {
        Heap::with(slots, readers, false)
    }

    pub fn with(slots: usize, readers: usize, blind: bool) -> Heap {
        let zeroes = |_| AtomicU64::new(0);
        let shared = Shared {
            words: (0..slots).map(zeroes).collect(),
            metas: (0..slots).map(zeroes).collect(),
            #[cfg(loom)]
            payloads: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
            #[cfg(not(loom))]
            payloads: (0..slots).map(zeroes).collect(),
            head: AtomicU64::new(0),
            registered: AtomicU64::new((1 << readers) - 1),
            pins: (0..readers).map(|_| no_pins()).collect(),
            blind,
            nobody: no_pins(),
        };
        Heap { shared: Arc::new(shared), steps: Cell::new(usize::MAX) }
    }

    #[cfg(loom)]
    /// The same memory for a process that is killed before its access number `steps`.
    pub fn killed_after(&self, steps: usize) -> Heap {
        Heap { shared: self.shared.clone(), steps: Cell::new(steps) }
    }

    fn step(&self) {
        match self.steps.get() {
            // Without the panic hook: nothing has gone wrong.
            0 => std::panic::resume_unwind(Box::new(Killed)),
            left => self.steps.set(left - 1),
        }
    }

    pub fn cell(&self, reader: u32, cell: usize) -> &AtomicU32 {
        &self.shared.pins[reader as usize][cell]
    }

    pub fn write(&self, position: u64, value: u64) {
        self.step();
        let slot = self.slot(position);
        #[cfg(loom)]
        // SAFETY: Loom fails the model if anybody else is in the cell.
        self.shared.payloads[slot].with_mut(|payload| unsafe { *payload = value });
        #[cfg(not(loom))]
        self.shared.payloads[slot].store(value, crate::sync::Ordering::Relaxed);
    }

    pub fn read(&self, position: u64) -> u64 {
        self.step();
        let slot = self.slot(position);
        #[cfg(loom)]
        // SAFETY: Loom fails the model if a writer is in the cell.
        return self.shared.payloads[slot].with(|payload| unsafe { *payload });
        #[cfg(not(loom))]
        self.shared.payloads[slot].load(crate::sync::Ordering::Relaxed)
    }

    fn slot(&self, position: u64) -> usize {
        (position % self.shared.words.len() as u64) as usize
    }
}

impl Memory for Heap {
    fn slots(&self) -> u64 {
        self.shared.words.len() as u64
    }
    fn ring(&self) -> u32 {
        3
    }
    fn word(&self, position: u64) -> &AtomicU64 {
        self.step();
        &self.shared.words[self.slot(position)]
    }
    fn meta(&self, position: u64) -> &AtomicU64 {
        self.step();
        &self.shared.metas[self.slot(position)]
    }
    fn head(&self) -> &AtomicU64 {
        self.step();
        &self.shared.head
    }
    fn registered(&self) -> &AtomicU64 {
        self.step();
        &self.shared.registered
    }
    fn pins(&self, subscriber: u32) -> &[AtomicU32; PINS] {
        self.step();
        if self.shared.blind { &self.shared.nobody } else { &self.shared.pins[subscriber as usize] }
    }
}
