//! Everything that reaches a terminal or a pipe goes through here: results to standard output,
//! progress and remarks to standard error. Never decides what a command does.

pub(crate) mod colour;
pub(crate) mod confirm;
pub(crate) mod live;
pub(crate) mod problems;
pub(crate) mod table;
pub(crate) mod time;

use std::{
    io::{self, Write},
    sync::Mutex,
};

use serde::Serialize;

use crate::failure::{Failure, Outcome};
use table::{Cell, Table};

/// `-o` of commands that list or show things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON with stable field names.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// `-o` of commands that print one line after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StreamFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Something that can be a row.
pub(crate) trait Row: Serialize {
    fn name(&self) -> String;
    fn header(wide: bool) -> Vec<&'static str>;
    fn cells(&self, wide: bool) -> Vec<Cell>;
}

/// Writes one line to standard output. A reader that has gone away ends the process quietly, as it
/// does for other tools in a pipe.
pub(crate) fn line(text: impl AsRef<str>) {
    write(&mut io::stdout().lock(), text.as_ref());
}

/// Writes one line to standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    write(&mut io::stderr().lock(), text.as_ref());
}

fn write(out: &mut impl Write, text: &str) {
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Prints rows in the format asked for. `empty` is what a person reads when there are none.
pub(crate) fn rows<T: Row>(format: Format, rows: &[T], empty: &str) -> Outcome {
    match format {
        Format::Json | Format::Yaml => return document(format, &rows),
        Format::Name => rows.iter().for_each(|row| line(row.name())),
        Format::Table | Format::Wide if rows.is_empty() => note(empty),
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            let mut table = Table::new(T::header(wide));
            for row in rows {
                table.push(row.cells(wide));
            }
            line(table.render(colour::stdout()));
        }
    }
    Ok(())
}

/// Prints one value as JSON or YAML; other formats as JSON too.
pub(crate) fn document<T: Serialize + ?Sized>(format: Format, value: &T) -> Outcome {
    let text = match format {
        Format::Yaml => serde_norway::to_string(value)
            .map_err(|error| Failure::failed("can't write YAML").why(error))?,
        _ => serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed("can't write JSON").why(error))?,
    };
    line(text.trim_end());
    Ok(())
}

/// Prints one value as one line of JSON.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Outcome {
    line(
        serde_json::to_string(value)
            .map_err(|error| Failure::failed("can't write JSON").why(error))?,
    );
    Ok(())
}

static ON_INTERRUPT: Mutex<Option<String>> = Mutex::new(None);

/// What to tell a person who presses Ctrl-C from now on.
pub(crate) fn on_interrupt(text: impl Into<String>) {
    if let Ok(mut slot) = ON_INTERRUPT.lock() {
        *slot = Some(text.into());
    }
}

/// The last text of [`on_interrupt`].
pub(crate) fn interrupt_note() -> Option<String> {
    ON_INTERRUPT.lock().ok().and_then(|mut slot| slot.take())
}
