//! Drives a process that lives apart: as another user, in namespaces of its own, on a small file
//! system. The process is the binary `isolated`, which says what can be asked of it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No answer takes as long, on any machine that is not broken.
pub const SOON: Duration = Duration::from_secs(30);

/// Says that a test did not run, and why. The harness does not capture this.
pub fn skip(test: &str, needs: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {needs}");
}

/// Whether there can be processes of other users here. Says so if not.
pub fn has_users(test: &str, binary: &str) -> bool {
    let other = Isolated::start(binary, &["user=23451:23451"]);
    if let Err(reason) = &other {
        skip(test, &format!("needs root (it acts as several users; {reason})"));
    }
    other.is_ok()
}

/// A folder of one test, in memory. Dropped: gone, with all that is in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Of that mode, whatever the umask.
    pub fn new(mode: u32) -> Folder {
        let number = RandomState::new().build_hasher().finish();
        let path = PathBuf::from(format!("/dev/shm/shm-comm-test-{number:016x}"));
        std::fs::create_dir(&path).unwrap();
        let folder = Folder(path);
        std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where something in it is.
    pub fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("our own names are text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        // A second panic would hide the first.
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// Owner and mode of what is there, a link not followed.
pub fn owner_and_mode(path: &str) -> (u32, u32) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.mode() & 0o7777)
}

/// Everything that would show that somebody has touched what is there.
pub fn fingerprint(path: &str) -> impl PartialEq + std::fmt::Debug + use<> {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
    let changed = (metadata.ctime(), metadata.ctime_nsec(), metadata.nlink());
    (metadata.ino(), owner, group, mode, changed)
}

/// What a process apart answers: its result, or the text of its error.
pub type Answer<T = String> = Result<T, String>;

/// A process apart. Dropped: killed.
#[derive(Debug)]
pub struct Isolated {
    child: Child,
    /// The process that answers: the child, or one that it has forked into namespaces.
    pid: u32,
    asking: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Isolated {
    /// Starts `binary` with this set-up, or says why it cannot be had here.
    pub fn start(binary: &str, set_up: &[&str]) -> Answer<Isolated> {
        let mut command = Command::new(binary);
        command
            .args(set_up)
            .env_remove("SHM_COMM_ROOT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (asking, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (to, answers) = channel();
        // Reading has no deadline of its own. The thread ends with the process.
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
        });
        let pid = child.id();
        let mut isolated = Isolated { child, pid, asking, answers };
        loop {
            let line = isolated.answer();
            match line.split_once(' ') {
                _ if line == "ready" => return Ok(isolated),
                Some(("pid", pid)) => isolated.pid = pid.parse().unwrap(),
                Some(("unavailable", reason)) => return Err(reason.to_owned()),
                _ => panic!("not expected: {line}"),
            }
        }
    }

    /// The process that answers, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Has it do something, and waits until it has.
    pub fn ask(&mut self, line: impl AsRef<str>) -> Answer {
        self.tell(line);
        let answer = self.answer();
        match answer.split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some(("error", text)) => Err(text.to_owned()),
            _ => panic!("not an answer: {answer}"),
        }
    }

    /// Has it do something that must work.
    #[track_caller]
    pub fn must(&mut self, line: impl AsRef<str>) -> String {
        let line = line.as_ref();
        self.ask(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Has it do something that must work and says so many numbers.
    #[track_caller]
    pub fn numbers<const N: usize>(&mut self, line: impl AsRef<str>) -> [u64; N] {
        let answer = self.must(line);
        let numbers: Vec<u64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("not {N} numbers: {answer}"))
    }

    /// Has it do something and does not wait.
    pub fn tell(&mut self, line: impl AsRef<str>) {
        let asking = self.asking.as_mut().expect("it is alive");
        writeln!(asking, "{}", line.as_ref()).unwrap();
    }

    fn answer(&mut self) -> String {
        match self.answers.recv_timeout(SOON) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no answer in {SOON:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("it died: {}", self.wait()),
        }
    }

    /// Kills it, and waits until it is dead.
    pub fn kill(mut self) {
        // SAFETY: No pointers are involved. It is our child, or a child of our child, which waits for
        // it and then ends: so the pid is still its own.
        let result = unsafe { libc::kill(self.pid as libc::pid_t, libc::SIGKILL) };
        assert_eq!(result, 0, "it ended by itself");
        assert_eq!(signal(self.wait()), Some(libc::SIGKILL));
    }

    /// Waits until it is dead, and says of which signal.
    pub fn death(mut self) -> Option<i32> {
        signal(self.wait())
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it does not end");
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        // It ends at the end of its input, and gives up what it has; if it does not, it is killed.
        self.asking = None;
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one who waits for a process in a namespace tells by its exit status, as a shell does.
fn signal(status: ExitStatus) -> Option<i32> {
    status.signal().or_else(|| status.code().map(|code| code - 128).filter(|signal| *signal > 0))
}
