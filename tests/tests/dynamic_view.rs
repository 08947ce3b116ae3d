//! A tool that has only the schema sees what a program sees that has the type: the same values, and the
//! same mistakes.
//!
//! The types write themselves as JSON, which is compared as text: `serde_json::Value` has no 128 bits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZero;

use glam::DVec3;
use num_complex::Complex;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize, Serializer};
use shm_comm::codec::{Bincode, Codec, Msgpack, Postcard, Sink};
use shm_comm::schema::{Kind, Primitive, Value};
use shm_comm::{Payload, Schema, ShmMessage, ShmOption, ShmString, ShmVec};

// ── messages ─────────────────────────────────────────────────────────────────────────────────────

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Numbers {
    wide: u128,
    deep: i128,
    u64: u64,
    i64: i64,
    f64: f64,
    u32: u32,
    i32: i32,
    f32: f32,
    letter: char,
    u16: u16,
    i16: i16,
    u8: u8,
    i8: i8,
    truth: bool,
    #[serde(skip)]
    _pad0: [u8; 17],
}

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct NotZero {
    wide: NonZero<i128>,
    long: NonZero<u64>,
    word: NonZero<i32>,
    half: NonZero<u16>,
    byte: NonZero<u8>,
    list: [NonZero<i8>; 1],
}

#[derive(ShmMessage, Serialize, Clone, Copy)]
#[repr(i8)]
#[allow(dead_code)]
enum Gear {
    Reverse = -1,
    Neutral,
    First,
    Lowest = i8::MIN,
}

#[derive(ShmMessage, Serialize, Clone, Copy)]
#[repr(u64)]
#[allow(dead_code)]
enum Code {
    None = 0,
    All = u64::MAX,
}

#[derive(ShmMessage, Serialize, Clone, Copy)]
#[repr(i32)]
#[allow(dead_code)]
enum Temperature {
    Cold = -40_000,
    Hot = 90_000,
}

#[derive(ShmMessage, Serialize, Clone)]
#[repr(C)]
struct Part<T: ShmMessage> {
    value: T,
    gear: Gear,
    on: bool,
}

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Nested {
    code: Code,
    temperature: Temperature,
    grid: [[u16; 3]; 2],
    flags: [[bool; 2]; 3],
    parts: [Part<u16>; 3],
    part: Part<[u8; 4]>,
    empty: [char; 0],
    texts: [ShmString<4>; 2],
    #[serde(skip)]
    _pad: [u8; 8],
    nothing: Nothing,
}

#[derive(ShmMessage, Serialize, Clone)]
#[repr(C)]
struct Nothing {}

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Bounded {
    wide: ShmOption<u128>,
    long: ShmVec<u128, 2>,
    floats: ShmVec<f64, 3>,
    maybe: ShmOption<ShmOption<f64>>,
    list: ShmVec<Part<u16>, 3>,
    lists: ShmVec<ShmVec<bool, 4>, 3>,
    letters: ShmOption<[char; 2]>,
    no_list: ShmVec<u32, 0>,
    name: ShmString<7>,
    #[serde(skip)]
    _pad0: [u8; 1],
    names: ShmVec<ShmString<5>, 2>,
    text: ShmOption<ShmString<2>>,
    #[serde(skip)]
    _pad1: [u8; 3],
}

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Foreign {
    #[shm(pod = "[f64; 3]")]
    #[serde(serialize_with = "position")]
    position: DVec3,
    #[shm(pod = "[[f32; 2]]")]
    #[serde(serialize_with = "spectrum")]
    spectrum: [Complex<f32>],
}

fn position<S: Serializer>(position: &DVec3, serializer: S) -> Result<S::Ok, S::Error> {
    position.to_array().serialize(serializer)
}

fn spectrum<S: Serializer>(all: &[Complex<f32>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|value| [value.re, value.im]))
}

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Tail {
    stamp: u64,
    valid: bool,
    #[serde(skip)]
    _pad0: [u8; 1],
    parts: [Part<u16>],
}

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Tuple(u32, ShmOption<u16>);

#[derive(ShmMessage, Serialize)]
#[repr(C)]
struct Newtype([Gear; 2]);

