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
/// use shm_comm::{Schema, ShmMessage, ShmString};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Sample {
///     stamp: u64,
///     values: [f32; 3],
///     sensor: ShmString<11>,
///     gripper: Gripper,
///     _pad0: [u8; 4],
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
///     Schema::of::<Sample>().canonical(),
///     "Sample{stamp@0:u64,values@8:[f32;3],sensor@20:string<11>,\
///      gripper@35:Gripper:u8{Open=0,Closed=1}}40/8",
/// );
/// ```
///
/// # Structs
///
/// They carry `#[repr(C)]`, also `#[repr(C, align(…))]` or `#[repr(transparent)]`, so that every
/// compiler and every language puts the fields in the same places. Fields are numbers of fixed width,
/// `bool`, `char`, `NonZero`, arrays, `ShmString`, `ShmVec`, `ShmOption`, and other messages.
///
/// # Padding
///
/// It is written down: no byte of a message is left over, as it would carry old memory into other
/// processes. The error for a gap shows the line to insert, or the order of the fields that leaves no
/// gap. Fields named `_pad…` are `[u8; N]`, and are no part of the schema.
///
/// Padding is to be zero. The derive cannot see to that, as the field is written by whoever makes the
/// value: write `_pad0: [0; 4]`, or begin with `LoanUninit::zeroed`, and never keep anything there. On
/// receive nobody looks at it.
///
/// # Generic messages
///
/// ```
/// use shm_comm::{Schema, ShmMessage};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Stamped<T> {
///     stamp: u64,
///     value: T,
/// }
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct JointState<const N: usize> {
///     angles: [f64; N],
/// }
///
/// assert_eq!(Schema::of::<Stamped<JointState<7>>>().name(), "Stamped<JointState<7>>");
/// ```
///
/// Every type parameter must be a message. Whether there is padding depends on the arguments, and is
/// found where they are known: by `cargo build`, not by `cargo check`, for every type that is used as
/// a message. The types of fields that mention parameters must be as public as the message.
///
/// # Messages that end in a slice
///
/// ```
/// use shm_comm::{Schema, ShmMessage};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Image {
///     width: u32,
///     height: u32,
///     pixels: [[u8; 3]],
/// }
///
/// assert_eq!(
///     Schema::of::<Image>().canonical(),
///     "Image{width@0:u32,height@4:u32,pixels@8:[[u8;3]]}8/4",
/// );
/// ```
///
/// The last field may be a slice; then a message has as many elements as it is loaned with. There is
/// no gap before the slice. What is behind its last element, up to the alignment of the message, is
/// zeroed by the library.
///
/// # Enums
///
/// They carry the integer that holds the value, `#[repr(u8)]` to `#[repr(i64)]`, and have no fields.
/// A received value that is no variant is an error, not undefined behaviour.
///
/// # `#[shm(name = "geometry/Pose")]`
///
/// Gives the message another name in its schema than that of the Rust type. Letters, digits and
/// `_ / . -` are allowed. The arguments of a generic message are appended all the same.
///
/// # `#[shm(pod = "[f64; 3]")]` on a field
///
/// Admits a type of another crate that is `bytemuck::Pod`, and says which message it is in the schema:
/// one of which every bit pattern is a value, and of the same size and alignment.
///
/// ```
/// # mod glam {
/// #     #[derive(Clone, Copy)]
/// #     #[repr(C)]
/// #     pub struct DVec3 { x: f64, y: f64, z: f64 }
/// #     unsafe impl bytemuck::Zeroable for DVec3 {}
/// #     unsafe impl bytemuck::Pod for DVec3 {}
/// # }
/// use shm_comm::{Schema, ShmMessage};
///
/// #[derive(ShmMessage)]
/// #[repr(C)]
/// struct Wrench {
///     #[shm(pod = "[f64; 3]")]
///     force: glam::DVec3,
///     #[shm(pod = "[f64; 3]")]
///     torque: glam::DVec3,
/// }
///
/// assert_eq!(
///     Schema::of::<Wrench>().canonical(),
///     "Wrench{force@0:[f64;3],torque@24:[f64;3]}48/8",
/// );
/// ```
///
/// # `#[shm(bytemuck)]`
///
/// Also implements `bytemuck::Zeroable` and `Pod`, for a `Copy` struct of which every bit pattern is a
/// value. Of generic structs only for those that are `#[repr(transparent)]`.
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
