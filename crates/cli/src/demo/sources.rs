//! Where the demo's events come from: a recording of a real Casper network, the commits of the git repository
//! that it stands in, or any file of JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;

use bowline_ves::canonicalize;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::line::append::lines::{Defaults, interpret};
use crate::terminal::exit::Failure;

/// The event stream of a real one-validator network, as its SSE endpoint sent it.
const CASPER: &[u8] = include_bytes!("../../../../samples/casper-events.sse.gz");

/// Commits that are read at most, the newest first.
const COMMITS_MAX: u32 = 10_000;

/// Bytes of one line of an input file.
const LINE_BYTES_MAX: u64 = 2 << 20;

/// Something that happened, before it is signed.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) event_type: String,
    pub(super) entity_type: String,
    pub(super) entity_id: String,
    /// RFC 3339; now if absent.
    pub(super) created_at: Option<String>,
    pub(super) payload: Box<str>,
}

/// What one agent observed.
#[derive(Debug)]
pub(super) struct Source {
    /// The agent's name.
    pub(super) agent: &'static str,
    /// For people.
    pub(super) about: String,
    pub(super) happenings: Vec<Happening>,
}

/// The recording.
pub(super) fn casper() -> Result<Source, Failure> {
    let mut text = String::new();
    GzDecoder::new(CASPER)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("the recording in this binary is damaged: {error}")))?;
    let mut happenings = Vec::new();
    // Each event of the recording is one `data:` line and, but for the greeting, one `id:` line.
    for frame in text.split("\n\n") {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let (Some(data), Some(id)) = (field("data:"), field("id:")) {
            happenings.push(chain_event(data, id));
        }
    }
    let about = format!("{} events of a recorded Casper network", happenings.len());
    Ok(Source { agent: "casper-observer", about, happenings })
}

/// `{"Kind":{…}}` or `"Kind"`, as a Casper node sends it.
fn chain_event(data: &str, id: &str) -> Happening {
    let value: Value = serde_json::from_str(data).unwrap_or(Value::Null);
    let (kind, body) = match &value {
        Value::Object(map) => {
            map.iter().next().map_or(("Unknown", &Value::Null), |(kind, body)| (kind.as_str(), body))
        }
        Value::String(kind) => (kind.as_str(), &Value::Null),
        _ => ("Unknown", &Value::Null),
    };
    let (entity_type, entity_id) = entity(body).unwrap_or(("casper.event", id.to_owned()));
    Happening {
        event_type: format!("casper.{kind}"),
        entity_type: entity_type.to_owned(),
        entity_id,
        created_at: None,
        payload: exact(data, value),
    }
}

/// The payload as the node sent it; only if it has integers that a double can't hold, which the line refuses
/// since the hash would not bind them, those become strings, as the node writes its other large numbers.
fn exact(text: &str, mut value: Value) -> Box<str> {
    match canonicalize(text) {
        Ok(_) => text.into(),
        Err(_) => {
            spell_out(&mut value);
            value.to_string().into()
        }
    }
}

