//! JSON with templates in its texts: the values that are put in become JSON themselves, so none can change what the
//! document says around it.

use serde_json::Value;

use super::{Fields, Template, TemplateError, check_length};

/// Levels of a JSON template at most.
const DEPTH_MAX: usize = 32;

/// Texts of a JSON template at most.
const LEAVES_MAX: usize = 1_000;

/// JSON with templates in its texts. Keys are taken as they are.
#[derive(Debug)]
pub(crate) enum JsonTemplate {
    Text(Template),
    Fixed(Value),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

/// A text of a JSON template that can't be taken, with its path below the template.
#[derive(Debug)]
pub(crate) struct LeafProblem {
    /// `.a[0].b`, or nothing for the whole.
    pub(crate) path: String,
    pub(crate) problem: String,
}

impl JsonTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(source: &Value) -> Result<Self, Vec<LeafProblem>> {
        let mut reader = TemplateReader { problems: Vec::new(), leaves: 0 };
        let template = reader.read(source, String::new(), 0);
        if reader.problems.is_empty() { Ok(template) } else { Err(reader.problems) }
    }

    /// Every template in it with its path.
    pub(crate) fn texts(&self) -> Vec<(String, &Template)> {
        let mut texts = Vec::new();
        self.gather(String::new(), &mut texts);
        texts
    }

    fn gather<'a>(&'a self, path: String, texts: &mut Vec<(String, &'a Template)>) {
        match self {
            Self::Text(template) => texts.push((path, template)),
            Self::Fixed(_) => {}
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.gather(format!("{path}[{index}]"), texts);
                }
            }
            Self::Object(members) => {
                for (key, member) in members {
                    member.gather(format!("{path}.{key}"), texts);
                }
            }
        }
    }

    /// The JSON.
    ///
    /// # Errors
    /// An expression that fails, or a result that is too long.
    pub(crate) fn render(&self, fields: &Fields) -> Result<Value, TemplateError> {
        Ok(match self {
            Self::Text(template) => template.render_json(fields)?,
            Self::Fixed(value) => value.clone(),
            Self::List(items) => {
                Value::Array(items.iter().map(|item| item.render(fields)).collect::<Result<_, _>>()?)
            }
            Self::Object(members) => {
                let rendered = members.iter().map(|(key, member)| Ok((key.clone(), member.render(fields)?)));
                Value::Object(rendered.collect::<Result<_, TemplateError>>()?)
            }
        })
    }

    /// The JSON as text.
    ///
    /// # Errors
    /// As for [`JsonTemplate::render`].
    pub(crate) fn render_text(&self, fields: &Fields) -> Result<String, TemplateError> {
        let text = self.render(fields)?.to_string();
        check_length(&text)?;
        Ok(text)
    }
}

struct TemplateReader {
    problems: Vec<LeafProblem>,
    leaves: usize,
}

impl TemplateReader {
    fn read(&mut self, source: &Value, path: String, depth: usize) -> JsonTemplate {
        self.leaves += 1;
        if depth > DEPTH_MAX || self.leaves > LEAVES_MAX {
            if self.problems.is_empty() {
                let problem = format!("deeper than {DEPTH_MAX} levels, or of more than {LEAVES_MAX} values");
                self.problems.push(LeafProblem { path, problem });
            }
            return JsonTemplate::Fixed(Value::Null);
        }
        match source {
            Value::String(text) => match Template::parse(text) {
                Ok(template) if template.is_constant() => JsonTemplate::Fixed(source.clone()),
                Ok(template) => JsonTemplate::Text(template),
                Err(error) => {
                    self.problems.push(LeafProblem { path, problem: error.to_string() });
                    JsonTemplate::Fixed(Value::Null)
                }
            },
            Value::Array(items) => {
                let read = |(index, item)| self.read(item, format!("{path}[{index}]"), depth + 1);
                JsonTemplate::List(items.iter().enumerate().map(read).collect())
            }
            Value::Object(members) => {
                let read = |(key, member): (&String, _)| {
                    if key.contains("{{") {
                        let problem = "a key can't be a template".to_owned();
                        self.problems.push(LeafProblem { path: format!("{path}.{key}"), problem });
                    }
                    (key.clone(), self.read(member, format!("{path}.{key}"), depth + 1))
                };
                JsonTemplate::Object(members.iter().map(read).collect())
            }
            fixed => JsonTemplate::Fixed(fixed.clone()),
        }
    }
}
