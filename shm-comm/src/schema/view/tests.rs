use proptest::prelude::*;

use super::*;
use crate::schema::testing::*;
use crate::schema::{Primitive, Schema};
use crate::{ShmMessage, ShmOption, ShmString, ShmVec};

/// All bytes of a value, which has no padding but that behind a slice.
fn bytes_of<T: ShmMessage + ?Sized>(value: &T) -> &[u8] {
    let len = T::LAYOUT.bytes(T::len_of(value));
    // SAFETY: A message has no padding before that end, so all these bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), len) }
}

#[derive(ShmMessage)]
#[repr(i8)]
#[allow(dead_code)]
enum Mode {
    Dock = -1,
    Drive = 1,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(ShmMessage)]
#[repr(C)]
struct Pose {
    position: Point,
    stamp: u64,
    goal: ShmOption<Point>,
    corners: ShmVec<Point, 20>,
    letter: char,
    grid: [[u16; 3]; 2],
    tags: ShmVec<u8, 20>,
    name: ShmString<9>,
    mode: Mode,
    valid: bool,
    _pad0: [u8; 1],
}

fn pose() -> Pose {
    Pose {
        position: Point { x: 1.0, y: -2.5 },
        stamp: u64::MAX,
        goal: ShmOption::some(Point { x: f32::NAN, y: f32::INFINITY }),
        corners: ShmVec::new(),
        letter: '\u{202e}',
        grid: [[1, 2, 3], [4, 5, 6]],
        tags: ShmVec::try_from(&[1, 2, 3][..]).unwrap(),
        name: "arm\n\"1\"".try_into().unwrap(),
        mode: Mode::Dock,
        valid: true,
        _pad0: [0xff],
    }
}

// ── for people ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_message_is_one_line_or_lines_as_in_yaml() {
    let (schema, pose) = (Schema::of::<Pose>(), pose());
    let view = schema.view(bytes_of(&pose)).unwrap();
    assert_eq!(
        view.to_string(),
        "Pose { position: Point { x: 1.0, y: -2.5 }, stamp: 18446744073709551615, \
         goal: Point { x: NaN, y: inf }, corners: [], letter: '\\u{202e}', \
         grid: [[1, 2, 3], [4, 5, 6]], tags: [1, 2, 3], name: \"arm\\n\\\"1\\\"\", mode: Dock, \
         valid: true }"
    );
    let lines = "\
position:
  x: 1.0
  y: -2.5
stamp: 18446744073709551615
goal:
  x: NaN
  y: inf
corners: []
letter: '\\u{202e}'
grid:
  - [1, 2, 3]
  - [4, 5, 6]
tags: [1, 2, 3]
name: \"arm\\n\\\"1\\\"\"
mode: Dock
valid: true";
    assert_eq!(format!("{view:#}"), lines);
    assert_eq!(format!("{view:?}"), view.to_string());
}

#[track_caller]
fn check(schema: &Schema, bytes: &[u8], line: &str, lines: &str) {
    let view = schema.view(bytes).unwrap();
    assert_eq!(format!("{view}"), line);
    assert_eq!(format!("{view:#}"), lines);
}

