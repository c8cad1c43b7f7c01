//! Progress on stderr: a bar where the end is known, counts where it isn't.
//!
//! Nothing is drawn if stderr is no terminal or with `--quiet`, so logs and pipes stay clean.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{bar:30} {decimal_bytes}/{decimal_total_bytes} {msg} eta {eta}";
const COUNT: &str = "{bar:30} {human_pos}/{human_len} {msg} eta {eta}";
const SPINNER: &str = "{spinner} {msg} {elapsed}";

/// Progress towards `len` bytes; counts only if that is unknown.
pub(crate) fn bytes(quiet: bool, len: Option<u64>) -> ProgressBar {
    bar(quiet, len, BYTES)
}

/// Progress towards `len` things; counts only if that is unknown.
pub(crate) fn count(quiet: bool, len: Option<u64>) -> ProgressBar {
    bar(quiet, len, COUNT)
}

fn bar(quiet: bool, len: Option<u64>, template: &str) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let (bar, template) = match len {
        Some(len) => (ProgressBar::new(len), template),
        None => (ProgressBar::new_spinner(), SPINNER),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_one() {
        for template in [BYTES, COUNT, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
