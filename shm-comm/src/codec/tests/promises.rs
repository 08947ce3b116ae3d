//! What is promised of all codecs alike.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Codec, DecodeError, EncodeError, Nothing, Raw, Sink, encode};
use crate::codec::{MAX_DEPTH, is_name};

/// Runs a check, which is generic, for each codec.
macro_rules! for_all {
    ($($test:ident: $check:ident;)*) => {$(
        #[test]
        fn $test() {
            #[cfg(feature = "bincode")]
            $check::<crate::codec::Bincode>();
            #[cfg(feature = "msgpack")]
            $check::<crate::codec::Msgpack>();
            #[cfg(feature = "postcard")]
            $check::<crate::codec::Postcard>();
        }
    )*};
}

for_all! {
    values_come_out_as_they_went_in: round_trip;
    every_shape_comes_out_as_it_went_in: shapes;
    what_is_cut_off_is_no_value: truncated;
    what_follows_is_counted: trailing;
    arbitrary_bytes_are_an_error_at_worst: garbage;
    a_slot_that_is_too_short_tells_how_long_it_must_be: too_long;
    strings_and_bytes_are_borrowed: borrowed;
    nesting_ends_at_the_limit: limit_of_depth;
    every_kind_of_nesting_counts_the_same_on_both_sides: kinds_of_nesting;
    an_endless_value_is_too_deep_to_encode: deep_values;
    many_small_elements_are_no_offence: many_values;
    the_format_is_not_for_people: human_readable;
    a_reason_is_told_in_short: reasons;
    a_codec_has_a_proper_name: name;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rich {
    unsigned: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    floats: (f32, f64),
    truth: bool,
    letter: char,
    text: String,
    maybe: Option<Vec<Option<u16>>>,
    nothing: (),
    marker: Marker,
    meters: Meters,
    array: [i16; 3],
    shapes: Vec<Shape>,
    names: BTreeMap<String, Vec<f32>>,
    numbers: BTreeMap<i32, (bool, char)>,
    outcome: Result<u8, String>,
    duration: Duration,
    address: IpAddr,
    not_zero: NonZeroU8,
    inner: Box<Option<Inner>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    x: i32,
    again: Vec<Inner>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(Meters),
    Line(i8, i8),
    Rectangle { width: u16, height: Option<u32> },
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<i32>().prop_map(|radius| Shape::Circle(Meters(radius.into()))),
        any::<(i8, i8)>().prop_map(|(from, to)| Shape::Line(from, to)),
        any::<(u16, Option<u32>)>().prop_map(|(width, height)| Shape::Rectangle { width, height }),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    let leaf = any::<i32>().prop_map(|x| Inner { x, again: Vec::new() });
    leaf.prop_recursive(5, 20, 4, |inner| {
        (any::<i32>(), vec(inner, 0..4)).prop_map(|(x, again)| Inner { x, again })
    })
}

fn rich() -> impl Strategy<Value = Rich> {
    let plain = (
        any::<(u8, u16, u32, u64, u128)>(),
        any::<(i8, i16, i32, i64, i128)>(),
        any::<(f32, f64)>(),
        any::<bool>(),
        any::<char>(),
    );
    let lists = (
        vec(any::<char>(), 0..20),
        proptest::option::of(vec(any::<Option<u16>>(), 0..20)),
        vec(shape(), 0..6),
        btree_map(vec(any::<char>(), 0..4), vec(any::<f32>(), 0..4), 0..4),
        btree_map(any::<i32>(), any::<(bool, char)>(), 0..20),
    );
    let rest = (
        any::<[i16; 3]>(),
        any::<Result<u8, bool>>(),
        any::<(u32, bool, u128)>(),
        1..=u8::MAX,
        proptest::option::of(inner()),
    );
    (plain, lists, rest).prop_map(|(plain, lists, rest)| {
        let (unsigned, signed, floats, truth, letter) = plain;
        let (text, maybe, shapes, names, numbers) = lists;
        let (array, outcome, (number, is_v4, address), not_zero, inner) = rest;
        Rich {
            unsigned,
            signed,
            floats,
            truth,
            letter,
            text: text.into_iter().collect(),
            maybe,
            nothing: (),
            marker: Marker,
            meters: Meters(number.into()),
            array,
            shapes,
            names: names
                .into_iter()
                .map(|(name, list)| (name.into_iter().collect(), list))
                .collect(),
            numbers,
            outcome: outcome.map_err(|truth| truth.to_string()),
            duration: Duration::new(number.into(), number % 1_000_000_000),
            address: match is_v4 {
                true => IpAddr::V4((address as u32).into()),
                false => IpAddr::V6(address.into()),
            },
            not_zero: NonZeroU8::new(not_zero).unwrap(),
            inner: Box::new(inner),
        }
    })
}

/// One of everything.
fn example() -> Rich {
    Rich {
        unsigned: (1, 300, 70_000, 1 << 40, u128::MAX),
        signed: (-1, -300, -70_000, i64::MIN, i128::MIN),
        floats: (1.5, -0.0),
        truth: true,
        letter: '€',
        text: "zwölf Boxkämpfer".to_owned(),
        maybe: Some(vec![None, Some(3)]),
        nothing: (),
        marker: Marker,
        meters: Meters(0.1),
        array: [-1, 0, 1],
        shapes: vec![
            Shape::Point,
            Shape::Circle(Meters(2.0)),
            Shape::Line(-5, 5),
            Shape::Rectangle { width: 3, height: None },
        ],
        names: [("a".to_owned(), vec![1.0]), (String::new(), vec![])].into(),
        numbers: [(-7, (false, 'x')), (7, (true, '\u{10ffff}'))].into(),
        outcome: Err("no".to_owned()),
        duration: Duration::new(5, 999_999_999),
        address: IpAddr::from([127, 0, 0, 1]),
        not_zero: NonZeroU8::MIN,
        inner: Box::new(Some(Inner { x: 1, again: vec![Inner { x: 2, again: vec![] }] })),
    }
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

fn round_trip<C: Codec>() {
    proptest!(cases(200), |(value in rich())| {
        let bytes = encode::<C>(&value).unwrap();
        prop_assert_eq!(C::decode::<Rich>(&bytes), Ok(value));
    });
}

#[track_caller]
fn same<C: Codec, T>(value: T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode::<C>(&value).unwrap();
    assert_eq!(C::decode::<T>(&bytes), Ok(value));
}

fn shapes<C: Codec>() {
    same::<C, _>(());
    same::<C, _>(Marker);
    same::<C, _>(Meters(f64::INFINITY));
    same::<C, _>(Shape::Point);
    same::<C, _>([Shape::Line(1, 2), Shape::Circle(Meters(0.5))]);
    same::<C, _>("a".repeat(100_000));
    same::<C, _>(vec![vec![String::new(); 300]; 300]);
    same::<C, _>(Vec::<u8>::new());
    same::<C, _>((0..=255).collect::<Vec<u8>>());
    same::<C, _>(BTreeMap::from([((1, 'a'), Shape::Point), ((2, 'b'), Shape::Line(0, 0))]));
    same::<C, _>((u64::MAX, i64::MIN, u128::MAX, i128::MIN, i128::MAX));
    same::<C, _>(Some(Some(1)));
    let nan: f64 = C::decode(&encode::<C>(&f64::NAN).unwrap()).unwrap();
    assert_eq!(nan.to_bits(), f64::NAN.to_bits());
}

fn truncated<C: Codec>() {
    let bytes = encode::<C>(&example()).unwrap();
    for len in 0..bytes.len() {
        assert!(C::decode::<Rich>(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    assert_eq!(C::decode::<Rich>(&bytes), Ok(example()));
}

fn trailing<C: Codec>() {
    let bytes = encode::<C>(&example()).unwrap();
    for left in [1, 2, 7, 1000] {
        // Also bytes that mean something to the format.
        for byte in [0, 1, 0x81, 0x92, 0xc0, 0xc1, 0xd9, 0xdc, 0xff] {
            let mut longer = bytes.clone();
            longer.resize(bytes.len() + left, byte);
            let len = longer.len();
            assert_eq!(C::decode::<Rich>(&longer), Err(DecodeError::Trailing { left, len }));
        }
    }
}

fn garbage<C: Codec>() {
    proptest!(cases(2000), |(bytes in vec(any::<u8>(), 0..100))| {
        let _ = C::decode::<Rich>(&bytes);
        let _ = C::decode::<Vec<Shape>>(&bytes);
        let _ = C::decode::<(Raw<'_>, &str, char)>(&bytes);
        let _ = C::decode::<BTreeMap<u8, Vec<Option<bool>>>>(&bytes);
        let _ = C::decode::<Vec<(Nothing, ())>>(&bytes);
        let _ = C::decode::<serde_json::Value>(&bytes);
        let _ = C::decode::<Expr>(&bytes);
    });
    // One byte of a right message is wrong.
    let right = encode::<C>(&example()).unwrap();
    for at in 0..right.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = right.clone();
            bytes[at] ^= change;
            let _ = C::decode::<Rich>(&bytes);
        }
    }
}

fn too_long<C: Codec>() {
    let value = example();
    let needed = encode::<C>(&value).unwrap().len();
    let mut slot = vec![0; needed + 1];
    for max in 0..=needed + 1 {
        let mut sink = Sink::new(&mut slot[..max]);
        C::encode(&value, &mut sink).unwrap();
        let expected = match max < needed {
            true => Err(EncodeError::TooLong { needed, max }),
            false => Ok(needed),
        };
        assert_eq!(sink.finish(), expected);
    }
}

fn borrowed<C: Codec>() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Borrowed<'a> {
        name: &'a str,
        #[serde(borrow)]
        raw: Raw<'a>,
        #[serde(borrow)]
        cow: Cow<'a, str>,
        list: Vec<Option<&'a str>>,
    }
    let value = Borrowed {
        name: "näme",
        raw: Raw(&[0, 255, 128]),
        cow: Cow::Borrowed("moo"),
        list: vec![None, Some("x")],
    };
    let bytes = encode::<C>(&value).unwrap();
    let decoded: Borrowed<'_> = C::decode(&bytes).unwrap();
    assert_eq!(decoded, value);
    let range = bytes.as_ptr_range();
    assert!(range.contains(&decoded.name.as_ptr()));
    assert!(range.contains(&decoded.raw.0.as_ptr()));
    assert!(matches!(decoded.cow, Cow::Borrowed(_)));
}

/// A list in a list in a list, and each is a level.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Levels(Vec<Levels>);

impl Levels {
    fn new(depth: usize) -> Levels {
        (1..depth).fold(Levels(Vec::new()), |inside, _| Levels(vec![inside]))
    }
}

fn limit_of_depth<C: Codec>() {
    let right = Levels::new(MAX_DEPTH);
    let bytes = encode::<C>(&right).unwrap();
    assert_eq!(C::decode::<Levels>(&bytes), Ok(right));
    let error = EncodeError::TooDeep { max: MAX_DEPTH };
    assert_eq!(encode::<C>(&Levels::new(MAX_DEPTH + 1)), Err(error));

    // One more around it, which is not counted for a type that does not know it: so the bytes come
    // from two values beside each other.
    let (one, two) = (encode::<C>(&Levels::new(1)).unwrap(), encode::<C>(&Levels::new(2)).unwrap());
    let around = two.strip_suffix(&one[..]).unwrap();
    let deeper = [around, &bytes].concat();
    let error = DecodeError::TooDeep { max: MAX_DEPTH };
    assert_eq!(C::decode::<Levels>(&deeper), Err(error));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    children: Vec<Node>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Table(BTreeMap<u8, Table>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Expr {
    Leaf,
    Not(Box<Expr>),
    Both(u8, Box<Expr>),
    Named { of: Box<Expr> },
}

fn node(inside: Option<Node>) -> Node {
    Node { children: inside.into_iter().collect() }
}

fn chain(inside: Option<Chain>) -> Chain {
    Chain { next: inside.map(Box::new) }
}

fn table(inside: Option<Table>) -> Table {
    Table(inside.map(|inside| (1, inside)).into_iter().collect())
}

fn not(inside: Option<Expr>) -> Expr {
    inside.map_or(Expr::Leaf, |inside| Expr::Not(Box::new(inside)))
}

fn both(inside: Option<Expr>) -> Expr {
    inside.map_or(Expr::Leaf, |inside| Expr::Both(7, Box::new(inside)))
}

fn named(inside: Option<Expr>) -> Expr {
    inside.map_or(Expr::Leaf, |inside| Expr::Named { of: Box::new(inside) })
}

/// In a thread with the stack that threads usually have, which a test's need not be.
fn usual_stack(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, run).unwrap();
    });
}

fn kinds_of_nesting<C: Codec>() {
    usual_stack(|| {
        deepest::<C, _>(node);
        deepest::<C, _>(chain);
        deepest::<C, _>(table);
        deepest::<C, _>(not);
        deepest::<C, _>(both);
        deepest::<C, _>(named);
    });
}

/// What can be encoded can be decoded, and what is a little deeper cannot.
fn deepest<C: Codec, T>(nest: fn(Option<T>) -> T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let depths = |depth| (1..depth).fold(nest(None), |inside, _| nest(Some(inside)));
    let mut depth = 1;
    let error = loop {
        match encode::<C>(&depths(depth)) {
            Ok(bytes) => assert_eq!(C::decode::<T>(&bytes), Ok(depths(depth)), "{depth}"),
            Err(error) => break error,
        }
        depth += 1;
    };
    assert_eq!(error, EncodeError::TooDeep { max: MAX_DEPTH });
    assert!((MAX_DEPTH / 2..=MAX_DEPTH + 2).contains(&depth), "{depth}");

    // Deep ones, put together from the bytes of one.
    let bytes = |depth| encode::<C>(&depths(depth)).unwrap();
    let (first, second, third) = (bytes(1), bytes(2), bytes(3));
    let around = &third[..third.len() - second.len()];
    for depth in [depth + 1, 60_000] {
        let deep = [&around.repeat(depth), &first[..]].concat();
        let error = DecodeError::TooDeep { max: MAX_DEPTH };
        assert_eq!(C::decode::<T>(&deep), Err(error), "{depth}");
    }
}

fn deep_values<C: Codec>() {
    usual_stack(|| {
        let mut deep = Levels::new(60_000);
        let error = EncodeError::TooDeep { max: MAX_DEPTH };
        assert_eq!(encode::<C>(&deep), Err(error));
        // Dropping it is as deep.
        while let Some(inside) = deep.0.pop() {
            deep = inside;
        }
    });
}

fn many_values<C: Codec>() {
    same::<C, _>(vec![((7u8,),); 100_000]);
    same::<C, _>(vec![Shape::Point; 100_000]);
    same::<C, _>(vec![Inner { x: 0, again: vec![] }; 50_000]);
    same::<C, _>(vec![vec![None::<bool>; 3]; 50_000]);
    same::<C, _>((0..50_000u32).map(|key| (key, true)).collect::<BTreeMap<_, _>>());
    // Of no size.
    same::<C, _>(vec![(); 4096]);
    same::<C, _>(vec![[Marker, Marker]; 4096]);
}

fn human_readable<C: Codec>() {
    #[derive(Debug, PartialEq)]
    struct ForPeople(bool);
    impl Serialize for ForPeople {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(!serializer.is_human_readable());
            serializer.serialize_unit()
        }
    }
    impl<'de> Deserialize<'de> for ForPeople {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let is = deserializer.is_human_readable();
            <()>::deserialize(deserializer).map(|()| ForPeople(is))
        }
    }
    let bytes = encode::<C>(&[ForPeople(false)]).unwrap();
    assert_eq!(C::decode::<[ForPeople; 1]>(&bytes), Ok([ForPeople(false)]));
}

fn reasons<C: Codec>() {
    let reason = |bytes: &[u8]| super::refusal::<C, NonZeroU8>(bytes);
    let bytes = encode::<C>(&0u8).unwrap();
    assert!(reason(&bytes).starts_with("invalid value: integer `0`, expected a nonzero u8"));

    /// Says more than anybody wants to read.
    struct Talks;
    impl Serialize for Talks {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("lorem ipsum € ".repeat(1000)))
        }
    }
    let error = encode::<C>(&Some(vec![Talks])).unwrap_err();
    let EncodeError::Codec { codec, reason } = &error else { panic!("{error}") };
    assert_eq!(*codec, C::NAME);
    assert!(reason.starts_with("lorem ipsum €"), "{reason}");
    assert!((250..300).contains(&reason.len()), "{reason}");
    assert_eq!(error.to_string(), format!("cannot be encoded as {codec}: {reason}"));
}

fn name<C: Codec>() {
    assert!(is_name(C::NAME));
}
