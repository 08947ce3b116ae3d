//! The message as it was written: what `check` judges and `expand` needs, with the spans kept.

use std::fmt::Display;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Generics, LitStr, Member, Meta, Type};

use crate::Errors;

pub struct Message<'a> {
    pub ident: &'a Ident,
    /// The name in the schema: that of the type, or what `#[shm(name = …)]` says.
    pub name: String,
    pub generics: &'a Generics,
    /// The words of every `#[repr(…)]`: `C`, `u8`, `align`.
    pub reprs: Vec<Ident>,
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
}

impl<'a> Message<'a> {
    /// Reports only what is wrong with attributes; `check` judges the rest.
    pub fn parse(input: &'a DeriveInput, errors: &mut Errors) -> Message<'a> {
        let name = parse_name(&input.attrs, errors);
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
            reprs: parse_reprs(&input.attrs, errors),
            body,
        }
    }

    pub fn repr(&self, word: &str) -> Option<&Ident> {
        self.reprs.iter().find(|repr| *repr == word)
    }
}

fn parse_fields<'a>(fields: &'a syn::Fields, errors: &mut Errors) -> Vec<Field<'a>> {
    let parse_field = |(member, field): (Member, &'a syn::Field)| {
        refuse_keys(&field.attrs, "a field", errors);
        let name = match &member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        Field { member, name, ty: &field.ty }
    };
    fields.members().zip(fields).map(parse_field).collect()
}

fn parse_variant<'a>(variant: &'a syn::Variant, errors: &mut Errors) -> Variant<'a> {
    refuse_keys(&variant.attrs, "a variant", errors);
    Variant {
        ident: &variant.ident,
        name: variant.ident.unraw().to_string(),
        fields: &variant.fields,
    }
}

fn parse_reprs(attrs: &[Attribute], errors: &mut Errors) -> Vec<Ident> {
    let mut reprs = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("repr")) {
        let parsed = attr.parse_nested_meta(|meta| {
            reprs.push(meta.path.require_ident()?.clone());
            if meta.input.peek(syn::token::Paren) {
                let number;
                syn::parenthesized!(number in meta.input);
                number.parse::<TokenStream>()?;
            }
            Ok(())
        });
        if let Err(error) = parsed {
            errors.push(error);
        }
    }
    reprs
}

/// `#[shm(name = "geometry/Pose")]`, the only key there is.
fn parse_name(attrs: &[Attribute], errors: &mut Errors) -> Option<String> {
    let mut name = None;
    for_each_key(attrs, errors, |meta, errors| {
        if !meta.path.is_ident("name") {
            let key = meta.path.to_token_stream();
            return Err(meta.error(format!("`{key}` is no key of `shm`; there is: `name = \"…\"`")));
        }
        let text: LitStr = meta.value()?.parse()?;
        if name.is_some() {
            errors.at(&text, "the message has a name already");
        }
        let value = text.value();
        let allowed = |c: char| c.is_alphanumeric() || "_/.-".contains(c);
        if value.is_empty() || !value.chars().all(allowed) {
            errors.at(&text, "a name consists of letters, digits and `_ / . -`");
        }
        name = Some(value);
        Ok(())
    });
    name
}

fn refuse_keys(attrs: &[Attribute], place: impl Display, errors: &mut Errors) {
    for_each_key(attrs, errors, |meta, _| {
        let key = meta.path.to_token_stream();
        Err(meta.error(format!("`{key}` is no key of `shm` here: {place} has none")))
    });
}

fn for_each_key(
    attrs: &[Attribute],
    errors: &mut Errors,
    mut parse: impl FnMut(syn::meta::ParseNestedMeta, &mut Errors) -> syn::Result<()>,
) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("shm")) {
        // `#[shm]` alone says nothing, and syn's own words for it do not help.
        if !matches!(attr.meta, Meta::List(_)) {
            errors.at(attr, "write `#[shm(name = \"…\")]`");
            continue;
        }
        if let Err(error) = attr.parse_nested_meta(|meta| parse(meta, errors)) {
            errors.push(error);
        }
    }
}
