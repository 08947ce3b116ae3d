//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args as Arguments, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use clap_complete::engine::ArgValueCompleter;

use crate::completion;

/// Look at any shm-comm channel without its code.
///
/// Every channel describes its own messages, so this shows any of them. It only reads, and is no
/// subscriber: nobody sees it, and it disturbs nobody. Of a queue it takes no job, of a service no call.
#[derive(Parser, Debug)]
#[command(name = "shm-comm", version, after_help = EXIT_STATUS, after_long_help = EXAMPLES)]
pub struct Args {
    /// The folder of the channels [default: $SHM_COMM_ROOT, or /dev/shm/shm-comm-<user id>]
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub root: Option<PathBuf>,
    /// Write one JSON object a line, for programs
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "\
Exit status: 0 done, 1 it failed or something is wrong, 2 wrong arguments,
3 there is no such channel, 4 it took too long.";

const EXAMPLES: &str = "\
Examples:
  shm-comm ls                                   what channels there are
  shm-comm echo robot/pose                      every message, as it comes
  shm-comm echo robot/pose --field position.x   one field of it
  shm-comm hz robot/pose                        how often, how regular, how much
  shm-comm wait robot/pose && ./planner         start when somebody publishes
  shm-comm doctor                               what is wrong, if something hangs

Exit status: 0 done, 1 it failed or something is wrong, 2 wrong arguments,
3 there is no such channel, 4 it took too long.";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List channels, queues and services: type, participants, what waits, rate, memory
    #[command(after_help = "\
Examples:
  shm-comm ls
  shm-comm ls --interval 0                      at once, without rates
  shm-comm ls --json | jq -r 'select(.publishers == 0).name'
  shm-comm ls --json | jq 'select(.dead_letters > 0)'")]
    Ls(Ls),
    /// Show everything about a channel: fields, geometry, who is there and holds what
    #[command(after_help = "\
Examples:
  shm-comm info robot/pose
  shm-comm info robot/pose --json | jq .subscribers
  shm-comm info arm/tasks --json | jq .queue.dead_letters")]
    Info(Info),
    /// Print the messages of a channel, until Ctrl-C
    ///
    /// Only what is published: of a queue or a service there is nothing that everybody may see.
    #[command(after_help = "\
Examples:
  shm-comm echo robot/pose                      every message, as it comes
  shm-comm echo robot/pose --latest             the newest one that is there
  shm-comm echo arm/state --field joints[2].angle --field mode
  shm-comm echo robot/pose --json --count 10 | jq .position.x
  shm-comm echo robot/pose --csv > pose.csv")]
    Echo(Echo),
    /// Measure a channel: rate, jitter, bandwidth, loss
    #[command(after_help = "\
Examples:
  shm-comm hz robot/pose                        a line each second
  shm-comm hz robot/pose --interval 10 --count 1
  shm-comm hz robot/pose --spin                 exact to microseconds; takes a whole core")]
    Hz(Hz),
    /// Wait until somebody is there
    #[command(after_help = "\
Examples:
  shm-comm wait robot/pose && ./planner
  shm-comm wait robot/pose --publishers 2 --timeout 10 || exit 1
  shm-comm wait arm/plan && ./planner           when there is a server
  shm-comm wait arm/tasks --pullers 3")]
    Wait(Wait),
    /// Look for what is wrong: stale files, the dead, dead letters, jobs that nobody takes, damage
    #[command(after_help = "\
Examples:
  shm-comm doctor
  shm-comm doctor --fix                         remove what nobody is attached to

Exit status: 0 no problem (any more), perhaps notes and warnings, 1 a problem.")]
    Doctor(Doctor),
    /// Write a completion script for a shell
    #[command(after_help = "\
Examples:
  echo 'source <(shm-comm completions bash)' >> ~/.bashrc
  echo 'source <(shm-comm completions zsh)' >> ~/.zshrc
  echo 'shm-comm completions fish | source' > ~/.config/fish/completions/shm-comm.fish")]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Arguments, Debug)]
pub struct Ls {
    /// For how long to count messages, for the rates; 0: no rates
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds, allow_negative_numbers = true)]
    pub interval: Duration,
}

#[derive(Arguments, Debug)]
pub struct Info {
    /// The channel's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCompleter::new(completion::channels))]
    pub channel: String,
}

#[derive(Arguments, Debug)]
pub struct Echo {
    /// The channel's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCompleter::new(completion::channels))]
    pub channel: String,
    /// Only this field: pose.position.x, joints[2].angle; may be given several times
    #[arg(short, long = "field", value_name = "PATH")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub fields: Vec<String>,
    /// End after so many messages [default: with --latest 1, else never]
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Write a line of comma-separated values for each message, under a line of their names
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Begin with the newest message that is already there, not with the next to come
    #[arg(long)]
    pub latest: bool,
    /// Begin with the oldest message that is still there
    #[arg(long, conflicts_with = "latest")]
    pub oldest: bool,
    /// Also say who published each message, its number, and how many were missed (JSON and CSV)
    #[arg(long)]
    pub meta: bool,
    /// If there is no such channel yet, wait for it
    #[arg(long)]
    pub wait: bool,
    /// End with status 4 if no message comes for so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

#[derive(Arguments, Debug)]
pub struct Hz {
    /// The channel's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCompleter::new(completion::channels))]
    pub channel: String,
    /// How long to measure for each line
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = positive, allow_negative_numbers = true)]
    pub interval: Duration,
    /// End after so many lines [default: never]
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// If there is no such channel yet, wait for it
    #[arg(long)]
    pub wait: bool,
    /// Look all the time, not every 0.1 ms: exact to microseconds, and takes a whole core
    #[arg(long)]
    pub spin: bool,
}

#[derive(Arguments, Debug)]
pub struct Wait {
    /// The channel's name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(add = ArgValueCompleter::new(completion::channels))]
    pub channel: String,
    /// How many publishers, pushers, or servers there must be, at least [default: 1, with --subscribers 0]
    #[arg(long, visible_aliases = ["pushers", "servers"], value_name = "N")]
    pub publishers: Option<usize>,
    /// How many subscribers, pullers, or clients there must be, at least
    #[arg(long, visible_aliases = ["pullers", "clients"], value_name = "N", default_value = "0")]
    pub subscribers: usize,
    /// End with status 4 if it takes so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

#[derive(Arguments, Debug)]
pub struct Doctor {
    /// Remove the files that nobody is attached to
    #[arg(long)]
    pub fix: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    // More than a year is a mistake, too, and would not fit everywhere.
    let good = (0.0..=31_536_000.0).contains(&number);
    good.then(|| Duration::from_secs_f64(number)).ok_or("not from 0 to 31536000 seconds".to_owned())
}

fn positive(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("0 is too short".to_owned()),
        duration => Ok(duration),
    }
}
