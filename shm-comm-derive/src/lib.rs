//! `#[derive(ShmMessage)]` for the crate `shm-comm`.

use proc_macro::TokenStream;

/// Derives `ShmMessage`.
#[proc_macro_derive(ShmMessage, attributes(shm))]
pub fn derive_shm_message(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
