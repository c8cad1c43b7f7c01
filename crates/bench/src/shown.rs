//! What is printed: figures on stdout, talk and progress on stderr.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::settings::Settings;

const COUNT: &str = "{bar:30} {human_pos}/{human_len} {msg} eta {eta}";

/// Prints one line of figures.
pub(crate) fn line(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Prints rows under a header.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.map(str::to_uppercase)).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    line(&table.trim_fmt())
}

/// Says something to the person at the terminal.
pub(crate) fn talk(text: &str) {
    // With stderr closed there is no reader.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Progress towards `count` things.
pub(crate) fn progress(settings: &Settings, count: u64, things: &'static str) -> ProgressBar {
    if settings.quiet() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count).with_message(things);
    if let Ok(style) = ProgressStyle::with_template(COUNT) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
