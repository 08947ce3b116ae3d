//! `shm-comm wait`: until somebody is there.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shm_comm::Pattern;

use crate::args::Wait;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::text;

/// How often to look.
const PAUSE: Duration = Duration::from_millis(10);

/// What was waited for, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    publishers: usize,
    subscribers: usize,
    waited_s: f64,
}

pub fn run(
    folder: &Folder,
    options: &Wait,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let start = Instant::now();
    // Who asks for subscribers only does not want a publisher.
    let default = usize::from(options.subscribers == 0);
    let needed = (options.publishers.unwrap_or(default), options.subscribers);
    loop {
        let (mut publishers, mut subscribers) = (0, 0);
        let found = folder.channel(&options.channel).info()?;
        for info in &found {
            publishers += info.publishers.iter().filter(|one| one.alive).count();
            subscribers += info.subscribers.iter().filter(|one| one.alive && one.listens).count();
        }
        let waited = start.elapsed();
        if publishers >= needed.0 && subscribers >= needed.1 {
            if json {
                let (name, waited_s) = (options.channel.as_str(), waited.as_secs_f64());
                text::json_line(out, &Report { name, publishers, subscribers, waited_s })?;
            }
            return Ok(());
        }
        let left = options.timeout.map(|timeout| timeout.saturating_sub(waited));
        if left == Some(Duration::ZERO) {
            let pattern = if let [info] = &found[..] { info.pattern } else { Pattern::PubSub };
            let (publisher, subscriber) = text::participants(pattern);
            let (publishers, subscribers) =
                (text::count(publishers, publisher), text::count(subscribers, subscriber));
            let what = format!("channel {:?} has {publishers} and {subscribers}", options.channel);
            return Err(Failure::TimedOut { what, waited });
        }
        thread::sleep(PAUSE.min(left.unwrap_or(PAUSE)));
    }
}
