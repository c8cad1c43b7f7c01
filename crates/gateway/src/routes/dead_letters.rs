//! Dead letters: list, show, retry and delete events that were not taken for a reason that somebody can mend.
//!
//! Whoever may read a stream sees its letters, whoever may write it retries them, and only an administrator deletes
//! what others wait for. A credential that is bound to an agent retries that agent's events alone.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bowline_http::{ApiError, JsonBody, Params, PathParams, Principal};
use bowline_line::{RETRIES_AT_ONCE_MAX, Retried, RetryOutcome};
use bowline_store::{
    DeadLetter, LetterFilter, LetterMark, LetterOrder, LetterReason, LetterStatus, Permission,
};
use bowline_types::{AgentId, Code, LetterId, StoreId, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::refusal;
use crate::state::Api;

/// Letters on a page if the request does not say.
const LIST_DEFAULT: usize = 100;

/// Letters on a page at most.
const LIST_MAX: usize = 500;

/// Which letters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only this tenant's; the credential's own if absent.
    #[param(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// Only this store's.
    #[param(value_type = Option<String>, format = "uuid")]
    store_id: Option<StoreId>,
    /// Only with this reason, such as `schema_validation`.
    reason: Option<String>,
    /// Only with this status: `pending`, `retrying`, `failed` or `resolved`.
    status: Option<String>,
    /// Only what this follower put aside.
    follower: Option<String>,
    /// So many at most, 100 if absent.
    limit: Option<usize>,
    /// `next` of the page before.
    page: Option<String>,
}

/// Which letters to retry.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct RetryRequest {
    /// Only this tenant's; the credential's own if absent.
    #[schema(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// Only this store's.
    #[schema(value_type = Option<String>, format = "uuid")]
    store_id: Option<StoreId>,
    /// Only with this reason.
    reason: Option<String>,
    /// Only with this status, `pending` if absent.
    status: Option<String>,
    /// Only what this follower put aside.
    follower: Option<String>,
    /// So many at most, and never more than 100 at a time.
    limit: Option<usize>,
    /// `next` of the answer before.
    page: Option<String>,
}

/// Letters, newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters", operation_id = "list_dead_letters", tag = "operate", params(ListQuery), responses(
    (status = 200, description = "`{\"dead_letters\":[…],\"count\",\"total\",\"next\"}`, without the events", body = Object),
    (status = 400, description = "A reason or status that there is not")))]
pub(super) async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted {
        tenant_id: query.tenant_id,
        store_id: query.store_id,
        reason: query.reason.as_deref(),
        status: query.status.as_deref(),
        follower: query.follower,
    };
    let filter = wanted.filter(&principal, Permission::Read)?;
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let order = LetterOrder::Newest(query.page.as_deref().map(parse_mark).transpose()?);
    let letters = api.line.letters.list(filter.clone(), order, limit).await?;
    let total = api.line.letters.count(filter).await?;
    let next = letters.last().filter(|_| letters.len() == limit).map(mark_of);
    let shown: Vec<Value> = letters.iter().map(summary).collect();
    Ok(Json(json!({ "count": shown.len(), "total": total, "next": next, "dead_letters": shown })))
}

/// One letter with its event as it was sent.
#[utoipa::path(get, path = "/api/v1/dead-letters/{id}", operation_id = "get_dead_letter", tag = "operate",
    params(("id" = String, Path, description = "The letter")), responses(
    (status = 200, description = "The letter, with `payload`: the envelope", body = Object),
    (status = 404, description = "`DEAD_LETTER_NOT_FOUND`")))]
pub(super) async fn get(
    State(api): State<Api>,
    principal: Principal,
    PathParams(id): PathParams<LetterId>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let letter = readable(&api, &principal, id).await?;
    let shown =
        Shown { summary: summary(&letter), payload: serde_json::from_str(&letter.letter.payload).ok() };
    let body =
        serde_json::to_vec(&shown).map_err(|error| ApiError::new(Code::InternalError, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A letter with its event, whose text stays as it was sent.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    summary: Value,
    payload: Option<&'a RawValue>,
}

/// Try one letter again: its event is verified and appended like any other. If it is taken, the letter is gone.
#[utoipa::path(post, path = "/api/v1/dead-letters/{id}/retry", operation_id = "retry_dead_letter", tag = "operate",
    params(("id" = String, Path, description = "The letter")), responses(
    (status = 200, description = "`{\"id\",\"event_id\",\"outcome\":\"taken\"|\"refused\"|\"handed\",\"sequence_number\",\"reason\",\"message\"}`",
        body = Object),
    (status = 404, description = "`DEAD_LETTER_NOT_FOUND`, also if it is being retried or its event was taken")))]
