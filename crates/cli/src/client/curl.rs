//! Writes a call as one `curl` line that a shell runs as it stands.
//!
//! It refuses to write a secret: the API key is named by its variable or its file.

use reqwest::{Method, Url};

use super::Call;

pub(super) fn render(call: &Call, url: &Url, api_key: Option<&str>) -> String {
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
        let body = String::from_utf8_lossy(body);
        line.push_str(&format!(" -H 'Content-Type: application/json' --data-raw {}", quoted(&body)));
    }
    line.push(' ');
    line.push_str(&quoted(url.as_str()));
    line
}

/// In single quotes, which a POSIX shell takes literally.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
