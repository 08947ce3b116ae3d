//! Finds the walls in laser scans, with three workers, one of which is killed while it has a job.
//!
//! ```text
//! cargo run --release --example work_queue
//! ```
//!
//! A scan is cut into parts, and each part is a job: its points lie in the queue, and whichever worker takes
//! it reads them there. This process pushes, and starts itself three times more as the workers. A worker
//! writes down what it has found in a file, the ledger, and then acknowledges the job. Whoever has the job
//! in the middle is killed (SIGKILL) before that: another worker gets it, without anybody doing anything
//! for it. At the end one line on stdout says what came of it:
//!
//! ```text
//! jobs=… done=… lost=… redelivered=… duplicates=…
//! ```
//!
//! A job is `done` if the ledger has the right result for it. `lost = 0`, always, or the exit status is 1. With
//! `--kill late` the worker dies after it has written and before it has acknowledged: then the job is done
//! twice, which nobody but whoever keeps the ledger can see. That is what *at least once* means.

#[allow(dead_code)] // not what counts messages
mod two_processes;

use std::collections::HashMap;
use std::error::Error;
use std::f32::consts::TAU;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use shm_comm::{Channel, Job, Puller, Pusher, ShmMessage};
use shm_comm_schemas::{FrameId, Header, ScanPoint, Time};

use two_processes::{Process, report, tidy_up_by};

/// A part of a laser scan, in which a wall is to be found.
#[derive(ShmMessage)]
#[repr(C)]
struct ScanPart {
    /// Of its scan.
    header: Header,
    /// Among all parts, from 0.
    number: u64,
    /// The angle of the first ray, in radians.
    angle_min: f32,
    /// From one ray to the next, in radians.
    angle_increment: f32,
    /// One for each ray.
    points: [ScanPoint],
}

const WORKERS: usize = 3;
/// Of a scan.
const PARTS: u64 = 8;
/// Of a part.
const RAYS: usize = 90;
const CHANNEL: &str = "scan/parts";
/// How long anybody here waits before looking whether the others are still there.
const LOOK: Duration = Duration::from_millis(20);
/// The first argument of a worker's process; see [`Worker`] for what follows.
const WORKER: &str = "--as-worker";
const USAGE: &str = "\
Finds the walls in laser scans, with three workers, one of which is killed while it has a job.

usage: work_queue [--jobs N] [--kill early|late]

  --jobs   how many parts of scans there are [default: 2000]
  --kill   whoever has the job in the middle is killed
             early: before it has written down what it found [default]
             late:  after that, and before it has acknowledged the job, which is done twice then
  --help   this text

