//! Who may touch which slot of a broadcast ring, and when. No pointers, no `unsafe`: the ring deals
//! in tokens.
//!
//! A [`Claim`] is the right to write one slot, a [`Pin`] the right to read one. Only the ring makes
//! them, they cannot be copied, and giving one back is the only way to end the right. What they are
//! rights to, the payload, is somebody else's business.
//!
//! One [`Writer`], any number of [`Reader`]s. Slot `p % N` serves position `p`; positions start at
//! `N`, so that the zeroes of fresh memory are older than everything. A slot's word says which
//! position it serves and in which state:
//!
//! ```text
//!                               ┌─ nobody does ───> BUSY(p) ─ publish ─> READY(p) ─┐
//! READY(p-N) ─ claim ─> CLAIMED(p), who holds it?                                    ├─ claim ─> …
//!                               └─ a reader does ─> SKIP(p) ───────────────────────┘
//! ```
//!
//! **A word only grows**, and that one invariant orders everything. The writer claims a batch of
//! positions ahead and looks once for the pins of all readers; a slot that somebody holds is marked
//! `SKIP` and passed. The writer never waits.
//!
//! # Ordering
//!
//! | edge | from | to | what it carries |
//! |------|------|----|-----------------|
//! | A | `Writer::publish`: word = `READY(p)` (Release) | `Reader::next`: word (Acquire) | the payload and the slot's [`Meta`] |
//! | B | [`Pin::release`]: cell = 0 (Release) | `Writer::scan`: cell (Acquire) | the reader has stopped reading |
//! | C | `Writer::claim_batch`: word = `CLAIMED(p)`, *then* `fence(SeqCst)`, *then* the pins | `Reader::next`: cell = pin, *then* (SeqCst) the word again | either the writer sees the pin, or the reader sees `CLAIMED` |
//! | D | `Writer::publish` and `Writer::pass_skipped`: head (Release) | whoever joins, was lapped or takes over: head (Acquire) | the words of all positions before it |
//! | E | `Writer::claim_batch`: word = `CLAIMED(p)` (Release) | `Reader::next`: word (Acquire) | the head that a lapped reader needs |
//! | F | whoever stores a slot's [`Meta`] (Release), having stored or seen its `CLAIMED` | who reads it (Acquire) and *then* the word again | that it belongs to another position than the reader's |
//!
//! A reader that waits may pin the slot of the next message while it is `BUSY`, in advance: see
//! [`Reader::expect`]. Then its one look at the word is both looks of edge C.
//!
//! A pin overwrites no other pin (its cell was seen empty with Acquire by the one thread that fills
//! it), and its store is at least Release, so that a re-used cell does not hide edge B of its last use.
//!
//! # Crash safety
//!
//! Everything the writer knows can be read back from the slots: [`Writer::take_over`]. A reader that
//! dies leaves pins; whoever holds its lock may store 0 into them ([`release_all`]).

use crate::sync::{AtomicU32, AtomicU64, Ordering, StoreFirst, fence};

/// No position is larger: two bits of a word are its state, and sums must not overflow.
const MAX_POSITION: u64 = u64::MAX / 8;
/// The most slots a ring may have. A pin has 20 bits for one.
pub const MAX_SLOTS: u32 = 1 << 20;
/// The most rings a channel may have, and the most subscribers: bits of a word.
pub const MAX_PARTICIPANTS: u32 = 64;
/// The pins of one subscriber: one cache line of them.
pub const PINS: usize = 16;