#[test]
fn every_kind_is_shown_in_both_forms() {
    let floats = |all: &[f64]| all.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<_>>();
    let same = |schema: Schema, bytes: &[u8], line: &str| check(&schema, bytes, line, line);
    same(u8(), &[7], "7");
    same(nonzero(Primitive::I16), &(-3_i16).to_ne_bytes(), "-3");
    same(primitive(Primitive::Bool), &[0], "false");
    same(primitive(Primitive::Char), &('\n' as u32).to_ne_bytes(), r"'\n'");
    same(
        primitive(Primitive::U128),
        &u128::MAX.to_ne_bytes(),
        "340282366920938463463374607431768211455",
    );
    same(array(f64(), 2), &floats(&[1e300, -0.0]), "[1e300, -0.0]");
    same(f32(), &0.1_f32.to_ne_bytes(), "0.1");
    same(option(u8()), &[0, 9], "none");
    same(option(u8()), &[1, 9], "9");
    same(option(option(u8())), &[1, 0, 9], "none");
    same(array(u8(), 0), &[], "[]");
    same(strukt("Nothing", []), &[], "Nothing {}");
    same(string(4), &[3, 0, 0, 0, b'a', 0x1b, b'b', 0xff], r#""a\u{1b}b""#);
    same(enumeration("Mode", Primitive::U8, [("A", 1), ("B", 2)]), &[2], "B");
    same(encoded("json", "Plan"), &[0, 255], "json(Plan) 0x00ff");
    same(encoded("json", "Plan"), &[1; 40], &format!("json(Plan) 0x{}… 8 more", "01".repeat(32)));
    let meters = strukt("Meters", [("0", u8())]);
    check(
        &strukt("Way", [("0", meters), ("1", u8())]),
        &[1, 2],
        "Way(Meters(1), 2)",
        "0:\n  0: 1\n1: 2",
    );
    let pair = || strukt("Pair", [("a", u8()), ("b", array(u8(), 2))]);
    check(
        &slice(pair()),
        &[1, 2, 3, 4, 5, 6],
        "[Pair { a: 1, b: [2, 3] }, Pair { a: 4, b: [5, 6] }]",
        "- a: 1\n  b: [2, 3]\n- a: 4\n  b: [5, 6]",
    );
    check(
        &strukt("Deep", [("grid", array(array(array(u8(), 1), 1), 2)), ("all", array(pair(), 1))]),
        &[1, 2, 3, 4, 5],
        "Deep { grid: [[[1]], [[2]]], all: [Pair { a: 3, b: [4, 5] }] }",
        "grid:\n  - - [1]\n  - - [2]\nall:\n  - a: 3\n    b: [4, 5]",
    );
}

#[test]
fn floats_have_as_many_digits_as_are_asked_for() {
    let schema = strukt("S", [("x", f64()), ("y", array(f32(), 2)), ("n", u16())]);
    let mut bytes = vec![0; schema.size];
    bytes[..8].copy_from_slice(&std::f64::consts::PI.to_ne_bytes());
    bytes[8..12].copy_from_slice(&f32::NAN.to_ne_bytes());
    let view = schema.view(&bytes).unwrap();
    assert_eq!(format!("{view:.3}"), "S { x: 3.142, y: [NaN, 0.000], n: 0 }");
    assert_eq!(format!("{view:#.1}"), "x: 3.1\ny: [NaN, 0.0]\nn: 0");
}

#[test]
fn long_lists_end_early() {
    let sixteen = "0, ".repeat(16);
    let line = format!("[{sixteen}… 6220784 more]");
    check(&slice(u8()), &vec![0; 6_220_800], &line, &line);
    let all = vec!["0"; 16].join(", ");
    check(&slice(u8()), &[0; 16], &format!("[{all}]"), &format!("[{all}]"));
    let schema = slice(strukt("P", [("a", u8())]));
    let lines = format!("{}- … 1 more", "- a: 0\n".repeat(16));
    let line = format!("[{}… 1 more]", "P { a: 0 }, ".repeat(16));
    check(&schema, &[0; 17], &line, &lines);
}

#[test]
fn elements_without_bytes_do_not_keep_anybody_busy() {
    let nothing = (0..5).fold(strukt("N", []), |inner, _| array(inner, 1 << 20));
    let schema = strukt("S", [("all", nothing), ("few", array(array(u8(), 0), 2))]);
    check(
        &schema,
        &[],
        "S { all: [… 1048576 more], few: [[], []] }",
        "all: [… 1048576 more]\nfew: [[], []]",
    );
    let schema = vec(array(u8(), 0), u32::MAX as usize);
    check(&schema, &[255; 4], "[… 4294967295 more]", "[… 4294967295 more]");
}

#[test]
fn few_elements_without_bytes_are_shown() {
    // Two values: itself, and what is in it.
    let nothing = || strukt("N", [("x", array(u8(), 0))]);
    let schema = strukt("S", [("all", vec(nothing(), 99)), ("list", vec(array(u8(), 0), 99))]);
    let is_shown = |all: u32, list: u32| {
        let bytes = [all.to_ne_bytes(), list.to_ne_bytes()].concat();
        let view = schema.view(&bytes).unwrap();
        #[cfg(feature = "serde")]
        assert_eq!(serde_json::to_string(&view).is_ok(), all <= 32 && list <= 64);
        !view.get("all").unwrap().to_string().starts_with("[…")
            && !view.get("list").unwrap().to_string().starts_with("[…")
    };
    assert!(is_shown(32, 64));
    assert!(!is_shown(33, 0) && !is_shown(0, 65));
}

#[test]
fn what_a_list_of_no_elements_would_have_is_not_gone_through() {
    let deep = (0..1_000_000).fold(u8(), |inner, _| array(inner, 1));
    let schema = array(array(deep, 0), 3);
    check(&schema, &[], "[[], [], []]", "[[], [], []]");
    exercise(&schema, &[]);
    std::mem::forget(schema); // the compiler's own way to drop it is not bounded
}

#[test]
fn names_of_a_schema_that_was_made_by_hand_do_no_harm() {
    let schema = strukt("S\u{1b}[2J", [("a\nb", u8()), ("größe", u8())]);
    check(&schema, &[1, 2], r"S\u{1b}[2J { a\nb: 1, größe: 2 }", "a\\nb: 1\ngröße: 2");
}

// ── ways to fields ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_path_leads_to_a_field() {
    let (schema, pose) = (Schema::of::<Pose>(), pose());
    let view = schema.view(bytes_of(&pose)).unwrap();
    for (path, value) in [
        ("position.x", "1.0"),
        ("position", "Point { x: 1.0, y: -2.5 }"),
        ("goal.y", "inf"),
        ("goal", "Point { x: NaN, y: inf }"),
        ("grid[1][2]", "6"),
        ("tags[2]", "3"),
        ("mode", "Dock"),
    ] {
        assert_eq!(view.get(path).unwrap().to_string(), value, "{path}");
    }
    assert_eq!(view.get("").unwrap().to_string(), view.to_string());
    let x = view.get("position.x").unwrap();
    assert_eq!((x.schema(), x.bytes()), (&f32(), &1.0_f32.to_ne_bytes()[..]));
    assert_eq!(view.get("grid").unwrap().get("[0]").unwrap().to_string(), "[1, 2, 3]");
    let list = slice(strukt("P", [("a", u8())]));
    assert_eq!(list.view(&[5, 6]).unwrap().get("[1].a").unwrap().to_string(), "6");
}

