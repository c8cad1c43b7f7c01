//! How a value is written where it goes: into an address, into Telegram's two markups.
//!
//! Only values are escaped; the template's own text is the author's, markup and all.

use std::fmt::Write as _;

/// Percent-encodes everything but the unreserved letters of RFC 3986.
pub(crate) fn percent(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// What must stand behind a backslash in Telegram's MarkdownV2, wherever it stands.
const MARKDOWN: &str = "_*[]()~`>#+-=|{}.!\\";

/// Escapes for MarkdownV2.
pub(crate) fn markdown(value: &str, out: &mut String) {
    for letter in value.chars() {
        if MARKDOWN.contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
}

/// Escapes for Telegram's HTML.
pub(crate) fn html(value: &str, out: &mut String) {
    for letter in value.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
}

/// Nothing to escape.
pub(crate) fn plain(value: &str, out: &mut String) {
    out.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: fn(&str, &mut String), value: &str) -> String {
        let mut out = String::new();
        escape(value, &mut out);
        out
    }

    #[test]
    fn each_place_has_its_escapes() {
        assert_eq!(escaped(percent, "a/b?c=d&é .."), "a%2Fb%3Fc%3Dd%26%C3%A9%20..");
        assert_eq!(escaped(markdown, "a.b-c_d!\\"), "a\\.b\\-c\\_d\\!\\\\");
        assert_eq!(escaped(html, "<b>&\""), "&lt;b&gt;&amp;&quot;");
    }
}
