//! A plain message is not checked on receive: the compiler leaves nothing of the check.
//!
//! Shown in the assembly of three functions, built as a user builds a release: one that checks a plain
//! message, one that checks nothing, and one that checks a message with a `bool`.

use std::path::Path;
use std::process::Command;

const MANIFEST: &str = r#"
[package]
name = "no-check"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
shm-comm = { path = "{shm-comm}", default-features = false }
[profile.release]
codegen-units = 1
[workspace]
"#;

const SOURCE: &str = r#"
use shm_comm::ShmMessage;

#[derive(ShmMessage)]
#[repr(C)]
pub struct Plain {
    pub stamp: u64,
    pub values: [[f64; 3]; 4],
    pub inner: Inner,
    _pad0: [u8; 4],
}

#[derive(ShmMessage)]
#[repr(C)]
pub struct Inner {
    pub a: i32,
    pub b: [u16; 2],
    pub c: f32,
}

#[derive(ShmMessage)]
#[repr(C)]
pub struct WithBool {
    pub stamp: u64,
    pub values: [[f64; 3]; 4],
    pub flag: bool,
    _pad0: [u8; 7],
}

#[derive(ShmMessage)]
#[repr(C)]
pub struct Scan {
    pub stamp: u64,
    pub points: [Inner],
}

#[unsafe(no_mangle)]
pub fn checks_nothing(_: &[u8]) -> bool {
    true
}

#[unsafe(no_mangle)]
pub fn checks_plain(bytes: &[u8]) -> bool {
    Plain::check(bytes).is_ok()
}

#[unsafe(no_mangle)]
pub fn checks_scan(bytes: &[u8]) -> bool {
    Scan::check(bytes).is_ok()
}

#[unsafe(no_mangle)]
pub fn checks_bool(bytes: &[u8]) -> bool {
    WithBool::check(bytes).is_ok()
}
"#;

/// The instructions of a function; none if there is no such function.
fn instructions<'a>(assembly: &'a str, function: &str) -> Vec<&'a str> {
    let label = format!("{function}:");
    let body = assembly.lines().skip_while(|line| *line != label).skip(1);
    let body = body.take_while(|line| !line.contains("func_end"));
    let is_instruction = |line: &&str| {
        let text = line.trim_start();
        line.starts_with(char::is_whitespace) && !text.starts_with(['.', '#', '/'])
    };
    body.filter(is_instruction).map(str::trim).collect()
}

/// Two functions with the same body may have become one with two names.
fn same_as(assembly: &str, function: &str) -> Option<String> {
    let [set, is] = [format!(".set {function}, "), format!("{function} = ")];
    let other = |line: &str| line.strip_prefix(&set).or(line.strip_prefix(&is)).map(str::to_owned);
    assembly.lines().find_map(|line| other(line.trim()))
}

#[test]
fn of_the_check_of_a_plain_message_nothing_is_left() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-check");
    std::fs::create_dir_all(&folder).unwrap();
    let library = workspace.join("shm-comm");
    let manifest = MANIFEST.replace("{shm-comm}", library.to_str().unwrap());
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("lib.rs"), SOURCE).unwrap();
    // The versions that are there already.
    std::fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["rustc", "--release", "--offline", "--quiet", "--", "--emit=asm"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Older ones are those of older sources.
    let assembly = std::fs::read_dir(folder.join("target/release/deps"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "s"))
        .max_by_key(|entry| entry.metadata().unwrap().modified().unwrap())
        .expect("the compiler has written assembly");
    let assembly = std::fs::read_to_string(assembly.path()).unwrap();

    let nothing = same_as(&assembly, "checks_nothing").unwrap_or("checks_nothing".to_owned());
    let nothing = instructions(&assembly, &nothing);
    assert!((1..=3).contains(&nothing.len()), "{nothing:?}");
    for function in ["checks_plain", "checks_scan"] {
        let body = same_as(&assembly, function).unwrap_or(function.to_owned());
        // Of `checks_nothing`, too, if that is the name the compiler has kept.
        assert_eq!(instructions(&assembly, &body), nothing, "{function} is {body}");
    }
    // This way of looking sees a check where there is one.
    let bool = instructions(&assembly, "checks_bool");
    assert!(bool.len() > nothing.len() + 2, "{bool:?}");
}
