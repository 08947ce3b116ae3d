//! Trajectories in the text form of the TUM RGB-D benchmark.
//!
//! One pose a line, `timestamp tx ty tz qx qy qz qw`, in seconds, metres and a unit quaternion;
//! timestamps increase. Empty lines and lines that begin with `#` are passed over. Source of the
//! format: <https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats>.

use std::fmt;

use shm_comm_schemas::{Point, Pose, Quaternion};

/// The columns of a line, in order.
const COLUMNS: [&str; 8] = ["timestamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw"];

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// When, in seconds.
    pub stamp: f64,
    /// Where.
    pub pose: Pose,
}

/// A text that is no trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseError {
    /// From 1; `None` if it is not about one line.
    line: Option<usize>,
    reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for ParseError {}

/// All poses of a text: at least one.
///
/// # Errors
///
/// The first line that is not as it should be.
pub fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at_line = |reason| ParseError { line: Some(number + 1), reason };
        let entry = parse_line(line).map_err(at_line)?;
        if let Some(before) = entries.last().filter(|before| before.stamp >= entry.stamp) {
            let Entry { stamp, .. } = entry;
            return Err(at_line(format!(
                "timestamp {stamp} does not come after {}, the one before it",
                before.stamp
            )));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(ParseError { line: None, reason: "there is no pose in it".to_owned() });
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<Entry, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.len() != COLUMNS.len() {
        let (expected, found) = (COLUMNS.len(), words.len());
        return Err(format!("{expected} columns expected ({}), found {found}", COLUMNS.join(" ")));
    }
    let mut values = [0.0_f64; COLUMNS.len()];
    for ((value, word), column) in values.iter_mut().zip(words).zip(COLUMNS) {
        *value = word.parse().map_err(|_| format!("{column} is {word:?}, not a number"))?;
        if !value.is_finite() {
            return Err(format!("{column} is {word}, not a finite number"));
        }
    }
    let [stamp, tx, ty, tz, qx, qy, qz, qw] = values;
    let position = Point { x: tx, y: ty, z: tz };
    let orientation = Quaternion { x: qx, y: qy, z: qz, w: qw };
    Ok(Entry { stamp, pose: Pose { position, orientation } })
}
