//! The atomics of the protocols: the standard library's, or loom's when a model is checked
//! (`--cfg loom`). Nothing else of the crate names either.
//!
//! # Store, then load
//!
//! Two edges of this crate need a store that is ordered *before* a later load of another variable,
//! which Release and Acquire do not give. [`store_first`] is that store, and the load after it is
//! [`load_after`]. On the side that stores in bulk the same is a `fence(SeqCst)`.
//!
//! It is a store and a fence, and not one `swap(SeqCst)`, though that is as short and orders as much:
//! a locked instruction waits until all stores before it are in the cache, and in that moment a
//! reader that polls the line may take it away again, with the payload but without the word. A plain
//! store goes out together with those before it, and only what follows waits.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The atomic types on which [`store_first`] works.
pub trait StoreFirst {
    /// Their value.
    type Value;
    /// See [`store_first`].
    fn store_first(&self, value: Self::Value);
    /// See [`load_after`].
    fn load_after(&self) -> Self::Value;
}

macro_rules! store_first {
    ($($atomic:ty, $value:ty);+) => {$(
        impl StoreFirst for $atomic {
            type Value = $value;

            #[inline(always)]
            fn store_first(&self, value: $value) {
                #[cfg(not(loom))]
                self.store(value, Ordering::Release);
                #[cfg(loom)]
                self.store(value, model::pin_order());
                fence(Ordering::SeqCst);
            }

            #[inline(always)]
            fn load_after(&self) -> $value {
                self.load(Ordering::SeqCst)
            }
        }
    )+};
}
store_first!(AtomicU32, u32; AtomicU64, u64);

/// A compare-exchange that is ordered before a later load: the same edge for words that more than one
/// changes. A locked instruction is a fence already, so that there is none beside it; but loom knows
/// only fences.
pub trait ChangeFirst {
    /// Changes `from` into `to`, and says whether it did. It is Acquire and Release, too, if it did.
    fn change_first(&self, from: u64, to: u64) -> bool;
}

impl ChangeFirst for AtomicU64 {
    #[inline(always)]
    fn change_first(&self, from: u64, to: u64) -> bool {
        #[cfg(not(loom))]
        let order = Ordering::SeqCst;
        #[cfg(loom)]
        let order = model::change_order();
        let changed = self.compare_exchange(from, to, order, Ordering::Relaxed).is_ok();
        #[cfg(loom)]
        model::change_fence();
        changed
    }
}

/// A number of one participant alone. It orders nothing, and no other process sees it; within a process it
/// is shared only so far as its handle is.
#[derive(Debug, Default)]
pub struct Private(std::sync::atomic::AtomicU64);

impl Clone for Private {
    fn clone(&self) -> Private {
        let copy = Private::default();
        copy.set(self.get());
        copy
    }
}

impl Private {
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[inline(always)]
    pub fn set(&self, value: u64) {
        self.0.store(value, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(loom)]
pub use model::fence;

/// What the models take away from the protocols, to show that they then fail.
#[cfg(loom)]
pub mod model {
    use loom::sync::atomic::Ordering;
    use std::cell::Cell;

    /// What is taken away.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Break {
        /// SeqCst fences become AcqRel.
        Fences,
        /// The stores that come first are Relaxed.
        PinOrder,
        /// A compare-exchange that comes first is not ordered before a later load. In loom, unlike the
        /// hardware, such a fence also shows everything to whoever passes another one later, so that
        /// nothing else that is missing is found.
        ChangeFences,
        /// A compare-exchange that comes first releases nothing.
        ChangeOrder,
        /// A puller that has looked past a slot does not look again.
        SecondLook,
    }

    thread_local! {
        // A bit for each. Not loom's: all threads of a model run on the thread that checks it.
        static BROKEN: Cell<u32> = const { Cell::new(0) };
    }

    /// Runs a model without something that it needs, and without what is taken away already.
    pub fn without(what: Break, model: impl FnOnce()) {
        struct Mend(u32);
        impl Drop for Mend {
            fn drop(&mut self) {
                BROKEN.set(self.0);
            }
        }
        let _mend = Mend(BROKEN.replace(BROKEN.get() | 1 << what as u32));
        model();
    }

    /// Whether this is taken away.
    pub fn is_without(what: Break) -> bool {
        BROKEN.get() >> what as u32 & 1 == 1
    }

    /// As the standard library's, unless that is what is taken away.
    pub fn fence(order: Ordering) {
        let weak = is_without(Break::Fences);
        loom::sync::atomic::fence(if weak { Ordering::AcqRel } else { order });
    }

    pub(super) fn pin_order() -> Ordering {
        if is_without(Break::PinOrder) { Ordering::Relaxed } else { Ordering::Release }
    }

    pub(super) fn change_fence() {
        if !is_without(Break::ChangeFences) {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn change_order() -> Ordering {
        if is_without(Break::ChangeOrder) { Ordering::Relaxed } else { Ordering::SeqCst }
    }
}
