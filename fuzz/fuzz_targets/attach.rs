//! Any bytes become the file of a channel, which is looked at, and handles are opened on it and used.
//!
//! ```text
//! input   flags u8 · length of the file in units of 64 bytes u16 · rest
//! rest    with `PATCH`: edits of a segment that was right, each: area u8, offset u16, bytes
//!         without: the bytes of the file
//! ```
//!
//! Numbers are little-endian. A length of 0 is that of the bytes, and of the segment with `PATCH`.
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
    AttachError, Channel, FileInfo, Observer, Publisher, Read, Start, Subscriber, SubscriberOptions,
    Wait, files,
};

/// Edits of a segment that was right, else the bytes of the file.
const PATCH: u8 = 1;
/// Somebody is attached, so that the segment is not stale.
const LIVE: u8 = 2;
/// The hash of the schema and the checksum are made right.
const CHECKSUM: u8 = 4;
/// The file is as long as its header says.
const AS_IT_SAYS: u8 = 8;
/// The subscriber comes first.
const SUBSCRIBER_FIRST: u8 = 16;
/// The subscriber copies.
const COPIES: u8 = 32;
/// The subscriber sleeps for a moment.
const SLEEPS: u8 = 64;
/// The segment that is edited had been used.
const USED: u8 = 128;

/// The edit is of the header and the texts, not of the whole segment.
const IN_HEADER: u8 = 8;

const CHANNEL: &str = "fuzz";
const LONGEST_FILE: u64 = 4 << 20;

// What must be known of the header to make its checksum right. All other places are found.
const HEADER_SIZE: usize = 20;
const CHECKSUM_AT: usize = 24;
const LAYOUT_HASH: usize = 32;
const NAME_LEN: usize = 40;
const SCHEMA_LEN: usize = 44;

fuzz_target!(|input: &[u8]| {
    let [flags, low, high, rest @ ..] = input else { return };
    let has = |flag| flags & flag != 0;
    let asked_len = u64::from(u16::from_le_bytes([*low, *high])) * 64;
    let mut bytes = if has(PATCH) { patched(has(USED), rest) } else { rest.to_vec() };
    if has(CHECKSUM) {
        make_right(&mut bytes);
    }
    let len = match (has(AS_IT_SAYS), asked_len) {
        (true, _) => u64_at(&bytes, SEGMENTS.file_size_at).unwrap_or(0).min(LONGEST_FILE),
        (false, 0) => bytes.len() as u64,
        (false, len) => len,
    };

    let root = private_folder();
    let path = root.path().join(format!("{CHANNEL}.pubsub"));
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
    look_at_it(root.path());
    assert!(content() == looked_at, "changed by a look");
    let opened = use_it(root.path(), *flags);
    let is_there = path.exists();
    match (has(LIVE), opened) {
        // A member keeps the file, unless a publisher that came replaced it.
        (true, opened) => assert!(is_there || opened, "removed in spite of a member"),
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
fn look_at_it(root: &Path) {
    let [file] = &files(Some(root)).unwrap()[..] else { panic!("there is one file") };
    let channel = Channel::new(CHANNEL).root(root);
    let mut observer = match (file, Observer::with(&channel, Start::Oldest)) {
        (FileInfo::Channel(_), observer) => observer.unwrap(),
        (FileInfo::Refused { error, .. }, observer) => {
            assert_eq!(error.to_string(), observer.unwrap_err().to_string());
            return;
        }
        (other, _) => panic!("{other:?}"),
    };
    for problem in channel.check().unwrap() {
        assert!(!problem.is_empty());
    }
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

/// An error is something that can be said.
fn look<T>(result: Result<T, AttachError>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// Right segments, and where they say how long they are.
struct Segments {
    fresh: Vec<u8>,
    used: Vec<u8>,
    file_size_at: usize,
}

static SEGMENTS: LazyLock<Segments> = LazyLock::new(|| {
    let root = private_folder();
    let channel =
        Channel::new(CHANNEL).root(root.path()).depth(4).max_publishers(2).max_subscribers(2);
    let read = || std::fs::read(root.path().join(format!("{CHANNEL}.pubsub"))).unwrap();
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
    let used = read();
    let len = (fresh.len() as u64).to_le_bytes();
    let header = &fresh[..u32_at(&fresh, HEADER_SIZE).unwrap() as usize];
    let file_size_at = header.windows(8).rposition(|window| window == len).unwrap();
    Segments { fresh, used, file_size_at }
});

fn patched(used: bool, mut edits: &[u8]) -> Vec<u8> {
    let mut bytes = if used { SEGMENTS.used.clone() } else { SEGMENTS.fresh.clone() };
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

/// Where the name and the schema end, if the file is that long.
fn description_end(bytes: &[u8]) -> Option<usize> {
    let number = |offset| u32_at(bytes, offset).map(u64::from);
    let end = number(HEADER_SIZE)? + number(NAME_LEN)? + number(SCHEMA_LEN)?;
    usize::try_from(end).ok().filter(|end| *end <= bytes.len())
}

fn make_right(bytes: &mut [u8]) {
    let Some(end) = description_end(bytes).filter(|end| *end >= NAME_LEN) else { return };
    let schema_len = u32_at(bytes, SCHEMA_LEN).unwrap_or(0) as usize;
    let schema = shm_comm::Schema::from_bytes(&bytes[end - schema_len..end]);
    let hash = schema.map_or(0, |schema| schema.hash());
    bytes[LAYOUT_HASH..LAYOUT_HASH + 8].copy_from_slice(&hash.to_le_bytes());
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
