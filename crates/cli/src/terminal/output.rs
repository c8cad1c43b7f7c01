//! What the commands print: data on stdout, talk on stderr, and nothing else anywhere.
//!
//! Text that came from a server or a file may hold control characters that a terminal would obey; `shown`
//! takes them out of everything that goes into a table. A reader that closes the pipe ends the command
//! without an error.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};

use clap::ValueEnum;
use comfy_table::{Table, presets};

use crate::terminal::exit::{Exit, Failure};

/// How data is printed: for people, or the API's own JSON. Help on the variants would make clap's help twice
/// as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// Characters of one cell; what is longer ends with `…`. Long enough for any message of the server.
const CELL_CHARS_MAX: usize = 400;

/// Prints one line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(refused)
}

/// Prints bytes as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    io::stdout().lock().write_all(bytes).map_err(refused)
}

/// Sends out what is buffered; a follower calls it whenever it goes back to waiting.
pub(crate) fn flush() -> Result<(), Failure> {
    io::stdout().lock().flush().map_err(refused)
}

/// Says something to the person at the terminal.
pub(crate) fn talk(text: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn refused(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::new(Exit::Usage, format!("cannot write to stdout: {error}")),
    }
}

/// Prints rows under a header.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    raw(render(Some(header), rows).as_bytes())
}

/// Prints names with their values, one a line.
pub(crate) fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Result<(), Failure> {
    raw(render(None, pairs.into_iter().map(|(name, value)| [name.to_owned(), value])).as_bytes())
}

fn render<const N: usize>(header: Option<[&str; N]>, rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(header) = header {
        table.set_header(header.map(str::to_uppercase));
    }
    for row in rows {
        table.add_row(row.map(|cell| shown(&cell, CELL_CHARS_MAX)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Text that is safe on a terminal: control characters escaped, at most `chars_max` characters of it.
pub(crate) fn shown(text: &str, chars_max: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(chars_max));
    for (count, char) in text.chars().enumerate() {
        if count == chars_max {
            safe.push('…');
            break;
        }
        if char.is_control() {
            // Writing to a string does not fail.
            let _ = write!(safe, "{}", char.escape_default());
        } else {
            safe.push(char);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [["1".to_owned(), "order".to_owned()], ["100".to_owned(), "x".to_owned()]];
        assert_eq!(render(Some(["seq", "type"]), rows), "SEQ  TYPE\n1    order\n100  x\n");
        assert_eq!(render(None, [["head".to_owned(), "7".to_owned()]]), "head  7\n");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_from_others() {
        assert_eq!(shown("a\u{1b}[2Jb\n", 20), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown("äöü", 2), "äö…");
        assert!(!render(Some(["x"]), [["\u{1b}]0;owned\u{7}".to_owned()]]).contains('\u{1b}'));
    }
}
