//! Templates: text with `{{ expressions }}` over an event's own fields; JSON with such texts as leaves is in `json`.
//!
//! There are expressions and nothing else: no statements, no loops, no inclusion, no way to keep a value, so what a
//! template may cost is bounded by its length. What a chain wrote is data: a value is put in once, escaped for where it
//! goes, and never read as a template or as JSON. A leaf that is one expression keeps its value's JSON type.

mod json;

use std::sync::LazyLock;

use bowline_types::Timestamp;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, Value, filters};

pub(crate) use self::json::JsonTemplate;

/// Bytes of one template at most.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// Bytes of one expression at most.
const EXPRESSION_BYTES_MAX: usize = 1_000;

/// Bytes of what comes of a template at most.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Instructions of one expression at most.
const FUEL: u64 = 2_000;

/// What expressions may use. Nothing here makes much of little.
static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_fuel(Some(FUEL));
    engine.set_undefined_behavior(UndefinedBehavior::Chainable);
    engine.set_recursion_limit(50);
    engine.add_filter("default", filters::default);
    engine.add_filter("d", filters::default);
    engine.add_filter("upper", filters::upper);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("title", filters::title);
    engine.add_filter("capitalize", filters::capitalize);
    engine.add_filter("trim", filters::trim);
    engine.add_filter("length", filters::length);
    engine.add_filter("abs", filters::abs);
    engine.add_filter("int", filters::int);
    engine.add_filter("float", filters::float);
    engine.add_filter("round", filters::round);
    engine.add_filter("string", filters::string);
    engine.add_filter("tojson", filters::tojson);
    engine.add_filter("iso", iso);
    engine
});

/// Unix seconds as RFC 3339; what is absent stays absent.
fn iso(value: &Value) -> Result<Value, minijinja::Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(value.clone());
    }
    let seconds = i64::try_from(value.clone()).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    let moment = seconds
        .map(Timestamp::from_micros)
        .ok_or_else(|| minijinja::Error::new(ErrorKind::InvalidOperation, "iso takes seconds since 1970"))?;
    Ok(Value::from(moment.to_string()))
}

/// Why a template can't be taken, or rendered; for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(String);

/// What a template may name, once for all templates of a job.
#[derive(Debug, Clone)]
pub(crate) struct Fields(Value);

impl Fields {
    pub(crate) fn new(fields: &serde_json::Map<String, serde_json::Value>) -> Self {
        Self(Value::from(Serde(fields)))
    }
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Value(Expression<'static, 'static>),
}

/// A text with expressions in it.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError(format!("longer than {TEMPLATE_BYTES_MAX} bytes")));
        }
        if source.contains("{%") {
            let problem = "`{%` is not supported: only `{{ expressions }}` are, such as `{{ 'high' if score > 80 else 'low' }}`";
            return Err(TemplateError(problem.to_owned()));
        }
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find("{{") {
            let (text, opened) = rest.split_at(start);
            let opened = &opened[2..];
            let end =
                end_of_expression(opened).ok_or_else(|| TemplateError("`{{` without `}}`".to_owned()))?;
            let mut inner = &opened[..end];
            rest = &opened[end + 2..];
            let mut text = text;
            if let Some(trimmed) = inner.strip_prefix('-') {
                (inner, text) = (trimmed, text.trim_end());
            }
            if let Some(trimmed) = inner.strip_suffix('-') {
                (inner, rest) = (trimmed, rest.trim_start());
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
            pieces.push(Piece::Value(expression(inner.trim())?));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The names that it takes from the event, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let values = self.0.iter().filter_map(|piece| match piece {
            Piece::Value(expression) => Some(expression.undeclared_variables(false)),
            Piece::Text(_) => None,
        });
        let mut names: Vec<String> = values.flatten().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether every rendering is the same.
    pub(crate) fn is_constant(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The text, with every value escaped by `escape`; what is absent is empty.
    ///
    /// # Errors
    /// An expression that fails, or a text that is too long.
    pub(crate) fn render(
        &self,
        fields: &Fields,
        escape: impl Fn(&str, &mut String),
    ) -> Result<String, TemplateError> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(expression) => escape(&text_of(&evaluate(expression, fields)?), &mut out),
            }
            check_length(&out)?;
        }
        Ok(out)
    }

    /// As JSON: the value itself if the template is one expression, otherwise the text.
    fn render_json(&self, fields: &Fields) -> Result<serde_json::Value, TemplateError> {
        if let [Piece::Value(expression)] = self.0.as_slice() {
            let value = evaluate(expression, fields)?;
            return serde_json::to_value(&value)
                .map_err(|error| TemplateError(format!("a value has no JSON: {error}")));
        }
        self.render(fields, |value, out| out.push_str(value)).map(serde_json::Value::String)
    }
}

/// A value as text: nothing if it is absent.
fn text_of(value: &Value) -> String {
    if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() }
}

fn evaluate(expression: &Expression<'_, '_>, fields: &Fields) -> Result<Value, TemplateError> {
    expression.eval(fields.0.clone()).map_err(|error| TemplateError(said(&error)))
}

