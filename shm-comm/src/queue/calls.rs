//! What becomes of a slot that holds a call. It is filled and taken as any other ([`claim`](super::claim),
//! [`publish`](super::publish), [`take`](super::take)); but it goes back to the client who has filled it, and
//! only he frees it:
//!
//! ```text
//! READY(l, client) ── take ──> TAKEN(l+1, server) ── reply ───> REPLIED(l+1, client) ──┐
//!       │                         │    │      └───── decline ─> DECLINED(l+1, client) ─┤
//!       │ cancel          cancel  │    └─ the server is dead ─> LOST(l+1, client) ─────┤
//!       │                         v                               │ again              │ finish
//!       │             ABANDONED(l+1, server)                      v                    │
//!       │                         │ reply, decline, dead        READY(l+1, client)     │
//!       └── FREE(l+1) <───────────┴────────────────────────────────────────────────────┘
//! ```
//!
//! Whose call it is stands in the slot's [note](Note), written while it was being written. A client never
//! waits for a slot but one that it has filled itself, and everything that takes a slot away from a client
//! leaves a word or a note that is not that of its call. So no answer reaches another call.
//!
//! The edges are those of the [queue](super). Edge A also carries the reply: word = `REPLIED` (Release), and
//! the client's look at it (Acquire).

use std::cell::Cell;

use super::{
    Claim, MAX_DELIVERIES, Memory, OwnerId, State, TRIES, Taken, Word, change, change_own, load,
};
use crate::sync::Ordering;

/// Whose call a slot holds: bits 48..60 the client, 0..48 the number among his calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note(u64);

impl Note {
    fn new(client: OwnerId, number: u64) -> Note {
        Note(u64::from(client.0) << 48 | number & ((1 << 48) - 1))
    }

    /// The client.
    pub fn client(self) -> OwnerId {
        OwnerId((self.0 >> 48 & OwnerId::MASK) as u16)
    }
}

/// A call that was made: the right to wait for its answer.
#[derive(Debug)]
#[must_use = "a call that is neither finished nor cancelled keeps its slot for ever"]
pub struct Call {
    slot: u32,
    client: OwnerId,
    note: Note,
}

impl Call {
    /// Its slot.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No server has taken it.
    Waiting,
    /// This one has.
    Served(OwnerId),
    /// The reply may be read.
    Replied,
    /// The server has dropped it.
    Declined,
    /// The server has died, this time or that many times in all.
    Lost(u32),
    /// Its slot was taken from it.
    Gone,
}

/// Shows a call to the servers. `number` is no other's of this client. `None`: the slot was not its client's
/// any more.
#[inline(always)]
pub fn post(memory: &impl Memory, claim: Claim, number: u64) -> Option<Call> {
    let (slot, client) = (claim.slot, claim.owner());
    let note = Note::new(client, number);
    memory.note(slot).store(note.0, Ordering::Relaxed); // Edge A.
    super::publish(memory, claim, client).then_some(Call { slot, client, note })
}

/// Looks how a call stands.
#[inline(always)]
pub fn standing(memory: &impl Memory, call: &Call) -> Standing {
    let word = load(memory, call.slot);
    if !is_own(memory, call) {
        return Standing::Gone;
    }
    match word.state() {
        State::Taken => Standing::Served(word.owner()),
        _ if word.owner() != call.client => Standing::Gone,
        State::Ready => Standing::Waiting,
        State::Replied => Standing::Replied,
        State::Declined => Standing::Declined,
        State::Lost => Standing::Lost(word.deliveries()),
        _ => Standing::Gone,
    }
}

/// The note of a slot is only written by whoever is about to fill it. So with the same word, before and
/// after, it is the note of that word's call.
#[inline(always)]
fn is_own(memory: &impl Memory, call: &Call) -> bool {
    Note(memory.note(call.slot).load(Ordering::Relaxed)) == call.note
}

/// Ends a call, however it stands, and frees its slot, now or when its server answers. Its answer reaches
/// nobody any more.
#[inline(always)]
pub fn finish(memory: &impl Memory, call: Call) {
    change_own(memory, call.slot, |word| {
        if !is_own(memory, &call) {
            return None;
        }
        match word.state() {
            State::Taken => Some(abandoned(word)),
            _ if word.owner() != call.client => None,
            State::Replied | State::Declined | State::Lost => Some(free(word)),
            State::Ready => Some(freed_unread(word)),
            _ => None,
        }
    });
}

