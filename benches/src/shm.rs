//! This library: a publisher and a subscriber that spin, with everything else as it is by default.

use std::path::Path;

use shm_comm::{Channel, Publisher, Read, Subscriber, SubscriberOptions, Wait};

use crate::Result;
use crate::transport::{Mode, Receiver, Sender, Transport};
use crate::watched::Echo;

/// Messages up to this many words are written from a value, as most users do; longer ones in place.
const BY_VALUE: usize = 32;

/// The library's transport.
pub struct ShmComm;

impl Transport for ShmComm {
    const NAME: &'static str = "shm-comm";
    const MODES: &'static [Mode] = &[
        Mode { name: "pinned", payloads: &[8, 24, 40, 64, 256, 4096, 65536], streams: true },
        Mode { name: "copied", payloads: &[8, 24, 40, 64, 256, 4096, 65536], streams: true },
        Mode { name: "sleeping", payloads: &[24], streams: false },
        Mode { name: "watched", payloads: &[24], streams: false },
    ];

    type Sender<const N: usize> = Out<N>;
    type Receiver<const N: usize> = In<N>;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Out<N>> {
        Ok(Out(Publisher::<[u64; N]>::new(Channel::new(channel).root(folder))?))
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, mode: &str) -> Result<In<N>> {
        let options = SubscriberOptions::new();
        let options = match mode {
            "pinned" | "watched" => options.wait(Wait::Spin).read(Read::Pinned),
            "copied" => options.wait(Wait::Spin).read(Read::Copied),
            "sleeping" => options.wait(Wait::Sleep),
            other => return Err(format!("there is no mode {other:?}").into()),
        };
        let subscriber = Subscriber::with(Channel::new(channel).root(folder), options)?;
        let echo = match mode {
            "watched" => Some(Echo::start(folder, channel)?),
            _ => None,
        };
        Ok(In { subscriber, _echo: echo })
    }
}

/// A publisher.
pub struct Out<const N: usize>(Publisher<[u64; N]>);

impl<const N: usize> Sender<N> for Out<N> {
    #[inline(always)]
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()> {
        let loan = self.0.loan()?;
        if N <= BY_VALUE {
            let mut message = [0; N];
            fill(&mut message);
            loan.write(message);
        } else {
            let mut message = loan.reused();
            fill(&mut message);
            message.send();
        }
        Ok(())
    }
}

/// A subscriber, and perhaps somebody who looks on.
pub struct In<const N: usize> {
    subscriber: Subscriber<[u64; N]>,
    _echo: Option<Echo>,
}

impl<const N: usize> Receiver<N> for In<N> {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        let sample = self.subscriber.recv()?;
        Ok(read(&sample))
    }

    fn missed(&self) -> u64 {
        self.subscriber.stats().missed
    }
}
