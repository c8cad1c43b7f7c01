//! Follows chains and writes jobs for what triggers match.

use bowline_runtime::Shutdown;
use bowline_store::StoreError;

use crate::config::MatchingConfig;
use crate::service::Dependencies;

#[derive(Debug)]
pub(crate) struct Matcher;

impl Matcher {
    pub(crate) fn new(_config: &MatchingConfig, _dependencies: &Dependencies) -> Self {
        Self
    }

    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        shutdown.begun().await;
        Ok(())
    }
}
