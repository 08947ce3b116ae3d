//! Any bytes become the file of a channel, a queue or a service, which is looked at, and handles are opened on
//! it and used.
//!
//! ```text
//! input   pattern u8 · flags u8 · length of the file in units of 64 bytes u16 · rest
//! rest    with `PATCH`: edits of a segment that was right, each: area u8, offset u16, bytes
//!         without: the bytes of the file
//! ```
//!
//! Numbers are little-endian. The pattern is that of the file's name; its remainder by three counts. A length of 0 is that of the bytes, and of the segment with `PATCH`.
//! The lowest three bits of an edit's area say how many bytes it has, less one.
#![no_main]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shm_comm::{
    AttachError, Channel, FileInfo, Observer, Pattern, Publisher, Puller, PullerOptions, Pusher,
    PusherOptions, Read, Replier, ReplierOptions, Requester, RequesterOptions, Start, Subscriber,
    SubscriberOptions, Wait, files,
};

/// Edits of a segment that was right, else the bytes of the file.
const PATCH: u8 = 1;
/// Somebody is attached, so that the segment is not stale.
const LIVE: u8 = 2;
/// The hash of the schema and the checksum are made right.
const CHECKSUM: u8 = 4;
/// The file is as long as its header says.
const AS_IT_SAYS: u8 = 8;
/// The subscriber comes first; or a puller, or a client.
const SUBSCRIBER_FIRST: u8 = 16;
/// The subscriber copies; a puller gives back what it gets; calls may be repeated.
const COPIES: u8 = 32;
/// The subscriber sleeps for a moment; so do all of a queue or a service.
const SLEEPS: u8 = 64;
/// The segment that is edited had been used.
const USED: u8 = 128;

/// The edit is of the header and the texts, not of the whole segment.
const IN_HEADER: u8 = 8;

const CHANNEL: &str = "fuzz";
const LONGEST_FILE: u64 = 4 << 20;
const PATTERNS: [Pattern; 3] = [Pattern::PubSub, Pattern::Queue, Pattern::Service];
/// How long somebody waits at a queue or a service.
const MOMENT: Duration = Duration::from_micros(200);

// What must be known of the header to make its checksum right. All other places are found.
const HEADER_SIZE: usize = 20;
const CHECKSUM_AT: usize = 24;
const LAYOUT_HASH: usize = 32;
const NAME_LEN: usize = 40;
const SCHEMA_LEN: usize = 44;
const REPLY_SCHEMA_LEN: usize = 48;
const REPLY_HASH: usize = 72;