Exit status: 0 if every job was done, 1 if not, 2 for wrong arguments, 130 after Ctrl-C.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|role| role == WORKER) {
        return report(Worker::of(&arguments).and_then(|worker| worker.work()));
    }
    match Options::parse(&arguments) {
        Ok(Some(options)) => report(run(&options)),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("error: {wrong}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

// ── who pushes ───────────────────────────────────────────────────────────────────────────────────

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let stop = two_processes::stop_flag()?;
    let result = push(options, &stop);
    if stop.load(Ordering::Relaxed) {
        eprintln!("interrupted");
        return Ok(ExitCode::from(130));
    }
    result
}

fn push(options: &Options, stop: &AtomicBool) -> Result<ExitCode, Box<dyn Error>> {
    let root = two_processes::folder("shm-comm-work-")?;
    let ledger = tempfile::Builder::new().prefix("shm-comm-ledger-").tempfile()?;
    // Before the workers, who end when there is nobody who pushes.
    let channel = Channel::new(CHANNEL).root(root.path()).max_len(RAYS);
    let mut parts = Pusher::<ScanPart>::new(channel)?;
    let (kill, kill_at) = (options.kill.name(), (options.jobs / 2).to_string());
    let pusher = std::process::id().to_string();
    let arguments: [&OsStr; 6] = [
        WORKER.as_ref(),
        pusher.as_ref(),
        root.path().as_ref(),
        ledger.path().as_ref(),
        kill.as_ref(),
        kill_at.as_ref(),
    ];
    let workers = (0..WORKERS).map(|_| Process::start_as("worker", arguments));
    let mut workers = workers.collect::<Result<Vec<_>, _>>()?;
    let mut check = || {
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        // One of them is killed. It is an error if nobody is left.
        let mut states: Vec<_> = workers.iter_mut().map(Process::check_alive).collect();
        if states.iter().any(Result::is_ok) { Ok(()) } else { states.remove(0) }
    };

    eprintln!("{} parts of scans for {WORKERS} workers", options.jobs);
    let frame_id = FrameId::new("laser")?;
    for number in 0..options.jobs {
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let loan = loop {
            // While the queue is full there is `None`: nothing is ever dropped.
            match parts.loan_with_len_timeout(RAYS, LOOK)? {
                Some(loan) => break loan,
                None => check()?,
            }
        };
        let mut part = loan.zeroed();
        let stamp = Time::from_nanos((number / PARTS) as i64 * 100_000_000);
        part.header = Header { stamp, frame_id };
        part.number = number;
        (part.angle_min, part.angle_increment) = angles(number);
        measure(number, &mut part.points);
        part.send();
    }
    // A job that a worker has, or had when it died, is held until it waits again, or is done.
    let stats = loop {
        let stats = parts.stats();
        if stats.queued + stats.held == 0 {
            break stats;
        }
        check()?;
        thread::sleep(LOOK / 10);
    };

    drop(parts);
    for worker in &mut workers {
        let status = worker.wait()?;
        if !status.success() && status.signal() != Some(Signal::KILL.as_raw()) {
            return Err(format!("a worker has failed: {status}").into());
        }
    }
    let (done, duplicates) = read_ledger(ledger.path(), options.jobs)?;
    let (jobs, lost, redelivered) = (options.jobs, options.jobs - done, stats.redelivered);
    writeln!(
        std::io::stdout(),
        "jobs={jobs} done={done} lost={lost} redelivered={redelivered} duplicates={duplicates}"
    )?;
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many jobs were done, and how often one was done again.
fn read_ledger(ledger: &Path, jobs: u64) -> Result<(u64, u64), Box<dyn Error>> {
    let mut times = HashMap::<u64, u64>::new();
    for line in std::fs::read_to_string(ledger)?.lines() {
        let entry = line.split_once(' ').and_then(|(number, result)| {
            let number = number.parse().ok().filter(|number| *number < jobs)?;
            Some((number, result))
        });
        match entry {
            Some((number, result)) if result == expected(number) => {
                *times.entry(number).or_default() += 1;
            }
            _ => eprintln!("not what was to be found: {line:?}"),
        }
    }
    let done = times.len() as u64;
    Ok((done, times.values().sum::<u64>() - done))
}

// ── who works ────────────────────────────────────────────────────────────────────────────────────

struct Worker {
    /// The process that pushes and has started this one.
    pusher: u32,
    root: PathBuf,
    ledger: PathBuf,
    kill: Kill,
    /// Whoever has this part is killed, the first time.
    kill_at: u64,
}

impl Worker {
    fn of(arguments: &[OsString]) -> Result<Worker, Box<dyn Error>> {
        let [_, pusher, root, ledger, kill, kill_at] = arguments else {
            return Err(format!("{WORKER} is not for people").into());
        };
        let pusher = pusher.to_string_lossy().parse()?;
        let kill = Kill::parse(&kill.to_string_lossy())?;
        let kill_at = kill_at.to_string_lossy().parse()?;
        Ok(Worker { pusher, root: root.into(), ledger: ledger.into(), kill, kill_at })
    }

    /// Does what there is to do, until there is nothing and nobody who pushes.
    fn work(&self) -> Result<ExitCode, Box<dyn Error>> {
        let mut ledger = File::options().append(true).open(&self.ledger)?;
        let channel = Channel::new(CHANNEL).root(&self.root);
        let mut parts = Puller::<ScanPart>::new(&channel)?;
        loop {
            // Asked first: what was pushed before that is there.
            let is_over = parts.pushers() == 0;
            let Some(part) = parts.recv_timeout(LOOK)? else {
                if is_over {
                    break;
                }
                continue;
            };
            let result = result(part.angle_min, part.angle_increment, &part.points);
            self.die(Kill::Early, &part);
            // One system call, so that lines of several workers do not mix. An error ends this worker, and
            // another gets the job.
            ledger.write_all(format!("{} {result}\n", part.number).as_bytes())?;
            self.die(Kill::Late, &part);
            part.done();
        }
        drop(parts);
        if parent_id() != self.pusher {
            // It was killed. What it had pushed is done nevertheless.
            let _ = std::fs::remove_file(&self.ledger);
            tidy_up_by(&self.root, || drop(Puller::<ScanPart>::new(&channel)));
            return Err("who pushed is gone".into());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// `kill -9`, if it is the part for that, and the first time.
    fn die(&self, now: Kill, part: &Job<ScanPart>) {
        if now == self.kill && part.number == self.kill_at && part.deliveries() == 1 {
            eprintln!("a worker is killed while it has part {}", part.number);
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

// ── the work ─────────────────────────────────────────────────────────────────────────────────────

/// A straight line: where its nearest point is, in metres, and how many rays have met it.
#[derive(Clone, Copy, Debug, Default)]
struct Wall {
    x: f32,
    y: f32,
    rays: u32,
}

/// A point belongs to a wall that is not further away than this, in metres.
const NEAR: f32 = 0.03;

/// The wall that most rays have met, of those through two points.
fn find_wall(angle_min: f32, angle_increment: f32, points: &[ScanPoint]) -> Wall {
    let at = |(ray, point): (usize, &ScanPoint)| {
        let (sin, cos) = (angle_min + ray as f32 * angle_increment).sin_cos();
        [point.range * cos, point.range * sin]
    };
    let points: Vec<[f32; 2]> = points.iter().enumerate().map(at).collect();
    let mut best = Wall::default();
    for apart in [points.len() / 4, points.len() / 2] {
        for ([ax, ay], [bx, by]) in points.iter().zip(&points[apart..]) {
            let length = (bx - ax).hypot(by - ay);
            let normal = [(ay - by) / length, (bx - ax) / length];
            let distance = normal[0] * ax + normal[1] * ay;
            let is_near =
                |[x, y]: &&[f32; 2]| (normal[0] * x + normal[1] * y - distance).abs() < NEAR;
            let rays = points.iter().filter(is_near).count() as u32;
            if rays > best.rays {
                best = Wall { x: normal[0] * distance, y: normal[1] * distance, rays };
            }
        }
    }
    best
}

/// What a worker writes down: the wall, and a checksum of the points in which it was found.
fn result(angle_min: f32, angle_increment: f32, points: &[ScanPoint]) -> String {
    let Wall { x, y, rays } = find_wall(angle_min, angle_increment, points);
    // FNV-1a. Source: <http://www.isthe.com/chongo/tech/comp/fnv/>.
    let bytes = points.iter().flat_map(|point| point.range.to_ne_bytes());
    let checksum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("({x:.3}, {y:.3}) {rays} {checksum:016x}")
}

/// What is to be found in a part.
fn expected(number: u64) -> String {
    let mut points = [ScanPoint::default(); RAYS];
    measure(number, &mut points);
    let (angle_min, angle_increment) = angles(number);
    result(angle_min, angle_increment, &points)
}

/// The angle of a part's first ray, and from one to the next.
fn angles(number: u64) -> (f32, f32) {
    ((number % PARTS) as f32 * TAU / PARTS as f32, TAU / (PARTS as usize * RAYS) as f32)
}

/// What the rays of a part meet in a room of 8 by 6 metres, from its middle, to 5 millimetres.
fn measure(number: u64, points: &mut [ScanPoint]) {
    let (angle_min, angle_increment) = angles(number);
    for (ray, point) in points.iter_mut().enumerate() {
        let (sin, cos) = (angle_min + ray as f32 * angle_increment).sin_cos();
        let wall = (4.0 / cos.abs()).min(3.0 / sin.abs());
        let error = (noise(number << 32 | ray as u64) % 1001) as f32 / 100_000.0 - 0.005;
        *point = ScanPoint { range: wall + error, intensity: 1.0 / wall };
    }
}

/// The `i`th of the numbers of splitmix64. Source: <https://prng.di.unimi.it/splitmix64.c>.
fn noise(i: u64) -> u64 {
    let mut z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// ── arguments ────────────────────────────────────────────────────────────────────────────────────

struct Options {
    jobs: u64,
    kill: Kill,
}

/// When a worker is killed: before or after it has written down what it found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    Early,
    Late,
}

impl Kill {
    fn parse(text: &str) -> Result<Kill, String> {
        match text {
            "early" => Ok(Kill::Early),
            "late" => Ok(Kill::Late),
            _ => Err(format!("--kill is {text:?}, not early or late")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kill::Early => "early",
            Kill::Late => "late",
        }
    }
}

impl Options {
    /// `None`: help is asked for.
    fn parse(arguments: &[OsString]) -> Result<Option<Options>, String> {
        let mut options = Options { jobs: 2000, kill: Kill::Early };
        for pair in arguments.chunks(2) {
            let option = pair[0].to_string_lossy();
            let value = pair.get(1).map(|value| value.to_string_lossy());
            let value = || value.ok_or_else(|| format!("{option} needs a value"));
            match &*option {
                "--help" | "-h" => return Ok(None),
                "--jobs" => {
                    let value = value()?;
                    let jobs = value.parse().ok().filter(|jobs| (1..=MAX_JOBS).contains(jobs));
                    let wrong =
                        || format!("--jobs is {value:?}, not a number from 1 to {MAX_JOBS}");
                    options.jobs = jobs.ok_or_else(wrong)?;
                }
                "--kill" => options.kill = Kill::parse(&value()?)?,
                _ => return Err(format!("there is no option {option}")),
            }
        }
        Ok(Some(options))
    }
}

/// What is written down is read as a whole.
const MAX_JOBS: u64 = 10_000_000;
