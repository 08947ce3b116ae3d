//! The arguments, the same for every benchmark.

use std::process::ExitCode;
use std::time::Duration;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// What is measured: one of those that the benchmark has; the first one if nothing is said.
    pub what: &'static str,
    /// One JSON object a line on stdout, and nothing else.
    pub json: bool,
    /// Few short rounds.
    pub quick: bool,
}

impl Args {
    /// Reads the arguments. `Err` is the exit code of a program that has nothing more to do: 0
    /// after the help text, 2 after a mistake, which is explained on stderr.
    pub fn parse(
        about: &str,
        subjects: &[&'static str],
        args: impl IntoIterator<Item = String>,
    ) -> Result<Args, ExitCode> {
        let mut parsed = Args { what: subjects.first().unwrap_or(&""), ..Args::default() };
        for arg in args {
            match arg.as_str() {
                "--json" => parsed.json = true,
                "--quick" => parsed.quick = true,
                "--help" | "-h" => {
                    println!("{about}\n\nsubjects: {}\n{OPTIONS}", subjects.join(", "));
                    return Err(ExitCode::SUCCESS);
                }
                // Given to a bench target by `cargo bench`.
                "--bench" => (),
                other => match subjects.iter().find(|subject| **subject == other) {
                    Some(subject) => parsed.what = subject,
                    None => {
                        let subjects = subjects.join(", ");
                        eprintln!(
                            "error: unknown argument {other:?}\n\nsubjects: {subjects}\n{OPTIONS}"
                        );
                        return Err(ExitCode::from(2));
                    }
                },
            }
        }
        Ok(parsed)
    }

    /// After this time something hangs, and both processes are ended.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(if self.quick { 60 } else { 300 })
    }
}

const OPTIONS: &str = "\
options:
  --json   one JSON object a line on stdout, nothing else
  --quick  few short rounds, in less than 20 seconds
  --help   this text";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, ExitCode> {
        Args::parse("", &["pubsub", "service"], args.iter().map(|arg| arg.to_string()))
    }

    #[test]
    fn options_come_in_any_order() {
        assert_eq!(parse(&[]), Ok(Args { what: "pubsub", json: false, quick: false }));
        let all = Args { what: "service", json: true, quick: true };
        assert_eq!(parse(&["--quick", "service", "--json"]), Ok(all));
    }

    #[test]
    fn an_unknown_argument_is_a_usage_error() {
        assert_eq!(parse(&["--jsn"]), Err(ExitCode::from(2)));
        assert_eq!(parse(&["--help"]), Err(ExitCode::SUCCESS));
    }
}
