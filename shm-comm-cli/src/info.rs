//! `shm-comm info`: everything about one channel.

use std::io::Write;

use serde::Serialize;
use shm_comm::{
    Access, ChannelInfo, Pattern, PublisherInfo, QueueStats, ReplyInfo, ServiceStats,
    SubscriberInfo,
};

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
    let state = match info {
        ChannelInfo { is_stale: true, .. } => " (stale: nobody is attached)",
        ChannelInfo { is_waiting: true, .. } => {
            " (waiting: nobody is attached, and it is not empty)"
        }
        ChannelInfo { is_retired: true, .. } => " (about to be replaced)",
        _ => "",
    };
    let (name, r#type) = (text::shown(&info.name), text::type_of(info));
    writeln!(out, "{name}: {} of `{type}`{state}", info.pattern)?;
    let path = text::shown(&info.path.display().to_string());
    let access = match info.access {
        Access::Owner => "its owner",
        _ => "a group",
    };
    writeln!(out, "  file         {path}, for {access}")?;
    let (memory, size) = (text::bytes(info.memory), text::bytes(info.file_size));
    let (depth, slots) = (info.depth, info.slots);
    match info.pattern {
        Pattern::Queue => writeln!(out, "  memory       {memory}\n  depth        {depth} jobs")?,
        Pattern::Service => {
            writeln!(out, "  memory       {memory}\n  depth        {depth} calls in flight")?;
        }
        _ => {
            writeln!(
                out,
                "  memory       {memory}, {size} with every publisher that there can be"
            )?;
            writeln!(out, "  depth        {depth} messages, {slots} slots for each publisher")?;
        }
    }
    let what = match info.pattern {
        Pattern::Queue => "job",
        Pattern::Service => "request",
        _ => "message",
    };
    let (bytes, align) = (info.message_size, info.message_align);
    write_size(what, "max_len", bytes, align, info.max_len, out)?;
    if let Some(ReplyInfo { size, align, max_len, .. }) = info.reply {
        write_size("reply", "max_reply_len", size, align, max_len, out)?;
    }
    let (publisher, subscriber) = text::participants(info.pattern);
    line(&format!("{publisher}s"), format!("{publishers} of {}", info.max_publishers), out)?;
    line(&format!("{subscriber}s"), format!("{subscribers} of {}", info.max_subscribers), out)?;
    if let Some(queue) = &info.queue {
        write_queue(queue, out)?;
    }
    if let Some(service) = &info.service {
        write_service(service, out)?;
    }
    writeln!(out, "\n{}", info.schema)?;
    if let Some(reply) = &info.reply {
        writeln!(out, "\n{}", reply.schema)?;
    }
    for (count, table) in [
        (info.publishers.len(), publisher_table(info)),
        (info.subscribers.len(), subscriber_table(info)),
    ] {
        if count > 0 {
            write!(out, "\n{table}")?;
        }
    }
    Ok(())
}

fn line(what: &str, says: String, out: &mut impl Write) -> Result<(), Failure> {
    Ok(writeln!(out, "  {what:<12} {says}")?)
}

fn write_size(
    what: &str,
    option: &str,
    bytes: u64,
    align: u64,
    max_len: Option<u64>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let most = if max_len.is_some() { "up to " } else { "" };
    line(what, format!("{most}{bytes} bytes, aligned to {align}"), out)?;
    max_len.map_or(Ok(()), |max_len| line(option, max_len.to_string(), out))
}

fn write_queue(queue: &QueueStats, out: &mut impl Write) -> Result<(), Failure> {
    let age = queue.oldest.map(|age| format!(", the oldest for {}", text::time(age)));
    let (count, age) = (text::count(queue.queued as usize, "job"), age.unwrap_or_default());
    line("queued", format!("{count}{age}"), out)?;
    line("held", text::count(queue.held as usize, "slot"), out)?;
    line("free", text::count(queue.free as usize, "slot"), out)?;
    line("dead letters", queue.dead_letters.to_string(), out)?;
    let (again, dead) = (queue.redelivered, queue.dead_lettered);
    let done = format!("{} pushed, {} delivered", queue.pushed, queue.delivered);
    line("so far", format!("{done}, {again} of them again, {dead} dead-lettered"), out)
}

