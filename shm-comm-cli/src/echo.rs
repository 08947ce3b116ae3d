//! `shm-comm echo`: the messages of a channel, whatever they are.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use shm_comm::{Invalid, MessageInfo, Observed, Observer, Pattern, Start};

use crate::args::Echo;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::record::{Columns, Record};
use crate::{say, text};

/// How long to wait at a time.
const SLICE: Duration = Duration::from_millis(100);
/// After so long without a message it is worth saying that nobody publishes.
pub const SILENCE: Duration = Duration::from_secs(1);

pub fn run(
    folder: &Folder,
    options: &Echo,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    folder.expect_published(&options.channel, options.wait)?;
    let start = if options.oldest { Start::Oldest } else { Start::Next };
    let mut observer = Observer::with(folder.channel(&options.channel), start)?;
    if let Some(schema) = observer.schema() {
        Record::check_fields(schema, &options.fields)?;
    }
    let form = Form::of(options, json);
    let garbage = Garbage::default();
    let mut printer = Printer { options, form, has_printed: false, garbage, out };
    let default = if options.latest { 1 } else { u64::MAX };
    let mut left = options.count.unwrap_or(default);
    let mut heard = Instant::now();
    let mut is_silent = false;
    if options.latest
        && left > 0
        && let Some(newest) = observer.latest()?
    {
        left -= u64::from(printer.print(&newest)?);
    }
    while left > 0 {
        let found = match observer.try_recv()? {
            None => {
                // Now there is time for it.
                printer.out.flush()?;
                let left =
                    options.timeout.map_or(SLICE, |limit| limit.saturating_sub(heard.elapsed()));
                observer.recv_timeout(left.min(SLICE))?
            }
            found => found,
        };
        match found {
            Some(message) => {
                left -= u64::from(printer.print(&message)?);
                (heard, is_silent) = (Instant::now(), false);
            }
            None if options.timeout.is_some_and(|timeout| heard.elapsed() >= timeout) => {
                let what = format!("no message on channel {:?}", options.channel);
                return Err(Failure::TimedOut { what, waited: heard.elapsed() });
            }
            None if !is_silent && heard.elapsed() >= SILENCE => {
                is_silent = true;
                say_who_is_there(folder, &options.channel)?;
            }
            None => {}
        }
    }
    Ok(())
}

/// Why nothing comes, if it is for want of a publisher.
pub fn say_who_is_there(folder: &Folder, channel: &str) -> Result<(), Failure> {
    let info = folder.channel(channel).info()?;
    let published = info.iter().filter(|info| info.pattern == Pattern::PubSub);
    let alive = published.flat_map(|info| &info.publishers).any(|publisher| publisher.alive);
    if !alive {
        say(format_args!("channel {channel:?} has no publisher now; waiting for one"));
    }
    Ok(())
}

enum Form {
    People,
    Json,
    /// With its columns, once there is a message.
    Csv(Option<Columns>),
}

impl Form {
    fn of(options: &Echo, json: bool) -> Form {
        match options.csv {
            true => Form::Csv(None),
            false if json => Form::Json,
            false => Form::People,
        }
    }
}

struct Printer<'p, W> {
    options: &'p Echo,
    form: Form,
    has_printed: bool,
    garbage: Garbage,
    out: &'p mut W,
}

/// Messages that are none, of which there may be very many.
#[derive(Default)]
struct Garbage {
    said: Option<Instant>,
    /// Since then.
    more: u64,
}

impl Garbage {
    fn add(&mut self, info: &MessageInfo, invalid: &Invalid) {
        if self.said.is_some_and(|said| said.elapsed() < SILENCE) {
            self.more += 1;
            return;
        }
        let (number, publisher) = (info.sequence, info.publisher.ring);
        let invalid = text::shown(&invalid.to_string());
        let more = match self.more {
            0 => String::new(),
            more => format!(" (and {more} others before it)"),
        };
        say(format_args!("message {number} of publisher {publisher}: {invalid}{more}"));
        (self.said, self.more) = (Some(Instant::now()), 0);
    }
}

impl<W: Write> Printer<'_, W> {
    /// Says whether there was anything to print.
    fn print(&mut self, message: &Observed) -> Result<bool, Failure> {
        let info = &message.info;
        let view = match message.view() {
            Ok(view) => view,
            Err(invalid) => {
                // Somebody has published garbage. The next message may be a good one.
                self.garbage.add(info, &invalid);
                return Ok(false);
            }
        };
        let fields = &self.options.fields;
        let record = Record::of(&view, info, self.options.meta, fields, self.has_printed)?;
        self.has_printed = true;
        match &mut self.form {
            Form::Json => {
                text::json_line(self.out, &record)?;
            }
            Form::Csv(columns) => {
                match columns {
                    None => {
                        let new = Columns::of(&message.schema, &record);
                        write_line(self.out, new.header())?;
                        *columns = Some(new);
                    }
                    // What has other fields would be under the wrong names.
                    Some(columns) => columns.check(&message.schema, &self.options.channel)?,
                }
                if let Some(columns) = columns {
                    write_line(self.out, columns.row(&record))?;
                }
            }
            Form::People => record.write_for_people(self.out)?,
        }
        Ok(true)
    }
}

/// A terminal would obey what texts contain; a file is to have it as it is.
fn write_line(
    out: &mut impl Write,
    cells: impl IntoIterator<Item = String>,
) -> Result<(), Failure> {
    let is_terminal = io::stdout().is_terminal();
    let cells = cells.into_iter().map(|cell| if is_terminal { text::shown(&cell) } else { cell });
    let mut line = csv::Writer::from_writer(out);
    line.write_record(cells)?;
    Ok(line.flush()?)
}
