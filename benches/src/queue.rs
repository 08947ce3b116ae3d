//! Jobs: one pusher, and one worker on another core, or two on that one core.

use std::path::Path;
use std::time::Instant;

use shm_comm::{Channel, Puller, PullerOptions, Pusher, PusherOptions, Wait};

use crate::Result;
use crate::patterns::{self, Length, Served, Throughput, fill_words, is_whole_words};
use crate::peer::{Commands, Peer};
use crate::transport::{Entry, Job, Mode};

/// Bytes of a job.
pub const PAYLOAD: usize = size_of::<Words>();
/// A job.
type Words = [u64; 8];

const ONE: &str = "one worker";
const TWO: &str = "two workers";
const MODES: &[Mode] = &[
    Mode { name: ONE, payloads: &[], streams: true },
    Mode { name: TWO, payloads: &[], streams: true },
];
/// The number of no job: whoever gets it stops.
const STOP: u64 = 0;

/// The library's work queue.
pub fn entry() -> Entry {
    let latency = |_: &mut Peer, _: &Job, _: Length| Err("jobs do not come back".into());
    Entry { name: "shm-comm queue", modes: MODES, latency, throughput, serve }
}

/// How many workers there are, and how they wait: two of them have to give the core to each other.
fn workers(mode: &str) -> (usize, Wait) {
    if mode == TWO { (2, Wait::default()) } else { (1, Wait::Spin) }
}

fn throughput(peer: &mut Peer, job: &Job, length: Length) -> Result<Throughput> {
    let (count, _) = workers(&job.mode);
    let channel = Channel::new(&job.channel).root(peer.folder());
    let options = PusherOptions::new().wait(Wait::Spin);
    let mut pusher = Pusher::<Words>::with(channel, options)?;
    peer.begin(Served::Count, job)?;
    patterns::streams(peer, length, |first, jobs| {
        for number in first..first + jobs {
            let mut job = Words::default();
            fill_words(&mut job, number);
            pusher.loan()?.write(job);
        }
        for _ in 0..count {
            pusher.send(&[STOP; 8])?;
        }
        Ok(())
    })
}

fn serve(folder: &Path, job: &Job, _: Served, commands: &mut Commands) -> Result<()> {
    let (count, wait) = workers(&job.mode);
    let open = || {
        let channel = Channel::new(&job.channel).root(folder);
        Puller::<Words>::with(channel, PullerOptions::new().wait(wait))
    };
    let mut pullers = (0..count).map(|_| open()).collect::<std::result::Result<Vec<_>, _>>()?;
    commands.answer("ready")?;
    while commands.go()?.is_some() {
        commands.answer("counting")?;
        let start = Instant::now();
        let counted = std::thread::scope(|scope| {
            let threads: Vec<_> =
                pullers.iter_mut().map(|puller| scope.spawn(|| work(puller))).collect();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        let ns = start.elapsed().as_nanos();
        let (mut received, mut torn) = (0, 0);
        for counts in counted {
            let counts = counts.map_err(|_| "a worker has panicked")??;
            (received, torn) = (received + counts.0, torn + counts.1);
        }
        commands.answer(&format!("done {received} 0 {torn} {ns}"))?;
    }
    Ok(())
}

/// Does jobs until it is told to stop. How many there were, and how many of them were torn.
fn work(puller: &mut Puller<Words>) -> Result<(u64, u64)> {
    let (mut received, mut torn) = (0, 0);
    loop {
        let job = puller.recv()?;
        let number = job[0];
        if number == STOP {
            job.done();
            return Ok((received, torn));
        }
        received += 1;
        torn += u64::from(!is_whole_words(&job, number));
        job.done();
    }
}
