//! The program `shm-comm`: looks at any channel without the code of its programs.
//!
//! Everything it knows it has from the public interface of the library, and everything it says of a
//! channel from the channel. It opens channels for reading only; only `doctor --fix` removes anything.
//! How to use it is in `docs/cli.md` and in its `--help`.
//!
//! It is a library for programs that want to do exactly the same, as the benchmarks do.

mod args;
mod completion;
mod doctor;
mod echo;
mod failure;
mod folder;
mod hz;
mod info;
mod ls;
mod record;
mod text;
mod wait;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;
use folder::Folder;

/// The program of the documentation, which is to compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/cli.md")]
struct Documentation;

/// Does what the arguments say, the first of which is the program's name. The exit status is 0 if that was
/// done, 1 if it failed, 2 for wrong arguments, 3 if there is no such channel, 4 if it took too long.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match completion::answer(&args) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return said(&error),
    }
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return said(&error),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(args, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever has read the output has seen enough: `shm-comm echo … | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = out.flush();
            // `doctor` has said it.
            if !matches!(failure, Failure::Unhealthy) {
                say(&failure);
            }
            ExitCode::from(failure.status())
        }
    }
}

/// To whoever reads stderr, if anybody does.
fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "shm-comm: {what}");
}

/// Help goes to stdout and is no error; there is nobody to tell if it cannot be written.
fn said(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(args: Args, out: &mut impl Write) -> Result<(), Failure> {
    let folder = Folder::of(args.root);
    match args.command {
        Command::Ls(options) => ls::run(&folder, &options, args.json, out),
        Command::Info(options) => info::run(&folder, &options, args.json, out),
        Command::Echo(options) => echo::run(&folder, &options, args.json, out),
        Command::Hz(options) => hz::run(&folder, &options, args.json, out),
        Command::Wait(options) => wait::run(&folder, &options, args.json, out),
        Command::Doctor(options) => doctor::run(&folder, &options, args.json, out),
        Command::Completions { shell } => completion::script(shell, out),
    }
}
