//! `shm-comm hz`: how often messages come, how regularly, how much they are, how many are lost.

use std::collections::HashMap;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shm_comm::{MessageInfo, Observer};

use crate::args::Hz;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::text;

/// How often to look: messages that come between two looks share the time evenly.
const PAUSE: Duration = Duration::from_micros(50);

/// What was seen in one interval, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    /// How long it was measured.
    seconds: f64,
    /// Messages of all publishers per second, lost ones included.
    rate_hz: f64,
    /// Messages that were seen.
    messages: u64,
    /// Messages that were overwritten before they were seen.
    lost: u64,
    bandwidth_bytes_per_s: f64,
    /// Between two messages of one publisher; none if there were no two.
    interval_mean_ns: Option<f64>,
    interval_min_ns: Option<f64>,
    interval_max_ns: Option<f64>,
    /// The standard deviation of the interval.
    jitter_ns: Option<f64>,
}

pub fn run(folder: &Folder, options: &Hz, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    folder.info(&options.channel)?;
    let mut observer = Observer::new(folder.channel(&options.channel))?;
    let mut last = HashMap::new();
    for line in 0..options.count.unwrap_or(u64::MAX) {
        let mut seen = Seen::default();
        let start = Instant::now();
        while start.elapsed() < options.interval {
            let mut batch = Vec::new();
            // A publisher may be faster than this: then it ends at the interval.
            while let Some(message) = observer.try_skip()? {
                batch.push(message);
                if start.elapsed() >= options.interval {
                    break;
                }
            }
            seen.add(&batch, Instant::now(), &mut last);
            if !options.spin && batch.is_empty() {
                thread::sleep(PAUSE.min(options.interval.saturating_sub(start.elapsed())));
            }
        }
        let report = seen.report(&options.channel, start.elapsed());
        if json {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
        } else {
            if line == 0 {
                writeln!(out, "{:>11}  {:>10}  {:>8}  INTERVAL", "RATE", "BANDWIDTH", "LOST")?;
            }
            writeln!(out, "{}", report.line())?;
        }
        out.flush()?;
    }
    Ok(())
}

/// What was seen of one interval.
#[derive(Default)]
struct Seen {
    messages: u64,
    lost: u64,
    bytes: u64,
    intervals: u64,
    /// In nanoseconds, as what follows; of the mean and the squares as Welford has them.
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Seen {
    /// Messages that had come when it was looked `now`. `last` has when the last one of each publisher did.
    fn add(&mut self, batch: &[MessageInfo], now: Instant, last: &mut HashMap<u32, Instant>) {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for message in batch {
            self.messages += 1;
            self.lost += message.missed;
            self.bytes += message.size as u64;
            *counts.entry(message.publisher.ring).or_default() += 1 + message.missed;
        }
        for (publisher, count) in counts {
            if let Some(before) = last.insert(publisher, now) {
                let interval = (now - before).as_nanos() as f64 / count as f64;
                for _ in 0..count.min(MOST_AT_ONCE) {
                    self.add_interval(interval);
                }
            }
        }
    }

    /// Welford's algorithm: B. P. Welford, Technometrics 4 (1962), 419-420.
    fn add_interval(&mut self, interval: f64) {
        self.min = if self.intervals == 0 { interval } else { self.min.min(interval) };
        self.max = self.max.max(interval);
        self.intervals += 1;
        let off = interval - self.mean;
        self.mean += off / self.intervals as f64;
        self.squares += off * (interval - self.mean);
    }

    fn report<'a>(&self, name: &'a str, elapsed: Duration) -> Report<'a> {
        let seconds = elapsed.as_secs_f64();
        let all = self.messages + self.lost;
        // Those that were lost were as large as those that were seen.
        let mean_bytes = self.bytes as f64 / self.messages.max(1) as f64;
        let intervals = self.intervals as f64;
        let known = |value: f64| (self.intervals > 0).then_some(value);
        Report {
            name,
            seconds,
            rate_hz: all as f64 / seconds,
            messages: self.messages,
            lost: self.lost,
            bandwidth_bytes_per_s: mean_bytes * all as f64 / seconds,
            interval_mean_ns: known(self.mean),
            interval_min_ns: known(self.min),
            interval_max_ns: known(self.max),
            jitter_ns: known((self.squares / intervals.max(1.0)).sqrt()),
        }
    }
}

/// What was lost counts for the mean, but is not worth counting one by one.
const MOST_AT_ONCE: u64 = 1 << 16;

impl Report<'_> {
    fn line(&self) -> String {
        let time = |ns: Option<f64>| text::time(Duration::from_nanos(ns.unwrap_or(0.0) as u64));
        let interval = match self.interval_mean_ns {
            None => "-".to_owned(),
            mean => format!(
                "{} ± {} ({} … {})",
                time(mean),
                time(self.jitter_ns),
                time(self.interval_min_ns),
                time(self.interval_max_ns)
            ),
        };
        let (rate, bandwidth) =
            (text::rate(self.rate_hz), text::bandwidth(self.bandwidth_bytes_per_s));
        format!("{rate:>11}  {bandwidth:>10}  {:>8}  {interval}", self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_the_standard_deviation_of_the_interval() {
        let mut seen = Seen::default();
        for interval in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            seen.add_interval(interval);
        }
        let report = seen.report("x", Duration::from_secs(1));
        assert_eq!(report.interval_mean_ns, Some(5.0));
        assert_eq!(report.jitter_ns, Some(2.0));
        assert_eq!((report.interval_min_ns, report.interval_max_ns), (Some(2.0), Some(9.0)));
        let nothing = Seen::default().report("x", Duration::from_secs(1));
        assert_eq!((nothing.rate_hz, nothing.jitter_ns), (0.0, None));
    }
}
