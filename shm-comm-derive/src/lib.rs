//! `#[derive(ShmMessage)]` for the crate `shm-comm`.
//!
//! Three steps, one file each: `model` (what the programmer wrote, with spans), `check` (every rule,
//! every error at once; the list of `standard` types is a file of its own), `expand` (which cannot
//! fail). The expansion stays short, because what it computes is computed by constant functions of
//! `shm_comm::__private`.

mod check;
mod expand;
mod model;
mod standard;

use proc_macro::TokenStream;
use syn::DeriveInput;

/// Makes a struct of plain data, or an enum without fields, a message.
///
/// ```
/// use shm_comm::ShmMessage;
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Sample {
///     stamp: u64,
///     values: [f32; 3],
///     gripper: Gripper,
///     _pad0: [u8; 3],
/// }
///
/// #[derive(ShmMessage)]
/// #[repr(u8)]
/// enum Gripper {
///     Open = 0,
///     Closed = 1,
/// }
///
/// assert_eq!(
///     Sample::SCHEMA.canonical(),
///     "Sample{stamp@0:u64,values@8:[f32;3],gripper@20:Gripper:u8{Open=0,Closed=1}}24/8",
/// );
/// ```
///
/// # Structs
///
/// They carry `#[repr(C)]`, also `#[repr(C, align(…))]` or `#[repr(transparent)]`, so that every
/// compiler and every language puts the fields in the same places. Fields are numbers, `bool`,
/// `char`, arrays and other messages. Padding is written down: no byte of a message is left over, as
/// it would carry old memory into other processes. The error for a gap shows the line to insert.
/// Fields named `_pad…` are `[u8; N]` and are no part of the schema.
///
/// # Enums
///
/// They carry the integer that holds the value, `#[repr(u8)]` to `#[repr(i64)]`, and have no fields.
/// A received value that is no variant is an error, not undefined behaviour.
///
/// # `#[shm(name = "geometry/Pose")]`
///
/// Gives the message another name in its schema than that of the Rust type. Letters, digits and
/// `_ / . -` are allowed.
#[proc_macro_derive(ShmMessage, attributes(shm))]
pub fn derive_shm_message(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive(&input).into()
}

fn derive(input: &DeriveInput) -> proc_macro2::TokenStream {
    let mut errors = Errors::default();
    let message = model::Message::parse(input, &mut errors);
    let checked = check::check(&message, &mut errors);
    match (checked, errors.first) {
        (Some(checked), None) => expand::expand(&checked),
        (_, errors) => expand::refuse(&message, errors),
    }
}

/// All that is wrong with one message, so that it is mended in one go.
#[derive(Default)]
struct Errors {
    first: Option<syn::Error>,
}

impl Errors {
    fn push(&mut self, error: syn::Error) {
        match &mut self.first {
            Some(first) => first.combine(error),
            None => self.first = Some(error),
        }
    }

    /// An error that underlines `tokens`.
    fn at(&mut self, tokens: impl quote::ToTokens, text: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, text));
    }
}
