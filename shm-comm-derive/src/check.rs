//! Every rule that can be judged from the text of the message, every violation reported at once.
//!
//! What only the compiler knows is left to the expansion: where padding is, whether a type that
//! hides behind an alias is a message, whether there is a destructor.

use syn::{Type, TypeParamBound};

use crate::model::{Body, Field, Message, Pod, Variant, element};
use crate::{Errors, standard};

/// A message that breaks no rule: what `expand` turns into code.
pub enum Checked<'a> {
    Struct { message: &'a Message<'a>, fields: &'a [Field<'a>] },
    Enum { message: &'a Message<'a>, repr: Integer, variants: &'a [Variant<'a>] },
}

/// The integer that holds the value of an enum.
#[derive(Clone, Copy)]
pub struct Integer {
    pub name: &'static str,
    /// Its name in `schema::Primitive`.
    pub primitive: &'static str,
    pub size: usize,
}

const INTEGERS: [Integer; 8] = [
    Integer { name: "u8", primitive: "U8", size: 1 },
    Integer { name: "u16", primitive: "U16", size: 2 },
    Integer { name: "u32", primitive: "U32", size: 4 },
    Integer { name: "u64", primitive: "U64", size: 8 },
    Integer { name: "i8", primitive: "I8", size: 1 },
    Integer { name: "i16", primitive: "I16", size: 2 },
    Integer { name: "i32", primitive: "I32", size: 4 },
    Integer { name: "i64", primitive: "I64", size: 8 },
];

/// `None` only if there are errors.
pub fn check<'a>(message: &'a Message<'a>, errors: &mut Errors) -> Option<Checked<'a>> {
    match &message.body {
        Body::Struct(fields) => {
            check_struct_repr(message, errors);
            check_generics(message, fields, errors);
            for (i, field) in fields.iter().enumerate() {
                check_field(field, i + 1 == fields.len(), errors);
            }
            check_bytemuck(message, fields, errors);
            Some(Checked::Struct { message, fields })
        }
        Body::Enum(variants) => {
            check_generics(message, &[], errors);
            if let Some(bytemuck) = &message.bytemuck {
                errors.at(
                    bytemuck,
                    "an enum cannot be `bytemuck::Pod`, as not every bit pattern is one of its \
                     variants: remove `bytemuck`",
                );
            }
            let repr = check_enum(message, variants, errors)?;
            Some(Checked::Enum { message, repr, variants })
        }
        Body::Union(keyword) => {
            errors.at(
                keyword,
                "a union cannot be a message, as nobody can tell which of its fields is the one: \
                 use a struct that has them all, and an enum that says which counts",
            );
            None
        }
    }
}

fn check_struct_repr(message: &Message, errors: &mut Errors) {
    let ident = message.ident;
    if let Some(packed) = message.repr("packed") {
        errors.at(
            packed,
            "`packed` puts fields where no reference may point: remove it, and write padding down \
             as `_pad0: [u8; N]`",
        );
    }
    if message.repr("C").is_none() && message.repr("transparent").is_none() {
        errors.at(
            ident,
            format!(
                "add `#[repr(C)]` above `struct {ident}`: without it every compiler may put the \
                 fields in another order"
            ),
        );
    }
}

fn check_enum(message: &Message, variants: &[Variant], errors: &mut Errors) -> Option<Integer> {
    let ident = message.ident;
    if let Some(param) = message.generics.params.first() {
        errors.at(
            param,
            format!("an enum of a message has no parameters: remove this one from `{ident}`"),
        );
    }
    for variant in variants {
        if !matches!(variant.fields, syn::Fields::Unit) {
            errors.at(
                variant.fields,
                format!(
                    "a variant of a message has no fields: use a struct with a field for what \
                     `{}` carries, beside an enum without fields that says which one counts",
                    variant.name
                ),
            );
        }
    }
    if variants.is_empty() {
        let text = format!(
            "`{ident}` has no variant, so no message could ever be one: write `Idle = 0,` in it, or \
             whatever it is to be, and `#[repr(u8)]` above it"
        );
        errors.at(ident, text);
        return None;
    }

    let integer = INTEGERS.into_iter().find(|integer| message.repr(integer.name).is_some());
    let other = message.reprs.iter().find(|repr| !INTEGERS.iter().any(|i| *repr == i.name));
    match (integer, other) {
        (Some(_), None) => {}
        (Some(_), Some(other)) => errors.at(
            other,
            format!("remove `{other}`: the integer alone says how a message's enum is laid out"),
        ),
        (None, Some(other)) if other == "C" => errors.at(
            other,
            "C does not say how large an enum is: use `#[repr(u8)]` (or another integer, `u16` to \
             `i64`)",
        ),
        (None, Some(other)) => errors.at(
            other,
            format!("use `#[repr(u8)]` (or another integer, `u16` to `i64`) instead of `{other}`"),
        ),
        (None, None) => errors.at(
            ident,
            format!(
                "add `#[repr(u8)]` above `enum {ident}` (or another integer, `u16` to `i64`): \
                 without it the compiler chooses how its values are stored"
            ),
        ),
    }
    integer
}

