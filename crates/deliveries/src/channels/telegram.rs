//! Messages through the Telegram Bot API.
//!
//! One call of one method is all that is needed, so this is a small client of its own over the guarded HTTP client: the
//! crates for bots bring their own HTTP client, which could not be kept from private addresses, and queues in memory,
//! which could not share Telegram's limits with other processes.

use std::time::Duration;

use bowline_types::Secret;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::escape;
use super::limits::{ReceiverLimit, ReceiverLimits};
use super::webhook::destination_of;
use crate::actions::{AttemptInput, SettingsReader, Template};
use crate::guard::{GuardedClient, HttpAnswer, HttpRequest};
use crate::outcome::{Failure, FailureCode, Fault, Outcome, ReceiverAnswer};
use crate::{FieldProblem, TemplateNames};

const KEYS: [&str; 5] = ["chat_id", "message_template", "parse_mode", "bot_token", "max_attempts"];

/// Letters of one message at most, after its markup was read; what is sent is cut to as many with it.
const MESSAGE_LETTERS_MAX: usize = 4_096;

/// Between two messages of one bot: 30 a second.
const BOT_SPACING: Duration = Duration::from_micros(33_334);

/// Between two messages to one chat.
const CHAT_SPACING: Duration = Duration::from_secs(1);

/// Which markup the message is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Markup {
    Markdown,
    Html,
    None,
}

impl Markup {
    fn escape(self) -> fn(&str, &mut String) {
        match self {
            Self::Markdown => escape::markdown,
            Self::Html => escape::html,
            Self::None => escape::plain,
        }
    }

    const fn parse_mode(self) -> Option<&'static str> {
        match self {
            Self::Markdown => Some("MarkdownV2"),
            Self::Html => Some("HTML"),
            Self::None => None,
        }
    }
}

/// A message to a chat.
#[derive(Debug)]
pub(crate) struct TelegramAction {
    chat_id: String,
    message: Template,
    markup: Markup,
    bot_token: Option<Secret>,
}

/// The Bot API's address, and the node's own bot.
#[derive(Debug, Clone)]
pub(crate) struct TelegramSettings {
    pub(crate) api: Url,
    pub(crate) bot_token: Option<Secret>,
}

impl TelegramAction {
    /// The time limit of one call.
    pub(crate) const TIME_MAX: Duration = Duration::from_secs(30);

