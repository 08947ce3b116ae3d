//! `shm-comm doctor`: what is wrong, and away with what nobody is attached to.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use shm_comm::{AttachError, ChannelInfo, FileInfo, Pattern};

use crate::args::Doctor;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::text;

/// Something that is worth saying, as one line of JSON.
#[derive(Serialize)]
struct Finding {
    /// The channel's name; empty for a file that is none.
    channel: String,
    path: String,
    severity: Severity,
    finding: String,
    /// It could be removed, by `--fix`.
    fixable: bool,
    fixed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// It will get right by itself, or is nobody's business.
    Note,
    /// Nothing is broken, but nothing goes on either before somebody does something.
    Warning,
    Problem,
}

pub fn run(
    folder: &Folder,
    options: &Doctor,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let files = folder.files()?;
    let mut findings = Vec::new();
    for file in &files {
        examine(folder, file, &mut findings);
    }
    if options.fix {
        for finding in findings.iter_mut().filter(|finding| finding.fixable) {
            // It refuses while anybody is attached, who may have come in the meantime.
            match folder.channel(&finding.channel).remove_stale() {
                Ok(_) => finding.fixed = !Path::new(&finding.path).exists(),
                Err(error) => {
                    finding.finding = format!("{}; cannot remove it: {error}", finding.finding)
                }
            }
        }
    }
    for finding in &findings {
        if json {
            text::json_line(out, finding)?;
        } else {
            writeln!(out, "{finding}")?;
        }
    }
    let is_left = |finding: &&Finding| finding.severity == Severity::Problem && !finding.fixed;
    let problems = findings.iter().filter(is_left).count();
    let is_warning = |finding: &&Finding| finding.severity == Severity::Warning;
    let warnings = findings.iter().filter(is_warning).count();
    let fixed = findings.iter().filter(|finding| finding.fixed).count();
    let fixable = findings.iter().filter(|finding| finding.fixable && !finding.fixed).count();
    if !json && !folder.is_there() {
        writeln!(out, "there is no folder {}", folder.shown())?;
    } else if !json {
        let channels = files.iter().filter(|file| matches!(file, FileInfo::Channel(_))).count();
        let (channels, problems) =
            (text::count(channels, "channel"), text::count(problems, "problem"));
        write!(out, "{channels} in {}, {problems}", folder.shown())?;
        if warnings > 0 {
            write!(out, ", {}", text::count(warnings, "warning"))?;
        }
        if fixed > 0 {
            write!(out, ", {} removed", text::count(fixed, "file"))?;
        } else if fixable > 0 && !options.fix {
            write!(out, "; `shm-comm doctor --fix` removes {}", text::count(fixable, "file"))?;
        }
        writeln!(out)?;
    }
    if problems > 0 { Err(Failure::Unhealthy) } else { Ok(()) }
}

fn examine(folder: &Folder, file: &FileInfo, findings: &mut Vec<Finding>) {
    let mut say = |path: &Path, severity, fixable, finding: String| {
        findings.push(Finding {
            channel: file.name().to_owned(),
            path: path.display().to_string(),
            severity,
            finding,
            fixable,
            fixed: false,
        });
    };
    match file {
        FileInfo::Channel(info) if info.is_stale => {
            let text = "stale: nobody is attached, its last participants were killed";
            say(&info.path, Severity::Problem, true, text.to_owned());
        }
        FileInfo::Channel(info) => {
            for note in the_dead(info) {
                say(&info.path, Severity::Note, false, note);
            }
            for (severity, text) in what_waits(info) {
                say(&info.path, severity, false, text);
            }
            match folder.channel(&info.name).check() {
                Ok(problems) => {
                    for problem in problems {
                        say(&info.path, Severity::Problem, false, format!("damaged: {problem}"));
                    }
                }
                Err(error) => say(&info.path, Severity::Problem, false, error.to_string()),
            }
        }
        FileInfo::Refused { path, error, .. } => {
            // One of another release is removed if nobody is attached to it; else that says so.
            let is_ours = matches!(error, AttachError::FormatVersion { .. });
            let advice = if is_ours { "" } else { "; remove it by hand if nobody needs it" };
            say(path, Severity::Problem, is_ours, format!("{error}{advice}"));
        }
        FileInfo::Replaced { path, is_awaited: true, .. } => {
            let text = "replaced, and kept for subscribers that have still to read it";
            say(path, Severity::Note, false, text.to_owned());
        }
        FileInfo::Replaced { path, name, .. } => {
            let text = "replaced, and those who were to read it were killed";
            say(path, Severity::Problem, !name.is_empty(), text.to_owned());
        }
        FileInfo::Foreign { path } => {
            say(path, Severity::Note, false, "not a file of shm-comm".to_owned());
        }
        _ => {}
    }
}

