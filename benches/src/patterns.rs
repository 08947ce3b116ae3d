//! The loops that are timed, and the other process's part in them.
//!
//! Message number *i* has the words *i*, *i* + 1, *i* + 2 and so on: all are written, all are
//! compared, and a message that is torn between two numbers does not pass.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::peer::{Commands, Peer};
use crate::transport::{Job, Receiver, Sender, Transport};
use crate::{Result, machine};

/// Exchanged, and checked, before anything is timed: more than a ring has slots.
const WARM_UP: u64 = 1000;
/// How many a row of latencies is made of, about: it ends with the first one that is too late.
const STRETCHES: u64 = 5;
/// Exchanged before each timed stretch, so that both processes are awake.
const RUN_UP: u64 = 100;

/// How long a row is measured, about.
#[derive(Clone, Copy, Debug)]
pub struct Length(pub Duration);

impl Length {
    /// How many messages that is, if `sample` of them took so long.
    fn messages(self, sample: u64, took: Duration) -> u64 {
        let each = took.as_secs_f64() / sample as f64;
        ((self.0.as_secs_f64() / each) as u64).clamp(100, 100_000_000)
    }
}

/// Which part the second process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It sends every message back, on a second channel.
    Echo,
    /// It counts what it receives.
    Count,
}

impl Served {
    /// As in a command.
    pub fn name(self) -> &'static str {
        match self {
            Served::Echo => "echo",
            Served::Count => "count",
        }
    }
}

impl FromStr for Served {
    type Err = crate::Failure;

    fn from_str(name: &str) -> Result<Served> {
        match name {
            "echo" => Ok(Served::Echo),
            "count" => Ok(Served::Count),
            other => Err(format!("there is no part {other:?}").into()),
        }
    }
}

/// Writes the message of this number.
#[inline(always)]
pub fn fill_words<const N: usize>(message: &mut [u64; N], number: u64) {
    for (word, value) in message.iter_mut().zip(number..) {
        *word = value;
    }
}

/// Whether every word is as [`fill_words`] writes it. Without a branch a word, so that long messages are
/// compared as fast as they can be read.
#[inline(always)]
pub fn is_whole_words<const N: usize>(message: &[u64; N], number: u64) -> bool {
    let mut difference = 0;
    for (word, value) in message.iter().zip(number..) {
        difference |= word ^ value;
    }
    difference == 0
}

#[inline(always)]
fn fill<T: Transport, const N: usize>(message: &mut [u64; N], number: u64) {
    if !T::IS_TOUCHED {
        message[0] = number;
        return;
    }
    fill_words(message, number);
}

#[inline(always)]
fn is_whole<T: Transport, const N: usize>(message: &[u64; N], number: u64) -> bool {
    if !T::IS_TOUCHED {
        return message[0] == number;
    }
    is_whole_words(message, number)
}

#[cold]
/// What is wrong with it.
pub fn wrong(number: u64) -> crate::Failure {
    format!("message {number} is torn, or another one").into()
}

/// Half a round trip, without what the clock takes, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// One in a hundred takes longer.
    pub p99: f64,
}

/// Sends messages there and back.
pub fn latency<T: Transport, const N: usize>(
    peer: &mut Peer,
    job: &Job,
    length: Length,
) -> Result<Latency> {
    let mut input = T::receiver::<N>(peer.folder(), &format!("{}.back", job.channel), &job.mode)?;
    let mut output = T::sender::<N>(peer.folder(), &job.channel)?;
    peer.begin(Served::Echo, job)?;
    round_trips(peer, length, T::SLOWER, |number| {
        output.send(|message| fill::<T, N>(message, number))?;
        input.receive(|message| is_whole::<T, N>(message, number))
    })
}

/// Times exchanges of messages with these numbers, each of which says whether what came back is whole. The
/// other process is told how many there will be.
pub fn round_trips(
    peer: &mut Peer,
    length: Length,
    slower: u64,
    mut exchange: impl FnMut(u64) -> Result<bool>,
) -> Result<Latency> {
    let (warm_up, run_up) = (WARM_UP / slower, RUN_UP / slower);
    let mut times = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let mut next = 1;
    let mut stretch = |peer: &mut Peer, count: u64, times: &mut Histogram<u64>| -> Result<()> {
        peer.command(&format!("go {next} {}", run_up + count))?;
        for number in next..next + run_up {
            exchange(number)?.then_some(()).ok_or(wrong(number))?;
        }
        next += run_up;
        for number in next..next + count {
            let start = Instant::now();
            let whole = exchange(number)?;
            times.saturating_record(start.elapsed().as_nanos() as u64);
            if !whole {
                return Err(wrong(number));
            }
        }
        next += count;
        peer.expect("done")?;
        Ok(())
    };
    stretch(peer, warm_up, &mut times)?;
    times.reset();
    let start = Instant::now();
    stretch(peer, warm_up, &mut times)?;
    let count = length.messages(run_up + warm_up, start.elapsed()) / STRETCHES / slower + 1;
    times.reset();
    let start = Instant::now();
    while start.elapsed() < length.0 {
        stretch(peer, count, &mut times)?;
    }
    peer.end()?;
    let clock = machine::clock_cost();
    let at = |quantile| times.value_at_quantile(quantile).saturating_sub(clock) as f64 / 2.0;
    Ok(Latency { p50: at(0.5), p99: at(0.99) })
}

