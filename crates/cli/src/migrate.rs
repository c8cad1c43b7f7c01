//! `bowline migrate`: brings the store's schema to what this binary knows.

use bowline_node::{DataFolder, open_store};
use bowline_store::schema_version;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::serve::SettingsArgs;

pub(crate) async fn run(context: &Context, settings: SettingsArgs) -> Outcome {
    let config = settings.load(context)?;
    let embedded = config.store.url.is_none();
    let refuse = |error: String| {
        Failure::usage(error).next("stop the node that uses the folder, or check DATABASE_URL")
    };
    // A shared database may be migrated while nodes run; the embedded one belongs to one process.
    let folder = match embedded {
        true => Some(DataFolder::open(&config.data).map_err(|error| refuse(error.to_string()))?),
        false => None,
    };
    let database = folder.as_ref().map(DataFolder::database).unwrap_or_default();
    let opened = open_store(&config.store, database, true).await;
    let (store, applied) = opened.map_err(|error| refuse(error.to_string()))?;
    let (engine, version) = (store.engine(), schema_version());
    store.close().await;
    if context.is_json() {
        let applied: Vec<_> =
            applied.iter().map(|m| json!({ "version": m.version, "name": m.name })).collect();
        output::line(
            &json!({ "engine": engine, "schema_version": version, "applied": applied }).to_string(),
        )?;
        return Ok(Exit::Done);
    }
    for migration in &applied {
        output::line(&format!("applied {}", migration.name))?;
    }
    output::line(&format!("the {engine} store has schema version {version}, {} applied now", applied.len()))?;
    Ok(Exit::Done)
}
