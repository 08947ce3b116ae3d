//! The real program, and a real robot in another process for it to look at.
//!
//! Each test has a folder of channels of its own.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shm_comm::{
    Access, Channel, Pattern, Publisher, Puller, Pusher, Replier, Requester, Subscriber,
};

/// What the robot has, by name.
const CHANNELS: [&str; 7] =
    ["arm/config", "arm/loads", "arm/plan", "arm/state", "arm/tasks", "lidar/scan", "robot/pose"];

/// Nothing here takes this long, not on a busy machine either.
const DEADLINE: Duration = Duration::from_secs(60);

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        let private = Permissions::from_mode(0o700); // whatever the umask
        let mut root = tempfile::Builder::new();
        Root(root.prefix("shm-comm-test-").permissions(private).tempdir_in("/dev/shm").unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn channel(&self, name: &str) -> Channel {
        Channel::new(name).root(self.path())
    }
    /// Of a channel of the robot.
    fn file(&self, name: &str) -> PathBuf {
        let pattern = match name {
            "arm/tasks" => Pattern::Queue,
            "arm/plan" => Pattern::Service,
            _ => Pattern::PubSub,
        };
        self.file_of(name, pattern)
    }
    fn file_of(&self, name: &str, pattern: Pattern) -> PathBuf {
        self.path().join(format!("{}.{pattern}", name.replace('/', "%2F")))
    }
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shm-comm"));
        command.args(args).env("SHM_COMM_ROOT", self.path()).stdin(Stdio::null());
        command
    }
    /// Runs it to its end.
    #[track_caller]
    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let status = running.wait();
        let text = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        Output { status, out: text(&running.lines), err: text(&running.errors) }
    }
    /// What it prints, if all goes well.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert_eq!(output.err, "", "{args:?}");
        output.out
    }
    #[track_caller]
    fn json(&self, args: &[&str]) -> Vec<Value> {
        self.ok(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
    /// What it says, and its exit status, if it goes wrong.
    #[track_caller]
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}: {output:?}");
        (output.status.code().unwrap(), output.err)
    }
    fn robot(&self, args: &[&str]) -> Running {
        let test = std::env::current_exe().unwrap();
        let robot = test.parent().and_then(Path::parent).unwrap().join("examples/robot");
        assert!(
            robot.is_file(),
            "{} is not built: use `cargo test` without `--test`",
            robot.display()
        );
        let mut command = Command::new(robot);
        command.args(args).env("SHM_COMM_ROOT", self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let robot = Running::start(&mut command);
        assert_eq!(robot.line(), "ready");
        robot
    }
    /// A robot that has said all it has to say.
    fn quiet_robot(&self) -> Running {
        let robot = self.robot(&["1", "3"]);
        assert_eq!(robot.line(), "done");
        robot
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.path()).unwrap().count()
    }
}

#[derive(Debug)]
struct Output {
    status: ExitStatus,
    out: String,
    err: String,
}