pub(super) async fn retry(
    State(api): State<Api>,
    principal: Principal,
    PathParams(id): PathParams<LetterId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Write)?;
    let letter = readable(&api, &principal, id).await?;
    principal.require_stream(Permission::Write, letter.letter.stream)?;
    principal.require_agent(agent_of(&letter))?;
    match api.line.letters.retry(vec![id]).await.map_err(refusal::of_append)?.first() {
        Some(retried) => Ok(Json(retried_json(retried))),
        None => {
            let message =
                format!("dead letter {id} waits no more: it is being retried, or its event was taken");
            Err(ApiError::new(Code::DeadLetterNotFound, message))
        }
    }
}

/// Try the letters again that match, oldest first: those that wait, if no status is given.
#[utoipa::path(post, path = "/api/v1/dead-letters/retry", tag = "operate", request_body = RetryRequest, responses(
    (status = 200, description = "`{\"results\":[…],\"next\"}`: call again with `page` until `next` is null", body = Object),
    (status = 400, description = "A reason or status that there is not"),
    (status = 500, description = "`OUTCOME_UNKNOWN`: the events are on the line, their letters may not be ended; trying again tells"),
    (status = 503, description = "Overloaded, keys that change, or the database is away: it is as if nobody had tried")))]
pub(super) async fn retry_many(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(query): JsonBody<RetryRequest>,
) -> Result<Json<Value>, ApiError> {
    let status = query.status.as_deref().or(Some(LetterStatus::Pending.as_str()));
    let wanted = Wanted {
        tenant_id: query.tenant_id,
        store_id: query.store_id,
        reason: query.reason.as_deref(),
        status,
        follower: query.follower,
    };
    let filter = wanted.filter(&principal, Permission::Write)?;
    let at_once_max = RETRIES_AT_ONCE_MAX.min(api.limits.batch_events_max).max(1);
    let limit = query.limit.unwrap_or(at_once_max).clamp(1, at_once_max);
    let order = LetterOrder::Oldest(query.page.as_deref().map(parse_mark).transpose()?);
    let letters = api.line.letters.list(filter, order, limit).await?;
    let next = letters.last().filter(|_| letters.len() == limit).map(mark_of);
    let own = letters.iter().filter(|letter| principal.require_agent(agent_of(letter)).is_ok());
    let ids: Vec<LetterId> = own.map(|letter| letter.id).collect();
    let retried = api.line.letters.retry(ids).await.map_err(refusal::of_append)?;
    let results: Vec<Value> = retried.iter().map(retried_json).collect();
    Ok(Json(json!({ "results": results, "next": next })))
}

/// Delete a letter: its event will not be kept for anybody any more.
#[utoipa::path(delete, path = "/api/v1/dead-letters/{id}", operation_id = "delete_dead_letter", tag = "operate",
    params(("id" = String, Path, description = "The letter")), responses(
    (status = 200, description = "`{\"deleted\":1}`", body = Object),
    (status = 404, description = "`DEAD_LETTER_NOT_FOUND`")))]
pub(super) async fn delete(
    State(api): State<Api>,
    principal: Principal,
    PathParams(id): PathParams<LetterId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Admin)?;
    let letter = readable(&api, &principal, id).await?;
    principal.require_stream(Permission::Admin, letter.letter.stream)?;
    match api.line.letters.delete(vec![id]).await? {
        0 => Err(missing(id)),
        deleted => Ok(Json(json!({ "deleted": deleted }))),
    }
}

/// The words of a request, before they are looked at.
struct Wanted<'a> {
    tenant_id: Option<TenantId>,
    store_id: Option<StoreId>,
    reason: Option<&'a str>,
    status: Option<&'a str>,
    follower: Option<String>,
}

