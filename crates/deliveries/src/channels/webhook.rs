//! Webhooks: an event, or what a template makes of it, to an address of the user's choice, signed.
//! Of the receiver's answer the status decides and a snippet is kept; its body is never interpreted.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use super::escape;
use super::signature::{SECRETS_MAX, SigningSecret, signature};
use crate::actions::{AttemptInput, Fields, JsonTemplate, SettingsReader, Template, TemplateError};
use crate::guard::{GuardedClient, HttpRequest};
use crate::outcome::{Failure, FailureCode, ReceiverAnswer};
use crate::{FieldProblem, TemplateNames};

const KEYS: [&str; 9] = [
    "method",
    "url",
    "headers",
    "body_template",
    "body",
    "timeout_seconds",
    "expected_status_codes",
    "signing_secrets",
    "max_attempts",
];
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
const URL_BYTES_MAX: usize = 2_048;
const HEADERS_MAX: usize = 32;
const HEADER_BYTES_MAX: usize = 1_024;
const STATUS_CODES_MAX: usize = 20;

/// Headers of one connection (RFC 9110, section 7.6.1), of the message's frame, and those that every delivery sets.
const RESERVED_HEADERS: [&str; 17] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "idempotency-key",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

#[derive(Debug)]
enum Body {
    /// The whole event, as JSON.
    Event,
    Json(JsonTemplate),
    Text(Template),
    Nothing,
}

/// A webhook.
#[derive(Debug)]
pub(crate) struct WebhookAction {
    method: Method,
    url: Template,
    /// Scheme, host and port: no template changes them.
    base: Url,
    headers: HeaderMap,
    body: Body,
    time_max: Duration,
    /// Empty for all of 200 to 299.
    expected: Vec<u16>,
    secrets: Vec<SigningSecret>,
}

impl WebhookAction {
    /// Reads a configuration, secrets and all.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(
        config: &Map<String, Value>,
        names: TemplateNames<'_>,
        http: &GuardedClient,
    ) -> Result<Self, Vec<FieldProblem>> {
        let mut reader = SettingsReader::new(config, &KEYS);
        let method = method(&mut reader);
        let address = address(&mut reader, names, http);
        let headers = headers(&mut reader);
        let body = body(&mut reader, names, &method);
        let time_max = Duration::from_secs(reader.number("timeout_seconds", (1, 300), 30));
        let expected = expected(&mut reader);
        let secrets = secrets(&mut reader);
        reader.number("max_attempts", (1, 20), 1);
        let action = address.zip(body).map(|((url, base), body)| Self {
            method,
            url,
            base,
            headers,
            body,
            time_max,
            expected,
            secrets,
        });
        reader.finish(action)
    }

    /// Host and port.
    pub(crate) fn destination(&self) -> String {
        destination_of(&self.base)
    }

    /// How long one attempt may take.
    pub(crate) fn time_max(&self) -> Duration {
        self.time_max
    }

    /// Sends it once.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn deliver(
        &self,
        http: &GuardedClient,
        input: &AttemptInput,
    ) -> Result<ReceiverAnswer, Failure> {
        let url = self.render_url(&input.fields)?;
        let failed =
            |error: TemplateError| Failure::of_action(FailureCode::TemplateFailed, error.to_string());
        let (body, content_type) = match &self.body {
            Body::Nothing => (None, None),
            Body::Event => (Some(input.event.clone()), Some("application/json")),
            Body::Json(template) => {
                (Some(template.render_text(&input.fields).map_err(failed)?), Some("application/json"))
            }
            Body::Text(template) => {
                let text = template.render(&input.fields, escape::plain).map_err(failed)?;
                (Some(text), Some("text/plain; charset=utf-8"))
            }
        };
        let body = body.map(String::into_bytes);
        let mut headers = self.headers.clone();
        if let Some(content_type) = content_type {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        self.sign(&mut headers, input, body.as_deref().unwrap_or_default());
        let request =
            HttpRequest { method: self.method.clone(), url, headers, body, time_max: self.time_max };
        let answer = http.send(request).await?;
        let status = answer.status.as_u16();
        let is_expected = match self.expected.as_slice() {
            [] => answer.status.is_success(),
            expected => expected.contains(&status),
        };
        if is_expected { Ok(answer.answered()) } else { Err(answer.failure(input.now)) }
    }

    fn sign(&self, headers: &mut HeaderMap, input: &AttemptInput, body: &[u8]) {
        let id = input.job_id.to_string();
        let timestamp = input.now.micros() / 1_000_000;
        let mut set = |name: &str, value: String| {
            // All of these are letters, digits and marks that any header may hold.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
            {
                headers.insert(name, value);
            }
        };
        if let Some(signature) = signature(&self.secrets, &id, timestamp, body) {
            set("webhook-signature", signature);
        }
        set("webhook-timestamp", timestamp.to_string());
        set("webhook-id", id.clone());
        set("idempotency-key", id);
        set("x-bowline-event-id", input.event_id.clone());
        set(&format!("x-bowline-{}-id", input.owner.kind), input.owner.id.to_string());
        set("x-bowline-attempt", input.attempt.to_string());
    }

    fn render_url(&self, fields: &Fields) -> Result<Url, Failure> {
        let failed = |problem: String| {
            Failure::of_action(FailureCode::TemplateFailed, format!("config.url: {problem}"))
        };
        let text = self.url.render(fields, escape::percent).map_err(|error| failed(error.to_string()))?;
        let url = Url::parse(&text).map_err(|_| failed("it comes to no address".to_owned()))?;
        if url.origin() != self.base.origin() || url.as_str().len() > 2 * URL_BYTES_MAX {
            return Err(failed("it comes to another receiver's address, or to a very long one".to_owned()));
        }
        if has_dot_segments(&text) {
            return Err(failed("a value is `.` or `..`, which would lead elsewhere".to_owned()));
        }
        Ok(url)
    }
}