/// The shared state of one ring, wherever it lies: the mapped segment, or the heap of a test.
pub trait Memory {
    /// The number of slots: a power of two, at least 2.
    fn slots(&self) -> u64;
    /// Which ring of its channel this is.
    fn ring(&self) -> u32;
    /// The word of the slot that serves this position.
    fn word(&self, position: u64) -> &AtomicU64;
    /// The [`Meta`] of the slot that serves this position.
    fn meta(&self, position: u64) -> &AtomicU64;
    /// The position after the last one that was published or passed.
    fn head(&self) -> &AtomicU64;
    /// Which subscribers may have pins: bit *i* for subscriber *i*.
    fn registered(&self) -> &AtomicU64;
    /// The pins of a subscriber, for all rings of the channel.
    fn pins(&self, subscriber: u32) -> &[AtomicU32; PINS];
    /// A hint: the payload of this position is going to be read. What is behind the first line can
    /// be on its way while the pin is made, which nothing that comes after it overtakes.
    #[inline(always)]
    fn expect_read(&self, _position: u64) {}
}

/// A ring as somebody sees it who only reads messages by copying them: it writes nothing, not even a
/// pin. Every load is at least Acquire. What has a [`Memory`] has this; an observer reads a file.
pub trait ReadMemory {
    /// As in [`Memory`].
    fn slots(&self) -> u64;
    /// The word of the slot that serves this position.
    fn load_word(&self, position: u64) -> u64;
    /// The [`Meta`] of the slot that serves this position.
    fn load_meta(&self, position: u64) -> u64;
    /// The position after the last one that was published or passed.
    fn load_head(&self) -> u64;
}

