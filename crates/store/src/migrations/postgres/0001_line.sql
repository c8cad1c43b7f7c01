-- The line: streams, their events, leaves and commitments, keys, cursors and dead letters.

CREATE TABLE streams (
    tenant_id  uuid NOT NULL,
    store_id   uuid NOT NULL,
    name       text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
);

CREATE TABLE sequence_counters (
    tenant_id        uuid NOT NULL,
    store_id         uuid NOT NULL,
    current_sequence bigint NOT NULL CHECK (current_sequence >= 0),
    updated_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
) WITH (fillfactor = 50);

-- `events` holds every kind of event; `ves_events` is its one partition so far, and rows go straight there.
-- Both names can be queried, vacuumed and analyzed.
CREATE TABLE events (
    tenant_id              uuid NOT NULL,
    store_id               uuid NOT NULL,
    sequence_number        bigint NOT NULL CHECK (sequence_number > 0),
    event_id               uuid NOT NULL,
    ves_version            bigint NOT NULL,
    source_agent_id        uuid NOT NULL,
    agent_key_id           bigint NOT NULL,
    entity_type            text NOT NULL,
    entity_id              text NOT NULL,
    event_type             text NOT NULL,
    created_at             timestamptz NOT NULL,
    created_at_str         text NOT NULL,
    payload_kind           smallint NOT NULL,
    payload                text NOT NULL,
    payload_plain_hash     bytea NOT NULL,
    payload_cipher_hash    bytea NOT NULL,
    event_signing_hash     bytea NOT NULL CHECK (length(event_signing_hash) = 32),
    agent_signature        bytea NOT NULL CHECK (length(agent_signature) = 64),
    agent_signature_scheme bigint,
    command_id             uuid,
    base_version           bigint,
    entity_version         bigint NOT NULL,
    sequenced_at           timestamptz NOT NULL,
    sequencer_id           uuid NOT NULL,
    sequencer_key_version  bigint NOT NULL,
    receipt_hash           bytea NOT NULL,
    sequencer_signature    bytea NOT NULL,
    receipt_attestation    bytea NOT NULL,
    leaf                   bytea NOT NULL CHECK (length(leaf) = 32)
) PARTITION BY RANGE (sequence_number);

CREATE TABLE ves_events PARTITION OF events FOR VALUES FROM (MINVALUE) TO (MAXVALUE);

-- The leaf rides in the key's index, so that a commitment reads no payloads.
ALTER TABLE ves_events ADD PRIMARY KEY (tenant_id, store_id, sequence_number) INCLUDE (leaf);
CREATE UNIQUE INDEX ves_events_event_id ON ves_events (event_id, tenant_id, store_id);
CREATE UNIQUE INDEX ves_events_command_id ON ves_events (command_id, tenant_id, store_id)
    WHERE command_id IS NOT NULL;
CREATE INDEX ves_events_entity ON ves_events (tenant_id, store_id, entity_type, entity_id, sequence_number);
CREATE INDEX ves_events_type ON ves_events (tenant_id, store_id, event_type, sequence_number);
-- Rows are only ever added, so a vacuum has just the visibility map to write: let it come early.
ALTER TABLE ves_events SET (autovacuum_vacuum_insert_scale_factor = 0.05, fillfactor = 100);
-- JSON text barely shrinks at these sizes, and trying costs time under the counter's lock.
ALTER TABLE ves_events ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TABLE commitments (
    batch_id           uuid NOT NULL,
    tenant_id          uuid NOT NULL,
    store_id           uuid NOT NULL,
    ves_version        bigint NOT NULL,
    tree_depth         bigint NOT NULL,
    leaf_count         bigint NOT NULL,
    padded_leaf_count  bigint NOT NULL,
    merkle_root        bytea NOT NULL,
    prev_state_root    bytea NOT NULL,
    new_state_root     bytea NOT NULL,
    sequence_start     bigint NOT NULL,
    sequence_end       bigint NOT NULL CHECK (sequence_end >= sequence_start),
    committed_at       timestamptz NOT NULL,
    origin             text NOT NULL,
    upper_levels       bytea NOT NULL,
    chain_id           bigint,
    chain_tx_hash      bytea,
    chain_block_number bigint,
    anchored_at        timestamptz,
    metadata           jsonb
) PARTITION BY RANGE (sequence_start);

CREATE TABLE ves_commitments PARTITION OF commitments FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
ALTER TABLE ves_commitments ADD PRIMARY KEY (batch_id);
CREATE UNIQUE INDEX ves_commitments_chain ON ves_commitments (tenant_id, store_id, sequence_start);

CREATE TABLE agent_keys (
    tenant_id     uuid NOT NULL,
    agent_id      uuid NOT NULL,
    key_id        bigint NOT NULL,
    key_algorithm smallint NOT NULL DEFAULT 1,
    public_key    bytea NOT NULL CHECK (length(public_key) = 32),
    status        text NOT NULL DEFAULT 'active',
    active        boolean GENERATED ALWAYS AS (status = 'active') STORED,
    valid_from    timestamptz,
    valid_to      timestamptz,
    revoked_at    timestamptz,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, key_id)
);

CREATE TABLE api_keys (
    key_hash    bytea PRIMARY KEY CHECK (length(key_hash) = 32),
    tenant_id   uuid NOT NULL,
    agent_id    uuid,
    permissions text NOT NULL,
    store_ids   text NOT NULL DEFAULT '',
    active      boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL
);

CREATE TABLE sequencer_keys (
    key_version  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequencer_id uuid NOT NULL,
    public_key   bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    UNIQUE (sequencer_id, public_key)
);

CREATE TABLE follower_cursors (
    follower        text NOT NULL,
    tenant_id       uuid NOT NULL,
    store_id        uuid NOT NULL,
    sequence_number bigint NOT NULL,
    PRIMARY KEY (follower, tenant_id, store_id)
);

CREATE TABLE dead_letter_events (
    id            uuid PRIMARY KEY,
    event_id      uuid NOT NULL,
    tenant_id     uuid NOT NULL,
    store_id      uuid NOT NULL,
    event_type    text NOT NULL,
    reason        text NOT NULL,
    status        text NOT NULL DEFAULT 'pending',
    error_message text NOT NULL DEFAULT '',
    retry_count   integer NOT NULL DEFAULT 0,
    max_retries   integer NOT NULL DEFAULT 10,
    last_retry_at timestamptz,
    next_retry_at timestamptz,
    created_at    timestamptz NOT NULL,
    payload       text NOT NULL,
    metadata      jsonb,
    UNIQUE (tenant_id, store_id, event_id)
);