/// Host and port of an address, as breakers and attempts name it.
pub(crate) fn destination_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// An address without a template in it, as configurations give it.
pub(crate) fn plain_address(reader: &mut SettingsReader<'_>, key: &str, http: &GuardedClient) -> Option<Url> {
    let text = reader.required(key, URL_BYTES_MAX)?;
    match Url::parse(text) {
        Ok(url) => judged(reader, key, url, http),
        Err(error) => {
            reader.refuse(key, format!("is no address: {error}"));
            None
        }
    }
}

fn judged(reader: &mut SettingsReader<'_>, key: &str, url: Url, http: &GuardedClient) -> Option<Url> {
    if !url.username().is_empty() || url.password().is_some() {
        reader.refuse(key, "must hold no user name and password; put them into the header Authorization");
        return None;
    }
    match http.client(&url) {
        Ok(_) => Some(url),
        Err(failure) => {
            reader.refuse(key, failure.message);
            None
        }
    }
}

fn method(reader: &mut SettingsReader<'_>) -> Method {
    let Some(name) = reader.text("method", 10) else { return Method::POST };
    let found = METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| {
        reader.refuse("method", "must be GET, POST, PUT, DELETE or PATCH");
        Method::POST
    })
}

fn address(
    reader: &mut SettingsReader<'_>,
    names: TemplateNames<'_>,
    http: &GuardedClient,
) -> Option<(Template, Url)> {
    let text = reader.required("url", URL_BYTES_MAX)?;
    let template = reader.template("url", text, names)?;
    let authority = text.find("://").map_or(0, |at| at + 3);
    let base_end = text[authority..].find(['/', '?', '#']).map_or(text.len(), |at| authority + at);
    let (base, rest) = text.split_at(base_end);
    if base.contains("{{") {
        reader.refuse("url", "only its path and its query may be templates");
        return None;
    }
    if has_dot_segments(rest) {
        reader.refuse("url", "must have no `.` or `..` in its path");
        return None;
    }
    match Url::parse(base) {
        Ok(base) => judged(reader, "url", base, http).map(|base| (template, base)),
        Err(error) => {
            reader.refuse("url", format!("is no address: {error}"));
            None
        }
    }
}

