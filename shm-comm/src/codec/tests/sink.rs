//! Where the bytes go.

use std::io::Write;

use super::{EncodeError, Sink};
use crate::codec::is_name;

#[test]
fn a_sink_stores_what_it_is_given() {
    let mut slot = [9; 6];
    let mut sink = Sink::new(&mut slot);
    assert_eq!(sink.write(b"ab").unwrap(), 2);
    sink.write_all(b"c").unwrap();
    sink.write_all(b"").unwrap();
    sink.flush().unwrap();
    assert_eq!(sink.needed(), 3);
    assert_eq!(sink.finish(), Ok(3));
    assert_eq!(&slot, b"abc\x09\x09\x09");
}

#[test]
fn a_full_sink_is_no_error() {
    let mut sink = [0; 3];
    let mut sink = Sink::new(&mut sink);
    sink.write_all(b"abc").unwrap();
    assert_eq!(sink.finish(), Ok(3));
    assert_eq!(Sink::new(&mut []).finish(), Ok(0));
}

#[test]
fn what_does_not_fit_is_counted_and_so_is_what_comes_after() {
    let mut slot = [0; 4];
    let mut sink = Sink::new(&mut slot);
    sink.write_all(b"abc").unwrap();
    assert_eq!(sink.write(b"de").unwrap(), 2);
    sink.write_all(b"f").unwrap(); // Would have room where `de` had none.
    sink.write_all(b"").unwrap();
    assert_eq!(sink.needed(), 6);
    assert_eq!(sink.finish(), Err(EncodeError::TooLong { needed: 6, max: 4 }));
    assert_eq!(&slot, b"abc\0");
}

#[test]
fn a_name_has_few_kinds_of_characters() {
    for name in ["msgpack", "a", "json-5_x.y", &"z".repeat(32)] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "Msgpack", "a b", "ä", "a/b", "a\0", &"z".repeat(33)] {
        assert!(!is_name(name), "{name}");
    }
}
