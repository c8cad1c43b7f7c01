//! The store itself, without a node between: for commands that work directly on the database.
//!
//! A shared database may be worked on while nodes run; the embedded one belongs to one process, so its data
//! folder is taken for as long as the work lasts.

use std::sync::Arc;

use bowline_node::{Config, DataFolder, open_store};
use bowline_store::{AppliedMigration, LineStore};

use crate::exit::Failure;

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
        let refuse = |error: String| {
            Failure::usage(error).next("stop the node that uses the folder, or check DATABASE_URL")
        };
        let folder = match config.store.url {
            None => Some(DataFolder::open(&config.data).map_err(|error| refuse(error.to_string()))?),
            Some(_) => None,
        };
        let database = folder.as_ref().map(DataFolder::database).unwrap_or_default();
        let opened = open_store(&config.store, database, migrate).await;
        let (store, applied) = opened.map_err(|error| refuse(error.to_string()))?;
        Ok((Self { store, _folder: folder }, applied))
    }

    /// Finishes what is under way.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}
