-- The line: streams, their events, leaves and commitments, keys, cursors and dead letters.
-- Times are microseconds since 1970 (UTC), ids are 16 raw bytes, hashes 32.

CREATE TABLE streams (
    stream_no  INTEGER PRIMARY KEY CHECK (stream_no BETWEEN 1 AND 4194303),
    tenant_id  BLOB NOT NULL CHECK (length(tenant_id) = 16),
    store_id   BLOB NOT NULL CHECK (length(store_id) = 16),
    name       TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (tenant_id, store_id)
) STRICT;

CREATE TABLE sequence_counters (
    stream_no        INTEGER PRIMARY KEY REFERENCES streams,
    current_sequence INTEGER NOT NULL CHECK (current_sequence >= 0),
    updated_at       INTEGER NOT NULL
) STRICT;

-- `position` clusters a stream's events in their order: stream_no * 2^40 + sequence_number.
CREATE TABLE ves_events (
    position               INTEGER PRIMARY KEY,
    stream_no              INTEGER GENERATED ALWAYS AS (position >> 40) VIRTUAL,
    sequence_number        INTEGER GENERATED ALWAYS AS (position & 1099511627775) VIRTUAL,
    event_id               BLOB NOT NULL CHECK (length(event_id) = 16),
    ves_version            INTEGER NOT NULL,
    source_agent_id        BLOB NOT NULL,
    agent_key_id           INTEGER NOT NULL,
    entity_type            TEXT NOT NULL,
    entity_id              TEXT NOT NULL,
    event_type             TEXT NOT NULL,
    created_at             TEXT NOT NULL,
    payload_kind           INTEGER NOT NULL,
    payload                TEXT NOT NULL,
    payload_plain_hash     BLOB NOT NULL,
    payload_cipher_hash    BLOB NOT NULL,
    event_signing_hash     BLOB NOT NULL CHECK (length(event_signing_hash) = 32),
    agent_signature        BLOB NOT NULL CHECK (length(agent_signature) = 64),
    agent_signature_scheme INTEGER,
    command_id             BLOB,
    base_version           INTEGER,
    entity_version         INTEGER NOT NULL,
    sequenced_at           INTEGER NOT NULL,
    sequencer_id           BLOB NOT NULL,
    sequencer_key_version  INTEGER NOT NULL,
    receipt_hash           BLOB NOT NULL,
    sequencer_signature    BLOB NOT NULL,
    receipt_attestation    BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX ves_events_event_id ON ves_events (event_id, stream_no);
CREATE UNIQUE INDEX ves_events_command_id ON ves_events (command_id, stream_no) WHERE command_id IS NOT NULL;
CREATE INDEX ves_events_entity ON ves_events (stream_no, entity_type, entity_id);
CREATE INDEX ves_events_type ON ves_events (stream_no, event_type);

-- Apart from the events, so that a commitment reads 32 bytes an event.
CREATE TABLE ves_leaves (
    position INTEGER PRIMARY KEY,
    leaf     BLOB NOT NULL
) STRICT;

CREATE TABLE ves_commitments (
    batch_id           BLOB PRIMARY KEY,
    stream_no          INTEGER NOT NULL REFERENCES streams,
    ves_version        INTEGER NOT NULL,
    tree_depth         INTEGER NOT NULL,
    leaf_count         INTEGER NOT NULL,
    padded_leaf_count  INTEGER NOT NULL,
    merkle_root        BLOB NOT NULL,
    prev_state_root    BLOB NOT NULL,
    new_state_root     BLOB NOT NULL,
    sequence_start     INTEGER NOT NULL,
    sequence_end       INTEGER NOT NULL CHECK (sequence_end >= sequence_start),
    committed_at       INTEGER NOT NULL,
    origin             TEXT NOT NULL,
    upper_levels       BLOB NOT NULL,
    chain_id           INTEGER,
    chain_tx_hash      BLOB,
    chain_block_number INTEGER,
    anchored_at        INTEGER,
    metadata           TEXT,
    UNIQUE (stream_no, sequence_start)
) STRICT;

CREATE TABLE agent_keys (
    tenant_id     BLOB NOT NULL,
    agent_id      BLOB NOT NULL,
    key_id        INTEGER NOT NULL,
    key_algorithm INTEGER NOT NULL DEFAULT 1,
    public_key    BLOB NOT NULL CHECK (length(public_key) = 32),
    status        TEXT NOT NULL DEFAULT 'active',
    active        INTEGER GENERATED ALWAYS AS (status = 'active') VIRTUAL,
    valid_from    INTEGER,
    valid_to      INTEGER,
    revoked_at    INTEGER,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, key_id)
) STRICT;

CREATE TABLE api_keys (
    key_hash    BLOB PRIMARY KEY CHECK (length(key_hash) = 32),
    tenant_id   BLOB NOT NULL,
    agent_id    BLOB,
    permissions TEXT NOT NULL,
    store_ids   TEXT NOT NULL DEFAULT '',
    active      INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE sequencer_keys (
    key_version  INTEGER PRIMARY KEY,
    sequencer_id BLOB NOT NULL,
    public_key   BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    UNIQUE (sequencer_id, public_key)
) STRICT;

CREATE TABLE follower_cursors (
    follower        TEXT NOT NULL,
    stream_no       INTEGER NOT NULL REFERENCES streams,
    sequence_number INTEGER NOT NULL,
    PRIMARY KEY (follower, stream_no)
) STRICT;

CREATE TABLE dead_letter_events (
    id            BLOB PRIMARY KEY,
    event_id      BLOB NOT NULL,
    tenant_id     BLOB NOT NULL,
    store_id      BLOB NOT NULL,
    event_type    TEXT NOT NULL,
    reason        TEXT NOT NULL,
    status        TEXT NOT NULL DEFAULT 'pending',
    error_message TEXT NOT NULL DEFAULT '',
    retry_count   INTEGER NOT NULL DEFAULT 0,
    max_retries   INTEGER NOT NULL DEFAULT 10,
    last_retry_at INTEGER,
    next_retry_at INTEGER,
    created_at    INTEGER NOT NULL,
    payload       TEXT NOT NULL,
    metadata      TEXT,
    UNIQUE (tenant_id, store_id, event_id)
) STRICT;
