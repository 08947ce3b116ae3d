//! Publishes a pose on `robot/pose` a hundred times a second, until Ctrl-C.
//!
//! `pose_subscriber` shows them. Start as many of either as you like, in any order.

use std::f64::consts::FRAC_PI_2;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shm_comm::Publisher;
use shm_comm_schemas::{Point, Pose, Quaternion};

const PERIOD: Duration = Duration::from_millis(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let stop_too = stop.clone();
    ctrlc::set_handler(move || stop_too.store(true, Ordering::Relaxed))?;

    let mut publisher = Publisher::<Pose>::new("robot/pose")?;
    let start = Instant::now();
    let mut next = start;
    while !stop.load(Ordering::Relaxed) {
        // Once around a circle of one metre takes 2 π seconds.
        publisher.loan()?.write(on_circle(start.elapsed().as_secs_f64()));
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// At this angle (radians) on a circle of one metre, looking where it goes.
fn on_circle(angle: f64) -> Pose {
    let half_turn = (angle + FRAC_PI_2) / 2.0;
    Pose {
        position: Point { x: angle.cos(), y: angle.sin(), z: 0.0 },
        orientation: Quaternion { x: 0.0, y: 0.0, z: half_turn.sin(), w: half_turn.cos() },
    }
}
