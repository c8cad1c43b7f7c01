//! Reads an action's settings key by key, and gathers every problem under its path.
//! An unknown key is a problem too: a misspelled setting would silently have no effect.

use serde_json::{Map, Value};

use super::template::{JsonTemplate, Template};
use crate::{FieldProblem, TemplateNames};

/// Settings that are being read.
#[derive(Debug)]
pub(crate) struct SettingsReader<'a> {
    config: &'a Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl<'a> SettingsReader<'a> {
    /// Starts to read; any key but `known` is a problem.
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

    /// The value, or every problem.
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

    /// A template; every name in it must be one of `names`.
    pub(crate) fn template(&mut self, key: &str, source: &str, names: TemplateNames<'_>) -> Option<Template> {
        match Template::parse(source) {
            Ok(template) => {
                self.check_names(key, &template, names);
                Some(template)
            }
            Err(error) => {
                self.refuse(key, error.to_string());
                None
            }
        }
    }

    /// A JSON template; every name in it must be one of `names`.
    pub(crate) fn json_template(
        &mut self,
        key: &str,
        source: &Value,
        names: TemplateNames<'_>,
    ) -> Option<JsonTemplate> {
        match JsonTemplate::parse(source) {
            Ok(template) => {
                for (path, text) in template.texts() {
                    self.check_names(&format!("{key}{path}"), text, names);
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

    fn check_names(&mut self, path: &str, template: &Template, names: TemplateNames<'_>) {
        for name in template.names() {
            if !names.has(&name) {
                self.refuse(path, format!("no event has a field `{name}`"));
            }
        }
    }
}