fn said(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn check_length(out: &str) -> Result<(), TemplateError> {
    if out.len() <= OUTPUT_BYTES_MAX {
        return Ok(());
    }
    Err(TemplateError(format!("it comes to more than {OUTPUT_BYTES_MAX} bytes")))
}

fn expression(source: &str) -> Result<Expression<'static, 'static>, TemplateError> {
    let refuse = |problem: String| Err(TemplateError(format!("`{{{{ {source} }}}}`: {problem}")));
    if source.len() > EXPRESSION_BYTES_MAX {
        return Err(TemplateError(format!("an expression is longer than {EXPRESSION_BYTES_MAX} bytes")));
    }
    // Repeats texts and lists: the one operator whose result is not bounded by what it is given.
    if outside_of_quotes(source).any(|(_, letter)| letter == '*') {
        return refuse("`*` is not supported".to_owned());
    }
    match ENGINE.compile_expression_owned(source.to_owned()) {
        Ok(expression) => Ok(expression),
        Err(error) => refuse(said(&error)),
    }
}

/// Where `}}` ends an expression: not within quotes or braces.
fn end_of_expression(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in outside_of_quotes(source) {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' if source[at + 1..].starts_with('}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// The letters that stand in no quoted text, with their places.
fn outside_of_quotes(source: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut quote = None;
    let mut escaped = false;
    source.char_indices().filter(move |(_, letter)| match quote {
        None if matches!(letter, '"' | '\'') => {
            quote = Some(*letter);
            false
        }
        None => true,
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(_) if *letter == '\\' => {
            escaped = true;
            false
        }
        Some(open) => {
            if open == *letter {
                quote = None;
            }
            false
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields() -> Fields {
        let event = json!({
            "agent_id": "398", "score": 87, "value": "-12.5", "tag1": "{{ owner }}", "tag2": "{\"x\":1}",
            "timestamp": 1_770_724_500, "owner": null, "approved": true, "block_number": 18_446_744_073_709_551_615_u64,
        });
        Fields::new(event.as_object().unwrap())
    }

    fn text(source: &str) -> String {
        Template::parse(source).unwrap().render(&fields(), |value, out| out.push_str(value)).unwrap()
    }

    #[test]
    fn values_are_put_in_once_and_never_read_again() {
        for (source, expected) in [
            ("agent {{ agent_id }}: {{score}}", "agent 398: 87"),
            ("{{ tag1 }}", "{{ owner }}"),
            ("{{ tag2 }}", "{\"x\":1}"),
            ("<{{ owner }}{{ endpoint }}>", "<>"),
            ("{{ endpoint | default('none') }}", "none"),
            ("{{ timestamp | iso }}", "2026-02-10T11:55:00+00:00"),
            ("{{ 'high' if score > 80 else 'low' }}", "high"),
            ("a {{- agent_id -}} b", "a398b"),
            ("{{ '}}' }}", "}}"),
            ("no expression } {", "no expression } {"),
            ("{{ owner.deeper.still }}", ""),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn a_leaf_that_is_one_expression_keeps_its_type() {
        let source = json!({
            "score": "{{ score }}", "n": "{{ block_number }}", "ok": "{{ approved }}", "none": "{{ owner }}", "gone": "{{ uri }}",
            "text": "score {{ score }}", "tag": ["{{ tag2 }}", 5, null], "fixed": "as it is",
        });
        let rendered = JsonTemplate::parse(&source).unwrap().render(&fields()).unwrap();
        let expected = json!({
            "score": 87, "n": 18_446_744_073_709_551_615_u64, "ok": true, "none": null, "gone": null,
            "text": "score 87", "tag": ["{\"x\":1}", 5, null], "fixed": "as it is",
        });
        assert_eq!(rendered, expected);
    }

    #[test]
    fn what_could_cost_too_much_or_is_wrong_is_refused_when_it_is_read() {
        for (source, named) in [
            ("{% for x in range(9) %}", "{%"),
            ("{{ score", "without"),
            ("{{ 'x' * 100000000 }}", "`*`"),
            ("{{ score + }}", "{{ score + }}"),
            ("{{ range(10) | list | bad", "without"),
        ] {
            let problem = Template::parse(source).unwrap_err().to_string();
            assert!(problem.contains(named), "{source}: {problem}");
        }
        assert!(Template::parse(&"x".repeat(TEMPLATE_BYTES_MAX + 1)).is_err());
        let mut deep = json!("{{ score }}");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(JsonTemplate::parse(&deep).is_err());
        let problems = JsonTemplate::parse(&json!({"a": [1, {"b": "{{ ( }}"}]})).unwrap_err();
        assert_eq!(problems[0].path, ".a[1].b");
    }

    #[test]
    fn an_unknown_filter_fails_and_names_are_told() {
        let template = Template::parse("{{ tag1 | upper }} {{ owner.x ~ tag1 }}").unwrap();
        assert_eq!(template.names(), ["owner", "tag1"]);
        let unknown = Template::parse("{{ tag1 | nothing }}");
        let fails = |t: Template| t.render(&fields(), |value, out| out.push_str(value)).is_err();
        assert!(unknown.map(fails).unwrap_or(true));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(source in "\\PC{0,60}", inner in "\\PC{0,30}") {
            for source in [source.clone(), format!("{{{{{inner}}}}}{source}")] {
                if let Ok(template) = Template::parse(&source) {
                    let _ = template.render(&fields(), |value, out| out.push_str(value));
                    let _ = template.names();
                }
            }
        }

        #[test]
        fn a_value_arrives_as_it_is(value in "\\PC{0,60}") {
            let fields = Fields::new(json!({"tag1": value}).as_object().unwrap());
            let rendered = JsonTemplate::parse(&json!({"a": "{{ tag1 }}"})).unwrap().render(&fields).unwrap();
            prop_assert_eq!(rendered, json!({"a": value}));
        }
    }
}