    /// Reads a configuration, secrets and all.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(
        config: &Map<String, Value>,
        names: TemplateNames<'_>,
    ) -> Result<Self, Vec<FieldProblem>> {
        let mut reader = SettingsReader::new(config, &KEYS);
        let chat_id = chat_id(&mut reader);
        let source = reader.required("message_template", MESSAGE_LETTERS_MAX * 4);
        let message = source.and_then(|source| reader.template("message_template", source, names));
        let markup = markup(&mut reader);
        let bot_token = bot_token(&mut reader);
        reader.number("max_attempts", (1, 20), 1);
        let action =
            chat_id.zip(message).map(|(chat_id, message)| Self { chat_id, message, markup, bot_token });
        reader.finish(action)
    }

    /// Sends it once, if Telegram's limits leave room for it.
    pub(crate) async fn deliver(
        &self,
        http: &GuardedClient,
        node: &TelegramSettings,
        limits: &ReceiverLimits,
        input: &AttemptInput,
    ) -> Outcome {
        let Some(token) = self.bot_token.as_ref().or(node.bot_token.as_ref()) else {
            let problem = "no bot: set TELEGRAM_BOT_TOKEN for the workers, or bot_token in the action";
            return Outcome::Failed(Failure::of_action(FailureCode::TelegramTokenMissing, problem));
        };
        let text = match self.message.render(&input.fields, self.markup.escape()) {
            Ok(text) => shortened(&text, self.markup),
            Err(error) => {
                return Outcome::Failed(Failure::of_action(FailureCode::TemplateFailed, error.to_string()));
            }
        };
        let (bot, chat) = self.limits_of(token);
        match limits.wait_for(&[chat.clone(), bot.clone()]).await {
            Ok(None) => {}
            Ok(Some(wait)) => return Outcome::RateLimited(wait),
            Err(error) => return Outcome::Failed(Failure::passing(FailureCode::Store, error.to_string())),
        }
        let failure = match self.call(http, node, token, &text).await {
            Ok(answered) => return Outcome::Delivered(answered),
            Err(failure) => failure,
        };
        if let Fault::Passing { retry_after: Some(after) } = failure.fault {
            // All processes wait: Telegram extends the ban of a bot that goes on.
            limits.hold(&chat, after).await;
        }
        Outcome::Failed(failure)
    }

    /// The limits of the bot and of the chat. Their names hold a digest, never the token.
    fn limits_of(&self, token: &Secret) -> (ReceiverLimit, ReceiverLimit) {
        let digest = Sha256::digest(token.reveal().as_bytes());
        let bot = format!("telegram:{}", hex::encode(&digest[..8]));
        let chat = format!("{bot}:{}", self.chat_id);
        (
            ReceiverLimit { name: bot, spacing: BOT_SPACING },
            ReceiverLimit { name: chat, spacing: CHAT_SPACING },
        )
    }

    async fn call(
        &self,
        http: &GuardedClient,
        node: &TelegramSettings,
        token: &Secret,
        text: &str,
    ) -> Result<ReceiverAnswer, Failure> {
        let mut url = node.api.clone();
        let path = format!("{}/bot{}/sendMessage", url.path().trim_end_matches('/'), token.reveal());
        url.set_path(&path);
        let mut message = json!({ "chat_id": self.chat_id, "text": text });
        if let Some(mode) = self.markup.parse_mode() {
            message["parse_mode"] = Value::from(mode);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Some(message.to_string().into_bytes());
        let request = HttpRequest { method: Method::POST, url, headers, body, time_max: Self::TIME_MAX };
        let answer = http.send(request).await?;
        judged(&answer)
    }
}

impl TelegramSettings {
    /// Host and port of the Bot API.
    pub(crate) fn destination(&self) -> String {
        destination_of(&self.api)
    }
}

/// Reads the Bot API's answer: `{"ok":false,"error_code":429,"description":"…","parameters":{"retry_after":35}}`.
fn judged(answer: &HttpAnswer) -> Result<ReceiverAnswer, Failure> {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let answered = answer.answered();
    if said["ok"] == Value::Bool(true) {
        return Ok(answered);
    }
    let code = said["error_code"].as_u64().unwrap_or_else(|| u64::from(answer.status.as_u16()));
    let description = said["description"].as_str().unwrap_or("no answer of the Bot API");
    let fault = match code {
        408 | 429 | 500..=599 => {
            let after = said["parameters"]["retry_after"].as_u64();
            Fault::Passing { retry_after: after.map(Duration::from_secs) }
        }
        // Not the Bot API's answer: a proxy or a captive portal answered.
        200..=299 => Fault::Passing { retry_after: None },
        _ => Fault::Refused,
    };
    let mut failure = Failure::new(FailureCode::Telegram, format!("{code}: {description}"), fault);
    failure.answered = answered;
    Err(failure)
}

/// The message with `…` for what is too much. It is cut between two letters, never behind a backslash or within an
/// entity of HTML.
fn shortened(text: &str, markup: Markup) -> String {
    if text.chars().count() <= MESSAGE_LETTERS_MAX {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(MESSAGE_LETTERS_MAX - 1).collect();
    match markup {
        Markup::Markdown => {
            let slashes = kept.chars().rev().take_while(|letter| *letter == '\\').count();
            if slashes % 2 == 1 {
                kept.pop();
            }
        }
        Markup::Html => {
            let opened = kept.rfind(['&', '<']).filter(|at| {
                let closing = if kept[*at..].starts_with('&') { ';' } else { '>' };
                !kept[*at..].contains(closing) && kept.len() - at < 64
            });
            kept.truncate(opened.unwrap_or(kept.len()));
        }
        Markup::None => {}
    }
    kept.push('…');
    kept
}

fn chat_id(reader: &mut SettingsReader<'_>) -> Option<String> {
    const PROBLEM: &str = "must be a chat's number, or the @name of a public channel";
    if let Some(number) = reader.get("chat_id").and_then(Value::as_i64) {
        return Some(number.to_string());
    }
    let text = reader.required("chat_id", 64)?;
    let is_name = text.strip_prefix('@').is_some_and(|name| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    });
    if is_name || text.parse::<i64>().is_ok() {
        return Some(text.to_owned());
    }
    reader.refuse("chat_id", PROBLEM);
    None
}

