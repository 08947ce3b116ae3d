//! What a channel knows of its messages: layouts as tables, a mismatch explained, and an old reader of a
//! newer message.
//!
//! ```text
//! cargo run --example schema_tour
//! ```

#[allow(dead_code)] // only `folder` and `stop_flag`
mod two_processes;

use std::error::Error;
use std::io::{self, Write};

use shm_comm::{
    AttachError, Channel, Publisher, Schema, ShmMessage, ShmOption, ShmString, ShmVec, Subscriber,
};
use shm_comm_schemas::{Image, JointState, PoseStamped};

/// A bit of everything.
#[derive(ShmMessage)]
#[repr(C)]
struct Mission {
    id: u64,
    name: ShmString<28>,
    stops: ShmVec<[f32; 2], 8>,
    deadline: ShmOption<u32>,
    mode: Mode,
    urgent: bool,
    _pad0: [u8; 10],
}

#[derive(ShmMessage)]
#[repr(u8)]
enum Mode {
    Explore = 0,
    Deliver = 1,
    Dock = 3,
}

/// The message as this program has it.
mod ours {
    use super::ShmMessage;

    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
        pub vx: f32,
        pub mode: Mode,
        pub _pad0: [u8; 3],
    }

    #[derive(ShmMessage)]
    #[repr(u8)]
    pub enum Mode {
        Idle = 0,
        Drive = 1,
    }
}

/// And as the program has it that was there first.
mod theirs {
    use super::ShmMessage;

    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
        pub vx: f64,
        pub mode: Mode,
        pub _pad0: [u8; 7],
    }

    #[derive(ShmMessage)]
    #[repr(u8)]
    pub enum Mode {
        Idle = 0,
        Drive = 1,
        Dock = 3,
    }
}

/// A message as it was, and as it became: it has gained a field at its end.
mod before {
    use super::ShmMessage;

    #[derive(ShmMessage, Debug)]
    #[repr(C)]
    pub struct Battery {
        pub volts: f64,
        pub amperes: f64,
    }
}

mod after {
    use super::ShmMessage;

    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Battery {
        pub volts: f64,
        pub amperes: f64,
        pub celsius: f64,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match tour(std::io::stdout().lock()) {
        // Whoever reads it, `head` perhaps, has seen enough.
        Err(error) if is_broken_pipe(&*error) => Ok(()),
        result => result,
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn tour(mut out: impl Write) -> Result<(), Box<dyn Error>> {
    // It ends by itself in a moment, and is not to leave its folder behind.
    let _stop = two_processes::stop_flag()?;
    let root = two_processes::folder("shm-comm-tour-")?;
    let channel = |name| Channel::new(name).root(root.path());

    writeln!(out, "== Layouts\n")?;
    for schema in [
        Schema::of::<PoseStamped>(),
        Schema::of::<JointState<7>>(),
        Schema::of::<Image>(),
        Schema::of::<Mission>(),
    ] {
        writeln!(out, "{schema}\n")?;
    }

    writeln!(out, "== A channel tells what it carries\n")?;
    let mission = Publisher::<Mission>::new(channel("mission"))?;
    for info in channel("mission").info()? {
        let text = info.schema.canonical();
        writeln!(out, "{} {}: {text}\n", info.name, info.pattern)?;
    }
    drop(mission);

    writeln!(out, "== A mismatch, explained\n")?;
    let theirs = Publisher::<theirs::Pose>::new(channel("robot/pose"))?;
    match Subscriber::<ours::Pose>::new(channel("robot/pose")) {
        Err(error @ AttachError::SchemaMismatch { .. }) => writeln!(out, "{error}\n")?,
        other => return Err(format!("this should have been a mismatch: {other:?}").into()),
    }
    drop(theirs);

    writeln!(out, "== An old reader of a newer message\n")?;
    let mut publisher = Publisher::<after::Battery>::new(channel("battery"))?;
    let mut subscriber = Subscriber::<before::Battery>::new(channel("battery"))?;
    publisher.send(&after::Battery { volts: 24.5, amperes: -1.5, celsius: 31.0 })?;
    let battery = subscriber.recv()?;
    writeln!(out, "published 24 bytes, read in place: {:?}", *battery)?;
    Ok(())
}
