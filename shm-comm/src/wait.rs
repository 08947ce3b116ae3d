//! How a handle waits for news, and how it is woken.
//!
//! It looks again for a while, then sleeps on a 32-bit word of its own line. A bit in the channel's
//! `sleepers` tells writers that somebody sleeps; while it is 0, nobody makes a system call.
//!
//! | edge | sleeper | waker |
//! |------|---------|-------|
//! | G | [`announce`]: word = 1, bit set, *then* `fence(SeqCst)`, *then* one more look | news ([`StoreFirst::store_first`]), *then* `sleepers` ([`StoreFirst::load_after`]) |
//! | H | the same, then the interrupt flag | [`Interrupter::interrupt`]: the flag, *then* the word |
//!
//! Either the sleeper sees the news, or the waker sees the bit. The waker clears the bit, stores 0
//! in the word and *then* wakes: a sleeper that is not asleep yet will find 0 where it expects 1.
//!
//! # Crash safety
//!
//! Bits are flags, not counts: one of a dead sleeper costs one system call. A writer that is killed
//! between its news and the wake-up costs a sleeper at most [`LOOK_AGAIN`].

use crate::sync::{AtomicU32, AtomicU64, Ordering, StoreFirst, fence};

/// Says that subscriber `id` is about to sleep. What it looks at after this is news to it, or
/// whoever makes the news wakes it.
pub fn announce(word: &AtomicU32, sleepers: &AtomicU64, id: u32) {
    word.store(1, Ordering::Relaxed);
    sleepers.fetch_or(1 << id, Ordering::SeqCst);
    fence(Ordering::SeqCst); // Edges G, H.
}

/// Says that it does not sleep.
pub fn retract(word: &AtomicU32, sleepers: &AtomicU64, id: u32) {
    if sleepers.load(Ordering::Relaxed) >> id & 1 == 1 {
        sleepers.fetch_and(!(1 << id), Ordering::Relaxed);
    }
    word.store(0, Ordering::Relaxed);
}

/// Wakes everybody that has announced itself. `wake` gets the word of each, with 0 in it.
#[cold]
pub fn wake_all<'a>(
    sleepers: &AtomicU64,
    word: impl Fn(u32) -> &'a AtomicU32,
    wake: impl Fn(&AtomicU32),
) {
    let mut asleep = sleepers.load(Ordering::SeqCst);
    while asleep != 0 {
        let id = asleep.trailing_zeros();
        asleep &= asleep - 1;
        sleepers.fetch_and(!(1 << id), Ordering::SeqCst);
        let word = word(id);
        word.store(0, Ordering::SeqCst);
        wake(word);
    }
}

/// Wakes one of those that have announced themselves, the first at this number or after it. Somebody else
/// may sleep on for whom there is something, too, if the one who is woken leaves without looking: then he
/// wakes another.
#[cold]
pub fn wake_one<'a>(
    sleepers: &AtomicU64,
    first: u32,
    word: impl Fn(u32) -> &'a AtomicU32,
    wake: impl Fn(&AtomicU32),
) {
    let mut asleep = sleepers.load(Ordering::SeqCst);
    while asleep != 0 {
        let id = (asleep.rotate_right(first).trailing_zeros() + first) % u64::BITS;
        // Another may be about to wake the same.
        if sleepers.fetch_and(!(1 << id), Ordering::SeqCst) >> id & 1 == 1 {
            let word = word(id);
            word.store(0, Ordering::SeqCst);
            wake(word);
            return;
        }
        asleep &= !(1 << id);
    }
}

/// Wakes this one, if he has announced himself.
#[cold]
pub fn wake(sleepers: &AtomicU64, id: u32, word: &AtomicU32, wake: impl Fn(&AtomicU32)) {
    if sleepers.fetch_and(!(1 << id), Ordering::SeqCst) >> id & 1 == 1 {
        word.store(0, Ordering::SeqCst);
        wake(word);
    }
}

#[cfg(not(loom))]
pub use blocking::{Interrupter, Patience, Rhythm, Waited, Waiter, wait_for_participants};

#[cfg(not(loom))]
mod blocking {
    use super::*;
    use crate::channel::Control;
    use crate::error::WaitError;
    use crate::liveness::Place;
    use crate::options::Wait;
    use crate::os;
    use std::fmt;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// The longest sleep without a look. Nothing wakes a futex when a process dies.
    const LOOK_AGAIN: Duration = Duration::from_millis(100);

    /// The same for a sleeper whom an interrupter may not find, or whose server may have died.
    const LOOK_AGAIN_SOON: Duration = Duration::from_millis(10);

    /// How often somebody who waits looks at other things than the news.
    #[derive(Clone, Copy, Debug)]
    pub struct Rhythm {
        /// The longest sleep.
        sleep: Duration,
        /// After so long there is [`Waited::LookAgain`].
        look_again: Duration,
        /// So many times [`LOOKS`] are something like that, for somebody who does not sleep.
        rounds: u32,
    }

