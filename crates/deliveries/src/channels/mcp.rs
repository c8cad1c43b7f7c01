//! Calls of tools of MCP servers, over streamable HTTP or to a program of this machine.
//!
//! Each delivery is a session of its own: initialize, one `tools/call`, and the end. The job's id goes with the call
//! under `_meta`, so that a server recognises a repetition. A result that says `isError` is a failure.

use std::process::Stdio;
use std::time::Duration;

use bowline_types::Secret;
use reqwest::Url;
use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, JsonObject, RequestMetaObject};
use rmcp::service::{ClientInitializeError, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Map, Value};

use super::webhook::{destination_of, plain_address};
use crate::actions::{AttemptInput, JsonTemplate, SettingsReader};
use crate::guard::{GuardedClient, not_sent};
use crate::outcome::{Failure, FailureCode, Fault, ReceiverAnswer, snippet};
use crate::{FieldProblem, TemplateNames};

const KEYS: [&str; 8] = [
    "server_url",
    "command",
    "args",
    "tool_name",
    "arguments_template",
    "timeout_ms",
    "auth_token",
    "max_attempts",
];
const TOOL_NAME_BYTES_MAX: usize = 256;
const ARGS_MAX: usize = 64;

/// The key of the idempotency key among a call's `_meta`.
const META_KEY: &str = "bowline/idempotency-key";

#[derive(Debug)]
enum Server {
    Http(Url),
    Program { command: String, args: Vec<String>, path: String },
}

/// A call of a tool.
#[derive(Debug)]
pub(crate) struct McpAction {
    server: Server,
    tool_name: String,
    /// None for the whole event.
    arguments: Option<JsonTemplate>,
    time_max: Duration,
    auth_token: Option<Secret>,
}