fn spell_out(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            if canonicalize(&text).is_err() {
                *value = Value::String(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(spell_out),
        Value::Object(map) => map.values_mut().for_each(spell_out),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What the event is about: a transaction, a block or an era. Most bodies and hashes stand within the name of
/// their version, as in `{"Version1":{"hash":"…"}}`.
fn entity(body: &Value) -> Option<(&'static str, String)> {
    let inner = body.as_object().and_then(|map| map.values().find(|value| value.is_object()));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let versioned = |value: &Value| text(value).or_else(|| text(value.as_object()?.values().next()?));
    if let Some(hash) = body.get("transaction_hash").and_then(versioned) {
        return Some(("casper.transaction", hash));
    }
    if let Some(era) = body.get("era_id").and_then(Value::as_u64)
        && body.get("execution_effects").is_some()
    {
        return Some(("casper.era", era.to_string()));
    }
    if let Some(hash) = body.get("block_hash").or_else(|| inner?.get("block_hash")).and_then(text) {
        return Some(("casper.block", hash));
    }
    inner?.get("hash").and_then(text).map(|hash| ("casper.transaction", hash))
}

/// The commits of the repository around the current folder, oldest first; or why there are none.
pub(super) fn commits() -> Result<Source, String> {
    let format = "--format=%H%x1f%aI%x1f%an%x1f%s";
    let max = format!("--max-count={COMMITS_MAX}");
    let output =
        Command::new("git").args(["log", &max, format]).output().map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("git log: {}", said.lines().next().unwrap_or("it failed")));
    }
    let log = String::from_utf8_lossy(&output.stdout);
    let mut happenings: Vec<Happening> = log.lines().filter_map(commit).collect();
    happenings.reverse();
    let about = format!("{} commits of this git repository", happenings.len());
    Ok(Source { agent: "git-observer", about, happenings })
}

fn commit(line: &str) -> Option<Happening> {
    let mut fields = line.split('\u{1f}');
    let (hash, authored_at, author, subject) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let payload = json!({ "commit": hash, "authored_at": authored_at, "author": author, "subject": subject });
    Some(Happening {
        event_type: "git.commit".to_owned(),
        entity_type: "git.commit".to_owned(),
        entity_id: hash.to_owned(),
        created_at: Some(authored_at.to_owned()),
        payload: payload.to_string().into(),
    })
}

/// A file of JSON lines, or standard input: whole events, or payloads.
pub(super) fn file(path: &Path) -> Result<Source, Failure> {
    let standard_input = path.as_os_str() == "-";
    let refuse = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut reader: Box<dyn BufRead> = if standard_input {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(refuse)?))
    };
    let defaults = Defaults {
        event_type: "line.appended".to_owned(),
        entity_type: "line".to_owned(),
        entity_id_field: None,
    };
    let mut happenings = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).map_err(refuse)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let event = interpret(&line, number, &defaults)
            .map_err(|problem| Failure::usage(format!("{}: line {number}: {problem}", path.display())))?;
        happenings.push(Happening {
            event_type: event.event_type,
            entity_type: event.entity_type,
            entity_id: event.entity_id,
            created_at: event.created_at,
            payload: event.payload,
        });
    }
    if happenings.is_empty() {
        return Err(Failure::usage(format!("{} has no lines", path.display())));
    }
    let name = if standard_input { "standard input".to_owned() } else { path.display().to_string() };
    Ok(Source { agent: "file-observer", about: format!("{} lines of {name}", happenings.len()), happenings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_recording_is_whole_and_every_kind_is_named() {
        let source = casper().unwrap();
        let mut kinds = BTreeMap::new();
        for happening in &source.happenings {
            *kinds.entry(happening.event_type.as_str()).or_insert(0) += 1;
        }
        let expected = [
            ("casper.BlockAdded", 74),
            ("casper.FinalitySignature", 74),
            ("casper.Shutdown", 1),
            ("casper.Step", 7),
            ("casper.TransactionAccepted", 145),
            ("casper.TransactionExpired", 24),
            ("casper.TransactionProcessed", 121),
        ];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
        let unplaced = source.happenings.iter().filter(|h| h.entity_type == "casper.event").count();
        assert!(unplaced <= 1, "{unplaced} events name no entity");
        assert!(source.happenings.iter().all(|h| canonicalize(&h.payload).is_ok()));
    }

    #[test]
    fn a_commit_keeps_its_date_and_subject() {
        let happening = commit("abc\u{1f}2026-01-02T03:04:05+01:00\u{1f}Ada\u{1f}[line] \"quoted\"").unwrap();
        assert_eq!(happening.created_at.as_deref(), Some("2026-01-02T03:04:05+01:00"));
        assert!(happening.payload.contains("\\\"quoted\\\""));
    }
}
