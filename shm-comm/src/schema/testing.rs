//! Schemas for tests, without the types: laid out as the compiler and the derive would.

use super::{Field, Kind, Primitive, Schema, Variant};

pub fn primitive(primitive: Primitive) -> Schema {
    let size = primitive.size();
    Schema { size, align: size, kind: Kind::Primitive(primitive) }
}

pub fn u8() -> Schema {
    primitive(Primitive::U8)
}

pub fn u16() -> Schema {
    primitive(Primitive::U16)
}

pub fn u32() -> Schema {
    primitive(Primitive::U32)
}

pub fn f32() -> Schema {
    primitive(Primitive::F32)
}

pub fn f64() -> Schema {
    primitive(Primitive::F64)
}

pub fn nonzero(integer: Primitive) -> Schema {
    Schema { kind: Kind::NonZero(integer), ..primitive(integer) }
}

pub fn array(element: Schema, len: usize) -> Schema {
    let (size, align) = (element.size * len, element.align);
    Schema { size, align, kind: Kind::Array { element: element.into(), len } }
}

pub fn slice(element: Schema) -> Schema {
    Schema { size: 0, align: element.align, kind: Kind::Slice { element: element.into() } }
}

pub fn string(capacity: usize) -> Schema {
    Schema { size: 4 + capacity, align: 1, kind: Kind::String { capacity } }
}

pub fn vec(element: Schema, capacity: usize) -> Schema {
    let size = element.align.max(4) + element.size * capacity;
    let align = element.align;
    Schema { size, align, kind: Kind::Vec { element: element.into(), capacity } }
}

pub fn option(value: Schema) -> Schema {
    let (size, align) = (value.align + value.size, value.align);
    Schema { size, align, kind: Kind::Option { value: value.into() } }
}

/// As `repr(C)` lays it out; a field named `_pad…` takes its room and is left out.
pub fn strukt<const N: usize>(name: &str, fields: [(&str, Schema); N]) -> Schema {
    let fields = fields.map(|(name, schema)| (name.to_owned(), schema));
    strukt_of(name, fields)
}

pub fn strukt_of(name: &str, fields: impl IntoIterator<Item = (String, Schema)>) -> Schema {
    let (mut end, mut align, mut all) = (0_usize, 1, Vec::new());
    for (name, schema) in fields {
        let offset = end.next_multiple_of(schema.align);
        end = offset + schema.size;
        align = align.max(schema.align);
        if !name.starts_with("_pad") {
            all.push(Field { name, offset, schema });
        }
    }
    let is_unsized = all.last().is_some_and(|last| last.schema.stride().is_some());
    let size = if is_unsized { end } else { end.next_multiple_of(align) };
    Schema { size, align, kind: Kind::Struct { name: name.to_owned(), fields: all } }
}

pub fn enumeration<const N: usize>(
    name: &str,
    repr: Primitive,
    variants: [(&str, i128); N],
) -> Schema {
    let variants = variants.map(|(name, value)| Variant { name: name.to_owned(), value });
    let kind = Kind::Enum { name: name.to_owned(), repr, variants: variants.into() };
    Schema { kind, ..primitive(repr) }
}

pub fn encoded(codec: &str, name: &str) -> Schema {
    let kind = Kind::Encoded { codec: codec.to_owned(), name: name.to_owned() };
    Schema { size: 0, align: 1, kind }
}

pub mod random {
    //! Any schema that a type can have, from few names, so that two of them have something in common.

    use super::*;
    use proptest::collection::{btree_map, btree_set, vec as many};
    use proptest::prelude::*;
    use proptest::sample::select;

