//! Writes a call as one `curl` line that a shell runs as it stands.
//!
//! It refuses to write a secret: the API key is named by its variable or its file, and a body that may hold one by its
//! file, or with masks.

use reqwest::{Method, Url};

use crate::Call;
use crate::call::ShownBody;

pub(crate) fn render(call: &Call, url: &Url, api_key: Option<&str>) -> String {
    let mut line = "curl -sS".to_owned();
    if call.headers.iter().any(|(_, value)| value == "text/event-stream") {
        line.push_str(" -N");
    }
    if call.method != Method::GET {
        line.push_str(&format!(" -X {}", call.method));
    }
    if let Some(key) = api_key {
        line.push_str(&format!(" -H \"Authorization: ApiKey {key}\""));
    }
    for (name, value) in &call.headers {
        line.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}"))));
    }
    if let Some(body) = &call.body {
        line.push_str(" -H 'Content-Type: application/json'");
        match &call.shown {
            Some(ShownBody::File(name)) => {
                line.push_str(&format!(" --data-binary {}", quoted(&format!("@{name}"))))
            }
            Some(ShownBody::Masked(body)) => line.push_str(&raw(body)),
            None => line.push_str(&raw(body)),
        }
    }
    line.push(' ');
    line.push_str(&quoted(url.as_str()));
    line
}

fn raw(body: &[u8]) -> String {
    format!(" --data-raw {}", quoted(&String::from_utf8_lossy(body)))
}

/// A text in single quotes, which a POSIX shell takes literally.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_secrets_is_named_by_its_file_or_masked() {
        let call = Call::post(&["x"], &serde_json::json!({"token": "hunter2"})).unwrap();
        let url = Url::parse("http://127.0.0.1/x").unwrap();
        let start = "curl -sS -X POST -H 'Content-Type: application/json'";
        let of_file = call.clone().shown_as_file(std::path::Path::new("a b.json"));
        assert_eq!(
            render(&of_file, &url, None),
            format!("{start} --data-binary '@a b.json' 'http://127.0.0.1/x'")
        );
        let masked = call.shown_as(&serde_json::json!({"token": "***"})).unwrap();
        assert!(masked.shows_masks());
        assert_eq!(
            render(&masked, &url, None),
            format!("{start} --data-raw '{{\"token\":\"***\"}}' 'http://127.0.0.1/x'")
        );
    }

    #[test]
    fn the_line_is_quoted_and_holds_no_secret() {
        let call = Call::post(&["x"], &serde_json::json!({"name": "o'clock"})).unwrap();
        let url = Url::parse("http://127.0.0.1/x?a=1&b=2").unwrap();
        assert_eq!(
            render(&call, &url, Some("$BOWLINE_API_KEY")),
            "curl -sS -X POST -H \"Authorization: ApiKey $BOWLINE_API_KEY\" -H 'Content-Type: application/json' \
             --data-raw '{\"name\":\"o'\\''clock\"}' 'http://127.0.0.1/x?a=1&b=2'"
        );
    }
}