/// Whether a path has segments that lead elsewhere, in any of their spellings.
fn has_dot_segments(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    path.split(['/', '\\']).any(|segment| segment == "." || segment == "..")
}

fn headers(reader: &mut SettingsReader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(value) = reader.get("headers") else { return headers };
    let Some(given) = value.as_object().filter(|given| given.len() <= HEADERS_MAX) else {
        reader.refuse("headers", format!("must be an object of {HEADERS_MAX} headers at most"));
        return headers;
    };
    for (name, value) in given {
        let key = format!("headers.{name}");
        let lower = name.to_ascii_lowercase();
        if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-bowline-") {
            reader.refuse(&key, "is set by the sender");
            continue;
        }
        let Ok(header) = HeaderName::from_bytes(lower.as_bytes()) else {
            reader.refuse(&key, "is no name of a header");
            continue;
        };
        let value = value.as_str().filter(|value| value.len() <= HEADER_BYTES_MAX);
        match value.and_then(|value| HeaderValue::from_str(value).ok()) {
            Some(mut value) => {
                value.set_sensitive(true);
                headers.insert(header, value);
            }
            None => {
                reader.refuse(&key, format!("must be a text of {HEADER_BYTES_MAX} visible letters at most"))
            }
        }
    }
    headers
}

fn body(reader: &mut SettingsReader<'_>, names: TemplateNames<'_>, method: &Method) -> Option<Body> {
    let given = ["body_template", "body"].into_iter().find_map(|key| Some((key, reader.get(key)?)));
    let takes_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    let Some((key, source)) = given else {
        return Some(if takes_body { Body::Event } else { Body::Nothing });
    };
    if key == "body_template" && reader.get("body").is_some() {
        reader.refuse("body", "is the same as body_template: give one of them");
    }
    if !takes_body {
        reader.refuse(key, format!("{method} has no body"));
        return None;
    }
    let Value::String(text) = source else {
        return reader.json_template(key, source, names).map(Body::Json);
    };
    if !text.trim_start().starts_with(['{', '[']) || text.trim_start().starts_with("{{") {
        return reader.template(key, text, names).map(Body::Text);
    }
    // JSON as text: its values are put in as JSON, so that no value can change what the text says.
    match serde_json::from_str::<Value>(text) {
        Ok(source) => reader.json_template(key, &source, names).map(Body::Json),
        Err(error) => {
            let problem = format!(
                "begins like JSON and is none ({error}); write expressions in quotes, \"{{{{ score }}}}\": one that stands alone keeps its type"
            );
            reader.refuse(key, problem);
            None
        }
    }
}

fn expected(reader: &mut SettingsReader<'_>) -> Vec<u16> {
    let Some(value) = reader.get("expected_status_codes") else { return Vec::new() };
    let items = value.as_array().filter(|items| items.len() <= STATUS_CODES_MAX).map(Vec::as_slice);
    let code = |item: &Value| {
        item.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|c| (200..=599).contains(c))
    };
    let codes = items.and_then(|items| items.iter().map(code).collect::<Option<Vec<_>>>());
    codes.unwrap_or_else(|| {
        let problem = format!("must be a list of {STATUS_CODES_MAX} numbers from 200 to 599 at most");
        reader.refuse("expected_status_codes", problem);
        Vec::new()
    })
}

fn secrets(reader: &mut SettingsReader<'_>) -> Vec<SigningSecret> {
    let mut secrets = Vec::new();
    for (index, text) in reader.texts("signing_secrets", SECRETS_MAX).into_iter().enumerate() {
        match SigningSecret::parse(text) {
            Ok(secret) => secrets.push(secret),
            Err(problem) => reader.refuse(&format!("signing_secrets[{index}]"), problem),
        }
    }
    secrets
}
