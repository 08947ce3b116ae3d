//! Notes that outlive whoever makes them, outside of all shared memory: a file each, written with one
//! system call before an operation and with another after it. What a process has noted before it is
//! killed is there.
//!
//! Killed between an operation and its note, a process leaves it open whether the operation was done.
//! Whoever reads the notes has to allow for both.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Which job, or which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Whose.
    pub who: u32,
    /// So often this one was started before.
    pub generation: u32,
    /// Its number, which goes on over all of his generations.
    pub number: u64,
}

impl Id {
    /// A word that belongs to this one only.
    pub fn word(self, i: usize) -> u64 {
        let salt = u64::from(self.who) << 56 ^ u64::from(self.generation) << 40 ^ self.number << 8;
        (salt ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What is about to happen, or has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A job is about to be pushed.
    Pushing,
    /// It was.
    Pushed,
    /// A worker has it.
    Got,
    /// It was done, and is about to be acknowledged.
    Did,
    /// It was.
    Acknowledged,
    /// It is about to be given back.
    GivesBack,
    /// A call has ended so.
    Replied,
    /// A call has ended so.
    ServerLost,
    /// A call has ended so.
    Declined,
    /// A call has ended so.
    NoServer,
    /// A call has ended so.
    TimedOut,
    /// A call was cancelled.
    Cancelled,
}

const EVERYTHING: [What; 12] = [
    What::Pushing,
    What::Pushed,
    What::Got,
    What::Did,
    What::Acknowledged,
    What::GivesBack,
    What::Replied,
    What::ServerLost,
    What::Declined,
    What::NoServer,
    What::TimedOut,
    What::Cancelled,
];

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub what: What,
    /// Of which.
    pub id: Id,
    /// Of a job: how often it was delivered. Of a call: by how many microseconds it was late.
    pub count: u64,
}

/// A divisor of a page: a kill may tear a write in two where a page ends, and nowhere else.
pub const BYTES: usize = 32;

impl Note {
    fn bytes(self) -> [u8; BYTES] {
        let words = [self.what as u32, self.id.who, self.id.generation, 0];
        let numbers = [self.id.number, self.count];
        let mut bytes = [0; BYTES];
        let (first, second) = bytes.split_at_mut(16);
        first
            .chunks_exact_mut(4)
            .zip(words)
            .for_each(|(to, w)| to.copy_from_slice(&w.to_ne_bytes()));
        second
            .chunks_exact_mut(8)
            .zip(numbers)
            .for_each(|(to, n)| to.copy_from_slice(&n.to_ne_bytes()));
        bytes
    }

    fn of(bytes: &[u8]) -> Note {
        let word = |i: usize| u32::from_ne_bytes(bytes[i..i + 4].try_into().unwrap());
        let number = |i: usize| u64::from_ne_bytes(bytes[i..i + 8].try_into().unwrap());
        let id = Id { who: word(4), generation: word(8), number: number(16) };
        Note { what: EVERYTHING[word(0) as usize], id, count: number(24) }
    }
}

/// Where somebody makes his notes.
#[derive(Debug)]
pub struct Notebook(File);

impl Notebook {
    /// Opens one, to go on at its end.
    pub fn open(path: &Path) -> io::Result<Notebook> {
        File::options().read(true).append(true).create(true).open(path).map(Notebook)
    }

    /// The last note in it.
    pub fn last(&self) -> io::Result<Option<Note>> {
        let len = self.0.metadata()?.len();
        let Some(start) = len.checked_sub(BYTES as u64) else { return Ok(None) };
        let mut bytes = [0; BYTES];
        self.0.read_exact_at(&mut bytes, start)?;
        Ok(Some(Note::of(&bytes)))
    }

    /// Makes a note.
    pub fn note(&mut self, what: What, id: Id, count: u64) -> io::Result<()> {
        self.0.write_all(&Note { what, id, count }.bytes())
    }
}

/// All notes in a book; none if there is no such book.
pub fn read(path: &Path) -> Vec<Note> {
    let bytes = std::fs::read(path).unwrap_or_default();
    assert!(bytes.len().is_multiple_of(BYTES), "a note is torn: {}", path.display());
    bytes.chunks_exact(BYTES).map(Note::of).collect()
}

/// How many there are.
pub fn count(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |data| data.len() / BYTES as u64)
}

/// The folder with the notes of all who take part in something.
#[derive(Debug)]
pub struct Desk(tempfile::TempDir);

impl Desk {
    /// A new one, not in shared memory.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Somebody's book.
    pub fn book(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Tells everybody with this part to end.
    pub fn stop(&self, part: &str) {
        File::create(self.path().join(format!("stop-{part}"))).unwrap();
    }
}

/// Whether everybody with this part is to end.
pub fn is_stopped(desk: &Path, part: &str) -> bool {
    desk.join(format!("stop-{part}")).exists()
}
