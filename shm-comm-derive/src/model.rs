//! The message as it was written: what `check` judges and `expand` needs, with the spans kept.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Generics, LitInt, LitStr, Member, Meta, Type};

use crate::Errors;

pub struct Message<'a> {
    pub ident: &'a Ident,
    /// The name in the schema: that of the type, or what `#[shm(name = …)]` says.
    pub name: String,
    pub generics: &'a Generics,
    /// The words of every `#[repr(…)]`: `C`, `u8`, `align`.
    pub reprs: Vec<Ident>,
    /// The number of `align(…)`, the largest if there are several.
    pub align: Option<usize>,
    /// `#[shm(bytemuck)]`.
    pub bytemuck: Option<Ident>,
    pub body: Body<'a>,
}

pub enum Body<'a> {
    Struct(Vec<Field<'a>>),
    Enum(Vec<Variant<'a>>),
    Union(&'a syn::token::Union),
}

pub struct Field<'a> {
    /// A tuple struct's fields are called `0`, `1`, ….
    pub member: Member,
    pub name: String,
    pub ty: &'a Type,
    /// `pub`, or what else.
    pub vis: &'a syn::Visibility,
    /// `#[shm(pod = …)]`.
    pub pod: Option<Pod>,
}

/// What a field of a foreign type is to others.
pub struct Pod {
    pub text: LitStr,
    pub ty: Type,
}

pub struct Variant<'a> {
    pub ident: &'a Ident,
    pub name: String,
    pub fields: &'a syn::Fields,
}

impl Field<'_> {
    /// Not part of the schema, only there so that no byte is left over.
    pub fn is_padding(&self) -> bool {
        self.name.starts_with("_pad")
    }

    /// The type of the elements, if it is a slice.
    pub fn element(&self) -> Option<&Type> {
        element(self.ty)
    }

    /// The message that stands for the field: its own type, or what `pod` says.
    pub fn shown(&self) -> &Type {
        self.pod.as_ref().map_or(self.ty, |pod| &pod.ty)
    }
}

/// The type of the elements of a slice.
pub fn element(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Slice(slice) => Some(&slice.elem),
        Type::Group(group) => element(&group.elem),
        Type::Paren(paren) => element(&paren.elem),
        _ => None,
    }
}

impl<'a> Message<'a> {
    /// Reports only what is wrong with attributes; `check` judges the rest.
    pub fn parse(input: &'a DeriveInput, errors: &mut Errors) -> Message<'a> {
        let Keys { name, bytemuck } = parse_keys(&input.attrs, errors);
        let (reprs, align) = parse_reprs(&input.attrs, errors);
        let body = match &input.data {
            Data::Struct(data) => Body::Struct(parse_fields(&data.fields, errors)),
            Data::Enum(data) => {
                Body::Enum(data.variants.iter().map(|v| parse_variant(v, errors)).collect())
            }
            Data::Union(data) => Body::Union(&data.union_token),
        };
        Message {
            ident: &input.ident,
            name: name.unwrap_or_else(|| input.ident.unraw().to_string()),
            generics: &input.generics,
            reprs,
            align,
            bytemuck,
            body,
        }
    }

    pub fn repr(&self, word: &str) -> Option<&Ident> {
        self.reprs.iter().find(|repr| *repr == word)
    }
}

fn parse_fields<'a>(fields: &'a syn::Fields, errors: &mut Errors) -> Vec<Field<'a>> {
    let parse_field = |(member, field): (Member, &'a syn::Field)| {
        let name = match &member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        Field { member, name, ty: &field.ty, vis: &field.vis, pod: parse_pod(&field.attrs, errors) }
    };
    fields.members().zip(fields).map(parse_field).collect()
}

fn parse_variant<'a>(variant: &'a syn::Variant, errors: &mut Errors) -> Variant<'a> {
    for_each_key(&variant.attrs, errors, |meta, _| {
        let key = meta.path.to_token_stream();
        Err(meta.error(format!("`{key}` is no key of `shm` here: a variant has none")))
    });
    Variant {
        ident: &variant.ident,
        name: variant.ident.unraw().to_string(),
        fields: &variant.fields,
    }
}

