//! What becomes of handles in a forked child, and without their descriptors.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a role of the program, and looks that nothing is left.
fn run(role: &str) {
    let private = std::fs::Permissions::from_mode(0o700);
    let root = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_inherited"))
        .arg(role)
        .arg(root.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{role} does not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(status.success(), "{role}: {status}");
    let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().collect();
    assert!(left.is_empty(), "{role} leaves {left:?}");
}

#[test]
fn in_a_forked_child_every_call_is_an_error_and_every_drop_harmless() {
    run("use");
}

#[test]
fn so_it_is_after_a_clone_that_the_c_library_does_not_see() {
    run("use-after-clone");
}

#[test]
fn a_forked_child_can_open_handles_of_its_own() {
    run("open");
}

#[test]
fn a_forked_child_does_not_keep_the_handles_of_its_dead_parent_alive() {
    run("outlive");
}

#[test]
fn a_fork_in_the_middle_of_opening_and_closing_does_no_harm() {
    run("storm");
}

#[test]
fn who_closes_all_descriptors_is_told_and_its_places_are_not_given_away() {
    run("close");
}

#[test]
fn a_fork_at_the_first_use_of_the_library_does_no_harm() {
    run("first");
}
