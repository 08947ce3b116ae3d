//! A crew of peers that are killed at random, and started again.

use crate::harness::{Peer, random};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Starts a member for the n-th time.
pub type Start<'a> = Box<dyn Fn(u64) -> Peer + 'a>;

/// One who is started again whenever he was killed.
struct Member<'a> {
    start: Start<'a>,
    /// So often he was started.
    lives: u64,
    /// `None`: he is dead.
    peer: Option<Peer>,
    /// When he is to come again.
    returns: Instant,
}

impl Member<'_> {
    fn come(&mut self) {
        if self.peer.is_none() {
            self.peer = Some((self.start)(self.lives));
            self.lives += 1;
        }
    }
}

/// All of them.
pub struct Crew<'a> {
    members: Vec<Member<'a>>,
    /// So many were killed.
    pub kills: u64,
}

impl<'a> Crew<'a> {
    /// Starts them.
    pub fn start(members: impl IntoIterator<Item = Start<'a>>) -> Crew<'a> {
        let member = |start| Member { start, lives: 0, peer: None, returns: Instant::now() };
        let mut crew = Crew { members: members.into_iter().map(member).collect(), kills: 0 };
        crew.gather();
        crew
    }

    /// Kills one, if he is there. [`restart`](Self::restart) does not start him before this pause is over.
    pub fn kill(&mut self, member: usize, pause: Duration) {
        let member = &mut self.members[member];
        if let Some(peer) = member.peer.take() {
            peer.kill();
            self.kills += 1;
            member.returns = Instant::now() + pause;
        }
    }

    /// Kills anybody. Mostly he comes again at once, and cleans up; now and then it is up to the others.
    pub fn kill_anybody(&mut self) {
        let pause = if random(3) == 0 { random(150) } else { 0 };
        self.kill(random(self.members.len() as u64) as usize, Duration::from_millis(pause));
        self.restart();
    }

    /// Kills everybody, so that for a moment nobody is there.
    pub fn kill_everybody(&mut self) {
        let first = random(self.members.len() as u64) as usize;
        for i in 0..self.members.len() {
            self.kill((first + i) % self.members.len(), Duration::ZERO);
        }
        self.restart();
    }

    /// Starts those whose time has come.
    pub fn restart(&mut self) {
        let now = Instant::now();
        self.members.iter_mut().filter(|member| member.returns <= now).for_each(Member::come);
    }

    /// Starts all who are not there.
    pub fn gather(&mut self) {
        self.members.iter_mut().for_each(Member::come);
    }

    /// How often one was started.
    pub fn lives(&self, member: usize) -> u64 {
        self.members[member].lives
    }

    /// Waits for the end of one who was told to end. `None`: he is dead.
    pub fn wait(&mut self, member: usize) -> Option<ExitStatus> {
        self.members[member].peer.take().map(Peer::wait)
    }
}
