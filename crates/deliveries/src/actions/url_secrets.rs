//! Which parts of an address are the key to something: tokens in its path, and values in its query.
//!
//! The user who gave the address knows its secrets; a user who reads the action later must not learn them. The name of a
//! value and the look of a text decide: a part that looks like no word counts as a secret, which only hides it.
//! Expressions of templates are no secrets, and no letter in them counts as a mark of the address.

use std::ops::Range;

use super::secrets::MASK;

/// Parts of a value's name that say that it is a secret.
const WORDS: [&str; 11] =
    ["auth", "token", "secret", "key", "cookie", "pass", "pwd", "sig", "credential", "session", "code"];

/// A value of a query that is shorter may be shown, unless its name says otherwise.
const VALUE_LETTERS_MIN: usize = 8;

/// Letters and digits in a row from which on they are no word.
const RUN_LETTERS_MIN: usize = 20;

/// A segment of a path that is shorter may be shown.
const SEGMENT_LETTERS_MIN: usize = 20;

/// The address with other texts in the place of its secrets. `instead` gets each one's place, `/INDEX` in the path and
/// `?NAME` or `?NAME#INDEX` in the query, and the text or the mask there; it keeps the text with none.
pub(crate) fn replaced(address: &str, mut instead: impl FnMut(String, &str) -> Option<String>) -> String {
    let mut text = String::with_capacity(address.len());
    let mut done = 0;
    for (place, range) in secrets(address) {
        if let Some(other) = instead(place, &address[range.clone()]) {
            text.push_str(&address[done..range.start]);
            text.push_str(&other);
            done = range.end;
        }
    }
    text.push_str(&address[done..]);
    text
}

/// The places of secrets and masks, in their order.
fn secrets(address: &str) -> Vec<(String, Range<usize>)> {
    let authority = address.find("://").map_or(0, |at| at + 3);
    let marks = marks(address);
    let first = |letters: &[u8], from: usize| {
        marks.iter().copied().find(|at| *at >= from && letters.contains(&address.as_bytes()[*at]))
    };
    let end = first(b"#", authority).unwrap_or(address.len());
    let query = first(b"?", authority).filter(|at| *at < end).unwrap_or(end);
    let path = first(b"/", authority).filter(|at| *at < query).unwrap_or(query);
    let mut found = Vec::new();
    for (index, range) in pieces(&marks, address, b'/', path..query).into_iter().enumerate() {
        if is_token(&address[range.clone()]) {
            found.push((format!("/{index}"), range));
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for range in pieces(&marks, address, b'&', query..end) {
        let pair = &address[range.clone()];
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let before = names.iter().filter(|known| **known == name).count();
        names.push(name);
        if is_secret(name, value) {
            let place = if before == 0 { format!("?{name}") } else { format!("?{name}#{before}") };
            found.push((place, range.end - value.len()..range.end));
        }
    }
    found
}

/// Where the marks that part an address stand, outside of expressions.
fn marks(address: &str) -> Vec<usize> {
    let mut marks = Vec::new();
    let (bytes, mut at) = (address.as_bytes(), 0);
    while at < bytes.len() {
        if address[at..].starts_with("{{") {
            at += address[at..].find("}}").map_or(bytes.len() - at, |length| length + 2);
            continue;
        }
        if b"/?#&".contains(&bytes[at]) {
            marks.push(at);
        }
        // The next letter: an address may have any.
        at += address[at..].chars().next().map_or(1, char::len_utf8);
    }
    marks
}

/// What stands between marks of that kind. The range begins with a mark of its own, if it is not empty.
fn pieces(marks: &[usize], address: &str, mark: u8, range: Range<usize>) -> Vec<Range<usize>> {
    if range.is_empty() {
        return Vec::new();
    }
    let mut begin = range.start + 1;
    let mut pieces = Vec::new();
    let inner = begin..range.end;
    for at in marks.iter().copied().filter(|at| inner.contains(at) && address.as_bytes()[*at] == mark) {
        pieces.push(begin..at);
        begin = at + 1;
    }
    pieces.push(begin..range.end);
    pieces
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if value.is_empty() {
        return false;
    }
    let is_word = |letter: char| letter.is_ascii_lowercase() || matches!(letter, '_' | '-' | '.' | ',');
    value == MASK
        || WORDS.iter().any(|word| name.contains(word))
        || (!value.contains("{{")
            && value.len() >= VALUE_LETTERS_MIN
            && (!value.chars().all(is_word) || has_long_run(value)))
}

/// Whether too many letters and digits follow each other for a word.
fn has_long_run(text: &str) -> bool {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|run| run.len() >= RUN_LETTERS_MIN)
}

/// Whether a segment is the mask, or a token and no words: long, of letters and digits, and without a break, of both cases,
/// or hex.
fn is_token(segment: &str) -> bool {
    if segment == MASK {
        return true;
    }
    let has = |of: fn(&char) -> bool| segment.chars().any(|letter| of(&letter));
    let is_hex = segment.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-');
    !segment.contains("{{")
        && segment.len() >= SEGMENT_LETTERS_MIN
        && has(char::is_ascii_digit)
        && (is_hex
            || has_long_run(segment)
            || (has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(address: &str) -> String {
        replaced(address, |_, _| Some(MASK.to_owned()))
    }

    #[test]
    fn tokens_are_masked_wherever_they_stand() {
        for (address, shown) in [
            ("https://h.example", "https://h.example"),
            ("https://h.example/hook?a=1&b=two", "https://h.example/hook?a=1&b=two"),
            ("https://h/?token=x", "https://h/?token=********"),
            ("https://h?API_KEY=x#f", "https://h?API_KEY=********#f"),
            ("https://h/a?v=Zx81kq0p&source=reputation", "https://h/a?v=********&source=reputation"),
            ("https://h/services/T01/B02/aB3dE6gH9jK2mN5pQ8sT1vW4", "https://h/services/T01/B02/********"),
            ("https://h/hooks/xr3k9w7c2fbz8m4q6n1t5v0pjd", "https://h/hooks/********"),
            ("https://h/A7KQ2M9XW4ZT8B1NC5VJ", "https://h/********"),
            ("https://h/x?k=abcdefghijklmnopqrstuvwx", "https://h/x?k=********"),
            ("https://h/9d1f0b3c-2f0e-4b57-8a53-0f6a3a2f9d11/x", "https://h/********/x"),
            ("https://h/low-scores-of-agents-2025-01", "https://h/low-scores-of-agents-2025-01"),
            (
                "https://h/{{ tag1 }}/x?q={{ agent_id }}&k={{ a?b&c }}",
                "https://h/{{ tag1 }}/x?q={{ agent_id }}&k={{ a?b&c }}",
            ),
            ("https://h/x?key=p{{ agent_id }}&é=ü", "https://h/x?key=********&é=ü"),
        ] {
            assert_eq!(masked(address), shown);
            assert_eq!(masked(shown), shown);
        }
    }

    #[test]
    fn equal_names_have_places_of_their_own() {
        let mut places = Vec::new();
        replaced("https://h/?key=a&x=1&key=b", |place, text| {
            places.push((place, text.to_owned()));
            None
        });
        assert_eq!(places, [("?key".to_owned(), "a".to_owned()), ("?key#1".to_owned(), "b".to_owned())]);
    }
}
