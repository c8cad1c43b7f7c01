//! What the triggers' demo tells: from the transactions to the webhook, and where to look further.
//! It only renders; whether what happened is right was decided before.

use bowline_types::TenantId;
use serde_json::{Value, json};

use super::Options;
use super::called;
use super::dev_node::DEV_CHAIN;
use super::own_node::OwnNode;
use super::receiver::Received;
use super::triggers::{Chain, Rated};
use crate::terminal::context::Context;
use crate::terminal::exit::Failure;
use crate::terminal::output;

/// Everything that happened.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) chain: &'a Chain,
    pub(super) organization: TenantId,
    pub(super) trigger: &'a Value,
    pub(super) ratings: &'a [Rated],
    pub(super) received: &'a [Received],
}

impl Told<'_> {
    pub(super) fn print(
        &self,
        context: &Context,
        options: &Options,
        node: &OwnNode,
        deliveries: &[Value],
    ) -> Result<(), Failure> {
        if context.is_json() {
            return output::line(&self.to_json(deliveries).to_string());
        }
        let trigger = format!("{} ({})", text(&self.trigger["name"]), text(&self.trigger["id"]));
        let mut fields = vec![
            ("chain", format!("{} with registry {} on {}", DEV_CHAIN, self.chain.registry, self.chain.url)),
            ("trigger", trigger),
        ];
        fields.extend(self.received.iter().map(|received| {
            let late = self.latency_ms(received);
            let late = late.map(|late| format!(", {late} ms after its block")).unwrap_or_default();
            ("webhook", format!("{} arrived with a valid signature{late}", received.id))
        }));
        output::fields(fields)?;
        output::line("")?;
        let rows = self.ratings.iter().map(|rated| {
            let fires = if rated.explanation["would_fire"] == true { "yes" } else { "no" };
            let number = format!("{} (block {})", rated.event["sequence_number"], rated.mined.block);
            [
                rated.mined.transaction.clone(),
                number,
                rated.score.to_string(),
                fires.to_owned(),
                why(&rated.explanation),
            ]
        });
        output::table(["transaction", "event", "score", "matches", "why"], rows)?;
        output::line("")?;
        let rows = deliveries.iter().map(|delivery| {
            let last = delivery["log"].as_array().and_then(|log| log.last()).cloned().unwrap_or_default();
            [
                text(&delivery["id"]),
                text(&delivery["state"]),
                text(&delivery["attempts"]),
                text(&last["http_status"]),
                format!("{} ms", text(&last["duration_ms"])),
                text(&last["destination"]),
            ]
        });
        output::table(["delivery", "state", "tries", "http", "took", "to"], rows)?;
        self.talk_of_more(options, node, deliveries);
        Ok(())
    }

    fn to_json(&self, deliveries: &[Value]) -> Value {
        let events = self.ratings.iter().map(|rated| {
            json!({
                "transaction": rated.mined.transaction,
                "block": rated.mined.block,
                "event_id": rated.event["id"],
                "sequence_number": rated.event["sequence_number"],
                "score": rated.score,
                "would_fire": rated.explanation["would_fire"],
                "why": why(&rated.explanation),
            })
        });
        let webhooks = self.received.iter().map(|received| {
            json!({
                "id": received.id,
                "signature": if received.signature.is_ok() { "valid" } else { "invalid" },
                "latency_ms": self.latency_ms(received),
                "body": received.body,
            })
        });
        json!({
            "chain_id": DEV_CHAIN,
            "rpc_url": self.chain.url,
            "registry": self.chain.registry.to_string(),
            "organization_id": self.organization,
            "trigger": self.trigger,
            "events": events.collect::<Vec<_>>(),
            "webhooks": webhooks.collect::<Vec<_>>(),
            "deliveries": deliveries,
        })
    }

    /// Milliseconds from the block of a webhook's event to its arrival.
    fn latency_ms(&self, received: &Received) -> Option<u64> {
        let rated = self
            .ratings
            .iter()
            .find(|rated| received.body["transaction_hash"] == rated.mined.transaction.as_str());
        u64::try_from(received.at.saturating_duration_since(rated?.at).as_millis()).ok()
    }

    fn talk_of_more(&self, options: &Options, node: &OwnNode, deliveries: &[Value]) {
        let (bowline, data) = (called(), node.data().display());
        let (organization, trigger) = (self.organization, text(&self.trigger["id"]));
        let matched = self.ratings.iter().find(|rated| rated.explanation["would_fire"] == true);
        let event = matched.map(|rated| text(&rated.event["id"])).unwrap_or_default();
        let delivery = deliveries.first().map(|delivery| text(&delivery["id"])).unwrap_or_default();
        let (begin, ask) = match options.serve {
            true => (String::new(), format!("{bowline} --data {data} --url {}", node.url())),
            false => (format!("  {bowline} serve --data {data} &\n"), format!("{bowline} --data {data}")),
        };
        let gone = if self.chain.is_own && !options.serve {
            "\nThe chain was the demo's own and is gone; what it said is on the line."
        } else {
            ""
        };
        output::talk(&format!(
            "{gone}\nNext:\n{begin}  \
             {ask} explain {event}\n  \
             {ask} deliveries show {delivery} --organization {organization}\n  \
             {ask} triggers show {trigger} --organization {organization}\n  \
             {ask} triggers backtest {trigger} --organization {organization}\n  \
             {ask} triggers dry-run {trigger} --event {event} --organization {organization}"
        ));
    }
}

/// Why an event matches, or the first reason why it does not.
fn why(explanation: &Value) -> String {
    let checks = || {
        let parts = ["scope", "conditions"].into_iter();
        parts.flat_map(|part| explanation[part].as_array().into_iter().flatten())
    };
    let decisive = checks().find(|check| check["holds"] != true);
    let decisive = decisive.or_else(|| explanation["conditions"].as_array()?.last());
    decisive.map(|check| text(&check["told"])).unwrap_or_default()
}

/// Text without quotes, nothing as a dash.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
