//! What a transport implements to be measured, about 40 lines each.

use std::path::Path;

use crate::patterns::{self, Served};
use crate::peer::{Commands, Peer};
use crate::{Result, encoded, image, raw, shm};

/// Something that carries messages of `N` words from one process to one other.
pub trait Transport: 'static {
    /// As in the tables.
    const NAME: &'static str;
    /// The ways in which it is measured.
    const MODES: &'static [Mode];
    /// Messages are written and compared whole; else only their first word, which is their number.
    const IS_TOUCHED: bool = true;
    /// So much fewer messages are exchanged before and between timed ones.
    const SLOWER: u64 = 1;

    /// The sending end.
    type Sender<const N: usize>: Sender<N>;
    /// The receiving end.
    type Receiver<const N: usize>: Receiver<N>;

    /// Opens the sending end of a channel of that name. Files go into `folder`.
    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Self::Sender<N>>;

    /// Opens the receiving end, in one of the modes. Either end may come first.
    fn receiver<const N: usize>(
        folder: &Path,
        channel: &str,
        mode: &str,
    ) -> Result<Self::Receiver<N>>;
}

/// One way of using a transport.
#[derive(Debug)]
pub struct Mode {
    /// As in the tables.
    pub name: &'static str,
    /// For which payloads, in bytes, the latency is measured.
    pub payloads: &'static [usize],
    /// It can send faster than is received.
    pub streams: bool,
}

/// The sending end.
pub trait Sender<const N: usize> {
    /// Sends one message, which `fill` writes completely: in place where the transport can.
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()>;
}

/// The receiving end.
pub trait Receiver<const N: usize> {
    /// Waits for the next message and shows it to `read`.
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R>;

    /// How many messages were lost before the last one that was received.
    fn missed(&self) -> u64 {
        0
    }
}

/// A transport with its loops, compiled for it.
pub struct Entry {
    /// [`Transport::NAME`].
    pub name: &'static str,
    /// [`Transport::MODES`].
    pub modes: &'static [Mode],
    /// Measures a row of latencies, from the first process.
    pub latency: fn(&mut Peer, &Job, patterns::Length) -> Result<patterns::Latency>,
    /// Measures a row of throughput, from the first process.
    pub throughput: fn(&mut Peer, &Job, patterns::Length) -> Result<patterns::Throughput>,
    /// Plays the second process's part in it.
    pub serve: fn(&Path, &Job, Served, &mut Commands) -> Result<()>,
}

/// What both processes must know of a row.
#[derive(Clone, Debug)]
pub struct Job {
    /// [`Transport::NAME`].
    pub transport: String,
    /// [`Mode::name`].
    pub mode: String,
    /// In bytes.
    pub payload: usize,
    /// A name that no other row has.
    pub channel: String,
}

/// All transports that are measured.
pub fn all() -> Vec<Entry> {
    vec![
        entry::<raw::Line>(),
        entry::<shm::ShmComm>(),
        entry::<encoded::IntoSlot>(),
        entry::<encoded::ByVec>(),
        image::<image::Image<false>>(),
        image::<image::Image<true>>(),
        image::<image::RawImage<1>>(),
        image::<image::RawImage<16>>(),
    ]
}

/// The one that has this mode.
pub fn named(name: &str, mode: &str) -> Result<Entry> {
    let is_it = |entry: &Entry| {
        entry.name == name && entry.modes.iter().any(|candidate| candidate.name == mode)
    };
    let unknown = || format!("there is no transport {name:?} with mode {mode:?}");
    let others = [crate::queue::entry(), crate::service::entry()];
    Ok(all().into_iter().chain(others).find(is_it).ok_or_else(unknown)?)
}

/// A transport of images only.
fn image<T: Transport>() -> Entry {
    Entry {
        name: T::NAME,
        modes: T::MODES,
        latency: patterns::latency::<T, { image::WORDS }>,
        throughput: patterns::throughput::<T, { image::WORDS }>,
        serve: patterns::serve::<T, { image::WORDS }>,
    }
}

fn entry<T: Transport>() -> Entry {
    Entry {
        name: T::NAME,
        modes: T::MODES,
        latency: |peer, job, length| match job.payload {
            8 => patterns::latency::<T, 1>(peer, job, length),
            24 => patterns::latency::<T, 3>(peer, job, length),
            40 => patterns::latency::<T, 5>(peer, job, length),
            64 => patterns::latency::<T, 8>(peer, job, length),
            256 => patterns::latency::<T, 32>(peer, job, length),
            4096 => patterns::latency::<T, 512>(peer, job, length),
            65536 => patterns::latency::<T, 8192>(peer, job, length),
            other => Err(format!("no loop is compiled for {other} bytes").into()),
        },
        throughput: |peer, job, length| match job.payload {
            48 => patterns::throughput::<T, 6>(peer, job, length),
            other => Err(format!("no loop is compiled for {other} bytes").into()),
        },
        serve: |folder, job, part, commands| match job.payload {
            8 => patterns::serve::<T, 1>(folder, job, part, commands),
            24 => patterns::serve::<T, 3>(folder, job, part, commands),
            40 => patterns::serve::<T, 5>(folder, job, part, commands),
            48 => patterns::serve::<T, 6>(folder, job, part, commands),
            64 => patterns::serve::<T, 8>(folder, job, part, commands),
            256 => patterns::serve::<T, 32>(folder, job, part, commands),
            4096 => patterns::serve::<T, 512>(folder, job, part, commands),
            65536 => patterns::serve::<T, 8192>(folder, job, part, commands),
            other => Err(format!("no loop is compiled for {other} bytes").into()),
        },
    }
}
