//! Agent keys, API keys and the sequencers' own public keys.
//!
//! Whether a key may be used at a moment is decided elsewhere; here are only its rows.

pub(crate) mod lifecycle;

use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use crate::keys::records::{join_words, parse_scopes};
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{Fixed, fixed, hash, moment};
use crate::{AgentKeyRecord, AgentKeyStatus, ApiKeyRecord, RegisterKey, SequencerKeyRecord};

pub(crate) const AGENT_KEY_COLUMNS: &str = "tenant_id, agent_id, key_id, public_key, status, valid_from, valid_to, \
     created_at, revoked_at, revoked_reason";

pub(crate) const API_KEY_COLUMNS: &str = "key_hash, tenant_id, agent_id, permissions, store_ids, active, created_at, \
     expires_at, revoked_at, rate_limit";

pub(crate) fn register_agent_key(
    connection: &mut Connection,
    key: &AgentKeyRecord,
) -> Result<RegisterKey, Failure> {
    if let Some(known) = agent_key(connection, key.tenant_id, key.agent_id, key.key_id)? {
        return Ok(match known.status {
            _ if known.public_key != key.public_key => RegisterKey::Conflict,
            AgentKeyStatus::Revoked => RegisterKey::Revoked,
            AgentKeyStatus::Active | AgentKeyStatus::Expired => RegisterKey::Unchanged,
        });
    }
    let revoked: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM agent_keys WHERE tenant_id = ?1 AND agent_id = ?2 AND public_key = ?3
             AND status NOT IN ('active', 'expired'))",
        (key.tenant_id.as_bytes(), key.agent_id.as_bytes(), &key.public_key),
        |row| row.get(0),
    )?;
    if revoked {
        return Ok(RegisterKey::Revoked);
    }
    insert_agent_key(connection, key)?;
    Ok(RegisterKey::Created)
}

pub(crate) fn insert_agent_key(connection: &Connection, key: &AgentKeyRecord) -> Result<(), Failure> {
    let sql = format!(
        "INSERT INTO agent_keys ({AGENT_KEY_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
    );
    connection.execute(
        &sql,
        (
            key.tenant_id.as_bytes(),
            key.agent_id.as_bytes(),
            key.key_id,
            &key.public_key,
            key.status.as_str(),
            key.valid_from.map(Timestamp::micros),
            key.valid_to.map(Timestamp::micros),
            key.created_at.micros(),
            key.revoked_at.map(Timestamp::micros),
            key.revoked_reason.as_deref(),
        ),
    )?;
    Ok(())
}

pub(crate) fn agent_key(
    connection: &Connection,
    tenant_id: TenantId,
    agent_id: AgentId,
    key_id: u32,
) -> Result<Option<AgentKeyRecord>, Failure> {
    let sql = format!(
        "SELECT {AGENT_KEY_COLUMNS} FROM agent_keys WHERE tenant_id = ?1 AND agent_id = ?2 AND key_id = ?3"
    );
    let found = connection
        .prepare_cached(&sql)?
        .query_row((tenant_id.as_bytes(), agent_id.as_bytes(), key_id), agent_key_row)
        .optional()?;
    Ok(found)
}

pub(crate) fn agent_key_row(row: &Row<'_>) -> rusqlite::Result<AgentKeyRecord> {
    let status: String = row.get(4)?;
    let moment = |column| row.get::<_, Option<i64>>(column).map(|m| m.map(Timestamp::from_micros));
    Ok(AgentKeyRecord {
        tenant_id: TenantId::from_bytes(fixed(row, 0)?),
        agent_id: AgentId::from_bytes(fixed(row, 1)?),
        key_id: row.get(2)?,
        public_key: fixed(row, 3)?,
        // A word that this binary does not know must never let a key sign.
        status: AgentKeyStatus::parse(&status).unwrap_or(AgentKeyStatus::Revoked),
        valid_from: moment(5)?,
        valid_to: moment(6)?,
        created_at: self::moment(row, 7)?,
        revoked_at: moment(8)?,
        revoked_reason: row.get(9)?,
    })
}

/// Keeps or replaces an API key; whether there was one of this hash.
pub(crate) fn put_api_key(connection: &Connection, key: &ApiKeyRecord) -> Result<bool, Failure> {
    let replaced = api_key(connection, key.key_hash)?.is_some();
    let sql = format!(
        "INSERT OR REPLACE INTO api_keys ({API_KEY_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
    );
    connection.execute(
        &sql,
        (
            key.key_hash.as_bytes(),
            key.tenant_id.as_bytes(),
            key.agent_id.as_ref().map(AgentId::as_bytes),
            join_words(key.permissions.iter().map(|p| p.as_str())),
            join_words(key.store_ids.iter()),
            key.active,
            key.created_at.micros(),
            key.expires_at.map(Timestamp::micros),
            key.revoked_at.map(Timestamp::micros),
            key.rate_limit,
        ),
    )?;
    Ok(replaced)
}

pub(crate) fn api_key(connection: &Connection, key_hash: Hash) -> Result<Option<ApiKeyRecord>, Failure> {
    let sql = format!("SELECT {API_KEY_COLUMNS} FROM api_keys WHERE key_hash = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([key_hash.as_bytes()], api_key_row).optional()?)
}

pub(crate) fn api_key_row(row: &Row<'_>) -> rusqlite::Result<ApiKeyRecord> {
    let (permissions, stores): (String, String) = (row.get(3)?, row.get(4)?);
    let scopes = parse_scopes(&permissions, &stores);
    let moment = |column| row.get::<_, Option<i64>>(column).map(|m| m.map(Timestamp::from_micros));
    Ok(ApiKeyRecord {
        key_hash: hash(row, 0)?,
        tenant_id: TenantId::from_bytes(fixed(row, 1)?),
        agent_id: row.get::<_, Option<Fixed<16>>>(2)?.map(|id| AgentId::from_bytes(id.0)),
        active: scopes.is_some() && row.get(5)?,
        permissions: scopes.clone().unwrap_or_default().0,
        store_ids: scopes.unwrap_or_default().1,
        expires_at: moment(7)?,
        revoked_at: moment(8)?,
        rate_limit: row.get(9)?,
        created_at: self::moment(row, 6)?,
    })
}

pub(crate) fn register_sequencer_key(
    connection: &mut Connection,
    sequencer_id: Uuid,
    public_key: [u8; 32],
    now: Timestamp,
) -> Result<SequencerKeyRecord, Failure> {
    connection.execute(
        "INSERT INTO sequencer_keys (sequencer_id, public_key, created_at) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING",
        (sequencer_id.as_bytes(), &public_key, now.micros()),
    )?;
    let sql = "SELECT key_version, sequencer_id, public_key, created_at FROM sequencer_keys
               WHERE sequencer_id = ?1 AND public_key = ?2";
    Ok(connection.query_row(sql, (sequencer_id.as_bytes(), &public_key), sequencer_key_row)?)
}

pub(crate) fn sequencer_keys(connection: &Connection) -> Result<Vec<SequencerKeyRecord>, Failure> {
    let sql =
        "SELECT key_version, sequencer_id, public_key, created_at FROM sequencer_keys ORDER BY key_version";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map((), sequencer_key_row)?.collect::<Result<_, _>>()?)
}

fn sequencer_key_row(row: &Row<'_>) -> rusqlite::Result<SequencerKeyRecord> {
    Ok(SequencerKeyRecord {
        key_version: row.get(0)?,
        sequencer_id: Uuid::from_bytes(fixed(row, 1)?),
        public_key: fixed(row, 2)?,
        created_at: moment(row, 3)?,
    })
}
