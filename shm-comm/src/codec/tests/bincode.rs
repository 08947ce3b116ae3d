//! The format, by bytes written out by hand from its description.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecodeError, EncodeError, Raw, encode, golden, refusal};
use crate::codec::{Bincode, Codec};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(u16);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tuple(u8, u16);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Struct {
    first: u8,
    second: Option<Newtype>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Enum {
    Unit,
    Newtype(u8),
    Tuple(u8, u16),
    Struct { first: u8, second: bool },
}

#[test]
fn numbers_are_as_in_memory() {
    golden::<Bincode, _>(0x12u8, &[0x12]);
    golden::<Bincode, _>(0x1234u16, &[0x34, 0x12]);
    golden::<Bincode, _>(0x1234_5678u32, &[0x78, 0x56, 0x34, 0x12]);
    golden::<Bincode, _>(1u64, &[1, 0, 0, 0, 0, 0, 0, 0]);
    golden::<Bincode, _>(1u128 << 120, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    golden::<Bincode, _>(-2i8, &[0xfe]);
    golden::<Bincode, _>(-2i16, &[0xfe, 0xff]);
    golden::<Bincode, _>(-2i32, &[0xfe, 0xff, 0xff, 0xff]);
    golden::<Bincode, _>(i64::MIN, &[0, 0, 0, 0, 0, 0, 0, 0x80]);
    let mut minus_two = [0xff; 16];
    minus_two[0] = 0xfe;
    golden::<Bincode, _>(-2i128, &minus_two);
    golden::<Bincode, _>(1.0f32, &[0, 0, 0x80, 0x3f]);
    golden::<Bincode, _>(-2.0f64, &[0, 0, 0, 0, 0, 0, 0, 0xc0]);
}

#[test]
fn a_bool_is_a_byte() {
    golden::<Bincode, _>(false, &[0]);
    golden::<Bincode, _>(true, &[1]);
    assert_eq!(refusal::<Bincode, bool>(&[2]), "a bool is 2, not 0 or 1, at byte 1");
}

#[test]
fn a_char_is_its_utf8() {
    golden::<Bincode, _>('a', b"a");
    golden::<Bincode, _>('ß', &[0xc3, 0x9f]);
    golden::<Bincode, _>('€', &[0xe2, 0x82, 0xac]);
    golden::<Bincode, _>('🤖', &[0xf0, 0x9f, 0xa4, 0x96]);
    for bytes in [&[0x80, 0x80][..], &[0xff; 4], &[0xed, 0xa0, 0x80], &[0xc0, 0x80]] {
        assert!(refusal::<Bincode, char>(bytes).contains("utf-8"), "{bytes:x?}");
    }
    let reason = refusal::<Bincode, char>(&[0xe2, 0x82]);
    assert_eq!(reason, "3 bytes are needed, 2 are left, at byte 0");
}

#[test]
fn strings_and_bytes_have_a_length() {
    golden::<Bincode, _>("hä".to_owned(), b"\x03\0\0\0\0\0\0\0h\xc3\xa4");
    golden::<Bincode, _>(String::new(), &[0; 8]);
    let bytes = b"\x02\0\0\0\0\0\0\0\xff\0";
    assert_eq!(encode::<Bincode>(&Raw(&[255, 0])).as_deref(), Ok(&bytes[..]));
    assert_eq!(Bincode::decode(bytes), Ok(Raw(&[255, 0])));
    assert!(refusal::<Bincode, &str>(bytes).starts_with("invalid utf-8"));
    // A length that nobody has.
    let reason = refusal::<Bincode, &str>(&[0xff; 10]);
    assert_eq!(reason, format!("{} bytes are needed, 2 are left, at byte 8", u64::MAX));
}

#[test]
fn an_option_is_a_tag_and_its_content() {
    golden::<Bincode, _>(None::<u16>, &[0]);
    golden::<Bincode, _>(Some(5u16), &[1, 5, 0]);
    golden::<Bincode, _>(Some(None::<u16>), &[1, 0]);
    golden::<Bincode, _>(Some(()), &[1]);
    let reason = refusal::<Bincode, Option<u8>>(&[3, 0]);
    assert_eq!(reason, "the tag of an option is 3, not 0 or 1, at byte 1");
}

#[test]
fn structs_are_their_fields_and_nothing_else() {
    golden::<Bincode, _>((), &[]);
    golden::<Bincode, _>(Unit, &[]);
    golden::<Bincode, _>(Newtype(7), &[7, 0]);
    golden::<Bincode, _>((1u8, 2u16, true), &[1, 2, 0, 1]);
    golden::<Bincode, _>([1u16, 2], &[1, 0, 2, 0]);
    golden::<Bincode, _>(Tuple(1, 2), &[1, 2, 0]);
    golden::<Bincode, _>(Struct { first: 1, second: Some(Newtype(2)) }, &[1, 1, 2, 0]);
}

#[test]
fn an_enum_is_a_number_and_its_content() {
    golden::<Bincode, _>(Enum::Unit, &[0, 0, 0, 0]);
    golden::<Bincode, _>(Enum::Newtype(5), &[1, 0, 0, 0, 5]);
    golden::<Bincode, _>(Enum::Tuple(5, 6), &[2, 0, 0, 0, 5, 6, 0]);
    golden::<Bincode, _>(Enum::Struct { first: 5, second: true }, &[3, 0, 0, 0, 5, 1]);
    golden::<Bincode, _>(Err::<u8, bool>(true), &[1, 0, 0, 0, 1]);
    let reason = refusal::<Bincode, Enum>(&[4, 0, 0, 0]);
    let expected = "invalid value: integer `4`, expected variant index 0 <= i < 4, at byte 4";
    assert_eq!(reason, expected);
}

#[test]
fn sequences_and_maps_have_a_number_of_elements() {
    golden::<Bincode, _>(vec![1u16, 2], b"\x02\0\0\0\0\0\0\0\x01\0\x02\0");
    golden::<Bincode, _>(Vec::<u16>::new(), &[0; 8]);
    golden::<Bincode, _>(
        BTreeMap::from([(1u8, 'a'), (2, 'ß')]),
        b"\x02\0\0\0\0\0\0\0\x01a\x02\xc3\x9f",
    );
    golden::<Bincode, _>(
        vec![(Some(vec![true]), Enum::Unit)],
        b"\x01\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\0",
    );
}

#[test]
fn a_sequence_must_know_its_length() {
    struct Unknown;
    impl Serialize for Unknown {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq([1, 2, 3].iter().filter(|number| **number > 1))
        }
    }
    let error = encode::<Bincode>(&Unknown).unwrap_err();
    let expected =
        "cannot be encoded as bincode: a sequence or map does not know its length in advance";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, EncodeError::Codec { codec: "bincode", .. }));
}

#[test]
fn a_type_that_asks_what_follows_is_refused() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        _Number(u8),
    }
    let reason = refusal::<Bincode, Untagged>(&[0; 10]);
    let expected = "the type asks for any value, which bincode does not tell, at byte 0";
    assert_eq!(reason, expected);
    assert!(refusal::<Bincode, serde::de::IgnoredAny>(&[0; 10]).contains("ignores"));
}

#[test]
fn an_absurd_length_ends_soon() {
    let bytes = (1u64 << 60).to_le_bytes();
    let error = DecodeError::TooManyValues { len: 8, max: 8 + 4096 };
    assert_eq!(Bincode::decode::<Vec<()>>(&bytes), Err(error.clone()));
    assert_eq!(Bincode::decode::<BTreeMap<(), ()>>(&bytes), Err(error));
    assert_eq!(refusal::<Bincode, Vec<u64>>(&bytes), "8 bytes are needed, 0 are left, at byte 8");
}
