//! A robot to look at: five channels, of every kind of message, a queue and a service.
//!
//! ```text
//! cargo run -p shm-comm-cli --example robot                 a hundred messages a second, until Ctrl-C
//! cargo run -p shm-comm-cli --example robot -- 20 3         every 20 ms, three of them, then nothing
//! ```
//!
//! One task is always left in the queue. When it ends by itself, it takes that out, too.
//!
//! It says `ready` when the channels are there, and `done` after the last message; then it stays until
//! it is killed, or its standard input, if that is a pipe, is closed.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shm_comm::{
    Channel, Msgpack, Postcard, Publisher, Puller, Pusher, Replier, Requester, ShmMessage,
    ShmOption, ShmString, ShmVec,
};
use shm_comm_schemas::{Point, Pose, Quaternion};

#[derive(ShmMessage, Clone, Copy, PartialEq)]
#[repr(i8)]
enum Mode {
    Idle = 0,
    Moving = 1,
    Fault = -1,
}

#[derive(ShmMessage, Clone, Copy)]
#[repr(C)]
struct Joint {
    angle: f64,
    torque: f32,
    limited: bool,
    _pad: [u8; 3],
}

#[derive(ShmMessage, Clone, Copy)]
#[repr(C)]
struct ArmState {
    stamp: u64,
    joints: [Joint; 3],
    target: ShmOption<f64>,
    name: ShmString<11>,
    mode: Mode,
    faults: ShmVec<u16, 6>,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Scan {
    stamp: u64,
    angle_min: f32,
    angle_step: f32,
    ranges: [f32],
}

#[derive(ShmMessage, Clone, Copy)]
#[repr(C)]
struct Task {
    part: u32,
    tool: u32,
    place: Point,
}

#[derive(Serialize, Deserialize)]
struct Config {
    name: String,
    gains: Vec<f64>,
    limits: BTreeMap<String, (f64, f64)>,
    comment: Option<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let period = Duration::from_millis(numbers.next().transpose()?.unwrap_or(10));
    let count = numbers.next().transpose()?.unwrap_or(u64::MAX);

    let mut poses = Publisher::<Pose>::new("robot/pose")?;
    let mut arm = Publisher::<ArmState>::new("arm/state")?;
    let mut scans = Publisher::<Scan>::new(Channel::new("lidar/scan").max_len(360))?;
    let mut config = Publisher::<Msgpack<Config>>::new("arm/config")?;
    let mut loads = Publisher::<Postcard<Vec<(String, f32)>>>::new("arm/loads")?;
    let mut tasks = Pusher::<Task>::new(Channel::new("arm/tasks").depth(8))?;
    let mut worker = Puller::<Task>::new("arm/tasks")?;
    let plan = Channel::new("arm/plan").depth(4);
    let mut planner = Replier::<Pose, [f64; 3]>::new(plan.clone())?;
    let stop_planner = planner.interrupter();
    let planner = std::thread::spawn(move || planner.serve(|pose| [pose.position.x, 0.5, -0.25]));
    let mut plans = Requester::<Pose, [f64; 3]>::new(plan)?;
    println!("ready");

    let start = Instant::now();
    for number in 0..count {
        poses.send(&pose(number))?;
        arm.send(&arm_state(number)?)?;
        let mut scan = scans.loan_with_len(360)?.reused();
        (scan.stamp, scan.angle_min, scan.angle_step) = (number, -1.5, 0.0625);
        let ranges = scan.ranges.iter_mut().zip(0_u16..);
        ranges.for_each(|(range, i)| *range = 1.0 + f32::from(i) / 4.0);
        scan.send();
        config.send(&Config {
            name: format!("arm {number}"),
            gains: vec![1.0, 0.1, 0.01],
            limits: BTreeMap::from([("elbow".into(), (-2.5, 2.5)), ("wrist".into(), (-1.0, 1.0))]),
            comment: None,
        })?;
        loads.send(&vec![("elbow".into(), 0.5), ("wrist".into(), 0.25)])?;
        drop(plans.request(&pose(number), Duration::from_secs(10))?);
        let part = u32::try_from(number % 1000)?;
        tasks.try_send(&Task { part, tool: 1, place: pose(number).position })?;
        if number > 0
            && let Some(task) = worker.try_recv()?
        {
            task.done();
        }
        let next = period.saturating_mul(u32::try_from(number + 1).unwrap_or(u32::MAX));
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
    println!("done");
    if std::io::stdin().is_terminal() {
        loop {
            std::thread::park();
        }
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    while let Some(task) = worker.try_recv()? {
        task.done();
    }
    stop_planner.interrupt();
    planner.join().map_err(|_| "the planner panicked")??;
    Ok(())
}

/// On a circle of one metre.
fn pose(number: u64) -> Pose {
    let angle = number as f64 / 100.0;
    Pose {
        position: Point { x: angle.cos(), y: angle.sin(), z: 0.0 },
        orientation: Quaternion { x: 0.0, y: 0.0, z: (angle / 2.0).sin(), w: (angle / 2.0).cos() },
    }
}

/// Every second one has a fault.
fn arm_state(number: u64) -> Result<ArmState, shm_comm::CapacityError> {
    let joint = |angle, torque, limited| Joint { angle, torque, limited, _pad: [0; 3] };
    let mode = match number % 3 {
        0 => Mode::Idle,
        1 => Mode::Fault,
        _ => Mode::Moving,
    };
    let faults: &[u16] = if mode == Mode::Fault { &[7, 300] } else { &[] };
    Ok(ArmState {
        stamp: number,
        joints: [
            joint(0.5, 1.5, false),
            joint(-0.25, 0.0, true),
            joint(number as f64, -2.0, false),
        ],
        target: if mode == Mode::Moving { ShmOption::some(1.25) } else { ShmOption::none() },
        name: "left arm".try_into()?,
        mode,
        faults: faults.try_into()?,
    })
}
