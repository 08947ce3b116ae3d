//! Who owns which slot of a hand-over queue, and how it changes hands. No pointers, no `unsafe`: the
//! queue deals in tokens.
//!
//! A [`Claim`] is the right to write one slot, a [`Taken`] the right to read one, and the duty to say what
//! becomes of it. Any number of pushers and pullers. A slot has one owner at a time, and its word names
//! him, so that a dead one can be replaced:
//!
//! ```text
//! FREE(l) ── claim ──> WRITING(l, pusher) ── publish ──> READY(l) ── take ──> TAKEN(l+1, puller)
//!    ^                    │ given up, dead                   ^                   │
//!    ├── FREE(l+1) <──────┘                                  ├─ put back, dead ──┤
//!    ├──────────────────────────────────────────────────────────── done ─────────┤
//!    └────────── done ── EXAMINED(l+1, puller) <── exhume ── DEAD(l+1) <── bury ─┘
//! ```
//!
//! What happens to a slot that holds a call, between a client and a server, is in [`calls`].
//!
//! A slot is used once a *lap*. `l` is the lap in which it is filled or, of a slot that was taken or is free
//! again, the lap in which it is to be filled next. **The lap of a word never goes back.** It has 44 bits and
//! wraps, as does the position of head and tail, which is a lap and the number of a slot.
//!
//! **Only words count.** `head`, the next position to fill, and `tail`, the next to take, are hints that may
//! be behind; whoever finds one behind moves it on. Whoever wants to fill a slot that is not free in its turn
//! moves it one lap on and passes it, so that neither a slow puller nor a long loan delays anybody:
//! `TAKEN(l)` becomes `TAKEN(l+1)`, and its owner, who only knows that it is his, gives it back in whatever
//! lap it is then. Only a job that waits for a whole lap stops the head: then the queue is full.
//!
//! The head passes a position when its slot was filled, or is in a later lap. So a job that was not put back
//! lies not more than a lap behind the head, wherever the tail may be.
//!
//! # Order
//!
//! Jobs of one pusher, who writes one at a time, come out in the order in which they went in, unless they
//! were put back. A puller looks past slots that are being written, or were not filled yet when it looked. If
//! it finds a job behind such a slot, it looks at those before once more: what its pusher has published before
//! this job is visible by then, because it was published before.
//!
//! # Ordering
//!
//! | edge | from | to | what it carries |
//! |------|------|----|-----------------|
//! | A | [`publish`], [`put_back`]: word = `READY` (Release) | [`take`], [`take_any`]: word (Acquire) | the payload and the slot's note |
//! | B | [`done`], [`put_back`], [`bury`]: word (Release) | [`claim`], [`take`], [`exhume`]: word (Acquire) | that its owner has stopped reading or writing |
//! | C | every change of a word, *then* [`sync`](crate::sync)'s fence | the `sleepers` | see [`wait`](crate::wait), edge G |
//!
//! A word changes by compare-exchange only, so that everything which was ever released into it is acquired
//! with it: moving it one lap on breaks no edge.
//!
//! # Crash safety
//!
//! Claim and ownership are one compare-exchange: at no instruction is a slot claimed and nobody's. What a
//! dead owner has left is put right by [`reap`], by whoever holds his lock. It may be killed anywhere and
//! done again.

#[cfg(loom)]
use crate::sync::model as breaks;
use std::num::NonZero;

use crate::sync::{AtomicU64, ChangeFirst, Ordering, Private};

pub mod calls;

/// The most slots a queue may have: bits of a position.
pub const MAX_SLOTS: u32 = 1 << 20;
/// The most deliveries that are counted.
pub const MAX_DELIVERIES: u32 = 15;

/// So often a word is looked at that others may move a lap on meanwhile. They do so once a lap.
const TRIES: u32 = 1 << 10;

const LAP: u64 = 1 << 20;

/// So many laps the slot of a job that was put back again and again is ahead of the head.
const MOST_LAPS_AHEAD: u32 = MAX_DELIVERIES + 2;

