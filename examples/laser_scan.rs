//! Scans of as many points as there are, ten a second, until Ctrl-C.
//!
//! ```text
//! cargo run --example laser_scan publish
//! cargo run --example laser_scan watch      # in another terminal, before or after
//! ```
//!
//! A scan is one message with a slice at its end. The publisher lends one with so many points as it has
//! measured, the subscriber reads them where they are.

use std::f32::consts::{PI, TAU};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shm_comm::{Channel, Publisher, Subscriber};
use shm_comm_schemas::{FrameId, Header, LaserScan, ScanPoint, Time};

const PERIOD: Duration = Duration::from_millis(100);
/// Every slot of the channel has room for so many points.
const MAX_POINTS: usize = 2000;
const RANGE: std::ops::RangeInclusive<f32> = 0.05..=30.0;

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    let result = match role.as_deref() {
        Some("publish") => publish(),
        Some("watch") => watch(),
        _ => {
            eprintln!("usage: laser_scan publish|watch");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn publish() -> Result<(), Box<dyn std::error::Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let stop_too = stop.clone();
    ctrlc::set_handler(move || stop_too.store(true, Ordering::Relaxed))?;

    let channel = Channel::new("robot/scan").max_len(MAX_POINTS);
    let mut publisher = Publisher::<LaserScan>::new(channel)?;
    let frame_id = FrameId::new("laser")?;
    let mut next = Instant::now();
    for turn in 0_usize.. {
        // Some scanners have more points when they turn slowly.
        let count = 360 + 90 * (turn % 4);
        let mut scan = publisher.loan_with_len(count)?.zeroed();
        scan.header = Header { stamp: Time::now(), frame_id };
        (scan.angle_min, scan.angle_max) = (-PI, PI - TAU / count as f32);
        scan.angle_increment = TAU / count as f32;
        scan.scan_time = PERIOD.as_secs_f32();
        scan.time_increment = scan.scan_time / count as f32;
        (scan.range_min, scan.range_max) = (*RANGE.start(), *RANGE.end());
        for ray in 0..count {
            let range = wall(scan.angle_of(ray), turn);
            scan.points[ray] = ScanPoint { range, intensity: 1.0 / range };
        }
        scan.send();
        if stop.load(Ordering::Relaxed) {
            break;
        }
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// How far it is to a wall of a room of 8 by 6 metres, from its middle, or to somebody who walks around
/// in it at 1.5 metres.
fn wall(angle: f32, turn: usize) -> f32 {
    let wall = (4.0 / angle.cos().abs()).min(3.0 / angle.sin().abs());
    let walker = (turn as f32 * 0.05) % TAU - PI;
    let away = (angle - walker + PI).rem_euclid(TAU) - PI;
    if away.abs() < 0.15 { 1.5 } else { wall }
}

fn watch() -> Result<(), Box<dyn std::error::Error>> {
    let mut scans = Subscriber::<LaserScan>::new("robot/scan")?;
    let interrupter = scans.interrupter();
    ctrlc::set_handler(move || interrupter.interrupt())?;

    let mut stdout = std::io::stdout().lock();
    for scan in scans.iter() {
        let scan = scan?;
        let nearest = scan.hits().min_by(|(_, a), (_, b)| a.range.total_cmp(&b.range));
        let line = match nearest {
            Some((angle, point)) => {
                format!("nearest {:.2} m at {:.0} degrees", point.range, angle.to_degrees())
            }
            None => "nothing near".to_owned(),
        };
        let (points, Time { sec, nanosec }) = (scan.points.len(), scan.header.stamp);
        let line = format!("{sec}.{:03}: {points} points, {line}", nanosec / 1_000_000);
        if writeln!(stdout, "{line}").is_err() {
            break; // nobody reads any more, as after `| head`
        }
    }
    Ok(())
}
