//! What holds against the rest of the machine: file systems and limits that are full, other users,
//! stray stores, and namespaces in which pids, paths and clocks are others.

use shm_comm_tests::isolation::{
    Answer, Folder, Isolated, SOON, fingerprint, has_users, owner_and_mode, skip,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_isolated");
/// More than a ring has slots, so that every slot is written.
const LAPS: u64 = 300;
const PAGE: u64 = 4096;
/// Two users that are neither root nor anybody.
const ANN: u32 = 23451;
const BOB: u32 = 23452;

fn start(set_up: &[&str]) -> Answer<Isolated> {
    Isolated::start(BINARY, set_up)
}

/// Starts a process apart; or says that the test is skipped, because that cannot be had here.
fn apart(test: &str, set_up: &[&str]) -> Option<Isolated> {
    start(set_up)
        .map_err(|reason| {
            skip(test, &format!("needs root, or namespaces for everybody ({reason})"));
        })
        .ok()
}

/// A process as that user.
fn user(id: u32) -> Isolated {
    start(&[&format!("user={id}:{id}")]).unwrap()
}

// A full file system.

/// A process with a file system of 1 MiB of its own, and where that is.
fn on_a_small_file_system(
    test: &str,
    folder: &Folder,
    options: &str,
) -> Option<(Isolated, String)> {
    let root = folder.path().to_str().unwrap().to_owned();
    let peer = apart(test, &[&format!("tmpfs={root},size=1m,mode=700{options}")])?;
    Some((peer, root))
}

#[track_caller]
fn assert_no_space(error: &str, needed: u64, root: &str) {
    let file = format!("{root}/apart.pubsub");
    let text =
        format!("no room for another {needed} bytes in {file}, on a file system of 1048576 ");
    assert!(error.starts_with("NoSpace") && error.contains(&text), "{error}, not {text}");
}

/// Used bytes, free bytes and files.
fn space(peer: &mut Isolated, root: &str) -> [u64; 3] {
    peer.numbers(format!("space {root}"))
}

/// Bytes that the fixed part of a segment takes, and bytes of a ring.
fn sizes(peer: &mut Isolated, root: &str) -> (u64, u64) {
    let [empty, ..] = space(peer, root);
    peer.must(format!("subscriber s {root}"));
    let [with_subscriber, ..] = space(peer, root);
    peer.must(format!("publisher p {root}"));
    let [with_publisher, ..] = space(peer, root);
    peer.must("drop p");
    peer.must("drop s");
    assert_eq!(space(peer, root)[0], empty, "something is left behind");
    (with_subscriber - empty, with_publisher - with_subscriber)
}

/// Each publisher writes all its slots, and all of it arrives or is counted.
fn everything_works(peer: &mut Isolated, publishers: &[String]) {
    for publisher in publishers {
        peer.must(format!("send {publisher} {LAPS}"));
    }
    let [received, missed] = peer.numbers("drain s");
    assert_eq!(received + missed, publishers.len() as u64 * LAPS);
    assert!(received >= publishers.len() as u64, "only {received} received");
}

#[test]
fn however_full_a_file_system_is_a_handle_works_or_says_how_much_room_it_needs() {
    let test = "however_full_a_file_system_is_a_handle_works_or_says_how_much_room_it_needs";
    let folder = Folder::new(0o700);
    let Some((mut peer, root)) = on_a_small_file_system(test, &folder, "") else { return };
    let (fixed, ring) = sizes(&mut peer, &root);
    let rings = 3;
    let empty = space(&mut peer, &root);
    let (mut failed, mut worked) = (0, 0);
    for left in (0..=fixed + rings * ring + PAGE).step_by(PAGE as usize) {
        peer.must(format!("fill {root} {left}"));
        let full = space(&mut peer, &root);
        let mut try_one = |request: String, needed| {
            let before = space(&mut peer, &root);
            let answer = peer.ask(request);
            match &answer {
                Ok(_) => assert!(before[1] >= needed, "only {} bytes were free", before[1]),
                Err(error) => {
                    assert!(before[1] < needed, "{} bytes were free: {error}", before[1]);
                    assert_no_space(error, needed, &root);
                    assert_eq!(space(&mut peer, &root), before, "something is left behind");
                }
            }
            answer.is_ok()
        };
        let subscribed = try_one(format!("subscriber s {root}"), fixed);
        let mut publishers = Vec::new();
        let mut refused = Vec::new();
        for i in 0..rings {
            // Without anybody there it makes the segment first.
            let needed = if subscribed { ring } else { fixed };
            let opened = try_one(format!("publisher p{i} {root}"), needed);
            if opened { &mut publishers } else { &mut refused }.push(format!("p{i}"));
        }
        failed += refused.len();
        worked += publishers.len();
        if subscribed {
            // Those that came first do not notice those that found no room.
            everything_works(&mut peer, &publishers);
        }
        // With room again the same is possible.
        peer.must(format!("remove {root}/filler"));
        if !subscribed {
            peer.must(format!("subscriber s {root}"));
        }
        for publisher in refused {
            peer.must(format!("publisher {publisher} {root}"));
            publishers.push(publisher);
        }
        everything_works(&mut peer, &publishers);
        for handle in publishers.iter().map(String::as_str).chain(["s"]) {
            peer.must(format!("drop {handle}"));
        }
        assert_eq!(space(&mut peer, &root), empty, "something is left behind of {full:?}");
    }
    assert!(failed > 20 && worked > 20, "{failed} failed, {worked} worked");
}

/// It is more than the library asks for at a time, perhaps; and the channel is there for others.
#[test]
fn a_large_ring_that_finds_no_room_leaves_nothing_of_it() {
    let test = "a_large_ring_that_finds_no_room_leaves_nothing_of_it";
    let folder = Folder::new(0o700);
    let root = folder.path().to_str().unwrap();
    let Some(mut peer) = apart(test, &[&format!("tmpfs={root},size=8m,mode=700")]) else { return };
    let publisher = format!("publisher p {root} depth=4096");
    peer.must(format!("subscriber s {root} depth=4096"));
    let empty = space(&mut peer, root);
    peer.must(&publisher);
    let ring = space(&mut peer, root)[0] - empty[0];
    assert!(ring > 1 << 21, "{ring} bytes are no large ring");
    // The next to come has its ring. Only without anybody the segment, and all rings, are gone.
    peer.must("drop p");
    peer.must("drop s");
    peer.must(format!("subscriber s {root} depth=4096"));
    assert_eq!(space(&mut peer, root), empty);
    for left in (0..ring).step_by(300_000) {
        peer.must(format!("fill {root} {left}"));
        let full = space(&mut peer, root);
        let error = peer.ask(&publisher).unwrap_err();
        let text =
            format!("no room for another {ring} bytes in {root}/apart.pubsub, on a file system");
        let free = (8 << 20) - full[0];
        let end = format!("of 8388608 bytes, {free} of them free");
        assert!(error.contains(&text) && error.ends_with(&end), "{error}");
        assert_eq!(space(&mut peer, root), full, "something is left behind");
        peer.must(format!("remove {root}/filler"));
    }
    peer.must(&publisher);
    // More than it has slots.
    peer.must("send p 20000");
    let [received, missed] = peer.numbers("drain s");
    assert_eq!(received + missed, 20000);
}

/// Between those that need the fixed part only, and those that need a ring as well.
#[test]
fn a_publisher_that_finds_room_for_half_a_channel_leaves_nothing() {
    let test = "a_publisher_that_finds_room_for_half_a_channel_leaves_nothing";
    let folder = Folder::new(0o700);
    let Some((mut peer, root)) = on_a_small_file_system(test, &folder, "") else { return };
    let (fixed, ring) = sizes(&mut peer, &root);
    for left in (0..=fixed + ring).step_by(PAGE as usize) {
        peer.must(format!("fill {root} {left}"));
        let before = space(&mut peer, &root);
        match peer.ask(format!("publisher p {root}")) {
            Ok(_) => assert!(before[1] >= fixed + ring),
            Err(error) => {
                let needed = if before[1] < fixed { fixed } else { ring };
                assert_no_space(&error, needed, &root);
                assert_eq!(space(&mut peer, &root), before);
                assert_eq!(peer.must(format!("list {root}")), "1", "not only the filler");
            }
        }
        peer.must("drop p");
        peer.must(format!("remove {root}/filler"));
    }
}

#[test]
fn channels_fill_a_file_system_until_one_is_an_error_and_those_before_it_work() {
    let test = "channels_fill_a_file_system_until_one_is_an_error_and_those_before_it_work";
    let folder = Folder::new(0o700);
    let Some((mut peer, root)) = on_a_small_file_system(test, &folder, "") else { return };
    let empty = space(&mut peer, &root);
    let open = |peer: &mut Isolated, i: usize| {
        peer.ask(format!("subscriber s{i} {root} name=channel{i}"))?;
        peer.ask(format!("publisher p{i} {root} name=channel{i}"))
    };
    let works = |peer: &mut Isolated, i: usize| {
        peer.must(format!("send p{i} {LAPS}"));
        let [received, missed] = peer.numbers(format!("drain s{i}"));
        assert!(received > 0 && received + missed == LAPS, "{received} + {missed}");
    };
    let mut channels = 0;
    let error = loop {
        match open(&mut peer, channels) {
            Ok(_) => channels += 1,
            Err(error) => break error,
        }
        assert!(channels < 200);
    };
    assert!(error.starts_with("NoSpace: "), "{error}");
    assert!(error.contains(&format!("{root}/channel{channels}.pubsub")), "{error}");
    peer.must(format!("drop s{channels}"));
    assert!(channels > 5, "only {channels}");
    for i in 0..channels {
        works(&mut peer, i);
    }
    // One goes, so there is room for the one that found none.
    peer.must("drop p0");
    peer.must("drop s0");
    open(&mut peer, channels).unwrap();
    for i in 1..=channels {
        works(&mut peer, i);
        peer.must(format!("drop p{i}"));
        peer.must(format!("drop s{i}"));
    }
    assert_eq!(space(&mut peer, &root), empty);
}

#[test]
fn a_file_system_without_room_for_another_file_is_an_error() {
    let test = "a_file_system_without_room_for_another_file_is_an_error";
    let folder = Folder::new(0o700);
    // One for the folder itself, one for a channel.
    let Some((mut peer, root)) = on_a_small_file_system(test, &folder, ",nr_inodes=2") else {
        return;
    };
    peer.must(format!("subscriber s {root}"));
    peer.must(format!("publisher p {root}"));
    let before = space(&mut peer, &root);
    for kind in ["publisher", "subscriber"] {
        let error = peer.ask(format!("{kind} other {root} name=other")).unwrap_err();
        assert!(error.contains(&format!("{root}/other.pubsub")), "{error}");
        assert!(error.contains("No space left") || error.starts_with("NoSpace"), "{error}");
        let error = peer.ask(format!("{kind} other {root}/folder")).unwrap_err();
        assert!(error.contains(&format!("{root}/folder")), "{error}");
        assert!(error.contains("No space left") || error.starts_with("NoSpace"), "{error}");
    }
    assert_eq!(space(&mut peer, &root), before);
    everything_works(&mut peer, &["p".to_owned()]);
    peer.must("drop p");
    peer.must("drop s");
    peer.must(format!("publisher p {root} name=other"));
}

#[test]
fn a_file_system_without_room_for_another_file_has_no_space() {
    let test = "a_file_system_without_room_for_another_file_has_no_space";
    let folder = Folder::new(0o700);
    let Some((mut peer, root)) = on_a_small_file_system(test, &folder, ",nr_inodes=1") else {
        return;
    };
    let error = peer.ask(format!("publisher p {root}")).unwrap_err();
    assert!(error.starts_with("NoSpace"), "{error}");
}

// Limits of a process.

/// At every number of open files it has what it asks for, or an error that says what is missing.
#[test]
fn too_many_open_files_are_an_error() {
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let mut worked = 0;
    // Input, output and errors are 0 to 2.
    for files in 3..40 {
        let mut peer = start(&[&format!("files={files}")]).unwrap();
        let mut open = |request: String| {
            let answer = peer.ask(request);
            if let Err(error) = &answer {
                assert!(error.contains("Too many open files"), "{error}");
            }
            answer.is_ok()
        };
        let subscribed = open(format!("subscriber s {root}"));
        let publishing = open(format!("publisher p {root}"));
        if subscribed && publishing {
            worked += 1;
            everything_works(&mut peer, &["p".to_owned()]);
        }
        drop(peer);
        let left = std::fs::read_dir(&root).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left behind, with {files} files");
    }
    assert!(worked > 0);
}

/// By default the kernel ends a process that writes beyond its limit.
#[test]
fn a_limit_for_the_size_of_files_is_an_error() {
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    for limit in [0, 100, 4096, 20_000, 100_000] {
        for kind in ["publisher", "subscriber"] {
            let mut peer = start(&[&format!("file-size={limit}")]).unwrap();
            let error = peer.ask(format!("{kind} h {root}")).unwrap_err();
            assert!(error.contains(&format!("{root}/apart.pubsub")), "{error}");
            assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        }
    }
}

/// Somebody without a limit has made the channel.
#[test]
fn a_limit_for_the_size_of_files_does_not_end_a_process_that_enters_a_channel() {
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let mut maker = start(&[]).unwrap();
    maker.must(format!("subscriber s {root}"));
    maker.must(format!("publisher p {root}"));
    for limit in [0, 100, 4096, 20_000, 100_000] {
        for kind in ["publisher", "subscriber"] {
            let mut peer = start(&[&format!("file-size={limit}")]).unwrap();
            // An error is as good.
            let _ = peer.ask(format!("{kind} h {root}"));
            peer.must("pid");
        }
        everything_works(&mut maker, &["p".to_owned()]);
    }
}

#[test]
fn too_little_address_space_is_an_error() {
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let large = format!("{root} name=large depth=65536");
    // A ring of that depth alone has more, and a small channel has far less.
    let limited = || start(&["addresses=40000000"]).unwrap();
    let mut peer = limited();
    let error = peer.ask(format!("publisher p {large}")).unwrap_err();
    assert!(error.contains(&format!("cannot map {root}/large.pubsub")), "{error}");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    peer.must(format!("subscriber s {root}"));
    peer.must(format!("publisher p {root}"));
    everything_works(&mut peer, &["p".to_owned()]);

    // The same while others are there.
    let mut other = start(&[]).unwrap();
    other.must(format!("subscriber s {large}"));
    let takes = format!("takes {root}/large.pubsub");
    let before = other.must(&takes);
    peer.ask(format!("publisher q {large}")).unwrap_err();
    assert_eq!(other.must(&takes), before, "something is left behind");
    // Who cannot see the messages is told so, when it comes or when it asks for one.
    for publisher_is_first in [false, true] {
        if publisher_is_first {
            other.must(format!("publisher p {large}"));
        }
        let mut peer = limited();
        let told = peer.ask(format!("subscriber s {large}")).and_then(|_| {
            if !publisher_is_first {
                other.must(format!("publisher p {large}"));
            }
            other.must("send p 1");
            peer.ask("wait s 300")
        });
        assert!(told.is_err(), "it waits for messages that it cannot see");
        if !publisher_is_first {
            other.must("drop p");
        }
    }
    other.must("drain s");
    everything_works(&mut other, &["p".to_owned()]);
}

// Other users.

fn path_of(root: &str) -> String {
    format!("{root}/apart.pubsub")
}

/// Ann has a channel in a folder that everybody may use, like `/dev/shm`.
fn ann_with_a_channel(root: &str) -> Isolated {
    let mut ann = user(ANN);
    ann.must(format!("subscriber s {root}"));
    ann.must(format!("publisher p {root}"));
    ann
}

/// What somebody may try who has nothing to do with the channel.
fn attempts(root: &str, mine: &str) -> Vec<String> {
    let file = path_of(root);
    let create = |name: &str| format!("create {root}/{name}");
    vec![
        format!("read {file}"),
        format!("write {file}"),
        format!("truncate {file}"),
        format!("chmod 666 {file}"),
        format!("remove {file}"),
        format!("rename {file} {root}/other.pubsub"),
        format!("rename {file} {mine}"),
        format!("rename {mine} {file}"),
        create("other.pubsub"),
        format!("mkdir {root}/other.pubsub"),
        format!("symlink {mine} {root}/other.pubsub"),
        format!("hardlink {mine} {root}/other.pubsub"),
        format!("chmod 777 {root}"),
        format!("rename {root} {root}-away"),
        format!("rename {mine} {root}"),
        format!("rmdir {root}"),
        format!("symlink {mine} {root}"),
    ]
}

#[test]
fn a_channel_is_closed_to_another_user() {
    if !has_users("a_channel_is_closed_to_another_user", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let (root, mine) = (folder.join("root"), folder.join("mine"));
    let mut ann = ann_with_a_channel(&root);
    let mut bob = user(BOB);
    bob.must(format!("create {mine}"));
    assert_eq!(owner_and_mode(&root), (ANN, 0o700));
    assert_eq!(owner_and_mode(&path_of(&root)), (ANN, 0o600));
    // Also when Ann lets others see what is there.
    for mode in ["700", "711", "755"] {
        ann.must(format!("chmod {mode} {root}"));
        let before = [&root, &path_of(&root)].map(|path| fingerprint(path));
        for attempt in attempts(&root, &mine) {
            assert!(bob.ask(&attempt).is_err(), "{attempt}, with mode {mode}");
        }
        if mode != "755" {
            assert!(bob.ask(format!("list {root}")).is_err());
        }
        if mode == "700" {
            // (Otherwise that is for the system to say, see `fs.protected_hardlinks`.)
            assert!(bob.ask(format!("hardlink {} {mine}-too", path_of(&root))).is_err());
        }
        for kind in ["publisher", "subscriber"] {
            let error = bob.ask(format!("{kind} h {root}")).unwrap_err();
            assert!(error.starts_with("UnsafeRoot: ") && error.contains(&root), "{error}");
        }
        assert_eq!([&root, &path_of(&root)].map(|path| fingerprint(path)), before);
        everything_works(&mut ann, &["p".to_owned()]);
    }
}

#[test]
fn the_error_for_another_user_says_whose_the_channel_is() {
    if !has_users("the_error_for_another_user_says_whose_the_channel_is", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let root = folder.join("root");
    let _ann = ann_with_a_channel(&root);
    let mut bob = user(BOB);
    for kind in ["publisher", "subscriber"] {
        let error = bob.ask(format!("{kind} h {root}")).unwrap_err();
        let (whose, whom) = (format!("belongs to user {ANN}"), format!("you are user {BOB}"));
        assert!(error.contains(&root) && error.contains(&whose), "{error}");
        assert!(error.contains(&whom), "{error}");
    }
}

#[test]
fn what_another_user_has_put_in_place_of_a_root_is_refused_and_not_touched() {
    if !has_users("what_another_user_has_put_in_place_of_a_root_is_refused_and_not_touched", BINARY)
    {
        return;
    }
    let squats: [&[&str]; 9] = [
        &["mkdir R"],
        &["mkdir R", "chmod 777 R"],
        &["mkdir R", "chmod 1777 R"],
        &["create R"],
        &["create R", "chmod 666 R"],
        &["mkdir M", "symlink M R"],
        &["mkdir M", "chmod 777 M", "symlink M R"],
        &["symlink N R"],
        // Ann's own folder, which she uses for something else.
        &["symlink A R"],
    ];
    for squat in squats {
        let folder = Folder::new(0o1777);
        let [root, mine, nothing, anns] =
            ["root", "mine", "nothing", "anns"].map(|n| folder.join(n));
        let (mut ann, mut bob) = (user(ANN), user(BOB));
        ann.must(format!("mkdir {anns}"));
        for step in squat {
            let words = step.split(' ').map(|word| match word {
                "R" => &root,
                "M" => &mine,
                "N" => &nothing,
                "A" => &anns,
                word => word,
            });
            bob.must(words.collect::<Vec<_>>().join(" "));
        }
        let things = || {
            let there = [&root, &mine, &nothing, &anns]
                .map(|path| std::fs::symlink_metadata(path).is_ok().then(|| fingerprint(path)));
            let inside = [&root, &mine, &anns]
                .map(|path| std::fs::read_dir(path).map_or(0, Iterator::count));
            (there, inside)
        };
        let before = things();
        assert_eq!(before.1, [0; 3]);
        for kind in ["publisher", "subscriber"] {
            let error = ann.ask(format!("{kind} h {root}")).unwrap_err();
            assert!(error.starts_with("UnsafeRoot: ") && error.contains(&root), "{error}");
            assert_eq!(things(), before, "touched: {squat:?}");
        }
        // She uses another one.
        let mut ann = user(ANN);
        ann.must(format!("publisher p {anns}"));
    }
}

#[test]
fn what_another_user_has_put_into_a_root_is_refused_and_not_touched() {
    if !has_users("what_another_user_has_put_into_a_root_is_refused_and_not_touched", BINARY) {
        return;
    }
    for mode in ["777", "1777", "770"] {
        let folder = Folder::new(0o1777);
        let [root, bobs, old] = ["root", "bobs", "old"].map(|n| folder.join(n));
        // Bob is in Ann's group, and she has been careless.
        let mut ann = user(ANN);
        ann.must(format!("mkdir {root}"));
        ann.must(format!("chmod {mode} {root}"));
        let mut bob = start(&[&format!("user={BOB}:{ANN}")]).unwrap();
        // A channel as it should be, but Bob's.
        bob.must(format!("publisher p {bobs}"));
        bob.must(format!("hardlink {} {}", path_of(&bobs), path_of(&root)));
        let before = fingerprint(&path_of(&root));
        let mut refused = |reason: &str| {
            for kind in ["publisher", "subscriber"] {
                let error = ann.ask(format!("{kind} h {root}")).unwrap_err();
                assert!(error.contains(&root) && error.contains(reason), "{error}");
            }
        };
        refused("may be written to by others");
        assert_eq!(fingerprint(&path_of(&root)), before);
        // She has noticed, but his file is still there.
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).unwrap();
        refused("");
        assert_eq!(fingerprint(&path_of(&root)), before);
        std::fs::remove_file(path_of(&root)).unwrap();
        // Or it was something that leads elsewhere.
        std::os::unix::fs::symlink(path_of(&bobs), path_of(&root)).unwrap();
        refused("it is a symbolic link");
        std::fs::rename(path_of(&root), old).unwrap();
        bob.must("send p 1");
        ann.must(format!("publisher h {root}"));
    }
}

#[test]
fn the_error_for_another_users_file_says_whose_it_is() {
    if !has_users("the_error_for_another_users_file_says_whose_it_is", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let [root, bobs] = ["root", "bobs"].map(|n| folder.join(n));
    let (mut ann, mut bob) = (user(ANN), user(BOB));
    ann.must(format!("mkdir {root}"));
    bob.must(format!("publisher p {bobs}"));
    std::fs::rename(path_of(&bobs), path_of(&root)).unwrap();
    for kind in ["publisher", "subscriber"] {
        let error = ann.ask(format!("{kind} h {root}")).unwrap_err();
        let (whose, whom) = (format!("belongs to user {BOB}"), format!("you are user {ANN}"));
        assert!(error.starts_with("ForeignOwner") && error.contains(&whose), "{error}");
        assert!(error.contains(&whom), "{error}");
    }
}

/// Who may open every file does not take every file for a channel.
#[test]
fn root_does_not_use_the_file_of_another_user() {
    if !has_users("root_does_not_use_the_file_of_another_user", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let [root, bobs] = ["root", "bobs"].map(|n| folder.join(n));
    let (mut all_mighty, mut bob) = (start(&[]).unwrap(), user(BOB));
    bob.must(format!("publisher p {bobs}"));
    all_mighty.must(format!("mkdir {root}"));
    all_mighty.must(format!("hardlink {} {}", path_of(&bobs), path_of(&root)));
    let before = fingerprint(&path_of(&bobs));
    for (folder, error) in [(&root, "ForeignOwner: "), (&bobs, "UnsafeRoot: ")] {
        for kind in ["publisher", "subscriber"] {
            let text = all_mighty.ask(format!("{kind} h {folder}")).unwrap_err();
            assert!(text.starts_with(error), "{text}");
            assert!(text.contains(&format!("belongs to user {BOB}")), "{text}");
            assert!(text.contains("you are user 0"), "{text}");
        }
    }
    assert_eq!(fingerprint(&path_of(&bobs)), before);
}

#[test]
fn the_default_folder_is_the_users_own() {
    let test = "the_default_folder_is_the_users_own";
    if !has_users(test, BINARY) {
        return;
    }
    let shm = "tmpfs=/dev/shm,size=1m,mode=1777";
    let Some(mut ann) = apart(test, &[shm, &format!("user={ANN}:{ANN}")]) else { return };
    ann.must("subscriber s -");
    ann.must("publisher p -");
    everything_works(&mut ann, &["p".to_owned()]);
    // In her `/dev/shm`, which is not that of the other tests.
    let root = format!("/proc/{}/root/dev/shm/shm-comm-{ANN}", ann.pid());
    assert_eq!(owner_and_mode(&root), (ANN, 0o700));
    assert_eq!(owner_and_mode(&path_of(&root)), (ANN, 0o600));
}

/// As somebody to whom modes matter, if that can be had.
fn with_umask(umask: &str) -> Isolated {
    let umask = format!("umask={umask}");
    let ann = start(&[&format!("user={ANN}:{ANN}"), &umask]);
    ann.or_else(|_| start(&[&umask])).unwrap()
}

fn the_modes_are_right_with(umask: &str) {
    let folder = Folder::new(0o1777);
    let root = folder.join("root");
    let mut peer = with_umask(umask);
    peer.must(format!("subscriber s {root}"));
    peer.must(format!("publisher p {root}"));
    assert_eq!(owner_and_mode(&root).1, 0o700, "the folder, with umask {umask}");
    assert_eq!(owner_and_mode(&path_of(&root)).1, 0o600, "the file, with umask {umask}");
    everything_works(&mut peer, &["p".to_owned()]);
}

#[test]
fn folder_and_file_are_closed_whatever_the_umask() {
    for umask in ["000", "002", "022", "077"] {
        the_modes_are_right_with(umask);
    }
}

#[test]
fn folder_and_file_are_usable_whatever_the_umask() {
    for umask in ["277", "777"] {
        the_modes_are_right_with(umask);
    }
}

// Stray stores.

#[test]
fn a_stray_store_of_a_reader_kills_it_and_changes_nothing() {
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let [mut publisher, mut stray, mut witness] = [(); 3].map(|()| start(&[]).unwrap());
    publisher.must(format!("publisher p {root}"));
    stray.must(format!("subscriber s {root}"));
    witness.must(format!("subscriber s {root}"));
    publisher.must("send p 1");
    assert_eq!(stray.must("hold s"), witness.must("hold s"));
    stray.tell("scribble s");
    assert_eq!(stray.death(), Some(libc::SIGSEGV));
    witness.must("check s");
    publisher.must(format!("send p {LAPS}"));
    witness.must("check s");
    let [received, missed] = witness.numbers("drain s");
    assert_eq!(received + missed, LAPS);
    assert_eq!(publisher.must("others p"), "1");
}

/// One line of `/proc/PID/maps`.
#[derive(Debug)]
struct Mapped {
    start: u64,
    end: u64,
    writable: bool,
    offset: u64,
}

fn mapped(pid: u32, file: &str) -> Vec<Mapped> {
    // Who has made the file has mapped it before it had a name.
    let inode = std::fs::metadata(file).unwrap().ino().to_string();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    maps.lines()
        .filter(|line| line.split_whitespace().nth(4) == Some(&inode))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-').unwrap();
            Mapped {
                start: number(start),
                end: number(end),
                writable: words[1].contains('w'),
                offset: number(words[2]),
            }
        })
        .collect()
}

fn writable_bytes(maps: &[Mapped]) -> u64 {
    maps.iter().filter(|map| map.writable).map(|map| map.end - map.start).sum()
}

#[test]
fn a_process_can_write_to_no_ring_but_its_own() {
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let file = path_of(&root);
    let [mut reader, mut publisher] = [(); 2].map(|()| start(&[]).unwrap());
    reader.must(format!("subscriber s {root}"));
    // Without a publisher there is nothing but the fixed part, of which all is allocated.
    let [fixed] = reader.numbers(format!("takes {file}"));
    publisher.must(format!("publisher p {root}"));
    let [all] = reader.numbers(format!("takes {file}"));
    let ring = all - fixed;
    publisher.must("send p 1");
    reader.must("hold s");

    let maps = mapped(reader.pid(), &file);
    assert_eq!(writable_bytes(&maps), fixed, "{maps:x?}");
    assert!(maps.iter().all(|map| !map.writable || map.offset < fixed), "{maps:x?}");
    let [address] = reader.numbers("address s");
    let its = maps.iter().find(|map| (map.start..map.end).contains(&address));
    assert!(its.is_some_and(|map| !map.writable), "{address:x}: {maps:x?}");

    let maps = mapped(publisher.pid(), &file);
    assert_eq!(writable_bytes(&maps), fixed + ring, "{maps:x?}");

    // A reader that publishes, too, writes to the second ring; and then no more.
    assert_eq!(reader.must(format!("publisher p {root}")), "1 1");
    let maps = mapped(reader.pid(), &file);
    assert_eq!(writable_bytes(&maps), fixed + ring, "{maps:x?}");
    let its = maps.iter().find(|map| (map.start..map.end).contains(&address));
    assert!(its.is_some_and(|map| !map.writable), "{address:x}: {maps:x?}");
    reader.must(format!("subscriber other {root}"));
    reader.must("drop p");
    let maps = mapped(reader.pid(), &file);
    assert_eq!(writable_bytes(&maps), fixed, "{maps:x?}");
}

// Namespaces.

/// How many slots the publisher passes over while it sends so many messages. It has the time to ask
/// after those who hold them.
fn skipped(publisher: &mut Isolated) -> u64 {
    std::thread::sleep(Duration::from_millis(20));
    let [before] = publisher.numbers("skipped p");
    publisher.must("send p 1024");
    let [after] = publisher.numbers("skipped p");
    after - before
}

/// The same while one slot is held.
fn skipped_for_one(publisher: &mut Isolated) -> u64 {
    let _batch_that_was_claimed_before = skipped(publisher);
    let skipped = skipped(publisher);
    assert!(skipped > 1, "none is held");
    skipped
}

/// Waits until so many slots are held, if `one` are passed over for one.
fn wait_until_held(publisher: &mut Isolated, slots: u64, one: u64) {
    let end = Instant::now() + SOON;
    while (skipped(publisher) + one / 2) / one != slots {
        assert!(Instant::now() < end, "not {slots} slots are held");
    }
}

#[test]
fn that_two_processes_are_both_pid_1_does_not_matter() {
    let test = "that_two_processes_are_both_pid_1_does_not_matter";
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let pid_1 = || apart(test, &["pid-namespace"]);
    let Some(mut publisher) = pid_1() else { return };
    let [mut dead, mut alive] = [(); 2].map(|()| pid_1().unwrap());
    for peer in [&mut publisher, &mut dead, &mut alive] {
        assert_eq!(peer.must("pid"), "1");
    }
    publisher.must(format!("publisher p {root} depth=8"));
    dead.must(format!("subscriber s {root}"));
    alive.must(format!("subscriber s {root}"));
    assert_eq!(publisher.must("others p"), "2");
    publisher.must("send p 1");
    assert_eq!(dead.must("hold s"), "0");
    let one = skipped_for_one(&mut publisher);
    let held = alive.must("hold s");
    wait_until_held(&mut publisher, 2, one);

    dead.kill();
    assert_eq!(publisher.must("others p"), "1");
    // The slot of the dead one comes back. The other one's is not taken, however often the publisher
    // asks after it.
    wait_until_held(&mut publisher, 1, one);
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(skipped(&mut publisher) > 0);
        assert_eq!(alive.must("check s"), held);
    }
    assert_eq!(publisher.must("others p"), "1");

    // Another one comes, pid 1 again.
    let mut again = pid_1().unwrap();
    again.must(format!("subscriber s {root}"));
    publisher.must("send p 1");
    again.must("receive s");
    assert_eq!(alive.must("check s"), held);
}

#[test]
fn the_ring_of_a_dead_pid_1_is_taken_over_and_that_of_a_living_one_is_not() {
    let test = "the_ring_of_a_dead_pid_1_is_taken_over_and_that_of_a_living_one_is_not";
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    let pid_1 = || apart(test, &["pid-namespace"]);
    let Some(mut dead) = pid_1() else { return };
    let [mut alive, mut subscriber, mut again] = [(); 3].map(|()| pid_1().unwrap());
    subscriber.must(format!("subscriber s {root}"));
    assert_eq!(dead.must(format!("publisher p {root}")), "0 1");
    assert_eq!(alive.must(format!("publisher p {root}")), "1 1");
    dead.must("send p 10");
    dead.kill();
    assert_eq!(subscriber.must("others s"), "1");
    assert_eq!(again.must(format!("publisher p {root}")), "0 2");
    alive.must("send p 10");
    again.must("send p 10");
    assert_eq!(subscriber.must("drain s"), "30 0");
    assert_eq!(subscriber.must("others s"), "2");
}

#[test]
fn a_process_with_the_pid_of_a_dead_one_is_not_mistaken_for_it() {
    let test = "a_process_with_the_pid_of_a_dead_one_is_not_mistaken_for_it";
    if !has_users(test, BINARY) {
        return;
    }
    let folder = Folder::new(0o700);
    let root = folder.join("root");
    // It is pid 1 and only keeps the namespace; the others are in there with it.
    let Some(mut first) = apart(test, &["pid-namespace"]) else { return };
    let join = format!("join-pid-namespace={}", first.pid());
    let mut publisher = start(&[&join]).unwrap();
    publisher.must(format!("publisher p {root} depth=8"));
    let mut pid_77 = || {
        first.must("next-pid 77");
        let mut peer = start(&[&join]).unwrap();
        assert_eq!(peer.must("pid"), "77");
        peer
    };
    let mut dead = pid_77();
    dead.must(format!("subscriber s {root}"));
    publisher.must("send p 1");
    assert_eq!(dead.must("hold s"), "0");
    let one = skipped_for_one(&mut publisher);
    dead.kill();

    // The one who has its pid now is somebody else, also for those who ask after the dead one.
    let mut again = pid_77();
    assert_eq!(publisher.must("others p"), "0");
    wait_until_held(&mut publisher, 0, one);
    again.must(format!("subscriber s {root}"));
    assert_eq!(publisher.must("others p"), "1");
    publisher.must("send p 1");
    let held = again.must("hold s");
    wait_until_held(&mut publisher, 1, one);
    assert_eq!(again.must("check s"), held);
    again.kill();

    // The same with a publisher.
    let mut dead = pid_77();
    assert_eq!(dead.must(format!("publisher p {root}")), "1 1");
    dead.kill();
    assert_eq!(pid_77().must(format!("publisher p {root}")), "1 2");
    wait_until_held(&mut publisher, 0, one);
}

#[test]
fn clocks_that_are_days_apart_do_not_matter() {
    let folder = Folder::new(0o700);
    // Seconds by which the clock of each is ahead.
    std::thread::scope(|scope| {
        for (publisher, subscriber) in [(500_000, 0), (0, 500_000), (40_000_000, 500_000)] {
            let root = folder.join(&format!("{publisher}-{subscriber}"));
            scope.spawn(move || the_clocks_do_not_matter(&root, publisher, subscriber));
        }
    });
}

fn the_clocks_do_not_matter(root: &str, publisher: u64, subscriber: u64) {
    let ahead = |seconds| {
        apart("clocks_that_are_days_apart_do_not_matter", &[&format!("time-offset={seconds}")])
    };
    let Some((mut publisher, mut subscriber)) = ahead(publisher).zip(ahead(subscriber)) else {
        return;
    };
    let [publishers] = publisher.numbers("monotonic");
    let [subscribers] = subscriber.numbers("monotonic");
    assert!(publishers.abs_diff(subscribers) > 400_000, "{publishers} s and {subscribers} s");
    publisher.must(format!("publisher p {root} depth=8"));
    subscriber.must(format!("subscriber s {root}"));
    publisher.must("send p 1");
    subscriber.must("hold s");
    for timeout in [0, 30, 300] {
        let start = Instant::now();
        let [waited] = subscriber.numbers(format!("wait s {timeout}"));
        let took = start.elapsed();
        assert!(waited >= timeout, "{waited} ms of {timeout}");
        assert!(took >= Duration::from_millis(timeout), "{took:?} of {timeout} ms");
        assert!(took < SOON, "{took:?} of {timeout} ms");
    }
    // Nobody is taken for dead, though the publisher asks after the one who holds a slot.
    let one = skipped_for_one(&mut publisher);
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert!(skipped(&mut publisher) > 0);
    }
    assert_eq!(subscriber.must("check s"), "0");
    assert_eq!(publisher.must("others p"), "1");
    assert_eq!(subscriber.must("others s"), "1");
    let [received, missed] = subscriber.numbers("drain s");
    assert!(received > 0 && missed > 0, "{received} + {missed}");
    subscriber.kill();
    wait_until_held(&mut publisher, 0, one);
    assert_eq!(publisher.must("others p"), "0");
}

