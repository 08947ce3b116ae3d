//! The format, by bytes written out by hand from its specification, and what its crate lets through.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecodeError, Nothing, Raw, encode, golden, refusal};
use crate::codec::{Codec, MAX_DEPTH, Msgpack};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Struct {
    x: u32,
    #[serde(default)]
    ok: Option<bool>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Enum {
    A,
    B(u8),
    C(u8, u8),
    D { x: u8 },
}

#[test]
fn bytes_are_those_of_the_specification() {
    golden::<Msgpack, _>(5u64, &[5]);
    golden::<Msgpack, _>(-5i64, &[0xfb]);
    golden::<Msgpack, _>(300u32, &[0xcd, 0x01, 0x2c]);
    golden::<Msgpack, _>(-300i32, &[0xd1, 0xfe, 0xd4]);
    golden::<Msgpack, _>(1.0f32, &[0xca, 0x3f, 0x80, 0, 0]);
    golden::<Msgpack, _>(1.0f64, &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    golden::<Msgpack, _>(true, &[0xc3]);
    golden::<Msgpack, _>('€', &[0xa3, 0xe2, 0x82, 0xac]);
    golden::<Msgpack, _>("hä".to_owned(), &[0xa3, b'h', 0xc3, 0xa4]);
    golden::<Msgpack, _>((), &[0xc0]);
    golden::<Msgpack, _>(vec![1u8, 200], &[0x92, 1, 0xcc, 200]);
    golden::<Msgpack, _>(BTreeMap::from([(1u8, false)]), &[0x81, 1, 0xc2]);
    golden::<Msgpack, _>(Enum::A, &[0xa1, b'A']);
    golden::<Msgpack, _>(Enum::B(5), &[0x81, 0xa1, b'B', 5]);
    golden::<Msgpack, _>(Enum::C(5, 6), &[0x81, 0xa1, b'C', 0x92, 5, 6]);
    golden::<Msgpack, _>(Enum::D { x: 5 }, &[0x81, 0xa1, b'D', 0x81, 0xa1, b'x', 5]);
    let mut big = [0; 18];
    (big[0], big[1], big[17]) = (0xc4, 16, 9);
    golden::<Msgpack, _>(9u128, &big);
    assert_eq!(encode::<Msgpack>(&Raw(&[255, 0])).as_deref(), Ok(&[0xc4, 2, 255, 0][..]));
}

#[test]
fn a_struct_is_a_map_of_its_names() {
    golden::<Msgpack, _>(Struct { x: 7, ok: Some(true) }, b"\x82\xa1x\x07\xa2ok\xc3");
    golden::<Msgpack, _>(Struct { x: 7, ok: None }, b"\x82\xa1x\x07\xa2ok\xc0");
    // In another order, and with fields that the type does not have or no longer.
    let value = Struct { x: 7, ok: Some(true) };
    assert_eq!(
        Msgpack::decode(b"\x83\xa2ok\xc3\xa3new\x92\x81\x01\xc0\xc4\x01\xff\xa1x\x07"),
        Ok(value)
    );
    assert_eq!(Msgpack::decode(b"\x81\xa1x\x07"), Ok(Struct { x: 7, ok: None }));
    assert_eq!(refusal::<Msgpack, Struct>(b"\x81\xa2ok\xc3"), "missing field `x`");
}

#[test]
fn types_that_ask_what_follows_are_told() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        List(Vec<i32>),
        Struct(Struct),
    }
    for value in
        [Untagged::Number(1), Untagged::List(vec![-1]), Untagged::Struct(Struct { x: 1, ok: None })]
    {
        let bytes = encode::<Msgpack>(&value).unwrap();
        assert_eq!(Msgpack::decode(&bytes), Ok(value));
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        inner: Struct,
    }
    let value = Flat { id: 1, inner: Struct { x: 2, ok: None } };
    golden::<Msgpack, _>(value, b"\x83\xa2id\x01\xa1x\x02\xa2ok\xc0");
    let value: serde_json::Value = Msgpack::decode(b"\x81\xa1x\x92\x07\xc0").unwrap();
    assert_eq!(value, serde_json::json!({ "x": [7, null] }));
}

#[test]
fn an_error_of_the_format_keeps_its_words() {
    // The format tries it as bytes, too, and drops the error that comes of that.
    let reason = refusal::<Msgpack, (u8, Vec<String>)>(&[0x92, 1, 0x91, 0xa1, 0xff]);
    assert!(reason.contains("utf"), "{reason}");
    let reason = refusal::<Msgpack, Vec<u8>>(&[0x92, 1]);
    assert!(reason.starts_with("IO error while reading marker"), "{reason}");
    let reason = refusal::<Msgpack, (u8, Enum)>(&[0x92, 1, 0xa1, b'X']);
    assert_eq!(reason, "unknown variant `X`, expected one of `A`, `B`, `C`, `D`");
}

#[test]
fn an_absurd_length_ends_soon() {
    let bytes = [0xdd, 0xff, 0xff, 0xff, 0xff];
    assert!(refusal::<Msgpack, Vec<[u64; 32]>>(&bytes).contains("marker"));
    assert!(refusal::<Msgpack, serde_json::Value>(&bytes).contains("marker"));
    let error = DecodeError::TooManyValues { len: 5, max: 5 + 4096 };
    assert_eq!(Msgpack::decode::<Vec<Nothing>>(&bytes), Err(error));
    let string = [0xdb, 0xff, 0xff, 0xff, 0xff, 0];
    assert!(refusal::<Msgpack, String>(&string).contains("data"));
}

#[test]
fn an_option_of_itself_is_too_deep() {
    // Nothing is read between one option and the next, which is in it.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Chain(Option<Box<Chain>>);
    let error = DecodeError::TooDeep { max: MAX_DEPTH };
    assert_eq!(Msgpack::decode::<Chain>(&[1]), Err(error.clone()));
    // What nobody asks for is as deep.
    let deep = [&[0x91; 60_000][..], &[0]].concat();
    assert_eq!(Msgpack::decode::<serde::de::IgnoredAny>(&deep).unwrap_err(), error);
    assert_eq!(Msgpack::decode::<serde_json::Value>(&deep), Err(error.clone()));
    let unknown = [&b"\x82\xa1x\x07\xa1y"[..], &deep].concat();
    assert_eq!(Msgpack::decode::<Struct>(&unknown), Err(error));
    // What follows is not looked at so deeply.
    let trailing = [&[7], &deep[..]].concat();
    let len = trailing.len();
    assert_eq!(Msgpack::decode::<u8>(&trailing), Err(DecodeError::Trailing { left: len - 1, len }));
}