    const INTEGERS: [Primitive; 10] = [
        Primitive::U8,
        Primitive::U16,
        Primitive::U32,
        Primitive::U64,
        Primitive::U128,
        Primitive::I8,
        Primitive::I16,
        Primitive::I32,
        Primitive::I64,
        Primitive::I128,
    ];
    const OTHERS: [Primitive; 4] =
        [Primitive::F32, Primitive::F64, Primitive::Bool, Primitive::Char];
    const TYPES: [&str; 3] = ["Pose", "Größe", "nav/Plan<[f64; 3]>"];

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[xyz]", 1 => "[a-zäß_][a-z0-9_]{0,9}"]
            .prop_filter("padding is no field", |name| !name.starts_with("_pad"))
    }

    fn type_name() -> impl Strategy<Value = String> {
        select(&TYPES[..]).prop_map(str::to_owned)
    }

    fn an_enum() -> impl Strategy<Value = Schema> {
        let reprs = INTEGERS.into_iter().filter(|repr| repr.size() <= 8).collect::<Vec<_>>();
        let variants = select(reprs).prop_flat_map(|repr| {
            let (low, high) = repr.range().map(|range| range.into_inner()).unwrap();
            let values = prop_oneof![0..=3_i128, low..=high];
            (Just(repr), btree_map(values, name(), 1..6).prop_shuffled())
        });
        (type_name(), variants).prop_map(|(name, (repr, variants))| {
            let mut all: Vec<Variant> = Vec::new();
            for (value, name) in variants {
                if all.iter().all(|other| other.name != name) {
                    all.push(Variant { name, value });
                }
            }
            Schema { kind: Kind::Enum { name, repr, variants: all }, ..primitive(repr) }
        })
    }

    trait Shuffled: Strategy {
        fn prop_shuffled(self) -> BoxedStrategy<Vec<(i128, String)>>;
    }

    impl<S> Shuffled for S
    where
        S: Strategy<Value = std::collections::BTreeMap<i128, String>> + 'static,
    {
        fn prop_shuffled(self) -> BoxedStrategy<Vec<(i128, String)>> {
            self.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle().boxed()
        }
    }

    /// Some fields have padding before them, and some structs are aligned to more than their fields.
    fn a_struct(field: BoxedStrategy<Schema>) -> impl Strategy<Value = Schema> {
        let names = btree_set(name(), 0..6).prop_map(|names| names.into_iter().collect::<Vec<_>>());
        let names = names.prop_shuffle();
        (type_name(), names, many((field, 0..3_usize), 6), 0..40_usize).prop_map(
            |(name, names, fields, more)| {
                let fields = names.into_iter().zip(fields).flat_map(|(name, (schema, pad))| {
                    [("_pad".to_owned(), array(super::u8(), pad)), (name, schema)]
                });
                let plain = strukt_of(&name, fields);
                match more {
                    0 => {
                        let align = plain.align * 2;
                        Schema { size: plain.size.next_multiple_of(align), align, ..plain }
                    }
                    _ => plain,
                }
            },
        )
    }

    pub fn sized() -> BoxedStrategy<Schema> {
        let leaf = prop_oneof![
            4 => select(&INTEGERS[..]).prop_map(primitive),
            4 => select(&OTHERS[..]).prop_map(primitive),
            1 => select(&INTEGERS[..]).prop_map(nonzero),
            1 => (0..99_usize).prop_map(string),
            2 => an_enum(),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                1 => (inner.clone(), 0..4_usize).prop_map(|(element, len)| array(element, len)),
                1 => (inner.clone(), 0..4_usize).prop_map(|(element, len)| vec(element, len)),
                1 => inner.clone().prop_map(option),
                4 => a_struct(inner),
            ]
        })
        .boxed()
    }

    pub fn schema() -> BoxedStrategy<Schema> {
        let with_size = || sized().prop_filter("elements have a size", |schema| schema.size > 0);
        prop_oneof![
            1 => with_size().prop_map(slice),
            1 => with_size().prop_map(|element| strukt("Scan", [("n", super::u32()), ("all", slice(element))])),
            1 => type_name().prop_map(|name| encoded("msgpack", &name)),
            9 => sized(),
            9 => a_struct(sized()),
        ]
        .boxed()
    }
}
