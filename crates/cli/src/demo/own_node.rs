//! A node of the demo's own, in this process, and its client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_client::{ApiKey, Client};
use bowline_node::{Config, Node};
use bowline_runtime::Shutdown;
use reqwest::Url;
use tokio::task::JoinHandle;

use crate::operate::serve::start_failed;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// What stopping may take.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// A node that runs until it is left.
#[derive(Debug)]
pub(super) struct OwnNode {
    url: Url,
    data: PathBuf,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), bowline_node::Error>>,
}

impl OwnNode {
    /// Starts it, and says where it is.
    pub(super) async fn start(config: Config) -> Result<Self, Failure> {
        let data = config.data.clone();
        let node = Node::build(config).await.map_err(start_failed)?;
        let url =
            Url::parse(&format!("http://{}/", node.address())).map_err(|e| Failure::usage(e.to_string()))?;
        let shutdown = Shutdown::new();
        let stopped = shutdown.clone();
        let running = tokio::spawn(async move { node.run(async move { stopped.begun().await }).await });
        output::talk(&format!("A node runs on {url} and keeps its line in {}.", data.display()));
        Ok(Self { url, data, shutdown, running })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// A client with the administrator's key, as a person's is who may read the data folder.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let key_file = self.data.join("admin.key");
        let secret = std::fs::read_to_string(&key_file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", key_file.display())))?;
        let in_shell = format!("$(cat {})", key_file.display());
        Ok(Client::new(self.url.clone(), Some(ApiKey::new(secret.trim()).in_shell(in_shell)))?)
    }

    /// Stops it, after the person has told so if it is to serve on.
    pub(super) async fn leave(
        self,
        shown: Result<(), Failure>,
        serves_on: bool,
        stop: impl Future<Output = ()>,
    ) -> Outcome {
        let Self { url, shutdown, running, .. } = self;
        if shown.is_ok() && serves_on {
            output::talk(&format!(
                "\nThe node keeps running on {url} (API page: {url}docs). Ctrl-C stops it."
            ));
            stop.await;
        }
        shutdown.begin();
        let failed = |cause: String| Failure::new(Exit::Unreachable, cause);
        let ended = tokio::time::timeout(STOP_TIME_MAX, running).await;
        let ended = ended
            .map_err(|_| failed(format!("the node did not stop within {} s", STOP_TIME_MAX.as_secs())))?;
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        shown?;
        ended.map_err(|error| failed(error.to_string()))?;
        Ok(Exit::Done)
    }
}
