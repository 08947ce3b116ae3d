//! `shm-comm echo` on a channel that is being measured: the program itself, in a process of its own.

use std::fs::File;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, machine};

/// The hidden first argument of that process.
const ECHO: &str = "--echo";
/// How long it has for its start.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process. Dropped: it is killed.
pub struct Echo {
    child: Child,
    output: PathBuf,
}

impl Echo {
    /// Starts it, and waits until it has opened the channel, which is there.
    pub fn start(folder: &Path, channel: &str) -> Result<Echo> {
        let output = folder.join(format!("{channel}.echo"));
        let child = Command::new(std::env::current_exe()?)
            .args([ECHO, &std::process::id().to_string(), "echo", channel, "--root"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .spawn()?;
        let echo = Echo { child, output };
        let descriptors = format!("/proc/{}/fd", echo.child.id());
        let file = folder.join(format!("{channel}.pubsub"));
        let start = Instant::now();
        while !leads_to(&descriptors, &file) {
            if start.elapsed() > PATIENCE {
                return Err("`shm-comm echo` has not opened its channel".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(echo)
    }
}

/// Whether one of these descriptors is that file.
fn leads_to(descriptors: &str, file: &Path) -> bool {
    let Ok(descriptors) = std::fs::read_dir(descriptors) else { return false };
    descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == file))
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The figure would not be what it says.
        if std::fs::metadata(&self.output).is_ok_and(|output| output.len() == 0) {
            eprintln!("warning: `shm-comm echo` has printed nothing in this row");
        }
        let _ = std::fs::remove_file(&self.output);
    }
}

/// The whole of that process, if this is it.
pub fn is_echo() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?;
    if args.next()? != ECHO {
        return None;
    }
    // SAFETY: Takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if args.next()?.to_str()?.parse() != Ok(parent_id()) {
        return Some(ExitCode::FAILURE);
    }
    // Its parent keeps to one core, and has to itself what is left of that.
    if let Err(error) = machine::unpin() {
        eprintln!("error: {error}");
        return Some(ExitCode::FAILURE);
    }
    Some(shm_comm_cli::main(std::iter::once(program).chain(args)))
}
