//! Mistakes with `#[derive(ShmMessage)]`, and what the compiler says about each.
//!
//! `TRYBUILD=overwrite cargo test -p shm-comm-tests --test derive_errors` writes the texts anew: read
//! the difference as the person would who made the mistake.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/derive_ok/*.rs");
    cases.compile_fail("tests/derive_errors/*.rs");
}
