//! `shm-comm ls`: what channels there are.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shm_comm::{ChannelInfo, FileInfo};

use crate::args::Ls;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::text;

/// A channel, as one line of JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    pattern: String,
    r#type: String,
    /// Also pushers, or servers.
    publishers: usize,
    /// Also pullers, or clients.
    subscribers: usize,
    dead_publishers: usize,
    dead_subscribers: usize,
    /// Jobs or calls that nobody has taken; none for messages, which are not taken.
    queued: Option<u32>,
    /// Those that somebody has, or is writing.
    held: Option<u32>,
    /// Of a queue.
    dead_letters: Option<u32>,
    /// Messages published, jobs pushed, calls answered per second; none if it was not measured, or nobody is
    /// there.
    rate_hz: Option<f64>,
    memory_bytes: u64,
    /// Nobody is attached to it.
    stale: bool,
    /// Nobody is attached to it, and there is something in it for whoever comes.
    waiting: bool,
}

pub fn run(folder: &Folder, options: &Ls, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let start = Instant::now();
    let before = if options.interval.is_zero() { Vec::new() } else { folder.channels()? };
    if !before.is_empty() {
        thread::sleep(options.interval);
    }
    let files = folder.files()?;
    let elapsed = start.elapsed();
    let channels: Vec<&ChannelInfo> = files
        .iter()
        .filter_map(|file| match file {
            FileInfo::Channel(info) => Some(&**info),
            _ => None,
        })
        .collect();
    let rows: Vec<Row> = channels.iter().map(|now| row(now, &before, elapsed)).collect();
    if json {
        for row in &rows {
            text::json_line(out, row)?;
        }
        return Ok(());
    }
    if !folder.is_there() {
        writeln!(out, "no channels: there is no folder {}", folder.shown())?;
    } else if rows.is_empty() {
        writeln!(out, "no channels in {}", folder.shown())?;
    } else {
        let header = [
            "NAME",
            "PATTERN",
            "TYPE",
            "PUBLISHERS",
            "SUBSCRIBERS",
            "QUEUED",
            "HELD",
            "RATE",
            "MEMORY",
            "",
        ];
        let table = text::table(&header, &[5, 6, 7, 8], rows.iter().map(|row| row.cells()));
        out.write_all(table.as_bytes())?;
    }
    let refused = files.iter().filter(|file| matches!(file, FileInfo::Refused { .. })).count();
    if refused > 0 {
        let files = text::count(refused, "file");
        writeln!(out, "{files} that cannot be opened: see `shm-comm doctor`")?;
    }
    Ok(())
}

fn row<'a>(now: &'a ChannelInfo, before: &[ChannelInfo], elapsed: Duration) -> Row<'a> {
    let earlier = before.iter().find(|info| info.path == now.path && info.pattern == now.pattern);
    // One that has come meanwhile, or was replaced, began at 0.
    let count = |earlier: &ChannelInfo| published(now).checked_sub(published(earlier));
    let rate = earlier.filter(|_| !now.is_stale && !now.is_waiting).and_then(count);
    let rate = rate.map(|count| count as f64 / elapsed.as_secs_f64());
    let alive = |alive: bool| now.publishers.iter().filter(|one| one.alive == alive).count();
    let listening = |alive: bool| now.subscribers.iter().filter(|one| one.alive == alive).count();
    let (queued, held) = match (&now.queue, &now.service) {
        (Some(queue), _) => (Some(queue.queued), Some(queue.held)),
        (_, Some(service)) => (Some(service.queued), Some(service.held)),
        _ => (None, None),
    };
    Row {
        name: &now.name,
        pattern: now.pattern.to_string(),
        r#type: text::type_of(now),
        publishers: alive(true),
        subscribers: listening(true),
        // Who has left has left a ring behind, and no pid.
        dead_publishers: now.publishers.iter().filter(|one| !one.alive && one.pid != 0).count(),
        dead_subscribers: listening(false),
        queued,
        held,
        dead_letters: now.queue.map(|queue| queue.dead_letters),
        rate_hz: rate,
        memory_bytes: now.memory,
        stale: now.is_stale,
        waiting: now.is_waiting,
    }
}

/// Of a queue or a service by all who have ever been there: whoever leaves takes nothing away.
fn published(info: &ChannelInfo) -> u64 {
    match (&info.queue, &info.service) {
        (Some(queue), _) => queue.pushed,
        (_, Some(service)) => service.served,
        _ => info.publishers.iter().map(|publisher| publisher.published).sum(),
    }
}

impl Row<'_> {
    fn cells(&self) -> Vec<String> {
        let participants = |alive: usize, dead: usize| match dead {
            0 => alive.to_string(),
            dead => format!("{alive} ({dead} dead)"),
        };
        let number = |number: Option<u32>| number.map_or("-".to_owned(), |n| n.to_string());
        let mut state = Vec::new();
        state.extend(self.stale.then(|| "stale".to_owned()));
        state.extend(self.waiting.then(|| "waiting".to_owned()));
        let letters = self.dead_letters.unwrap_or(0) as usize;
        state.extend((letters > 0).then(|| text::count(letters, "dead letter")));
        vec![
            text::shown(self.name),
            self.pattern.clone(),
            self.r#type.clone(),
            participants(self.publishers, self.dead_publishers),
            participants(self.subscribers, self.dead_subscribers),
            number(self.queued),
            number(self.held),
            self.rate_hz.map_or("-".to_owned(), text::rate),
            text::bytes(self.memory_bytes),
            state.join(", "),
        ]
    }
}
