//! A camera's image, 1080p in RGB: carried by the library, and by nothing but a buffer and a word.

use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use shm_comm::{Channel, Publisher, Read, Subscriber, SubscriberOptions, Wait};

use crate::transport::{Mode, Receiver, Sender, Transport};
use crate::{Result, machine};

/// Words of an image of 1920 by 1080 pixels of three bytes.
pub const WORDS: usize = 1920 * 1080 * 3 / size_of::<u64>();
/// Bytes of it.
pub const BYTES: usize = WORDS * size_of::<u64>();
/// Touched images take milliseconds: so much fewer of them are exchanged.
const SLOWER: u64 = 100;

/// The library, with every word of the image written and read; or with an image that is lent and sent, of
/// which only the number is.
pub struct Image<const TOUCHED: bool>;
/// So many buffers for each direction, one after the other.
pub struct RawImage<const BUFFERS: u64>;

impl<const TOUCHED: bool> Transport for Image<TOUCHED> {
    const NAME: &'static str = if TOUCHED { "image touched" } else { "image untouched" };
    const MODES: &'static [Mode] = &[mode("in place")];
    const IS_TOUCHED: bool = TOUCHED;
    const SLOWER: u64 = if TOUCHED { SLOWER } else { 1 };

    type Sender<const N: usize> = Out;
    type Receiver<const N: usize> = In;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Out> {
        Ok(Out(Publisher::new(camera::<N>(folder, channel))?))
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<In> {
        let options = SubscriberOptions::new().wait(Wait::Spin).read(Read::Pinned);
        Ok(In(Subscriber::with(camera::<N>(folder, channel), options)?))
    }
}

impl<const BUFFERS: u64> Transport for RawImage<BUFFERS> {
    const NAME: &'static str = "raw image";
    const MODES: &'static [Mode] =
        if BUFFERS == 1 { &[mode("1 buffer")] } else { &[mode("16 buffers")] };
    const SLOWER: u64 = SLOWER;

    type Sender<const N: usize> = Buffers;
    type Receiver<const N: usize> = Buffers;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Buffers> {
        const { assert!(BUFFERS == 1 || BUFFERS == 16, "the modes have these names") };
        Buffers::open::<N>(folder, channel, BUFFERS)
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<Buffers> {
        Buffers::open::<N>(folder, channel, BUFFERS)
    }
}

const fn mode(name: &'static str) -> Mode {
    Mode { name, payloads: &[BYTES], streams: false }
}

/// As a camera's channel would be made: few slots, which stay warm.
fn camera<const N: usize>(folder: &Path, channel: &str) -> Channel {
    Channel::new(channel).root(folder).max_len(N).depth(1).max_subscribers(1)
}

/// A publisher of images.
pub struct Out(Publisher<[u64]>);

impl<const N: usize> Sender<N> for Out {
    #[inline(always)]
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()> {
        let mut image = self.0.loan_with_len(N)?.reused();
        fill((&mut *image).try_into()?);
        image.send();
        Ok(())
    }
}

/// A subscriber to images.
pub struct In(Subscriber<[u64]>);

impl<const N: usize> Receiver<N> for In {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        let sample = self.0.recv()?;
        Ok(read((&*sample).try_into()?))
    }
}

/// One direction, seen from either end: a word that says how many images there were, and the buffers.
pub struct Buffers {
    memory: NonNull<u8>,
    count: u64,
    buffers: u64,
}

impl Buffers {
    fn open<const N: usize>(folder: &Path, channel: &str, buffers: u64) -> Result<Buffers> {
        let bytes = machine::PAGE + buffers as usize * N * size_of::<u64>();
        let memory = machine::shared_memory(&folder.join(channel), bytes)?;
        Ok(Buffers { memory, count: 0, buffers })
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: The first word of memory that stays mapped; only ever used atomically.
        unsafe { self.memory.cast().as_ref() }
    }

    /// The buffer of the next image.
    #[inline(always)]
    fn buffer<const N: usize>(&self) -> NonNull<[u64; N]> {
        let number = (self.count % self.buffers) as usize;
        let offset = machine::PAGE + number * N * size_of::<u64>();
        // SAFETY: Inside the memory, which is as large as `open` says.
        unsafe { self.memory.add(offset).cast() }
    }
}

impl<const N: usize> Sender<N> for Buffers {
    #[inline(always)]
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()> {
        // SAFETY: The other side has answered the last image, and so does not read any.
        fill(unsafe { self.buffer().as_mut() });
        self.count += 1;
        self.word().store(self.count, Ordering::Release);
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for Buffers {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        while self.word().load(Ordering::Acquire) == self.count {
            std::hint::spin_loop();
        }
        // SAFETY: The other side writes no other before this one is answered.
        let result = read(unsafe { self.buffer().as_ref() });
        self.count += 1;
        Ok(result)
    }
}
