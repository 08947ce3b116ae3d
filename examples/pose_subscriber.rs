//! Prints a line for each pose on `robot/pose`, until Ctrl-C.
//!
//! `pose_publisher` publishes them. Start as many of either as you like, in any order.

use std::io::Write;

use shm_comm::Subscriber;
use shm_comm_schemas::{Point, Pose};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut poses = Subscriber::<Pose>::new("robot/pose")?;
    let interrupter = poses.interrupter();
    ctrlc::set_handler(move || interrupter.interrupt())?;

    let mut stdout = std::io::stdout().lock();
    for pose in poses.iter() {
        let pose = pose?;
        let Point { x, y, z } = pose.position;
        let (ring, sequence, missed) = (pose.publisher().ring, pose.sequence(), pose.missed());
        let line = format!("publisher {ring}, {sequence}: {x:.3} {y:.3} {z:.3} ({missed} missed)");
        if writeln!(stdout, "{line}").is_err() {
            break; // nobody reads any more, as after `| head`
        }
    }
    Ok(())
}