/// Does the same with every message.
macro_rules! for_all {
    ($do:ident($($argument:expr),*)) => {{
        $do::<Numbers>($($argument),*)?;
        $do::<NotZero>($($argument),*)?;
        $do::<Nested>($($argument),*)?;
        $do::<Bounded>($($argument),*)?;
        $do::<Foreign>($($argument),*)?;
        $do::<Tail>($($argument),*)?;
        $do::<Tuple>($($argument),*)?;
        $do::<Newtype>($($argument),*)?;
        $do::<Nothing>($($argument),*)?;
        $do::<Gear>($($argument),*)?;
        $do::<[[bool; 2]; 3]>($($argument),*)?;
        $do::<[ShmString<3>]>($($argument),*)?;
        $do::<[u8]>($($argument),*)?;
        $do::<ShmVec<ShmOption<char>, 3>>($($argument),*)?;
    }};
}

fn size_of_message(schema: &Schema, len: usize) -> usize {
    schema.size + len * schema.stride().unwrap_or(0)
}

/// What the message with these bytes writes, or what is wrong with it.
fn as_message<T: ShmMessage + Serialize + ?Sized>(
    bytes: &[u8],
    len: usize,
) -> Result<String, String> {
    T::check(bytes).map_err(|invalid| invalid.to_string())?;
    // As aligned as any message, and with room for what Rust rounds up to.
    let mut room = vec![0_u128; bytes.len() / 16 + 1];
    let start: *mut u8 = room.as_mut_ptr().cast();
    // SAFETY: There is room for them, in other memory.
    unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    // SAFETY: `check` accepts the bytes, which are aligned and those of so many elements.
    let message = unsafe { &*T::at(start, len) };
    Ok(serde_json::to_string(message).unwrap())
}

fn as_view(schema: &Schema, bytes: &[u8]) -> Result<String, String> {
    let view = schema.view(bytes).map_err(|invalid| invalid.to_string())?;
    Ok(serde_json::to_string(&view).unwrap())
}

/// Makes a value of the bytes, which may be anything, by putting right what is wrong.
fn fill(schema: &Schema, bytes: &mut [u8], random: &mut dyn FnMut() -> u64) {
    let inside = |element: &Schema, bytes: &mut [u8], random: &mut dyn FnMut() -> u64| {
        if element.size > 0 {
            bytes.chunks_exact_mut(element.size).for_each(|bytes| fill(element, bytes, random));
        }
    };
    match &schema.kind {
        Kind::Primitive(Primitive::Bool) => bytes[0] &= 1,
        Kind::Primitive(Primitive::Char) => {
            let letters = ['a', '\n', '"', 'é', '\u{202e}', '\u{10ffff}'];
            let letter = letters[random() as usize % letters.len()];
            bytes.copy_from_slice(&u32::from(letter).to_ne_bytes());
        }
        Kind::NonZero(_) => bytes[random() as usize % bytes.len()] |= 1,
        Kind::Array { element, .. } | Kind::Slice { element } => inside(element, bytes, random),
        Kind::String { capacity } => {
            let text = ["", "a", "é", "\"\\\n", "é\0é", "scout"][random() as usize % 6];
            let text = if text.len() <= *capacity { text } else { "" };
            bytes[..4].copy_from_slice(&(text.len() as u32).to_ne_bytes());
            bytes[4..4 + text.len()].copy_from_slice(text.as_bytes());
        }
        Kind::Vec { element, capacity } => {
            let count = random() as usize % (capacity + 1);
            bytes[..4].copy_from_slice(&(count as u32).to_ne_bytes());
            let start = element.align.max(4);
            inside(element, &mut bytes[start..start + count * element.size], random);
        }
        Kind::Option { value } => {
            bytes[0] &= 1;
            if bytes[0] == 1 {
                fill(value, &mut bytes[value.align..], random);
            }
        }
        Kind::Struct { fields, .. } => {
            for field in fields {
                let end = match field.schema.stride() {
                    None => field.offset + field.schema.size,
                    Some(_) => bytes.len(),
                };
                fill(&field.schema, &mut bytes[field.offset..end], random);
            }
        }
        Kind::Enum { variants, .. } => {
            let value = variants[random() as usize % variants.len()].value.to_le_bytes();
            bytes.iter_mut().zip(value).for_each(|(byte, of_value)| *byte = of_value);
        }
        _ => {}
    }
}

// ── properties ───────────────────────────────────────────────────────────────────────────────────

fn same_values<T: ShmMessage + Serialize + ?Sized>(
    bytes: &[u8],
    len: usize,
) -> Result<(), TestCaseError> {
    let schema = Schema::of::<T>();
    let size = size_of_message(&schema, len);
    let mut bytes: Vec<u8> = bytes.iter().copied().cycle().take(size).collect();
    let mut state =
        bytes.iter().fold(1_u64, |state, byte| state * 31 % 1_000_003 + u64::from(*byte));
    fill(&schema, &mut bytes, &mut || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    });
    let typed = as_message::<T>(&bytes, len);
    prop_assert!(typed.is_ok(), "{typed:?}");
    prop_assert_eq!(as_view(&schema, &bytes), typed);
    Ok(())
}

