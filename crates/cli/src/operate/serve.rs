//! `bowline serve`: runs a node until SIGTERM or Ctrl-C, and says why one did not start.
//!
//! It only joins settings and signals: everything that a node does is in the node's own crate.

use std::net::IpAddr;
use std::path::PathBuf;

use bowline_node::{Config, DataError, LogStyle, Node, Role, Roles};
use bowline_runtime::LogFormat;
use clap::Args;

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// Where the settings come from: defaults, then the file, then the environment, then these flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// The port to listen on; 0 for any free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// What runs in this process: all, gateway, indexer, triggers or worker; several with commas or by repeating it
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

/// The settings file.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsArgs {
    /// A settings file, YAML or TOML by its ending
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SettingsArgs {
    /// The settings with the data folder that the flags name.
    pub(crate) fn load(&self, context: &Context) -> Result<Config, Failure> {
        let mut config = Config::load(self.config.as_deref()).map_err(|error| {
            Failure::usage(error.to_string())
                .next("`bowline config dump` shows every setting with its default")
        })?;
        if let Some(data) = context.given_data() {
            config.data = data.to_owned();
        }
        Ok(config)
    }
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    let mut config = options.settings.load(context)?;
    config.api.host = options.host.unwrap_or(config.api.host);
    config.api.port = options.port.unwrap_or(config.api.port);
    if !options.roles.is_empty() {
        config.roles = Roles::parse(options.roles.iter().map(String::as_str))
            .map_err(|problem| Failure::usage(format!("--role: {problem}")))?;
    }
    let format = match config.log.format {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    bowline_runtime::install_logs(&config.log.filter, format)
        .map_err(|error| Failure::usage(error.to_string()).next("try log.filter (RUST_LOG) `info`"))?;
    for name in Config::unserved() {
        tracing::warn!(
            component = "node",
            name,
            "Environment variable is set and not served by this version"
        );
    }
    // Watched before anything is opened, so that a stop during the start is not lost.
    let stop = stop_signal()?;
    let data = config.data.clone();
    let node = Node::build(config).await.map_err(start_failed)?;
    let engine = node.line().store.engine().name();
    let (address, version) = (node.address(), env!("CARGO_PKG_VERSION"));
    let roles = node.roles();
    tracing::info!(component = "node", %address, engine, %roles, data = %data.display(), version, "Listening");
    let page = match roles.has(Role::Gateway) {
        true => format!("API page: http://{address}/docs"),
        false => format!("roles: {roles}; whether it is well: http://{address}/status"),
    };
    output::talk(&format!("bowline listens on http://{address} ({engine}); {page}"));
    node.run(stop).await.map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))?;
    Ok(Exit::Done)
}

/// Why a node did not start, and what mends it.
pub(crate) fn start_failed(error: bowline_node::Error) -> Failure {
    let next = match &error {
        bowline_node::Error::Config(_) => "`bowline config check` names every problem",
        bowline_node::Error::Open(_) | bowline_node::Error::Store(_) => {
            "check store.url (DATABASE_URL), that the database runs, and `bowline migrate`"
        }
        bowline_node::Error::Http(_) => {
            "choose another address with --port or --host, or stop what listens there"
        }
        bowline_node::Error::Data(DataError::NotShared(_)) => {
            "set DATABASE_URL to a PostgreSQL database, and give each process a data folder of its own with --data"
        }
        bowline_node::Error::Data(_) | bowline_node::Error::Telemetry(_) | bowline_node::Error::Task(_) => {
            "choose another data folder with --data, or stop the node that uses this one"
        }
    };
    Failure::usage(error.to_string()).next(next)
}

/// Resolves on SIGTERM or Ctrl-C.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()> + Send, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let watch =
        |kind| signal(kind).map_err(|error| Failure::usage(format!("can't watch for signals: {error}")));
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
