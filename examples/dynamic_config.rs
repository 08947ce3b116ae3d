//! A configuration with text, lists and maps, sent from one process to another when it changes.
//!
//! ```text
//! cargo run --example dynamic_config
//! ```
//!
//! What is not plain data goes through the same handles: `Publisher<Msgpack<Config>>` encodes a value into
//! the slot, a sample derefs to the decoded one. This process publishes whenever something changes, and
//! starts itself once more as the robot, which looks for the newest in every round of its work: it may
//! pass one over, and ends up with the last. At the end it says what came of it, and the exit status is
//! 1 if a configuration was not what it should be:
//!
//! ```text
//! configs=… applied=… wrong=…
//! ```

#[allow(dead_code)] // not what counts messages
mod two_processes;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shm_comm::{Channel, Msgpack, Publisher, Subscriber};

use two_processes::{Process, report, tidy_up};

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
struct Config {
    revision: u32,
    robot: String,
    joints: Vec<Joint>,
    limits: BTreeMap<String, f64>,
    /// Only in the last one.
    farewell: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Joint {
    name: String,
    gains: [f64; 3],
}

/// Part of a [`Config`], which borrows its text from the message. What it does not name is passed over.
#[derive(Deserialize)]
struct Title<'a> {
    robot: &'a str,
}

const CONFIGS: u32 = 5;
const CHANNEL: &str = "arm/config";
/// The first argument of the robot's process; its root folder follows.
const ROBOT: &str = "--as-robot";
/// From one change to the next.
const CHANGES: Duration = Duration::from_millis(200);
/// From one round of the robot's work to the next.
const ROUND: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, root] if role == ROBOT => report(work(root.as_ref())),
        [] => report(configure()),
        _ => {
            eprintln!("usage: dynamic_config");
            ExitCode::from(2)
        }
    }
}

/// As it should be.
fn config(revision: u32) -> Config {
    let joint = |i| Joint { name: format!("joint {i}"), gains: [f64::from(revision), 0.1, 0.01] };
    Config {
        revision,
        robot: "left arm".to_owned(),
        // It grows.
        joints: (0..revision).map(joint).collect(),
        limits: BTreeMap::from([("speed".to_owned(), 0.5 * f64::from(revision))]),
        farewell: (revision == CONFIGS).then(|| "that was all".to_owned()),
    }
}

fn configure() -> Result<ExitCode, Box<dyn Error>> {
    let stop = two_processes::stop_flag()?;
    let root = two_processes::folder("shm-comm-config-")?;
    let channel = Channel::new(CHANNEL).root(root.path());
    let mut publisher = Publisher::<Msgpack<Config>>::new(channel)?;
    let arguments: [&OsStr; 2] = [ROBOT.as_ref(), root.path().as_ref()];
    let mut robot = Process::start(arguments)?;
    robot.wait_until_attached(&mut publisher, &stop)?;

    for revision in 1..=CONFIGS {
        if stop.load(Ordering::Relaxed) {
            eprintln!("interrupted");
            return Ok(ExitCode::from(130));
        }
        publisher.send(&config(revision))?;
        thread::sleep(CHANGES);
    }
    let is_right = robot.wait()?.success(); // the last one tells it to end
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Works, and applies what has changed, until it is told farewell.
fn work(root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let channel = Channel::new(CHANNEL).root(root);
    let mut configs = Subscriber::<Msgpack<Config>>::new(&channel)?;
    let (mut applied, mut wrong, mut current) = (0, 0, Config::default());
    while current.farewell.is_none() {
        // Asked before looking: what it has published before it ended is there.
        let is_configured = configs.publishers() > 0;
        // The newest, also if it was published before this program began. It is decoded each time: in
        // a loop that is too fast for that, start with `Start::Latest` and take `try_recv`.
        if let Some(newest) = configs.latest()?
            && newest.revision != current.revision
        {
            let Title { robot } = newest.decode_as()?;
            let (revision, joints, bytes) =
                (newest.revision, newest.joints.len(), newest.bytes().len());
            eprintln!("{robot}, revision {revision}: {joints} joints, {bytes} bytes");
            wrong += u32::from(*newest != config(revision) || robot != newest.robot);
            applied += 1;
            current = newest.into_value();
        } else if !is_configured {
            drop(configs);
            tidy_up::<Msgpack<Config>>(root, &channel);
            return Err("nobody configures this robot any more".into());
        }
        thread::sleep(ROUND); // where it would work
    }
    writeln!(std::io::stdout(), "configs={CONFIGS} applied={applied} wrong={wrong}")?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
