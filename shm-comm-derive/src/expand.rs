//! From a message that breaks no rule to code. Nothing here can fail.
//!
//! Names are written out in full (`::core::…`, `::shm_comm::__private::…`), so that whatever the
//! programmer calls `Result` or `bool` does no harm. Everything about one field carries the span of
//! that field, so that the compiler underlines it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Member;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::check::{Checked, Integer};
use crate::model::{Field, Message, Variant};

pub fn expand(checked: &Checked) -> TokenStream {
    match *checked {
        Checked::Struct { message, fields } => expand_struct(message, fields),
        Checked::Enum { message, repr, variants } => expand_enum(message, repr, variants),
    }
}

/// The errors, and implementations that are good for nothing: without them, every use of the message
/// would be one more error. They are never run, as nothing with an error is.
pub fn refuse(message: &Message, errors: Option<syn::Error>) -> TokenStream {
    let errors = errors.map(syn::Error::into_compile_error);
    let ident = message.ident;
    let (impl_generics, ty_generics, where_clause) = message.generics.split_for_impl();
    let bounds = where_clause.map(|clause| clause.predicates.iter()).into_iter().flatten();
    quote! {
        #errors

        #[automatically_derived]
        unsafe impl #impl_generics ::core::marker::Send for #ident #ty_generics #where_clause {}
        #[automatically_derived]
        unsafe impl #impl_generics ::core::marker::Sync for #ident #ty_generics #where_clause {}
        #[automatically_derived]
        unsafe impl #impl_generics ::shm_comm::__private::ShmMessage for #ident #ty_generics
        where
            #(#bounds,)*
            #ident #ty_generics: 'static,
        {
            const ZERO_IS_VALID: ::core::primitive::bool = true;
            const PLAIN: ::core::primitive::bool = true;
            const LAYOUT: ::shm_comm::__private::Layout =
                ::shm_comm::__private::Layout::of::<::core::primitive::u8>();
            type Word = ::core::primitive::u8;

            fn schema() -> ::shm_comm::__private::Schema {
                <::core::primitive::u8 as ::shm_comm::__private::ShmMessage>::schema()
            }

            fn check(
                _: &[::core::primitive::u8],
            ) -> ::core::result::Result<(), ::shm_comm::__private::Invalid> {
                ::core::result::Result::Ok(())
            }

            ::shm_comm::__private::__shm_sized!();
        }
    }
}