    impl Rhythm {
        /// For somebody whom nothing but news concerns.
        pub const CALM: Rhythm =
            Rhythm { sleep: LOOK_AGAIN, look_again: LOOK_AGAIN, rounds: 1 << 16 };
        /// The same, and an interrupter may not find him.
        pub const ELSEWHERE: Rhythm = Rhythm { sleep: LOOK_AGAIN_SOON, ..Rhythm::CALM };
        /// For somebody who is to see that others have died: soon if he is awake anyway.
        pub const WATCHFUL: Rhythm = Rhythm { rounds: 1 << 9, ..Rhythm::CALM };
        /// For somebody whose news come from one who may die.
        pub const ANXIOUS: Rhythm =
            Rhythm { sleep: LOOK_AGAIN_SOON, look_again: LOOK_AGAIN_SOON, ..Rhythm::WATCHFUL };
    }

    /// Looks without a break before the clock is read.
    const LOOKS: u32 = 64;

    /// Whether spinning is of no use. Asking reads files, so it is done once in a process: 0 not asked, 1
    /// no, 2 yes. (No lock, which a fork could find taken.)
    fn has_one_core() -> bool {
        static ONE_CORE: AtomicU32 = AtomicU32::new(0);
        if ONE_CORE.load(Ordering::Relaxed) == 0 {
            let one = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
            ONE_CORE.store(1 + u32::from(one), Ordering::Relaxed);
        }
        ONE_CORE.load(Ordering::Relaxed) == 2
    }

