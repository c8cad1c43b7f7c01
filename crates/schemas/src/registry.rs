//! The registry: schemas come in as versions of their event type, and payloads are held against them.
//!
//! A schema is compiled where it is registered, off the threads that serve connections, and again where it is first
//! needed; what is compiled is kept. Whoever asked for a change sees it at once, other processes within a second.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Clock;
use bowline_store::{
    ChangeKind, InsertSchema, LineStore, SchemaCompatibility, SchemaFilter, SchemaRecord, SchemaStatus,
    StoreError,
};
use bowline_types::{SchemaId, TenantId};
use metrics::counter;
use serde_json::Value;

use crate::cache::Cache;
use crate::compatibility::objection;
use crate::config::{Config, Mode};
use crate::document::Document;
use crate::metrics::{REGISTERED, declare};

/// Bytes of an event type, as of events.
const EVENT_TYPE_BYTES_MAX: usize = 256;

/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 1_024;

/// How often a registration that others overtook is tried.
const TRIES_MAX: u32 = 5;

/// Faults that a validation tells.
const FAULTS_MAX: usize = 50;

/// A schema to register.
#[derive(Debug, Clone)]
pub struct NewSchema {
    /// Whose events it judges.
    pub tenant_id: TenantId,
    /// The type of those events.
    pub event_type: String,
    /// The JSON Schema as it was sent.
    pub schema_json: String,
    /// What it promises; what the version before it promised if absent, and `backward` of the first.
    pub compatibility: Option<SchemaCompatibility>,
    /// What its author says of it.
    pub description: Option<String>,
    /// Who registers it.
    pub created_by: Option<String>,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It is a new version.
    Created(SchemaRecord),
    /// It is the version that is current already.
    Unchanged(SchemaRecord),
}

/// Why a schema was not registered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegisterError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field has a value that it can't have.
    #[error("{field}: {problem}")]
    Field {
        /// The field on the wire.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The schema is larger than the limit.
    #[error("schemaJson has {bytes} bytes and may have {max}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The text is no schema that can be taken.
    #[error("schemaJson can't be taken: {0}")]
    Unusable(String),
    /// It breaks the promise to those who know the version before it.
    #[error(
        "it can't follow version {version} of `{event_type}`: {problem}; change it, or register it with the \
         compatibility `none`"
    )]
    Incompatible {
        /// The event type.
        event_type: String,
        /// The version before it.
        version: u32,
        /// Where it breaks which promise.
        problem: String,
    },
    /// The tenant has as many schemas as it may have.
    #[error("the tenant has {0} schemas, which is the limit; delete some that are not needed")]
    TooMany(usize),
    /// Others registered versions of the same event type all the time.
    #[error("others register versions of the same event type; try again")]
    Overtaken,
}

/// One thing that is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer into the payload; empty for the whole of it.
    pub path: String,
    /// What is wrong there, and the rule that says so.
    pub problem: String,
}

/// What a validation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The schema that judged; none if there was none.
    pub schema: Option<(SchemaId, u32)>,
    /// What is wrong; empty if nothing is.
    pub faults: Vec<Fault>,
}

/// A schema that judges, or why it can't.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) schema_id: SchemaId,
    pub(crate) version: u32,
    document: Result<Document, String>,
}

impl Rule {
    pub(crate) fn faults(&self, payload: &str, faults_max: usize) -> Vec<Fault> {
        match &self.document {
            Ok(document) => document.faults(payload, faults_max),
            Err(problem) => {
                let problem = format!("version {} of its schema can't be used here: {problem}", self.version);
                vec![Fault { path: String::new(), problem }]
            }
        }
    }
}

/// The registry; cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    cache: Arc<Cache>,
}

impl Registry {
    /// A registry of what the store keeps.
    pub fn new(config: Config, store: Arc<dyn LineStore>, clock: Arc<dyn Clock>) -> Self {
        declare();
        let cache = Arc::new(Cache::new(config.cached_max, Duration::from_secs(config.cached_secs)));
        Self { config, store, clock, cache }
    }

    /// What is done with a payload that breaks its schema.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// Registers a schema as the next version of its event type. The current version once more changes nothing.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing was changed then, unless the store says otherwise.
    pub async fn register(&self, new: NewSchema) -> Result<Registered, RegisterError> {
        self.check(&new)?;
        let text = new.schema_json.clone();
        let compiled = tokio::task::spawn_blocking(move || Document::compile(&text)).await;
        let (_, value) =
            compiled.map_err(|e| StoreError::Internal(e.to_string()))?.map_err(RegisterError::Unusable)?;
        for _ in 0..TRIES_MAX {
            let head = self.store.schema_head(new.tenant_id, &new.event_type).await?;
            let compatibility = new
                .compatibility
                .or(head.current.as_ref().map(|current| current.compatibility))
                .unwrap_or_default();
            if let Some(current) = head.current {
                let old: Value = serde_json::from_str(&current.schema_json).map_err(|error| {
                    StoreError::Internal(format!("schema {}: {error}", current.schema_id))
                })?;
                if old == value
                    && current.status == SchemaStatus::Active
                    && current.compatibility == compatibility
                    && new.description.as_ref().is_none_or(|said| current.description.as_ref() == Some(said))
                {
                    return Ok(Registered::Unchanged(current));
                }
                if let Some(problem) = objection(compatibility, &old, &value) {
                    let (event_type, version) = (new.event_type, current.version);
                    return Err(RegisterError::Incompatible { event_type, version, problem });
                }
            }
            let record = self.record(&new, head.last_version.saturating_add(1), compatibility);
            match self.store.insert_schema(record.clone(), self.config.schemas_per_tenant_max).await? {
                InsertSchema::Inserted => {
                    counter!(REGISTERED).increment(1);
                    return Ok(Registered::Created(record));
                }
                InsertSchema::Superseded => {}
                InsertSchema::TooMany => {
                    return Err(RegisterError::TooMany(self.config.schemas_per_tenant_max));
                }
            }
        }
        Err(RegisterError::Overtaken)
    }

