//! Texts, numbers and tables for people, lines for programs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use shm_comm::{ChannelInfo, Pattern};

/// A name as it can be shown: names come from other processes, and a terminal obeys what they contain.
pub fn shown(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\'' | '"' | '\\' => shown.push(c),
            // What changes nothing where it stands is shown as it is.
            c => c.escape_debug().for_each(|c| shown.push(c)),
        }
    }
    shown
}

/// `28 KiB`, `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// `5.6 kB/s`.
pub fn bandwidth(bytes_per_second: f64) -> String {
    scaled(bytes_per_second, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        // What would be rounded up to the next unit is one.
        if number < step - 0.5 {
            break;
        }
        number /= step;
        unit = next;
    }
    let digits = if number >= 10.0 || number.fract() == 0.0 { 0 } else { 1 };
    format!("{number:.digits$} {unit}")
}

/// `99.8 Hz`, `1003 Hz`, `1.21 MHz`.
pub fn rate(hz: f64) -> String {
    match hz {
        hz if hz >= 1e6 => format!("{:.2} MHz", hz / 1e6),
        hz if hz >= 1e5 => format!("{:.1} kHz", hz / 1e3),
        hz if hz >= 1e3 => format!("{hz:.0} Hz"),
        hz if hz >= 10.0 => format!("{hz:.1} Hz"),
        0.0 => "0 Hz".to_owned(),
        hz => format!("{hz:.2} Hz"),
    }
}

/// `12 ns`, `9.98 ms`.
pub fn time(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// `1 publisher`, `2 publishers`.
pub fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What the participants of a channel are called: those who have the places of publishers, and the others.
pub fn participants(pattern: Pattern) -> (&'static str, &'static str) {
    match pattern {
        Pattern::Queue => ("pusher", "puller"),
        Pattern::Service => ("server", "client"),
        _ => ("publisher", "subscriber"),
    }
}

/// What a channel carries: of a service requests, and what they are answered with.
pub fn type_of(info: &ChannelInfo) -> String {
    match &info.reply {
        Some(reply) => format!("{} -> {}", info.type_name, reply.type_name),
        None => info.type_name.clone(),
    }
}

/// An object on a line of its own, for programs.
pub fn json_line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    writeln!(out)
}

/// A table without lines; the columns of `right` are aligned to the right.
pub fn table<R>(header: &[&str], right: &[usize], rows: R) -> String
where
    R: IntoIterator<Item = Vec<String>>,
{
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_that_fit() {
        assert_eq!([0, 28 << 10, 1_300_000].map(bytes), ["0 B", "28 KiB", "1.2 MiB"]);
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
        assert_eq!(bandwidth(5_600.0), "5.6 kB/s");
        assert_eq!(
            [0.5, 99.84, 1003.2, 1.2e6].map(rate),
            ["0.50 Hz", "99.8 Hz", "1003 Hz", "1.20 MHz"]
        );
        assert_eq!(time(Duration::from_nanos(9_984_000)), "9.98 ms");
        assert_eq!(
            (count(1, "message"), count(0, "message")),
            ("1 message".into(), "0 messages".into())
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(shown("robot/pose"), "robot/pose");
        assert_eq!(shown("größe \"x\""), "größe \"x\"");
        assert_eq!(shown("a\u{1b}[2Jb\n\u{202e}"), "a\\u{1b}[2Jb\\n\\u{202e}");
    }

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let rows =
            [vec!["größe".to_owned(), "1".to_owned()], vec!["位置".to_owned(), "20".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &[1], rows), "NAME    N\ngröße   1\n位置   20\n");
    }
}
