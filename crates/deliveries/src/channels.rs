//! The channels to receivers: webhooks, Telegram messages, calls of MCP tools.
//! A channel sends one attempt and says how it ended; retries, breakers and queues are not its business.

mod escape;
mod limits;
mod mcp;
mod signature;
mod telegram;
mod webhook;

pub(crate) use self::limits::ReceiverLimits;
pub(crate) use self::mcp::McpAction;
pub use self::signature::{ArrivedWebhook, new_signing_secret};
pub(crate) use self::telegram::{TelegramAction, TelegramSettings};
pub(crate) use self::webhook::WebhookAction;