/// The shared state of a queue, wherever it lies: the mapped segment, or the heap of a test. All zeroes is
/// an empty queue.
pub trait Memory {
    /// The number of slots: at least 1, at most [`MAX_SLOTS`].
    fn slots(&self) -> u32;
    /// The word of a slot.
    fn word(&self, slot: u32) -> &AtomicU64;
    /// What the writer of a slot has noted: when a job was pushed, or whose call it is.
    fn note(&self, slot: u32) -> &AtomicU64;
    /// The next position to fill: a hint.
    fn head(&self) -> &AtomicU64;
    /// The next position to take: a hint.
    fn tail(&self) -> &AtomicU64;
    /// Changes when a job was put back, which may lie anywhere: a hint.
    fn returned(&self) -> &AtomicU64;
    /// What this participant knows for itself.
    fn own(&self) -> &Own;
    /// A hint: this slot is going to be written soon.
    #[inline(always)]
    fn expect_write(&self, _slot: u32) {}
    /// A hint: this slot is going to be taken soon.
    #[inline(always)]
    fn expect_take(&self, _slot: u32) {}
}

/// What one participant knows for itself, so that it need not ask the others for every slot: see [`begin`].
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Where it fills next, if nobody else has: everything before was filled, or passed.
    fill: Private,
    /// Where it takes next, if nobody else has: everything before was taken, or passed.
    take: Private,
    /// So far the head and the tail were moved on, as far as this participant is concerned.
    fill_told: Private,
    take_told: Private,
    /// The tail, when it was last looked at to fill something.
    tail_seen: Private,
    /// The head, when it was last looked at to take something.
    head_seen: Private,
}

/// A participant, in the word of a slot that it owns: 1 to 4095. 0 is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(u16);

impl OwnerId {
    /// Nobody.
    pub const NOBODY: OwnerId = OwnerId(0);
    const MASK: u64 = (1 << 12) - 1;

    /// Of a number below 4095.
    pub fn new(number: u32) -> OwnerId {
        OwnerId(((u64::from(number) + 1) & Self::MASK) as u16)
    }

    /// The number that it was made of; `None`: nobody.
    pub fn number(self) -> Option<u32> {
        u32::from(self.0).checked_sub(1)
    }
}

/// What a slot is doing: see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Free,
    Writing,
    Ready,
    Taken,
    /// A dead letter.
    Dead,
    /// A dead letter that somebody looks at.
    Examined,
    /// A call that is answered: see [`calls`].
    Replied,
    /// The same without an answer.
    Declined,
    /// Its server has died.
    Lost,
    /// Its client does not wait any more.
    Abandoned,
    /// Nothing that anybody writes.
    Garbage,
}

const STATES: [State; 10] = [
    State::Free,
    State::Writing,
    State::Ready,
    State::Taken,
    State::Dead,
    State::Examined,
    State::Replied,
    State::Declined,
    State::Lost,
    State::Abandoned,
];

impl State {
    /// Its lap is that of its next use, not of what is in it.
    fn is_behind_us(self) -> bool {
        !matches!(self, State::Free | State::Writing | State::Ready)
    }
}

/// The word of a slot: bits 20.. lap, 16..20 deliveries, 4..16 owner, 0..4 state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    /// What was found in memory.
    pub fn of(found: u64) -> Word {
        Word(found)
    }

    fn new(lap: Lap, deliveries: u32, owner: OwnerId, state: State) -> Word {
        Word(lap.0 | u64::from(deliveries) << 16 | u64::from(owner.0) << 4 | state as u64)
    }

    pub fn state(self) -> State {
        STATES.get((self.0 & 15) as usize).copied().unwrap_or(State::Garbage)
    }

    pub fn owner(self) -> OwnerId {
        OwnerId((self.0 >> 4 & OwnerId::MASK) as u16)
    }

    /// How often the job was delivered and came back.
    pub fn deliveries(self) -> u32 {
        (self.0 >> 16 & 15) as u32
    }

    fn lap(self) -> Lap {
        Lap(self.0 & !(LAP - 1))
    }

    fn is_of(self, owner: OwnerId, state: State) -> bool {
        self.owner() == owner && self.state() == state
    }

    /// One lap on, and else the same.
    fn moved_on(self) -> Word {
        Word(self.0.wrapping_add(LAP))
    }
}

/// A lap, in the bits that it has in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lap(u64);

impl Lap {
    fn next(self) -> Lap {
        Lap(self.0.wrapping_add(LAP))
    }

    /// How many laps ahead of the other, times 2^20. It wraps.
    fn ahead_of(self, other: Lap) -> i64 {
        self.0.wrapping_sub(other.0) as i64
    }
}