/// Who was killed, and has left something that others will clean up.
fn the_dead(info: &ChannelInfo) -> Vec<String> {
    let dead_publishers = info.publishers.iter().filter(|one| !one.alive);
    let publishers = dead_publishers.filter_map(|one| {
        let (number, pid) = (one.number, one.pid);
        Some(match info.pattern {
            // What it was writing is nobody's job yet.
            Pattern::Queue => {
                format!("pusher {number} (pid {pid}) was killed; its place is freed by who needs it")
            }
            Pattern::Service => {
                let held = text::count(one.held as usize, "call");
                format!(
                    "server {number} (pid {pid}) was killed, and holds {held}; the clients that wait are \
                     told in a moment"
                )
            }
            // Who has left has left a ring behind, and no pid.
            _ if pid == 0 => return None,
            _ => format!(
                "publisher {number} (pid {pid}) was killed; the next publisher takes its ring over"
            ),
        })
    });
    let dead_subscribers = info.subscribers.iter().filter(|one| !one.alive);
    let subscribers = dead_subscribers.map(|one| {
        let (number, pid, held) = (one.number, one.pid, one.held as usize);
        match info.pattern {
            Pattern::Queue => {
                let held = text::count(held, "job");
                format!(
                    "puller {number} (pid {pid}) was killed, and holds {held}; the next puller that waits \
                     or comes offers them again"
                )
            }
            Pattern::Service => {
                let held = text::count(held, "call");
                format!(
                    "client {number} (pid {pid}) was killed, and has {held} in flight; whoever waits or \
                     comes next frees them"
                )
            }
            _ => {
                let held = text::count(held, "slot");
                format!(
                    "subscriber {number} (pid {pid}) was killed, and holds {held}; a publisher or the next \
                     subscriber frees its place"
                )
            }
        }
    });
    publishers.chain(subscribers).collect()
}

/// A job that has waited so long is worth a word if nobody takes any.
const LONG: Duration = Duration::from_secs(10);

/// What is in a queue or a service and does not go on.
fn what_waits(info: &ChannelInfo) -> Vec<(Severity, String)> {
    let mut found = Vec::new();
    if let Some(queue) = &info.queue {
        let count = |count: u32, what| text::count(count as usize, what);
        let (jobs, letters) =
            (count(queue.queued, "job"), count(queue.dead_letters, "dead letter"));
        if info.is_waiting {
            let held = text::count(queue.held as usize, "slot");
            let text = format!(
                "waiting: nobody is attached; {jobs}, {held} of the dead, and {letters} are kept for \
                 whoever comes"
            );
            found.push((Severity::Note, text));
        }
        let is_pulled = info.subscribers.iter().any(|one| one.alive);
        if let Some(age) = queue.oldest.filter(|age| *age >= LONG && !is_pulled) {
            let text = format!("{jobs}, the oldest for {}, and nobody pulls", text::time(age));
            found.push((Severity::Warning, text));
        }
        if queue.free == 0 {
            let text = format!(
                "full, so that its pushers wait: {} slots with {jobs}, {} held, {letters}",
                info.slots, queue.held
            );
            found.push((Severity::Warning, text));
        }
        if queue.dead_letters > 0 {
            let text = format!(
                "{letters}: rejected, delivered too often, or no value; `Puller::dead_letters` reads and \
                 removes them"
            );
            found.push((Severity::Warning, text));
        }
    }
    if let Some(service) = &info.service {
        let is_served = info.publishers.iter().any(|one| one.alive);
        if service.queued > 0 && !is_served {
            let calls = text::count(service.queued as usize, "call");
            found.push((Severity::Note, format!("{calls} waiting, and there is no server")));
        }
        if service.free == 0 {
            let text = format!("full: all {} slots have a call, and clients wait", info.slots);
            found.push((Severity::Note, text));
        }
    }
    found
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match (self.fixed, self.severity) {
            (true, _) => "removed",
            (_, Severity::Problem) => "problem",
            (_, Severity::Warning) => "warning",
            (_, Severity::Note) => "note",
        };
        let name = if self.channel.is_empty() { &self.path } else { &self.channel };
        write!(f, "{severity:<8} {}: {}", text::shown(name), text::shown(&self.finding))
    }
}
