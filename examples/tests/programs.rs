//! The examples, run as a user runs them. They are built by `cargo test -p shm-comm-examples`.
//!
//! Each test has a root folder of its own, in which nothing may be left at its end.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing here takes this long, not on a busy machine either.
const DEADLINE: Duration = Duration::from_secs(60);

fn root() -> TempDir {
    let mut root = tempfile::Builder::new();
    root.prefix("shm-comm-test-").permissions(Permissions::from_mode(0o700)); // whatever the umask
    root.tempdir_in("/dev/shm").unwrap()
}

fn assert_empty(root: &TempDir) {
    let left: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Where cargo has put an example: `target/<profile>/examples`, this test being in `deps` beside it.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is not built: use `cargo test` without `--test`", path.display());
    path
}

/// An example that runs. Dropped, it is killed.
struct Running {
    process: Child,
    /// Its lines on stdout, as they come.
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    fn start(name: &str, root: impl AsRef<Path>, arguments: &[&str]) -> Running {
        let mut process = Command::new(example(name))
            .args(arguments)
            .env("SHM_COMM_ROOT", root.as_ref())
            // What it keeps elsewhere is to be gone at its end, too.
            .env("TMPDIR", root.as_ref())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let errors = lines_of(process.stderr.take().unwrap());
        Running { process, lines, errors }
    }

