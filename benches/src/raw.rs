//! The limit: one cache line that two cores write in turn, and nothing else.
//!
//! One `AtomicU64` for each direction, on a line (and a page) of its own. The message *is* the word:
//! stored with Release, waited for with Acquire. No protocol over shared memory is faster than this
//! hand-over, which is why every figure of the other transports is also given as a multiple of it.
//!
//! # The spin hint
//!
//! Between two looks there is one [`std::hint::spin_loop`] (`PAUSE` on x86-64), as there is in the
//! spinning waits of `shm-comm`. So the ratio says what the library adds, and not what the hint
//! does. On all machines tried so far the hint makes the raw exchange faster, not slower: it is the
//! stricter of the two limits.

use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::transport::{Mode, Receiver, Sender, Transport};
use crate::{Result, machine};

/// One cache line in each direction.
pub struct Line;

impl Transport for Line {
    const NAME: &'static str = "raw";
    const MODES: &'static [Mode] = &[Mode { name: "line", payloads: &[8], streams: false }];

    type Sender<const N: usize> = Word;
    type Receiver<const N: usize> = Word;

    fn sender<const N: usize>(folder: &Path, channel: &str) -> Result<Word> {
        Word::open::<N>(folder, channel)
    }

    fn receiver<const N: usize>(folder: &Path, channel: &str, _: &str) -> Result<Word> {
        Word::open::<N>(folder, channel)
    }
}

/// One direction, seen from either end.
pub struct Word {
    page: NonNull<u8>,
    last: u64,
}

impl Word {
    fn open<const N: usize>(folder: &Path, channel: &str) -> Result<Word> {
        if N != 1 {
            return Err("a raw message is one word".into());
        }
        Ok(Word { page: machine::shared_page(&folder.join(channel))?, last: 0 })
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: The first word of a page that stays mapped; only ever used atomically.
        unsafe { self.page.cast().as_ref() }
    }
}

impl<const N: usize> Sender<N> for Word {
    #[inline(always)]
    fn send(&mut self, fill: impl FnOnce(&mut [u64; N])) -> Result<()> {
        let mut message = [0; N];
        fill(&mut message);
        self.word().store(message[0], Ordering::Release);
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for Word {
    #[inline(always)]
    fn receive<R>(&mut self, read: impl FnOnce(&[u64; N]) -> R) -> Result<R> {
        loop {
            let word = self.word().load(Ordering::Acquire);
            if word != self.last {
                self.last = word;
                return Ok(read(&[word; N]));
            }
            std::hint::spin_loop();
        }
    }
}