fn expand_struct(message: &Message, fields: &[Field]) -> TokenStream {
    let ident = message.ident;
    let rust_name = message.ident.unraw().to_string();
    let schema_name = &message.name;
    let is_tuple = fields.iter().any(|field| matches!(field.member, Member::Unnamed(_)));
    let first_free_pad = first_free_pad(fields);
    let members = fields.iter().map(|Field { member, name, ty, .. }| {
        let new = quote_spanned!(ty.span()=> ::shm_comm::__private::Member::new::<#ty>);
        quote!(#new(#name, ::core::mem::offset_of!(#ident, #member)))
    });
    // An attribute below the derive can give a field another type than the one that is seen here.
    // In an `Option` that was bound before, a reference is not coerced into one that fits.
    let same_types = fields.iter().map(|Field { member, ty, .. }| {
        quote_spanned! {ty.span()=>
            const _: fn(&#ident) = |__shm_this| {
                let #ident { #member: __shm_field, .. } = __shm_this;
                let __shm_field = ::core::option::Option::Some(__shm_field);
                let _: ::core::option::Option<&#ty> = __shm_field;
            };
        }
    });
    let gaps = fields.iter().enumerate().map(|(i, field)| {
        panic_if(
            &field.member,
            quote!(__SHM.gap_after(#i) != 0),
            quote!(__SHM.explain_gap_after(#i).as_str()),
        )
    });
    let uncovered = panic_if(
        ident,
        quote!(!__SHM.is_covered()),
        format!(
            "`{rust_name}`: its fields do not make up its bytes; does an attribute add a field? \
             put it above the derive"
        ),
    );
    let destructor = refuse_destructor(
        message,
        quote!(::core::mem::needs_drop::<#ident>() && !__SHM.has_field_to_drop()),
    );

    let in_schema = fields.iter().enumerate().filter(|(_, field)| !field.is_padding());
    let in_schema = in_schema.map(|(i, _)| i);
    let all = 0..fields.len();
    let word = fields.iter().fold(quote!(::core::primitive::u8), |word, Field { ty, .. }| {
        quote! {
            <#word as ::shm_comm::__private::Word>::Max<
                <#ty as ::shm_comm::__private::ShmMessage>::Word
            >
        }
    });
    quote! {
        #[allow(deprecated)]
        const _: () = {
            const __SHM: ::shm_comm::__private::Struct = ::shm_comm::__private::Struct {
                name: #rust_name,
                size: ::core::mem::size_of::<#ident>(),
                members: &[#(#members),*],
                is_tuple: #is_tuple,
                first_free_pad: #first_free_pad,
            };
            #(#same_types)*
            #(#gaps)*
            #uncovered
            #destructor

            // SAFETY: The fields are of these types, messages, and all bytes (all asserted above), so there
            // is no padding, no pointer, and no destructor (asserted); `SCHEMA` is taken from the
            // layout itself, and the rest holds if it holds for every field.
            #[automatically_derived]
            unsafe impl ::shm_comm::__private::ShmMessage for #ident {
                const ZERO_IS_VALID: ::core::primitive::bool = __SHM.zero_is_valid();
                const PLAIN: ::core::primitive::bool = __SHM.plain();
                const LAYOUT: ::shm_comm::__private::Layout =
                    ::shm_comm::__private::Layout::of::<#ident>().but(
                        const { &__SHM.zero_obstacle() }.as_str(),
                        const { &__SHM.plain_obstacle() }.as_str(),
                    );
                type Word = #word;

                fn schema() -> ::shm_comm::__private::Schema {
                    ::shm_comm::__private::Schema {
                        size: ::core::mem::size_of::<#ident>(),
                        align: ::core::mem::align_of::<#ident>(),
                        kind: ::shm_comm::__private::Kind::Struct {
                            name: ::std::string::String::from(#schema_name),
                            fields: ::std::vec![#(__SHM.members[#in_schema].field()),*],
                        },
                    }
                }

                ::shm_comm::__private::__shm_sized!();

                #[inline]
                fn check(
                    bytes: &[::core::primitive::u8],
                ) -> ::core::result::Result<(), ::shm_comm::__private::Invalid> {
                    if !__SHM.plain() {
                        #(__SHM.members[#all].check(bytes)?;)*
                    }
                    ::core::result::Result::Ok(())
                }
            }
        };
    }
}

fn expand_enum(message: &Message, repr: Integer, variants: &[Variant]) -> TokenStream {
    let ident = message.ident;
    let rust_name = message.ident.unraw().to_string();
    let schema_name = &message.name;
    let Integer { name: integer, primitive, size } = repr;
    let integer = Ident::new(integer, Span::call_site());
    let integer = quote!(::core::primitive::#integer);
    let primitive = Ident::new(primitive, Span::call_site());

    let names = variants.iter().map(|variant| &variant.name);
    let idents: Vec<_> = variants.iter().map(|variant| variant.ident).collect();
    let quoted = format!("`{rust_name}`");
    let no_zero = format!("`{rust_name}`, which has no variant with value 0");
    let not_plain = format!("`{rust_name}`, which is only ever one of its variants");
    let destructor = refuse_destructor(message, quote!(::core::mem::needs_drop::<#ident>()));
    quote! {
        #[allow(deprecated)]
        const _: () = {
            const __SHM_ZERO: ::core::primitive::bool = #(#ident::#idents as #integer == 0)||*;
            #destructor

            // SAFETY: With this `repr` the enum is its integer, so that there is no padding and no
            // pointer, and no destructor (asserted); `check` accepts the variants' values only.
            #[automatically_derived]
            unsafe impl ::shm_comm::__private::ShmMessage for #ident {
                const ZERO_IS_VALID: ::core::primitive::bool = __SHM_ZERO;
                const PLAIN: ::core::primitive::bool = false;
                const LAYOUT: ::shm_comm::__private::Layout =
                    ::shm_comm::__private::Layout::of::<#ident>().but(
                        if __SHM_ZERO { "" } else { #no_zero },
                        #not_plain,
                    );
                type Word = <#integer as ::shm_comm::__private::ShmMessage>::Word;

                fn schema() -> ::shm_comm::__private::Schema {
                    ::shm_comm::__private::Schema {
                        size: ::core::mem::size_of::<#ident>(),
                        align: ::core::mem::align_of::<#ident>(),
                        kind: ::shm_comm::__private::Kind::Enum {
                            name: ::std::string::String::from(#schema_name),
                            repr: ::shm_comm::__private::Primitive::#primitive,
                            variants: ::std::vec![#(
                                ::shm_comm::__private::Variant {
                                    name: ::std::string::String::from(#names),
                                    value: #ident::#idents as ::core::primitive::i128,
                                }
                            ),*],
                        },
                    }
                }

                ::shm_comm::__private::__shm_sized!();

                #[inline]
                fn check(
                    bytes: &[::core::primitive::u8],
                ) -> ::core::result::Result<(), ::shm_comm::__private::Invalid> {
                    let value = match <[::core::primitive::u8; #size] as
                        ::core::convert::TryFrom<&[::core::primitive::u8]>>::try_from(bytes)
                    {
                        ::core::result::Result::Ok(bytes) => #integer::from_ne_bytes(bytes),
                        ::core::result::Result::Err(_) => {
                            return ::core::result::Result::Err(
                                ::shm_comm::__private::cut_off(bytes),
                            );
                        }
                    };
                    if #(value == #ident::#idents as #integer)||* {
                        ::core::result::Result::Ok(())
                    } else {
                        ::core::result::Result::Err(
                            ::shm_comm::__private::Invalid::new(value, #quoted),
                        )
                    }
                }
            }
        };
    }
}

fn refuse_destructor(message: &Message, condition: TokenStream) -> TokenStream {
    let ident = message.ident;
    let text = format!(
        "`{}` has a destructor, but nobody drops a message, as it is bytes that several processes \
         read: remove `impl Drop`",
        ident.unraw()
    );
    panic_if(ident, condition, text)
}

/// A constant whose evaluation fails, with `text` as the error, underlined at `place`.
fn panic_if(place: &impl ToTokens, condition: TokenStream, text: impl ToTokens) -> TokenStream {
    let panic = quote_spanned!(place.span()=> ::core::panic!("{}", #text));
    quote! {
        const _: () = if #condition {
            #panic
        };
    }
}

/// One more than the highest number behind a `_pad`.
fn first_free_pad(fields: &[Field]) -> usize {
    let number = |field: &Field| field.name.strip_prefix("_pad")?.parse::<u16>().ok();
    fields.iter().filter_map(number).max().map_or(0, |highest| usize::from(highest) + 1)
}