fn write_service(service: &ServiceStats, out: &mut impl Write) -> Result<(), Failure> {
    let calls = text::count((service.queued + service.held) as usize, "call");
    let waiting = service.queued;
    line("in flight", format!("{calls}, {waiting} not taken yet"), out)?;
    line("free", text::count(service.free as usize, "slot"), out)?;
    let ServiceStats { called, served, timed_out, failed, .. } = service;
    let so_far =
        format!("{called} called, {served} served, {timed_out} timed out, {failed} failed");
    line("so far", so_far, out)
}

fn publisher_table(info: &ChannelInfo) -> String {
    let (header, right): (&[&str], &[usize]) = match info.pattern {
        Pattern::Queue => (&["PUSHER", "PID", "STATE", "WRITES", "PUSHED"], &[3, 4]),
        Pattern::Service => (&["SERVER", "PID", "STATE", "HOLDS", "SERVED"], &[3, 4]),
        _ => {
            (&["PUBLISHER", "PID", "STATE", "GENERATION", "PUBLISHED", "SLOTS SKIPPED"], &[3, 4, 5])
        }
    };
    let is_ring = info.pattern == Pattern::PubSub;
    let rows = info.publishers.iter().map(|one| {
        let state = match one {
            PublisherInfo { alive: false, pid: 0, .. } if is_ring => "left",
            PublisherInfo { alive: false, .. } => "dead",
            _ if is_ring => "alive",
            PublisherInfo { sleeping: true, .. } => "asleep",
            _ => "awake",
        };
        let counts = match is_ring {
            true => vec![u64::from(one.generation), one.published, one.skipped],
            false => vec![one.held.into(), one.published],
        };
        row(one.number, one.pid, state, &counts)
    });
    text::table(header, right, rows)
}

fn subscriber_table(info: &ChannelInfo) -> String {
    let (header, right): (&[&str], &[usize]) = match info.pattern {
        Pattern::Queue => (
            &["PULLER", "PID", "STATE", "HOLDS", "DELIVERED", "AGAIN", "DEAD-LETTERED"],
            &[3, 4, 5, 6],
        ),
        Pattern::Service => (
            &["CLIENT", "PID", "STATE", "IN FLIGHT", "CALLED", "TIMED OUT", "FAILED"],
            &[3, 4, 5, 6],
        ),
        _ => (&["SUBSCRIBER", "PID", "STATE", "HOLDS", "MAY HOLD"], &[3, 4]),
    };
    let rows = info.subscribers.iter().map(|one| {
        let state = match one {
            SubscriberInfo { alive: false, .. } => "dead",
            SubscriberInfo { listens: false, .. } => "dropped, but for its samples",
            SubscriberInfo { sleeping: true, .. } => "asleep",
            _ => "awake",
        };
        let held = u64::from(one.held);
        let counts = match info.pattern {
            Pattern::Queue => vec![held, one.delivered, one.redelivered, one.dead_lettered],
            Pattern::Service => vec![held, one.called, one.timed_out, one.failed],
            _ => vec![held, one.max_held.into()],
        };
        row(one.number, one.pid, state, &counts)
    });
    text::table(header, right, rows)
}

fn row(number: u32, of: u32, state: &str, counts: &[u64]) -> Vec<String> {
    let first = [number.to_string(), pid(of), state.to_owned()];
    first.into_iter().chain(counts.iter().map(u64::to_string)).collect()
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
    /// Of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Reply<'a>>,
    depth: u32,
    slots: u32,
    max_publishers: u32,
    max_subscribers: u32,
    memory_bytes: u64,
    file_bytes: u64,
    stale: bool,
    waiting: bool,
    retired: bool,
    /// Also pushers, or servers.
    publishers: Vec<Publisher>,
    /// Also pullers, or clients.
    subscribers: Vec<Subscriber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Queue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Service>,
}

#[derive(Serialize)]
struct Reply<'a> {
    r#type: &'a str,
    layout_hash: String,
    layout: String,
    bytes: u64,
    align: u64,
    max_len: Option<u64>,
}

#[derive(Serialize)]
struct Queue {
    queued: u32,
    held: u32,
    free: u32,
    dead_letters: u32,
    oldest_s: Option<f64>,
    pushed: u64,
    delivered: u64,
    redelivered: u64,
    dead_lettered: u64,
}

#[derive(Serialize)]
struct Service {
    in_flight: u32,
    queued: u32,
    held: u32,
    free: u32,
    called: u64,
    served: u64,
    timed_out: u64,
    failed: u64,
}

