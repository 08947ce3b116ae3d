//! Any bytes are decoded as several types, by each codec. What comes out is encoded and must be the same.
//!
//! ```text
//! input   codec and type u8 · the bytes
//! ```
#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use shm_comm::codec::{Bincode, Codec, DecodeError, EncodeError, Msgpack, Postcard, Sink};

const TYPES: u8 = 8;

#[derive(Serialize, Deserialize)]
struct Everything {
    unsigned: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    floats: [(f32, f64); 2],
    truth: bool,
    letter: char,
    text: String,
    maybe: Option<Vec<Option<u16>>>,
    nothing: (),
    unit: Unit,
    newtype: Newtype,
    outcomes: Vec<Result<u8, String>>,
    duration: Duration,
    addresses: BTreeMap<IpAddr, NonZeroU16>,
    node: Box<Option<Node>>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Unit;

#[derive(Serialize, Deserialize)]
struct Newtype(i32);

#[derive(Serialize, Deserialize)]
struct Node {
    #[serde(default)]
    name: Option<char>,
    children: Vec<Node>,
}

#[derive(Serialize, Deserialize)]
enum Expr {
    Leaf,
    Not(Box<Expr>),
    Maybe(Option<Box<Expr>>),
    Both(u8, Box<Expr>),
    Named { of: Vec<Expr> },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Any {
    Null(()),
    Truth(bool),
    Number(i64),
    Float(f64),
    Text(String),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

fuzz_target!(|input: &[u8]| {
    let [kind, bytes @ ..] = input else { return };
    match kind / TYPES % 3 {
        0 => decode::<Bincode>(kind % TYPES, bytes),
        1 => decode::<Msgpack>(kind % TYPES, bytes),
        _ => decode::<Postcard>(kind % TYPES, bytes),
    }
});

fn decode<C: Codec>(kind: u8, bytes: &[u8]) {
    match kind {
        0 => there_and_back::<C, Everything>(bytes),
        1 => there_and_back::<C, Node>(bytes),
        2 => there_and_back::<C, Vec<Expr>>(bytes),
        3 => there_and_back::<C, BTreeMap<String, Vec<Option<(i16, char)>>>>(bytes),
        4 => there_and_back::<C, (Vec<()>, BTreeMap<(), Unit>, Vec<[u8; 3]>)>(bytes),
        5 => there_and_back::<C, Any>(bytes),
        6 => {
            let Ok((text, list)) = C::decode::<(&str, Vec<&[u8]>)>(bytes) else { return };
            let inside = |part: &[u8]| {
                let (all, part) = (bytes.as_ptr_range(), part.as_ptr_range());
                assert!(all.start <= part.start && part.end <= all.end, "not borrowed");
            };
            inside(text.as_bytes());
            list.into_iter().for_each(inside);
        }
        _ => {
            let _ = C::decode::<IgnoredAny>(bytes).map_err(say);
        }
    }
}

/// An error is something that can be said, in a line.
fn say(error: DecodeError) {
    assert!((1..1000).contains(&error.to_string().len()));
}

/// Compares bytes, not values: some numbers are not equal to themselves.
fn there_and_back<C: Codec, T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let value = match C::decode::<T>(bytes) {
        Ok(value) => value,
        Err(error) => return say(error),
    };
    let once = encode::<C>(&value);
    match C::decode::<T>(&once) {
        Ok(value) => assert!(encode::<C>(&value) == once, "another value"),
        // A number may be written in more bytes than it needs, so that more elements were possible.
        Err(DecodeError::TooManyValues { .. }) if once.len() < bytes.len() => {}
        Err(error) => panic!("{error}"),
    }
}

/// All of it, in as many bytes as it says that it needs.
fn encode<C: Codec>(value: &impl Serialize) -> Vec<u8> {
    let mut sink = Sink::new(&mut []);
    C::encode(value, &mut sink).unwrap();
    let needed = sink.needed();
    if let Some(max) = needed.checked_sub(1) {
        let mut bytes = vec![0; max];
        let mut sink = Sink::new(&mut bytes);
        C::encode(value, &mut sink).unwrap();
        assert_eq!(sink.finish(), Err(EncodeError::TooLong { needed, max }));
    }
    let mut bytes = vec![0; needed];
    let mut sink = Sink::new(&mut bytes);
    C::encode(value, &mut sink).unwrap();
    assert_eq!(sink.finish(), Ok(needed));
    bytes
}
