//! Channels of a group: its members use them whoever they are, and nobody else does.

use shm_comm_tests::isolation::{Folder, Isolated, fingerprint, has_users, owner_and_mode};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_isolated");
const LAPS: u64 = 300;
const GROUP: u32 = 23450;
const ANN: u32 = 23451;
const BOB: u32 = 23452;
/// Her own group is another one.
const CAROL: u32 = 23453;
/// Not a member.
const DAVE: u32 = 23454;

fn start(set_up: &[&str]) -> Isolated {
    Isolated::start(BINARY, set_up).unwrap()
}

fn user(id: u32) -> Isolated {
    let ids = match id {
        ANN | BOB => format!("user={id}:{GROUP}"),
        CAROL => format!("user={id}:{id}:{GROUP}"),
        _ => format!("user={id}:{id}"),
    };
    start(&[&ids])
}

fn publisher(root: &str) -> String {
    format!("publisher p {root} access=group")
}

fn subscriber(root: &str) -> String {
    format!("subscriber s {root} access=group")
}

/// As an administrator does for a group that is not everybody's first one.
fn make_for_the_group(root: &str) {
    std::fs::create_dir(root).unwrap();
    std::os::unix::fs::chown(root, None, Some(GROUP)).unwrap();
    let mode = std::fs::Permissions::from_mode(0o2770);
    std::fs::set_permissions(root, mode).unwrap();
}

fn file(root: &str) -> String {
    format!("{root}/apart.pubsub")
}

fn group_of(path: &str) -> u32 {
    std::fs::symlink_metadata(path).unwrap().gid()
}

/// All that one sends the other gets, or counts.
fn exchange(publisher: &mut Isolated, subscriber: &mut Isolated) {
    subscriber.must("drain s");
    publisher.must(format!("send p {LAPS}"));
    let [received, missed] = subscriber.numbers("drain s");
    assert!(received > 0 && received + missed == LAPS, "{received} + {missed}");
}

#[test]
fn folder_and_file_are_the_groups_whatever_the_umask() {
    if !has_users("folder_and_file_are_the_groups_whatever_the_umask", BINARY) {
        return;
    }
    for umask in ["000", "002", "022", "077", "277", "777"] {
        let folder = Folder::new(0o1777);
        let root = folder.join("root");
        let mut ann = start(&[&format!("user={ANN}:{GROUP}"), &format!("umask={umask}")]);
        ann.must(subscriber(&root));
        assert_eq!(owner_and_mode(&root), (ANN, 0o2770), "the folder, with umask {umask}");
        assert_eq!(owner_and_mode(&file(&root)), (ANN, 0o660), "the file, with umask {umask}");
        assert_eq!([group_of(&root), group_of(&file(&root))], [GROUP; 2]);
        let mut bob = user(BOB);
        bob.must(publisher(&root));
        exchange(&mut bob, &mut ann);
    }
}