#[test]
fn in_an_option_that_is_none_all_fields_are_none() {
    let value = strukt("V", [("list", vec(u16(), 4)), ("deep", option(array(u16(), 2)))]);
    let schema = strukt("S", [("goal", option(value))]);
    let bytes = vec![0; schema.size];
    let view = schema.view(&bytes).unwrap();
    for path in ["goal", "goal.list", "goal.list[3]", "goal.deep[1]"] {
        let nothing = view.get(path).unwrap();
        assert!(matches!(nothing.value(), Value::None), "{path}");
    }
    assert_eq!(view.get("goal.list[3]").unwrap().bytes(), &[] as &[u8]);
    for path in ["goal.nothing", "goal.list[4]", "goal.deep[2]", "goal.list[0].x"] {
        assert!(view.get(path).is_err(), "{path}");
    }
}

#[test]
fn a_path_leads_to_a_type_without_a_message() {
    let wheel = strukt("Wheel", [("speed", option(f32()))]);
    let car = strukt("Car", [("n", u32()), ("names", vec(string(4), 3)), ("wheels", slice(wheel))]);
    for (path, name) in [
        ("", "Car"),
        ("names[2]", "ShmString<4>"),
        ("wheels", "[Wheel]"),
        ("wheels[1000].speed", "ShmOption<f32>"),
    ] {
        assert_eq!(car.field(path).unwrap().unwrap().name(), name, "{path}");
    }
    for (path, text) in [
        ("names[3]", "`ShmVec<ShmString<4>, 3>` has no \"[3]\", it has 3 elements"),
        ("wheels.x", "`[Wheel]` has no \"x\", nor any other field"),
        ("wheels[0].x", "`Wheel` has no \"x\", it has `speed`"),
    ] {
        let error = car.field(path).unwrap_err().to_string();
        assert_eq!(error, format!("no field {path:?}: {text}"));
    }
    let plan = encoded("msgpack", "Plan");
    assert_eq!((plan.field("a.b").unwrap(), plan.field("").unwrap()), (None, Some(&plan)));
}

