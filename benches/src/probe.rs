//! Raw probes around every row, because the machine is not the same from one second to the next.
//!
//! Virtual cores move between physical ones, and a line takes four times as long between some as
//! between others. So a row counts only if the raw exchange took as long after it as before it.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::patterns::{self, Latency, Length};
use crate::peer::Peer;
use crate::{Result, raw};

/// Probes that differ by more are of two machines.
const AGREEMENT: f64 = 0.15;
/// How often a row is measured at most, until its probes agree.
const ATTEMPTS: u32 = 3;

/// The raw exchange before and after a row, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bracket {
    /// Half a raw round trip right before.
    pub raw_before_ns: f64,
    /// Half a raw round trip right after.
    pub raw_after_ns: f64,
    /// The two agree.
    pub steady: bool,
}

impl Bracket {
    fn new(raw_before_ns: f64, raw_after_ns: f64) -> Bracket {
        let (low, high) = (raw_before_ns.min(raw_after_ns), raw_before_ns.max(raw_after_ns));
        Bracket { raw_before_ns, raw_after_ns, steady: high <= low * (1.0 + AGREEMENT) }
    }

    /// The mean of the two.
    pub fn raw_ns(&self) -> f64 {
        (self.raw_before_ns + self.raw_after_ns) / 2.0
    }
}

/// Measures rows between probes. One row's second probe is the next one's first.
pub struct Prober<'p> {
    peer: &'p mut Peer,
    length: Length,
    patience: Instant,
    last: f64,
}

impl<'p> Prober<'p> {
    /// Makes the first probe. After `patience`, no row is repeated.
    pub fn new(peer: &'p mut Peer, length: Duration, patience: Duration) -> Result<Prober<'p>> {
        let patience = Instant::now() + patience;
        let mut prober = Prober { peer, length: Length(length), patience, last: 0.0 };
        // The first one only wakes the machine up.
        prober.probe()?;
        prober.last = prober.probe()?.p50;
        Ok(prober)
    }

    fn probe(&mut self) -> Result<Latency> {
        let job = self.peer.job("raw", "line", 8);
        patterns::latency::<raw::Line, 1>(self.peer, &job, self.length)
    }

    /// There is time for one more round.
    pub fn is_patient(&self) -> bool {
        Instant::now() < self.patience
    }

    /// Measures a row, again if its probes differ.
    pub fn bracketed<R>(
        &mut self,
        mut row: impl FnMut(&mut Peer) -> Result<R>,
    ) -> Result<(R, Bracket)> {
        for attempt in 1..=ATTEMPTS {
            let before = self.last;
            let measured = row(self.peer)?;
            self.last = self.probe()?.p50;
            let bracket = Bracket::new(before, self.last);
            if bracket.steady || attempt == ATTEMPTS || !self.is_patient() {
                return Ok((measured, bracket));
            }
        }
        unreachable!("the last attempt counts, whatever its probes say")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_that_differ_by_a_sixth_do_not_agree() {
        assert!(Bracket::new(100.0, 114.0).steady);
        assert!(!Bracket::new(100.0, 117.0).steady);
        assert!(!Bracket::new(117.0, 100.0).steady);
    }
}
