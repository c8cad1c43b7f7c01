//! The guard of addresses: deliveries reach public addresses and those that the operator allows, and nothing else.
//! Every connection of a channel goes through a client of this module.

mod addresses;
mod client;
mod clients;

pub(crate) use self::client::{GuardedClient, HttpAnswer, HttpRequest, not_sent};
pub(crate) use self::clients::Clients;
