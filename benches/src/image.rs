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

/// The library, with an image that is lent and sent, but of which only the number is written and read.
pub struct Untouched;
/// The library, with every word of the image written and read.
pub struct Touched;
/// One buffer for each direction.
pub struct OneBuffer;
/// Sixteen buffers for each direction, one after the other.
pub struct SixteenBuffers;

const IMAGE: &[Mode] = &[Mode { name: "in place", payloads: &[BYTES], streams: false }];

impl Transport for Untouched {
    const NAME: &'static str = "image untouched";
    const MODES: &'static [Mode] = IMAGE;
    const IS_TOUCHED: bool = false;

    type Sender<const N: usize> = Out;
    type Receiver<const N: usize> = In;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Out> {
        Out::open::<N>(folder, channel)
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<In> {
        In::open::<N>(folder, channel)
    }
}

impl Transport for Touched {
    const NAME: &'static str = "image touched";
    const MODES: &'static [Mode] = IMAGE;
    const SLOWER: u64 = SLOWER;

    type Sender<const N: usize> = Out;
    type Receiver<const N: usize> = In;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Out> {
        Out::open::<N>(folder, channel)
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<In> {
        In::open::<N>(folder, channel)
    }
}

/// A publisher of images.
pub struct Out(Publisher<[u64]>);

impl Out {
    fn open<const N: usize>(folder: &Path, channel: &str) -> Result<Out> {
        // As a camera's channel would be made: few slots, which stay warm.
        let channel = Channel::new(channel).root(folder).max_len(N).depth(1).max_subscribers(1);
        Ok(Out(Publisher::new(channel)?))
    }
}

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

impl In {
    fn open<const N: usize>(folder: &Path, channel: &str) -> Result<In> {
        let options = SubscriberOptions::new().wait(Wait::Spin).read(Read::Pinned);
        let channel = Channel::new(channel).root(folder).max_len(N).depth(1).max_subscribers(1);
        Ok(In(Subscriber::with(channel, options)?))
    }
}

impl<const N: usize> Receiver<N> for In {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        let sample = self.0.recv()?;
        Ok(read((&*sample).try_into()?))
    }
}

impl Transport for OneBuffer {
    const NAME: &'static str = "raw image";
    const MODES: &'static [Mode] = &[Mode { name: "1 buffer", ..IMAGE[0] }];
    const SLOWER: u64 = SLOWER;

    type Sender<const N: usize> = Buffers;
    type Receiver<const N: usize> = Buffers;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Buffers> {
        Buffers::open::<N>(folder, channel, 1)
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<Buffers> {
        Buffers::open::<N>(folder, channel, 1)
    }
}

impl Transport for SixteenBuffers {
    const NAME: &'static str = "raw image";
    const MODES: &'static [Mode] = &[Mode { name: "16 buffers", ..IMAGE[0] }];
    const SLOWER: u64 = SLOWER;

    type Sender<const N: usize> = Buffers;
    type Receiver<const N: usize> = Buffers;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Buffers> {
        Buffers::open::<N>(folder, channel, 16)
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<Buffers> {
        Buffers::open::<N>(folder, channel, 16)
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