    /// What came of waiting.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Waited {
        /// There are news; somebody else may still be faster.
        Ready,
        /// The deadline.
        TimedOut,
        /// An interrupter was used.
        Interrupted,
        /// Nothing, for [`LOOK_AGAIN`]: a good moment to look at other things, then wait again.
        LookAgain,
    }

    /// How one handle waits. The flag is shared with its interrupters.
    #[derive(Clone, Debug)]
    pub struct Waiter {
        strategy: Wait,
        interrupted: Arc<AtomicU32>,
    }

    impl Waiter {
        pub fn new(strategy: Wait) -> Waiter {
            let strategy = match strategy {
                Wait::SpinThenSleep(_) if has_one_core() => Wait::Sleep,
                other => other,
            };
            Waiter { strategy, interrupted: Arc::new(AtomicU32::new(0)) }
        }

        /// Ends the calls of this waiter, which sleeps at this place.
        pub fn interrupter(&self, control: Control, place: Place) -> Interrupter {
            Interrupter { flag: self.interrupted.clone(), control, place }
        }

        /// Whether there is anybody who could interrupt.
        pub fn has_interrupters(&self) -> bool {
            Arc::strong_count(&self.interrupted) > 1
        }

        /// An interrupter was used, and nobody was told yet.
        #[inline(always)]
        pub fn is_interrupted(&self) -> bool {
            self.interrupted.load(Ordering::Relaxed) != 0
        }

        /// An interrupter was used since the last time that this said so.
        #[inline(always)]
        pub fn take_interrupt(&self) -> bool {
            self.interrupted.load(Ordering::Relaxed) != 0
                && self.interrupted.swap(0, Ordering::SeqCst) != 0
        }

        /// Looks some times whether there are news, if it is one who spins.
        #[inline(always)]
        pub fn glance(&self, news: &impl Fn() -> bool) -> bool {
            if self.strategy == Wait::Sleep {
                return false;
            }
            for _ in 0..LOOKS {
                if news() {
                    return true;
                }
                std::hint::spin_loop();
            }
            false
        }

        /// Waits until `news` are there, for whoever has this place of the channel. Before a sleep it must be
        /// sure that there is nothing: then it asks for `any`, which may take longer.
        pub fn wait(
            &self,
            control: &Control,
            place: Place,
            rhythm: Rhythm,
            deadline: Option<Instant>,
            news: impl Fn() -> bool,
            any: impl Fn() -> bool,
        ) -> Waited {
            let over = |until: Option<Instant>| until.is_some_and(|until| Instant::now() >= until);
            let spin_until = match self.strategy {
                Wait::Spin => None,
                Wait::SpinThenSleep(time) => Instant::now().checked_add(time),
                Wait::Sleep => Some(Instant::now()),
            };
            let mut rounds = 0;
            while !over(spin_until) {
                rounds += 1;
                for _ in 0..LOOKS {
                    if news() {
                        return Waited::Ready;
                    }
                    std::hint::spin_loop();
                }
                if self.take_interrupt() {
                    return Waited::Interrupted;
                }
                if over(deadline) {
                    return Waited::TimedOut;
                }
                if rounds == rhythm.rounds {
                    return Waited::LookAgain;
                }
            }
            let start = Instant::now();
            let (word, sleepers, id) = control.bed(place);
            let result = loop {
                announce(word, sleepers, id);
                if any() {
                    break Waited::Ready;
                }
                if self.take_interrupt() {
                    break Waited::Interrupted;
                }
                let left = match deadline {
                    Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                    None => rhythm.sleep,
                };
                if left.is_zero() {
                    break Waited::TimedOut;
                }
                if start.elapsed() >= rhythm.look_again {
                    break Waited::LookAgain;
                }
                os::futex_wait(word, 1, left.min(rhythm.sleep));
            };
            retract(word, sleepers, id);
            result
        }
    }

    /// How often a wait for participants looks again. Nothing wakes it.
    const LOOK_FOR_PARTICIPANTS: Duration = Duration::from_millis(1);

    /// Waits until there are `enough` participants, and says whether they came in time.
    pub fn wait_for_participants(
        timeout: Duration,
        enough: impl Fn() -> Result<bool, WaitError>,
        interrupted: impl Fn() -> bool,
    ) -> Result<bool, WaitError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if enough()? {
                return Ok(true);
            }
            if interrupted() {
                return Err(WaitError::Interrupted);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            std::thread::sleep(LOOK_FOR_PARTICIPANTS);
        }
    }

    /// How long one call waits.
    #[derive(Debug)]
    pub struct Patience {
        timeout: Option<Duration>,
        deadline: Option<Instant>,
        rounds: u32,
    }

    impl Patience {
        pub fn new(timeout: Option<Duration>) -> Patience {
            Patience { timeout, deadline: None, rounds: 0 }
        }

        /// Found out when it is asked for the first time. A time beyond the end of the clock is none.
        pub fn deadline(&mut self) -> Option<Instant> {
            if let Some(timeout) = self.timeout.take() {
                self.deadline = Instant::now().checked_add(timeout);
            }
            self.deadline
        }

        /// It has been waited already.
        pub fn is_begun(&self) -> bool {
            self.rounds > 0
        }

        /// It has been waited more than once.
        pub fn is_long(&self) -> bool {
            self.rounds > 1
        }

        /// Counts a round.
        pub fn count(&mut self) -> u32 {
            self.rounds = self.rounds.wrapping_add(1);
            self.rounds
        }
    }

    /// Ends a blocking call of one handle, from another thread or from a signal handler.
    ///
    /// It may outlive its handle, and then does nothing; nor in a forked child. While it lives the
    /// channel's memory stays mapped. Once the channel was replaced by one of another type or geometry,
    /// an interrupter that was made before takes up to 10 ms.
    ///
    /// ```
    /// # fn main() -> Result<(), shm_comm::Error> {
    /// # let folder = tempfile::tempdir()?;
    /// use shm_comm::{Channel, RecvError, Subscriber};
    ///
    /// let mut numbers = Subscriber::<u64>::new(Channel::new("numbers").root(folder.path().join("root")))?;
    /// let interrupter = numbers.interrupter();
    /// std::thread::spawn(move || interrupter.interrupt());
    /// assert!(matches!(numbers.recv(), Err(RecvError::Interrupted)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "an interrupter ends a call when it is used"]
    #[derive(Clone)]
    pub struct Interrupter {
        flag: Arc<AtomicU32>,
        control: Control,
        place: Place,
    }

    impl Interrupter {
        /// Ends the current blocking call, or the next one if there is none, with `Interrupted`.
        ///
        /// Only atomic operations and one system call: safe in a signal handler.
        pub fn interrupt(&self) {
            if !self.control.is_here() {
                return;
            }
            self.flag.store_first(1); // Edge H.
            let (word, ..) = self.control.bed(self.place);
            if word.load_after() == 1 {
                // If the handle is gone, this is somebody else's word: woken, it looks again.
                word.store(0, Ordering::SeqCst);
                os::futex_wake(word);
            }
        }
    }

    impl fmt::Debug for Interrupter {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Interrupter").field("place", &self.place).finish_non_exhaustive()
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::model::{Break, without};
    use loom::sync::Arc;
    use loom::thread;

    struct Shared {
        news: AtomicU64,
        sleepers: AtomicU64,
        word: AtomicU32,
    }

    /// One publishes, the other looks, announces itself, looks again, and sleeps if there is
    /// nothing. If it sleeps, its word is 0 in the end: a futex would not have slept, or was woken.
    fn nobody_sleeps_for_ever() {
        loom::model(|| {
            let shared = Arc::new(Shared {
                news: AtomicU64::new(0),
                sleepers: AtomicU64::new(0),
                word: AtomicU32::new(0),
            });
            let other = shared.clone();
            let sleeper = thread::spawn(move || {
                for _ in 0..2 {
                    announce(&other.word, &other.sleepers, 5);
                    if other.news.load(Ordering::Acquire) != 0 {
                        retract(&other.word, &other.sleepers, 5);
                        return false;
                    }
                    if other.word.load(Ordering::SeqCst) == 1 {
                        return true;
                    }
                }
                // Woken twice for one piece of news: seen the second time.
                panic!("woken without news");
            });
            shared.news.store_first(1);
            if shared.sleepers.load_after() != 0 {
                wake_all(&shared.sleepers, |_| &shared.word, |_| ());
            }
            if sleeper.join().unwrap() {
                assert_eq!(shared.word.load(Ordering::SeqCst), 0, "asleep, and nobody wakes it");
            }
        });
    }

    #[test]
    fn a_sleeper_is_woken() {
        nobody_sleeps_for_ever();
    }

    #[test]
    #[should_panic(expected = "asleep, and nobody wakes it")]
    fn broken_without_fences() {
        without(Break::Fences, nobody_sleeps_for_ever);
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Retires {
        Properly,
        /// Sets the flag and wakes nobody.
        Silently,
        /// Wakes, and then sets the flag.
        TooLate,
    }

    struct Channel {
        published: AtomicU64,
        retired: AtomicU32,
        sleepers: AtomicU64,
        word: AtomicU32,
    }

    impl Channel {
        /// What comes after news.
        fn wake(&self) {
            if self.sleepers.load_after() != 0 {
                wake_all(&self.sleepers, |_| &self.word, |_| ());
            }
        }
    }

    struct Subscriber {
        channel: Arc<Channel>,
        received: u64,
        second_look: bool,
    }

    impl Subscriber {
        /// Something new was there.
        fn receive(&mut self) -> bool {
            let before = self.received;
            self.received = self.channel.published.load(Ordering::Acquire);
            self.received != before
        }

        /// Until it leaves. False: it sleeps. (To be woken and to find the word 0 is the same.)
        fn run(&mut self) -> bool {
            let channel = self.channel.clone();
            // Woken twice for one message, and twice for the end.
            for _ in 0..5 {
                announce(&channel.word, &channel.sleepers, 5);
                if self.receive() {
                    continue;
                }
                if channel.retired.load(Ordering::Acquire) == 1 {
                    if self.second_look && self.receive() {
                        continue;
                    }
                    retract(&channel.word, &channel.sleepers, 5);
                    return true;
                }
                if channel.word.load(Ordering::SeqCst) == 1 {
                    return false;
                }
            }
            panic!("woken without news");
        }
    }

    /// One message, and then the channel is replaced, by somebody who holds the publisher's lock.
    /// The subscriber waits for either, as often as it must, and leaves with the message.
    fn a_subscriber_leaves(retires: Retires, second_look: bool) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let channel = Arc::new(Channel {
                published: AtomicU64::new(0),
                retired: AtomicU32::new(0),
                sleepers: AtomicU64::new(0),
                word: AtomicU32::new(0),
            });
            let mut subscriber = Subscriber { channel: channel.clone(), received: 0, second_look };
            let subscriber = thread::spawn(move || {
                let left = subscriber.run();
                (subscriber, left)
            });
            let other = channel.clone();
            let publisher = thread::spawn(move || {
                other.published.store_first(1);
                other.wake();
            });
            publisher.join().unwrap();
            if retires == Retires::TooLate {
                channel.wake();
            }
            channel.retired.store_first(1);
            if retires == Retires::Properly {
                channel.wake();
            }
            let (mut subscriber, mut left) = subscriber.join().unwrap();
            while !left {
                let word = channel.word.load(Ordering::SeqCst);
                assert_eq!(word, 0, "asleep, and nobody wakes it");
                left = subscriber.run();
            }
            assert_eq!(subscriber.received, 1, "left without the message");
        });
    }

    #[test]
    fn a_sleeper_is_woken_by_the_end_of_the_channel() {
        a_subscriber_leaves(Retires::Properly, true);
    }

    #[test]
    #[should_panic(expected = "asleep, and nobody wakes it")]
    fn broken_end_that_wakes_nobody() {
        a_subscriber_leaves(Retires::Silently, true);
    }

    #[test]
    #[should_panic(expected = "asleep, and nobody wakes it")]
    fn broken_end_that_wakes_too_early() {
        a_subscriber_leaves(Retires::TooLate, true);
    }

    #[test]
    #[should_panic(expected = "asleep, and nobody wakes it")]
    fn broken_end_without_fences() {
        without(Break::Fences, || a_subscriber_leaves(Retires::Properly, true));
    }

    #[test]
    #[should_panic(expected = "left without the message")]
    fn broken_end_without_a_second_look() {
        a_subscriber_leaves(Retires::Properly, false);
    }
}