fn free(word: Word) -> Word {
    Word::new(word.lap(), 0, OwnerId::NOBODY, State::Free)
}

/// Nobody has taken it, so that its lap is still that in which it was, or was to be, filled.
fn freed_unread(word: Word) -> Word {
    Word::new(word.lap().next(), 0, OwnerId::NOBODY, State::Free)
}

fn abandoned(word: Word) -> Word {
    Word::new(word.lap(), 0, word.owner(), State::Abandoned)
}

/// Puts a call aside that is answered, to be [`finish`]ed later. What is left of it is its slot.
pub fn set_aside(call: Call) -> u32 {
    call.slot
}

/// The call that was put aside. `None`: its slot was taken from it.
pub fn take_up(memory: &impl Memory, slot: u32, client: OwnerId) -> Option<Call> {
    let note = Note(memory.note(slot).load(Ordering::Relaxed));
    load(memory, slot).is_of(client, State::Replied).then_some(Call { slot, client, note })
}

/// Makes a call once more that its server has lost. `false`: it is not lost.
pub fn again(memory: &impl Memory, call: &Call) -> bool {
    let offered = change_own(memory, call.slot, |word| {
        let lost = word.is_of(call.client, State::Lost) && is_own(memory, call);
        lost.then(|| Word::new(word.lap(), word.deliveries(), call.client, State::Ready))
    });
    if offered {
        memory.returned().fetch_add(1, Ordering::AcqRel);
    }
    offered
}

/// Answers a call whose reply was written. `false`: its client does not wait any more; the slot is free.
#[inline(always)]
pub fn reply(memory: &impl Memory, taken: Taken) -> bool {
    answer(memory, taken, State::Replied)
}

/// Answers a call without a reply. `false`: as for [`reply`].
pub fn decline(memory: &impl Memory, taken: Taken) -> bool {
    answer(memory, taken, State::Declined)
}

#[inline(always)]
fn answer(memory: &impl Memory, taken: Taken, state: State) -> bool {
    let (slot, own, client) = (taken.slot, taken.word(), taken.from);
    let server = own.owner();
    if change(memory, slot, own, Word::new(own.lap(), own.deliveries(), client, state)) {
        return true;
    }
    for _ in 0..TRIES {
        let word = load(memory, slot);
        let (next, answered) = match word.state() {
            State::Taken if word.owner() == server => {
                (Word::new(word.lap(), word.deliveries(), client, state), true)
            }
            State::Abandoned if word.owner() == server => (free(word), false),
            _ => return false,
        };
        if change(memory, slot, word, next) {
            return answered;
        }
    }
    false
}

/// Whether a call that was taken is still waited for.
pub fn is_wanted(memory: &impl Memory, taken: &Taken) -> bool {
    load(memory, taken.slot).is_of(taken.owner(), State::Taken)
}

/// Ends everything that somebody has here, as a client or as a server. The caller holds his lock. Returns
/// the clients who have lost their server.
pub fn reap(memory: &impl Memory, dead: OwnerId) -> Vec<OwnerId> {
    let mut bereaved = Vec::new();
    for slot in 0..memory.slots() {
        let lost = Cell::new(OwnerId::NOBODY);
        let changed = change_own(memory, slot, |word| {
            lost.set(OwnerId::NOBODY);
            // With the same word afterwards it is that word's.
            let client = Note(memory.note(slot).load(Ordering::Relaxed)).client();
            match word.state() {
                // For whoever takes his number: the answer is not for him.
                State::Taken if word.owner() != dead => (client == dead).then(|| abandoned(word)),
                _ if word.owner() != dead => None,
                State::Taken if client == OwnerId::NOBODY || client == dead => Some(free(word)),
                State::Taken => {
                    lost.set(client);
                    let times = (word.deliveries() + 1).min(MAX_DELIVERIES);
                    Some(Word::new(word.lap(), times, client, State::Lost))
                }
                State::Writing | State::Ready => Some(freed_unread(word)),
                State::Replied | State::Declined | State::Lost | State::Abandoned => {
                    Some(free(word))
                }
                _ => None,
            }
        });
        if changed && lost.get() != OwnerId::NOBODY {
            bereaved.push(lost.get());
        }
    }
    bereaved
}