    fn next_line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("it prints a line")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not come to an end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its status, and what is left of its stdout and stderr.
    fn finish(mut self) -> (Option<i32>, Vec<String>, String) {
        let status = self.wait();
        let errors: Vec<String> = self.errors.iter().collect();
        (status.code(), self.lines.iter().collect(), errors.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The numbers of a line of results, whose form is as promised.
#[track_caller]
fn numbers<const N: usize>(line: &str, names: [&str; N]) -> [u64; N] {
    let mut words = line.split(' ');
    let numbers = names.map(|name| {
        let word = words.next().unwrap_or_default();
        let value = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {line:?}"))
    });
    assert_eq!(words.next(), None, "in {line:?}");
    numbers
}

/// Those of a phase of a replay.
#[track_caller]
fn results(line: &str, phase: &str) -> [u64; 6] {
    let rest = line.strip_prefix(&format!("phase={phase} "));
    let rest = rest.unwrap_or_else(|| panic!("{phase} in {line:?}"));
    numbers(rest, ["sent", "received", "missed", "wrong", "p50_ns", "p99_ns"])
}

// ── replay_trajectory ────────────────────────────────────────────────────────────────────────────

#[test]
fn as_fast_as_possible_every_pose_is_right_or_counted_as_missed() {
    let root = root();
    let replay = Running::start("replay_trajectory", &root, &["--rate", "max", "--count", "20000"]);
    let (status, lines, errors) = replay.finish();
    assert_eq!(status, Some(0), "{errors}");
    let [line] = &lines[..] else { panic!("one line expected: {lines:?}") };
    let [sent, received, missed, wrong, p50, p99] = results(line, "max");
    assert_eq!((sent, received + missed, wrong), (20000, 20000, 0));
    assert!(received > 0 && p50 <= p99);
    assert_empty(&root);
}

#[test]
fn both_phases_of_a_short_replay_add_up() {
    let root = root();
    let (status, lines, errors) =
        Running::start("replay_trajectory", &root, &["--count", "30"]).finish();
    assert_eq!(status, Some(0), "{errors}");
    let [recorded, max] = &lines[..] else { panic!("two lines expected: {lines:?}") };
    for (line, phase) in [(recorded, "recorded"), (max, "max")] {
        let [sent, received, missed, wrong, ..] = results(line, phase);
        assert_eq!((sent, received + missed, wrong), (30, 30, 0));
    }
    assert_empty(&root);
}

#[test]
fn another_file_is_replayed_round_and_round_at_a_given_rate() {
    let root = root();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two poses.txt");
    std::fs::write(&file, "1 -0 0 0 0 0 0 1\n2 1e-300 2 3 0 0 0 -1\n").unwrap();
    let arguments = [file.to_str().unwrap(), "--rate", "500", "--count", "25"];
    let (status, lines, errors) = Running::start("replay_trajectory", &root, &arguments).finish();
    assert_eq!(status, Some(0), "{errors}");
    let [sent, received, missed, wrong, ..] = results(&lines[0], "500Hz");
    assert_eq!((sent, received + missed, wrong), (25, 25, 0));
    assert_empty(&root);
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let root = root();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trajectory.txt");
    std::fs::write(&file, "# timestamp tx ty tz qx qy qz qw\n1 0 0 0 0 0 0 1\n2 0 0 0\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&[file], "line 3: 8 columns expected (timestamp tx ty tz qx qy qz qw), found 4"),
        (&["no/such/file"], "no/such/file: No such file or directory"),
        (&["--rate", "-5"], "--rate is \"-5\", not recorded, max or 0.001 to 1000000"),
        (&["--rate", "1e300"], "--rate is \"1e300\", not recorded, max or 0.001 to 1000000"),
        (&["--rate", "1e-300"], "--rate is \"1e-300\", not recorded, max or 0.001 to 1000000"),
        (&["--rate", "NaN"], "--rate is \"NaN\", not recorded, max or 0.001 to 1000000"),
        (&["--count", "0"], "--count is \"0\", not a number from 1"),
        (&["--count"], "--count needs a value"),
        (&["--verbose"], "there is no option --verbose"),
        (&["a", "b"], "more than one file"),
    ];
    for (arguments, expected) in cases {
        let (status, lines, errors) =
            Running::start("replay_trajectory", &root, arguments).finish();
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(lines.is_empty(), "{lines:?}");
        assert!(errors.contains(expected), "{errors:?}");
    }
    assert_empty(&root);
}

#[test]
fn a_folder_that_is_not_there_is_made_for_this_user_alone() {
    let root = root();
    let folders = [root.path().join("not"), root.path().join("not/there")];
    let arguments = ["--rate", "max", "--count", "10"];
    let (status, _, errors) = Running::start("replay_trajectory", &folders[1], &arguments).finish();
    assert_eq!(status, Some(0), "{errors}");
    for folder in folders.iter().rev() {
        let mode = std::fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        std::fs::remove_dir(folder).expect("nothing is left in it");
    }
    assert_empty(&root);
}

#[test]
fn a_replay_ends_soon_after_its_subscriber() {
    let root = root();
    let replay = Running::start("replay_trajectory", &root, &["--rate", "100", "--count", "10000"]);
    let begun = replay.errors.recv_timeout(DEADLINE).unwrap();
    assert!(begun.starts_with("100Hz: "), "{begun}");
    let id = replay.process.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let subscriber = children.trim().parse().ok().and_then(Pid::from_raw).expect("one child");
    kill_process(subscriber, Signal::KILL).unwrap();
    let (status, lines, errors) = replay.finish();
    assert_eq!(status, Some(1));
    let expected = "error: the subscriber has ended too early: signal: 9 (SIGKILL)";
    assert!(errors.ends_with(expected), "{errors}");
    assert!(lines.is_empty(), "{lines:?}");
    assert_empty(&root);
}

#[test]
fn an_interrupted_replay_leaves_nothing() {
    let root = root();
    let replay = Running::start("replay_trajectory", &root, &["--rate", "recorded"]);
    let begun = replay.errors.recv_timeout(DEADLINE).unwrap();
    assert!(begun.starts_with("recorded: "), "{begun}");
    replay.signal(Signal::INT);
    let (status, lines, errors) = replay.finish();
    assert_eq!((status, &*errors), (Some(130), "interrupted"));
    assert!(lines.is_empty(), "{lines:?}");
    assert_empty(&root);
}

#[test]
fn the_subscriber_of_a_killed_replay_ends_and_tidies_up() {
    let root = root();
    let mut replay = Running::start("replay_trajectory", &root, &["--rate", "recorded"]);
    replay.errors.recv_timeout(DEADLINE).unwrap();
    replay.signal(Signal::KILL);
    assert_eq!(replay.wait().code(), None);
    // Its stderr ends when the subscriber, which has it too, does.
    assert!(replay.errors.iter().any(|line| line == "error: the publisher is gone"));
    assert_empty(&root);
}

// ── camera ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_byte_of_every_frame_is_right() {
    for (rate, frames) in [("60", "15"), ("max", "40")] {
        let root = root();
        let arguments = ["--frames", frames, "--rate", rate];
        let (status, lines, errors) = Running::start("camera", &root, &arguments).finish();
        assert_eq!(status, Some(0), "{errors}");
        let [line] = &lines[..] else { panic!("one line expected: {lines:?}") };
        let names = ["frames", "received", "missed", "wrong", "p50_us", "p99_us"];
        let [sent, received, missed, wrong, p50, p99] = numbers(line, names);
        assert_eq!((sent.to_string(), received + missed, wrong), (frames.to_owned(), sent, 0));
        assert!(received > 0 && p50 <= p99);
        assert_empty(&root);
    }
}

#[test]
fn an_interrupted_camera_leaves_nothing() {
    let root = root();
    let camera = Running::start("camera", &root, &[]);
    camera.errors.recv_timeout(DEADLINE).unwrap();
    camera.signal(Signal::INT);
    let (status, lines, errors) = camera.finish();
    assert_eq!((status, &*errors), (Some(130), "interrupted"));
    assert!(lines.is_empty(), "{lines:?}");
    assert_empty(&root);
}

#[test]
fn a_camera_that_cannot_be_is_refused() {
    let root = root();
    let cases: [(&[&str], &str); 5] = [
        (&["--frames", "0"], "--frames is \"0\", not a number from 1"),
        (&["--rate", "fast"], "--rate is \"fast\", not max or 0.001 to 1000000"),
        (&["--rate", "0"], "--rate is \"0\", not max or 0.001 to 1000000"),
        (&["--rate"], "--rate needs a value"),
        (&["--size", "4"], "there is no option --size"),
    ];
    for (arguments, expected) in cases {
        let (status, _, errors) = Running::start("camera", &root, arguments).finish();
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(errors.contains(expected), "{errors:?}");
    }
    assert_empty(&root);
}

// ── pose_publisher, pose_subscriber ──────────────────────────────────────────────────────────────

#[test]
fn publisher_and_subscriber_of_poses_meet_and_leave_in_any_order() {
    for interrupted_first in [0, 1] {
        let root = root();
        let subscriber = Running::start("pose_subscriber", &root, &[]);
        let publisher = Running::start("pose_publisher", &root, &[]);
        for _ in 0..3 {
            let line = subscriber.next_line();
            let numbers = line.strip_prefix("publisher ").expect(&line);
            let numbers = numbers.replace([',', ':', '(', ')'], " ").replace("missed", " ");
            let numbers: Vec<f64> =
                numbers.split_whitespace().map(|word| word.parse().unwrap()).collect();
            let [ring, _sequence, x, y, z, _missed] = numbers[..] else { panic!("{line}") };
            assert_eq!(ring, 0.0, "{line}");
            assert!((x.hypot(y) - 1.0).abs() < 0.01 && z == 0.0, "{line}");
        }
        let mut running = [subscriber, publisher];
        running.rotate_left(interrupted_first);
        for program in running {
            program.signal(Signal::INT);
            let (status, _, errors) = program.finish();
            assert_eq!((status, &*errors), (Some(0), ""));
        }
        assert_empty(&root);
    }
}

#[test]
fn a_subscriber_of_poses_ends_when_nobody_reads_what_it_prints() {
    let root = root();
    let publisher = Running::start("pose_publisher", &root, &[]);
    let mut subscriber = Running::start("pose_subscriber", &root, &[]);
    subscriber.next_line();
    subscriber.lines = mpsc::channel().1; // with the one before goes the pipe
    let (status, _, errors) = subscriber.finish();
    assert_eq!((status, &*errors), (Some(0), ""));
    drop(publisher);
}

#[test]
fn scans_of_any_length_are_watched_in_any_order_of_start() {
    for publisher_first in [true, false] {
        let root = root();
        let start = |role| Running::start("laser_scan", &root, &[role]);
        let first = start(if publisher_first { "publish" } else { "watch" });
        let second = start(if publisher_first { "watch" } else { "publish" });
        let watch = if publisher_first { &second } else { &first };
        let mut counts = Vec::new();
        for _ in 0..5 {
            let line = watch.next_line();
            let (_, rest) = line.split_once(": ").expect(&line);
            let (count, rest) = rest.split_once(" points, nearest ").expect(&line);
            counts.push(count.parse::<usize>().expect(&line));
            assert!(rest.starts_with("1.50 m at "), "{line}");
        }
        assert!(counts.iter().all(|count| [360, 450, 540, 630].contains(count)), "{counts:?}");
        assert!(counts.iter().any(|count| *count != counts[0]), "{counts:?}");
        for program in [first, second] {
            program.signal(Signal::INT);
            let (status, _, errors) = program.finish();
            assert_eq!((status, &*errors), (Some(0), ""));
        }
        assert_empty(&root);
    }
}

#[test]
fn the_last_configuration_is_applied_and_none_is_wrong() {
    let root = root();
    let folder = root.path().join("not/there");
    let (status, lines, errors) = Running::start("dynamic_config", &folder, &[]).finish();
    assert_eq!(status, Some(0), "{errors}");
    let [line] = &lines[..] else { panic!("one line expected: {lines:?}") };
    let [configs, applied, wrong] = numbers(line, ["configs", "applied", "wrong"]);
    assert!((configs, wrong) == (5, 0) && (1..=5).contains(&applied), "{line}");
    assert!(errors.contains("left arm, revision 5: 5 joints, "), "{errors}");
    std::fs::remove_dir(folder).expect("nothing is left in it");
}

#[test]
fn a_configuration_that_is_interrupted_or_killed_leaves_nothing() {
    for (signal, status, last_line) in [
        (Signal::INT, Some(130), "interrupted"),
        (Signal::KILL, None, "error: nobody configures this robot any more"),
    ] {
        let root = root();
        let mut program = Running::start("dynamic_config", &root, &[]);
        program.errors.recv_timeout(DEADLINE).unwrap();
        program.signal(signal);
        assert_eq!(program.wait().code(), status);
        // Its stderr ends when the robot's process, which has it too, does.
        assert_eq!(program.errors.iter().last().as_deref(), Some(last_line));
        assert_empty(&root);
    }
}

// ── work_queue ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_worker_is_killed_and_no_job_is_lost() {
    for (kill, jobs, duplicates) in [("early", "300", 0), ("late", "300", 1), ("late", "1", 1)] {
        let root = root();
        let arguments = ["--jobs", jobs, "--kill", kill];
        let (status, lines, errors) = Running::start("work_queue", &root, &arguments).finish();
        assert_eq!(status, Some(0), "{errors}");
        let [line] = &lines[..] else { panic!("one line expected: {lines:?}") };
        let names = ["jobs", "done", "lost", "redelivered", "duplicates"];
        let jobs = jobs.parse().unwrap();
        assert_eq!(numbers(line, names), [jobs, jobs, 0, 1, duplicates], "{kill}: {errors}");
        let killed = format!("a worker is killed while it has part {}", jobs / 2);
        assert!(errors.contains(&killed), "{errors}");
        assert_empty(&root);
    }
}

#[test]
fn interrupted_work_leaves_nothing() {
    let root = root();
    let work = Running::start("work_queue", &root, &["--jobs", "10000000"]);
    work.errors.recv_timeout(DEADLINE).unwrap();
    work.signal(Signal::INT);
    let (status, lines, errors) = work.finish();
    assert_eq!(status, Some(130), "{errors}");
    assert!(errors.ends_with("interrupted"), "{errors}");
    assert!(lines.is_empty(), "{lines:?}");
    assert_empty(&root);
}

#[test]
fn the_workers_of_a_killed_pusher_do_what_is_left_and_tidy_up() {
    let root = root();
    let mut work = Running::start("work_queue", &root, &["--jobs", "10000000"]);
    work.errors.recv_timeout(DEADLINE).unwrap();
    work.signal(Signal::KILL);
    assert_eq!(work.wait().code(), None);
    // Its stderr ends when the last of the workers, which have it too, does.
    let errors: Vec<String> = work.errors.iter().collect();
    assert!(errors.iter().any(|line| line == "error: who pushed is gone"), "{errors:?}");
    assert_empty(&root);
}

// ── arm_service, add_service ─────────────────────────────────────────────────────────────────────

#[test]
fn every_call_of_an_arm_ends_as_it_should_though_its_server_is_killed() {
    let root = root();
    let (status, lines, errors) = Running::start("arm_service", &root, &[]).finish();
    assert_eq!(status, Some(0), "{errors}");
    let [line] = &lines[..] else { panic!("one line expected: {lines:?}") };
    let names = ["calls", "reached", "refused", "declined", "no_server", "server_lost", "wrong"];
    assert_eq!(numbers(line, names), [11, 6, 1, 1, 2, 1, 0], "{errors}");
    assert_empty(&root);
}

#[test]
fn an_arm_that_is_interrupted_or_killed_leaves_nothing() {
    for (signal, status, last_line) in
        [(Signal::INT, Some(130), "interrupted"), (Signal::KILL, None, "error: the client is gone")]
    {
        let root = root();
        let mut arm = Running::start("arm_service", &root, &[]);
        // From the second line on there is a server.
        for line in ["too early: ", "home: "] {
            let said = arm.errors.recv_timeout(DEADLINE).unwrap();
            assert!(said.starts_with(line), "{said}");
        }
        arm.signal(signal);
        assert_eq!(arm.wait().code(), status);
        // Its stderr ends when the server, which has it too, does.
        let errors: Vec<String> = arm.errors.iter().collect();
        assert!(errors.iter().any(|line| line == last_line), "{errors:?}");
        assert_empty(&root);
    }
}

#[test]
fn the_smallest_service_adds() {
    let root = root();
    let (status, lines, errors) = Running::start("add_service", &root, &[]).finish();
    assert_eq!((status, &*errors), (Some(0), ""));
    assert_eq!(lines, ["1 + 40 = 41", "2 + 40 = 42", "3 + 40 = 43"]);
    assert_empty(&root);
}

#[test]
fn work_and_arms_that_cannot_be_are_refused() {
    let root = root();
    let cases: [(&str, &[&str], &str); 6] = [
        ("work_queue", &["--jobs", "0"], "--jobs is \"0\", not a number from 1 to 10000000"),
        ("work_queue", &["--jobs"], "--jobs needs a value"),
        ("work_queue", &["--kill", "never"], "--kill is \"never\", not early or late"),
        ("work_queue", &["--workers", "4"], "there is no option --workers"),
        ("arm_service", &["--joints"], "there is no option --joints"),
        ("arm_service", &["--as-server"], "there is no option --as-server"),
    ];
    for (name, arguments, expected) in cases {
        let (status, lines, errors) = Running::start(name, &root, arguments).finish();
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(lines.is_empty(), "{lines:?}");
        assert!(errors.contains(expected) && errors.contains("usage: "), "{errors:?}");
    }
    for name in ["work_queue", "arm_service"] {
        let (status, lines, errors) = Running::start(name, &root, &["--help"]).finish();
        assert_eq!((status, &*errors), (Some(0), ""));
        assert!(lines.iter().any(|line| line.starts_with("usage: ")), "{lines:?}");
    }
    assert_empty(&root);
}

// ── schema_tour ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_tour_of_schemas_shows_tables_a_mismatch_and_an_old_reader() {
    let root = root();
    let (status, lines, errors) = Running::start("schema_tour", &root, &[]).finish();
    assert_eq!((status, &*errors), (Some(0), ""));
    let text = lines.join("\n");
    for expected in [
        "PoseStamped: ",
        "JointState<7>: ",
        "mission pubsub: Mission{id@0:u64,name@8:string<28>,stops@40:vec<[f32;2];8>,",
        "channel \"robot/pose\" carries `Pose`, not this program's `Pose`:\n  \
         vx: channel f64 at 16, you f32 at 16\n",
        "mode: value 3 (Dock) unknown to you",
        "read in place: Battery { volts: 24.5, amperes: -1.5 }",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert_empty(&root);
}

#[test]
fn a_tour_of_schemas_that_nobody_reads_to_its_end_is_no_error() {
    let root = root();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut tour = Command::new(example("schema_tour"));
    let output = tour.env("SHM_COMM_ROOT", root.path()).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    assert_empty(&root);
}

#[test]
fn arguments_that_are_not_understood_are_refused_with_those_that_are() {
    let root = root();
    let cases: [(&str, &[&str], &str); 3] = [
        ("laser_scan", &[], "usage: laser_scan publish|watch"),
        ("laser_scan", &["subscribe"], "usage: laser_scan publish|watch"),
        ("dynamic_config", &["--help"], "usage: dynamic_config"),
    ];
    for (name, arguments, expected) in cases {
        let (status, _, errors) = Running::start(name, &root, arguments).finish();
        assert_eq!((status, &*errors), (Some(2), expected), "{name} {arguments:?}");
    }
    assert_empty(&root);
}
