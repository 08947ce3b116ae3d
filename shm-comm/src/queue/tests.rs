//! probe
use super::heap::*;
use super::*;
fn push(heap: &Heap, me: u32, value: u64) -> bool {
    let Ok(claim) = claim(heap, owner(me)) else { return false };
    heap.write(&claim, value);
    publish(heap, claim, OwnerId::NOBODY)
}
fn pull(heap: &Heap, me: u32) -> Option<u64> {
    let taken = take(heap, owner(me))?;
    let value = heap.read(&taken);
    assert!(done(heap, taken));
    Some(value)
}
#[test]
fn probe_long_loan() {
    let heap = Heap::new(3);
    let loan = claim(&heap, owner(9)).unwrap();
    for i in 0..20 {
        assert!(push(&heap, 0, i));
        assert!(is_ready(&heap), "{i}");
        assert_eq!(pull(&heap, 1), Some(i));
    }
    heap.write(&loan, 99);
    assert!(publish(&heap, loan, OwnerId::NOBODY));
}
#[test]
fn probe_tail_lag() {
    let heap = Heap::new(1);
    for _ in 0..100 {
        give_up(&heap, claim(&heap, owner(9)).unwrap());
    }
    assert!(push(&heap, 0, 1));
    assert_eq!(pull(&heap, 1), Some(1));
}
#[test]
fn probe_has_room() {
    let heap = Heap::new(2);
    push(&heap, 0, 1);
    push(&heap, 0, 2);
    let _kept = take(&heap, owner(1)).unwrap();
    let mut t = take(&heap, owner(1)).unwrap();
    for _ in 0..5 {
        assert_eq!(put_back(&heap, t, 15), PutBack::Offered);
        t = take_any(&heap, owner(1)).unwrap();
    }
    done(&heap, t);
    assert_eq!(has_room(&heap), claim(&heap, owner(3)).is_ok());
}
