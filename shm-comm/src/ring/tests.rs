//! What the ring does when nobody races; the races are in `model`.

use super::heap::Heap;
use super::*;

fn ring(slots: usize, readers: usize) -> (Heap, Writer) {
    let heap = Heap::new(slots, readers);
    initialise(&heap);
    let writer = Writer::take_over(&heap, 1).expect("a fresh ring");
    (heap, writer)
}

fn publish(heap: &Heap, writer: &mut Writer, value: u64) {
    let claim = writer.claim(heap).expect("a free slot");
    heap.write(claim.position(), value);
    writer.publish(heap, claim);
    writer.prepare(heap);
}

fn receive(heap: &Heap, reader: &mut Reader) -> Option<(u64, u64, u64)> {
    let cell = heap.cell(0, 0);
    let found = reader.next(heap, cell)?;
    let value = heap.read(found.right.position());
    found.right.release(cell);
    Some((value, found.sequence, found.missed))
}

#[test]
fn messages_come_in_order() {
    let (heap, mut writer) = ring(16, 1);
    let mut reader = Reader::at_first(&heap);
    assert_eq!(receive(&heap, &mut reader), None);
    for i in 0..100 {
        publish(&heap, &mut writer, 1000 + i);
        assert_eq!(receive(&heap, &mut reader), Some((1000 + i, i, 0)));
        assert_eq!(receive(&heap, &mut reader), None);
    }
}

#[test]
fn a_lapped_reader_goes_on_with_the_oldest_and_knows_what_it_missed() {
    let (heap, mut writer) = ring(16, 1);
    let mut reader = Reader::at_first(&heap);
    for i in 0..100 {
        publish(&heap, &mut writer, i);
    }
    let (value, sequence, missed) = receive(&heap, &mut reader).unwrap();
    assert_eq!((value, sequence, missed), (86, 86, 86), "16 slots less a batch of 2 are left");
    for i in 87..100 {
        assert_eq!(receive(&heap, &mut reader), Some((i, i, 0)));
    }
    assert_eq!(receive(&heap, &mut reader), None);
}

#[test]
fn a_held_slot_is_skipped_and_the_sequence_has_no_gap() {
    let (heap, mut writer) = ring(16, 1);
    let mut reader = Reader::at_first(&heap);
    publish(&heap, &mut writer, 7);
    let kept = heap.cell(0, 1);
    let held = reader.next(&heap, kept).unwrap();
    for i in 1..200 {
        publish(&heap, &mut writer, 7 + i);
        assert_eq!(receive(&heap, &mut reader), Some((7 + i, i, 0)));
        assert_eq!(heap.read(held.right.position()), 7, "what is held does not change");
    }
    assert!(writer.skips() >= 12, "{} laps", writer.skips());
    assert_eq!(writer.take_suspects(), 1, "subscriber 0 holds a slot lap after lap");
    assert_eq!(writer.take_suspects(), 0, "once a batch");
    assert_eq!(held_by(&heap, 0), 1);
    held.right.release(kept);
    for i in 200..240 {
        publish(&heap, &mut writer, i);
    }
    assert_eq!(writer.take_suspects(), 0);
}

#[test]
fn all_slots_held_is_said_and_ends_with_a_release() {
    let (heap, mut writer) = ring(8, 1);
    let mut reader = Reader::at_first(&heap);
    let mut held = Vec::new();
    for i in 0..8 {
        publish(&heap, &mut writer, i);
        held.push(reader.next(&heap, heap.cell(0, i as usize)).unwrap());
    }
    for _ in 0..3 {
        assert_eq!(writer.claim(&heap).unwrap_err(), AllHeld);
    }
    held.remove(4).right.release(heap.cell(0, 4));
    publish(&heap, &mut writer, 8);
    assert_eq!(reader.next(&heap, heap.cell(0, 4)).unwrap().sequence, 8);
}

#[test]
fn the_newest_is_found_seen_or_not_and_nothing_counts_as_missed() {
    let (heap, mut writer) = ring(16, 1);
    let cell = heap.cell(0, 0);
    let mut early = Reader::at_next(&heap);
    assert!(early.newest(&heap, cell).is_none(), "nothing was published");
    for i in 0..40 {
        publish(&heap, &mut writer, i);
    }
    for mut reader in [early, Reader::at_next(&heap), Reader::at_oldest(&heap)] {
        let last = writer.published(&heap) - 1;
        for _ in 0..2 {
            let found = reader.newest(&heap, cell).unwrap();
            assert_eq!((found.sequence, found.missed), (last, 0));
            found.right.release(cell);
        }
        assert_eq!(receive(&heap, &mut reader), None, "recv goes on after it");
        publish(&heap, &mut writer, 99);
        assert_eq!(receive(&heap, &mut reader), Some((99, last + 1, 0)));
    }
}

