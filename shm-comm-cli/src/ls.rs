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
    r#type: &'a str,
    publishers: usize,
    subscribers: usize,
    dead_publishers: usize,
    dead_subscribers: usize,
    /// Messages per second of all publishers; none if it was not measured, or nobody is there.
    rate_hz: Option<f64>,
    memory_bytes: u64,
    /// Nobody is attached to it.
    stale: bool,
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
        let header = ["NAME", "PATTERN", "TYPE", "PUBLISHERS", "SUBSCRIBERS", "RATE", "MEMORY", ""];
        let table = text::table(&header, &[5, 6], rows.iter().map(|row| row.cells()));
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
    let rate = earlier.filter(|_| !now.is_stale).and_then(count);
    let rate = rate.map(|count| count as f64 / elapsed.as_secs_f64());
    let alive = |alive: bool| now.publishers.iter().filter(|one| one.alive == alive).count();
    let listening = |alive: bool| now.subscribers.iter().filter(|one| one.alive == alive).count();
    Row {
        name: &now.name,
        pattern: now.pattern.to_string(),
        r#type: &now.type_name,
        publishers: alive(true),
        subscribers: listening(true),
        // Who has left has left a ring behind, and no pid.
        dead_publishers: now.publishers.iter().filter(|one| !one.alive && one.pid != 0).count(),
        dead_subscribers: listening(false),
        rate_hz: rate,
        memory_bytes: now.memory,
        stale: now.is_stale,
    }
}

fn published(info: &ChannelInfo) -> u64 {
    info.publishers.iter().map(|publisher| publisher.published).sum()
}

impl Row<'_> {
    fn cells(&self) -> Vec<String> {
        let participants = |alive: usize, dead: usize| match dead {
            0 => alive.to_string(),
            dead => format!("{alive} ({dead} dead)"),
        };
        vec![
            text::shown(self.name),
            self.pattern.clone(),
            self.r#type.to_owned(),
            participants(self.publishers, self.dead_publishers),
            participants(self.subscribers, self.dead_subscribers),
            self.rate_hz.map_or("-".to_owned(), text::rate),
            text::bytes(self.memory_bytes),
            if self.stale { "stale" } else { "" }.to_owned(),
        ]
    }
}
