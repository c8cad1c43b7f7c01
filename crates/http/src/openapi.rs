//! The description of a listener, put together from the fragments of the subsystems whose routes it serves.
//!
//! A fragment is what a subsystem's routes say of themselves, and needs no state. An operation id, an operation and a
//! schema belong to one fragment: a document in which two of them meet would drop one without a word, so it is refused.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use utoipa::openapi::OpenApi;

/// What one subsystem contributes to a listener's description.
#[derive(Clone)]
pub struct Fragment {
    /// The subsystem, for messages.
    pub name: &'static str,
    /// Its operations and schemas.
    pub document: OpenApi,
}

/// One operation of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The path, with its parameters in braces.
    pub path: String,
    /// The method, in upper case.
    pub method: String,
    /// The operation id; empty if it has none.
    pub id: String,
    /// Whether the description says that it needs no credential.
    pub is_public: bool,
}

/// Two fragments, or two operations, claim the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// What is claimed: an operation id, an operation, or a schema.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Who claims it.
    pub claimants: Vec<String>,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}` is claimed by {}", self.kind, self.name, self.claimants.join(" and "))
    }
}

/// The description can't be put together or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Names that are claimed more than once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Collisions(Vec<Collision>),
    /// It can't be written as JSON.
    #[error("the API's description can't be written: {0}")]
    Write(#[from] serde_json::Error),
}

/// One document of all fragments.
///
/// # Errors
/// An operation id, an operation or a schema is claimed more than once, or a fragment can't be written.
pub fn merge(base: OpenApi, fragments: Vec<Fragment>) -> Result<OpenApi, DocumentError> {
    let mut claims = Claims::default();
    let mut merged = base;
    for Fragment { name, document } in fragments {
        for Operation { path, method, id, .. } in operations(&document)? {
            let operation = format!("{method} {path}");
            claims.add("operation id", &id, format!("{operation} ({name})"));
            claims.add("operation", &operation, name.to_owned());
        }
        for schema in document.components.iter().flat_map(|components| components.schemas.keys()) {
            claims.add("schema", schema, name.to_owned());
        }
        merged.merge(document);
    }
    let collisions = claims.collisions();
    if collisions.is_empty() { Ok(merged) } else { Err(DocumentError::Collisions(collisions)) }
}

/// Every operation of a document, by path.
///
/// # Errors
/// The document can't be written as JSON.
pub fn operations(document: &OpenApi) -> Result<Vec<Operation>, serde_json::Error> {
    let paths = serde_json::to_value(&document.paths)?;
    let mut operations = Vec::new();
    for (path, item) in paths.as_object().into_iter().flatten() {
        // Beside the methods an item has texts and lists, which are no objects.
        for (method, operation) in
            item.as_object().into_iter().flatten().filter(|(_, value)| value.is_object())
        {
            operations.push(Operation {
                path: path.clone(),
                method: method.to_uppercase(),
                id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
                is_public: operation["security"] == Value::Array(vec![Value::Object(serde_json::Map::new())]),
            });
        }
    }
    Ok(operations)
}

/// Who claims which name.
#[derive(Debug, Default)]
struct Claims(BTreeMap<(&'static str, String), Vec<String>>);

impl Claims {
    fn add(&mut self, kind: &'static str, name: &str, claimant: String) {
        self.0.entry((kind, name.to_owned())).or_default().push(claimant);
    }

    fn collisions(self) -> Vec<Collision> {
        let several = self.0.into_iter().filter(|(_, claimants)| claimants.len() > 1);
        several.map(|((kind, name), claimants)| Collision { kind, name, claimants }).collect()
    }
}
