//! What the peer and the tests that start it have in common.

pub mod campaign;
pub mod handover;
pub mod harness;
pub mod isolation;
pub mod notes;
pub mod scenes;
pub mod system_calls;
pub mod trace;

use shm_comm::{RecvError, Sample, ShmMessage, Subscriber};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// A message that shows whether it is whole, and which one it is.
pub trait Message: ShmMessage {
    /// Its sequence on its ring.
    fn number(&self) -> u64;
    /// Makes it the message of that number.
    fn fill(&mut self, number: u64);
    /// Says what is wrong with it.
    fn check(&self) -> Result<(), String>;
    /// An empty one, on the heap: some are large.
    fn blank() -> Box<Self>;
}

/// A word of the message with this number.
fn word(number: u64, i: usize) -> u64 {
    (number + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A message that takes a few cache lines.
#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Numbered {
    /// Its sequence on its ring.
    pub number: u64,
    /// Made of `number`.
    pub words: [u64; 30],
}

impl Numbered {
    /// Every word follows from the number.
    pub fn new(number: u64) -> Numbered {
        Numbered { number, words: std::array::from_fn(|i| word(number, i)) }
    }
}

impl Message for Numbered {
    fn number(&self) -> u64 {
        self.number
    }
    fn fill(&mut self, number: u64) {
        *self = Numbered::new(number);
    }
    fn check(&self) -> Result<(), String> {
        if *self == Numbered::new(self.number) { Ok(()) } else { Err(format!("torn: {self:?}")) }
    }
    fn blank() -> Box<Numbered> {
        Box::new(Numbered::new(0))
    }
}

/// 64 KiB: whoever writes it is most of the time in the middle of it.
#[derive(ShmMessage, Clone, Copy, Debug)]
#[repr(C)]
pub struct Big {
    /// Its sequence on its ring.
    pub number: u64,
    /// Made of `number`.
    pub words: [u64; 8191],
}

impl Message for Big {
    fn number(&self) -> u64 {
        self.number
    }
    fn fill(&mut self, number: u64) {
        self.number = number;
        self.words.iter_mut().enumerate().for_each(|(i, to)| *to = word(number, i));
    }
    fn check(&self) -> Result<(), String> {
        let torn = |(i, found): (usize, &u64)| *found != word(self.number, i);
        match self.words.iter().enumerate().position(torn) {
            Some(i) => Err(format!("torn: number {}, word {i}", self.number)),
            None => Ok(()),
        }
    }
    fn blank() -> Box<Big> {
        Box::new(Big { number: 0, words: [0; 8191] })
    }
}

/// The most rings of the channels used here.
pub const RINGS: usize = 8;

/// Keeps account of what a subscriber gets from each ring.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    next: [Option<u64>; RINGS],
    /// Messages that were received.
    pub received: u64,
    /// Messages that were missed.
    pub missed: u64,
}

impl Ledger {
    /// Of a subscriber that was there before every publisher: nothing may be lost without notice.
    pub fn from_the_start() -> Ledger {
        Ledger { next: [Some(0); RINGS], ..Ledger::default() }
    }

    /// The sequence that comes next on a ring, if anything is known of it.
    pub fn next(&self, ring: u32) -> Option<u64> {
        self.next[ring as usize]
    }

    /// Accounts for one message, or says what is wrong with it.
    pub fn enter<T: Message>(&mut self, sample: &Sample<T>) -> Result<(), String> {
        sample.check()?;
        let (sequence, missed) = (sample.sequence(), sample.missed());
        if sample.number() != sequence {
            return Err(format!("message {} has sequence {sequence}", sample.number()));
        }
        let next = &mut self.next[sample.publisher().ring as usize];
        if let Some(next) = *next
            && next + missed != sequence
        {
            return Err(format!("expected {next}, missed {missed}, but got {sequence}"));
        }
        *next = Some(sequence + 1);
        self.received += 1;
        self.missed += missed;
        Ok(())
    }

    /// Reads what is there.
    pub fn drain<T: Message>(&mut self, subscriber: &mut Subscriber<T>) -> Result<(), String> {
        while let Some(sample) = subscriber.try_recv().map_err(|error| error.to_string())? {
            self.enter(&sample)?;
        }
        Ok(())
    }

