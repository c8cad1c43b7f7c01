//! The store itself, without a node between: for commands that work directly on the database.
//!
//! A shared database may be worked on while nodes run; the embedded one belongs to one process, so its data
//! folder is taken for as long as the work lasts.

use std::sync::Arc;

use bowline_node::{Config, DataFolder, open_store};
use bowline_store::{AppliedMigration, LineStore};

use crate::terminal::exit::{Exit, Failure};

/// An open store, and the folder that it is in if it is embedded.
#[derive(Debug)]
pub(crate) struct DirectStore {
    pub(crate) store: Arc<dyn LineStore>,
    _folder: Option<DataFolder>,
}

impl DirectStore {
    /// Opens the store that the settings name; says which migrations were applied, if that was allowed.
    pub(crate) async fn open(
        config: &Config,
        migrate: bool,
    ) -> Result<(Self, Vec<AppliedMigration>), Failure> {
        let refuse = |exit: Exit, error: String| {
            Failure::new(exit, error).next("stop the node that uses the folder, or check DATABASE_URL")
        };
        let take = || DataFolder::open(&config.data).map_err(|error| refuse(Exit::Usage, error.to_string()));
        let folder = match config.store.url {
            None => Some(take()?),
            Some(_) => None,
        };
        let database = folder.as_ref().map(DataFolder::database).unwrap_or_default();
        let opened = open_store(&config.store, database, migrate).await;
        let (store, applied) = opened.map_err(|error| {
            let exit = if error.cause.retryable() { Exit::Unreachable } else { Exit::Usage };
            refuse(exit, error.to_string())
        })?;
        Ok((Self { store, _folder: folder }, applied))
    }

    /// Finishes what is under way.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}