#[test]
fn a_path_that_leads_nowhere_is_explained() {
    let (schema, pose) = (Schema::of::<Pose>(), pose());
    let view = schema.view(bytes_of(&pose)).unwrap();
    for (path, text) in [
        ("position.z", r#"no field "position.z": `Point` has no "z", it has `x`, `y`"#),
        ("goal.z", r#"no field "goal.z": `Point` has no "z", it has `x`, `y`"#),
        ("tags[3]", r#"no field "tags[3]": `ShmVec<u8, 20>` has no "[3]", it has 3 elements"#),
        ("tags[-1]", r#"no field "tags[-1]": `ShmVec<u8, 20>` has no "[-1]", it has 3 elements"#),
        ("grid[0].x", r#"no field "grid[0].x": `[u16; 3]` has no "x", it has 3 elements"#),
        ("stamp.x", r#"no field "stamp.x": `u64` has no "x", nor any other field"#),
        ("position.", r#"no field "position.": `Point` has no "", it has `x`, `y`"#),
        ("grid[0]x", r#"no field "grid[0]x": "x" is neither `.name` nor `[number]`"#),
        ("position[0", r#"no field "position[0": "[0" is neither `.name` nor `[number]`"#),
        ("name\u{1b}", "`Pose` has no \"name\\u{1b}\", it has `position`, `stamp`, `goal`"),
        (".position", "\".position\" is neither `.name` nor `[number]`"),
        ("position..x", "`Point` has no \"\", it has"),
    ] {
        let error = view.get(path).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let error = view.get("goal.x.y").unwrap_err();
    assert_eq!((error.path(), error.type_name()), ("goal.x.y", "f32"));
    let error = view.get("goal.q").unwrap_err();
    assert_eq!((error.names().join(" ").as_str(), error.elements()), ("x y", None));
    assert_eq!(view.get("tags[9]").unwrap_err().elements(), Some(3));
}

// ── what is refused ──────────────────────────────────────────────────────────────────────────────

#[track_caller]
fn refuse(schema: &Schema, bytes: &[u8], text: &str) {
    assert_eq!(schema.view(bytes).unwrap_err().to_string(), text);
}

#[test]
fn a_message_is_exactly_as_long_as_it_is() {
    let scan = strukt("Scan", [("n", u32()), ("points", slice(array(u16(), 2)))]);
    let bytes = [0; 64];
    assert!(scan.view(&bytes[..4]).is_ok() && scan.view(&bytes[..12]).is_ok());
    for (len, holds) in [(0, "0 bytes"), (1, "1 byte"), (3, "3 bytes"), (6, "6 bytes")] {
        let text =
            format!("the message holds {holds}, which is no `Scan` of 4 and 4 for each element");
        refuse(&scan, &bytes[..len], &text);
    }
    let text = "the message holds 3 bytes, which is no `[u16; 2]` of 4";
    refuse(&array(u16(), 2), &bytes[..3], text);
    let text = "the message holds 7 bytes, which is no `[u32]` of 0 and 4 for each element";
    refuse(&slice(u32()), &bytes[..7], text);
}

#[test]
fn a_schema_that_is_none_is_refused_or_shows_something() {
    let deep = (0..100_000).fold(u8(), |inner, _| array(inner, 1));
    let deep_list = vec(deep, 1);
    let (Kind::Vec { element: deep, .. }, zero) = (&deep_list.kind, [0; 5]) else { panic!() };
    assert!(deep.view(&[1]).unwrap_err().to_string().contains("which is no one of 64 levels"));
    // Nothing of it is there to be looked at.
    assert_eq!(deep_list.view(&zero).unwrap().to_string(), "[]");
    assert!(deep_list.view(&zero).unwrap().get("[0].x").is_err());
    std::mem::forget(deep_list); // the compiler's own way to drop it is not bounded

    let wide = Schema { align: usize::MAX, ..u8() };
    let vec_of = |element| {
        let kind = Kind::Vec { element: Box::new(element), capacity: 9 };
        Schema { size: 8, align: 1, kind }
    };
    let float = |size| Schema { size, ..f64() };
    let fields = |offset, schema| vec![Field { name: "x".into(), offset, schema }];
    let strukt = |size, fields| {
        let kind = Kind::Struct { name: "S".into(), fields };
        Schema { size, align: 1, kind }
    };
    for schema in [
        float(3),
        array(float(3), 2),
        Schema { size: 4, ..array(f32(), usize::MAX / 4) },
        Schema { size: 0, ..array(array(f32(), 0), usize::MAX) },
        strukt(8, fields(4, f64())),
        strukt(8, fields(usize::MAX, f64())),
        array(strukt(8, fields(usize::MAX, f64())), 1),
        strukt(8, fields(1, slice(u16()))),
        strukt(8, fields(4, Schema { align: usize::MAX, ..option(u8()) })),
        Schema { size: 4, align: 1, kind: Kind::Option { value: Box::new(wide.clone()) } },
        vec_of(wide),
        nonzero(Primitive::F32),
        nonzero(Primitive::Bool),
        enumeration("E", Primitive::F32, [("A", 0)]),
        enumeration("E", Primitive::U128, [("A", 0)]),
        slice(slice(u8())),
        slice(array(u8(), 0)),
        array(Schema { size: 4, ..encoded("msgpack", "T") }, 2),
        array(slice(u8()), 3),
        Schema { size: 8, align: 1, kind: Kind::String { capacity: usize::MAX } },
        Schema { size: 8, ..vec(array(u8(), 0), usize::MAX) },
    ] {
        for len in 0..32 {
            for fill in [0, 1, 0xff] {
                exercise(&schema, &vec![fill; len]);
            }
        }
    }
}

#[test]
fn a_mistake_in_a_list_is_told_with_the_way_to_it() {
    let flags = || array(primitive(Primitive::Bool), 1);
    let part = strukt(
        "Part",
        [
            ("plain", array(u16(), 3)),
            ("none", array(flags(), 0)),
            ("few", strukt("Few", [("flags", array(flags(), 2)), ("one", flags())])),
            ("goal", option(strukt("Goal", [("n", u8()), ("modes", vec(flags(), 2))]))),
        ],
    );
    let schema = slice(array(part, 1));
    let Kind::Slice { element } = &schema.kind else { panic!() };
    let bytes = vec![0; 3 * element.size];
    let mut goal = bytes.clone();
    let at = 2 * element.size + 6 + 3;
    goal[at] = 1; // the tag; then `n`, padding of the count, the count
    for (offset, byte, field) in [
        (element.size + 6, 2, "[1][0].few.flags[0][0]"),
        (element.size + 7, 2, "[1][0].few.flags[1][0]"),
        (element.size + 8, 2, "[1][0].few.one[0]"),
        (at, 2, "[2][0].goal"),
        (at + 2, 3, "[2][0].goal.modes"),
    ] {
        let mut wrong = goal.clone();
        wrong[offset] = byte;
        assert_eq!(schema.view(&wrong).unwrap_err().field(), field);
    }
    goal[at + 2] = 2;
    assert!(schema.view(&goal).is_ok());
    goal[at + 7] = 2;
    assert_eq!(schema.view(&goal).unwrap_err().field(), "[2][0].goal.modes[1][0]");
}

#[test]
fn values_of_an_enum_may_be_any_integers() {
    let modes = |values: &[i128]| {
        let variants = values
            .iter()
            .map(|value| crate::schema::Variant { name: format!("V{value}"), value: *value });
        let (name, repr) = ("Mode".to_owned(), Primitive::I8);
        let kind = Kind::Enum { name, repr, variants: variants.collect() };
        slice(Schema { kind, ..primitive(repr) })
    };
    for values in [&[0][..], &[-128, -127], &[-1, 0, 1, 2], &[3, 2, 1], &[7, -5, 100, 8], &[0, 2]] {
        let schema = modes(values);
        for value in i8::MIN..=i8::MAX {
            let is_one = values.contains(&value.into());
            let first = values[0] as u8;
            match schema.view(&[first, first, value as u8]) {
                Ok(view) => {
                    let value = view.get("[2]").unwrap();
                    assert!(is_one && matches!(value.value(), Value::Enum { .. }));
                }
                Err(error) => {
                    let text = format!("field `[2]` holds {value}, which is no `Mode`");
                    assert!(!is_one && error.to_string() == text, "{error}");
                }
            }
        }
    }
    assert!(modes(&[]).view(&[0, 0]).is_err());
    assert!(modes(&[i128::MAX, i128::MIN]).view(&[0, 0]).is_err());
}

/// Does with it whatever a tool can do.
fn exercise(schema: &Schema, bytes: &[u8]) -> bool {
    let view = match schema.view(bytes) {
        Ok(view) => view,
        Err(error) => {
            let _ = error.to_string();
            return false;
        }
    };
    let line = view.to_string();
    let lines = format!("{view:#.2}");
    let is_hidden = |c: char| c.is_control() && c != '\n';
    assert!(!line.contains('\n') && !line.contains(is_hidden), "{line:?}");
    assert!(!lines.contains(is_hidden), "{lines:?}");
    for path in ["x", "[0]", "x.y", "x[0]", "[1].x", "all[0]", ""] {
        match view.get(path) {
            Ok(field) => drop((field.value(), field.schema(), field.bytes(), field.to_string())),
            Err(error) => drop(error.to_string()),
        }
    }
    #[cfg(feature = "serde")]
    if !line.contains("more") {
        let text = serde_json::to_string(&view).unwrap();
        serde_json::from_str::<serde::de::IgnoredAny>(&text).unwrap();
    }
    true
}

proptest! {
    #[test]
    fn bytes_of_any_length_are_refused_or_shown(
        schema in random::schema(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        exercise(&schema, &bytes);
    }

    #[test]
    fn a_list_is_refused_as_its_first_wrong_element_would_be(
        element in random::sized().prop_filter("a size", |element| element.size > 0),
        seed in proptest::collection::vec(prop_oneof![9 => Just(0), 3 => Just(1), 1 => any::<u8>()], 1..99),
        len in 2..5_usize,
    ) {
        let bytes: Vec<u8> = seed.into_iter().cycle().take(len * element.size).collect();
        let wrong = bytes.chunks_exact(element.size).enumerate().find_map(|(i, bytes)| {
            let invalid = element.view(bytes).err()?;
            Some(invalid.in_field(&format!("[{i}]")).to_string())
        });
        let found = slice(element).view(&bytes).err().map(|invalid| invalid.to_string());
        prop_assert_eq!(found, wrong);
    }

    #[test]
    fn bytes_of_the_right_length_are_refused_or_shown(
        schema in random::schema(),
        elements in 0..4_usize,
        seed in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 1..99),
    ) {
        let len = schema.size + elements * schema.stride().unwrap_or(0);
        let bytes: Vec<u8> = seed.into_iter().cycle().take(len).collect();
        exercise(&schema, &bytes);
        // Nothing is a value of most of them.
        let has_zero = !schema.canonical().contains("nonzero");
        let is_enum = schema.canonical().contains(':');
        if has_zero && !is_enum && schema.stride().is_none() {
            prop_assert!(exercise(&schema, &vec![0; len]));
        }
    }
}

#[test]
fn an_image_is_shown_by_its_beginning() {
    let bytes = vec![0; 1 << 20];
    let image = strukt("Image", [("n", u32()), ("data", slice(u8()))]);
    let text = image.view(&bytes).unwrap().to_string();
    assert_eq!(text.len(), 88);
    assert!(text.ends_with("0, … 1048556 more] }"), "{text}");
}
