//! The chains on the line: the indexer, its key, and the address on which it tells how far it is.

use std::sync::Arc;

use bowline_indexer::routes::StatusListener;
use bowline_runtime::Tasks;

use super::Error;
use crate::config::{Config, ConfigError, Role, Roles};
use crate::data::DataFolder;

/// The indexer, not yet running.
#[derive(Debug)]
pub(super) struct Chains {
    service: bowline_indexer::Service,
    pub(super) handle: bowline_indexer::Handle,
    status: Option<StatusListener>,
}

impl Chains {
    /// Puts the indexer together, and binds its own address if it has one and runs here.
    pub(super) async fn build(
        config: &Config,
        data: &DataFolder,
        line: &bowline_line::Handle,
    ) -> Result<Self, Error> {
        let (service, handle) = bowline_indexer::Service::build(
            &config.indexer,
            bowline_indexer::Dependencies {
                store: Arc::clone(&line.store),
                clock: Arc::clone(&line.clock),
                signer: Arc::clone(&line.signer),
                key: Arc::new(data.indexer_key()?),
            },
        )
        .map_err(|problem| ConfigError::Problems(vec![problem]))?;
        let status = match config.indexer.status_address.filter(|_| config.roles.has(Role::Indexer)) {
            Some(address) => Some(StatusListener::bind(address, handle.clone()).await?),
            None => None,
        };
        Ok(Self { service, handle, status })
    }

    /// Starts it, if that is a role of this process.
    pub(super) fn spawn(self, roles: Roles, tasks: &Tasks) {
        if !roles.has(Role::Indexer) {
            return;
        }
        self.service.spawn(tasks);
        if let Some(status) = self.status {
            tasks.spawn("indexer status", status.run(tasks.shutdown().clone()));
        }
    }
}