fn check_generics(message: &Message, fields: &[Field], errors: &mut Errors) {
    let generics = message.generics;
    for param in generics.type_params() {
        let maybe = |bound: &&TypeParamBound| matches!(bound, TypeParamBound::Trait(bound) if bound.maybe.is_some());
        if let Some(bound) = param.bounds.iter().find(maybe) {
            let name = &param.ident;
            errors.at(
                bound,
                format!(
                    "`{name}` is a part of the message, so it has a size: remove `?Sized`, and write \
                     a slice at the end as `[{name}]`"
                ),
            );
        }
    }
    // A field that borrows says so itself, and its lifetime goes when the field is mended.
    let a_field_borrows = fields.iter().any(|field| borrows(field.ty));
    if let (false, Some(lifetime)) = (a_field_borrows, generics.lifetimes().next()) {
        errors.at(
            lifetime,
            format!(
                "a message cannot borrow: it outlives the process that sent it, so remove `{}` and \
                 hold the values themselves",
                lifetime.lifetime
            ),
        );
    }
}

fn borrows(ty: &Type) -> bool {
    match ty {
        Type::Reference(_) => true,
        Type::Array(array) => borrows(&array.elem),
        Type::Group(group) => borrows(&group.elem),
        Type::Paren(paren) => borrows(&paren.elem),
        _ => false,
    }
}

fn check_bytemuck(message: &Message, fields: &[Field], errors: &mut Errors) {
    let Some(bytemuck) = &message.bytemuck else { return };
    let is_generic = message.generics.type_params().next().is_some()
        || message.generics.const_params().next().is_some();
    if fields.last().is_some_and(|field| field.element().is_some()) {
        errors.at(bytemuck, "`bytemuck::Pod` is for types with a size: remove `bytemuck`");
    } else if is_generic && message.repr("transparent").is_none() {
        errors.at(
            bytemuck,
            "whether a generic type has padding depends on its arguments, so it cannot be \
             `bytemuck::Pod`: remove `bytemuck`, or make it `#[repr(transparent)]` around one field",
        );
    } else if is_generic && fields.len() != 1 {
        // With only one, there is no padding whatever becomes of the `repr`.
        errors.at(
            bytemuck,
            "a generic type that is `bytemuck::Pod` has one field: remove `bytemuck`, or the others",
        );
    }
}

fn check_field(field: &Field, is_last: bool, errors: &mut Errors) {
    let name = &field.name;
    if let Some(pod) = &field.pod {
        check_pod(field, pod, errors);
    }
    if let (Some(element), false) = (field.element(), field.is_padding()) {
        if is_last {
            if field.pod.is_none() {
                check_type(element, errors);
            }
        } else {
            errors.at(
                field.ty,
                format!(
                    "only the last field may be a slice: move `{name}` to the end, or use an array \
                     `[T; N]` or `ShmVec<T, N>`"
                ),
            );
        }
        return;
    }
    if field.pod.is_some() {
        return;
    }
    if field.is_padding() && !is_bytes(field.ty) {
        errors.at(
            field.ty,
            format!("`{name}` must be `[u8; N]`: a field whose name starts with `_pad` is padding"),
        );
    } else {
        check_type(field.ty, errors);
    }
}

fn check_pod(field: &Field, pod: &Pod, errors: &mut Errors) {
    if field.is_padding() {
        errors.at(&pod.text, "padding is not shown to anybody: remove the attribute, or rename it");
        return;
    }
    match (field.element(), element(&pod.ty)) {
        (None, Some(_)) => errors.at(
            &pod.text,
            "the field is no slice, so it cannot be shown as one: use an array, `[T; N]`",
        ),
        (Some(_), None) => errors.at(&pod.text, "the field is a slice: show it as one, `[T]`"),
        _ => {}
    }
}

