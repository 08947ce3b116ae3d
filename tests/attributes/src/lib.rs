//! Attributes that change the struct they are on. Below a derive they run after it, so that it has seen
//! another struct than the compiler.

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::{ItemStruct, Type, parse_macro_input, parse_quote};

fn change(item: TokenStream, change: impl FnOnce(&mut ItemStruct)) -> TokenStream {
    let mut item = parse_macro_input!(item as ItemStruct);
    change(&mut item);
    item.into_token_stream().into()
}

/// Aligns the struct to 64 bytes.
#[proc_macro_attribute]
pub fn realign(_: TokenStream, item: TokenStream) -> TokenStream {
    change(item, |item| item.attrs.push(parse_quote!(#[repr(align(64))])))
}

/// Takes every `repr` away.
#[proc_macro_attribute]
pub fn without_repr(_: TokenStream, item: TokenStream) -> TokenStream {
    change(item, |item| item.attrs.retain(|attribute| !attribute.path().is_ident("repr")))
}

/// Gives the first field this type.
#[proc_macro_attribute]
pub fn retype(ty: TokenStream, item: TokenStream) -> TokenStream {
    let ty = parse_macro_input!(ty as Type);
    change(item, |item| {
        if let Some(field) = item.fields.iter_mut().next() {
            field.ty = ty;
        }
    })
}

/// Puts a `u64` before the other fields.
#[proc_macro_attribute]
pub fn add_field(_: TokenStream, item: TokenStream) -> TokenStream {
    change(item, |item| {
        if let syn::Fields::Named(fields) = &mut item.fields {
            fields.named.insert(0, parse_quote!(added: u64));
        }
    })
}

/// Puts a struct in the place of an enum, with constants called as two of its variants.
#[proc_macro_attribute]
pub fn into_struct(_: TokenStream, item: TokenStream) -> TokenStream {
    let name = parse_macro_input!(item as syn::ItemEnum).ident;
    quote::quote! {
        struct #name(::std::num::NonZero<u8>);
        impl #name {
            #[allow(non_upper_case_globals)]
            const A: u8 = 0;
            #[allow(non_upper_case_globals)]
            const B: u8 = 1;
        }
    }
    .into()
}
