//! A peer that runs step by step: to be killed, or looked at, between any two of its instructions.

use crate::harness::{Root, peer};
use std::io;
use std::os::unix::process::CommandExt;

/// How far it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// To its next mark.
    ToMark,
    /// To the next beginning or end of a system call.
    ToSystemCall,
    /// One instruction.
    OneInstruction,
}

/// Why it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is as far as it was to run.
    There,
    /// It has made a mark ([`mark`]).
    Mark,
    /// It has ended, with this code.
    Ended(i32),
}

/// Says to the tracer that the peer is at some point of its life. Without a tracer it is the end.
pub fn mark() {
    // SAFETY: The tracer keeps the signal for itself.
    unsafe { libc::raise(MARK) };
}

/// Keeps this thread, and the peers that it starts from now on, on one processor: many times faster
/// for who goes step by step. A hint.
pub fn stay_on_this_processor() {
    // SAFETY: All zeroes are a set, an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: No pointers are involved.
    let processor = unsafe { libc::sched_getcpu() };
    // SAFETY: A set of that size; what does not fit it is ignored.
    unsafe {
        libc::CPU_SET(processor.max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

const MARK: libc::c_int = libc::SIGUSR1;

/// A peer under the eyes of this thread, which alone may deal with it. Dropped: killed.
#[derive(Debug)]
pub struct Tracee {
    pid: libc::pid_t,
    ended: bool,
}

impl Tracee {
    /// Starts one, which stands before its first instruction. An error: tracing is not permitted.
    pub fn start(program: &str, root: &Root, role: &str, argument: u64) -> io::Result<Tracee> {
        let mut command = peer(program, root, "small", role, argument);
        // SAFETY: One system call, and no memory of the parent is touched.
        unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0)) };
        let child = command.spawn()?;
        let mut tracee = Tracee { pid: child.id() as libc::pid_t, ended: false };
        assert_eq!(tracee.wait(), Stop::There);
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        ptrace(libc::PTRACE_SETOPTIONS, tracee.pid, options)?;
        Ok(tracee)
    }

    /// Lets it run.
    pub fn run(&mut self, how: Run) -> Stop {
        let request = match how {
            Run::ToMark => libc::PTRACE_CONT,
            Run::ToSystemCall => libc::PTRACE_SYSCALL,
            Run::OneInstruction => libc::PTRACE_SINGLESTEP,
        };
        ptrace(request, self.pid, 0).unwrap();
        self.wait()
    }

    /// Lets it run to its next mark.
    pub fn run_to_mark(&mut self) {
        assert_eq!(self.run(Run::ToMark), Stop::Mark);
    }

    fn wait(&mut self) -> Stop {
        let mut status = 0;
        // SAFETY: `status` may be written to.
        let pid = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
        assert_eq!(pid, self.pid, "{}", io::Error::last_os_error());
        if libc::WIFEXITED(status) {
            self.ended = true;
            return Stop::Ended(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            self.ended = true;
            panic!("it has died of signal {}", libc::WTERMSIG(status));
        }
        match libc::WSTOPSIG(status) {
            MARK => Stop::Mark,
            // A system call says so by the bit.
            signal if signal & !0x80 == libc::SIGTRAP => Stop::There,
            signal => panic!("it has got signal {signal}"),
        }
    }

    /// Kills it where it stands. When this returns, it is gone.
    pub fn kill(self) {}
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // Until it was waited for the pid is its own.
        while !self.ended {
            let mut status = 0;
            // SAFETY: No pointers are involved.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            // SAFETY: `status` may be written to.
            let pid = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            self.ended = pid != self.pid || libc::WIFEXITED(status) || libc::WIFSIGNALED(status);
        }
    }
}

/// With no address, and a signal or options as data.
fn ptrace(request: Request, pid: libc::pid_t, data: libc::c_int) -> io::Result<()> {
    let (address, data) = (std::ptr::null_mut::<libc::c_void>(), data as libc::c_long);
    // SAFETY: None of the requests made here reads or writes our memory.
    match unsafe { libc::ptrace(request, pid, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;
