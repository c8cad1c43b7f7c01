-- Rules, what they remember, and what was matched.
CREATE TABLE triggers (
    trigger_id          BLOB PRIMARY KEY,
    tenant_id           BLOB NOT NULL,
    name                TEXT NOT NULL,
    description         TEXT,
    chain_id            INTEGER,
    registry            TEXT,
    enabled             INTEGER NOT NULL,
    is_stateful         INTEGER NOT NULL,
    failure_threshold   INTEGER NOT NULL,
    recovery_secs       INTEGER NOT NULL,
    half_open_calls_max INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    -- The epoch of `triggers` that its last change raised.
    revision            INTEGER NOT NULL,
    -- Deleted ones stay for a week, so that every process hears of it.
    deleted_at          INTEGER
) STRICT;
CREATE INDEX triggers_of_tenant ON triggers (tenant_id, created_at, trigger_id) WHERE deleted_at IS NULL;
CREATE INDEX triggers_changed ON triggers (revision);

CREATE TABLE trigger_conditions (
    trigger_id     BLOB NOT NULL,
    ordinal        INTEGER NOT NULL,
    condition_id   BLOB NOT NULL,
    condition_type TEXT NOT NULL,
    field          TEXT,
    operator       TEXT,
    value          TEXT,
    config         TEXT,
    PRIMARY KEY (trigger_id, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE trigger_actions (
    trigger_id  BLOB NOT NULL,
    ordinal     INTEGER NOT NULL,
    action_id   BLOB NOT NULL,
    action_type TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    config      TEXT NOT NULL,
    sealed      BLOB,
    PRIMARY KEY (trigger_id, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE trigger_state (
    trigger_id   BLOB NOT NULL,
    condition_id BLOB NOT NULL,
    tenant_id    BLOB NOT NULL,
    store_id     BLOB NOT NULL,
    subject      TEXT NOT NULL,
    state_data   TEXT NOT NULL,
    last_updated INTEGER NOT NULL,
    PRIMARY KEY (trigger_id, condition_id, tenant_id, store_id, subject)
) STRICT, WITHOUT ROWID;

-- A row an event that was matched, for as long as the settings say.
CREATE TABLE processed_events (
    tenant_id              BLOB NOT NULL,
    store_id               BLOB NOT NULL,
    sequence_number        INTEGER NOT NULL,
    event_id               BLOB NOT NULL,
    processed_at           INTEGER NOT NULL,
    processor_instance     TEXT NOT NULL,
    processing_duration_us INTEGER NOT NULL,
    triggers_matched       INTEGER NOT NULL,
    actions_enqueued       INTEGER NOT NULL,
    problem                TEXT,
    PRIMARY KEY (tenant_id, store_id, sequence_number)
) STRICT, WITHOUT ROWID;
CREATE INDEX processed_events_at ON processed_events (processed_at);

INSERT INTO change_epochs VALUES ('triggers', 0), ('jobs', 0), ('breakers', 0);
