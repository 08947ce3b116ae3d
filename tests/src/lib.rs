//! What the peer and the tests that start it have in common.

pub mod isolation;

use shm_comm::{RecvError, Sample, ShmMessage, Subscriber};

/// A message that shows whether it is whole, and which one it is.
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
        let words =
            std::array::from_fn(|i| (number + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Numbered { number, words }
    }

    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if *self == Numbered::new(self.number) { Ok(()) } else { Err(format!("torn: {self:?}")) }
    }
}

/// The most rings of the channels used here.
pub const RINGS: usize = 8;

/// Keeps account of what a subscriber gets from each ring.
#[derive(Debug, Default)]
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

    /// Accounts for one message, or says what is wrong with it.
    pub fn enter(&mut self, sample: &Sample<Numbered>) -> Result<(), String> {
        sample.check()?;
        let (sequence, missed) = (sample.sequence(), sample.missed());
        if sample.number != sequence {
            return Err(format!("message {} has sequence {sequence}", sample.number));
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

    /// Reads until `stop`, a message at a time. `hold` keeps some of them for a while.
    pub fn read(
        &mut self,
        subscriber: &mut Subscriber<Numbered>,
        hold: usize,
        mut stop: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let mut held = std::collections::VecDeque::new();
        while !stop() {
            match subscriber.recv_timeout(std::time::Duration::from_millis(20)) {
                Ok(Some(sample)) => {
                    self.enter(&sample)?;
                    held.push_back(sample);
                }
                Ok(None) => {}
                Err(RecvError::Interrupted) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
            while held.len() > hold {
                let oldest = held.pop_front();
                oldest.map_or(Ok(()), |sample: Sample<Numbered>| sample.check())?;
            }
        }
        held.iter().try_for_each(|sample| sample.check())
    }
}
