//! A robot arm that is moved by calls, and goes on after its server was killed in the middle of one.
//!
//! ```text
//! cargo run --release --example arm_service
//! ```
//!
//! This process is the client; it starts itself once more as the server. A call is a joint target and a
//! time, the reply says what was reached; both lie in the same slot and are written in place. Whatever can
//! happen to a call happens once: nobody is there, three are in flight at a time, one takes long, one is
//! refused, one is no request at all, and a server dies with one. At the end one line on stdout says how
//! they have ended:
//!
//! ```text
//! calls=… reached=… refused=… declined=… no_server=… server_lost=… wrong=…
//! ```
//!
//! `wrong` are those that have ended in another way than they should. If there is one the exit status is 1.

#[allow(dead_code)] // not what counts messages
mod two_processes;

use std::error::Error;
use std::f64::consts::PI;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use shm_comm::{CallError, Channel, Delivered, Replier, Reply, Request, Requester, ShmMessage};
use shm_comm_schemas::{Header, JointState, Name, Time};

use two_processes::{Process, report, tidy_up_by};

const JOINTS: usize = 6;
type Joints = [f64; JOINTS];

/// Where the arm is to go.
#[derive(ShmMessage, Clone, Copy, Debug)]
#[repr(C)]
struct Motion {
    /// Of each joint the angle, in radians.
    target: Joints,
    /// How long it is to take, in seconds.
    duration: f64,
}

/// What has come of it.
#[derive(ShmMessage)]
#[repr(C)]
struct MotionReport {
    /// Where the arm is.
    joints: JointState<JOINTS>,
    /// How long it has taken, in seconds.
    took: f64,
    status: Status,
    _pad: [u8; 7],
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Reached,
    /// A joint cannot be turned so far. Nothing was moved.
    OutOfReach,
    /// Nobody waited for it any more.
    Stopped,
}

const CHANNEL: &str = "arm/move";
/// No joint can be turned further, in either direction, in radians.
const REACH: f64 = 0.9 * PI;
/// For a call that somebody answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// For one that nobody does.
const IMPATIENCE: Duration = Duration::from_millis(50);
/// How long the server waits before it looks whether there is still a client.
const LOOK: Duration = Duration::from_millis(50);
/// From one step of a motion to the next.
const STEP: Duration = Duration::from_millis(5);
/// The first argument of the server's process; the client's pid and the root folder follow.
const SERVER: &str = "--as-server";
const USAGE: &str = "\
Moves a robot arm by calls, and goes on after its server was killed in the middle of one.

usage: arm_service

Exit status: 0 if every call has ended as it should, 1 if not, 2 for wrong arguments, 130 after Ctrl-C.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [role, client, root] if role == SERVER => report(serve(client, root.as_ref())),
        [] => report(call()),
        [help] if help == "--help" || help == "-h" => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        [wrong, ..] => {
            eprintln!("error: there is no option {}\n\n{USAGE}", wrong.display());
            ExitCode::from(2)
        }
    }
}

// ── the client ───────────────────────────────────────────────────────────────────────────────────

fn call() -> Result<ExitCode, Box<dyn Error>> {
    let root = two_processes::folder("shm-comm-arm-")?;
    let channel = Channel::new(CHANNEL).root(root.path());
    let mut arm = Requester::<Motion, MotionReport>::new(channel)?;
    let interrupter = arm.interrupter();
    ctrlc::set_handler(move || interrupter.interrupt())?;

    let mut tally = Tally::default();
    match move_around(&mut arm, root.path(), &mut tally) {
        Err(error) if is_interrupted(&*error) => {
            eprintln!("interrupted");
            return Ok(ExitCode::from(130));
        }
        result => result?,
    }
    let Tally { calls, reached, refused, declined, no_server, server_lost, wrong } = tally;
    writeln!(
        std::io::stdout(),
        "calls={calls} reached={reached} refused={refused} declined={declined} \
         no_server={no_server} server_lost={server_lost} wrong={wrong}"
    )?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_interrupted(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(CallError::Interrupted))
}

fn move_around(
    arm: &mut Requester<Motion, MotionReport>,
    root: &Path,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let client = std::process::id().to_string();
    let arguments: [&OsStr; 3] = [SERVER.as_ref(), client.as_ref(), root.as_ref()];
    let start = || Process::start_as("server", arguments);
    let to = |angle: f64, duration: f64| Motion { target: [angle; JOINTS], duration };

    // Nobody is there. That is known for sure: nobody has seen this call, nor will.
    let home = to(0.0, 0.1);
    tally.count("too early", home, arm.request(&home, IMPATIENCE), End::NoServer)?;

    // A call waits for a server that comes in time.
    let mut server = start()?;
    tally.count("home", home, arm.request(&home, PATIENCE), End::Reached)?;

    // Several in flight. Each gets its own reply, in whatever order they are waited for.
    let mut path = Vec::new();
    for motion in [to(0.2, 0.05), to(0.4, 0.05), to(0.6, 0.05)] {
        path.push((motion, arm.send(&motion)?));
    }
    for (motion, pending) in path.into_iter().rev() {
        tally.count("on a path", motion, pending.wait(PATIENCE), End::Reached)?;
    }

    // One that takes long, written in place. Meanwhile this program does other things.
    let slow = to(-1.0, 0.4);
    let mut loan = arm.loan()?.zeroed();
    loan.target = slow.target;
    loan.duration = slow.duration;
    let mut pending = loan.send()?;
    let deadline = Instant::now() + PATIENCE;
    let reply = loop {
        if let Some(reply) = pending.poll()? {
            break reply;
        }
        if Instant::now() >= deadline {
            return Err("the slow motion does not come to an end".into());
        }
        thread::sleep(STEP); // where it would do them
    };
    tally.count("slow", slow, Ok(reply), End::Reached)?;

    // What the server says is typed, too; and it need not say anything.
    let too_far = to(3.0, 0.1);
    tally.count("too far", too_far, arm.request(&too_far, PATIENCE), End::Refused)?;
    let nowhere = to(f64::NAN, 0.1);
    tally.count("nowhere", nowhere, arm.request(&nowhere, PATIENCE), End::Declined)?;

    // The server dies with a call. Whether the arm has moved nobody knows.
    let far = to(2.0, 60.0);
    let pending = arm.send(&far)?;
    while arm.stats().queued > 0 {
        server.check_alive()?;
        thread::sleep(STEP);
    }
    server.kill()?;
    tally.count("killed", far, pending.wait(PATIENCE), End::ServerLost)?;
    tally.count("too late", home, arm.request(&home, IMPATIENCE), End::NoServer)?;

    // It starts again, and the same client goes on.
    let _server = start()?;
    tally.count("home again", home, arm.request(&home, PATIENCE), End::Reached)?;
    Ok(())
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Reached,
    Refused,
    Declined,
    NoServer,
    ServerLost,
}

