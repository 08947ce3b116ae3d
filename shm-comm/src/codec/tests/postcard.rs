//! The format, by bytes written out by hand from its specification, and what its crate lets through.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecodeError, Raw, encode, golden, refusal};
use crate::codec::{Codec, Postcard};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Struct {
    first: u32,
    second: Option<i16>,
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Enum {
    Unit,
    Newtype(u8),
    Tuple(u8, u16),
    Struct { first: u8, second: bool },
}

#[test]
fn bytes_are_those_of_the_specification() {
    golden::<Postcard, _>(0x12u8, &[0x12]);
    golden::<Postcard, _>(300u16, &[0xac, 0x02]);
    golden::<Postcard, _>(u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
    golden::<Postcard, _>(-1i8, &[0xff]);
    golden::<Postcard, _>(-1i16, &[0x01]);
    golden::<Postcard, _>(64i64, &[0x80, 0x01]);
    golden::<Postcard, _>(1.0f32, &[0, 0, 0x80, 0x3f]);
    golden::<Postcard, _>(true, &[1]);
    golden::<Postcard, _>('€', &[3, 0xe2, 0x82, 0xac]);
    golden::<Postcard, _>("hä".to_owned(), &[3, b'h', 0xc3, 0xa4]);
    golden::<Postcard, _>(Some(5u8), &[1, 5]);
    golden::<Postcard, _>((), &[]);
    golden::<Postcard, _>(vec![1u16, 128], &[2, 1, 0x80, 0x01]);
    golden::<Postcard, _>(BTreeMap::from([(1u8, false)]), &[1, 1, 0]);
    golden::<Postcard, _>(Enum::Unit, &[0]);
    golden::<Postcard, _>(Enum::Newtype(5), &[1, 5]);
    golden::<Postcard, _>(Enum::Tuple(5, 6), &[2, 5, 6]);
    golden::<Postcard, _>(Enum::Struct { first: 5, second: true }, &[3, 5, 1]);
    let value = Struct { first: 128, second: Some(-2), name: "x".to_owned() };
    golden::<Postcard, _>(value, &[0x80, 0x01, 1, 3, 1, b'x']);
    assert_eq!(encode::<Postcard>(&Raw(&[255, 0])).as_deref(), Ok(&[2, 255, 0][..]));
}

#[test]
fn an_error_keeps_its_text_and_place() {
    let reason = refusal::<Postcard, (u8, Enum)>(&[7, 4]);
    let expected = "invalid value: integer `4`, expected variant index 0 <= i < 4, at byte 2";
    assert_eq!(reason, expected);
    let reason = refusal::<Postcard, (u8, bool)>(&[7, 4]);
    assert_eq!(reason, "Found a bool that wasn't 0 or 1, at byte 2");
}

#[test]
fn an_absurd_length_ends_soon() {
    // 2⁶⁰.
    let bytes = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    let error = DecodeError::TooManyValues { len: 9, max: 9 + 4096 };
    assert_eq!(Postcard::decode::<Vec<()>>(&bytes), Err(error.clone()));
    assert_eq!(Postcard::decode::<BTreeMap<(), ()>>(&bytes), Err(error));
    for refusal in [
        refusal::<Postcard, Vec<u64>>(&bytes),
        refusal::<Postcard, std::collections::HashMap<u64, [u64; 32]>>(&bytes),
        refusal::<Postcard, String>(&bytes),
    ] {
        assert_eq!(refusal, "Hit the end of buffer, expected more data, at byte 9");
    }
}
