//! Replays a recorded trajectory from one process to another, and checks every pose on arrival.
//!
//! ```text
//! cargo run --release --example replay_trajectory
//! ```
//!
//! This process publishes; it starts itself once more as the subscriber, which reads the same file
//! and compares every pose bit by bit. First the poses go at the rate at which they were recorded,
//! then as fast as possible. For each phase one line on stdout says what came of it:
//!
//! ```text
//! phase=recorded sent=… received=… missed=… wrong=… p50_ns=… p99_ns=…
//! ```
//!
//! `sent = received + missed`, always. The latency of a pose is from just before it is written to
//! just after it is received. A publisher never waits, so as fast as possible the subscriber misses
//! some, and knows how many.

mod tum;
mod two_processes;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shm_comm::{Channel, Publisher, ShmMessage};
use shm_comm_schemas::Pose;

use tum::Entry;
use two_processes::{Checked, Process, monotonic_ns, publish, receive, report};

/// A pose of the trajectory on its way.
#[derive(ShmMessage)]
#[repr(C)]
struct StampedPose {
    /// Which pose of the file, from 0.
    index: u64,
    /// When it was published, in nanoseconds of `CLOCK_MONOTONIC`.
    published_ns: u64,
    /// When it was recorded, in seconds.
    stamp: f64,
    pose: Pose,
}

const USAGE: &str = "\
Replays a trajectory from one process to another and checks every pose on arrival.

usage: replay_trajectory [FILE] [--rate recorded|max|HZ] [--count N]

  FILE     a trajectory in TUM form: timestamp tx ty tz qx qy qz qw
           [default: the recorded one that comes with the examples]
  --rate   only one phase: at the recorded rate, as fast as possible, or HZ poses a second
           (0.001 to 1000000) [default: recorded, then max]
  --count  how many poses to send in each phase, going round the file as often as it takes
           [default: 3 seconds of them; with max, 20000000]
  --help   this text

Exit status: 0 if every pose that arrived was right and none is unaccounted for, 1 if not,
2 for wrong arguments or a file that is no trajectory, 130 after Ctrl-C.";

/// How long a phase takes if nobody says how many poses to send.
const PHASE: Duration = Duration::from_secs(3);
/// How many poses that is as fast as possible.
const MAX_COUNT: u64 = 20_000_000;
/// The channel, the same in each phase.
const CHANNEL: &str = "replay";
/// The first argument of the subscriber's process; its root folder, phase and file follow.
const SUBSCRIBER: &str = "--as-subscriber";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [role, root, phase, file] = &arguments[..]
        && role == SUBSCRIBER
    {
        return report(subscribe(root.as_ref(), &phase.to_string_lossy(), file.as_ref()));
    }
    let options = match Options::parse(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("error: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let trajectory = match load(&options.file) {
        Ok(trajectory) => trajectory,
        Err(error) => {
            eprintln!("error: {}: {error}", options.file.display());
            return ExitCode::from(2);
        }
    };
    report(replay(&options, &trajectory))
}

fn load(file: &Path) -> Result<Vec<Entry>, Box<dyn Error>> {
    Ok(tum::parse(&std::fs::read_to_string(file)?)?)
}

// ── the publisher's process ──────────────────────────────────────────────────────────────────────

/// All phases, one after the other, each with a publisher and a subscriber of its own.
fn replay(options: &Options, trajectory: &[Entry]) -> Result<ExitCode, Box<dyn Error>> {
    let stop = two_processes::stop_flag()?;
    let root = two_processes::folder("shm-comm-replay-")?;

    let mut exit = ExitCode::SUCCESS;
    for rate in &options.rates {
        let count = options.count.unwrap_or_else(|| rate.default_count(trajectory));
        let channel = Channel::new(CHANNEL).root(root.path());
        let mut publisher = Publisher::<StampedPose>::new(&channel)?;
        let phase = rate.to_string();
        let arguments: [&OsStr; 4] =
            [SUBSCRIBER.as_ref(), root.path().as_ref(), phase.as_ref(), options.file.as_ref()];
        let mut subscriber = Process::start(arguments)?;
        subscriber.wait_until_attached(&mut publisher, &stop)?;

        let file_name = options.file.file_name().unwrap_or_default();
        eprintln!("{rate}: {count} poses of {}", file_name.display());
        let due = |n| rate.due(trajectory, n);
        let mut poses = (0..).zip(trajectory).cycle();
        let send = |_| {
            let Some((index, entry)) = poses.next() else { return Ok(()) };
            publisher.loan()?.write(StampedPose {
                index,
                published_ns: monotonic_ns(),
                stamp: entry.stamp,
                pose: entry.pose,
            });
            Ok(())
        };
        let published = publish(rate, count, due, send, &mut subscriber, &stop);
        let stopped = || stop.load(Ordering::Relaxed);
        // The subscriber prints the result. Ctrl-C in a terminal ends it, too.
        let right = !stopped() && {
            published?;
            subscriber.finish(publisher.stats().sent)?.success()
        };
        if stopped() {
            eprintln!("interrupted");
            return Ok(ExitCode::from(130));
        }
        if !right {
            exit = ExitCode::FAILURE;
        }
    }
    Ok(exit)
}

