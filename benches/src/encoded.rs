//! Values that serde encodes: straight into the slot, or into a `Vec` that is then copied there.

use std::path::Path;

use serde::{Deserialize, Serialize};
use shm_comm::codec::{self, Codec};
use shm_comm::{Channel, Msgpack, Publisher, Read, Subscriber, SubscriberOptions, Wait};

use crate::Result;
use crate::transport::{Mode, Receiver, Sender, Transport};

/// What is sent: text, numbers, nesting.
#[derive(Serialize, Deserialize, Debug)]
pub struct Config {
    name: String,
    words: Vec<u64>,
    limits: Vec<Limit>,
}

#[derive(Serialize, Deserialize, Debug)]
struct Limit {
    joint: String,
    low: f64,
    high: f64,
}

impl Config {
    fn new<const N: usize>() -> Config {
        let limit = |joint: &str| Limit { joint: joint.to_owned(), low: -1.5, high: 1.5 };
        Config {
            name: "left arm".to_owned(),
            words: vec![0; N],
            limits: ["shoulder", "elbow", "wrist"].map(limit).into(),
        }
    }
}

const MODES: &[Mode] = &[Mode { name: "msgpack", payloads: &[256, 4096], streams: false }];

/// The library's way.
pub struct IntoSlot;
/// What one does without it.
pub struct ByVec;

impl Transport for IntoSlot {
    const NAME: &'static str = "into the slot";
    const MODES: &'static [Mode] = MODES;

    type Sender<const N: usize> = SlotOut;
    type Receiver<const N: usize> = SlotIn;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<SlotOut> {
        let publisher = Publisher::new(Channel::new(channel).root(folder))?;
        Ok(SlotOut { publisher, config: Config::new::<N>() })
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<SlotIn> {
        Ok(SlotIn(Subscriber::with(Channel::new(channel).root(folder), options())?))
    }
}

impl Transport for ByVec {
    const NAME: &'static str = "vec and copy";
    const MODES: &'static [Mode] = MODES;

    type Sender<const N: usize> = VecOut;
    type Receiver<const N: usize> = VecIn;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<VecOut> {
        let publisher = Publisher::new(Channel::new(channel).root(folder))?;
        Ok(VecOut { publisher, config: Config::new::<N>() })
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<VecIn> {
        Ok(VecIn(Subscriber::with(Channel::new(channel).root(folder), options())?))
    }
}

fn options() -> SubscriberOptions {
    SubscriberOptions::new().wait(Wait::Spin).read(Read::Pinned)
}

/// A publisher that encodes into the slot.
pub struct SlotOut {
    publisher: Publisher<Msgpack<Config>>,
    config: Config,
}

impl<const N: usize> Sender<N> for SlotOut {
    #[inline(always)]
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()> {
        fill(self.config.words.as_mut_slice().try_into()?);
        Ok(self.publisher.send(&self.config)?)
    }
}

/// A subscriber that decodes from the slot.
pub struct SlotIn(Subscriber<Msgpack<Config>>);

impl<const N: usize> Receiver<N> for SlotIn {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        let sample = self.0.recv()?;
        Ok(read(sample.words.as_slice().try_into()?))
    }
}

/// A publisher of the bytes of a `Vec`.
pub struct VecOut {
    publisher: Publisher<[u8]>,
    config: Config,
}

impl<const N: usize> Sender<N> for VecOut {
    #[inline(always)]
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()> {
        fill(self.config.words.as_mut_slice().try_into()?);
        let bytes = rmp_serde::to_vec_named(&self.config)?;
        Ok(self.publisher.send(&bytes)?)
    }
}

/// A subscriber that decodes the bytes where they are.
pub struct VecIn(Subscriber<[u8]>);

impl<const N: usize> Receiver<N> for VecIn {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        let sample = self.0.recv()?;
        // As the library does it, so that only the way into the slot differs.
        let config = codec::Msgpack::decode::<Config>(&sample)?;
        Ok(read(config.words.as_slice().try_into()?))
    }
}