#[test]
fn a_claim_that_is_dropped_is_the_next_claim() {
    let (heap, mut writer) = ring(8, 1);
    let first = writer.claim(&heap).unwrap().position();
    assert_eq!(writer.claim(&heap).unwrap().position(), first);
}

#[test]
fn numbers_continue_over_a_take_over() {
    let (heap, mut writer) = ring(16, 1);
    let mut reader = Reader::at_first(&heap);
    for i in 0..21 {
        publish(&heap, &mut writer, i);
    }
    let kept = heap.cell(0, 1);
    let held = reader.next(&heap, kept).unwrap();
    let next = held.sequence + 1;
    for i in 21..50 {
        publish(&heap, &mut writer, i);
    }
    let mut writer = Writer::take_over(&heap, 2).unwrap();
    assert_eq!(writer.published(&heap), 50);
    for i in 50..55 {
        publish(&heap, &mut writer, i);
    }
    let mut expected = next;
    while let Some((value, sequence, missed)) = receive(&heap, &mut reader) {
        assert_eq!(value, sequence);
        assert_eq!(sequence, expected + missed);
        expected = sequence + 1;
    }
    assert_eq!(expected, 55);
    held.right.release(kept);
}

#[test]
fn positions_near_their_end_do_not_overflow() {
    for head in [0, 1, 7, MAX_POSITION + 1, u64::MAX - 1, u64::MAX] {
        let heap = Heap::new(8, 1);
        heap.head().store(head, Ordering::Relaxed);
        assert_eq!(Writer::take_over(&heap, 1).unwrap_err(), Corrupt { head });
        for mut reader in [Reader::at_next(&heap), Reader::at_oldest(&heap)] {
            assert!(reader.next(&heap, heap.cell(0, 0)).is_none());
            assert!(reader.newest(&heap, heap.cell(0, 0)).is_none());
        }
    }
}

#[test]
fn garbage_in_words_ends_in_nothing_and_in_time() {
    for garbage in [1, 2, 3, u64::MAX, u64::MAX / 2, 0x5555_5555_5555_5555] {
        let (heap, _) = ring(64, 1);
        for position in 0..64 {
            heap.word(position).store(garbage, Ordering::Relaxed);
        }
        let mut reader = Reader::at_first(&heap);
        for _ in 0..100 {
            if let Some(found) = reader.next(&heap, heap.cell(0, 0)) {
                found.right.release(heap.cell(0, 0));
            }
        }
    }
}

#[test]
fn a_claim_without_preparation_passes_what_is_held() {
    let (heap, mut writer) = ring(32, 1);
    let mut reader = Reader::at_first(&heap);
    publish(&heap, &mut writer, 0);
    publish(&heap, &mut writer, 1);
    let kept = [heap.cell(0, 0), heap.cell(0, 1)];
    let held = kept.map(|cell| reader.next(&heap, cell).unwrap());
    for i in 2..200 {
        let claim = writer.claim(&heap).unwrap();
        heap.write(claim.position(), i);
        writer.publish(&heap, claim); // and no `prepare`
        for (number, found) in (0..).zip(&held) {
            assert_eq!(heap.read(found.right.position()), number);
        }
    }
    for (found, cell) in held.into_iter().zip(kept) {
        found.right.release(cell);
    }
}

#[test]
fn who_starts_with_the_oldest_has_missed_nothing_before() {
    for published in 0..200 {
        let (heap, mut writer) = ring(64, 1);
        for i in 0..published {
            publish(&heap, &mut writer, i);
        }
        let mut reader = Reader::at_oldest(&heap);
        if let Some((_, sequence, missed)) = receive(&heap, &mut reader) {
            assert_eq!(missed, 0, "{published} published, starts with {sequence}");
        }
    }
}

#[test]
fn a_copying_reader_that_is_lapped_at_every_copy_gets_nearer_to_the_newest() {
    let (heap, mut writer) = ring(8, 1);
    let mut reader = Reader::at_first(&heap);
    let mut copied = 0;
    for _ in 0..100 {
        for attempt in 0..ATTEMPTS {
            let Some(peek) = reader.peek(&heap, attempt) else { break };
            // The writer publishes twice while the copy is made.
            publish(&heap, &mut writer, 0);
            publish(&heap, &mut writer, 0);
            if reader.confirm(&heap, peek).is_some() {
                copied += 1;
                break;
            }
        }
        publish(&heap, &mut writer, 0);
    }
    assert!(copied >= 99, "{copied} of 100");
}

#[test]
fn counts_made_of_garbage_do_not_overflow() {
    let (heap, mut writer) = ring(8, 1);
    let mut reader = Reader::at_first(&heap);
    for i in 0..1000 {
        publish(&heap, &mut writer, i);
        heap.meta(writer.next - 1).store(if i % 2 == 0 { 0 } else { u64::MAX }, Ordering::Relaxed);
        receive(&heap, &mut reader);
    }
}