/// What the type accepts the schema accepts, and the text of a refusal is the same.
fn same_mistakes<T: ShmMessage + Serialize + ?Sized>(
    bytes: &[u8],
    len: usize,
    accepted: &mut [usize; 2],
) -> Result<(), TestCaseError> {
    let schema = Schema::of::<T>();
    let bytes: Vec<u8> =
        bytes.iter().copied().cycle().take(size_of_message(&schema, len)).collect();
    let typed = as_message::<T>(&bytes, len);
    accepted[usize::from(typed.is_ok())] += 1;
    prop_assert_eq!(as_view(&schema, &bytes), typed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_valid_message_has_the_same_values(bytes in vec(any::<u8>(), 1..300), len in 0..5_usize) {
        for_all!(same_values(&bytes, len));
    }

    #[test]
    fn any_bytes_are_accepted_by_both_or_refused_with_the_same_words(
        bytes in vec(prop_oneof![4 => Just(0), 2 => Just(1), 1 => any::<u8>()], 1..300),
        noise in vec(any::<u8>(), 1..300),
        len in 0..5_usize,
    ) {
        for_all!(same_mistakes(&bytes, len, &mut [0; 2]));
        for_all!(same_mistakes(&noise, len, &mut [0; 2]));
    }
}

/// The property above says nothing if all bytes are refused, or none.
#[test]
fn some_bytes_are_accepted_and_some_refused() -> Result<(), TestCaseError> {
    let mut accepted = [0; 2];
    for byte in [0, 1, 2, 0xff] {
        for_all!(same_mistakes(&[byte], 3, &mut accepted));
    }
    assert!(accepted.iter().all(|count| *count > 10), "{accepted:?}");
    Ok(())
}

#[test]
fn a_mistake_is_told_with_the_way_to_it() {
    let schema = Schema::of::<Tail>();
    let mut bytes = vec![0; size_of_message(&schema, 3)];
    let last = bytes.len() - 2;
    bytes[last] = 7;
    let text = "field `parts[2].gear` holds 7, which is no `Gear`";
    assert_eq!(as_view(&schema, &bytes), Err(text.to_owned()));
    assert_eq!(Tail::check(&bytes).unwrap_err().to_string(), text);
}

// ── encoded values ───────────────────────────────────────────────────────────────────────────────

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    name: String,
    stops: Vec<[f64; 2]>,
    speeds: BTreeMap<String, Option<f32>>,
    steps: Vec<Step>,
    small: BTreeMap<i8, (u64, i64, bool)>,
    letter: char,
    picture: Bytes,
    nothing: (),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Wait,
    Turn(f64),
    Move(i32, i32),
    Say { text: String, loud: bool },
}

/// What serde calls bytes.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Bytes)
    }
}

fn plan() -> Plan {
    Plan {
        name: "dock \u{1b}[2J".to_owned(),
        stops: vec![[0.0, 1.5], [-2.0, f64::INFINITY]],
        speeds: [("left", Some(0.1)), ("far right", None)].map(|(k, v)| (k.to_owned(), v)).into(),
        steps: vec![
            Step::Wait,
            Step::Turn(0.5),
            Step::Move(-1, 100_000),
            Step::Say { text: "hi".to_owned(), loud: true },
        ],
        small: [(-3, (u64::MAX, i64::MIN, true)), (4, (0, 0, false))].into(),
        letter: 'é',
        picture: Bytes(vec![0, 255, 7]),
        nothing: (),
    }
}