fn is_bytes(ty: &Type) -> bool {
    match ty {
        Type::Array(array) => matches!(&*array.elem, Type::Path(path) if path.path.is_ident("u8")),
        Type::Group(group) => is_bytes(&group.elem),
        Type::Paren(paren) => is_bytes(&paren.elem),
        _ => false,
    }
}

/// Refuses what can be told by its name or its form, at the token, with what to use instead.
fn check_type(ty: &Type, errors: &mut Errors) {
    match ty {
        Type::Array(array) => check_type(&array.elem, errors),
        Type::Group(group) => check_type(&group.elem, errors),
        Type::Paren(paren) => check_type(&paren.elem, errors),
        Type::Path(path) => {
            if let Some(text) = standard::refusal(path) {
                errors.at(ty, text);
            }
        }
        Type::Reference(reference) => {
            let instead = match &*reference.elem {
                Type::Path(path) if path.path.is_ident("str") => "use `ShmString<N>`",
                Type::Slice(_) => {
                    "use `ShmVec<T, N>` or an array `[T; N]`, or make a slice `[T]` the last field"
                }
                _ => "hold the value itself",
            };
            errors.at(
                ty,
                format!("a message cannot borrow: what is behind `&` stays in this process; {instead}"),
            );
        }
        Type::Ptr(_) => errors.at(
            ty,
            "a pointer means nothing in another process: hold the value itself, or an index in `u32`",
        ),
        Type::FnPtr(_) => errors.at(
            ty,
            "a function pointer means nothing in another process: use an enum that says what to do",
        ),
        Type::Tuple(_) => errors.at(
            ty,
            "a tuple has no fixed layout: use a struct with `#[derive(ShmMessage)] #[repr(C)]`",
        ),
        Type::Slice(_) => errors.at(
            ty,
            "a slice has no fixed size: use an array `[T; N]` or `ShmVec<T, N>`; only the last field \
             of a struct may be a slice itself",
        ),
        Type::TraitObject(_) | Type::ImplTrait(_) => {
            errors.at(ty, "a trait says nothing about layout: use a type of known layout")
        }
        Type::Never(_) => errors.at(ty, "`!` has no value that could be sent: remove the field"),
        // Left to the compiler, which knows what a macro becomes.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::{Ident, Span};
    use syn::{DeriveInput, parse_quote};

    /// The errors of both steps that judge, in order.
    fn errors_of(input: DeriveInput) -> Vec<String> {
        let mut errors = Errors::default();
        let message = Message::parse(&input, &mut errors);
        check(&message, &mut errors);
        errors.first.into_iter().flatten().map(|error| error.to_string()).collect()
    }

    /// Every mistake is reported, and only mistakes are.
    #[track_caller]
    fn assert_errors(input: DeriveInput, starts: &[&str]) {
        let errors = errors_of(input);
        assert_eq!(errors.len(), starts.len(), "{errors:#?}");
        for (error, start) in errors.iter().zip(starts) {
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn every_mistake_is_reported_in_one_pass() {
        assert_errors(
            parse_quote! {
                #[shm(name = "two words", colour = "red")]
                #[repr(packed)]
                struct Robot<T> {
                    name: String,
                    #[shm(unit)]
                    angles: [[Vec<f64>; 2]; 3],
                    _pad: u32,
                }
            },
            &[
                "a name consists of",
                "`colour` is no key",
                "`unit` is no key",
                "`packed` puts fields",
                "add `#[repr(C)]` above `struct Robot`",
                "`String` keeps",
                "`Vec` keeps",
                "`_pad` must be `[u8; N]`",
            ],
        );
    }

    #[test]
    fn types_of_the_standard_library_are_told_from_others_of_the_same_name() {
        assert_errors(
            parse_quote! {
                #[repr(C)]
                struct Mine {
                    left: self::Duration,
                    age: msgs::Duration,
                    free: Cell,
                    path: Path,
                    text: FixedString<32>,
                }
            },
            &[],
        );
        assert_errors(
            parse_quote! {
                #[repr(C)]
                struct Theirs {
                    left: Duration,
                    age: std::time::Duration,
                    free: cell::Cell<u8>,
                    count: ::core::primitive::usize,
                    hits: atomic::AtomicU64,
                }
            },
            &["`Duration`", "`Duration`", "`Cell`", "`usize`", "`AtomicU64`"],
        );
    }

    #[test]
    fn a_lifetime_is_reported_where_it_is_used() {
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Robot<'a> {
                    name: &'a str,
                }
            ),
            &["a message cannot borrow: what is behind `&`"],
        );
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Robot<'a> {
                    name: Name<'a>,
                }
            ),
            &["a message cannot borrow: it outlives"],
        );
    }

    #[test]
    fn a_slice_is_the_last_field_or_a_mistake() {
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Image<T> {
                    width: u32,
                    data: [T],
                }
            ),
            &[],
        );
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Image {
                    data: [u8],
                    rows: [[u8]; 2],
                    _pad0: [u8],
                    names: [String],
                }
            ),
            &[
                "only the last field",
                "a slice has no fixed size",
                "`_pad0` must be",
                "`String` keeps",
            ],
        );
    }

    #[test]
    fn a_parameter_has_a_size() {
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Stamped<T: Copy + ?Sized, U: Copy, const N: usize = 3> {
                    first: [U; N],
                    value: T,
                }
            ),
            &["`T` is a part of the message"],
        );
    }

    #[test]
    fn a_foreign_type_is_not_judged_by_its_name() {
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Link {
                    #[shm(pod = "[u8; 4]")]
                    address: std::net::Ipv4Addr,
                    #[shm(pod = "[[f32; 2]]")]
                    values: [Complex<f32>],
                }
            ),
            &[],
        );
        assert_errors(
            parse_quote!(
                #[repr(C)]
                struct Link {
                    #[shm(pod = "u8")]
                    _pad0: [u8; 4],
                    #[shm(pod = "[f32]")]
                    array: Vec3,
                    #[shm(pod = "[f32; 2]")]
                    slice: [Vec2],
                }
            ),
            &["padding is not shown", "the field is no slice", "the field is a slice"],
        );
    }

    #[test]
    fn bytemuck_wants_a_size_and_no_padding_for_any_argument() {
        for good in [
            parse_quote!(
                #[shm(bytemuck)]
                #[repr(C)]
                struct Point {
                    x: f64,
                }
            ),
            parse_quote!(
                #[shm(bytemuck)]
                #[repr(transparent)]
                struct Metres<T>(T);
            ),
        ] {
            assert_errors(good, &[]);
        }
        assert_errors(
            parse_quote!(
                #[shm(bytemuck)]
                #[repr(C)]
                struct Pair<T>(T, T);
            ),
            &["whether a generic type has padding"],
        );
        assert_errors(
            parse_quote!(
                #[shm(bytemuck)]
                #[repr(C)]
                struct Text([u8]);
            ),
            &["`bytemuck::Pod` is for types with a size"],
        );
        assert_errors(
            parse_quote!(
                #[shm(bytemuck)]
                #[repr(u8)]
                enum Mode {
                    Idle,
                }
            ),
            &["an enum cannot be `bytemuck::Pod`"],
        );
    }

    #[test]
    fn an_enum_is_laid_out_by_one_integer_alone() {
        for good in ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"] {
            let repr = Ident::new(good, Span::call_site());
            assert_errors(
                parse_quote!(
                    #[repr(#repr)]
                    enum Mode {
                        Idle,
                    }
                ),
                &[],
            );
        }
        assert_errors(
            parse_quote!(
                enum Mode {
                    Idle,
                }
            ),
            &["add `#[repr(u8)]`"],
        );
        assert_errors(
            parse_quote!(
                #[repr(C)]
                enum Mode {
                    Idle,
                }
            ),
            &["C does not say"],
        );
        assert_errors(
            parse_quote!(
                #[repr(usize)]
                enum Mode {
                    Idle,
                }
            ),
            &["use `#[repr(u8)]`"],
        );
        assert_errors(
            parse_quote!(
                #[repr(u8, align(2))]
                enum Mode {
                    Idle,
                }
            ),
            &["remove `align`"],
        );
        assert_errors(
            parse_quote!(
                #[repr(C, u8)]
                enum Mode {
                    Idle,
                }
            ),
            &["remove `C`"],
        );
        assert_errors(
            parse_quote!(
                #[repr(u8)]
                enum Mode {
                    Idle(),
                }
            ),
            &["a variant of a message"],
        );
        assert_errors(
            parse_quote!(
                enum Mode {}
            ),
            &["`Mode` has no variant"],
        );
    }
}