impl Wanted<'_> {
    /// What the request asks for, narrowed to what the principal may see.
    fn filter(self, principal: &Principal, permission: Permission) -> Result<LetterFilter, ApiError> {
        principal.require(permission)?;
        let own = Some(principal.tenant_id).filter(|tenant| *tenant != TenantId::NIL);
        let tenant_id = self.tenant_id.or(own);
        if let Some(tenant_id) = tenant_id {
            principal.require_tenant(permission, tenant_id)?;
        }
        let store_ids = match self.store_id {
            Some(store_id) => {
                let tenant_id = tenant_id.unwrap_or(principal.tenant_id);
                principal.require_stream(permission, StreamId::new(tenant_id, store_id))?;
                vec![store_id]
            }
            None => principal.store_ids.clone(),
        };
        let unknown = |field: &str, word: &str| ApiError::field(field, format!("there is no `{word}`"));
        let reason = self.reason.map(|word| LetterReason::parse(word).ok_or_else(|| unknown("reason", word)));
        let status = self.status.map(|word| LetterStatus::parse(word).ok_or_else(|| unknown("status", word)));
        let (reason, status) = (reason.transpose()?, status.transpose()?);
        Ok(LetterFilter { tenant_id, store_ids, reason, status, follower: self.follower })
    }
}

/// The letter, if the principal may read its stream.
async fn readable(api: &Api, principal: &Principal, id: LetterId) -> Result<DeadLetter, ApiError> {
    let letter = api.line.letters.get(id).await?;
    // Whoever may not read the stream does not learn that the letter exists.
    letter.filter(|letter| principal.may_read(letter.letter.stream)).ok_or_else(|| missing(id))
}

fn missing(id: LetterId) -> ApiError {
    ApiError::new(Code::DeadLetterNotFound, format!("there is no dead letter {id}; retried ones are gone"))
}

/// The agent that signed the letter's event; nobody's if that can't be read.
fn agent_of(letter: &DeadLetter) -> AgentId {
    #[derive(Deserialize)]
    struct Signed {
        source_agent_id: AgentId,
    }
    let signed = serde_json::from_str::<Signed>(&letter.letter.payload);
    signed.map_or(AgentId::from_bytes([0; 16]), |signed| signed.source_agent_id)
}

fn mark_of(letter: &DeadLetter) -> String {
    format!("{}-{}", letter.created_at.micros(), letter.id.uuid().simple())
}

fn parse_mark(text: &str) -> Result<LetterMark, ApiError> {
    let parts = text.split_once('-').and_then(|(micros, id)| Some((micros.parse().ok()?, id.parse().ok()?)));
    let (micros, id) = parts.ok_or_else(|| ApiError::field("page", "is not the `next` of another page"))?;
    Ok(LetterMark { created_at: Timestamp::from_micros(micros), id })
}

fn summary(letter: &DeadLetter) -> Value {
    let kept = &letter.letter;
    let metadata: Value = serde_json::from_str(&kept.metadata).unwrap_or_default();
    json!({
        "id": letter.id,
        "event_id": kept.event_id,
        "tenant_id": kept.stream.tenant_id,
        "store_id": kept.stream.store_id,
        "event_type": kept.event_type,
        "reason": kept.reason.as_str(),
        "status": letter.status.as_str(),
        "error_message": kept.error_message,
        "follower": Some(&kept.follower).filter(|follower| !follower.is_empty()),
        "sequence_number": kept.sequence_number,
        "retry_count": letter.retry_count,
        "max_retries": letter.max_retries,
        "last_retry_at": letter.last_retry_at,
        "created_at": letter.created_at,
        "seen_count": letter.seen_count,
        "last_seen_at": letter.last_seen_at,
        "metadata": metadata,
    })
}

fn retried_json(retried: &Retried) -> Value {
    let Retried { letter, outcome } = retried;
    let mut json = json!({ "id": letter.id, "event_id": letter.letter.event_id });
    match outcome {
        RetryOutcome::Taken(number) => {
            json["outcome"] = json!("taken");
            json["sequence_number"] = json!(number);
        }
        RetryOutcome::Refused(rejection) => {
            json["outcome"] = json!("refused");
            json["reason"] = json!(rejection.reason());
            json["message"] = json!(rejection.message());
        }
        RetryOutcome::Handed => {
            json["outcome"] = json!("handed");
            json["follower"] = json!(letter.letter.follower);
        }
    }
    json
}
