-- Rules, what they remember, and what was matched.
CREATE TABLE triggers (
    trigger_id          uuid PRIMARY KEY,
    tenant_id           uuid NOT NULL,
    name                text NOT NULL,
    description         text,
    chain_id            bigint,
    registry            text,
    enabled             boolean NOT NULL,
    is_stateful         boolean NOT NULL,
    failure_threshold   integer NOT NULL,
    recovery_secs       integer NOT NULL,
    half_open_calls_max integer NOT NULL,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    -- The epoch of `triggers` that its last change raised.
    revision            bigint NOT NULL,
    -- Deleted ones stay for a week, so that every process hears of it.
    deleted_at          timestamptz
);
CREATE INDEX triggers_of_tenant ON triggers (tenant_id, created_at, trigger_id) WHERE deleted_at IS NULL;
CREATE INDEX triggers_changed ON triggers (revision);

CREATE TABLE trigger_conditions (
    trigger_id     uuid NOT NULL,
    ordinal        integer NOT NULL,
    condition_id   uuid NOT NULL,
    condition_type text NOT NULL,
    field          text,
    operator       text,
    value          text,
    config         text,
    PRIMARY KEY (trigger_id, ordinal)
);

CREATE TABLE trigger_actions (
    trigger_id  uuid NOT NULL,
    ordinal     integer NOT NULL,
    action_id   uuid NOT NULL,
    action_type text NOT NULL,
    priority    integer NOT NULL,
    config      text NOT NULL,
    sealed      bytea,
    PRIMARY KEY (trigger_id, ordinal)
);

CREATE TABLE trigger_state (
    trigger_id   uuid NOT NULL,
    condition_id uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    store_id     uuid NOT NULL,
    subject      text NOT NULL,
    state_data   text NOT NULL,
    last_updated timestamptz NOT NULL,
    PRIMARY KEY (trigger_id, condition_id, tenant_id, store_id, subject)
);

-- A row an event that was matched, for as long as the settings say.
CREATE TABLE processed_events (
    tenant_id              uuid NOT NULL,
    store_id               uuid NOT NULL,
    sequence_number        bigint NOT NULL,
    event_id               uuid NOT NULL,
    processed_at           timestamptz NOT NULL,
    processor_instance     text NOT NULL,
    processing_duration_us bigint NOT NULL,
    triggers_matched       integer NOT NULL,
    actions_enqueued       integer NOT NULL,
    problem                text,
    PRIMARY KEY (tenant_id, store_id, sequence_number)
);
CREATE INDEX processed_events_at ON processed_events (processed_at);

INSERT INTO change_epochs VALUES ('triggers', 0), ('jobs', 0), ('breakers', 0);