    /// Reads until `stop`, a message at a time. `hold` keeps some of them for a while.
    pub fn read<T: Message>(
        &mut self,
        subscriber: &mut Subscriber<T>,
        hold: usize,
        watch: &Watch,
        mut stop: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let mut held = VecDeque::new();
        while !stop() {
            match watch.time("recv", || subscriber.recv_timeout(Duration::from_millis(20))) {
                Ok(Some(sample)) => {
                    self.enter(&sample)?;
                    held.push_back(sample);
                }
                Ok(None) => {}
                Err(RecvError::Interrupted) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
            while held.len() > hold {
                let oldest: Option<Sample<T>> = held.pop_front();
                oldest.as_ref().map_or(Ok(()), |sample| sample.check())?;
                watch.time("drop", || drop(oldest));
            }
        }
        held.iter().try_for_each(|sample| sample.check())
    }
}

/// Keeps account of what a subscriber gets from publishers that replace the channel.
///
/// Each publisher has a *life*, a number of its own, and says it in every message. It never moves to
/// another channel; so where the sequence of a ring starts over, its life must be a new one.
#[derive(Clone, Debug, Default)]
pub struct Travels {
    next: [Option<u64>; RINGS],
    lives: HashSet<u64>,
    /// Messages that were received.
    pub received: u64,
    /// Messages that were missed.
    pub missed: u64,
    /// So often the sequence of a ring has started over.
    pub moves: u64,
}

impl Travels {
    /// Of a subscriber that was there before every publisher: nothing may be lost without notice.
    pub fn from_the_start() -> Travels {
        Travels { next: [Some(0); RINGS], ..Travels::default() }
    }

    /// The message of this sequence, of the publisher with this life.
    pub fn message(life: u64, sequence: u64) -> Numbered {
        Numbered::new(life << 32 | sequence)
    }

    /// Accounts for one message, and says whose it is; or says what is wrong with it.
    pub fn enter(&mut self, sample: &Sample<Numbered>) -> Result<u64, String> {
        sample.check()?;
        let (life, number) = (sample.number >> 32, sample.number & u64::from(u32::MAX));
        let (sequence, missed) = (sample.sequence(), sample.missed());
        if number != sequence {
            return Err(format!("message {number} of {life} has sequence {sequence}"));
        }
        let ring = sample.publisher().ring as usize;
        let first = sequence.checked_sub(missed).ok_or("more is missed than was sent")?;
        if self.next[ring].is_some_and(|next| next != first) {
            if first != 0 || self.lives.contains(&life) {
                let next = self.next[ring];
                return Err(format!("{life}: expected {next:?}, missed {missed}, got {sequence}"));
            }
            self.moves += 1;
        }
        self.next[ring] = Some(sequence + 1);
        self.lives.insert(life);
        self.received += 1;
        self.missed += missed;
        Ok(life)
    }
}

/// Times what those do who are not killed.
#[derive(Debug, Default)]
pub struct Watch {
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    running: HashMap<ThreadId, (&'static str, Instant)>,
    longest: (Duration, &'static str),
}

impl Watch {
    /// No operation takes longer, however busy the machine is. (What is to take as long as it likes
    /// is not timed.)
    pub const BOUND: Duration = Duration::from_secs(5);

    /// Nobody panics while he has it.
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something and takes the time.
    pub fn time<R>(&self, what: &'static str, does: impl FnOnce() -> R) -> R {
        let (thread, start) = (std::thread::current().id(), Instant::now());
        self.times().running.insert(thread, (what, start));
        let result = does();
        let mut times = self.times();
        times.running.remove(&thread);
        times.longest = times.longest.max((start.elapsed(), what));
        result
    }

    /// The operation that took longest.
    pub fn longest(&self) -> (Duration, &'static str) {
        self.times().longest
    }

    /// An operation that has not ended after so long.
    pub fn stuck(&self, after: Duration) -> Option<&'static str> {
        let times = self.times();
        times.running.values().find(|(_, start)| start.elapsed() > after).map(|(what, _)| *what)
    }
}
