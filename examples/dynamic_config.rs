//! A configuration with text, lists and maps, sent from one process to another when it changes.
//!
//! ```text
//! cargo run --example dynamic_config
//! ```
//!
//! What is not plain data goes through the same handles: `Publisher<Msgpack<Config>>` encodes a value into
//! the slot, a sample derefs to the decoded one. This process publishes, and starts itself once more as
//! the one that applies what it gets. At the end that one says what came of it, and the exit status is 1
//! if a configuration was not what it should be:
//!
//! ```text
//! configs=… applied=… wrong=…
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shm_comm::{Channel, Msgpack, Publisher, Start, Subscriber, SubscriberOptions};

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
/// The first argument of the other process; the root folder follows.
const APPLY: &str = "--as-applier";
/// How long one process waits for a thing that the other does at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match &arguments[..] {
        [role, root] if role == APPLY => apply(root.as_ref()),
        [] => publish(),
        _ => {
            eprintln!("usage: dynamic_config");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
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

fn publish() -> Result<ExitCode, Box<dyn Error>> {
    // A folder of our own, so that two of these programs do not meet.
    let root = std::env::var_os("SHM_COMM_ROOT").unwrap_or("/dev/shm".into());
    let private = Permissions::from_mode(0o700);
    let root = tempfile::Builder::new()
        .prefix("shm-comm-config-")
        .permissions(private)
        .tempdir_in(&root)
        .map_err(|error| format!("no folder for the channel in {}: {error}", root.display()))?;
    let channel = Channel::new(CHANNEL).root(root.path());
    let mut publisher = Publisher::<Msgpack<Config>>::new(&channel)?;
    let mut applier =
        Applier(Command::new(std::env::current_exe()?).arg(APPLY).arg(root.path()).spawn()?);

    if !publisher.wait_for_subscribers(1, PATIENCE)? {
        return Err("the process that applies configurations does not come".into());
    }
    for revision in 1..=CONFIGS {
        publisher.send(&config(revision))?;
        thread::sleep(Duration::from_millis(50));
    }
    let status = applier.0.wait()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The other process. Dropped: ended, whatever it is doing.
struct Applier(Child);

impl Drop for Applier {
    fn drop(&mut self) {
        // Both are harmless if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn apply(root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let channel = Channel::new(CHANNEL).root(root);
    // Whoever comes late wants the configuration that is in force.
    let options = SubscriberOptions::new().start(Start::Oldest);
    let mut subscriber = Subscriber::<Msgpack<Config>>::with(channel, options)?;
    let (mut applied, mut wrong, mut last) = (0, 0, Config::default());
    while last.farewell.is_none() {
        let Some(sample) = subscriber.recv_timeout(PATIENCE)? else {
            return Err("no configuration comes any more".into());
        };
        let Title { robot } = sample.decode_as()?;
        let (revision, joints) = (sample.revision, sample.joints.len());
        eprintln!("{robot}, revision {revision}: {joints} joints, {} bytes", sample.bytes().len());
        wrong += u32::from(*sample != config(revision) || robot != sample.robot);
        applied += 1;
        last = sample.into_value();
    }
    writeln!(std::io::stdout(), "configs={CONFIGS} applied={applied} wrong={wrong}")?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
