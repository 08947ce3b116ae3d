//! The harness of the benchmarks: two processes on two cores, and rows between raw probes.
//!
//! [`transport`] is what a transport implements, [`raw`] and [`shm`] are two that do, [`image`] and
//! [`encoded`] have others for single payloads, [`queue`] and [`service`] are other patterns; every other one is added there and in
//! [`transport::all`]. [`patterns`] has the loops that are timed,
//! [`peer`] the other process, [`watched`] one that looks on, [`probe`] the brackets, [`report`] what is printed.

pub mod args;
pub mod encoded;
pub mod image;
pub mod machine;
pub mod patterns;
pub mod peer;
pub mod probe;
pub mod queue;
pub mod raw;
pub mod report;
pub mod service;
pub mod shm;
pub mod transport;
pub mod watched;

/// What ends a benchmark. It is printed, and the exit code is 1.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// The usual result.
pub type Result<T> = std::result::Result<T, Failure>;

use args::Args;
use peer::Peer;
use std::process::ExitCode;

/// The whole of a benchmark's `main`: the arguments, the second process, the exit code.
pub fn run(
    about: &str,
    subjects: &[&'static str],
    measure: impl FnOnce(&Args, &mut Peer) -> Result<()>,
) -> ExitCode {
    if let Some(code) = watched::is_echo() {
        return code;
    }
    let result = match peer::assignment() {
        Some(assignment) => peer::serve(assignment),
        None => {
            let args = match Args::parse(about, subjects, std::env::args().skip(1)) {
                Ok(args) => args,
                Err(code) => return code,
            };
            Peer::start(args.deadline()).and_then(|mut peer| {
                let result = measure(&args, &mut peer);
                peer.stop();
                result
            })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