fuzz_target!(|input: &[u8]| {
    let [pattern, flags, low, high, rest @ ..] = input else { return };
    let which = usize::from(*pattern) % PATTERNS.len();
    let (pattern, segments) = (PATTERNS[which], &SEGMENTS[which]);
    let has = |flag| flags & flag != 0;
    let asked_len = u64::from(u16::from_le_bytes([*low, *high])) * 64;
    let mut bytes = if has(PATCH) { segments.patched(has(USED), rest) } else { rest.to_vec() };
    if has(CHECKSUM) {
        make_right(&mut bytes);
    }
    let len = match (has(AS_IT_SAYS), asked_len) {
        (true, _) => u64_at(&bytes, segments.file_size_at).unwrap_or(0).min(LONGEST_FILE),
        (false, 0) => bytes.len() as u64,
        (false, len) => len,
    };

    let root = private_folder();
    let path = root.path().join(format!("{CHANNEL}.{pattern}"));
    let file = write(&path, &bytes, len);
    let before = file.metadata().unwrap().len();
    if has(LIVE) {
        lock_as_a_member(&file);
    }
    let content = || {
        let mut content = vec![0; before as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    };
    let looked_at = content();
    look_at_it(root.path(), pattern);
    assert!(content() == looked_at, "changed by a look");
    let opened = match pattern {
        Pattern::Queue => use_queue(root.path(), *flags),
        Pattern::Service => use_service(root.path(), *flags),
        _ => use_it(root.path(), *flags),
    };
    let is_there = path.exists();
    match (has(LIVE), opened) {
        // A member keeps the file, unless a publisher that came replaced it.
        (true, opened) => assert!(is_there || opened, "removed in spite of a member"),
        // What is left in a queue keeps it.
        (false, true) if pattern == Pattern::Queue && is_there => {
            let info = &Channel::new(CHANNEL).root(root.path()).info().unwrap()[0];
            assert!(info.is_waiting && !info.is_stale, "left behind with nothing in it");
        }
        // It was stale, was replaced, and everybody has left again.
        (false, true) => assert!(!is_there, "left behind"),
        (false, false) => {
            // What is no segment is nobody's to change.
            assert!(is_there, "removed, and nothing came of it");
            bytes.resize(before as usize, 0);
            assert!(content() == bytes, "changed");
        }
    }
});

/// Everything that a tool does.
fn look_at_it(root: &Path, pattern: Pattern) {
    let [file] = &files(Some(root)).unwrap()[..] else { panic!("there is one file") };
    let channel = Channel::new(CHANNEL).root(root);
    match file {
        FileInfo::Channel(info) => {
            assert_eq!(info.pattern, pattern);
            assert!(!info.type_name.is_empty() && !(info.is_stale && info.is_waiting));
        }
        FileInfo::Refused { error, .. } => {
            assert_eq!(error.to_string(), channel.info().unwrap_err().to_string());
            if pattern == Pattern::PubSub {
                let observer = Observer::with(&channel, Start::Oldest);
                assert_eq!(error.to_string(), observer.unwrap_err().to_string());
            }
            return;
        }
        other => panic!("{other:?}"),
    }
    for problem in channel.check().unwrap() {
        assert!(!problem.is_empty());
    }
    // Of a queue or a service it sees nothing.
    let mut observer = Observer::with(&channel, Start::Oldest).unwrap();
    for turn in 0..9 {
        let found = match turn {
            8 => observer.latest(),
            2 | 5 => observer.try_skip().map(|_| None),
            _ => observer.try_recv(),
        };
        if let Ok(Some(message)) = found {
            match message.view() {
                Ok(view) => assert!(!view.to_string().is_empty()),
                Err(invalid) => assert!(!invalid.to_string().is_empty()),
            }
        }
    }
}

/// Whether any handle could be opened.
fn use_it(root: &Path, flags: u8) -> bool {
    let has = |flag| flags & flag != 0;
    let channel = Channel::new(CHANNEL).root(root);
    let options = SubscriberOptions::new()
        .start(Start::Oldest)
        .wait(Wait::Sleep)
        .read(if has(COPIES) { Read::Copied } else { Read::Pinned });
    let subscribe = || look(Subscriber::<u64>::with(&channel, options.clone()));
    let mut first = has(SUBSCRIBER_FIRST).then(&subscribe).flatten();
    let mut publisher = look(Publisher::<u64>::new(&channel));
    let mut second = subscribe();
    let opened = first.is_some() || publisher.is_some() || second.is_some();

    for round in 0..3 {
        if let Some(publisher) = &mut publisher {
            // More than a lap of the segment that is edited.
            for value in 0..24 {
                if let Err(error) = publisher.send(&value) {
                    let _ = error.to_string();
                }
            }
            let _ = (publisher.subscribers(), publisher.stats(), publisher.id());
        }
        let mut held = Vec::new();
        for subscriber in [&mut first, &mut second].into_iter().flatten() {
            for _ in 0..8 {
                held.extend(subscriber.try_recv().ok().flatten());
            }
            held.extend(subscriber.latest().ok().flatten());
            if has(SLEEPS) && round == 0 {
                held.clear();
                held.extend(subscriber.recv_timeout(Duration::from_micros(200)).ok().flatten());
            }
            let _ = (subscriber.publishers(), subscriber.stats());
        }
        for sample in &held {
            let _ = (**sample, sample.sequence(), sample.missed(), sample.publisher());
        }
    }
    opened
}

/// The same of a queue.
fn use_queue(root: &Path, flags: u8) -> bool {
    let has = |flag| flags & flag != 0;
    let channel = Channel::new(CHANNEL).root(root);
    let options = PullerOptions::new().wait(Wait::Sleep).max_deliveries(3);
    let pull = || look(Puller::<u64>::with(&channel, options.clone()));
    let mut first = has(SUBSCRIBER_FIRST).then(pull).flatten();
    let mut pusher = look(Pusher::<u64>::with(&channel, PusherOptions::new().wait(Wait::Sleep)));
    let mut second = pull();
    let opened = first.is_some() || pusher.is_some() || second.is_some();
    let mut held = Vec::new();
    for round in 0..3 {
        if let Some(pusher) = &mut pusher {
            // More than there is room for in the segment that is edited.
            for value in 0..6 {
                said(pusher.try_send(&value));
                drop(said(pusher.try_loan()).flatten());
            }
            if has(SLEEPS) && round == 0 {
                said(pusher.send_timeout(&7, MOMENT));
            }
            let _ = (pusher.pullers(), pusher.stats());
        }
        for puller in [&mut first, &mut second].into_iter().flatten() {
            for turn in 0..6 {
                match (said(puller.try_recv()).flatten(), turn % 3) {
                    (Some(job), _) if has(COPIES) => drop(job),
                    (Some(job), 0) => job.reject(),
                    (Some(job), 1) => job.done(),
                    (job, _) => held.extend(job),
                }
                held.extend(said(puller.dead_letters()).flatten());
            }
            if has(SLEEPS) && round == 0 {
                held.clear();
                held.extend(said(puller.recv_timeout(MOMENT)).flatten());
            }
            let _ = (puller.pushers(), puller.stats());
        }
        for job in &held {
            let _ = (**job, job.deliveries(), job.bytes());
        }
        if round == 1 {
            held.drain(..).for_each(|job| job.done());
        }
    }
    opened
}

/// The same of a service.
fn use_service(root: &Path, flags: u8) -> bool {
    let has = |flag| flags & flag != 0;
    let channel = Channel::new(CHANNEL).root(root);
    let options = RequesterOptions::new().wait(Wait::Sleep).repeatable(has(COPIES));
    let call = || look(Requester::<u64, u64>::with(&channel, options.clone()));
    let mut first = has(SUBSCRIBER_FIRST).then(call).flatten();
    let mut server =
        look(Replier::<u64, u64>::with(&channel, ReplierOptions::new().wait(Wait::Sleep)));
    let mut second = call();
    let opened = first.is_some() || server.is_some() || second.is_some();
    let mut requests = Vec::new();
    for round in 0..3 {
        let mut calls = Vec::new();
        for client in [&mut first, &mut second].into_iter().flatten() {
            // More than there is room for in the segment that is edited.
            for value in 0..6 {
                calls.extend(said(client.send(&value)));
            }
            drop(said(client.loan()));
            let _ = (client.servers(), client.stats());
        }
        if let Some(server) = &mut server {
            for turn in 0..6 {
                match (said(server.try_recv()).flatten(), turn % 3) {
                    (Some(request), 0) => {
                        let _ = request.reply(&turn);
                    }
                    (Some(request), 1) => drop(request),
                    (request, _) => requests.extend(request),
                }
            }
            if has(SLEEPS) && round == 0 {
                requests.extend(said(server.recv_timeout(MOMENT)).flatten());
            }
            let _ = (server.clients(), server.stats());
        }
        for (turn, mut call) in calls.into_iter().enumerate() {
            match turn % 4 {
                0 => drop(said(call.poll()).flatten()),
                1 if has(SLEEPS) => drop(said(call.wait(MOMENT)).map(|reply| *reply)),
                _ => drop(said(call.wait(Duration::ZERO)).map(|reply| *reply)),
            }
        }
        for client in [&mut first, &mut second].into_iter().flatten() {
            drop(said(client.request(&1, if has(SLEEPS) { MOMENT } else { Duration::ZERO })));
        }
        for request in requests.drain(..) {
            let _ = (*request, request.is_wanted(), request.attempts());
            let _ = request.reply(&8);
        }
    }
    opened
}

/// What an operation gives. An error is something that can be said.
fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// The same of a handle that is opened.
fn look<T>(result: Result<T, AttachError>) -> Option<T> {
    said(result)
}

/// Right segments of a pattern, and where they say how long they are.
struct Segments {
    fresh: Vec<u8>,
    used: Vec<u8>,
    file_size_at: usize,
}

static SEGMENTS: LazyLock<[Segments; 3]> = LazyLock::new(|| PATTERNS.map(Segments::of));

impl Segments {
    fn of(pattern: Pattern) -> Segments {
        let root = private_folder();
        let channel =
            Channel::new(CHANNEL).root(root.path()).depth(4).max_publishers(2).max_subscribers(2);
        let read = || std::fs::read(root.path().join(format!("{CHANNEL}.{pattern}"))).unwrap();
        let (fresh, used) = match pattern {
            Pattern::Queue => {
                let mut puller = Puller::<u64>::new(&channel).unwrap();
                let fresh = read();
                let mut pusher = Pusher::<u64>::new(&channel).unwrap();
                for value in 0..6 {
                    pusher.send(&value).unwrap();
                    puller.take().unwrap();
                }
                (0..4).for_each(|value| pusher.send(&value).unwrap());
                puller.recv().unwrap().reject();
                drop(puller.recv().unwrap());
                let _held = puller.recv().unwrap();
                // Of the four one is a dead letter, one is held, one came back, one waits.
                (fresh, read())
            }
            Pattern::Service => {
                let mut client = Requester::<u64, u64>::new(&channel).unwrap();
                let fresh = read();
                let mut server = Replier::<u64, u64>::new(&channel).unwrap();
                for value in 0..6 {
                    let call = client.send(&value).unwrap();
                    server.recv().unwrap().reply(&value).unwrap();
                    drop(call.wait(Duration::from_secs(1)).unwrap());
                }
                let _calls = [0, 1, 2].map(|value| client.send(&value).unwrap());
                server.recv().unwrap().reply(&1).unwrap();
                let _request = server.recv().unwrap();
                (fresh, read())
            }
            _ => {
                let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
                let fresh = read();
                let mut publisher = Publisher::<u64>::new(&channel).unwrap();
                let mut held = Vec::new();
                for value in 0..40 {
                    publisher.send(&value).unwrap();
                    if value % 16 == 5 {
                        held.extend(subscriber.try_recv().unwrap());
                    }
                }
                (fresh, read())
            }
        };
        let len = (fresh.len() as u64).to_le_bytes();
        let header = &fresh[..u32_at(&fresh, HEADER_SIZE).unwrap() as usize];
        let file_size_at = header.windows(8).rposition(|window| window == len).unwrap();
        Segments { fresh, used, file_size_at }
    }

    fn patched(&self, used: bool, mut edits: &[u8]) -> Vec<u8> {
        let mut bytes = if used { self.used.clone() } else { self.fresh.clone() };
        let header_end = description_end(&bytes).unwrap();
        while let [area, low, high, rest @ ..] = edits {
            let end = if area & IN_HEADER != 0 { header_end } else { bytes.len() };
            let offset = usize::from(u16::from_le_bytes([*low, *high])) % end;
            let len = (usize::from(area & 7) + 1).min(rest.len()).min(end - offset);
            bytes[offset..offset + len].copy_from_slice(&rest[..len]);
            edits = &rest[len..];
        }
        bytes
    }
}

/// Where the name and the schemas end, if the file is that long.
fn description_end(bytes: &[u8]) -> Option<usize> {
    let number = |offset| u32_at(bytes, offset).map(u64::from);
    let end = number(HEADER_SIZE)? + number(NAME_LEN)? + number(SCHEMA_LEN)?;
    let end = end + number(REPLY_SCHEMA_LEN)?;
    usize::try_from(end).ok().filter(|end| *end <= bytes.len())
}

fn make_right(bytes: &mut [u8]) {
    let Some(end) = description_end(bytes).filter(|end| *end >= REPLY_HASH + 8) else { return };
    let reply_begin = end - u32_at(bytes, REPLY_SCHEMA_LEN).unwrap_or(0) as usize;
    let begin = reply_begin - u32_at(bytes, SCHEMA_LEN).unwrap_or(0) as usize;
    for (hash_at, record) in [(LAYOUT_HASH, begin..reply_begin), (REPLY_HASH, reply_begin..end)] {
        let schema = shm_comm::Schema::from_bytes(&bytes[record]);
        let hash = schema.map_or(0, |schema| schema.hash());
        bytes[hash_at..hash_at + 8].copy_from_slice(&hash.to_le_bytes());
    }
    bytes[CHECKSUM_AT..CHECKSUM_AT + 8].fill(0);
    let checksum = fnv1a(&bytes[..end]);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn write(path: &Path, bytes: &[u8], len: u64) -> File {
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all_at(&bytes[..bytes.len().min(len as usize)], 0).unwrap();
    file.set_len(len).unwrap();
    file
}

/// What everybody who is attached does: a shared lock on the lifecycle byte.
fn lock_as_a_member(file: &File) {
    let request = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 1 << 40,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: `request` is a `flock`, as this command requires.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) }, 0);
}

/// In the folder that `SHM_COMM_FUZZ` names: what a crash leaves is in there.
fn private_folder() -> tempfile::TempDir {
    let folder = std::env::var("SHM_COMM_FUZZ").unwrap_or("/dev/shm".to_owned());
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir_in(folder).unwrap()
}
