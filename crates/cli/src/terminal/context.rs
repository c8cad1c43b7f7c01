//! What every command is given: the common flags, and what follows from them.
//!
//! It finds the API key, the stream and the local files, and it is the one place that makes a runtime. It
//! refuses to send a key file's content anywhere but to this machine.

use std::fs;
use std::path::Path;

use bowline_client::{ApiKey, Call, Client, Url, is_loopback, quoted};
use bowline_types::{StreamId, TenantId};

use crate::terminal::args::{GlobalArgs, StreamArgs};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::local::Remembered;
use crate::terminal::output::{self, Format};

/// The common flags with their meaning.
#[derive(Debug)]
pub(crate) struct Context {
    global: GlobalArgs,
}

impl Context {
    pub(crate) fn new(global: GlobalArgs) -> Self {
        Self { global }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.global.output == Format::Json
    }

    pub(crate) fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        self.given_data().unwrap_or(Path::new("data"))
    }

    /// The data folder, if a flag or the environment names it.
    pub(crate) fn given_data(&self) -> Option<&Path> {
        self.global.data.as_deref()
    }

    /// Whether the server that the flags name is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        is_loopback(&self.global.url)
    }

    /// The client of the server that the flags name.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.global.url.clone(), self.api_key()?)?)
    }

    /// A client of another process than the node, which gets no credential.
    pub(crate) fn client_of(&self, url: &Url) -> Result<Client, Failure> {
        Ok(Client::new(url.clone(), None)?)
    }

    /// Makes one call, or prints it with `--curl`: then there is no answer.
    pub(crate) async fn call(&self, call: &Call) -> Result<Option<String>, Failure> {
        let client = self.client()?;
        if self.prints(&client, call) {
            return Ok(None);
        }
        Ok(Some(client.text(call).await?))
    }

    /// With `--curl`: prints the call and says that this was all.
    pub(crate) fn prints(&self, client: &Client, call: &Call) -> bool {
        if self.global.curl {
            output::talk(&client.curl(call));
            if call.shows_masks() {
                output::talk("the secrets stand there as ********: write them back before you run the line");
            }
        }
        self.global.curl
    }

    /// Refuses `--curl` for a command that makes no call or several.
    pub(crate) fn refuse_curl(&self) -> Result<(), Failure> {
        match self.global.curl {
            true => Err(Failure::usage("--curl is for commands that make exactly one call")
                .next("leave --curl out, or use it with head, events, tail, commitments or keys")),
            false => Ok(()),
        }
    }

    /// The stream of the flags; what they leave out is what was remembered.
    pub(crate) fn stream(&self, args: StreamArgs) -> Result<StreamId, Failure> {
        if let (Some(tenant), Some(store)) = (args.tenant, args.store) {
            return Ok(StreamId::new(tenant, store));
        }
        let remembered = Remembered::load(self.data())?.ok_or_else(|| {
            Failure::usage("no stream is named and none is remembered")
                .next("name it with --tenant and --store, or make one with `bowline append`")
        })?;
        Ok(remembered.stream(args))
    }

    /// The tenant of the flag, or the remembered one.
    pub(crate) fn tenant(&self, tenant: Option<TenantId>) -> Result<TenantId, Failure> {
        let remembered = match tenant {
            Some(tenant) => return Ok(tenant),
            None => Remembered::load(self.data())?,
        };
        let tenant = remembered.map(|remembered| remembered.tenant_id);
        tenant.ok_or_else(|| {
            Failure::usage("no tenant is named and none is remembered").next("name it with --tenant")
        })
    }

    fn api_key(&self) -> Result<Option<ApiKey>, Failure> {
        let given = self.global.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
        if let Some(key) = given {
            return Ok(Some(ApiKey::new(key)));
        }
        let path = self.data().join("admin.key");
        if !is_loopback(&self.global.url) || !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", path.display()))
                .next("run as the user that runs the node, or set BOWLINE_API_KEY")
        })?;
        let secret = text.trim();
        let in_shell = format!("$(cat {})", quoted(&path.to_string_lossy()));
        Ok((!secret.is_empty()).then(|| ApiKey::new(secret).in_shell(in_shell)))
    }
}

/// Runs a command that talks to the network.
pub(crate) fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(work);
    // A thread that waits for standard input must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

/// Runs `work` until it is done or the person presses Ctrl-C.
pub(crate) async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        () = interrupt() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// Resolves when the person presses Ctrl-C; never if that can't be watched.
pub(crate) async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