// ── the subscriber's process ─────────────────────────────────────────────────────────────────────

/// Compares all poses with those of the file, and prints what came of it.
fn subscribe(root: &Path, phase: &str, file: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let trajectory = load(file)?;
    let channel = Channel::new(CHANNEL).root(root);
    let tally = receive::<StampedPose>(root, &channel, |sample| {
        let expected_index = sample.sequence() % trajectory.len() as u64;
        let expected = &trajectory[expected_index as usize];
        let is_right = sample.index == expected_index
            && sample.stamp.to_bits() == expected.stamp.to_bits()
            && bits(&sample.pose) == bits(&expected.pose);
        Checked { published_ns: sample.published_ns, is_right }
    })?;

    let two_processes::Tally { sent, received, missed, wrong, latency } = &tally;
    let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
    writeln!(
        std::io::stdout(),
        "phase={phase} sent={sent} received={received} missed={missed} wrong={wrong} \
         p50_ns={p50} p99_ns={p99}"
    )?;
    Ok(tally.exit_code())
}

/// The numbers of a pose such that only the same are equal: not 0 and -0.
fn bits(pose: &Pose) -> [u64; 7] {
    let (p, q) = (&pose.position, &pose.orientation);
    [p.x, p.y, p.z, q.x, q.y, q.z, q.w].map(f64::to_bits)
}

// ── arguments ────────────────────────────────────────────────────────────────────────────────────

struct Options {
    file: PathBuf,
    rates: Vec<Rate>,
    count: Option<u64>,
}

impl Options {
    /// `None`: help is asked for.
    fn parse(arguments: Vec<OsString>) -> Result<Option<Options>, String> {
        let (mut file, mut rate, mut count) = (None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let name = argument.to_string_lossy();
                let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
                value.into_string().map_err(|value| format!("{name} cannot be {value:?}"))
            };
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--rate") => rate = Some(Rate::parse(&value()?)?),
                Some("--count") => count = Some(parse_count(&value()?)?),
                Some(option) if option.starts_with('-') => {
                    return Err(format!("there is no option {option}"));
                }
                _ if file.is_some() => return Err("more than one file".to_owned()),
                _ => file = Some(PathBuf::from(argument)),
            }
        }
        let recorded =
            || concat!(env!("CARGO_MANIFEST_DIR"), "/data/freiburg1_xyz-groundtruth.txt").into();
        let file = file.unwrap_or_else(recorded);
        let rates = rate.map_or_else(|| vec![Rate::Recorded, Rate::Max], |rate| vec![rate]);
        Ok(Some(Options { file, rates, count }))
    }
}

fn parse_count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("--count is {text:?}, not a number from 1"))
}

/// When poses are published.
enum Rate {
    Recorded,
    Max,
    Hertz(f64),
}

impl Rate {
    fn parse(text: &str) -> Result<Rate, String> {
        match (text, text.parse()) {
            ("recorded", _) => Ok(Rate::Recorded),
            ("max", _) => Ok(Rate::Max),
            (_, Ok(hertz)) if (0.001..=1e6).contains(&hertz) => Ok(Rate::Hertz(hertz)),
            _ => Err(format!("--rate is {text:?}, not recorded, max or 0.001 to 1000000")),
        }
    }

    fn default_count(&self, trajectory: &[Entry]) -> u64 {
        match self {
            Rate::Recorded => {
                let end = trajectory[0].stamp + PHASE.as_secs_f64();
                trajectory.iter().take_while(|entry| entry.stamp < end).count().max(1) as u64
            }
            Rate::Max => MAX_COUNT,
            Rate::Hertz(hertz) => (hertz * PHASE.as_secs_f64()).ceil() as u64,
        }
    }

    /// How long after the start the `n`th pose is to be published. `None`: at once.
    fn due(&self, trajectory: &[Entry], n: u64) -> Option<Duration> {
        let seconds = match self {
            Rate::Max => return None,
            Rate::Hertz(hertz) => n as f64 / hertz,
            Rate::Recorded => {
                let poses = trajectory.len() as u64;
                let first = trajectory[0].stamp;
                let length = trajectory[trajectory.len() - 1].stamp - first;
                // From the last pose of a round to the first of the next as long as usual.
                let round = length + length / (poses - 1).max(1) as f64;
                (n / poses) as f64 * round + trajectory[(n % poses) as usize].stamp - first
            }
        };
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rate::Recorded => f.write_str("recorded"),
            Rate::Max => f.write_str("max"),
            Rate::Hertz(hertz) => write!(f, "{hertz}Hz"),
        }
    }
}
