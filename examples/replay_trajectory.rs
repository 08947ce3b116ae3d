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

use std::error::Error;
use std::ffi::OsString;
use std::fs::{DirBuilder, Permissions};
use std::io::{BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use shm_comm::{Channel, Publisher, RecvError, Sample, ShmMessage, Subscriber};
use shm_comm_schemas::Pose;

use tum::Entry;

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
/// How long one process waits for a thing that the other does at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// The channel, the same in each phase.
const CHANNEL: &str = "replay";
/// The first argument of the subscriber's process; its root folder, phase and file follow.
const SUBSCRIBER: &str = "--as-subscriber";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [role, root, phase, file] = &arguments[..]
        && role == SUBSCRIBER
    {
        return report(receive(root.as_ref(), &phase.to_string_lossy(), file.as_ref()));
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

fn report(result: Result<ExitCode, Box<dyn Error>>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn load(file: &Path) -> Result<Vec<Entry>, Box<dyn Error>> {
    Ok(tum::parse(&std::fs::read_to_string(file)?)?)
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

// ── the publisher's process ──────────────────────────────────────────────────────────────────────

/// All phases, one after the other, each with a publisher and a subscriber of its own.
fn replay(options: &Options, trajectory: &[Entry]) -> Result<ExitCode, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let stop_too = stop.clone();
    ctrlc::set_handler(move || stop_too.store(true, Ordering::Relaxed))?;

    // A folder of our own, so that replays at the same time do not meet. Dropped, it is removed.
    let root = std::env::var_os("SHM_COMM_ROOT").filter(|root| !root.is_empty());
    let root = root.unwrap_or("/dev/shm".into());
    let root = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&root)
        .and_then(|()| {
            // Ours alone, whatever the umask says: the library insists on it.
            let mut folder = tempfile::Builder::new();
            let folder =
                folder.prefix("shm-comm-replay-").permissions(Permissions::from_mode(0o700));
            folder.tempdir_in(&root)
        })
        .map_err(|error| format!("no folder for the channel in {}: {error}", root.display()))?;

    let mut exit = ExitCode::SUCCESS;
    for rate in &options.rates {
        let count = options.count.unwrap_or_else(|| rate.default_count(trajectory));
        let channel = Channel::new(CHANNEL).root(root.path());
        let mut publisher = Publisher::<StampedPose>::new(&channel)?;
        let mut subscriber = Process::start(root.path(), rate, &options.file)?;
        subscriber.wait_until_attached(&mut publisher, &stop)?;

        let file_name = options.file.file_name().unwrap_or_default();
        eprintln!("{rate}: {count} poses of {}", file_name.display());
        let published = publish(&mut publisher, &mut subscriber, trajectory, rate, count, &stop);
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

/// Publishes `count` poses, each when it is due, unless it is stopped. An error if the subscriber
/// does not live to see the end, which is looked at once a second.
fn publish(
    publisher: &mut Publisher<StampedPose>,
    subscriber: &mut Process,
    trajectory: &[Entry],
    rate: &Rate,
    count: u64,
    stop: &AtomicBool,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut next_progress = start + Duration::from_secs(1);
    let mut poses = (0..).zip(trajectory).cycle();
    for sent in 0..count {
        let due = rate.due(trajectory, sent);
        if let Some(due) = due {
            sleep_until(start, due, stop);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some((index, entry)) = poses.next() else { break };
        publisher.loan()?.write(StampedPose {
            index,
            published_ns: monotonic_ns(),
            stamp: entry.stamp,
            pose: entry.pose,
        });
        if (due.is_some() || sent % 65536 == 0) && Instant::now() >= next_progress {
            eprintln!("{rate}: {} of {count} sent", sent + 1);
            subscriber.check_alive()?;
            next_progress += Duration::from_secs(1);
        }
    }
    Ok(())
}

/// Sleeps until it is `due` after `start`, or until it is stopped.
fn sleep_until(start: Instant, due: Duration, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = due.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// The subscriber's process. Dropped: ended, whatever it is doing.
struct Process(Child);

impl Process {
    fn start(root: &Path, rate: &Rate, file: &Path) -> Result<Process, Box<dyn Error>> {
        let process = Command::new(std::env::current_exe()?)
            .arg(SUBSCRIBER)
            .args([root, rate.to_string().as_ref(), file])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the subscriber: {error}"))?;
        Ok(Process(process))
    }

    fn wait_until_attached(
        &mut self,
        publisher: &mut Publisher<StampedPose>,
        stop: &AtomicBool,
    ) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while !publisher.wait_for_subscribers(1, Duration::from_millis(20))? {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.check_alive()?;
            if Instant::now() >= deadline {
                return Err("the subscriber does not come".into());
            }
        }
        Ok(())
    }

    /// It does not end before it is told to, unless something is wrong.
    fn check_alive(&mut self) -> Result<(), Box<dyn Error>> {
        match self.0.try_wait()? {
            Some(status) => Err(format!("the subscriber has ended too early: {status}").into()),
            None => Ok(()),
        }
    }

    /// Tells it how many were sent, and waits until it has received the last one.
    fn finish(&mut self, sent: u64) -> Result<ExitStatus, Box<dyn Error>> {
        if let Some(mut stdin) = self.0.stdin.take() {
            writeln!(stdin, "{sent}")
                .map_err(|error| format!("the subscriber is gone: {error}"))?;
        }
        let deadline = Instant::now() + 2 * PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err("the subscriber does not come to an end".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both are harmless if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ── the subscriber's process ─────────────────────────────────────────────────────────────────────

/// Receives until it is told on stdin how many were sent, and has received the last of them: that
/// one is never overwritten.
fn receive(root: &Path, phase: &str, file: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let trajectory = load(file)?;
    let channel = Channel::new(CHANNEL).root(root);
    let mut subscriber = Subscriber::<StampedPose>::new(&channel)?;

    // `None`: the publisher's process is gone.
    let told = Arc::new(OnceLock::<Option<u64>>::new());
    let (told_too, interrupter) = (told.clone(), subscriber.interrupter());
    thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let sent = read.ok().and_then(|_| line.trim_end().parse().ok());
        told_too.get_or_init(|| sent);
        interrupter.interrupt();
    });

    let mut tally = Tally::new(&trajectory)?;
    let sent = loop {
        let sent = match told.get() {
            Some(Some(sent)) if tally.next_sequence >= *sent => break *sent,
            Some(None) => {
                drop(subscriber);
                tidy_up(root, &channel);
                return Err("the publisher is gone".into());
            }
            sent => sent,
        };
        match subscriber.recv_timeout(PATIENCE) {
            Ok(Some(sample)) => tally.count(&sample),
            Ok(None) if sent.is_some() => return Err("the last pose did not come".into()),
            // A slow rate, or there is news on stdin.
            Ok(None) | Err(RecvError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    };

    let Tally { received, missed, wrong, latency, .. } = &tally;
    let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
    writeln!(
        std::io::stdout(),
        "phase={phase} sent={sent} received={received} missed={missed} wrong={wrong} \
         p50_ns={p50} p99_ns={p99}"
    )?;
    Ok(if *wrong == 0 && sent == received + missed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes the folder of a publisher that was killed: nobody else is left to do it.
fn tidy_up(root: &Path, channel: &Channel) {
    let deadline = Instant::now() + PATIENCE;
    while std::fs::remove_dir(root).is_err() && Instant::now() < deadline {
        // While the dead one was not quite dead, its channel was not ours to remove. Who comes next
        // finds nobody there and, when leaving, removes it.
        drop(Subscriber::<StampedPose>::new(channel));
        thread::sleep(Duration::from_millis(10));
    }
}

/// What came, compared with what should have come.
struct Tally<'t> {
    trajectory: &'t [Entry],
    next_sequence: u64,
    received: u64,
    missed: u64,
    wrong: u64,
    latency: Histogram<u64>,
}

impl Tally<'_> {
    fn new(trajectory: &[Entry]) -> Result<Tally<'_>, Box<dyn Error>> {
        // Up to a minute, to three digits.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Tally { trajectory, next_sequence: 0, received: 0, missed: 0, wrong: 0, latency })
    }

    #[inline]
    fn count(&mut self, sample: &Sample<StampedPose>) {
        let latency = monotonic_ns().saturating_sub(sample.published_ns);
        self.latency.saturating_record(latency);
        self.received += 1;
        self.missed += sample.missed();
        self.next_sequence = sample.sequence() + 1;

        let expected_index = sample.sequence() % self.trajectory.len() as u64;
        let expected = &self.trajectory[expected_index as usize];
        let right = sample.index == expected_index
            && sample.stamp.to_bits() == expected.stamp.to_bits()
            && bits(&sample.pose) == bits(&expected.pose);
        self.wrong += u64::from(!right);
    }
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
