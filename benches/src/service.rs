//! Calls: a requester and a replier that spin, with everything else as it is by default.

use std::path::Path;
use std::time::Duration;

use shm_comm::{Channel, Replier, ReplierOptions, Requester, RequesterOptions, Wait};

use crate::Result;
use crate::patterns::{self, Latency, Length, Served, fill_words, is_whole_words, wrong};
use crate::peer::{Commands, Peer};
use crate::transport::{Entry, Job, Mode};

/// A request and a reply of three words.
type Words = [u64; 3];

const MODES: &[Mode] = &[Mode { name: "spinning", payloads: &[24], streams: false }];
/// No call takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The library's services.
pub fn entry() -> Entry {
    let throughput = |_: &mut Peer, _: &Job, _: Length| Err("calls do not stream".into());
    Entry { name: "shm-comm service", modes: MODES, latency, throughput, serve }
}

fn latency(peer: &mut Peer, job: &Job, length: Length) -> Result<Latency> {
    let options = RequesterOptions::new().wait(Wait::Spin);
    let channel = Channel::new(&job.channel).root(peer.folder());
    let mut requester = Requester::<Words, Words>::with(channel, options)?;
    peer.begin(Served::Echo, job)?;
    patterns::round_trips(peer, length, 1, |number| {
        let mut request = Words::default();
        fill_words(&mut request, number);
        let reply = requester.request(&request, PATIENCE)?;
        Ok(is_whole_words(&reply, number + 1))
    })
}

fn serve(folder: &Path, job: &Job, _: Served, commands: &mut Commands) -> Result<()> {
    let options = ReplierOptions::new().wait(Wait::Spin);
    let channel = Channel::new(&job.channel).root(folder);
    let mut replier = Replier::<Words, Words>::with(channel, options)?;
    commands.answer("ready")?;
    while let Some((first, count)) = commands.go()? {
        for number in first..first + count {
            let request = replier.recv()?;
            if !is_whole_words(&request, number) {
                return Err(wrong(number));
            }
            let mut reply = Words::default();
            fill_words(&mut reply, number + 1);
            request.reply(&reply)?;
        }
        commands.answer("done")?;
    }
    Ok(())
}
