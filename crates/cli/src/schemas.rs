//! `bowline schemas`: what payloads of an event type must look like, registered and tried out.
//!
//! A schema or payload is sent as it stands in its file. Whether it can be taken is the server's answer; nothing is
//! judged here.

use std::path::PathBuf;

use bowline_client::{Call, answers};
use bowline_types::{SchemaId, TenantId};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;
use crate::verify::read_document;

/// `bowline schemas`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Register a schema as the next version of its event type
    Put(PutOptions),
    /// Show the schemas of a tenant, or the versions of one event type
    List(ListOptions),
    /// Show one schema
    Show(NameOptions),
    /// Change whether a schema is in use
    Status(StatusOptions),
    /// Hold a payload against its event type's schema, without appending anything
    Validate(ValidateOptions),
    /// Delete a schema; its version is never given again
    Delete(NameOptions),
}

/// `bowline schemas put`.
#[derive(Debug, Args)]
pub(crate) struct PutOptions {
    /// The file with the JSON Schema, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The type of the events that it is for
    #[arg(long, value_name = "TYPE")]
    event_type: String,
    /// What it promises to those who know the version before it; what that one did if left out
    #[arg(long, value_name = "WORD", value_parser = PossibleValuesParser::new(["backward", "forward", "full", "none"]))]
    compatibility: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The tenant; the remembered one if left out
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
}

/// `bowline schemas list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Only of this event type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// The tenant; the remembered one if left out
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
}

/// A schema by its id.
#[derive(Debug, Args)]
pub(crate) struct NameOptions {
    /// The schema's id
    #[arg(value_name = "ID")]
    id: SchemaId,
}

/// `bowline schemas status`.
#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// The schema's id
    #[arg(value_name = "ID")]
    id: SchemaId,
    /// The new status
    #[arg(value_name = "STATUS", value_parser = PossibleValuesParser::new(["active", "deprecated", "archived"]))]
    status: String,
}

/// `bowline schemas validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateOptions {
    /// The file with the payload, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The event type whose schema it is held against
    #[arg(long, value_name = "TYPE")]
    event_type: String,
    /// Which version of the schema; the one that judges now if left out
    #[arg(long, value_name = "N")]
    schema_version: Option<u32>,
    /// The tenant; the remembered one if left out
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
}

/// A schema, as far as tables need it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    id: String,
    event_type: String,
    version: u32,
    schema_json: Box<RawValue>,
    status: String,
    compatibility: String,
    description: Option<String>,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct Schemas {
    schemas: Vec<Schema>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    valid: bool,
    schema_version: Option<u32>,
    errors: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    path: String,
    message: String,
}

/// Characters of one line of a schema; what is longer ends with `…`, and `--output json` shows all of it.
const LINE_CHARS_MAX: usize = 1_000;

const SCHEMAS: [&str; 3] = ["api", "v1", "schemas"];

fn path<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SCHEMAS.iter().chain(more).copied().collect()
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::Put(options) => put(context, options).await,
        What::List(options) => list(context, options).await,
        What::Show(options) => show(context, options.id).await,
        What::Status(options) => status(context, options).await,
        What::Validate(options) => validate(context, options).await,
        What::Delete(options) => delete(context, options.id).await,
    }
}

/// The JSON in a file, as it stands there.
fn json_of(file: &std::path::Path) -> Result<Box<RawValue>, Failure> {
    let text = read_document(file)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{} is not JSON: {error}", file.display())))
}

async fn put(context: &Context, options: PutOptions) -> Outcome {
    let body = json!({
        "tenantId": context.tenant(options.tenant)?, "eventType": options.event_type,
        "compatibility": options.compatibility, "description": options.description,
    });
    let call =
        Call::post(&SCHEMAS, &With { more: body, name: "schemaJson", value: json_of(&options.file)? })?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let Schema { id, event_type, version, .. } = answers::parse(&text)?;
    output::talk(&format!("schema {id} is version {version} of {event_type}"));
    Ok(Exit::Done)
}

/// An object with one more field, whose text stays as it is.
struct With {
    more: serde_json::Value,
    name: &'static str,
    value: Box<RawValue>,
}

impl serde::Serialize for With {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.more.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(self.name, &self.value)?;
        map.end()
    }
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let segments = match &options.event_type {
        Some(event_type) => path(&["event-type", event_type]),
        None => path(&[]),
    };
    let call = Call::get(&segments).query("tenant_id", Some(context.tenant(options.tenant)?));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let schemas = answers::parse::<Schemas>(&text)?.schemas;
    if schemas.is_empty() {
        output::talk("there is no schema; `bowline schemas put` registers one");
        return Ok(Exit::Done);
    }
    let rows = schemas.into_iter().map(|schema| {
        let Schema { id, event_type, version, status, compatibility, created_at, .. } = schema;
        [event_type, version.to_string(), status, compatibility, created_at, id]
    });
    output::table(["event type", "version", "status", "compatibility", "created at", "id"], rows)?;
    Ok(Exit::Done)
}

async fn show(context: &Context, id: SchemaId) -> Outcome {
    let id = id.to_string();
    let Some(text) = context.call(&Call::get(&path(&[&id]))).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let schema: Schema = answers::parse(&text)?;
    output::fields([
        ("id", schema.id),
        ("event type", schema.event_type),
        ("version", schema.version.to_string()),
        ("status", schema.status),
        ("compatibility", schema.compatibility),
        ("created at", schema.created_at),
        ("description", schema.description.unwrap_or_else(|| "-".to_owned())),
    ])?;
    let pretty = answers::parse::<serde_json::Value>(schema.schema_json.get())
        .map(|value| format!("{value:#}"))
        .unwrap_or_default();
    for line in pretty.lines() {
        output::line(&output::shown(line, LINE_CHARS_MAX))?;
    }
    Ok(Exit::Done)
}

async fn status(context: &Context, options: StatusOptions) -> Outcome {
    let (id, body) = (options.id.to_string(), json!({ "status": options.status }));
    let call = Call::put(&path(&[&id, "status"]), &body)?;
    done(context, &call, &format!("schema {id} is {}", options.status)).await
}

async fn delete(context: &Context, id: SchemaId) -> Outcome {
    let id = id.to_string();
    done(context, &Call::delete(&path(&[&id])), &format!("schema {id} is deleted")).await
}

async fn done(context: &Context, call: &Call, said: &str) -> Outcome {
    let Some(text) = context.call(call).await? else { return Ok(Exit::Done) };
    match context.is_json() {
        true => output::line(&text)?,
        false => output::talk(said),
    }
    Ok(Exit::Done)
}

async fn validate(context: &Context, options: ValidateOptions) -> Outcome {
    let body = json!({
        "tenantId": context.tenant(options.tenant)?, "eventType": options.event_type,
        "schemaVersion": options.schema_version,
    });
    let body = With { more: body, name: "payload", value: json_of(&options.file)? };
    let call = Call::post(&path(&["validate"]), &body)?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let Verdict { valid, schema_version, errors } = answers::parse(&text)?;
    if context.is_json() {
        output::line(&text)?;
    } else {
        match schema_version {
            None => output::talk("no schema is active for this event type: any payload is taken"),
            Some(version) if valid => output::talk(&format!("the payload fits version {version}")),
            Some(version) => {
                output::talk(&format!("the payload does not fit version {version}"));
                let rows = errors.into_iter().map(|fault| [fault.path, fault.message]);
                output::table(["path", "problem"], rows)?;
            }
        }
    }
    Ok(if valid { Exit::Done } else { Exit::No })
}
