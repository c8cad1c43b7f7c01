//! The flags that all generators share: which server, and how figures are printed.

use anyhow::{Context as _, Result};
use bowline_client::{ApiKey, Client, Url};
use clap::{Args, ValueEnum};

/// How figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Flags that stand before or after every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Settings {
    /// The server's address
    #[arg(
        long,
        global = true,
        env = "BOWLINE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: Url,
    /// The key to the server
    #[arg(long, global = true, env = "BOWLINE_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// How to print figures
    #[arg(long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    /// No progress bars
    #[arg(long, short, global = true)]
    quiet: bool,
}

impl Settings {
    pub(crate) fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref()
    }

    /// The client of the server.
    pub(crate) fn client(&self) -> Result<Client> {
        let key = self.api_key().map(ApiKey::new);
        Client::new(self.url.clone(), key).context("there is no client of the server")
    }
}
