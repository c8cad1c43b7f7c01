//! `bowline migrate`: brings the store's schema to what this binary knows.

use bowline_node::Config;
use serde_json::json;

use crate::operate::direct::DirectStore;
use crate::operate::serve::SettingsArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

pub(crate) async fn run(context: &Context, settings: SettingsArgs) -> Outcome {
    apply(&settings.load(context)?, context.is_json()).await
}

/// Migrates the store of these settings, and says what was done.
pub(crate) async fn apply(config: &Config, as_json: bool) -> Outcome {
    let (direct, applied) = DirectStore::open(config, true).await?;
    let (engine, version) = (direct.store.engine().name(), direct.store.schema_version());
    direct.close().await;
    if as_json {
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