impl McpAction {
    /// Reads a configuration, secrets and all.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(
        config: &Map<String, Value>,
        names: TemplateNames<'_>,
        http: &GuardedClient,
        programs: Option<&str>,
    ) -> Result<Self, Vec<FieldProblem>> {
        let mut reader = SettingsReader::new(config, &KEYS);
        let server = server(&mut reader, http, programs);
        let tool_name = tool_name(&mut reader);
        let arguments = arguments(&mut reader, names);
        let time_max = Duration::from_millis(reader.number("timeout_ms", (1, 300_000), 30_000));
        let auth_token = reader.text("auth_token", 4_096).map(Secret::new);
        reader.number("max_attempts", (1, 20), 1);
        let action = server.zip(tool_name).map(|(server, tool_name)| Self {
            server,
            tool_name,
            arguments,
            time_max,
            auth_token,
        });
        reader.finish(action)
    }

    /// Host and port, or the program.
    pub(crate) fn destination(&self) -> String {
        match &self.server {
            Server::Http(url) => destination_of(url),
            Server::Program { command, .. } => format!("stdio:{command}"),
        }
    }

    /// How long one attempt may take.
    pub(crate) fn time_max(&self) -> Duration {
        self.time_max
    }

    /// Calls it once.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn deliver(
        &self,
        http: &GuardedClient,
        input: &AttemptInput,
    ) -> Result<ReceiverAnswer, Failure> {
        let arguments = self.render(input)?;
        match tokio::time::timeout(self.time_max, self.call(http, input, arguments)).await {
            Ok(result) => judged(result?),
            Err(_) => {
                let problem = format!("no result within {} ms", self.time_max.as_millis());
                Err(Failure::passing(FailureCode::Timeout, problem))
            }
        }
    }

    fn render(&self, input: &AttemptInput) -> Result<JsonObject, Failure> {
        let failed = |problem: String| Failure::of_action(FailureCode::TemplateFailed, problem);
        let rendered = match &self.arguments {
            Some(template) => template.render(&input.fields).map_err(|error| failed(error.to_string()))?,
            None => serde_json::from_str(&input.event).map_err(|error| failed(error.to_string()))?,
        };
        match rendered {
            Value::Object(arguments) => Ok(arguments),
            _ => Err(failed("config.arguments_template: it comes to no object".to_owned())),
        }
    }

    async fn call(
        &self,
        http: &GuardedClient,
        input: &AttemptInput,
        arguments: JsonObject,
    ) -> Result<CallToolResult, Failure> {
        let mut client = ClientConfig::default();
        client.client_info.name = "bowline".to_owned();
        client.client_info.version = env!("CARGO_PKG_VERSION").to_owned();
        let running = match &self.server {
            Server::Http(url) => {
                let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
                config.auth_header = self.auth_token.as_ref().map(|token| token.reveal().to_owned());
                config.reinit_on_expired_session = false;
                let http = http.client(url)?.clone();
                client.serve(StreamableHttpClientTransport::with_client(http, config)).await
            }
            Server::Program { command, args, path } => {
                let mut program = tokio::process::Command::new(command);
                // The environment of this process holds secrets that no program needs.
                program.args(args).env_clear().env("PATH", path).kill_on_drop(true);
                let process = TokioChildProcess::builder(program).stderr(Stdio::null()).spawn();
                let (process, _) = process.map_err(|error| {
                    Failure::of_action(FailureCode::Program, format!("{command} can't be started: {error}"))
                })?;
                client.serve(process).await
            }
        };
        let running = running.map_err(|error| not_initialized(&error))?;
        let called = self.call_tool(&running, input, arguments).await;
        // The call is over; ending the session is a courtesy.
        let _ = tokio::time::timeout(Duration::from_secs(1), running.cancel()).await;
        called
    }

    async fn call_tool(
        &self,
        running: &RunningService<RoleClient, ClientConfig>,
        input: &AttemptInput,
        arguments: JsonObject,
    ) -> Result<CallToolResult, Failure> {
        let mut call = CallToolRequestParams::new(self.tool_name.clone()).with_arguments(arguments);
        let mut meta = RequestMetaObject::default();
        meta.insert(META_KEY.to_owned(), Value::from(input.job_id.to_string()));
        call.meta = Some(meta);
        running.call_tool(call).await.map_err(|error| not_called(&error))
    }
}

/// What a tool's result means.
fn judged(result: CallToolResult) -> Result<ReceiverAnswer, Failure> {
    let text = serde_json::to_vec(&result).unwrap_or_default();
    let answered = ReceiverAnswer { http_status: None, response: snippet(&text) };
    if result.is_error != Some(true) {
        return Ok(answered);
    }
    let mut failure = Failure::new(
        FailureCode::McpToolError,
        "the tool says that it failed",
        Fault::Passing { retry_after: None },
    );
    failure.answered = answered;
    Err(failure)
}

fn not_initialized(error: &ClientInitializeError) -> Failure {
    match error {
        ClientInitializeError::TransportError { error, .. } => of_transport(error),
        ClientInitializeError::JsonRpcError(said) => of_server(said),
        ClientInitializeError::ConnectionClosed(_) => {
            Failure::passing(FailureCode::ConnectionLost, "the server closed the connection")
        }
        _ => Failure::passing(
            FailureCode::McpProtocol,
            "the server does not speak a version of MCP that this node knows",
        ),
    }
}

fn not_called(error: &ServiceError) -> Failure {
    match error {
        ServiceError::McpError(said) => of_server(said),
        ServiceError::TransportSend(error) => of_transport(error),
        ServiceError::Timeout { .. } => Failure::passing(FailureCode::Timeout, "no result in time"),
        ServiceError::TransportClosed => {
            Failure::passing(FailureCode::ConnectionLost, "the server closed the connection")
        }
        _ => Failure::passing(FailureCode::McpProtocol, "the server's answer is none to a call of a tool"),
    }
}