#[test]
fn a_copying_reader_finds_the_newest_and_goes_on_after_it() {
    let (heap, mut writer) = ring(16, 1);
    let mut reader = Reader::at_next(&heap);
    assert!(reader.peek_newest(&heap).is_none(), "nothing was published");
    for last in 0..40 {
        publish(&heap, &mut writer, last);
        if last % 3 == 0 {
            for _ in 0..2 {
                let peek = reader.peek_newest(&heap).unwrap();
                assert_eq!(heap.read(peek.position()), last);
                assert_eq!(reader.confirm(&heap, peek).unwrap().sequence, last);
            }
            assert!(reader.peek(&heap, 0).is_none(), "it goes on after it");
        }
    }
}

#[test]
fn who_has_seen_the_newest_sees_nothing_new_behind_it() {
    let (heap, mut writer) = ring(8, 1);
    let mut holder = Reader::at_first(&heap);
    let mut reader = Reader::at_first(&heap);
    for i in 0..8 {
        publish(&heap, &mut writer, i);
    }
    // The next slot is held, so that a position without a message comes last.
    let held = holder.next(&heap, heap.cell(0, 0)).unwrap();
    writer.prepare(&heap);
    while writer.skips() == 0 {
        publish(&heap, &mut writer, 8);
    }
    for _ in 0..3 {
        let peek = reader.peek_newest(&heap).unwrap();
        assert!(reader.confirm(&heap, peek).is_some());
        assert!(!reader.anything_new(&heap));
    }
    held.right.release(heap.cell(0, 0));
}

#[test]
fn counts_are_read_from_outside_as_the_writer_has_them() {
    let (heap, mut writer) = ring(16, 1);
    assert_eq!(published(&heap), Some((0, 0)));
    let mut reader = Reader::at_first(&heap);
    publish(&heap, &mut writer, 0);
    let held = reader.next(&heap, heap.cell(0, 0)).unwrap();
    for i in 1..100 {
        publish(&heap, &mut writer, i);
        assert_eq!(published(&heap), Some((i + 1, writer.skips())));
    }
    assert!(writer.skips() > 0);
    held.right.release(heap.cell(0, 0));
}

#[test]
fn nothing_is_found_wrong_with_a_ring_in_use_or_left_by_the_dead() {
    for slots in [2, 4, 16, 64] {
        let heap = Heap::new(slots, 1);
        initialise(&heap);
        assert_eq!(check(&heap), Ok(()));
        let mut writer = Writer::take_over(&heap, 1).unwrap();
        let mut reader = Reader::at_first(&heap);
        let mut held = None;
        for i in 0..300 {
            if i % 50 == 49 {
                writer = Writer::take_over(&heap, 2).unwrap();
            }
            assert_eq!(check(&heap), Ok(()), "{i}");
            let claim = writer.claim(&heap).unwrap();
            assert_eq!(check(&heap), Ok(()), "{i}, claimed");
            writer.publish(&heap, claim);
            assert_eq!(check(&heap), Ok(()), "{i}, published");
            if i % 20 == 0 && slots > 2 {
                if let Some(found) = std::mem::take::<Option<Found<Pin>>>(&mut held) {
                    found.right.release(heap.cell(0, 0));
                }
                held = reader.next(&heap, heap.cell(0, 0));
            }
        }
        if let Some(found) = held {
            found.right.release(heap.cell(0, 0));
        }
    }
}

#[test]
fn what_no_writer_leaves_is_found() {
    let damaged = |position: u64, word: Option<Word>, head: Option<u64>| {
        let (heap, mut writer) = ring(16, 1);
        for i in 0..100 {
            publish(&heap, &mut writer, i);
        }
        assert_eq!(heap.load_head(), 116);
        if let Some(Word(word)) = word {
            heap.word(position).store(word, Ordering::Relaxed);
        }
        if let Some(head) = head {
            heap.head().store(head, Ordering::Relaxed);
        }
        check(&heap).unwrap_err()
    };
    let text = |slot, state, position, head| {
        format!("slot {slot} is in state {state} of position {position}, with its head at {head}")
    };
    // Another slot's, older than what was published, claimed from too far ahead, nothing at all.
    assert_eq!(damaged(110, Some(Word::ready(111)), None), text(14, 3, 111, 116));
    assert_eq!(damaged(110, Some(Word::busy(110)), None), text(14, 1, 110, 116));
    assert_eq!(damaged(110, Some(Word::ready(94)), None), text(14, 3, 94, 116));
    assert_eq!(damaged(124, Some(Word::claimed(124)), None), text(12, 0, 124, 116));
    assert_eq!(damaged(110, Some(Word(0)), None), text(14, 0, 0, 116));
    assert_eq!(damaged(0, None, Some(15)), "its head is 15, with 16 slots");
    assert_eq!(damaged(0, None, Some(200)), text(0, 3, 112, 200));
    assert_eq!(
        damaged(0, None, Some(u64::MAX)),
        format!("its head is {}, with 16 slots", u64::MAX)
    );
}