#[test]
fn processes_that_see_one_folder_at_different_paths_meet() {
    let test = "processes_that_see_one_folder_at_different_paths_meet";
    let folder = Folder::new(0o700);
    let [root, elsewhere] = ["root", "elsewhere"].map(|name| {
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o700))
            .unwrap();
        folder.join(name)
    });
    // What the other one knows as the root is something else here.
    let set_up = [format!("bind={root}:{elsewhere}"), format!("tmpfs={root},size=1m,mode=700")];
    let Some(mut subscriber) = apart(test, &[&set_up[0], &set_up[1]]) else { return };
    let mut publisher = start(&[]).unwrap();
    publisher.must(format!("publisher p {root}"));
    subscriber.must(format!("subscriber s {elsewhere}"));
    publisher.must("send p 3");
    assert_eq!(subscriber.must("drain s"), "3 0");
    // At the same path they do not meet.
    subscriber.must(format!("subscriber other {root}"));
    publisher.must("send p 3");
    assert_eq!(subscriber.must("drain other"), "0 0");
    assert_eq!(subscriber.must("others s"), "1");
    assert_eq!(subscriber.must("others other"), "0");
    // The last one to leave removes the file, under its own path for it.
    drop(publisher);
    assert!(std::fs::exists(path_of(&root)).unwrap());
    subscriber.must("drop s");
    assert!(!std::fs::exists(path_of(&root)).unwrap());
}
