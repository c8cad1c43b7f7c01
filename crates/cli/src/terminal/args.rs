//! The flags that commands share: which server, which data folder, how to print, which stream.

use std::path::PathBuf;

use bowline_types::{StoreId, TenantId};
use clap::Args;
use reqwest::Url;

use crate::terminal::output::Format;

/// Flags that stand before or after every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct GlobalArgs {
    /// The server's address
    #[arg(
        long,
        global = true,
        env = "BOWLINE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    #[arg(value_parser = parse_url)]
    pub(crate) url: Url,

    /// The key to the server; for a server on this machine, DATA/admin.key is used if there is none
    #[arg(long, global = true, env = "BOWLINE_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// The data folder: a node's database and keys, and this machine's remembered ids [default: data]
    #[arg(long, global = true, env = "BOWLINE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// How to print data
    #[arg(long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,

    /// Print the call as a curl command on stderr instead of making it
    #[arg(long, global = true)]
    pub(crate) curl: bool,

    /// No progress bars
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Which stream; what is left out is the stream that `append` remembered in DATA/cli.json.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct StreamArgs {
    /// The stream's tenant
    #[arg(long, value_name = "UUID")]
    pub(crate) tenant: Option<TenantId>,
    /// The stream's store
    #[arg(long, value_name = "UUID")]
    pub(crate) store: Option<StoreId>,
}

pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("expected http://HOST:PORT or https://HOST".to_owned()),
    }
}