fn markup(reader: &mut SettingsReader<'_>) -> Markup {
    match reader.text("parse_mode", 20) {
        None | Some("MarkdownV2") => Markup::Markdown,
        Some("HTML") => Markup::Html,
        Some("none") => Markup::None,
        Some("Markdown") => {
            reader.refuse(
                "parse_mode",
                "Markdown is Telegram's old markup: use MarkdownV2 (values are escaped for it), HTML or none",
            );
            Markup::None
        }
        Some(_) => {
            reader.refuse("parse_mode", "must be MarkdownV2, HTML or none");
            Markup::None
        }
    }
}

fn bot_token(reader: &mut SettingsReader<'_>) -> Option<Secret> {
    let text = reader.text("bot_token", 256)?;
    let is_token = text.split_once(':').is_some_and(|(id, key)| {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
        !id.is_empty()
            && id.chars().all(|l| l.is_ascii_digit())
            && !key.is_empty()
            && key.chars().all(allowed)
    });
    if !is_token {
        reader.refuse("bot_token", "is no token of a bot, such as 123456:ABC-DEF");
        return None;
    }
    Some(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_never_cut_within_an_escape() {
        for lead in 0..4 {
            let text = format!("{}{}", "x".repeat(lead), "\\.".repeat(5_000));
            let cut = shortened(&text, Markup::Markdown);
            assert!(cut.chars().count() <= MESSAGE_LETTERS_MAX && cut.ends_with('…'));
            let before = cut.trim_end_matches('…');
            assert_eq!(before.chars().rev().take_while(|letter| *letter == '\\').count() % 2, 0, "{lead}");
        }
        for lead in 0..6 {
            let text = format!("{}{}", "x".repeat(lead), "&amp;".repeat(5_000));
            let cut = shortened(&text, Markup::Html);
            assert!(cut.trim_end_matches('…').ends_with([';', 'x']), "{lead}");
        }
        assert_eq!(shortened("short", Markup::None), "short");
    }

    #[test]
    fn what_telegram_would_refuse_is_refused_when_it_is_saved() {
        let parse = |config: Value| TelegramAction::parse(config.as_object().unwrap(), TemplateNames::Any);
        assert!(parse(json!({"chat_id": "-100123", "message_template": "hi"})).is_ok());
        assert!(
            parse(
                json!({"chat_id": 5, "message_template": "hi", "parse_mode": "HTML", "bot_token": "1:a-B_c"})
            )
            .is_ok()
        );
        for (config, field) in [
            (json!({"message_template": "hi"}), "config.chat_id"),
            (json!({"chat_id": "me", "message_template": "hi"}), "config.chat_id"),
            (json!({"chat_id": "1"}), "config.message_template"),
            (
                json!({"chat_id": "1", "message_template": "hi", "parse_mode": "Markdown"}),
                "config.parse_mode",
            ),
            (json!({"chat_id": "1", "message_template": "hi", "bot_token": "a/../b"}), "config.bot_token"),
            (json!({"chat_id": "1", "message_template": "hi", "text": "hi"}), "config.text"),
        ] {
            let problems = parse(config).unwrap_err();
            assert!(problems.iter().any(|problem| problem.field == field), "{field}: {problems:?}");
        }
    }
}