/// An error of the protocol: JSON-RPC's codes for what is wrong with the call are final, all others may pass.
fn of_server(said: &rmcp::model::ErrorData) -> Failure {
    let fault = match said.code.0 {
        -32_700 | -32_602..=-32_600 => Fault::Refused,
        _ => Fault::Passing { retry_after: None },
    };
    Failure::new(FailureCode::McpError, format!("{}: {}", said.code.0, said.message), fault)
}

fn of_transport(error: &rmcp::transport::DynamicTransportError) -> Failure {
    match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => match error.status() {
            Some(status) => of_status(status.as_u16(), None),
            None => not_sent(error),
        },
        Some(StreamableHttpError::HttpStatus(error)) => of_status(error.status, error.retry_after.as_deref()),
        Some(StreamableHttpError::AuthRequired(_)) => of_status(401, None),
        Some(StreamableHttpError::InsufficientScope(_)) => of_status(403, None),
        Some(StreamableHttpError::SessionExpired) => of_status(404, None),
        Some(StreamableHttpError::UnexpectedServerResponse(said)) if status_of(said).is_some() => {
            of_status(status_of(said).unwrap_or_default(), None)
        }
        Some(_) => {
            Failure::passing(FailureCode::McpProtocol, "the server's answer is none of streamable HTTP")
        }
        None => Failure::passing(FailureCode::ConnectionLost, "the connection to the server was lost"),
    }
}

/// The status of an answer that the client tells as text alone: `HTTP 401 Unauthorized: …`.
fn status_of(said: &str) -> Option<u16> {
    said.strip_prefix("HTTP ")?.get(..3)?.parse().ok()
}

fn of_status(status: u16, retry_after: Option<&str>) -> Failure {
    let seconds = retry_after.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    let fault = match status {
        408 | 425 | 429 | 500..=599 => Fault::Passing { retry_after: seconds },
        _ => Fault::Refused,
    };
    let mut failure = Failure::new(FailureCode::HttpStatus, format!("HTTP status {status}"), fault);
    failure.answered.http_status = Some(status);
    failure
}

fn server(reader: &mut SettingsReader<'_>, http: &GuardedClient, programs: Option<&str>) -> Option<Server> {
    match (reader.get("server_url").is_some(), reader.get("command").is_some()) {
        (true, true) => {
            reader.refuse("command", "and server_url exclude each other");
            None
        }
        (_, false) => {
            if reader.get("args").is_some() {
                reader.refuse("args", "go with a command");
            }
            plain_address(reader, "server_url", http).map(Server::Http)
        }
        (false, true) => {
            let Some(path) = programs else {
                reader.refuse("command", "programs are not allowed on this node: mcp_stdio_allowed is off");
                return None;
            };
            let command = reader.required("command", 1_024)?.to_owned();
            let args = reader.texts("args", ARGS_MAX).into_iter().map(str::to_owned).collect();
            Some(Server::Program { command, args, path: path.to_owned() })
        }
    }
}

fn tool_name(reader: &mut SettingsReader<'_>) -> Option<String> {
    let name = reader.required("tool_name", TOOL_NAME_BYTES_MAX)?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '/' | '.');
    if name.chars().all(allowed) {
        return Some(name.to_owned());
    }
    reader.refuse("tool_name", "may have letters, digits, `_`, `-`, `/` and `.`");
    None
}

fn arguments(reader: &mut SettingsReader<'_>, names: TemplateNames<'_>) -> Option<JsonTemplate> {
    let source = reader.get("arguments_template")?;
    let parsed;
    let source = match source {
        Value::Object(_) => source,
        Value::String(text) => {
            match serde_json::from_str::<Value>(text) {
                Ok(value) if value.is_object() => parsed = value,
                _ => {
                    reader.refuse("arguments_template", "must be an object, or the JSON text of one");
                    return None;
                }
            }
            &parsed
        }
        _ => {
            reader.refuse("arguments_template", "must be an object");
            return None;
        }
    };
    reader.json_template("arguments_template", source, names)
}
