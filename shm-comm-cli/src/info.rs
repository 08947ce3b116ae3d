//! `shm-comm info`: everything about one channel.

use std::io::Write;

use serde::Serialize;
use shm_comm::{Access, ChannelInfo, PublisherInfo, SubscriberInfo};

use crate::args::Info;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::text;

pub fn run(
    folder: &Folder,
    options: &Info,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    for info in folder.info(&options.channel)? {
        if json {
            text::json_line(out, &Report::of(&info))?;
        } else {
            write(&info, out)?;
        }
    }
    Ok(())
}

fn write(info: &ChannelInfo, out: &mut impl Write) -> Result<(), Failure> {
    let alive = |alive: bool| usize::from(alive);
    let publishers: usize = info.publishers.iter().map(|one| alive(one.alive)).sum();
    let subscribers: usize = info.subscribers.iter().map(|one| alive(one.alive)).sum();
    let state = match (info.is_stale, info.is_retired) {
        (true, _) => " (stale: nobody is attached)",
        (_, true) => " (about to be replaced)",
        _ => "",
    };
    writeln!(out, "{}: {} of `{}`{state}", text::shown(&info.name), info.pattern, info.type_name)?;
    let path = text::shown(&info.path.display().to_string());
    let access = match info.access {
        Access::Owner => "its owner",
        _ => "a group",
    };
    writeln!(out, "  file         {path}, for {access}")?;
    let (memory, size) = (text::bytes(info.memory), text::bytes(info.file_size));
    writeln!(out, "  memory       {memory}, {size} with every publisher that there can be")?;
    let (depth, slots) = (info.depth, info.slots);
    writeln!(out, "  depth        {depth} messages, {slots} slots for each publisher")?;
    let most = if info.max_len.is_some() { "up to " } else { "" };
    let (bytes, align) = (info.message_size, info.message_align);
    writeln!(out, "  message      {most}{bytes} bytes, aligned to {align}")?;
    if let Some(max_len) = info.max_len {
        writeln!(out, "  max_len      {max_len}")?;
    }
    writeln!(out, "  publishers   {publishers} of {}", info.max_publishers)?;
    writeln!(out, "  subscribers  {subscribers} of {}", info.max_subscribers)?;
    writeln!(out, "\n{}", info.schema)?;

    if !info.publishers.is_empty() {
        let header = ["PUBLISHER", "PID", "STATE", "GENERATION", "PUBLISHED", "SLOTS SKIPPED"];
        let rows = info.publishers.iter().map(|one| {
            let state = match (one.alive, one.pid) {
                (true, _) => "alive",
                (false, 0) => "left",
                (false, _) => "dead",
            };
            let counts = [u64::from(one.generation), one.published, one.skipped];
            let [generation, published, skipped] = counts.map(|count| count.to_string());
            vec![one.number.to_string(), pid(one.pid), state.into(), generation, published, skipped]
        });
        write!(out, "\n{}", text::table(&header, &[3, 4, 5], rows))?;
    }
    if !info.subscribers.is_empty() {
        let header = ["SUBSCRIBER", "PID", "STATE", "HOLDS", "MAY HOLD"];
        let rows = info.subscribers.iter().map(|one| {
            let state = match one {
                SubscriberInfo { alive: false, .. } => "dead",
                SubscriberInfo { listens: false, .. } => "dropped, but for its samples",
                SubscriberInfo { sleeping: true, .. } => "asleep",
                _ => "awake",
            };
            let (held, max_held) = (one.held.to_string(), one.max_held.to_string());
            vec![one.number.to_string(), pid(one.pid), state.into(), held, max_held]
        });
        write!(out, "\n{}", text::table(&header, &[3, 4], rows))?;
    }
    Ok(())
}

/// 0 is one that is not known.
fn pid(pid: u32) -> String {
    if pid == 0 { "-".to_owned() } else { pid.to_string() }
}

/// A channel, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    pattern: String,
    r#type: &'a str,
    /// A number of 64 bits, which many readers of JSON round.
    layout_hash: String,
    /// The canonical text: the grammar is in the library's documentation of schemas.
    layout: String,
    path: String,
    access: &'static str,
    message_bytes: u64,
    message_align: u64,
    max_len: Option<u64>,
    depth: u32,
    slots: u32,
    max_publishers: u32,
    max_subscribers: u32,
    memory_bytes: u64,
    file_bytes: u64,
    stale: bool,
    retired: bool,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

#[derive(Serialize)]
struct Publisher {
    number: u32,
    pid: u32,
    alive: bool,
    generation: u16,
    published: u64,
    skipped: u64,
}

#[derive(Serialize)]
struct Subscriber {
    number: u32,
    pid: u32,
    alive: bool,
    listens: bool,
    sleeping: bool,
    held: u32,
    max_held: u32,
}

impl Report<'_> {
    fn of(info: &ChannelInfo) -> Report<'_> {
        let publisher = |one: &PublisherInfo| Publisher {
            number: one.number,
            pid: one.pid,
            alive: one.alive,
            generation: one.generation,
            published: one.published,
            skipped: one.skipped,
        };
        let subscriber = |one: &SubscriberInfo| Subscriber {
            number: one.number,
            pid: one.pid,
            alive: one.alive,
            listens: one.listens,
            sleeping: one.sleeping,
            held: one.held,
            max_held: one.max_held,
        };
        Report {
            name: &info.name,
            pattern: info.pattern.to_string(),
            r#type: &info.type_name,
            layout_hash: format!("{:#018x}", info.layout_hash),
            layout: info.schema.canonical(),
            path: info.path.display().to_string(),
            access: if info.access == Access::Owner { "owner" } else { "group" },
            message_bytes: info.message_size,
            message_align: info.message_align,
            max_len: info.max_len,
            depth: info.depth,
            slots: info.slots,
            max_publishers: info.max_publishers,
            max_subscribers: info.max_subscribers,
            memory_bytes: info.memory,
            file_bytes: info.file_size,
            stale: info.is_stale,
            retired: info.is_retired,
            publishers: info.publishers.iter().map(publisher).collect(),
            subscribers: info.subscribers.iter().map(subscriber).collect(),
        }
    }
}
