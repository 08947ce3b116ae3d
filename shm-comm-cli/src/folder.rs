//! The folder that is looked at, and what is in it.

use std::path::PathBuf;

use shm_comm::{Access, Channel, ChannelInfo, FileInfo, Pattern};

use crate::failure::Failure;
use crate::text;

/// A folder of channels.
pub struct Folder {
    root: PathBuf,
    access: Access,
}

/// So many names are worth showing to somebody who has mistyped one.
const HINTS: usize = 5;
/// From this on two names are similar.
const SIMILAR: f64 = 0.75;

impl Folder {
    /// The one that was named, or that in which programs meet which name none.
    pub fn of(root: Option<PathBuf>) -> Folder {
        let (root, access) = shm_comm::root(root.as_deref());
        Folder { root, access }
    }

    /// Where it is, for people.
    pub fn shown(&self) -> String {
        text::shown(&self.root.display().to_string())
    }

    /// Whether there is such a folder: the first to open a channel makes it.
    pub fn is_there(&self) -> bool {
        self.root.exists()
    }

    /// A channel of this folder, whether it is there or not.
    pub fn channel(&self, name: &str) -> Channel {
        Channel::new(name).root(&self.root).access(self.access)
    }

    pub fn channels(&self) -> Result<Vec<ChannelInfo>, Failure> {
        Ok(shm_comm::channels(Some(&self.root))?)
    }

    pub fn files(&self) -> Result<Vec<FileInfo>, Failure> {
        Ok(shm_comm::files(Some(&self.root))?)
    }

    /// What there is of that name: one for each pattern. Not none.
    pub fn info(&self, name: &str) -> Result<Vec<ChannelInfo>, Failure> {
        let found = self.channel(name).info()?;
        if found.is_empty() { Err(self.no_channel(name)) } else { Ok(found) }
    }

    /// Whether there are messages on a channel that everybody may see. A job or a call is for one, and whoever
    /// only looks takes none. `waits`: it need not be there yet.
    pub fn expect_published(&self, name: &str, waits: bool) -> Result<(), Failure> {
        let found = if waits { self.channel(name).info() } else { Ok(self.info(name)?) };
        // Whoever waits for it learns later what else is wrong.
        let found = found.unwrap_or_default();
        let first = found.first().map_or(Pattern::PubSub, |info| info.pattern);
        if found.iter().any(|info| info.pattern == Pattern::PubSub) {
            return Ok(());
        }
        let reason = match first {
            Pattern::Queue => "each of its jobs is for one worker, and this takes none",
            Pattern::Service => "each of its calls is for one server, and this takes none",
            _ => return Ok(()),
        };
        Err(Failure::NothingIsPublished { channel: name.to_owned(), pattern: first, reason })
    }

    fn no_channel(&self, name: &str) -> Failure {
        let there = self.channels().unwrap_or_default();
        let mut names: Vec<&str> = there.iter().map(|channel| channel.name.as_str()).collect();
        names.dedup();
        let hint = match (similar(name, &names), &names[..]) {
            (similar, _) if !similar.is_empty() => format!("similar: {}", list(&similar)),
            (_, []) if !self.is_there() => "there is no such folder".to_owned(),
            (_, []) => "there are no channels there".to_owned(),
            (_, names) if names.len() <= HINTS => format!("there are: {}", list(names)),
            (_, names) => format!("there are {} others, see `shm-comm ls`", names.len()),
        };
        Failure::NoChannel { name: name.to_owned(), folder: self.shown(), hint }
    }
}

fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().map(|name| text::shown(name)).collect();
    shown.join(", ")
}

/// Those of the names that somebody may have meant, the most similar first.
pub fn similar<'n>(name: &str, names: &[&'n str]) -> Vec<&'n str> {
    let score = |other: &str| {
        let (name, other) = (name.to_lowercase(), other.to_lowercase());
        // A part of a name is what people remember.
        let is_part = !name.is_empty() && (other.contains(&name) || name.contains(&other));
        strsim::jaro_winkler(&name, &other).max(if is_part { 0.9 } else { 0.0 })
    };
    let mut scored: Vec<(f64, &str)> = names.iter().map(|other| (score(other), *other)).collect();
    scored.retain(|(score, _)| *score >= SIMILAR);
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, name)| name).take(HINTS).collect()
}

#[cfg(test)]
mod tests {
    use super::similar;

    #[test]
    fn names_that_somebody_may_have_meant_are_found() {
        let names = ["robot/pose", "robot/odometry", "camera/left/image", "clock"];
        assert_eq!(similar("robot/pos", &names), ["robot/pose", "robot/odometry"]);
        assert_eq!(similar("Robot/Pose", &names)[0], "robot/pose");
        assert_eq!(similar("odometry", &names), ["robot/odometry"]);
        assert_eq!(similar("image", &names), ["camera/left/image"]);
        assert_eq!(similar("clcok", &names), ["clock"]);
        assert!(similar("zzz", &names).is_empty());
        assert!(similar("", &names).is_empty());
    }
}