/// A lap and a slot: bits 20.. and 0..20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position(u64);

impl Position {
    /// What was found in memory. Garbage becomes the beginning of its lap.
    fn of(found: u64, slots: u32) -> Position {
        if found & (LAP - 1) < u64::from(slots) {
            Position(found)
        } else {
            Position(found & !(LAP - 1))
        }
    }

    fn slot(self) -> u32 {
        (self.0 & (LAP - 1)) as u32
    }

    fn lap(self) -> Lap {
        Lap(self.0 & !(LAP - 1))
    }

    fn in_lap(self, lap: Lap) -> Position {
        Position(lap.0 | u64::from(self.slot()))
    }

    /// How far ahead of the other: laps times 2^20, and slots. It wraps.
    fn ahead_of(self, other: Position) -> i64 {
        self.0.wrapping_sub(other.0) as i64
    }

    fn previous(self, slots: u32) -> Position {
        match self.slot() {
            0 => Position(self.0.wrapping_sub(LAP) | u64::from(slots - 1)),
            _ => Position(self.0 - 1),
        }
    }

    /// So many slots on, less than a lap.
    #[inline(always)]
    fn plus(self, n: u32, slots: u32) -> Position {
        let slot = self.slot() + n;
        if slot < slots {
            Position(self.0 + u64::from(n))
        } else {
            Position(self.lap().next().0 + u64::from(slot - slots))
        }
    }

    #[inline(always)]
    fn next(self, slots: u32) -> Position {
        if self.slot() + 1 < slots { Position(self.0 + 1) } else { Position(self.lap().next().0) }
    }
}

/// Every slot is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The right to write one slot, until it is published.
#[derive(Debug)]
#[must_use = "a claim that is neither published nor given up keeps its slot for ever"]
pub struct Claim {
    slot: u32,
    /// As it was made.
    word: Word,
}

impl Claim {
    /// The slot that may be written.
    #[inline(always)]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    fn owner(&self) -> OwnerId {
        self.word.owner()
    }
}

/// The right to read one slot, and the duty to say what becomes of it.
#[derive(Debug)]
#[must_use = "what was taken and is not given back keeps its slot for ever"]
pub struct Taken {
    /// As it was made: with the state `Taken`, or `Examined` for a dead letter.
    word: NonZero<u64>,
    slot: u32,
    from: OwnerId,
}

impl Taken {
    #[inline(always)]
    fn of(slot: u32, word: Word, from: OwnerId) -> Option<Taken> {
        Some(Taken { word: NonZero::new(word.0)?, slot, from })
    }

    /// As it was when it was taken.
    #[inline(always)]
    fn word(&self) -> Word {
        Word(self.word.get())
    }

    fn owner(&self) -> OwnerId {
        self.word().owner()
    }

    /// A number that tells it from others of its queue: about how many were filled before it.
    pub fn number(&self, slots: u32) -> u64 {
        (self.word().lap().0 / LAP)
            .wrapping_sub(1)
            .wrapping_mul(slots.into())
            .wrapping_add(self.slot.into())
    }

    /// The slot that may be read.
    #[inline(always)]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// How often it was delivered before.
    #[inline(always)]
    pub fn deliveries(&self) -> u32 {
        self.word().deliveries()
    }

    /// A dead letter.
    #[inline(always)]
    pub fn is_dead_letter(&self) -> bool {
        self.word().state() == State::Examined
    }

    /// Whoever is to get the answer.
    pub fn from(&self) -> OwnerId {
        self.from
    }
}

/// What became of something that was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBack {
    /// It is offered again.
    Offered,
    /// It is a dead letter.
    Dead,
    /// It was not its owner's any more.
    Evicted,
}

fn load(memory: &impl Memory, slot: u32) -> Word {
    Word(memory.word(slot).load(Ordering::Acquire)) // Edges A, B.
}

/// Edges A, B and C.
#[inline(always)]
fn change(memory: &impl Memory, slot: u32, from: Word, to: Word) -> bool {
    memory.word(slot).change_first(from.0, to.0)
}