/// What became of a stream of messages.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Sent in a second, in millions.
    pub sent_mps: f64,
    /// Received in a second, in millions.
    pub received_mps: f64,
    /// How many were sent.
    pub sent: u64,
    /// How many of them the receiver did not get, and knew of.
    pub missed: u64,
}

/// Sends messages one way as fast as it goes. Whoever receives loses what it is too slow for.
pub fn throughput<T: Transport, const N: usize>(
    peer: &mut Peer,
    job: &Job,
    length: Length,
) -> Result<Throughput> {
    let mut output = T::sender::<N>(peer.folder(), &job.channel)?;
    peer.begin(Served::Count, job)?;
    streams(peer, length, |first, count| {
        for number in first..first + count {
            output.send(|message| fill::<T, N>(message, number))?;
        }
        Ok(())
    })
}

/// Times streams of so many messages, the first of which has this number. The other process counts them.
pub fn streams(
    peer: &mut Peer,
    length: Length,
    mut send: impl FnMut(u64, u64) -> Result<()>,
) -> Result<Throughput> {
    let mut next = 1;
    let mut stream = |peer: &mut Peer, count: u64| -> Result<Throughput> {
        peer.command(&format!("go {next} {count}"))?;
        peer.expect("counting")?;
        let start = Instant::now();
        send(next, count)?;
        let took = start.elapsed();
        next += count;
        let counted = peer.expect("done")?;
        let mut counted = counted.split(' ').map(str::parse);
        let [Some(received), Some(missed), Some(torn), Some(ns)] = [(); 4].map(|()| counted.next())
        else {
            return Err("the second process did not say what it counted".into());
        };
        let (received, missed, torn, ns): (u64, u64, u64, u64) = (received?, missed?, torn?, ns?);
        if torn > 0 {
            return Err(format!("{torn} of {received} messages are torn").into());
        }
        if received + missed != count {
            let reason = format!("sent {count}, but received {received} and missed {missed}");
            return Err(reason.into());
        }
        Ok(Throughput {
            sent_mps: count as f64 / took.as_secs_f64() / 1e6,
            received_mps: received as f64 / ns as f64 * 1e3,
            sent: count,
            missed,
        })
    };
    stream(peer, WARM_UP)?;
    let sample = 100 * WARM_UP;
    let first = stream(peer, sample)?;
    let took = Duration::from_secs_f64(sample as f64 / first.sent_mps / 1e6);
    let row = stream(peer, length.messages(sample, took))?;
    peer.end()?;
    Ok(row)
}

/// The second process's part in a row, until it is told that the row is over.
pub fn serve<T: Transport, const N: usize>(
    folder: &Path,
    job: &Job,
    part: Served,
    commands: &mut Commands,
) -> Result<()> {
    let mut input = T::receiver::<N>(folder, &job.channel, &job.mode)?;
    match part {
        Served::Echo => {
            let mut output = T::sender::<N>(folder, &format!("{}.back", job.channel))?;
            commands.answer("ready")?;
            while let Some((first, count)) = commands.go()? {
                for number in first..first + count {
                    if !input.receive(|message| is_whole::<T, N>(message, number))? {
                        return Err(wrong(number));
                    }
                    output.send(|message| fill::<T, N>(message, number))?;
                }
                commands.answer("done")?;
            }
        }
        Served::Count => {
            commands.answer("ready")?;
            while let Some((first, count)) = commands.go()? {
                let missed_before = input.missed();
                commands.answer("counting")?;
                let start = Instant::now();
                let (mut received, mut torn, mut number) = (0, 0, 0);
                while number != first + count - 1 {
                    number = input.receive(|message| {
                        torn += u64::from(!is_whole::<T, N>(message, message[0]));
                        message[0]
                    })?;
                    received += 1;
                }
                let ns = start.elapsed().as_nanos();
                let missed = input.missed() - missed_before;
                commands.answer(&format!("done {received} {missed} {torn} {ns}"))?;
            }
        }
    }
    Ok(())
}