/// What all of them have, and what those of a pattern have.
#[derive(Serialize)]
struct Publisher {
    number: u32,
    pid: u32,
    alive: bool,
    #[serde(flatten)]
    rest: PublisherOf,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PublisherOf {
    PubSub { generation: u16, published: u64, skipped: u64 },
    Queue { sleeping: bool, held: u32, pushed: u64 },
    Service { sleeping: bool, held: u32, served: u64 },
}

#[derive(Serialize)]
struct Subscriber {
    number: u32,
    pid: u32,
    alive: bool,
    sleeping: bool,
    held: u32,
    #[serde(flatten)]
    rest: SubscriberOf,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SubscriberOf {
    PubSub { listens: bool, max_held: u32 },
    Queue { delivered: u64, redelivered: u64, dead_lettered: u64 },
    Service { called: u64, timed_out: u64, failed: u64 },
}

impl Report<'_> {
    fn of(info: &ChannelInfo) -> Report<'_> {
        let publisher = |one: &PublisherInfo| {
            let (sleeping, held, count) = (one.sleeping, one.held, one.published);
            let rest = match info.pattern {
                Pattern::Queue => PublisherOf::Queue { sleeping, held, pushed: count },
                Pattern::Service => PublisherOf::Service { sleeping, held, served: count },
                _ => {
                    let PublisherInfo { generation, skipped, .. } = *one;
                    PublisherOf::PubSub { generation, published: count, skipped }
                }
            };
            Publisher { number: one.number, pid: one.pid, alive: one.alive, rest }
        };
        let subscriber = |one: &SubscriberInfo| {
            let SubscriberInfo { number, pid, alive, sleeping, held, .. } = *one;
            let rest = match info.pattern {
                Pattern::Queue => {
                    let SubscriberInfo { delivered, redelivered, dead_lettered, .. } = *one;
                    SubscriberOf::Queue { delivered, redelivered, dead_lettered }
                }
                Pattern::Service => {
                    let SubscriberInfo { called, timed_out, failed, .. } = *one;
                    SubscriberOf::Service { called, timed_out, failed }
                }
                _ => SubscriberOf::PubSub { listens: one.listens, max_held: one.max_held },
            };
            Subscriber { number, pid, alive, sleeping, held, rest }
        };
        let hash = |hash: u64| format!("{hash:#018x}");
        let reply = info.reply.as_ref().map(|reply| Reply {
            r#type: &reply.type_name,
            layout_hash: hash(reply.layout_hash),
            layout: reply.schema.canonical(),
            bytes: reply.size,
            align: reply.align,
            max_len: reply.max_len,
        });
        Report {
            name: &info.name,
            pattern: info.pattern.to_string(),
            r#type: &info.type_name,
            layout_hash: hash(info.layout_hash),
            layout: info.schema.canonical(),
            path: info.path.display().to_string(),
            access: if info.access == Access::Owner { "owner" } else { "group" },
            message_bytes: info.message_size,
            message_align: info.message_align,
            max_len: info.max_len,
            reply,
            depth: info.depth,
            slots: info.slots,
            max_publishers: info.max_publishers,
            max_subscribers: info.max_subscribers,
            memory_bytes: info.memory,
            file_bytes: info.file_size,
            stale: info.is_stale,
            waiting: info.is_waiting,
            retired: info.is_retired,
            publishers: info.publishers.iter().map(publisher).collect(),
            subscribers: info.subscribers.iter().map(subscriber).collect(),
            queue: info.queue.as_ref().map(Queue::of),
            service: info.service.as_ref().map(Service::of),
        }
    }
}

impl Queue {
    fn of(queue: &QueueStats) -> Queue {
        Queue {
            queued: queue.queued,
            held: queue.held,
            free: queue.free,
            dead_letters: queue.dead_letters,
            oldest_s: queue.oldest.map(|age| age.as_secs_f64()),
            pushed: queue.pushed,
            delivered: queue.delivered,
            redelivered: queue.redelivered,
            dead_lettered: queue.dead_lettered,
        }
    }
}

impl Service {
    fn of(service: &ServiceStats) -> Service {
        Service {
            in_flight: service.queued + service.held,
            queued: service.queued,
            held: service.held,
            free: service.free,
            called: service.called,
            served: service.served,
            timed_out: service.timed_out,
            failed: service.failed,
        }
    }
}