#[test]
fn members_of_the_group_meet_whoever_comes_first_and_whoever_leaves_last() {
    if !has_users("members_of_the_group_meet_whoever_comes_first_and_whoever_leaves_last", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let root = folder.join("root");
    make_for_the_group(&root);
    let mut members = [ANN, BOB, CAROL].map(|id| (id, user(id)));
    for first in 0..3 {
        members.rotate_left(first);
        let [(owner, one), (_, two), (_, three)] = &mut members;
        one.must(subscriber(&root));
        two.must(publisher(&root));
        three.must(subscriber(&root));
        // Made by each in turn.
        assert_eq!(owner_and_mode(&root), (0, 0o2770));
        assert_eq!(owner_and_mode(&file(&root)), (*owner, 0o660));
        assert_eq!([group_of(&root), group_of(&file(&root))], [GROUP; 2]);
        exchange(two, one);
        exchange(two, three);
        one.must("drop s");
        two.must("drop p");
        // The last one does not own the file, and removes it.
        three.must("drop s");
        assert_eq!(three.must(format!("list {root}")), "0");
    }
}

#[test]
fn what_a_dead_member_held_and_wrote_is_the_others() {
    if !has_users("what_a_dead_member_held_and_wrote_is_the_others", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let root = folder.join("root");
    make_for_the_group(&root);
    let (mut ann, mut bob, mut carol) = (user(ANN), user(BOB), user(CAROL));
    assert_eq!(ann.must(format!("{} depth=8", publisher(&root))), "0 1");
    bob.must(subscriber(&root));
    ann.must("send p 1");
    bob.must("hold s");
    let skipped = |peer: &mut Isolated| {
        std::thread::sleep(Duration::from_millis(20));
        let [before] = peer.numbers("skipped p");
        peer.must("send p 1024");
        let [after] = peer.numbers("skipped p");
        after - before
    };
    skipped(&mut ann);
    assert!(skipped(&mut ann) > 0, "it is not held");
    bob.kill();
    assert_eq!(ann.must("others p"), "0");
    let end = Instant::now() + Duration::from_secs(20);
    while skipped(&mut ann) > 0 {
        assert!(Instant::now() < end, "the slot of the dead one is lost");
    }
    // Another member takes over her ring, and the file when nobody is left.
    carol.must(subscriber(&root));
    ann.kill();
    assert_eq!(carol.must("others s"), "0");
    let mut bob = user(BOB);
    assert_eq!(bob.must(publisher(&root)), "0 2");
    exchange(&mut bob, &mut carol);
    bob.kill();
    carol.kill();
    assert_eq!(owner_and_mode(&file(&root)).0, ANN);
    let (mut bob, mut carol) = (user(BOB), user(CAROL));
    assert_eq!(bob.must(publisher(&root)), "0 1");
    assert_eq!(owner_and_mode(&file(&root)).0, BOB);
    carol.must(subscriber(&root));
    exchange(&mut bob, &mut carol);
}

#[test]
fn a_channel_of_a_group_is_closed_to_others() {
    if !has_users("a_channel_of_a_group_is_closed_to_others", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let [root, mine] = ["root", "mine"].map(|name| folder.join(name));
    let (mut ann, mut bob, mut dave) = (user(ANN), user(BOB), user(DAVE));
    ann.must(publisher(&root));
    bob.must(subscriber(&root));
    dave.must(format!("create {mine}"));
    let segment = file(&root);
    let before = [&root, &segment].map(|path| fingerprint(path));
    let attempts = [
        format!("list {root}"),
        format!("read {segment}"),
        format!("write {segment}"),
        format!("truncate {segment}"),
        format!("chmod 666 {segment}"),
        format!("remove {segment}"),
        format!("rename {segment} {root}/other.pubsub"),
        format!("rename {segment} {mine}"),
        format!("rename {mine} {segment}"),
        format!("hardlink {segment} {mine}-too"),
        format!("create {root}/other.pubsub"),
        format!("mkdir {root}/other.pubsub"),
        format!("symlink {mine} {root}/other.pubsub"),
        format!("hardlink {mine} {root}/other.pubsub"),
        format!("chmod 2777 {root}"),
        format!("rename {root} {root}-away"),
        format!("rename {mine} {root}"),
        format!("rmdir {root}"),
        format!("symlink {mine} {root}"),
    ];
    for attempt in attempts {
        assert!(dave.ask(&attempt).is_err(), "{attempt}");
    }
    for request in [publisher(&root), subscriber(&root)] {
        let error = dave.ask(request).unwrap_err();
        let whose = [ANN, GROUP].map(|id| error.contains(&id.to_string()));
        assert!(error.contains(&root) && whose.contains(&true), "{error}");
    }
    // Without the option it is a folder that others may write to, for members and others.
    for peer in [&mut ann, &mut bob, &mut dave] {
        let error = peer.ask(format!("publisher h {root}")).unwrap_err();
        assert!(error.starts_with("UnsafeRoot: ") && error.contains(&root), "{error}");
    }
    assert_eq!([&root, &segment].map(|path| fingerprint(path)), before);
    exchange(&mut ann, &mut bob);
}

#[test]
fn what_others_have_put_in_place_of_a_groups_root_is_refused_and_not_touched() {
    if !has_users(
        "what_others_have_put_in_place_of_a_groups_root_is_refused_and_not_touched",
        BINARY,
    ) {
        return;
    }
    let squats: [&[&str]; 9] = [
        &["mkdir R"],
        &["mkdir R", "chmod 777 R"],
        &["mkdir R", "chmod 2770 R"],
        &["mkdir R", "chmod 2777 R"],
        &["create R", "chmod 666 R"],
        &["mkdir M", "symlink M R"],
        &["mkdir M", "chmod 2777 M", "symlink M R"],
        &["symlink N R"],
        // A folder of the group, for something else.
        &["symlink A R"],
    ];
    for squat in squats {
        let folder = Folder::new(0o1777);
        let [root, mine, nothing, anns] =
            ["root", "mine", "nothing", "anns"].map(|n| folder.join(n));
        let (mut ann, mut bob, mut dave) = (user(ANN), user(BOB), user(DAVE));
        ann.must(format!("mkdir {anns}"));
        ann.must(format!("chmod 2770 {anns}"));
        for step in squat {
            let words = step.split(' ').map(|word| match word {
                "R" => &root,
                "M" => &mine,
                "N" => &nothing,
                "A" => &anns,
                word => word,
            });
            dave.must(words.collect::<Vec<_>>().join(" "));
        }
        let things = || {
            let there = [&root, &mine, &nothing, &anns]
                .map(|path| std::fs::symlink_metadata(path).is_ok().then(|| fingerprint(path)));
            let inside = [&root, &mine, &anns]
                .map(|path| std::fs::read_dir(path).map_or(0, Iterator::count));
            (there, inside)
        };
        let before = things();
        for peer in [&mut ann, &mut bob] {
            for request in [publisher(&root), subscriber(&root)] {
                let error = peer.ask(request).unwrap_err();
                assert!(error.starts_with("UnsafeRoot: ") && error.contains(&root), "{error}");
                assert_eq!(things(), before, "touched: {squat:?}");
            }
        }
    }
}

/// Carol wants to share with her first group. Ann shares another one with her.
#[test]
fn a_folder_of_another_group_than_the_first_is_not_believed_from_just_anybody() {
    if !has_users(
        "a_folder_of_another_group_than_the_first_is_not_believed_from_just_anybody",
        BINARY,
    ) {
        return;
    }
    let folder = Folder::new(0o1777);
    let root = folder.join("root");
    let (mut ann, mut bob, mut carol) = (user(ANN), user(BOB), user(CAROL));
    ann.must(format!("mkdir {root}"));
    ann.must(format!("chmod 2770 {root}"));
    let before = fingerprint(&root);
    for request in [publisher(&root), subscriber(&root)] {
        let error = carol.ask(request).unwrap_err();
        assert!(
            error.starts_with("UnsafeRoot: ") && error.contains("not your first group"),
            "{error}"
        );
    }
    assert_eq!(fingerprint(&root), before);
    // Whose first group it is may.
    bob.must(subscriber(&root));
    // Where only an administrator can make folders it is as he has made it.
    let closed = Folder::new(0o755);
    let root = closed.join("root");
    make_for_the_group(&root);
    std::os::unix::fs::chown(&root, Some(ANN), None).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o2770)).unwrap();
    carol.must(subscriber(&root));
}

/// A member who is careless with a mode does not open the channel to all.
#[test]
fn what_everybody_may_write_to_is_refused() {
    if !has_users("what_everybody_may_write_to_is_refused", BINARY) {
        return;
    }
    let folder = Folder::new(0o1777);
    let root = folder.join("root");
    let (mut ann, mut bob) = (user(ANN), user(BOB));
    ann.must(publisher(&root));
    let mut refused = |reason: &str| {
        let error = bob.ask(subscriber(&root)).unwrap_err();
        assert!(error.contains(&root) && error.contains(reason), "{error}");
    };
    ann.must(format!("chmod 2777 {root}"));
    refused("UnsafeRoot: ");
    ann.must(format!("chmod 2770 {root}"));
    ann.must(format!("chmod 666 {}", file(&root)));
    refused("may write to it");
    ann.must(format!("chmod 660 {}", file(&root)));
    bob.must(subscriber(&root));
    exchange(&mut ann, &mut bob);
}