fn parse_reprs(attrs: &[Attribute], errors: &mut Errors) -> (Vec<Ident>, Option<usize>) {
    let mut reprs = Vec::new();
    let mut align = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("repr")) {
        let parsed = attr.parse_nested_meta(|meta| {
            let repr = meta.path.require_ident()?;
            if meta.input.peek(syn::token::Paren) {
                let number;
                syn::parenthesized!(number in meta.input);
                // If it is no number, the compiler says so.
                let number = syn::parse2::<LitInt>(number.parse()?);
                let number = number.and_then(|number| number.base10_parse()).ok();
                if repr == "align" {
                    align = align.max(number);
                }
            }
            reprs.push(repr.clone());
            Ok(())
        });
        if let Err(error) = parsed {
            errors.push(error);
        }
    }
    (reprs, align)
}

#[derive(Default)]
struct Keys {
    name: Option<String>,
    bytemuck: Option<Ident>,
}

/// `#[shm(name = "geometry/Pose", bytemuck)]`.
fn parse_keys(attrs: &[Attribute], errors: &mut Errors) -> Keys {
    let mut keys = Keys::default();
    for_each_key(attrs, errors, |meta, errors| {
        if meta.path.is_ident("bytemuck") {
            keys.bytemuck = meta.path.get_ident().cloned();
            return Ok(());
        }
        if meta.path.is_ident("pod") {
            return Err(meta.error("`pod = \"…\"` belongs on a field"));
        }
        if !meta.path.is_ident("name") {
            let key = meta.path.to_token_stream();
            return Err(meta.error(format!(
                "`{key}` is no key of `shm` here; there are: `name = \"…\"`, `bytemuck`"
            )));
        }
        let text: LitStr = meta.value()?.parse()?;
        if keys.name.is_some() {
            errors.at(&text, "the message has a name already");
        }
        let value = text.value();
        let allowed = |c: char| c.is_alphanumeric() || "_/.-".contains(c);
        if value.is_empty() || !value.chars().all(allowed) {
            errors.at(&text, "a name consists of letters, digits and `_ / . -`");
        }
        keys.name = Some(value);
        Ok(())
    });
    keys
}

/// `#[shm(pod = "[f64; 3]")]`.
fn parse_pod(attrs: &[Attribute], errors: &mut Errors) -> Option<Pod> {
    let mut pod = None;
    for_each_key(attrs, errors, |meta, errors| {
        if meta.path.is_ident("name") || meta.path.is_ident("bytemuck") {
            let key = meta.path.to_token_stream();
            return Err(meta.error(format!("`{key}` belongs on the type, not on a field")));
        }
        if !meta.path.is_ident("pod") {
            let key = meta.path.to_token_stream();
            return Err(
                meta.error(format!("`{key}` is no key of `shm` here; there is: `pod = \"…\"`"))
            );
        }
        let text: LitStr = meta.value()?.parse()?;
        if pod.is_some() {
            errors.at(&text, "the field is shown as another type already");
        }
        match text.parse() {
            Ok(ty) => pod = Some(Pod { text, ty }),
            Err(_) => errors.at(
                &text,
                "write the type that others see in place of the field's, such as \"[f64; 3]\"",
            ),
        }
        Ok(())
    });
    pod
}

fn for_each_key(
    attrs: &[Attribute],
    errors: &mut Errors,
    mut parse: impl FnMut(syn::meta::ParseNestedMeta, &mut Errors) -> syn::Result<()>,
) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("shm")) {
        // `#[shm]` alone says nothing, and syn's own words for it do not help.
        if !matches!(attr.meta, Meta::List(_)) {
            errors.at(attr, "write `#[shm(key = \"…\")]`");
            continue;
        }
        if let Err(error) = attr.parse_nested_meta(|meta| parse(meta, errors)) {
            errors.push(error);
        }
    }
}
