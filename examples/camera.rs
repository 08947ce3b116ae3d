//! Sends full-HD images from one process to another, and checks every byte of every frame on arrival.
//!
//! ```text
//! cargo run --release --example camera -- --frames 300 --rate max
//! ```
//!
//! This process publishes; it starts itself once more as the subscriber. At the end one line on stdout
//! says what came of it:
//!
//! ```text
//! frames=… received=… missed=… wrong=… p50_us=… p99_us=…
//! ```
//!
//! `frames = received + missed`, always. The latency of a frame is from when it is complete to when the
//! subscriber has it. Nothing of it is copied on the way: the publisher writes into shared memory, the
//! subscriber reads there.

mod two_processes;

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shm_comm::{Channel, Publisher};
use shm_comm_schemas::{FrameId, Header, Image, Time, encoding};

use two_processes::{Checked, Process, monotonic_ns, publish, receive, report};

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
const BYTES_PER_PIXEL: u32 = 3;
/// Bytes of an image.
const SIZE: usize = (WIDTH * HEIGHT * BYTES_PER_PIXEL) as usize;
const FRAME_ID: &str = "camera_color_optical_frame";
const CHANNEL: &str = "camera/image";
/// The first argument of the subscriber's process; its root folder follows.
const SUBSCRIBER: &str = "--as-subscriber";
const USAGE: &str = "usage: camera [--frames N] [--rate HZ|max]   [default: 90 at 30 Hz]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, root] = &arguments[..]
        && role == SUBSCRIBER
    {
        return report(subscribe(root.as_ref()));
    }
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments) {
        Ok(options) => report(run(&options)),
        Err(wrong) => {
            eprintln!("error: {wrong}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

// ── the publisher's process ──────────────────────────────────────────────────────────────────────

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let stop = two_processes::stop_flag()?;
    let root = two_processes::folder("shm-comm-camera-")?;
    // Every slot is 6 MB, and there are as many as `depth` and the subscribers ask for.
    let channel = Channel::new(CHANNEL).root(root.path());
    let channel = channel.max_len(SIZE).depth(2).max_subscribers(1);
    let mut camera = Publisher::<Image>::new(channel)?;
    let arguments: [&OsStr; 2] = [SUBSCRIBER.as_ref(), root.path().as_ref()];
    let mut subscriber = Process::start(arguments)?;

    let pattern = Pattern::new();
    let frame_id = FrameId::new(FRAME_ID)?;
    subscriber.wait_until_attached(&mut camera, &stop)?;
    eprintln!("{} frames of {WIDTH} x {HEIGHT}", options.frames);
    let due = |n| options.hertz.map(|hertz| Duration::from_secs_f64(n as f64 / hertz));
    let send = |number| {
        let mut image = camera.loan_with_len(SIZE)?.reused(); // what an older frame left: no memset
        image.describe(WIDTH, HEIGHT, BYTES_PER_PIXEL, encoding::RGB8);
        image.data.copy_from_slice(pattern.frame(number)); // where a driver would write
        image.header = Header { stamp: Time::from_nanos(monotonic_ns() as i64), frame_id };
        image.send();
        Ok(())
    };
    let published = publish("camera", options.frames, due, send, &mut subscriber, &stop);
    // The subscriber prints the result. Ctrl-C in a terminal ends it, too.
    let right = !stop.load(Ordering::Relaxed) && {
        published?;
        subscriber.finish(camera.stats().sent)?.success()
    };
    if stop.load(Ordering::Relaxed) {
        eprintln!("interrupted");
        return Ok(ExitCode::from(130));
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// ── the subscriber's process ─────────────────────────────────────────────────────────────────────

/// Compares all frames with what they should be, and prints what came of it.
fn subscribe(root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let pattern = Pattern::new();
    let channel = Channel::new(CHANNEL).root(root);
    let tally = receive::<Image>(root, &channel, |image| {
        let is_right = (image.width, image.height) == (WIDTH, HEIGHT)
            && image.step == WIDTH * BYTES_PER_PIXEL
            && image.encoding == encoding::RGB8
            && image.header.frame_id == FRAME_ID
            && image.data == *pattern.frame(image.sequence());
        Checked { published_ns: image.header.stamp.as_nanos() as u64, is_right }
    })?;

    let two_processes::Tally { sent, received, missed, wrong, latency } = &tally;
    let [p50, p99] = [0.5, 0.99].map(|quantile| latency.value_at_quantile(quantile) / 1000);
    writeln!(
        std::io::stdout(),
        "frames={sent} received={received} missed={missed} wrong={wrong} p50_us={p50} p99_us={p99}"
    )?;
    Ok(tally.exit_code())
}

// ── frames ───────────────────────────────────────────────────────────────────────────────────────

/// What the frames show: noise, of which each frame begins one byte further than the one before.
struct Pattern(Vec<u8>);

impl Pattern {
    /// So many frames in a row are all different; far more than there are slots.
    const PERIOD: usize = 4096;

    fn new() -> Pattern {
        let words = (SIZE + Pattern::PERIOD).div_ceil(8) as u64;
        Pattern((0..words).flat_map(|i| noise(i).to_ne_bytes()).collect())
    }

    fn frame(&self, number: u64) -> &[u8] {
        let start = number as usize % Pattern::PERIOD;
        &self.0[start..start + SIZE]
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
    frames: u64,
    /// `None`: as fast as possible.
    hertz: Option<f64>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { frames: 90, hertz: Some(30.0) };
        for pair in arguments.chunks(2) {
            let (option, value) = (&*pair[0], pair.get(1));
            let value = value.ok_or_else(|| format!("{option} needs a value"))?;
            match option {
                "--frames" => {
                    let frames = value.parse().ok().filter(|frames| *frames > 0);
                    options.frames = frames
                        .ok_or_else(|| format!("--frames is {value:?}, not a number from 1"))?;
                }
                "--rate" if value == "max" => options.hertz = None,
                "--rate" => {
                    let hertz = value.parse().ok().filter(|hertz| (0.001..=1e6).contains(hertz));
                    let wrong = || format!("--rate is {value:?}, not max or 0.001 to 1000000");
                    options.hertz = Some(hertz.ok_or_else(wrong)?);
                }
                _ => return Err(format!("there is no option {option}")),
            }
        }
        Ok(options)
    }
}