impl<M: Memory> ReadMemory for M {
    #[inline(always)]
    fn slots(&self) -> u64 {
        Memory::slots(self)
    }
    #[inline(always)]
    fn load_word(&self, position: u64) -> u64 {
        self.word(position).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn load_meta(&self, position: u64) -> u64 {
        self.meta(position).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn load_head(&self) -> u64 {
        self.head().load(Ordering::Acquire)
    }
}

/// What a slot is doing for which position: `4 · position + state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word(u64);

impl Word {
    /// The writer takes it from the readers, if none holds it.
    fn claimed(position: u64) -> Word {
        Word(position * 4)
    }
    /// The writer has it.
    fn busy(position: u64) -> Word {
        Word(position * 4 + 1)
    }
    /// A reader held it, the position is passed.
    fn skip(position: u64) -> Word {
        Word(position * 4 + 2)
    }
    /// It holds the message of this position.
    fn ready(position: u64) -> Word {
        Word(position * 4 + 3)
    }
}

/// What a slot's header tells beside the word: bits 16.. the positions skipped so far (a `SKIP`
/// counts itself), bits 0..16 the writer's generation.
#[derive(Clone, Copy, Debug)]
struct Meta(u64);

impl Meta {
    fn new(skips: u64, generation: u16) -> Meta {
        Meta(skips << 16 | u64::from(generation))
    }
    fn skips(self) -> u64 {
        self.0 >> 16
    }
    fn generation(self) -> u16 {
        self.0 as u16
    }
    /// The number of the message at `position`, or of the next one if that was skipped.
    fn sequence(self, position: u64, slots: u64) -> u64 {
        (position - slots).saturating_sub(self.skips())
    }
}

/// A pin in its cell: bit 31 set, bits 20..26 the ring, bits 0..20 the slot. 0 is an empty cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PinWord(u32);

impl PinWord {
    fn new(ring: u32, slot: u32) -> PinWord {
        PinWord(1 << 31 | ring << 20 | slot)
    }
    /// The slot, if this is a pin on that ring.
    fn slot_in(self, ring: u32) -> Option<u32> {
        (self.0 >> 20 == 1 << 11 | ring).then_some(self.0 & (MAX_SLOTS - 1))
    }
}

/// The ring and the slot that a cell is a pin of; `None` if it is none.
pub fn pin_slot(cell: u32) -> Option<(u32, u32)> {
    let ring = cell >> 20 & (MAX_PARTICIPANTS - 1);
    PinWord(cell).slot_in(ring).map(|slot| (ring, slot))
}

/// The right to write one slot, until it is published.
#[derive(Debug)]
#[must_use = "a claim that is not published is never seen by a reader"]
pub struct Claim {
    position: u64,
}

impl Claim {
    /// The position whose slot may be written.
    #[inline(always)]
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The right to read one slot, until it is released.
#[derive(Debug)]
#[must_use = "a pin that is not released keeps its slot from the writer for ever"]
pub struct Pin {
    position: u64,
}

impl Pin {
    /// The position whose slot may be read.
    #[inline(always)]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Gives the right back. `cell` is the one it was made with.
    #[inline(always)]
    pub fn release(self, cell: &AtomicU32) {
        cell.store(0, Ordering::Release); // Edge B.
    }
}

/// A message that was found, and what is known of it beside its payload.
#[derive(Debug)]
pub struct Found<R> {
    /// The right to read it.
    pub right: R,
    /// Its number among the messages of this ring, from 0, without a gap.
    pub sequence: u64,
    /// How many messages the reader did not see since the one before.
    pub missed: u64,
    /// Of the writer that published it.
    pub generation: u16,
}

impl<R> Found<R> {
    /// The same message by another right.
    #[inline(always)]
    pub fn map<S>(self, right: impl FnOnce(R) -> S) -> Found<S> {
        let Found { sequence, missed, generation, .. } = self;
        Found { right: right(self.right), sequence, missed, generation }
    }
}

/// Every slot was found held during one lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllHeld;

/// The head of this ring is no position that a writer can have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// What was found.
    pub head: u64,
}

/// Makes fresh, zeroed memory a ring on which nothing was published. Doing it again is harmless
/// as long as nobody has taken it over.
pub fn initialise(memory: &impl Memory) {
    let first = memory.slots();
    memory.word(first - 1).store(Word::skip(first - 1).0, Ordering::Relaxed);
    memory.head().store(first, Ordering::Release);
}

/// How many messages a ring has seen, and how many positions were passed because a reader held their
/// slot: about, if it is too fast to tell. `None`: no writer can have left such a head.
pub fn published(memory: &impl ReadMemory) -> Option<(u64, u64)> {
    let mut found = None;
    for _ in 0..ATTEMPTS {
        let (head, meta, at_rest) = newest(memory)?;
        found = Some((meta.sequence(head, memory.slots()), meta.skips()));
        if at_rest {
            break;
        }
    }
    found
}

/// The head, the meta of the slot before it, and whether nobody has changed that meanwhile. `None`: it
/// is no head.
fn newest(memory: &impl ReadMemory) -> Option<(u64, Meta, bool)> {
    let head = memory.load_head(); // Edge D.
    if !(memory.slots()..=MAX_POSITION).contains(&head) {
        return None;
    }
    let word = Word(memory.load_word(head - 1));
    let meta = Meta(memory.load_meta(head - 1)); // Edge F.
    let same = Word(memory.load_word(head - 1)) == word;
    let at_rest = word == Word::ready(head - 1) || word == Word::skip(head - 1);
    Some((head, meta, same && at_rest))
}

/// Looks for what no writer can have left, for a person to read. Others may go on meanwhile.
pub fn check(memory: &impl ReadMemory) -> Result<(), String> {
    let slots = memory.slots();
    let wrong_head = |head| format!("its head is {head}, with {slots} slots");
    let is_head = |head| (slots..=MAX_POSITION).contains(&head);
    for slot in 0..slots {
        let before = memory.load_head(); // Edge D.
        let Word(word) = Word(memory.load_word(slot));
        let after = memory.load_head();
        if let Some(wrong) = [before, after].into_iter().find(|head| !is_head(*head)) {
            return Err(wrong_head(wrong));
        }
        // The last position before the head that this slot serves. It was published or passed, and
        // words only grow.
        let behind = (before - 1 - slot) & (slots - 1);
        let last = before - 1 - behind;
        let least = if last < slots { Word(0) } else { Word::skip(last) };
        // What is claimed is at most a batch; and the head may be one behind.
        let most = Word::ready(after + 2 * batch_of(slots) + 1);
        let position = word / 4;
        let is_own = word == 0 || position & (slots - 1) == slot;
        if !is_own || !(least..=most).contains(&Word(word)) {
            return Err(format!(
                "slot {slot} is in state {} of position {position}, with its head at {after}",
                word % 4
            ));
        }
    }
    Ok(())
}

/// Ends all rights of a subscriber that is gone. The caller holds its lock.
pub fn release_all(pins: &[AtomicU32; PINS]) {
    for pin in pins {
        pin.store(0, Ordering::Release); // Edge B.
    }
}

/// How many slots of this ring a subscriber holds.
pub fn held_by(memory: &impl Memory, subscriber: u32) -> u32 {
    let held =
        |pin: &&AtomicU32| PinWord(pin.load(Ordering::Relaxed)).slot_in(memory.ring()).is_some();
    memory.pins(subscriber).iter().filter(held).count() as u32
}

/// The one writer of a ring.
#[derive(Debug)]
pub struct Writer {
    /// The position to publish next. Claimed and not skipped, unless it is `claimed`.
    next: u64,
    /// Positions below this one are claimed.
    claimed: u64,
    /// Which positions of the batch were skipped: bit 0 for `batch_start`.
    skipped: u64,
    batch_start: u64,
    batch: u64,
    /// The positions below `next` that were skipped.
    skips: u64,
    generation: u16,
    /// Which positions of the batch have a slot that was skipped one lap ago, too.
    skipped_before: u64,
    /// Which subscribers hold one of those.
    suspects: u64,
}

impl Writer {
    /// The next writer of a ring, whose last writer is gone; fresh memory counts as that.
    /// The caller is the only one who may call this, or write.
    ///
    /// Nothing is known of the dead one but what it left in the slots. From `head` on it may have
    /// published and not said so; what it had claimed behind that is taken over, and scanned again,
    /// because it may have died before its own scan.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the head is no position of this ring. Nothing has been changed then.
    pub fn take_over(memory: &impl Memory, generation: u16) -> Result<Writer, Corrupt> {
        let slots = memory.slots();
        let head = memory.head().load(Ordering::Acquire); // Edge D.
        if head < slots || head > MAX_POSITION {
            return Err(Corrupt { head });
        }
        // The slot before the head is at rest: a claim never reaches it.
        let mut skips = Meta(memory.meta(head - 1).load(Ordering::Acquire)).skips();
        let mut next = head;
        // The dead one was at most a batch ahead.
        while next < head + slots {
            let word = Word(memory.word(next).load(Ordering::Acquire));
            if word == Word::skip(next) {
                skips += 1;
                // He, too, may have taken over, and died before he had counted again.
                memory.meta(next).store(Meta::new(skips, generation).0, Ordering::Release); // Edge F.
            } else if word != Word::ready(next) {
                break;
            }
            next += 1;
        }
        memory.head().store(next, Ordering::Release); // Edge D.

        let batch = batch_of(slots);
        let mut claimed = next;
        while claimed < next + batch {
            let word = Word(memory.word(claimed).load(Ordering::Relaxed));
            if !(Word::claimed(claimed)..=Word::skip(claimed)).contains(&word) {
                break;
            }
            claimed += 1;
        }
        let mut writer = Writer {
            next,
            claimed,
            skipped: 0,
            batch_start: next,
            batch,
            skips,
            generation,
            skipped_before: 0,
            suspects: 0,
        };
        writer.scan(memory);
        writer.pass_skipped(memory);
        Ok(writer)
    }

    /// The right to write the next message. Asked again before it is used, it is the same slot.
    ///
    /// # Errors
    ///
    /// [`AllHeld`] if every slot was held during one lap. It never waits: asking again later is
    /// the caller's decision.
    #[inline(always)]
    pub fn claim(&mut self, memory: &impl Memory) -> Result<Claim, AllHeld> {
        if self.skipped != 0 || self.next == self.claimed {
            self.claim_slow(memory)?;
        }
        Ok(Claim { position: self.next })
    }

    #[cold]
    fn claim_slow(&mut self, memory: &impl Memory) -> Result<(), AllHeld> {
        let end = self.next + memory.slots();
        loop {
            self.prepare(memory);
            if self.next < self.claimed {
                return Ok(());
            }
            if self.next >= end {
                return Err(AllHeld);
            }
        }
    }

    /// Shows the message to the readers. What was written to its payload comes before.
    ///
    /// A look for sleepers that comes after ([`StoreFirst::load_after`]) is ordered after it.
    #[inline(always)]
    pub fn publish(&mut self, memory: &impl Memory, claim: Claim) {
        let position = claim.position;
        let meta = Meta::new(self.skips, self.generation);
        memory.meta(position).store(meta.0, Ordering::Release); // Edge F.
        memory.word(position).store_first(Word::ready(position).0); // Edge A.
        self.next = position + 1;
        memory.head().store(self.next, Ordering::Release); // Edge D.
    }

    /// Gets ready for the next message, so that `claim` finds it claimed. Optional: `claim` does
    /// what is left to do.
    #[inline(always)]
    pub fn prepare(&mut self, memory: &impl Memory) {
        if self.skipped != 0 {
            self.pass_skipped(memory);
        }
        if self.next == self.claimed {
            self.claim_batch(memory);
        }
    }

    /// Subscribers that hold a slot which was held one lap ago already: alive and slow, or dead.
    /// Says so once for each batch that was claimed.
    #[inline(always)]
    pub fn take_suspects(&mut self) -> u64 {
        std::mem::take(&mut self.suspects)
    }

    /// How many messages were published on this ring, by all its writers.
    pub fn published(&self, memory: &impl Memory) -> u64 {
        Meta::new(self.skips, 0).sequence(self.next, memory.slots())
    }

    /// How many positions were passed because a reader held their slot.
    pub fn skips(&self) -> u64 {
        self.skips
    }

    /// Takes the next batch away from the readers. It ends before the newest message does: at most
    /// `next + slots / 8`, and that is less than `next + slots - 1`, the slot before `next`.
    #[cold]
    fn claim_batch(&mut self, memory: &impl Memory) {
        self.batch_start = self.claimed;
        self.claimed += self.batch;
        self.skipped_before = 0;
        for position in self.batch_start..self.claimed {
            let word = memory.word(position);
            if Word(word.load(Ordering::Relaxed)) == Word::skip(position - memory.slots()) {
                self.skipped_before |= 1 << (position - self.batch_start);
            }
            word.store(Word::claimed(position).0, Ordering::Release); // Edges C, E.
        }
        self.scan(memory);
        self.pass_skipped(memory);
    }

    /// Finds out which positions from `batch_start` to `claimed` are held, and marks them.
    fn scan(&mut self, memory: &impl Memory) {
        fence(Ordering::SeqCst); // Edge C.
        self.skipped = 0;
        let (slots, ring) = (memory.slots(), memory.ring());
        let mut registered = memory.registered().load(Ordering::Acquire);
        while registered != 0 {
            let subscriber = registered.trailing_zeros();
            registered &= registered - 1;
            for pin in memory.pins(subscriber) {
                let pin = PinWord(pin.load(Ordering::Acquire)); // Edge B.
                if let Some(slot) = pin.slot_in(ring) {
                    let ahead = u64::from(slot).wrapping_sub(self.batch_start) & (slots - 1);
                    if ahead < self.claimed - self.batch_start {
                        self.skipped |= 1 << ahead;
                        self.suspects |= (self.skipped_before >> ahead & 1) << subscriber;
                    }
                }
            }
        }
        let mut skips = self.skips;
        for position in self.batch_start..self.claimed {
            let bit = 1 << (position - self.batch_start);
            // A dead writer may have marked it already; a word never goes back.
            if Word(memory.word(position).load(Ordering::Relaxed)) == Word::skip(position) {
                self.skipped |= bit;
            }
            if self.skipped & bit != 0 {
                skips += 1;
                let meta = Meta::new(skips, self.generation);
                memory.meta(position).store(meta.0, Ordering::Release); // Edge F.
                memory.word(position).store(Word::skip(position).0, Ordering::Release); // Edge A.
            } else {
                // Pins of this slot do no harm from here on, see `Reader::expect`.
                memory.word(position).store(Word::busy(position).0, Ordering::Release);
            }
        }
    }

    fn pass_skipped(&mut self, memory: &impl Memory) {
        let start = self.next;
        while self.next < self.claimed && self.skipped >> (self.next - self.batch_start) & 1 == 1 {
            self.next += 1;
            self.skips += 1;
        }
        if self.next == self.claimed {
            self.skipped = 0;
        }
        if self.next != start {
            memory.head().store(self.next, Ordering::Release); // Edge D.
        }
    }
}

/// How many positions are claimed at a time: the scan of all pins costs that many messages less.
pub fn batch_of(slots: u64) -> u64 {
    (slots / 8).clamp(1, 64)
}

/// The slot that serves a position.
#[inline(always)]
fn slot_of(memory: &impl Memory, position: u64) -> u32 {
    (position & (memory.slots() - 1)) as u32
}

/// The head as a reader sees it, whatever is in its place. Edge D.
fn head(memory: &impl ReadMemory) -> u64 {
    memory.load_head().clamp(memory.slots(), MAX_POSITION)
}

/// Where a reader that was lapped goes on: with the oldest message that cannot be claimed yet; if
/// that is gone in a moment, too, with less and less of the history, but never without the newest.
fn landing(memory: &impl ReadMemory, at_least: u64, lapped: u32) -> u64 {
    let slots = memory.slots();
    let behind = (slots - batch_of(slots)) >> lapped.min(ATTEMPTS);
    let mut position = head(memory) - behind.max(1);
    // A skipped position says nothing about the message before it.
    for _ in 0..slots {
        let word = Word(memory.load_word(position));
        if position <= at_least || word != Word::skip(position) {
            break;
        }
        position -= 1;
    }
    position
}

/// Where a reader is in one ring.
#[derive(Clone, Debug)]
pub struct Reader {
    position: u64,
    /// The sequence of the message that comes next if none is missed. Unknown if the ring was too
    /// fast to tell at the moment of joining.
    expected: Option<u64>,
}

/// How often `next` starts over when the writer laps it in the middle.
pub const ATTEMPTS: u32 = 8;

impl Reader {
    /// Reads from the first message of a ring that had none when the subscriber came.
    pub fn at_first(memory: &impl ReadMemory) -> Reader {
        Reader { position: memory.slots(), expected: Some(0) }
    }

    /// Reads what is published from now on.
    pub fn at_next(memory: &impl ReadMemory) -> Reader {
        let slots = memory.slots();
        let mut position = slots;
        for _ in 0..ATTEMPTS {
            let Some((head, meta, at_rest)) = newest(memory) else { break };
            position = head;
            if at_rest {
                return Reader { position, expected: Some(meta.sequence(head, slots)) };
            }
        }
        Reader { position, expected: None }
    }

    /// Reads from the oldest message that is still there.
    pub fn at_oldest(memory: &impl ReadMemory) -> Reader {
        let slots = memory.slots();
        let head = head(memory);
        let position = (head - slots).max(slots);
        // Whether nothing of it is claimed yet: else what is gone was gone before it came.
        let complete = head + batch_of(slots) <= 2 * slots;
        Reader { position, expected: complete.then_some(0) }
    }

    /// Something is there that was not read yet; perhaps only a position to pass.
    #[inline(always)]
    pub fn anything_new(&self, memory: &impl ReadMemory) -> bool {
        // Two loads of one line, at most: this is also the look before sleeping.
        Word(memory.load_word(self.position)) >= Word::skip(self.position)
    }

    /// Pins the next message, in a cell that the caller has seen empty. `None`: nothing new.
    #[inline(always)]
    pub fn next(&mut self, memory: &impl Memory, cell: &AtomicU32) -> Option<Found<Pin>> {
        for attempt in 0..ATTEMPTS {
            let position = self.seek(memory, attempt)?;
            if let Some(found) = self.pin(memory, cell, position) {
                return Some(found);
            }
        }
        None
    }

    /// Pins the slot of the message that comes next *before* it comes, if the writer has claimed it
    /// already; then [`next_expected`](Self::next_expected) takes it without a fence on its way.
    ///
    /// Only a slot that is `BUSY` for our position: the writer has looked for pins already, and does
    /// not skip it for this one (its successor might, which costs one position).
    pub fn expect(&self, memory: &impl Memory, cell: &AtomicU32) -> Option<Pin> {
        let position = self.position;
        if Word(memory.word(position).load(Ordering::Acquire)) != Word::busy(position) {
            return None;
        }
        cell.store_first(PinWord::new(memory.ring(), slot_of(memory, position)).0); // Edge C.
        Some(Pin { position })
    }

    /// The message for which `pin` was made in advance; or the pin back, if it is not there (yet).
    ///
    /// The pin came before the look at the word, so that look is also the second one of edge C:
    /// `READY` for our position means that no later claim has missed the pin.
    #[inline(always)]
    pub fn next_expected(&mut self, memory: &impl Memory, pin: Pin) -> Result<Found<Pin>, Pin> {
        let position = pin.position;
        let ready = |word: u64| Word(word) == Word::ready(position);
        if !ready(memory.word(position).load_after()) || position != self.position {
            return Err(pin); // Edges A, C.
        }
        memory.expect_read(position);
        // The payload is ours. Not so the meta: a writer that comes round skips the slot, and says so.
        let meta = Meta(memory.meta(position).load(Ordering::Acquire)); // Edge F.
        if !ready(memory.word(position).load(Ordering::Acquire)) {
            return Err(pin);
        }
        Ok(self.account(memory, pin, position, meta))
    }

    /// Pins the newest message that is still there, read before or not. What was not read before
    /// it is jumped over: neither read later nor missed.
    pub fn newest(&mut self, memory: &impl Memory, cell: &AtomicU32) -> Option<Found<Pin>> {
        for _ in 0..ATTEMPTS {
            let (newest, end) = self.find_newest(memory)?;
            if let Some(newest) = newest
                && let Some(found) = self.pin(memory, cell, newest)
            {
                self.position = self.position.max(end);
                return Some(Found { missed: 0, ..found });
            }
        }
        None
    }

    /// The same to copy it out without a pin, one attempt. What [`confirm`](Self::confirm) says was
    /// missed was jumped over.
    pub fn peek_newest(&mut self, memory: &impl ReadMemory) -> Option<Peek> {
        for _ in 0..ATTEMPTS {
            let (newest, end) = self.find_newest(memory)?;
            if let Some(position) = newest
                && let Some(peek) = self.peek_at(memory, position)
            {
                return Some(Peek { next: end, ..peek });
            }
        }
        None
    }

    /// The position of the newest message if a lap has not passed meanwhile, and the end of the
    /// history. `None`: there is none.
    fn find_newest(&self, memory: &impl ReadMemory) -> Option<(Option<u64>, u64)> {
        let slots = memory.slots();
        let end = head(memory).max(self.position);
        let oldest = (end - slots).max(slots);
        let ready = |p: &u64| Word(memory.load_word(*p)) == Word::ready(*p); // Edge A.
        // It goes back over what is claimed or skipped, and finds the newest one soon, except
        // in a ring without a message.
        let newest = (oldest..end).rev().find(ready);
        let is_empty = newest.is_none() && head(memory).max(self.position) == end;
        (!is_empty).then_some((newest, end))
    }

    /// Finds the next message and says where it is, to copy it out without a pin. With every
    /// `attempt` (from 0) that failed, a lapped reader goes on nearer to the newest message.
    #[inline(always)]
    pub fn peek(&mut self, memory: &impl ReadMemory, attempt: u32) -> Option<Peek> {
        for attempt in attempt..ATTEMPTS {
            let position = self.seek(memory, attempt)?;
            if let Some(peek) = self.peek_at(memory, position) {
                return Some(peek);
            }
        }
        None
    }

    #[inline(always)]
    fn peek_at(&self, memory: &impl ReadMemory, position: u64) -> Option<Peek> {
        let meta = Meta(memory.load_meta(position)); // Edge F.
        let is_ready = Word(memory.load_word(position)) == Word::ready(position);
        is_ready.then_some(Peek { position, meta, next: position + 1 })
    }

    /// After the copy: was that the message all the time? Then it counts as read.
    ///
    /// The copy is made of Relaxed loads, which the fence keeps before the look at the word.
    #[inline(always)]
    pub fn confirm(&mut self, memory: &impl ReadMemory, peek: Peek) -> Option<Found<()>> {
        fence(Ordering::Acquire);
        if Word(memory.load_word(peek.position)) != Word::ready(peek.position) {
            return None;
        }
        let found = self.account(memory, (), peek.position, peek.meta);
        self.position = peek.next;
        Some(found)
    }

    /// Moves on to the next position that holds a message, and has just been seen `READY`.
    #[inline(always)]
    fn seek(&mut self, memory: &impl ReadMemory, attempt: u32) -> Option<u64> {
        let position = self.position;
        let word = Word(memory.load_word(position)); // Edges A, E.
        if word == Word::ready(position) {
            return Some(position);
        }
        if word < Word::skip(position) {
            return None;
        }
        self.seek_slow(memory, attempt)
    }

    #[cold]
    fn seek_slow(&mut self, memory: &impl ReadMemory, attempt: u32) -> Option<u64> {
        let slots = memory.slots();
        let mut lapped = attempt;
        // Passes skips, a lap of them at most, and starts over where it was lapped.
        for _ in 0..slots + u64::from(ATTEMPTS) {
            let position = self.position;
            let word = Word(memory.load_word(position)); // Edges A, E.
            if word == Word::ready(position) {
                return Some(position);
            }
            if word < Word::skip(position) {
                return None;
            }
            self.position += 1;
            if word > Word::ready(position) {
                self.position = self.position.max(landing(memory, self.position, lapped));
                lapped += 1;
            }
        }
        None
    }

    /// Pins a position that was seen `READY`, if it still is.
    #[inline(always)]
    fn pin(&mut self, memory: &impl Memory, cell: &AtomicU32, position: u64) -> Option<Found<Pin>> {
        memory.expect_read(position);
        cell.store_first(PinWord::new(memory.ring(), slot_of(memory, position)).0); // Edge C.
        let meta = Meta(memory.meta(position).load(Ordering::Acquire)); // Edge F.
        let pin = Pin { position };
        if Word(memory.word(position).load_after()) != Word::ready(position) {
            pin.release(cell);
            return None;
        }
        Some(self.account(memory, pin, position, meta))
    }

    #[inline(always)]
    fn account<R>(
        &mut self,
        memory: &impl ReadMemory,
        right: R,
        position: u64,
        meta: Meta,
    ) -> Found<R> {
        let sequence = meta.sequence(position, memory.slots());
        let missed = match self.expected {
            Some(expected) => sequence.saturating_sub(expected),
            None => 0,
        };
        self.expected = Some(sequence + 1);
        self.position = position + 1;
        Found { right, sequence, missed, generation: meta.generation() }
    }
}

/// Where the next message is, as far as one look can tell.
#[derive(Debug)]
pub struct Peek {
    position: u64,
    meta: Meta,
    /// Where to go on after it.
    next: u64,
}

impl Peek {
    /// The position whose slot may be copied, by atomic loads only.
    #[inline(always)]
    pub fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod heap;
#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