fn encode<C: Codec>(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut sink = Sink::new(&mut bytes);
    C::encode(value, &mut sink).unwrap();
    let len = sink.finish().unwrap();
    bytes.truncate(len);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messagepack_needs_no_type() {
    let schema = Schema::of::<shm_comm::Msgpack<Plan>>();
    let bytes = encode::<Msgpack>(&plan());
    let view = schema.view(&bytes).unwrap();
    assert_eq!(serde_json::to_string(&view).unwrap(), serde_json::to_string(&plan()).unwrap());
    assert_eq!(
        view.to_string(),
        "{ name: \"dock \\u{1b}[2J\", stops: [[0.0, 1.5], [-2.0, inf]], \
         speeds: { \"far right\": none, left: 0.1 }, steps: [\"Wait\", { Turn: 0.5 }, \
         { Move: [-1, 100000] }, { Say: { text: \"hi\", loud: true } }], \
         small: { -3: [18446744073709551615, -9223372036854775808, true], 4: [0, 0, false] }, \
         letter: \"é\", picture: 0x00ff07, nothing: none }"
    );
    for (path, value) in [
        ("speeds.left", "0.1"),
        ("speeds.far right", "none"),
        ("speeds.far right.x[1]", "none"),
        ("stops[1][0]", "-2.0"),
        ("steps[3].Say.loud", "true"),
        ("small[-3][2]", "true"),
        ("picture", "0x00ff07"),
    ] {
        assert_eq!(view.get(path).unwrap().to_string(), value, "{path}");
    }
    for (path, text) in [
        ("name.x", "a text has no \"x\", nor any other field"),
        ("stops[2]", "a list has no \"[2]\", it has 2 elements"),
        ("small.5", "a map has no \"5\", it has `-3`, `4`"),
    ] {
        let error = view.get(path).unwrap_err().to_string();
        assert_eq!(error, format!("no field {path:?}: {text}"));
    }
    let name = view.get("name").unwrap();
    assert_eq!((name.schema(), name.bytes()), (&schema, &bytes[..]));
}

#[test]
fn a_number_of_128_bits_is_16_bytes_in_messagepack() {
    let schema = Schema::of::<shm_comm::Msgpack<u128>>();
    let bytes = encode::<Msgpack>(&258_u128);
    let view = schema.view(&bytes).unwrap();
    assert!(matches!(view.value(), Value::Bytes([0, .., 1, 2])));
    assert_eq!(view.to_string(), "0x00000000000000000000000000000102");
}

#[test]
fn keys_that_are_no_text_become_text_for_people() {
    let schema = Schema::of::<shm_comm::Msgpack<u8>>();
    for (value, json) in [
        (encode::<Msgpack>(&BTreeMap::from([((1, "a"), 2)])), r#"{"[1, \"a\"]":2}"#),
        (encode::<Msgpack>(&BTreeMap::from([(None, 2), (Some(1), 3)])), r#"{"none":2,"1":3}"#),
        (encode::<Msgpack>(&BTreeMap::from([(true, 2)])), r#"{"true":2}"#),
        (vec![0x81, 0xca, 0x7f, 0xc0, 0, 0, 2], r#"{"NaN":2}"#),
    ] {
        assert_eq!(as_view(&schema, &value).as_deref(), Ok(json));
        // And for machines they are what they were.
        let view = schema.view(&value).unwrap();
        assert_eq!(encode::<Msgpack>(&view), value);
    }
}

#[test]
fn what_is_no_messagepack_is_shown_as_bytes() {
    let schema = Schema::of::<shm_comm::Msgpack<Plan>>();
    let bytes = encode::<Msgpack>(&plan());
    for len in 0..bytes.len() {
        let cut = &bytes[..len];
        let view = schema.view(cut).unwrap();
        let Value::Raw(raw) = view.value() else { panic!("{len} bytes are {view}") };
        assert_eq!((raw.codec(), raw.type_name(), raw.bytes()), ("msgpack", "Plan", cut));
        assert!(raw.reason().is_some());
        let json = format!(r#"{{"codec":"msgpack","type":"Plan","hex":"{}"}}"#, hex(cut));
        assert_eq!(serde_json::to_string(&view).unwrap(), json);
        let error = view.get("name").unwrap_err().to_string();
        assert!(error.ends_with("`msgpack(Plan)` has no \"name\", nor any other field"), "{error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(schema.view(&longer).unwrap().value(), Value::Raw(_)));
    let deep = vec![0x91; 1 << 20];
    assert!(matches!(schema.view(&deep).unwrap().value(), Value::Raw(_)));
}

/// With the name of the type as the only hint.
#[track_caller]
fn by_name<T>(value: T)
where
    T: Serialize + serde::de::DeserializeOwned + 'static,
    shm_comm::Postcard<T>: Payload,
    shm_comm::Bincode<T>: Payload,
{
    let json = Ok(serde_json::to_string(&value).unwrap());
    assert_eq!(as_view(&Schema::of::<shm_comm::Postcard<T>>(), &encode::<Postcard>(&value)), json);
    assert_eq!(as_view(&Schema::of::<shm_comm::Bincode<T>>(), &encode::<Bincode>(&value)), json);
}

#[test]
fn the_name_of_a_standard_type_says_how_to_decode_it() {
    by_name(("left".to_owned(), 0.5_f32));
    by_name((1_u8, 2_u16, 3_u32, u64::MAX, u128::MAX, 7_usize));
    by_name((-1_i8, -2_i16, -3_i32, i64::MIN, i128::MIN, -7_isize));
    by_name((true, 'é', (), 1.5_f64, (0_u8,)));
    by_name(vec![300_u64, 0]);
    by_name(Some([1_u16, 2, 3]));
    by_name(None::<Vec<String>>);
    by_name(vec![Some(Some(1_u8)), Some(None), None]);
    by_name(HashMap::from([("a".to_owned(), f64::NAN)]));
    by_name(BTreeMap::from([(-5_i16, vec![BTreeSet::from([1_u8, 2])])]));
    by_name(BTreeMap::from([('x', 1_u8)]));
    by_name(BTreeMap::from([(u128::MAX, 1_u8)]));
    by_name(BTreeMap::from([(i128::MIN, 1_u8)]));
    by_name(BTreeMap::from([(false, 1_u8)]));
    by_name(VecDeque::from([Box::new([1_u8, 2])]));
    by_name((Box::<str>::from("text"), Box::<[u8]>::from([1, 2])));
    by_name(std::borrow::Cow::<'static, str>::Borrowed("text"));
    by_name([[0_i32; 32]; 2]);
    by_name(vec![(); 3]);
}

#[test]
fn other_names_leave_the_bytes_as_they_are() {
    let bytes = encode::<Postcard>(&Some(1_u8));
    for name in ["Plan", "Option<Plan>", "[(); 33]", "Option<u8, u8>", "\u{1b}"] {
        let kind = Kind::Encoded { codec: "postcard".to_owned(), name: name.to_owned() };
        let schema = Schema { size: 0, align: 1, kind };
        let view = schema.view(&bytes).unwrap();
        let Value::Raw(raw) = view.value() else { panic!("{name} is {view}") };
        assert!(raw.reason().is_none());
        assert!(view.to_string().ends_with(") 0x0101") && !view.to_string().contains('\u{1b}'));
    }
    // Bytes that are not of the named type, or more than one value.
    for (name, reason) in [("bool", "left over"), ("u8", "left over"), ("(u8, u8, u8)", "")] {
        let kind = Kind::Encoded { codec: "postcard".to_owned(), name: name.to_owned() };
        let schema = Schema { size: 0, align: 1, kind };
        let view = schema.view(&bytes).unwrap();
        let Value::Raw(raw) = view.value() else { panic!("{name} is {view}") };
        assert!(raw.reason().unwrap().to_string().contains(reason), "{:?}", raw.reason());
    }
}

#[test]
fn a_name_cannot_make_much_of_few_bytes() {
    let nested =
        |count, inner: &str| (0..count).fold(inner.to_owned(), |inner, _| format!("[{inner}; 32]"));
    for codec in ["postcard", "bincode"] {
        for name in [nested(30, "()"), nested(30, "[u8; 0]"), nested(30, "u8")] {
            let kind = Kind::Encoded { codec: codec.to_owned(), name };
            let schema = Schema { size: 0, align: 1, kind };
            assert!(matches!(schema.view(&[0; 64]).unwrap().value(), Value::Raw(_)));
        }
        for (count, is_shown) in [(2, true), (3, false)] {
            let kind = Kind::Encoded { codec: codec.to_owned(), name: nested(count, "()") };
            let schema = Schema { size: 0, align: 1, kind };
            let view = schema.view(&[]).unwrap();
            assert_eq!(matches!(view.value(), Value::List(_)), is_shown, "{view}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_and_no_name_do_harm(
        bytes in vec(any::<u8>(), 0..200),
        codec in prop_oneof![Just("msgpack"), Just("postcard"), Just("bincode"), Just("json")],
        name in prop_oneof![
            "[\\[\\]()<>,;&' a-z0-9]{0,20}",
            "(Vec|Option)<(u8|String|\\(bool, char\\)|\\[f32; 3\\]|HashMap<String, \\(\\)>)>",
        ],
    ) {
        let kind = Kind::Encoded { codec: codec.to_owned(), name };
        let schema = Schema { size: 0, align: 1, kind };
        let view = schema.view(&bytes).unwrap();
        let text = format!("{view} {view:#}");
        prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{}", text);
        serde_json::to_string(&view).unwrap();
        drop(view.get("a[0].b").map(|field| field.to_string()));
    }
}