/// A program that runs. Dropped, it is killed.
struct Running {
    process: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut process = command.spawn().unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let errors = lines_of(process.stderr.take().unwrap());
        Running { process, lines, errors }
    }
    #[track_caller]
    fn line(&self) -> String {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(error) => panic!("{error}: {:?}", self.errors.try_iter().collect::<Vec<_>>()),
        }
    }
    #[track_caller]
    fn error(&self) -> String {
        self.errors.recv_timeout(DEADLINE).unwrap()
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
    fn kill(mut self) {
        self.process.kill().unwrap();
        assert_eq!(self.wait().signal(), Some(libc::SIGKILL));
    }
    /// Closes its standard input.
    fn end(mut self) {
        self.process.stdin.take();
        assert!(self.wait().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn ls_shows_what_there_is() {
    let root = Root::new();
    assert_eq!(root.ok(&["ls"]), format!("no channels in {}\n", root.path().display()));
    assert_eq!(root.ok(&["ls", "--json"]), "");
    let robot = root.robot(&[]);
    let rows = root.json(&["ls", "--json"]);
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, CHANNELS);
    assert_eq!(rows[0]["type"], "msgpack(Config)");
    let (plan, tasks, pose) = (&rows[2], &rows[4], &rows[6]);
    assert_eq!((&pose["pattern"], &pose["type"]), (&json!("pubsub"), &json!("Pose")));
    assert_eq!((&pose["publishers"], &pose["subscribers"]), (&json!(1), &json!(0)));
    assert_eq!((&pose["dead_publishers"], &pose["stale"]), (&json!(0), &json!(false)));
    assert!(pose["rate_hz"].as_f64().unwrap() > 0.0, "{pose}");
    assert!(pose["memory_bytes"].as_u64().unwrap() > 8 << 10, "{pose}");
    assert_eq!((&pose["queued"], &pose["dead_letters"]), (&json!(null), &json!(null)));
    assert_eq!((&tasks["pattern"], &tasks["type"]), (&json!("queue"), &json!("Task")));
    assert_eq!((&tasks["publishers"], &tasks["subscribers"]), (&json!(1), &json!(1)));
    assert!(tasks["queued"].as_u64().unwrap() <= 2, "{tasks}");
    assert_eq!((&tasks["dead_letters"], &tasks["waiting"]), (&json!(0), &json!(false)));
    assert!(tasks["rate_hz"].as_f64().unwrap() > 0.0, "{tasks}");
    assert_eq!((&plan["pattern"], &plan["type"]), (&json!("service"), &json!("Pose -> [f64; 3]")));
    assert!(plan["rate_hz"].as_f64().unwrap() > 0.0, "{plan}");
    assert!(plan["queued"].as_u64().unwrap() + plan["held"].as_u64().unwrap() <= 1, "{plan}");
    // For people, at once.
    let text = root.ok(&["ls", "--interval", "0"]);
    let words: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words[0],
        [
            "NAME",
            "PATTERN",
            "TYPE",
            "PUBLISHERS",
            "SUBSCRIBERS",
            "QUEUED",
            "HELD",
            "RATE",
            "MEMORY"
        ]
    );
    assert_eq!(words[7][..8], ["robot/pose", "pubsub", "Pose", "1", "0", "-", "-", "-"]);
    assert_eq!(words[5][..5], ["arm/tasks", "queue", "Task", "1", "1"]);
    // The option is as good as the environment, before the command and after it.
    let other = Root::new();
    let path = root.path().to_str().unwrap();
    assert_eq!(other.json(&["ls", "--json", "--root", path]).len(), 7);
    assert_eq!(other.json(&["--root", path, "--json", "ls", "--interval", "0"]).len(), 7);
    robot.kill();
    let rows = root.json(&["ls", "--json"]);
    for (row, stale) in rows.iter().zip([true, true, true, true, false, true, true]) {
        assert_eq!((&row["stale"], &row["waiting"]), (&json!(stale), &json!(!stale)), "{row}");
        assert_eq!((&row["dead_publishers"], &row["rate_hz"]), (&json!(1), &json!(null)), "{row}");
    }
    assert_eq!(rows[4]["dead_subscribers"], 1);
    let text = root.ok(&["ls", "--interval", "0"]);
    let tasks = text.lines().find(|line| line.starts_with("arm/tasks")).unwrap();
    assert!(tasks.ends_with("waiting"), "{text}");
}

#[test]
fn info_shows_fields_geometry_and_who_is_there() {
    let root = Root::new();
    let robot = root.quiet_robot();
    let mut subscriber =
        Subscriber::<shm_comm_schemas::Pose>::new(root.channel("robot/pose")).unwrap();
    let sample = subscriber.latest().unwrap().unwrap();
    let text = root.ok(&["info", "robot/pose"]);
    let hash = format!("{:#018x}", shm_comm::Schema::of::<shm_comm_schemas::Pose>().hash());
    for line in [
        "robot/pose: pubsub of `Pose`",
        "  message      56 bytes, aligned to 8",
        "  publishers   1 of 8",
        "  subscribers  1 of 64",
        &format!("Pose: 56 bytes, aligned to 8, layout hash {hash}"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("position"), "{text}");
    let info = &root.json(&["info", "robot/pose", "--json"])[0];
    assert_eq!(info["layout_hash"], hash);
    assert_eq!(info["layout"], shm_comm::Schema::of::<shm_comm_schemas::Pose>().canonical());
    let publisher = json!([{"number": 0, "pid": robot.process.id(), "alive": true, "generation": 1,
        "published": 3, "skipped": 0}]);
    assert_eq!(info["publishers"], publisher);
    let subscriber_info = json!([{"number": 0, "pid": std::process::id(), "alive": true,
        "listens": true, "sleeping": false, "held": 1, "max_held": 4}]);
    assert_eq!(info["subscribers"], subscriber_info);
    drop(sample);
    robot.kill();
    let text = root.ok(&["info", "robot/pose"]);
    assert!(text.contains("  publishers   0 of 8\n"), "{text}");
    let dead = text.lines().find(|line| line.starts_with("0 ")).unwrap();
    assert_eq!(dead.split_whitespace().nth(2), Some("dead"), "{text}");
}

#[test]
fn echo_shows_every_kind_of_message() {
    let root = Root::new();
    let robot = root.quiet_robot();
    let echo = |channel: &str, more: &[&str]| {
        root.ok(&[&["echo", channel, "--oldest", "-n", "3"], more].concat())
    };
    let text = echo("arm/state", &[]);
    let expected = "\
--- 0
stamp: 0
joints:
  - angle: 0.5
    torque: 1.5
    limited: false
  - angle: -0.25
    torque: 0.0
    limited: true
  - angle: 0.0
    torque: -2.0
    limited: false
target: none
name: \"left arm\"
mode: Idle
faults: []
--- 1
";
    assert!(text.starts_with(expected), "{text}");
    let lines: Vec<Value> = echo("arm/state", &["--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1],
        json!({
            "stamp": 1,
            "joints": [
                {"angle": 0.5, "torque": 1.5, "limited": false},
                {"angle": -0.25, "torque": 0.0, "limited": true},
                {"angle": 1.0, "torque": -2.0, "limited": false},
            ],
            "target": null, "name": "left arm", "mode": "Fault", "faults": [7, 300],
        })
    );
    assert_eq!((&lines[2]["target"], &lines[2]["mode"]), (&json!(1.25), &json!("Moving")));

    // Trailing slices are shortened for people, and whole for programs.
    let text = root.ok(&["echo", "lidar/scan", "--latest"]);
    assert!(text.contains("ranges: [1.0, 1.25, 1.5, "), "{text}");
    assert!(text.ends_with(", … 344 more]\n"), "{text}");
    let scan = &root.json(&["echo", "lidar/scan", "--latest", "--json"])[0];
    assert_eq!(scan["ranges"].as_array().unwrap().len(), 360);
    assert_eq!((&scan["stamp"], &scan["ranges"][359]), (&json!(2), &json!(90.75)));

    // Encoded, with names and without.
    let config = &root.json(&["echo", "arm/config", "--latest", "--json"])[0];
    let expected = json!({"name": "arm 2", "gains": [1.0, 0.1, 0.01],
        "limits": {"elbow": [-2.5, 2.5], "wrist": [-1.0, 1.0]}, "comment": null});
    assert_eq!(*config, expected);
    let loads = &root.json(&["echo", "arm/loads", "--latest", "--json"])[0];
    assert_eq!(*loads, json!({"value": [["elbow", 0.5], ["wrist", 0.25]]}));
    robot.end();
    assert_eq!(root.files(), 0);
}

#[test]
fn echo_shows_hex_where_the_bytes_say_nothing() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Plan(u8, Vec<u8>);
    let root = Root::new();
    let channel = root.channel("plan");
    let mut publisher = Publisher::<shm_comm::Postcard<Plan>>::new(&channel).unwrap();
    publisher.send(&Plan(7, vec![1, 255])).unwrap();
    let plan = &root.json(&["echo", "plan", "--latest", "--json"])[0];
    assert_eq!(*plan, json!({"codec": "postcard", "type": "Plan", "hex": "070201ff"}));
    assert_eq!(root.ok(&["echo", "plan", "--latest"]), "--- 0\npostcard(Plan) 0x070201ff\n");
}

#[test]
fn fields_are_shown_by_themselves() {
    let root = Root::new();
    let _robot = root.quiet_robot();
    let field = |paths: &[&str]| {
        let options: Vec<&str> = paths.iter().flat_map(|path| ["--field", path]).collect();
        root.ok(&[&["echo", "arm/state", "--oldest", "-n", "2"], &options[..]].concat())
    };
    assert_eq!(field(&["joints[2].angle"]), "0.0\n1.0\n");
    assert_eq!(
        field(&["name", "mode"]),
        "name: \"left arm\", mode: Idle\nname: \"left arm\", mode: Fault\n"
    );
    let modes = root.json(&["echo", "arm/state", "--oldest", "-n", "2", "-f", "mode", "--json"]);
    assert_eq!(modes, [json!({"mode": "Idle"}), json!({"mode": "Fault"})]);
    let config = ["echo", "arm/config", "--latest", "--field", "limits.elbow[1]"];
    assert_eq!(root.ok(&config), "2.5\n");

    let (status, error) = root.fails(&["echo", "arm/state", "--field", "joints[0].angel"]);
    assert_eq!(status, 2);
    assert!(error.contains("`Joint` has no \"angel\""), "{error}");
    assert!(error.contains("is it `angle`?"), "{error}");
    // Also while nothing is published, and where only the message knows.
    let (status, error) = root.fails(&["echo", "arm/state", "--field", "joints[3]"]);
    assert!(status == 2 && error.contains("3 elements"), "{error}");
    let (status, error) =
        root.fails(&["echo", "arm/config", "--latest", "--field", "limits.Elbow"]);
    assert!(status == 2 && error.contains("is it `elbow`?"), "{error}");
}

#[test]
fn csv_has_a_column_for_every_number() {
    let root = Root::new();
    let _robot = root.quiet_robot();
    let csv = |channel: &str, more: &[&str]| {
        let text = root.ok(&[&["echo", channel, "--oldest", "-n", "3", "--csv"], more].concat());
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = csv("arm/state", &[]);
    assert_eq!(
        lines[0],
        "stamp,joints[0].angle,joints[0].torque,joints[0].limited,joints[1].angle,joints[1].torque,\
         joints[1].limited,joints[2].angle,joints[2].torque,joints[2].limited,target,name,mode,faults"
    );
    assert_eq!(
        lines[2],
        "1,0.5,1.5,false,-0.25,0.0,true,1.0,-2.0,false,,left arm,Fault,\"[7,300]\""
    );
    assert_eq!(lines.len(), 4);
    let lines = csv("robot/pose", &["--field", "position", "--meta"]);
    assert_eq!(
        lines[..2],
        [
            "_meta.publisher,_meta.generation,_meta.sequence,_meta.missed,position.x,position.y,position.z",
            "0,1,0,0,1.0,0.0,0.0"
        ]
    );
    let (status, _) = root.fails(&["echo", "robot/pose", "--csv", "--json"]);
    assert_eq!(status, 2);
}

#[test]
fn meta_says_which_message_it_is() {
    let root = Root::new();
    let _robot = root.quiet_robot();
    let pose = &root.json(&["echo", "robot/pose", "--latest", "--json", "--meta"])[0];
    let meta = json!({"publisher": 0, "generation": 1, "sequence": 2, "missed": 0});
    assert_eq!(pose["_meta"], meta);
    assert_eq!(pose["position"]["z"], 0.0);
}

#[test]
fn a_channel_that_is_not_there_has_similar_names() {
    let root = Root::new();
    let (status, error) = root.fails(&["echo", "robot/pos"]);
    assert_eq!(status, 3);
    let folder = root.path().display();
    let expected =
        format!("shm-comm: no channel \"robot/pos\" in {folder}\n  there are no channels there\n");
    assert_eq!(error, expected);
    let _robot = root.quiet_robot();
    for command in ["echo", "info", "hz"] {
        let (status, error) = root.fails(&[command, "robot/pos"]);
        assert_eq!(status, 3);
        assert!(error.ends_with("\n  similar: robot/pose\n"), "{error}");
    }
    let (status, error) = root.fails(&["echo", "zzz"]);
    assert_eq!(status, 3);
    assert!(error.contains("there are 7 others, see `shm-comm ls`"), "{error}");
    for wrong in ["", &"n".repeat(300)] {
        assert_eq!(root.fails(&["info", wrong]).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_publisher_that_is_killed_while_it_is_watched_is_followed_by_the_next() {
    let root = Root::new();
    let robot = root.robot(&["5"]);
    let mut command = root.command(&["echo", "arm/state", "--field", "stamp"]);
    let mut echo = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    for _ in 0..5 {
        let _: u64 = echo.line().parse().unwrap();
    }
    robot.kill();
    assert_eq!(
        echo.error(),
        "shm-comm: channel \"arm/state\" has no publisher now; waiting for one"
    );
    while echo.lines.try_recv().is_ok() {}
    let info = &root.json(&["info", "arm/state", "--json"])[0];
    assert_eq!((&info["stale"], &info["publishers"][0]["alive"]), (&json!(true), &json!(false)));
    // The next one finds a stale file, and makes a new one.
    let robot = root.robot(&["1", "3"]);
    assert_eq!([echo.line(), echo.line(), echo.line()], ["0", "1", "2"], "from the first message");
    robot.end();
    // Everybody has left, and it still waits.
    assert_eq!(echo.process.try_wait().unwrap(), None);
    assert_eq!(root.files(), 0);
    let _robot = root.robot(&["1", "1"]);
    assert_eq!(echo.line(), "0");
    echo.process.kill().unwrap();
    echo.wait();
}

#[test]
fn echo_ends_when_nobody_reads_it() {
    let root = Root::new();
    let _robot = root.robot(&["1"]);
    let mut command = root.command(&["echo", "robot/pose"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let errors = lines_of(process.stderr.take().unwrap());
    let (_, lines) = mpsc::channel();
    let status = Running { process, lines, errors }.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn what_takes_too_long_has_its_own_status() {
    let root = Root::new();
    let (status, error) = root.fails(&["wait", "robot/pose", "--timeout", "0.05"]);
    assert_eq!(status, 4);
    assert!(error.contains("channel \"robot/pose\" has 0 publishers and 0 subscribers"), "{error}");
    let _robot = root.quiet_robot();
    let (status, error) = root.fails(&["echo", "robot/pose", "--timeout", "0.05"]);
    assert_eq!(status, 4);
    assert!(error.contains("no message on channel \"robot/pose\""), "{error}");
}

#[test]
fn wait_ends_when_they_are_there() {
    let root = Root::new();
    let mut command = root.command(&["wait", "robot/pose", "--publishers", "2", "--json"]);
    let mut wait = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let _first = root.quiet_robot();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(wait.process.try_wait().unwrap(), None);
    let _second = root.quiet_robot();
    assert!(wait.wait().success());
    let report: Value = serde_json::from_str(&wait.line()).unwrap();
    assert_eq!((&report["name"], &report["publishers"]), (&json!("robot/pose"), &json!(2)));
    assert_eq!(root.ok(&["wait", "robot/pose"]), "");
    let (status, _) = root.fails(&["wait", "robot/pose", "--subscribers", "1", "--timeout", "0"]);
    assert_eq!(status, 4);
    let _subscriber =
        Subscriber::<shm_comm_schemas::Pose>::new(root.channel("robot/pose")).unwrap();
    assert_eq!(root.ok(&["wait", "robot/pose", "--subscribers", "1"]), "");
}

#[test]
fn hz_measures_what_the_publisher_does() {
    let root = Root::new();
    let _robot = root.robot(&["5"]);
    let lines = root.json(&["hz", "robot/pose", "--json", "--interval", "0.5", "-n", "2"]);
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"));
        // 200 a second, on a machine that may do much else meanwhile.
        assert!(number("rate_hz") > 1.0 && number("rate_hz") < 1000.0, "{line}");
        let bandwidth = number("rate_hz") * 56.0;
        assert!((number("bandwidth_bytes_per_s") - bandwidth).abs() < 1.0, "{line}");
        assert_eq!(number("lost"), 0.0, "{line}");
        // There are none where most messages came several at a look, because something else had the processor.
        if !line["interval_min_ns"].is_null() {
            assert!(number("interval_min_ns") <= number("interval_mean_ns"), "{line}");
            assert!(number("interval_mean_ns") <= number("interval_max_ns"), "{line}");
        }
    }
    let text = root.ok(&["hz", "robot/pose", "--interval", "0.2", "-n", "1", "--spin"]);
    assert!(text.lines().nth(1).unwrap().contains(" Hz "), "{text}");
    // One that is faster than this can look.
    let mut publisher = Publisher::<u64>::new(root.channel("fast")).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let fast = thread::spawn(move || {
        let mut i = 0;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            publisher.send(&i).unwrap();
            i += 1;
        }
    });
    let line = &root.json(&["hz", "fast", "--json", "--interval", "0.3", "-n", "1"])[0];
    stop.send(()).unwrap();
    fast.join().unwrap();
    let count = |key: &str| line[key].as_u64().unwrap();
    let rate = (count("messages") + count("lost")) as f64 / line["seconds"].as_f64().unwrap();
    assert!((line["rate_hz"].as_f64().unwrap() / rate - 1.0).abs() < 1e-6, "{line}");
    assert!(count("lost") > 0, "{line}");
}

#[test]
fn doctor_finds_what_is_wrong_and_removes_only_what_nobody_uses() {
    let root = Root::new();
    let folder = root.path().display().to_string();
    assert_eq!(root.ok(&["doctor"]), format!("0 channels in {folder}, 0 problems\n"));
    root.quiet_robot().kill();
    let alive = Publisher::<u64>::new(root.channel("alive")).unwrap();
    assert_eq!(root.files(), 8);
    std::fs::write(root.path().join("broken.pubsub"), "something").unwrap();
    std::fs::set_permissions(root.path().join("broken.pubsub"), Permissions::from_mode(0o600))
        .unwrap();
    std::fs::write(root.path().join("notes"), "something").unwrap();

    let output = root.run(&["doctor"]);
    assert_eq!((output.status.code(), output.err.as_str()), (Some(1), ""));
    let end =
        format!("8 channels in {folder}, 7 problems; `shm-comm doctor --fix` removes 6 files\n");
    assert!(output.out.ends_with(&end), "{}", output.out);
    assert!(
        output.out.contains("problem  arm/config: stale: nobody is attached"),
        "{}",
        output.out
    );
    assert!(output.out.contains("not a file of shm-comm"), "{}", output.out);
    let waits = "note     arm/tasks: waiting: nobody is attached; 1 job, ";
    assert!(output.out.contains(waits), "{}", output.out);
    assert!(output.out.contains("note     arm/tasks: puller 0 (pid "), "{}", output.out);
    assert_eq!(root.files(), 10, "only with --fix");

    let output = root.run(&["doctor", "--fix", "--json"]);
    assert_eq!((output.status.code(), output.err.as_str()), (Some(1), ""));
    let findings: Vec<Value> =
        output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fixed = findings.iter().filter(|finding| finding["fixed"] == true).count();
    assert_eq!((findings.len(), fixed), (11, 6), "{}", output.out);
    let broken = findings.iter().find(|finding| finding["channel"] == "broken").unwrap();
    assert_eq!((&broken["severity"], &broken["fixable"]), (&json!("problem"), &json!(false)));
    assert_eq!(root.files(), 4, "the live one, the broken one, the notes, the tasks that wait");
    std::fs::remove_file(root.path().join("broken.pubsub")).unwrap();
    let text = root.ok(&["doctor", "--fix"]);
    assert!(text.ends_with(&format!("2 channels in {folder}, 0 problems\n")), "{text}");
    drop(alive);
    assert_eq!(root.files(), 2);
    // Whoever comes finds the task there, and with the last of them the queue goes.
    root.quiet_robot().end();
    assert_eq!(root.files(), 1);
}

#[test]
fn doctor_tells_of_the_dead_on_a_live_channel() {
    let root = Root::new();
    let mut command = root.command(&["echo", "robot/pose"]);
    let robot = root.quiet_robot();
    let _alive = Subscriber::<shm_comm_schemas::Pose>::new(root.channel("robot/pose")).unwrap();
    let pid = robot.process.id();
    // One that only looks is nobody who could die there.
    let mut echo = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    echo.process.kill().unwrap();
    echo.wait();
    robot.kill();
    let findings = root.run(&["doctor"]).out;
    let note = format!(
        "note     robot/pose: publisher 0 (pid {pid}) was killed; the next publisher takes its ring over\n"
    );
    assert!(findings.contains(&note), "{findings}");
    assert!(!findings.contains("robot/pose: subscriber"), "{findings}");
    root.run(&["doctor", "--fix"]);
    assert_eq!(root.files(), 2, "the others were stale, but for the tasks");
}

/// All that can be seen of a file, its contents included.
fn seen(path: &Path) -> impl PartialEq + use<> {
    let file = std::fs::metadata(path).unwrap();
    let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
    (std::fs::read(path).unwrap(), times, file.blocks(), file.nlink())
}

#[test]
fn it_disturbs_nothing() {
    let root = Root::new();
    let robot = root.quiet_robot();
    // Its planner looks around once more before it is quiet, and tells others how far it is.
    std::thread::sleep(Duration::from_millis(300));
    let look = || CHANNELS.map(|name| seen(&root.file(name)));
    let before = look();
    for name in CHANNELS {
        root.ok(&["info", name]);
        root.ok(&["wait", name]);
        if root.file(name) == root.file_of(name, Pattern::PubSub) {
            root.ok(&["echo", name, "--oldest", "-n", "3"]);
            root.ok(&["echo", name, "--latest", "--json"]);
            root.ok(&["hz", name, "--interval", "0.05", "-n", "1"]);
        }
    }
    root.ok(&["ls"]);
    root.ok(&["doctor"]);
    root.ok(&["doctor", "--fix"]);
    for ((name, before), after) in CHANNELS.iter().zip(before).zip(look()) {
        assert!(after == before, "the segment of {name} has changed");
    }
    robot.end();
    assert_eq!(root.files(), 0);
}

#[test]
fn it_takes_no_job_and_no_call() {
    let root = Root::new();
    let (jobs, sum) = (root.channel("jobs").depth(4), root.channel("sum").depth(4));
    let mut pusher = Pusher::<u64>::new(&jobs).unwrap();
    let mut puller = Puller::<u64>::new(&jobs).unwrap();
    (0..4).for_each(|job| pusher.send(&job).unwrap());
    puller.recv().unwrap().reject();
    let held = puller.recv().unwrap();
    let mut client = Requester::<u64, u64>::new(&sum).unwrap();
    let mut server = Replier::<u64, u64>::new(&sum).unwrap();
    let calls = [1, 2, 3].map(|number| client.send(&number).unwrap());
    server.recv().unwrap().reply(&10).unwrap();
    let request = server.recv().unwrap();
    let look = || {
        let files = [("jobs", Pattern::Queue), ("sum", Pattern::Service)];
        files.map(|(name, pattern)| seen(&root.file_of(name, pattern)))
    };
    let before = look();
    for (name, pattern) in [("jobs", "queue"), ("sum", "service")] {
        for args in [
            &["echo", name][..],
            &["echo", name, "--oldest", "-n", "1", "--json"],
            &["echo", name, "--latest", "--csv"],
            &["echo", name, "--wait"],
            &["hz", name],
            &["hz", name, "--wait", "--json"],
        ] {
            let (status, error) = root.fails(args);
            let says = format!("shm-comm: channel {name:?} is a {pattern}: each of its ");
            assert!(status == 1 && error.starts_with(&says), "{args:?}: {error}");
        }
        root.ok(&["info", name]);
        root.ok(&["info", name, "--json"]);
        root.ok(&["wait", name, "--publishers", "1", "--subscribers", "1"]);
    }
    root.ok(&["ls"]);
    root.ok(&["ls", "--json"]);
    root.ok(&["doctor"]);
    root.ok(&["doctor", "--fix", "--json"]);
    assert!(look() == before, "a segment has changed");

    request.reply(&20).unwrap();
    server.recv().unwrap().reply(&30).unwrap();
    assert_eq!(calls.map(|call| *call.wait(DEADLINE).unwrap()), [10, 20, 30]);
    held.done();
    for number in [2, 3] {
        let job = puller.recv().unwrap();
        assert_eq!((*job, job.deliveries()), (number, 1));
        job.done();
    }
    puller.dead_letters().unwrap().unwrap().done();

    // What is published under the same name everybody may see.
    let mut publisher = Publisher::<u64>::new(root.channel("jobs")).unwrap();
    publisher.send(&7).unwrap();
    assert_eq!(root.ok(&["echo", "jobs", "--latest"]), "--- 0\n7\n");
}

#[test]
fn a_queue_and_a_service_are_shown_with_what_is_in_them() {
    let root = Root::new();
    let (jobs, sum) = (root.channel("jobs").depth(8), root.channel("sum").depth(8).max_len(3));
    let mut pusher = Pusher::<[f64; 2]>::new(&jobs).unwrap();
    let mut puller = Puller::<[f64; 2]>::new(&jobs).unwrap();
    (0..5).for_each(|_| pusher.send(&[0.5, 1.0]).unwrap());
    puller.recv().unwrap().reject();
    drop(puller.recv().unwrap());
    let held = puller.recv().unwrap();
    let mut client = Requester::<[u16], u64>::new(&sum).unwrap();
    let mut server = Replier::<[u16], u64>::new(&sum).unwrap();
    let _calls = [1, 2].map(|number| client.send(&[number]).unwrap());
    let _request = server.recv().unwrap();

    let text = root.ok(&["info", "jobs"]);
    for line in [
        "jobs: queue of `[f64; 2]`",
        "  depth        8 jobs",
        "  job          16 bytes, aligned to 8",
        "  pushers      1 of 64",
        "  pullers      1 of 64",
        "  held         1 slot",
        "  free         3 slots",
        "  dead letters 1",
        "  so far       5 pushed, 3 delivered, 1 of them again, 1 dead-lettered",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("  queued       3 jobs, the oldest for "), "{text}");
    let pid = std::process::id();
    let info = &root.json(&["info", "jobs", "--json"])[0];
    let pushers = json!([{"number": 0, "pid": pid, "alive": true, "sleeping": false, "held": 0,
        "pushed": 5}]);
    let pullers = json!([{"number": 0, "pid": pid, "alive": true, "sleeping": false, "held": 1,
        "delivered": 3, "redelivered": 1, "dead_lettered": 1}]);
    assert_eq!((&info["publishers"], &info["subscribers"]), (&pushers, &pullers));
    let mut queue = info["queue"].clone();
    assert!(queue["oldest_s"].as_f64().unwrap() < 60.0, "{queue}");
    queue["oldest_s"].take();
    let expected = json!({"queued": 3, "held": 1, "free": 3, "dead_letters": 1, "oldest_s": null,
        "pushed": 5, "delivered": 3, "redelivered": 1, "dead_lettered": 1});
    assert_eq!(queue, expected);
    let row = &root.json(&["ls", "--json", "--interval", "0"])[0];
    assert_eq!(
        (&row["queued"], &row["held"], &row["dead_letters"]),
        (&3.into(), &1.into(), &1.into())
    );
    let text = root.ok(&["ls", "--interval", "0"]);
    assert!(text.lines().nth(1).unwrap().ends_with("1 dead letter"), "{text}");

    let text = root.ok(&["info", "sum"]);
    for line in [
        "sum: service of `[u16] -> u64`",
        "  depth        8 calls in flight",
        "  request      up to 6 bytes, aligned to 2",
        "  max_len      3",
        "  reply        8 bytes, aligned to 8",
        "  servers      1 of 64",
        "  clients      1 of 64",
        "  in flight    2 calls, 1 not taken yet",
        "  free         6 slots",
        "  so far       2 called, 0 served, 0 timed out, 0 failed",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    let info = &root.json(&["info", "sum", "--json"])[0];
    assert_eq!((&info["type"], &info["reply"]["type"]), (&json!("[u16]"), &json!("u64")));
    assert_eq!((&info["reply"]["bytes"], &info["reply"]["max_len"]), (&json!(8), &json!(null)));
    let servers = json!([{"number": 0, "pid": pid, "alive": true, "sleeping": false, "held": 1,
        "served": 0}]);
    let clients = json!([{"number": 0, "pid": pid, "alive": true, "sleeping": false, "held": 2,
        "called": 2, "timed_out": 0, "failed": 0}]);
    assert_eq!((&info["publishers"], &info["subscribers"]), (&servers, &clients));
    let expected = json!({"in_flight": 2, "queued": 1, "held": 1, "free": 6, "called": 2,
        "served": 0, "timed_out": 0, "failed": 0});
    assert_eq!(info["service"], expected);

    drop(held);
    let mut count = 0;
    while let Some(job) = puller.try_recv().unwrap() {
        job.done();
        count += 1;
    }
    assert_eq!(count, 4);
    drop((pusher, puller));
    // The dead letter is still there.
    let text = root.ok(&["info", "jobs"]);
    let first = "jobs: queue of `[f64; 2]` (waiting: nobody is attached, and it is not empty)\n";
    assert!(text.starts_with(first), "{text}");
    let mut puller = Puller::<[f64; 2]>::new(&jobs).unwrap();
    puller.dead_letters().unwrap().unwrap().done();
}

#[test]
fn wait_counts_pushers_pullers_servers_and_clients() {
    let root = Root::new();
    let mut command = root.command(&["wait", "sum", "--timeout", "60", "--json"]);
    let mut wait = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let _client = Requester::<u64, u64>::new(root.channel("sum")).unwrap();
    thread::sleep(Duration::from_millis(30));
    assert_eq!(wait.process.try_wait().unwrap(), None, "a client is no server");
    let _server = Replier::<u64, u64>::new(root.channel("sum")).unwrap();
    assert!(wait.wait().success());
    let report: Value = serde_json::from_str(&wait.line()).unwrap();
    assert_eq!((&report["publishers"], &report["subscribers"]), (&json!(1), &json!(1)));
    root.ok(&["wait", "sum", "--servers", "1", "--clients", "1"]);
    let (status, error) = root.fails(&["wait", "sum", "--servers", "2", "--timeout", "0"]);
    assert!(status == 4 && error.contains("channel \"sum\" has 1 server and 1 client"), "{error}");

    let _pusher = Pusher::<u64>::new(root.channel("jobs")).unwrap();
    root.ok(&["wait", "jobs", "--pushers", "1"]);
    let (status, error) = root.fails(&["wait", "jobs", "--pullers", "1", "--timeout", "0"]);
    assert!(status == 4 && error.contains("has 1 pusher and 0 pullers"), "{error}");
    let _puller = Puller::<u64>::new(root.channel("jobs")).unwrap();
    root.ok(&["wait", "jobs", "--pullers", "1"]);
}

#[test]
fn doctor_warns_of_jobs_that_do_not_go_on() {
    let root = Root::new();
    let jobs = root.channel("jobs").depth(4);
    let mut pusher = Pusher::<u64>::new(&jobs).unwrap();
    let mut puller = Puller::<u64>::new(&jobs).unwrap();
    (0..4).for_each(|job| pusher.send(&job).unwrap());
    let folder = root.path().display().to_string();
    let doctor = || root.ok(&["doctor"]);
    assert_eq!(
        doctor(),
        format!(
            "warning  jobs: full, so that its pushers wait: 4 slots with 4 jobs, 0 held, 0 dead letters\n\
             1 channel in {folder}, 0 problems, 1 warning\n"
        )
    );
    puller.recv().unwrap().reject();
    puller.recv().unwrap().reject();
    puller.recv().unwrap().done();
    let text = doctor();
    assert!(text.starts_with("warning  jobs: 2 dead letters: rejected, "), "{text}");
    let findings = root.run(&["doctor", "--json"]);
    let finding: Value = serde_json::from_str(findings.out.lines().next().unwrap()).unwrap();
    assert_eq!((&finding["severity"], &finding["fixable"]), (&json!("warning"), &json!(false)));
    (0..2).for_each(|_| puller.dead_letters().unwrap().unwrap().done());
    puller.dead_letters().unwrap();

    // As if it had been pushed half a minute ago, which the slot has in nanoseconds behind its word.
    use std::os::unix::fs::FileExt;
    let path = root.file_of("jobs", Pattern::Queue);
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let slot = file.metadata().unwrap().len() - 4096 + 3 * 64;
    let mut pushed = [0; 8];
    file.read_exact_at(&mut pushed, slot + 8).unwrap();
    let earlier = u64::from_ne_bytes(pushed).saturating_sub(30_000_000_000);
    file.write_all_at(&earlier.to_ne_bytes(), slot + 8).unwrap();
    assert_eq!(doctor(), format!("1 channel in {folder}, 0 problems\n"), "somebody may take it");
    drop(puller);
    let text = doctor();
    assert!(text.starts_with("warning  jobs: 1 job, the oldest for "), "{text}");
    assert!(text.contains(", and nobody pulls\n"), "{text}");
    drop(pusher);
    assert!(
        doctor().contains("note     jobs: waiting: nobody is attached; 1 job, 0 slots of the dead")
    );

    // What nobody can have left is damage.
    let mut word = [0; 8];
    file.read_exact_at(&mut word, slot - 64).unwrap();
    file.write_all_at(&[15], slot - 64).unwrap();
    let output = root.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.out.contains("problem  jobs: damaged: slot 2, "), "{}", output.out);
    file.write_all_at(&word, slot - 64).unwrap();
    Puller::<u64>::new(&jobs).unwrap().recv().unwrap().done();
    assert_eq!(root.files(), 0);

    // Calls without a server end by themselves.
    let mut client = Requester::<u64, u64>::new(root.channel("sum")).unwrap();
    let _call = client.send(&1).unwrap();
    let text = doctor();
    assert!(text.starts_with("note     sum: 1 call waiting, and there is no server\n"), "{text}");
}

/// `strace` shows that every file of the folder is opened for reading only, and no lock is taken.
#[test]
fn the_kernel_sees_it_only_read() {
    let root = Root::new();
    let _robot = root.quiet_robot();
    let log = root.path().join("trace");
    for args in [
        &["echo", "robot/pose", "--oldest", "-n", "3"][..],
        &["echo", "robot/pose", "--latest"],
        &["info", "robot/pose"],
        &["info", "arm/tasks"],
        &["info", "arm/plan"],
        &["wait", "arm/plan", "--clients", "1"],
        &["ls"],
        &["hz", "robot/pose", "--interval", "0.05", "-n", "1"],
        &["wait", "robot/pose"],
        &["doctor"],
    ] {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_shm-comm")).args(args);
        let status = command
            .env("SHM_COMM_ROOT", root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        let Ok(status) = status else {
            eprintln!("skipped: there is no strace");
            return;
        };
        assert!(status.success(), "{args:?}");
        let trace = std::fs::read_to_string(&log).unwrap();
        let mut opened = 0;
        let is_of_channel = |line: &&str| {
            [".pubsub", ".queue", ".service"].iter().any(|suffix| line.contains(suffix))
        };
        for line in trace.lines().filter(is_of_channel) {
            if line.contains("openat(") {
                opened += 1;
                assert!(line.contains("O_RDONLY"), "{args:?}: {line}");
                assert!(!line.contains("O_CREAT") && !line.contains("O_RDWR"), "{args:?}: {line}");
            }
            for call in [
                "mmap(",
                "write",
                "F_OFD_SETLK",
                "F_SETLK",
                "ftruncate",
                "fallocate",
                "unlink",
                "rename",
                "link",
                "flock",
            ] {
                let is_call =
                    line.split_once(call).is_some_and(|(before, _)| !before.contains('"'));
                assert!(!is_call, "{args:?}: {line}");
            }
        }
        assert!(opened > 0, "{args:?} has opened nothing:\n{trace}");
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn names_and_texts_of_others_do_not_reach_the_terminal_as_they_are() {
    let root = Root::new();
    let name = "robot\u{1b}[2J\u{202e}";
    let mut publisher = Publisher::<shm_comm::ShmString<16>>::new(root.channel(name)).unwrap();
    publisher.send(&"\u{1b}[31mred\n".try_into().unwrap()).unwrap();
    let echoed = root.ok(&["echo", name, "--latest"]);
    assert_eq!(echoed, "--- 0\n\"\\u{1b}[31mred\\n\"\n");
    for text in [root.ok(&["ls"]), root.ok(&["info", name]), root.run(&["info", "robot"]).err] {
        assert!(text.contains("robot\\u{1b}[2J\\u{202e}"), "{text:?}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    }
}

#[test]
fn garbage_is_said_and_the_next_message_is_shown() {
    let root = Root::new();
    let mut publisher = Publisher::<bool>::new(root.channel("flag")).unwrap();
    let mut loan = publisher.loan().unwrap();
    // SAFETY: As a program in another language might: one byte, and no reader is a `bool` of Rust.
    let loan = unsafe {
        loan.as_mut_ptr().cast::<u8>().write(7);
        loan.assume_init()
    };
    loan.send();
    publisher.send(&true).unwrap();
    let output = root.run(&["echo", "flag", "--oldest", "-n", "1", "--json"]);
    assert!(output.status.success());
    assert_eq!(output.out, "{\"value\":true}\n");
    assert!(output.err.contains("message 0 of publisher 0: the message holds [7]"), "{output:?}");
}

#[test]
fn help_has_examples_and_completions_complete() {
    let root = Root::new();
    for command in ["ls", "info", "echo", "hz", "wait", "doctor", "completions"] {
        let help = root.ok(&[command, "--help"]);
        assert!(help.contains("Examples:\n  ") && help.contains("shm-comm "), "{help}");
    }
    let help = root.ok(&["--help"]);
    assert!(help.contains("shm-comm echo robot/pose") && help.contains("Exit status: 0"), "{help}");
    assert!(root.ok(&["--version"]).starts_with("shm-comm "));
    for (shell, what) in [
        ("bash", "complete "),
        ("zsh", "#compdef shm-comm"),
        ("fish", "complete "),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = root.ok(&["completions", shell]);
        assert!(script.contains(what) && script.contains("SHM_COMM_COMPLETE"), "{shell}: {script}");
    }
    for wrong in [
        &["echo"][..],
        &["ecko", "x"],
        &["hz", "x", "--interval", "0"],
        &["wait", "x", "--timeout", "-1"],
    ] {
        assert_eq!(root.fails(wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn bash_completes_commands_options_and_channels() {
    let root = Root::new();
    let other = Root::new();
    let _robot = root.quiet_robot();
    // The program is in the path under its name, as when it is installed.
    let folder = Path::new(env!("CARGO_BIN_EXE_shm-comm")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let script = "\
        source <(shm-comm completions bash); \
        function=$(complete -p shm-comm | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        $function shm-comm \"${@: -1}\" \"${@: -2:1}\"; \
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let complete = |root: &Root, words: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]).args(words);
        command.env("SHM_COMM_ROOT", root.path()).env("PATH", &path).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete(&root, &["shm-comm", "ec"]), ["echo"]);
    assert_eq!(complete(&root, &["shm-comm", "echo", "--fi"]), ["--field"]);
    assert_eq!(complete(&root, &["shm-comm", "echo", "ro"]), ["robot/pose"]);
    assert_eq!(
        complete(&root, &["shm-comm", "--json", "hz", "arm/"]),
        ["arm/config", "arm/loads", "arm/plan", "arm/state", "arm/tasks"]
    );
    assert_eq!(complete(&root, &["shm-comm", "completions", "z"]), ["zsh"]);
    let root = root.path().to_str().unwrap();
    assert_eq!(complete(&other, &["shm-comm", "--root", root, "info", "li"]), ["lidar/scan"]);
}

#[test]
fn errors_have_their_status_also_where_nobody_reads_them() {
    let root = Root::new();
    let _robot = root.quiet_robot();
    for (args, status) in [
        (&["echo", "nope"][..], 3),
        (&["echo", "robot/pose", "--field", "nope"], 2),
        (&["echo", "robot/pose", "--timeout", "0"], 4),
        (&["wait", "nope", "--timeout", "0"], 4),
        (&["echo"], 2),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status_of = root.command(args).stdout(Stdio::null()).stderr(full).status();
        assert_eq!(status_of.unwrap().code(), Some(status), "{args:?}");
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = root.command(&["echo", "robot/pose", "--latest"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("shm-comm: cannot write: "), "{error}");
}

#[test]
fn an_element_that_a_message_does_not_have_is_none() {
    let root = Root::new();
    let mut publisher = Publisher::<[f64]>::new(root.channel("list")).unwrap();
    for values in [&[1.0, 2.0][..], &[], &[3.0]] {
        publisher.send(values).unwrap();
    }
    let echo = |more: &[&str]| root.ok(&[&["echo", "list", "--oldest", "-n", "3"], more].concat());
    assert_eq!(echo(&["-f", "[0]"]), "1.0\nnone\n3.0\n");
    assert_eq!(echo(&["-f", "[1]", "-f", "[0]", "--csv"]), "[1],[0]\n2.0,1.0\n,\n,3.0\n");
    assert_eq!(echo(&["-f", "[1]", "--json"]), "{\"[1]\":2.0}\n{\"[1]\":null}\n{\"[1]\":null}\n");
    let (status, error) = root.fails(&["echo", "list", "-f", "[0].x"]);
    assert_eq!(status, 2, "{error}");

    // What an encoded message has only it knows: the first one decides whether it is a mistake.
    use std::collections::BTreeMap;
    let channel = root.channel("map");
    let mut publisher =
        Publisher::<shm_comm::Msgpack<BTreeMap<String, u8>>>::new(&channel).unwrap();
    for key in ["a", "b"] {
        publisher.send(&BTreeMap::from([(key.to_owned(), 7)])).unwrap();
    }
    assert_eq!(root.ok(&["echo", "map", "--oldest", "-n", "2", "-f", "a"]), "7\nnone\n");
    assert_eq!(root.fails(&["echo", "map", "--oldest", "-n", "2", "-f", "b"]).0, 2);
}

#[test]
fn the_channels_of_a_group_need_no_option() {
    let root = Root::new();
    let shared = root.path().join("shared");
    let channel = Channel::new("robot/speed").root(&shared).access(Access::Group);
    let mut publisher = Publisher::<f32>::new(&channel).unwrap();
    publisher.send(&0.5).unwrap();
    let run = |args: &[&str]| root.ok(&[&["--root", shared.to_str().unwrap()], args].concat());
    assert!(run(&["ls"]).contains("robot/speed"));
    assert!(run(&["info", "robot/speed"]).contains(", for a group\n"));
    assert_eq!(run(&["echo", "robot/speed", "--latest"]), "--- 0\n0.5\n");
    assert_eq!(run(&["wait", "robot/speed"]), "");
    assert!(run(&["doctor"]).ends_with(", 0 problems\n"));
}

#[test]
fn it_waits_for_a_channel_if_it_is_told_to() {
    let root = Root::new();
    let mut command = root.command(&["echo", "robot/pose", "--wait", "--count", "1", "--json"]);
    let mut echo = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert!(echo.error().contains("no publisher now"));
    let _robot = root.quiet_robot();
    let pose: Value = serde_json::from_str(&echo.line()).unwrap();
    assert_eq!(pose["position"]["x"], 1.0);
    assert!(echo.wait().success());
    let nowhere = "/dev/shm/there/is/no/such/folder";
    let text = root.ok(&["ls", "--root", nowhere]);
    assert_eq!(text, format!("no channels: there is no folder {nowhere}\n"));
}

/// Numbers depend on the moment and the machine; the rest of what is printed does not.
#[test]
fn the_documentation_shows_what_is_printed() {
    let (quiet, live) = (Root::new(), Root::new());
    let (_still, _moving) = (quiet.quiet_robot(), live.robot(&["10"]));
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    let mut commands = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for example in block.split("$ shm-comm ").skip(1) {
            let (args, expected) = example.split_once('\n').unwrap();
            let args: Vec<&str> = args.split(' ').collect();
            let root = if matches!(args[0], "hz" | "ls") { &live } else { &quiet };
            let Output { out, err, .. } = root.run(&args);
            let printed =
                (out + &err).replace(root.path().to_str().unwrap(), "/dev/shm/shm-comm-1000");
            assert_eq!(masked(&printed), masked(expected), "{args:?}\n{printed}");
            commands += 1;
        }
    }
    assert_eq!(commands, 20);
}

/// Every number as `#`, with its unit if it has one, and every gap as one space.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_digit() {
            while rest.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {}
            masked.push('#');
        } else {
            masked.push(c);
        }
    }
    let words = masked.split(' ').filter(|word| !word.is_empty());
    // Which unit a number has depends on the number.
    fn unit(word: &str) -> &str {
        match word {
            "µs" | "ns" | "s" => "ms",
            "KiB" | "B" => "MiB",
            word => word,
        }
    }
    // Also at the end of a line.
    let word = |word: &str| match word.split_once('\n') {
        Some((word, rest)) => format!("{}\n{rest}", unit(word)),
        None => unit(word).to_owned(),
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}