/// Changes a word that only its owner changes, but for its lap. `to` says into what; `None`: it is not his.
#[inline(always)]
fn change_own(memory: &impl Memory, slot: u32, to: impl Fn(Word) -> Option<Word>) -> bool {
    for _ in 0..TRIES {
        let word = load(memory, slot);
        let Some(next) = to(word) else { return false };
        if change(memory, slot, word, next) {
            return true;
        }
    }
    false
}

/// Whoever fills or takes in turn moves head and tail on once in so many slots: they are lines that all share.
const STRIDE: u32 = 8;
/// So many slots before their turn the lines of a slot are fetched.
const HINTED: u32 = 8;

/// Moves a hint to where its participant is, unless it is there already.
fn tell(hint: &AtomicU64, own: &Private, told: &Private) {
    let to = own.get();
    if told.get() == to {
        return;
    }
    told.set(to);
    let found = hint.load(Ordering::Acquire);
    if Position(to).ahead_of(Position(found)) > 0 {
        let _ = hint.compare_exchange(found, to, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[inline(always)]
fn help(hint: &AtomicU64, from: Position, slots: u32) {
    let to = from.next(slots).0;
    let _ = hint.compare_exchange(from.0, to, Ordering::AcqRel, Ordering::Relaxed);
}

/// What a newcomer knows, before he fills or takes anything.
pub fn begin(memory: &impl Memory) {
    let own = memory.own();
    let (head, tail) =
        (memory.head().load(Ordering::Acquire), memory.tail().load(Ordering::Acquire));
    own.fill.set(head);
    own.fill_told.set(head);
    own.take.set(tail);
    own.take_told.set(tail);
}

/// The right to fill the next slot.
///
/// # Errors
///
/// [`Full`]: the next job to take has waited for a lap, or every slot is somebody's.
#[inline(always)]
pub fn claim(memory: &impl Memory, me: OwnerId) -> Result<Claim, Full> {
    let (slots, own) = (memory.slots(), memory.own());
    let mut at = Position::of(own.fill.get(), slots);
    for _ in 0..STRIDE {
        let word = load(memory, at.slot());
        let ahead = word.lap().ahead_of(at.lap());
        let is_filled = matches!(word.state(), State::Ready | State::Writing);
        if ahead > 0 || ahead == 0 && is_filled {
            // Others were here.
            at = at.next(slots);
            continue;
        }
        if ahead < 0 || word.state() != State::Free {
            break;
        }
        let to = Word::new(at.lap(), 0, me, State::Writing);
        if !change(memory, at.slot(), word, to) {
            continue;
        }
        let next = at.next(slots);
        own.fill.set(next.0);
        if next.slot().is_multiple_of(STRIDE) {
            tell(memory.head(), &own.fill, &own.fill_told);
            if slots > HINTED {
                own.tail_seen.set(memory.tail().load(Ordering::Relaxed));
            }
        }
        if slots > HINTED {
            // Not one that is still to be taken: its lines are somebody else's.
            let soon = at.plus(HINTED, slots);
            if Position(own.tail_seen.get().wrapping_add(LAP)).ahead_of(soon) > 0 {
                memory.expect_write(soon.slot());
            }
        }
        return Ok(Claim { slot: at.slot(), word: to });
    }
    own.fill.set(at.0);
    claim_behind(memory, me)
}

/// The same where somebody was faster or something is in the way.
#[cold]
fn claim_behind(memory: &impl Memory, me: OwnerId) -> Result<Claim, Full> {
    let (slots, own) = (memory.slots(), memory.own());
    tell(memory.head(), &own.fill, &own.fill_told);
    let mut moved = 0;
    for _ in 0..u64::from(slots) * u64::from(MOST_LAPS_AHEAD) + u64::from(TRIES) {
        let found = memory.head().load(Ordering::Acquire);
        let at = Position::of(found, slots);
        if at.0 != found {
            let _ =
                memory.head().compare_exchange(found, at.0, Ordering::AcqRel, Ordering::Relaxed);
            continue;
        }
        let word = load(memory, at.slot());
        let ahead = word.lap().ahead_of(at.lap());
        match word.state() {
            State::Free if ahead <= 0 => {
                let to = Word::new(at.lap(), 0, me, State::Writing);
                if change(memory, at.slot(), word, to) {
                    help(memory.head(), at, slots);
                    own.fill.set(at.next(slots).0);
                    own.fill_told.set(at.next(slots).0);
                    return Ok(Claim { slot: at.slot(), word: to });
                }
            }
            // It has waited for a lap.
            State::Ready if ahead < 0 => return Err(Full),
            // In the way: being written since the last lap, or taken and not given back.
            state if ahead < 0 || ahead == 0 && state.is_behind_us() => {
                // Only for a slot beyond it. Else the laps of a full queue would go on as fast as its pushers
                // ask, and whoever wants to change his own word would race with them.
                if moved % slots == 0 && !has_room(memory) {
                    return Err(Full);
                }
                moved += 1;
                let to = Word(word.0 & (LAP - 1) | at.lap().0);
                let to = if state.is_behind_us() { to.moved_on() } else { to };
                change(memory, at.slot(), word, to);
            }
            // Somebody has filled it, or passed it.
            _ => help(memory.head(), at, slots),
        }
    }
    Err(Full)
}

/// Shows a slot that was written to those who take, and says whether it was still its owner's. `from` is
/// whoever is to get the answer, if there is one to come.
#[inline(always)]
pub fn publish(memory: &impl Memory, claim: Claim, from: OwnerId) -> bool {
    let ready = |word: Word| Word::new(word.lap(), 0, from, State::Ready);
    change(memory, claim.slot, claim.word, ready(claim.word))
        || change_own(memory, claim.slot, |word| {
            word.is_of(claim.owner(), State::Writing).then(|| ready(word))
        })
}

/// Gives up a slot that was not written.
pub fn give_up(memory: &impl Memory, claim: Claim) {
    free_unfilled(memory, claim.slot, claim.owner());
}

/// For the next lap: in this one others have passed it.
fn free_unfilled(memory: &impl Memory, slot: u32, owner: OwnerId) -> bool {
    change_own(memory, slot, |word| {
        let next = Word::new(word.lap().next(), 0, OwnerId::NOBODY, State::Free);
        word.is_of(owner, State::Writing).then_some(next)
    })
}

#[inline(always)]
fn taken(memory: &impl Memory, me: OwnerId, slot: u32, word: Word) -> Option<Taken> {
    let to = Word::new(word.lap().next(), word.deliveries(), me, State::Taken);
    if change(memory, slot, word, to) { Taken::of(slot, to, word.owner()) } else { None }
}

/// Takes the next job in turn, if there is one. What was put back may lie elsewhere: [`take_any`].
#[inline(always)]
pub fn take(memory: &impl Memory, me: OwnerId) -> Option<Taken> {
    let (slots, own) = (memory.slots(), memory.own());
    let mut at = Position::of(own.take.get(), slots);
    for _ in 0..STRIDE {
        let word = load(memory, at.slot());
        let ahead = word.lap().ahead_of(at.lap());
        match word.state() {
            // Others were here.
            _ if ahead > 0 => at = at.next(slots),
            State::Ready if ahead == 0 => {
                let Some(taken) = taken(memory, me, at.slot(), word) else { continue };
                let next = at.next(slots);
                own.take.set(next.0);
                if next.slot().is_multiple_of(STRIDE) {
                    tell(memory.tail(), &own.take, &own.take_told);
                    if slots > HINTED {
                        own.head_seen.set(memory.head().load(Ordering::Relaxed));
                    }
                }
                if slots > HINTED {
                    // Not one that is still to be filled: its lines are somebody else's.
                    let soon = at.plus(HINTED, slots);
                    if Position(own.head_seen.get()).ahead_of(soon) > 0 {
                        memory.expect_take(soon.slot());
                    }
                }
                return Some(taken);
            }
            // Nobody has been here in this lap, nor further on.
            State::Free if ahead == 0 => {
                own.take.set(at.0);
                return None;
            }
            // Mostly the last one.
            State::Writing if ahead == 0 && is_fresh(memory, at.next(slots)) => {
                own.take.set(at.0);
                return None;
            }
            _ => break,
        }
    }
    own.take.set(at.0);
    take_behind(memory, me)
}

/// Whether nobody has been here in this lap.
#[inline(always)]
fn is_fresh(memory: &impl Memory, at: Position) -> bool {
    let word = load(memory, at.slot());
    word.state() == State::Free && word.lap() == at.lap()
}

/// The same where somebody was faster or something is in the way.
#[cold]
fn take_behind(memory: &impl Memory, me: OwnerId) -> Option<Taken> {
    let (slots, own) = (memory.slots(), memory.own());
    tell(memory.tail(), &own.take, &own.take_told);
    for _ in 0..TRIES {
        let next = next_ready(memory);
        // Everything before it is taken, or passed.
        let tail = memory.tail().load(Ordering::Acquire);
        own.take.set(tail);
        own.take_told.set(tail);
        let (at, word) = next?;
        if let Some(taken) = taken(memory, me, at.slot(), word) {
            help(memory.tail(), at, slots);
            return Some(taken);
        }
    }
    None
}

/// The next job in turn. The tail is moved on past what nobody will take.
fn next_ready(memory: &impl Memory) -> Option<(Position, Word)> {
    let slots = memory.slots();
    let mut found: Option<(Position, Word)> = None;
    // Each round ends, or finds one that is nearer: somebody has published it meanwhile.
    for _ in 0..TRIES {
        let (mut at, end) = turn(memory);
        let mut passed = false;
        let mut nearer = None;
        for _ in 0..=slots + STRIDE {
            if found.is_some_and(|(found, _)| found == at) {
                break;
            }
            let word = load(memory, at.slot());
            let ahead = word.lap().ahead_of(at.lap());
            match word.state() {
                State::Ready if ahead == 0 => {
                    nearer = Some((at, word));
                    break;
                }
                _ if ahead > 0 => {
                    if !passed {
                        help(memory.tail(), at, slots);
                    }
                }
                // Nobody has been here in this lap, nor further on.
                State::Free if ahead == 0 => break,
                // Somebody writes it, or has it in a later turn.
                _ => passed = true,
            }
            if at == end {
                break;
            }
            at = at.next(slots);
        }
        #[cfg(loom)]
        let passed = passed && !breaks::is_without(breaks::Break::SecondLook);
        match nearer {
            // Others of its pusher may have been published between the look at a slot before and at it.
            Some(_) if passed => found = nearer,
            Some(_) => return nearer,
            None => return found,
        }
    }
    found
}

/// The next position to take, and one that nobody has filled. Every job that was published and not put back
/// lies between them, or at the first.
fn turn(memory: &impl Memory) -> (Position, Position) {
    let slots = memory.slots();
    let found = memory.tail().load(Ordering::Acquire);
    let head = Position::of(memory.head().load(Ordering::Acquire), slots);
    let tail = Position::of(found, slots);
    // The head may be behind: those who fill in turn move it on once in a while.
    let end = (0..STRIDE).fold(head, |end, _| end.next(slots));
    let ahead = tail.ahead_of(head);
    // Where it is ahead it has passed something: that is in a later lap, which nothing is for garbage.
    let passed = tail.previous(slots);
    let is_sound = match ahead > 0 {
        true => load(memory, passed.slot()).lap().ahead_of(passed.lap()) > 0,
        false => ahead >= -(LAP as i64),
    };
    if is_sound && tail.0 == found {
        return (tail, end);
    }
    // Nobody has taken anything for more than a lap, or it is garbage. A tail that is behind does no harm.
    let tail = Position(head.0.wrapping_sub(LAP));
    let _ = memory.tail().compare_exchange(found, tail.0, Ordering::AcqRel, Ordering::Relaxed);
    (tail, end)
}

/// Takes any job, wherever it lies, those first that have been delivered before.
#[cold]
pub fn take_any(memory: &impl Memory, me: OwnerId) -> Option<Taken> {
    // Those that were put back are in no turn; the others are, unless a word or a hint is garbage.
    take_where(memory, me, |_, word| word.deliveries() > 0)
        .or_else(|| take_behind(memory, me))
        .or_else(|| take_where(memory, me, |slot, word| is_out_of_turn(memory, slot, word)))
}

/// Whether a job lies where [`next_ready`] does not look. Those where it looks are taken in turn only.
fn is_out_of_turn(memory: &impl Memory, slot: u32, word: Word) -> bool {
    let at = Position(word.lap().0 | u64::from(slot));
    let (tail, end) = turn(memory);
    at.ahead_of(tail) < 0 || at.ahead_of(end) > 0
}

fn take_where(memory: &impl Memory, me: OwnerId, is: impl Fn(u32, Word) -> bool) -> Option<Taken> {
    (0..memory.slots()).find_map(|slot| {
        let word = load(memory, slot);
        let found = word.state() == State::Ready && is(slot, word);
        if found { taken(memory, me, slot, word) } else { None }
    })
}

/// How the next turn stands, at a short look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its job is there.
    Ready,
    /// Nobody has filled it, nor any behind it.
    Empty,
    /// Its job is being written, and nobody is behind it.
    Written,
    /// Somebody is there. It may be worth looking behind it.
    Busy,
}

/// Looks at the next turn, for somebody who looks again and again.
#[inline(always)]
pub fn look(memory: &impl Memory) -> Turn {
    let at = Position::of(memory.own().take.get(), memory.slots());
    let word = load(memory, at.slot());
    match word.state() {
        State::Ready if word.lap() == at.lap() => Turn::Ready,
        State::Free if word.lap() == at.lap() => Turn::Empty,
        State::Writing if word.lap() == at.lap() && is_fresh(memory, at.next(memory.slots())) => {
            Turn::Written
        }
        _ => Turn::Busy,
    }
}

/// Whether a job is there, in turn.
pub fn is_ready(memory: &impl Memory) -> bool {
    match look(memory) {
        Turn::Ready => true,
        Turn::Empty | Turn::Written => false,
        Turn::Busy => next_ready(memory).is_some(),
    }
}

/// So many slots are a batch, for somebody who is faster than the other side.
const BATCH: u32 = 16;

fn batch(slots: u32) -> u32 {
    BATCH.min(slots / 4)
}

/// Whether there is a batch to take: for a puller to whom jobs come one after the other, and who else would
/// take every line away from its pusher in the middle of its work. A hint.
pub fn is_batch_ready(memory: &impl Memory) -> bool {
    let slots = memory.slots();
    let at = Position::of(memory.own().take.get(), slots).plus(batch(slots), slots);
    let word = load(memory, at.slot());
    word.state() != State::Free || word.lap() != at.lap()
}

/// Whether there is room for a batch: the same on the other side.
pub fn has_room_for_batch(memory: &impl Memory) -> bool {
    let slots = memory.slots();
    let at = Position::of(memory.own().fill.get(), slots).plus(batch(slots), slots);
    let word = load(memory, at.slot());
    word.state() != State::Ready || word.lap().ahead_of(at.lap()) >= 0
}

/// Whether a job is anywhere.
pub fn is_any_ready(memory: &impl Memory) -> bool {
    (0..memory.slots()).any(|slot| load(memory, slot).state() == State::Ready)
}

/// Whether there is something to claim. Only a look.
pub fn has_room(memory: &impl Memory) -> bool {
    let slots = memory.slots();
    let head = Position::of(memory.head().load(Ordering::Acquire), slots);
    let mut at = head;
    // How far the head is from the first slot that it can fill, and from the first that stops it. They may
    // be some laps away: see `MOST_LAPS_AHEAD`.
    let (mut room, mut stop) = (i64::MAX, i64::MAX);
    for _ in 0..slots {
        let word = load(memory, at.slot());
        let ahead = word.lap().ahead_of(at.lap());
        match word.state() {
            State::Free if ahead <= 0 => return true,
            State::Ready if ahead < 0 => return false,
            State::Free => room = room.min(at.in_lap(word.lap()).ahead_of(head)),
            State::Ready => stop = stop.min(at.in_lap(word.lap().next()).ahead_of(head)),
            _ => {}
        }
        at = at.next(slots);
    }
    room < stop
}

/// Acknowledges what was taken: its slot is free. `false`: it was not its owner's any more.
#[inline(always)]
pub fn done(memory: &impl Memory, taken: Taken) -> bool {
    let free = |word: Word| Word::new(word.lap(), 0, OwnerId::NOBODY, State::Free);
    let own = taken.word();
    change(memory, taken.slot, own, free(own))
        || change_own(memory, taken.slot, |word| {
            word.is_of(own.owner(), own.state()).then(|| free(word))
        })
}

/// Offers again what was taken. After `limit` deliveries it is a dead letter, as is what was one before.
pub fn put_back(memory: &impl Memory, taken: Taken, limit: u32) -> PutBack {
    put_back_of(memory, taken.slot, taken.owner(), limit)
}

/// Makes a dead letter of what was taken. `false`: it was not its owner's any more.
pub fn bury(memory: &impl Memory, taken: Taken) -> bool {
    let (slot, owner) = (taken.slot, taken.owner());
    // Nothing of it is offered again at one delivery.
    put_back_of(memory, slot, owner, 0) == PutBack::Dead
}

fn put_back_of(memory: &impl Memory, slot: u32, owner: OwnerId, limit: u32) -> PutBack {
    for _ in 0..TRIES {
        let word = load(memory, slot);
        let delivered = word.deliveries() + 1;
        let (deliveries, state) = match word.state() {
            State::Taken if delivered < limit.min(MAX_DELIVERIES) => (delivered, State::Ready),
            State::Taken => (delivered.min(MAX_DELIVERIES), State::Dead),
            State::Examined => (word.deliveries(), State::Dead),
            _ => return PutBack::Evicted,
        };
        if word.owner() != owner {
            return PutBack::Evicted;
        }
        let next = Word::new(word.lap(), deliveries, OwnerId::NOBODY, state);
        if change(memory, slot, word, next) {
            return match state {
                State::Ready => {
                    memory.returned().fetch_add(1, Ordering::AcqRel);
                    PutBack::Offered
                }
                _ => PutBack::Dead,
            };
        }
    }
    PutBack::Evicted
}

/// Takes a dead letter to look at it: the first one at this slot or after it.
pub fn exhume(memory: &impl Memory, me: OwnerId, first: u32) -> Option<Taken> {
    (first..memory.slots()).find_map(|slot| {
        let word = load(memory, slot);
        if word.state() != State::Dead {
            return None;
        }
        let to = Word::new(word.lap(), word.deliveries(), me, State::Examined);
        if change(memory, slot, word, to) { Taken::of(slot, to, OwnerId::NOBODY) } else { None }
    })
}

/// What became of the slots of somebody who has died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// They can be filled.
    pub freed: u32,
    /// They are offered again.
    pub offered: u32,
    /// They are dead letters.
    pub dead: u32,
}

/// Ends everything that somebody has here. The caller holds his lock.
pub fn reap(memory: &impl Memory, owner: OwnerId, limit: u32) -> Reaped {
    let mut reaped = Reaped::default();
    for slot in 0..memory.slots() {
        let word = load(memory, slot);
        if word.owner() != owner {
            continue;
        }
        match word.state() {
            State::Writing => reaped.freed += u32::from(free_unfilled(memory, slot, owner)),
            State::Taken | State::Examined => match put_back_of(memory, slot, owner, limit) {
                PutBack::Offered => reaped.offered += 1,
                PutBack::Dead => reaped.dead += 1,
                PutBack::Evicted => {}
            },
            _ => {}
        }
    }
    reaped
}

/// Who owns slots, each once, besides the one who asks.
pub fn owners(memory: &impl Memory, me: OwnerId) -> Vec<OwnerId> {
    let mut seen = [0_u64; (OwnerId::MASK as usize + 1) / 64];
    let mut owners = Vec::new();
    for slot in 0..memory.slots() {
        let owner = load(memory, slot).owner();
        let (word, bit) = (usize::from(owner.0) / 64, 1 << (owner.0 % 64));
        if owner != OwnerId::NOBODY && owner != me && seen[word] & bit == 0 {
            seen[word] |= bit;
            owners.push(owner);
        }
    }
    owners
}

/// How many slots of a queue are doing what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub free: u32,
    pub writing: u32,
    pub ready: u32,
    pub taken: u32,
    /// A client's, whose call has ended: its reply was not read yet, or is looked at.
    pub ended: u32,
    pub dead: u32,
    /// In a state that nobody writes.
    pub garbage: u32,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, word: Word) {
        *match word.state() {
            State::Free => &mut self.free,
            State::Writing => &mut self.writing,
            State::Ready => &mut self.ready,
            State::Dead | State::Examined => &mut self.dead,
            State::Garbage => &mut self.garbage,
            State::Taken | State::Abandoned => &mut self.taken,
            State::Replied | State::Declined | State::Lost => &mut self.ended,
        } += 1;
    }
}

impl State {
    /// Something is in the slot that is not to be lost when everybody goes.
    pub fn is_kept(self) -> bool {
        matches!(self, State::Ready | State::Taken | State::Dead | State::Examined)
    }
}

#[cfg(test)]
#[allow(dead_code)]
mod heap;
#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
