//! From a message that breaks no rule to code. Nothing here can fail.
//!
//! Names are written out in full (`::core::…`, `::shm_comm::__private::…`), so that whatever the
//! programmer calls `Result` or `bool` does no harm. Everything about one field carries the span of
//! that field, so that the compiler underlines it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{ConstParam, GenericParam, Generics, Member, Type, TypeParam, parse_quote};

use crate::check::{Checked, Integer};
use crate::model::{Field, Message, Variant, element};

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

            fn at(_: *mut ::core::primitive::u8, _: ::core::primitive::usize) -> *mut Self {
                loop {}
            }

            fn len_of(_: *const Self) -> ::core::primitive::usize {
                0
            }
        }
    }
}

fn expand_struct(message: &Message, fields: &[Field]) -> TokenStream {
    let ident = message.ident;
    let is_generic = is_generic(message.generics);
    let is_tuple = fields.iter().any(|field| matches!(field.member, Member::Unnamed(_)));
    let first_free_pad = first_free_pad(fields);
    // Padding is as visible as the other fields: whoever may not name it may not write the struct.
    let pad_visibility = fields.first().map_or_else(String::new, |field| match field.vis {
        syn::Visibility::Inherited => String::new(),
        vis => format!("{} ", vis.to_token_stream()),
    });
    let tail = fields.last().filter(|field| field.element().is_some());

    let generics = with_bounds(message, fields);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let this = quote!(#ident #ty_generics);
    let table = quote!(<#this as ::shm_comm::__private::Fields>::TABLE);

    let rust_name = name_with_parameters(message);
    let members = (0..fields.len()).map(|i| expand_member(fields, i));
    let (size, align) = match tail {
        None => (
            quote!(::shm_comm::__private::Facts::<Self>::SIZE),
            quote!(::shm_comm::__private::Facts::<Self>::ALIGN),
        ),
        // The compiler tells neither of a type without a size: what `repr(C)` says of them.
        Some(tail) => {
            let element = tail.element();
            let end = end_of_the_one_before(fields);
            let aligns = fields.iter().map(|field| field.element().unwrap_or(field.ty));
            let literal = message.align.unwrap_or(1);
            let align = aligns.fold(quote!(#literal), |align, ty| {
                quote!(::shm_comm::__private::max(#align, ::core::mem::align_of::<#ty>()))
            });
            (quote!((#end).next_multiple_of(::core::mem::align_of::<#element>())), align)
        }
    };

    let same_types = same_types(message, fields);
    let are_messages = are_messages(message, fields);
    let checks = checks_of_struct(message, fields, &table, &this);
    // What is known of a type without parameters is found where it is declared, all of it at once;
    // the rest where the type is used.
    let (at_declaration, at_use) = if is_generic {
        (TokenStream::new(), checks.iter().map(Check::as_statement).collect())
    } else {
        (checks.iter().map(Check::as_item).collect(), TokenStream::new())
    };
    // With the trait's name: zerocopy's `KnownLayout` has a `LAYOUT`, too.
    let touch_layout = is_generic.then(|| {
        quote! {
            const {
                ::core::assert!(<Self as ::shm_comm::__private::ShmMessage>::LAYOUT.align != 0)
            };
        }
    });

    let name = schema_name(message);
    let word = word(message, fields);
    let all = 0..fields.len();
    let pointers = match tail.and_then(Field::element) {
        None => quote! {
            #[inline(always)]
            fn at(
                __shm_start: *mut ::core::primitive::u8,
                _: ::core::primitive::usize,
            ) -> *mut Self {
                #touch_layout
                ::shm_comm::__private::Facts::<Self>::at(__shm_start)
            }

            #[inline(always)]
            fn len_of(_: *const Self) -> ::core::primitive::usize {
                0
            }
        },
        Some(element) => quote! {
            #[inline(always)]
            fn at(
                __shm_start: *mut ::core::primitive::u8,
                __shm_len: ::core::primitive::usize,
            ) -> *mut Self {
                #touch_layout
                ::core::ptr::slice_from_raw_parts_mut(__shm_start.cast::<#element>(), __shm_len)
                    as *mut Self
            }

            #[inline(always)]
            fn len_of(__shm_value: *const Self) -> ::core::primitive::usize {
                (__shm_value as *const [#element]).len()
            }
        },
    };
    let bytemuck = message.bytemuck.as_ref().map(|_| expand_bytemuck(message, fields));
    quote! {
        #[allow(deprecated, private_bounds)]
        const _: () = {
            #[allow(unused_imports)]
            use ::shm_comm::__private::NoFacts as _;

            #[automatically_derived]
            impl #impl_generics ::shm_comm::__private::Fields for #this #where_clause {
                const TABLE: ::shm_comm::__private::Struct = ::shm_comm::__private::Struct {
                    name: #rust_name,
                    size: #size,
                    align: #align,
                    members: &[#(#members),*],
                    is_tuple: #is_tuple,
                    is_generic: #is_generic,
                    first_free_pad: #first_free_pad,
                    pad_visibility: #pad_visibility,
                };
            }
            #same_types
            #are_messages
            #at_declaration

            // SAFETY: The fields are of these types, messages, and all bytes (all asserted, here or in
            // `LAYOUT`, which every use evaluates), so there is no padding, no pointer, and no destructor
            // (asserted); the schema is taken from the layout itself; a pointer with the length of a
            // slice is one to a struct that ends in it; and the rest holds if it holds for every field.
            #[automatically_derived]
            unsafe impl #impl_generics ::shm_comm::__private::ShmMessage for #this #where_clause {
                const ZERO_IS_VALID: ::core::primitive::bool = #table.zero_is_valid();
                const PLAIN: ::core::primitive::bool = #table.plain();
                const LAYOUT: ::shm_comm::__private::Layout = {
                    #at_use
                    #table.layout(<Self as ::shm_comm::__private::Fields>::OBSTACLES)
                };
                type Word = #word;

                fn schema() -> ::shm_comm::__private::Schema {
                    #touch_layout
                    #table.schema(#name)
                }

                #pointers

                #[inline]
                fn check(
                    __shm_bytes: &[::core::primitive::u8],
                ) -> ::core::result::Result<(), ::shm_comm::__private::Invalid> {
                    #touch_layout
                    if !<Self as ::shm_comm::__private::ShmMessage>::PLAIN {
                        #(const { &#table.members[#all] }.check(__shm_bytes)?;)*
                    }
                    ::core::result::Result::Ok(())
                }
            }

            #bytemuck
        };
    }
}

/// What is put down of a field in the table.
fn expand_member(fields: &[Field], i: usize) -> TokenStream {
    let Field { member, name, ty, pod, .. } = &fields[i];
    let span = ty.span();
    let place = match fields[i].element() {
        None => quote_spanned!(span=> ::core::mem::offset_of!(Self, #member)),
        Some(_) => end_of_the_one_before(fields),
    };
    let of = element(ty).unwrap_or(ty);
    let kind = match (fields[i].element(), pod) {
        (None, None) => quote!(new::<#of>),
        (Some(_), None) => quote!(slice::<#of>),
        (is_slice, Some(pod)) => {
            let shown = element(&pod.ty).unwrap_or(&pod.ty);
            let kind = if is_slice.is_some() { quote!(pod_slice) } else { quote!(pod) };
            quote!(#kind::<#of, #shown>)
        }
    };
    let new = quote_spanned!(span=> ::shm_comm::__private::Member::#kind);
    quote!(#new(#name, #place))
}

/// Where the field before the last one ends.
fn end_of_the_one_before(fields: &[Field]) -> TokenStream {
    match fields {
        [.., Field { member, ty, .. }, _] => {
            quote!(::core::mem::offset_of!(Self, #member) + ::core::mem::size_of::<#ty>())
        }
        _ => quote!(0usize),
    }
}

/// An attribute below the derive can give a field another type than the one that is seen here. (If it adds
/// a field, that is seen by the bytes.)
fn same_types(message: &Message, fields: &[Field]) -> TokenStream {
    let ident = message.ident;
    let generics = with_bounds(message, fields);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let this = quote!(#ident #ty_generics);
    // In an `Option` that was bound before, a reference is not coerced into one that fits.
    let same = fields.iter().map(|field| {
        let Field { member, ty, .. } = field;
        // What is hidden from others are bytes, whatever is called `u8` here.
        let ty = match ty {
            Type::Array(array) if field.is_padding() => {
                let len = &array.len;
                quote_spanned!(ty.span()=> [::core::primitive::u8; #len])
            }
            _ => ty.to_token_stream(),
        };
        quote_spanned! {field.ty.span()=>
            let _ = |__shm_this: &#this| {
                let #ident { #member: __shm_field, .. } = __shm_this;
                let __shm_field = ::core::option::Option::Some(__shm_field);
                let _: ::core::option::Option<&#ty> = __shm_field;
            };
        }
    });
    quote! {
        #[allow(clippy::multiple_bound_locations, clippy::extra_unused_type_parameters)]
        fn __shm_same_types #impl_generics () #where_clause {
            #(#same)*
        }
    }
}

/// A field that is no message is an error here, and nowhere else (of other messages, in the table).
fn are_messages(message: &Message, fields: &[Field]) -> TokenStream {
    let mut generics = message.generics.clone();
    bound_parameters(&mut generics);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let calls = compounds(message, fields)
        .map(|ty| quote_spanned!(ty.span()=> ::shm_comm::__private::is_message::<#ty>();));
    quote! {
        #[allow(clippy::multiple_bound_locations, clippy::extra_unused_type_parameters)]
        fn __shm_are_messages #impl_generics () #where_clause {
            #(#calls)*
        }
    }
}

/// What only the compiler can find out, and what is said if it does.
struct Check {
    place: Span,
    condition: TokenStream,
    text: TokenStream,
}

impl Check {
    fn new(place: &impl ToTokens, condition: TokenStream, text: impl ToTokens) -> Check {
        Check { place: place.span(), condition, text: text.to_token_stream() }
    }

    fn as_statement(&self) -> TokenStream {
        let Check { place, condition, text } = self;
        let panic = quote_spanned!(*place=> ::core::panic!("{}", #text));
        quote! {
            if #condition {
                #panic
            }
        }
    }

    fn as_item(&self) -> TokenStream {
        let statement = self.as_statement();
        quote!(const _: () = { #statement };)
    }
}

fn checks_of_struct(
    message: &Message,
    fields: &[Field],
    table: &TokenStream,
    this: &TokenStream,
) -> Vec<Check> {
    let ident = message.ident;
    let name = name_with_parameters(message);
    let mut checks = Vec::new();
    for field in fields {
        if let Some(pod) = &field.pod {
            let (ty, shown) = match (field.element(), element(&pod.ty)) {
                (Some(element), Some(shown)) => (element, shown),
                _ => (field.ty, &pod.ty),
            };
            let types = quote!(::<#ty, #shown>);
            let (name, text) = (&field.name, shown.to_token_stream().to_string());
            checks.push(Check::new(
                &pod.text,
                quote!(::shm_comm::__private::pod_differs #types()),
                quote!(::shm_comm::__private::explain_pod #types(#name, #text).as_str()),
            ));
        }
        if let Some(element) = field.element() {
            let text = format!(
                "the elements of `{}` have no size, so nobody could tell how many there are: use a \
                 count in `u64`",
                field.name
            );
            checks.push(Check::new(element, quote!(::core::mem::size_of::<#element>() == 0), text));
        }
    }
    if is_generic(message.generics) {
        let explain = quote!(#table.explain_gaps().as_str());
        checks.push(Check::new(ident, quote!(#table.has_gap()), explain));
    } else {
        let explain = quote!(#table.explain_gaps().as_str());
        checks.push(Check::new(ident, quote!(#table.order_matters()), explain));
        for (i, field) in fields.iter().enumerate() {
            checks.push(Check::new(
                &field.member,
                quote!(#table.gap_after(#i) != 0 && !#table.order_matters()),
                quote!(#table.explain_gap_after(#i).as_str()),
            ));
        }
    }
    checks.push(Check::new(
        ident,
        quote!(!#table.is_covered()),
        format!(
            "`{name}`: its fields do not make up its bytes; does an attribute add a field? \
             put it above the derive"
        ),
    ));
    if let Some((tail, element)) = fields.last().and_then(|tail| Some((tail, tail.element()?))) {
        checks.push(Check::new(
            ident,
            is_laid_out_differently(fields, tail, element, table, this),
            format!(
                "`{name}` is not laid out as its fields and `repr` say; does an attribute change it? \
                 put it above the derive"
            ),
        ));
    }
    checks.push(destructor(
        message,
        quote!(::core::mem::needs_drop::<#this>() && !#table.has_field_to_drop()),
    ));
    if let Some(bytemuck) = &message.bytemuck {
        let text =
            format!("`{name}` cannot be `bytemuck::Pod`, as not every bit pattern is a value: ");
        checks.push(Check::new(
            bytemuck,
            quote!(!<#this as ::shm_comm::__private::ShmMessage>::PLAIN),
            quote! {
                ::shm_comm::__private::Text::new()
                    .str(#text)
                    .str(<#this as ::shm_comm::__private::Fields>::OBSTACLES[1].as_str())
                    .as_str()
            },
        ));
    }
    checks
}

/// Whether an attribute below the derive has given a struct that ends in a slice another layout.
fn is_laid_out_differently(
    fields: &[Field],
    tail: &Field,
    element: &Type,
    table: &TokenStream,
    this: &TokenStream,
) -> TokenStream {
    let parts = fields.iter().map(|field| match field.element() {
        None => field.ty.to_token_stream(),
        Some(element) => quote!([#element; 1]),
    });
    let tail = &tail.member;
    quote! {{
        let __shm_room = ::shm_comm::__private::Room::<(#(#parts,)*)>::EMPTY;
        let __shm_start = __shm_room.start();
        let __shm_whole = ::core::ptr::slice_from_raw_parts(__shm_start.cast::<#element>(), 0)
            as *const ::shm_comm::__private::AfterAByte<#this>;
        // SAFETY: Addresses only: nothing is read, and no reference made. That they are in the room is
        // checked by the compiler, which computes them.
        let (__shm_align, __shm_tail) = unsafe {
            let __shm_value = &raw const (*__shm_whole).1;
            let __shm_tail = &raw const (*__shm_value).#tail;
            let __shm_tail = __shm_tail.cast::<::core::primitive::u8>();
            let __shm_value = __shm_value.cast::<::core::primitive::u8>();
            (__shm_value.offset_from(__shm_start), __shm_tail.offset_from(__shm_value))
        };
        !#table.is_laid_out(__shm_align, __shm_tail)
    }}
}

/// An integer of the same alignment.
///
/// It may not be said by the fields' own words: a field of a public message may be of a private type,
/// which an associated type must not name. That of parameters cannot be said in another way.
fn word(message: &Message, fields: &[Field]) -> TokenStream {
    let ident = message.ident;
    let of_align = |align: TokenStream| {
        quote! {
            <::shm_comm::__private::Alignment<{ #align }> as ::shm_comm::__private::HasWord>::Word
        }
    };
    if !is_generic(message.generics) {
        return of_align(quote!(<#ident as ::shm_comm::__private::Fields>::TABLE.align));
    }
    let align = message.align.unwrap_or(1);
    fields.iter().fold(of_align(quote!(#align)), |word, field| {
        let shown = element(field.shown()).unwrap_or(field.shown());
        let other = if mentions_parameters(shown.to_token_stream(), message.generics) {
            quote!(<#shown as ::shm_comm::__private::ShmMessage>::Word)
        } else {
            of_align(quote!(::core::mem::align_of::<#shown>()))
        };
        quote!(<#word as ::shm_comm::__private::Word>::Max<#other>)
    })
}

fn expand_bytemuck(message: &Message, fields: &[Field]) -> TokenStream {
    let ident = message.ident;
    let mut generics = with_bounds(message, fields);
    if is_generic(message.generics) {
        let clause = generics.make_where_clause();
        for Field { ty, .. } in fields {
            clause.predicates.push(parse_quote!(#ty: ::shm_comm::__private::bytemuck::Pod));
        }
    }
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let this = quote!(#ident #ty_generics);
    quote! {
        // SAFETY: A message has no padding, and is plain (asserted): every bit pattern is a value. If
        // it has parameters, it is transparent, and its field is `Pod`.
        #[automatically_derived]
        unsafe impl #impl_generics ::shm_comm::__private::bytemuck::Zeroable for #this #where_clause {}
        // SAFETY: As above.
        #[automatically_derived]
        unsafe impl #impl_generics ::shm_comm::__private::bytemuck::Pod for #this #where_clause {}
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
    let destructor = destructor(message, quote!(::core::mem::needs_drop::<#ident>())).as_item();
    quote! {
        #[allow(deprecated)]
        const _: () = {
            const __SHM_ZERO: ::core::primitive::bool = #(#ident::#idents as #integer == 0)||*;
            // An attribute below the derive can put something else in its place.
            const _: () = {
                let _ = |__shm_value: &#ident| match __shm_value { #(#ident::#idents => (),)* };
                ::core::assert!(::core::mem::size_of::<#ident>() == #size);
            };
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
                    __shm_bytes: &[::core::primitive::u8],
                ) -> ::core::result::Result<(), ::shm_comm::__private::Invalid> {
                    let __shm_value = match <[::core::primitive::u8; #size] as
                        ::core::convert::TryFrom<&[::core::primitive::u8]>>::try_from(__shm_bytes)
                    {
                        ::core::result::Result::Ok(__shm_bytes) => {
                            #integer::from_ne_bytes(__shm_bytes)
                        }
                        ::core::result::Result::Err(_) => {
                            return ::core::result::Result::Err(
                                ::shm_comm::__private::cut_off(__shm_bytes),
                            );
                        }
                    };
                    if #(__shm_value == #ident::#idents as #integer)||* {
                        ::core::result::Result::Ok(())
                    } else {
                        ::core::result::Result::Err(
                            ::shm_comm::__private::Invalid::new(__shm_value, #quoted),
                        )
                    }
                }
            }
        };
    }
}

fn destructor(message: &Message, condition: TokenStream) -> Check {
    let ident = message.ident;
    let text = format!(
        "`{}` has a destructor, but nobody drops a message, as it is bytes that several processes \
         read: remove `impl Drop`",
        ident.unraw()
    );
    Check::new(ident, condition, text)
}

fn is_generic(generics: &Generics) -> bool {
    !generics.params.is_empty()
}

/// Parameters are messages, and so are fields of types that are made of them: that they are, where they
/// are, is asked by `are_messages`.
fn with_bounds(message: &Message, fields: &[Field]) -> Generics {
    let mut generics = message.generics.clone();
    bound_parameters(&mut generics);
    for ty in compounds(message, fields) {
        let clause = generics.make_where_clause();
        clause.predicates.push(parse_quote!(#ty: ::shm_comm::__private::ShmMessage));
    }
    generics
}

fn bound_parameters(generics: &mut Generics) {
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!(::shm_comm::__private::ShmMessage));
    }
}

/// The types of fields that mention parameters, and are more than one, or an array of one.
fn compounds<'f>(message: &Message, fields: &'f [Field]) -> impl Iterator<Item = &'f Type> {
    fn innermost(ty: &Type) -> &Type {
        match ty {
            Type::Array(array) => innermost(&array.elem),
            Type::Slice(slice) => innermost(&slice.elem),
            Type::Group(group) => innermost(&group.elem),
            Type::Paren(paren) => innermost(&paren.elem),
            _ => ty,
        }
    }
    let generics = message.generics;
    fields.iter().map(|field| innermost(field.shown())).filter(move |ty| {
        let is_parameter = matches!(ty, Type::Path(path)
            if path.path.get_ident().is_some_and(|ident| names(generics).any(|name| name == ident)));
        !is_parameter && mentions_parameters(ty.to_token_stream(), generics)
    })
}

fn mentions_parameters(tokens: TokenStream, generics: &Generics) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_parameters(group.stream(), generics),
        TokenTree::Ident(ident) => ident == "Self" || names(generics).any(|name| *name == ident),
        _ => false,
    })
}

/// Of types and constants: a message has no lifetimes.
fn names(generics: &Generics) -> impl Iterator<Item = &Ident> {
    generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(&param.ident),
        GenericParam::Const(param) => Some(&param.ident),
        _ => None,
    })
}

/// `Stamped<T>`, for errors.
fn name_with_parameters(message: &Message) -> String {
    let name = message.ident.unraw().to_string();
    let names: Vec<_> = names(message.generics).map(Ident::to_string).collect();
    if names.is_empty() { name } else { format!("{name}<{}>", names.join(", ")) }
}

/// The name in the schema, an expression of type `String`.
fn schema_name(message: &Message) -> TokenStream {
    let name = &message.name;
    if !is_generic(message.generics) {
        return quote!(::std::string::String::from(#name));
    }
    let arguments = message.generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(TypeParam { ident, .. }) => {
            Some(quote!(<#ident as ::shm_comm::__private::ShmMessage>::schema().name()))
        }
        GenericParam::Const(ConstParam { ident, .. }) => {
            Some(quote!(::std::string::ToString::to_string(&#ident)))
        }
        _ => None,
    });
    quote!(::shm_comm::__private::generic_name(#name, &[#(#arguments),*]))
}

/// One more than the highest number behind a `_pad`.
fn first_free_pad(fields: &[Field]) -> usize {
    let number = |field: &Field| field.name.strip_prefix("_pad")?.parse::<u16>().ok();
    fields.iter().filter_map(number).max().map_or(0, |highest| usize::from(highest) + 1)
}
