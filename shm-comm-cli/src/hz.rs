//! `shm-comm hz`: how often messages come, how regularly, how much they are, how many are lost.

use std::collections::HashMap;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shm_comm::{MessageInfo, Observer};

use crate::args::Hz;
use crate::echo::say_who_is_there;
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
    /// Of those that came one by one, if most of them did.
    interval_min_ns: Option<f64>,
    interval_max_ns: Option<f64>,
    /// The standard deviation of the interval.
    jitter_ns: Option<f64>,
}

pub fn run(folder: &Folder, options: &Hz, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    folder.expect_published(&options.channel, options.wait)?;
    let mut observer = Observer::new(folder.channel(&options.channel))?;
    let mut last = HashMap::new();
    let mut is_silent = false;
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
            text::json_line(out, &report)?;
        } else {
            if line == 0 {
                writeln!(out, "{:>11}  {:>10}  {:>8}  INTERVAL", "RATE", "BANDWIDTH", "LOST")?;
            }
            writeln!(out, "{}", report.line())?;
        }
        out.flush()?;
        match report.messages {
            0 if !is_silent => {
                is_silent = true;
                say_who_is_there(folder, &options.channel)?;
            }
            0 => {}
            _ => is_silent = false,
        }
    }
    Ok(())
}

/// What was seen of one interval.
#[derive(Default)]
struct Seen {
    messages: u64,
    lost: u64,
    bytes: u64,
    /// How long it took, in nanoseconds, that so many messages followed another one of their publisher.
    time: f64,
    followed: u64,
    /// Of intervals between messages that came one by one, in nanoseconds; mean and squares as Welford has
    /// them.
    singles: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

/// When the last message of a publisher was seen, and whether it had come by itself.
struct Last {
    at: Instant,
    is_exact: bool,
}

impl Seen {
    /// Messages that had come when it was looked `now`.
    fn add(&mut self, batch: &[MessageInfo], now: Instant, last: &mut HashMap<u32, Last>) {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for message in batch {
            self.messages += 1;
            self.lost += message.missed;
            self.bytes += message.size as u64;
            *counts.entry(message.publisher.ring).or_default() += 1 + message.missed;
        }
        for (publisher, count) in counts {
            // Several at a look have come at some time since the look before.
            let is_exact = count == 1;
            let Some(before) = last.insert(publisher, Last { at: now, is_exact }) else { continue };
            let interval = (now - before.at).as_nanos() as f64;
            self.time += interval;
            self.followed += count;
            if is_exact && before.is_exact {
                self.add_single(interval);
            }
        }
    }

    /// Welford's algorithm: B. P. Welford, Technometrics 4 (1962), 419-420.
    fn add_single(&mut self, interval: f64) {
        self.min = if self.singles == 0 { interval } else { self.min.min(interval) };
        self.max = self.max.max(interval);
        self.singles += 1;
        let off = interval - self.mean;
        self.mean += off / self.singles as f64;
        self.squares += off * (interval - self.mean);
    }

    fn report<'a>(&self, name: &'a str, elapsed: Duration) -> Report<'a> {
        let seconds = elapsed.as_secs_f64();
        let all = self.messages + self.lost;
        // Those that were lost were as large as those that were seen.
        let mean_bytes = self.bytes as f64 / self.messages.max(1) as f64;
        let singles = self.singles as f64;
        // Too few, and they say nothing of the others.
        let known =
            |value: f64| (self.singles >= 2 && 2 * self.singles >= self.followed).then_some(value);
        Report {
            name,
            seconds,
            rate_hz: all as f64 / seconds,
            messages: self.messages,
            lost: self.lost,
            bandwidth_bytes_per_s: mean_bytes * all as f64 / seconds,
            interval_mean_ns: (self.followed > 0).then(|| self.time / self.followed as f64),
            interval_min_ns: known(self.min),
            interval_max_ns: known(self.max),
            jitter_ns: known((self.squares / singles.max(1.0)).sqrt()),
        }
    }
}

impl Report<'_> {
    fn line(&self) -> String {
        let time = |ns: Option<f64>| text::time(Duration::from_nanos(ns.unwrap_or(0.0) as u64));
        let interval = match (self.interval_mean_ns, self.jitter_ns) {
            (None, _) => "-".to_owned(),
            (mean, None) => time(mean),
            (mean, jitter) => format!(
                "{} ± {} ({} … {})",
                time(mean),
                time(jitter),
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

    fn message(sequence: u64, missed: u64) -> MessageInfo {
        // There is no other way to make one.
        let folder = tempfile::tempdir().unwrap();
        let channel = shm_comm::Channel::new("c").root(folder.path().join("root"));
        let mut publisher = shm_comm::Publisher::<u64>::new(&channel).unwrap();
        let mut observer = Observer::new(&channel).unwrap();
        publisher.send(&0).unwrap();
        let mut message = observer.try_skip().unwrap().unwrap();
        (message.sequence, message.missed) = (sequence, missed);
        message
    }

    #[test]
    fn what_came_several_at_a_look_says_nothing_of_jitter() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one = [message(0, 0)];
        let (mut seen, mut last) = (Seen::default(), HashMap::new());
        for ms in [0, 10, 20, 31] {
            seen.add(&one, at(ms), &mut last);
        }
        // Three at once, two of them lost; and who follows them.
        seen.add(&[message(6, 2)], at(61), &mut last);
        seen.add(&one, at(65), &mut last);
        seen.add(&one, at(75), &mut last);
        let report = seen.report("x", Duration::from_millis(100));
        assert_eq!((report.messages, report.lost), (7, 2));
        assert_eq!(report.rate_hz.round(), 90.0);
        assert_eq!(report.interval_mean_ns, Some(75e6 / 8.0));
        assert_eq!((report.interval_min_ns, report.interval_max_ns), (Some(10e6), Some(11e6)));
        // Nothing came by itself.
        let (mut seen, mut last) = (Seen::default(), HashMap::new());
        for ms in [0, 10, 20] {
            seen.add(&[message(0, 3), message(4, 0)], at(ms), &mut last);
        }
        let report = seen.report("x", Duration::from_millis(30));
        assert_eq!((report.interval_mean_ns, report.jitter_ns), (Some(2e6), None));
    }

    #[test]
    fn jitter_is_the_standard_deviation_of_the_interval() {
        let mut seen = Seen::default();
        for interval in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            seen.add_single(interval);
            seen.time += interval;
            seen.followed += 1;
        }
        let report = seen.report("x", Duration::from_secs(1));
        assert_eq!(report.interval_mean_ns, Some(5.0));
        assert_eq!(report.jitter_ns, Some(2.0));
        assert_eq!((report.interval_min_ns, report.interval_max_ns), (Some(2.0), Some(9.0)));
        let nothing = Seen::default().report("x", Duration::from_secs(1));
        assert_eq!((nothing.rate_hz, nothing.jitter_ns), (0.0, None));
    }
}