    /// One schema.
    ///
    /// # Errors
    /// The store.
    pub async fn schema(&self, schema_id: SchemaId) -> Result<Option<SchemaRecord>, StoreError> {
        self.store.schema(schema_id).await
    }

    /// A tenant's schemas.
    ///
    /// # Errors
    /// The store.
    pub async fn schemas(&self, filter: SchemaFilter) -> Result<Vec<SchemaRecord>, StoreError> {
        self.store.schemas(filter).await
    }

    /// The schema that judges an event type's payloads.
    ///
    /// # Errors
    /// The store.
    pub async fn active(
        &self,
        tenant_id: TenantId,
        event_type: &str,
    ) -> Result<Option<SchemaRecord>, StoreError> {
        self.store.active_schema(tenant_id, event_type).await
    }

    /// Changes a schema's status; answers whether it is there.
    ///
    /// # Errors
    /// The store.
    pub async fn set_status(&self, schema_id: SchemaId, status: SchemaStatus) -> Result<bool, StoreError> {
        self.store.set_schema_status(schema_id, status, self.clock.now()).await
    }

    /// Removes a schema; its number is never given again. Answers whether it was there.
    ///
    /// # Errors
    /// The store.
    pub async fn delete(&self, schema_id: SchemaId) -> Result<bool, StoreError> {
        self.store.delete_schema(schema_id, self.clock.now()).await
    }

    /// Holds a payload against one version of an event type's schema, or against the one that judges it now; none if
    /// there is no such version.
    ///
    /// # Errors
    /// The store.
    pub async fn validate(
        &self,
        tenant_id: TenantId,
        event_type: &str,
        version: Option<u32>,
        payload: String,
    ) -> Result<Option<Verdict>, StoreError> {
        let rule = match version {
            None => self.rule(tenant_id, event_type).await?,
            Some(version) => {
                let (event_type, version) = (Some(event_type.to_owned()), Some(version));
                let filter = SchemaFilter { tenant_id, event_type, version, limit: 1 };
                let Some(record) = self.store.schemas(filter).await?.pop() else { return Ok(None) };
                Some(Arc::new(compile(record).await?))
            }
        };
        let Some(rule) = rule else { return Ok(Some(Verdict { schema: None, faults: Vec::new() })) };
        let schema = Some((rule.schema_id, rule.version));
        let faults = tokio::task::spawn_blocking(move || rule.faults(&payload, FAULTS_MAX)).await;
        let faults = faults.map_err(|error| StoreError::Internal(error.to_string()))?;
        Ok(Some(Verdict { schema, faults }))
    }

    /// The rule that judges an event type's payloads; one look-up in memory if it is known.
    pub(crate) async fn rule(
        &self,
        tenant_id: TenantId,
        event_type: &str,
    ) -> Result<Option<Arc<Rule>>, StoreError> {
        // Before the read: what is read afterwards is no older than this.
        let epoch = self.store.changes().epoch(ChangeKind::SCHEMAS);
        if let Some(known) = self.cache.get(tenant_id, event_type, epoch) {
            return Ok(known);
        }
        let rule = match self.store.active_schema(tenant_id, event_type).await? {
            Some(record) => Some(Arc::new(compile(record).await?)),
            None => None,
        };
        self.cache.put(tenant_id, event_type, epoch, rule.clone());
        Ok(rule)
    }

    fn check(&self, new: &NewSchema) -> Result<(), RegisterError> {
        let (bytes, max) = (new.schema_json.len(), self.config.schema_bytes_max);
        if bytes > max {
            return Err(RegisterError::TooLarge { bytes, max });
        }
        let refuse = |field, problem| Err(RegisterError::Field { field, problem });
        if new.event_type.is_empty() || new.event_type.len() > EVENT_TYPE_BYTES_MAX {
            return refuse("eventType", format!("1 to {EVENT_TYPE_BYTES_MAX} bytes"));
        }
        let description = new.description.as_deref().unwrap_or_default();
        if description.chars().count() > DESCRIPTION_CHARS_MAX {
            return refuse("description", format!("{DESCRIPTION_CHARS_MAX} characters at most"));
        }
        // A database can't keep it.
        for (field, text) in [("eventType", new.event_type.as_str()), ("description", description)] {
            if text.contains('\0') {
                return refuse(field, "it holds a NUL character".to_owned());
            }
        }
        Ok(())
    }

    fn record(&self, new: &NewSchema, version: u32, compatibility: SchemaCompatibility) -> SchemaRecord {
        let now = self.clock.now();
        SchemaRecord {
            schema_id: SchemaId::random(),
            tenant_id: new.tenant_id,
            event_type: new.event_type.clone(),
            version,
            schema_json: new.schema_json.clone(),
            status: SchemaStatus::Active,
            compatibility,
            description: new.description.clone(),
            created_at: now,
            updated_at: now,
            created_by: new.created_by.clone(),
        }
    }
}

async fn compile(record: SchemaRecord) -> Result<Rule, StoreError> {
    let SchemaRecord { schema_id, version, schema_json, .. } = record;
    let compiled = tokio::task::spawn_blocking(move || Document::compile(&schema_json)).await;
    let document =
        compiled.map_err(|error| StoreError::Internal(error.to_string()))?.map(|(document, _)| document);
    if let Err(problem) = &document {
        tracing::error!(component = "schemas", %schema_id, version, problem, "Stored schema can't be used");
    }
    Ok(Rule { schema_id, version, document })
}
