//! Completion: the shell asks this program, so that it knows the channels that there are.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};

use crate::args::Args;
use crate::failure::Failure;

/// Set by the script, when the shell wants to know.
const VARIABLE: &str = "SHM_COMM_COMPLETE";
/// As the shell finds it.
const PROGRAM: &str = "shm-comm";

/// Answers the shell, if it is the shell that asks.
pub fn answer(args: &[OsString]) -> clap::error::Result<bool> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(Args::command).var(VARIABLE).try_complete(args, here.as_deref())
}

/// The script with which a shell learns to ask.
pub fn script(shell: clap_complete::Shell, out: &mut impl Write) -> Result<(), Failure> {
    if let Some(shell) = Shells::builtins().completer(&shell.to_string()) {
        shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, out)?;
    }
    Ok(())
}

/// Channels whose names begin so.
pub fn channels(beginning: &OsStr) -> Vec<CompletionCandidate> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let root = words.windows(2).rev().find(|pair| pair[0] == "--root");
    let root = root.map(|pair| PathBuf::from(&pair[1]));
    let there = shm_comm::channels(root.as_deref()).unwrap_or_default();
    let names = there.into_iter().filter(|channel| {
        beginning.to_str().is_some_and(|beginning| channel.name.starts_with(beginning))
    });
    names
        .map(|channel| {
            let help = crate::text::shown(&channel.type_name);
            CompletionCandidate::new(channel.name).help(Some(help.into()))
        })
        .collect()
}