#[derive(Default)]
struct Tally {
    calls: u32,
    reached: u32,
    refused: u32,
    declined: u32,
    no_server: u32,
    server_lost: u32,
    wrong: u32,
}

impl Tally {
    /// Counts a call that should have ended so. What should happen to none is an error.
    fn count(
        &mut self,
        title: &str,
        motion: Motion,
        reply: Result<Reply<MotionReport>, CallError>,
        should: End,
    ) -> Result<(), CallError> {
        let end = match reply {
            Ok(report) => {
                let end =
                    if report.status == Status::Reached { End::Reached } else { End::Refused };
                eprintln!("{title}: {:?} after {:.2} s", report.status, report.took);
                self.wrong +=
                    u32::from((end == End::Reached) != (report.joints.position == motion.target));
                end
            }
            Err(error) => {
                eprintln!("{title}: {error}");
                match error {
                    CallError::NoServer { .. } => End::NoServer,
                    CallError::ServerLost { .. } => End::ServerLost,
                    CallError::Declined { .. } => End::Declined,
                    error => return Err(error),
                }
            }
        };
        self.calls += 1;
        self.wrong += u32::from(end != should);
        *match end {
            End::Reached => &mut self.reached,
            End::Refused => &mut self.refused,
            End::Declined => &mut self.declined,
            End::NoServer => &mut self.no_server,
            End::ServerLost => &mut self.server_lost,
        } += 1;
        Ok(())
    }
}

// ── the server ───────────────────────────────────────────────────────────────────────────────────

fn serve(client: &OsStr, root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let channel = Channel::new(CHANNEL).root(root);
    let mut requests = Replier::<Motion, MotionReport>::new(&channel)?;
    let mut joints = [0.0; JOINTS];
    loop {
        let is_over = requests.clients() == 0;
        match requests.recv_timeout(LOOK)? {
            Some(request) => answer(&mut joints, request)?,
            None if is_over => break,
            None => {}
        }
    }
    drop(requests);
    if client != OsStr::new(&parent_id().to_string()) {
        // It was killed.
        tidy_up_by(root, || drop(Replier::<Motion, MotionReport>::new(&channel)));
        return Err("the client is gone".into());
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(
    joints: &mut Joints,
    request: Request<Motion, MotionReport>,
) -> Result<(), Box<dyn Error>> {
    let duration = Duration::try_from_secs_f64(request.duration);
    let (Ok(duration), false) = (duration, request.target.iter().any(|angle| angle.is_nan()))
    else {
        // Dropped, it is declined. So it would be after an early `?`, or a panic.
        return Ok(());
    };
    let start = Instant::now();
    let status = if request.target.iter().any(|angle| angle.abs() > REACH) {
        Status::OutOfReach
    } else {
        turn(joints, &request, duration)
    };

    // Where the client reads it; the request is still there.
    let mut report = request.loan_reply().zeroed();
    report.joints.header = Header::new(Time::now(), "arm")?;
    for (number, name) in report.joints.name.iter_mut().enumerate() {
        *name = Name::new(&format!("joint {number}"))?;
    }
    report.joints.position = *joints;
    (report.joints.velocity, report.joints.effort) = ([0.0; JOINTS], [f64::NAN; JOINTS]);
    report.took = start.elapsed().as_secs_f64();
    report.status = status;
    if report.send() == Delivered::CallerGone {
        eprintln!("nobody waits for the report");
    }
    Ok(())
}

/// Turns all joints evenly, as long as somebody waits for it.
fn turn(
    joints: &mut Joints,
    request: &Request<Motion, MotionReport>,
    duration: Duration,
) -> Status {
    let (from, start) = (*joints, Instant::now());
    loop {
        let done = start.elapsed().div_duration_f64(duration).min(1.0); // NaN.min(1) is 1
        for (joint, (from, to)) in joints.iter_mut().zip(from.iter().zip(&request.target)) {
            *joint = from + done * (to - from);
        }
        if done >= 1.0 {
            *joints = request.target;
            return Status::Reached;
        }
        if !request.is_wanted() {
            return Status::Stopped;
        }
        thread::sleep(STEP);
    }
}
