//! Reads an action's configuration key by key, and gathers everything that is wrong with it under its path.
//! A key that nobody asked for is wrong too: a setting that has no effect would be a trap.

use serde_json::{Map, Value};

use super::template::{JsonTemplate, Template};
use crate::FieldProblem;

/// A configuration that is being read.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    config: &'a Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl<'a> Reading<'a> {
    /// Begins to read; any key but `known` is a problem.
    pub(crate) fn new(config: &'a Map<String, Value>, known: &[&str]) -> Self {
        let unknown = config.keys().filter(|key| !known.contains(&key.as_str()));
        let problems = unknown
            .map(|key| {
                FieldProblem::new(format!("config.{key}"), format!("unknown; known are {}", known.join(", ")))
            })
            .collect();
        Self { config, problems }
    }

    /// Notes a problem of a key.
    pub(crate) fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push(FieldProblem::new(format!("config.{key}"), problem));
    }

    /// What was read, or everything that is wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldProblem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ if self.problems.is_empty() => Err(vec![FieldProblem::new("config", "can't be read")]),
            _ => Err(self.problems),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    /// A text of `max` bytes at most, if it is there.
    pub(crate) fn text(&mut self, key: &str, max: usize) -> Option<&'a str> {
        match self.get(key)? {
            Value::String(text) if text.len() > max => {
                self.refuse(key, format!("longer than {max} bytes"));
                None
            }
            Value::String(text) if text.contains('\0') => {
                self.refuse(key, "contains a zero byte");
                None
            }
            Value::String(text) => Some(text),
            _ => {
                self.refuse(key, "must be a text");
                None
            }
        }
    }

    /// A text that must be there and not be empty.
    pub(crate) fn required(&mut self, key: &str, max: usize) -> Option<&'a str> {
        match self.get(key) {
            None | Some(Value::String(_))
                if self.get(key).and_then(Value::as_str).is_none_or(str::is_empty) =>
            {
                self.refuse(key, "is missing");
                None
            }
            _ => self.text(key, max),
        }
    }

    /// A whole number between two bounds, or the default.
    pub(crate) fn number(&mut self, key: &str, (min, max): (u64, u64), default: u64) -> u64 {
        let Some(value) = self.get(key) else { return default };
        match value.as_u64().filter(|number| (min..=max).contains(number)) {
            Some(number) => number,
            None => {
                self.refuse(key, format!("must be a whole number from {min} to {max}"));
                default
            }
        }
    }

    /// Texts, `count_max` at most.
    pub(crate) fn texts(&mut self, key: &str, count_max: usize) -> Vec<&'a str> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let items = value.as_array().filter(|items| items.len() <= count_max);
        let texts = items.and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        texts.unwrap_or_else(|| {
            self.refuse(key, format!("must be a list of {count_max} texts at most"));
            Vec::new()
        })
    }

    /// A template, with the names that it uses judged.
    pub(crate) fn template(&mut self, key: &str, source: &str, names: &Names<'_>) -> Option<Template> {
        match Template::parse(source) {
            Ok(template) => {
                self.judge_names(key, &template, names);
                Some(template)
            }
            Err(error) => {
                self.refuse(key, error.to_string());
                None
            }
        }
    }

    /// A JSON template, with the names that it uses judged.
    pub(crate) fn json_template(
        &mut self,
        key: &str,
        source: &Value,
        names: &Names<'_>,
    ) -> Option<JsonTemplate> {
        match JsonTemplate::parse(source) {
            Ok(template) => {
                for (path, text) in template.texts() {
                    self.judge_names(&format!("{key}{path}"), text, names);
                }
                Some(template)
            }
            Err(problems) => {
                for problem in problems {
                    self.refuse(&format!("{key}{}", problem.path), problem.problem);
                }
                None
            }
        }
    }

    fn judge_names(&mut self, path: &str, template: &Template, names: &Names<'_>) {
        for name in template.names() {
            if !names.has(&name) {
                self.refuse(path, format!("no event has a field `{name}`"));
            }
        }
    }
}

/// The names that a template may use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names<'a> {
    /// Whatever: contracts of the operator's own have fields of their own.
    Any,
    /// These, and what every job has.
    These(&'a [&'a str]),
}

/// What every job has beside its event's fields.
const OF_JOBS: [&str; 7] =
    ["trigger_id", "trigger_name", "job_id", "event_id", "count", "ema_score", "retracts"];

impl Names<'_> {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(names) => names.contains(&name) || OF_JOBS.contains(&name),
        }
    }
}
