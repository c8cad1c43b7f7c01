-- What is to be delivered, every attempt, and the circuit breakers before deliveries.
CREATE TABLE action_jobs (
    job_id           uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL,
    trigger_id       uuid NOT NULL,
    action_id        uuid NOT NULL,
    action_type      text NOT NULL,
    priority         integer NOT NULL,
    stream_tenant_id uuid NOT NULL,
    stream_store_id  uuid NOT NULL,
    sequence_number  bigint NOT NULL,
    event_id         uuid NOT NULL,
    occurrence       uuid NOT NULL,
    event            text NOT NULL,
    state            text NOT NULL,
    -- Whether a waiting job is due; one that is not becomes so when somebody looks after `due_at`.
    ready            boolean NOT NULL,
    handed_over      boolean NOT NULL,
    tag              bigint NOT NULL,
    attempts         integer NOT NULL,
    claim            integer NOT NULL,
    worker           text,
    lease_until      timestamptz,
    due_at           timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    ended_at         timestamptz,
    last_error       text
);
CREATE INDEX action_jobs_ready ON action_jobs (priority DESC, tag, job_id) WHERE state = 'waiting' AND ready;
CREATE INDEX action_jobs_delayed ON action_jobs (due_at) WHERE state = 'waiting' AND NOT ready;
CREATE INDEX action_jobs_running ON action_jobs (lease_until) WHERE state = 'running';
CREATE INDEX action_jobs_dead ON action_jobs (created_at, job_id) WHERE state = 'dead';
CREATE INDEX action_jobs_ended ON action_jobs (ended_at) WHERE state IN ('succeeded', 'cancelled');
CREATE INDEX action_jobs_of_tenant ON action_jobs (tenant_id, created_at, job_id);
CREATE INDEX action_jobs_of_trigger ON action_jobs (trigger_id, created_at, job_id);
CREATE INDEX action_jobs_of_event ON action_jobs (event_id);
CREATE INDEX action_jobs_of_occurrence ON action_jobs (occurrence) WHERE state IN ('waiting', 'cancelled');

-- Fair queueing: the last tag of each tenant, and (under the zero id) the highest one that was claimed.
CREATE TABLE job_tags (
    tenant_id uuid PRIMARY KEY,
    last_tag  bigint NOT NULL
);

-- Every attempt at a delivery.
CREATE TABLE action_results (
    job_id        uuid NOT NULL,
    attempt       integer NOT NULL,
    status        text NOT NULL,
    executed_at   timestamptz NOT NULL,
    duration_ms   bigint NOT NULL,
    http_status   integer,
    error_message text,
    response_data text,
    destination   text NOT NULL,
    worker        text NOT NULL,
    PRIMARY KEY (job_id, attempt)
);

CREATE TABLE circuit_breaker_state (
    trigger_id          uuid PRIMARY KEY,
    state               text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
    failure_count       integer NOT NULL DEFAULT 0,
    last_failure_at     timestamptz,
    opened_at           timestamptz,
    probes              integer NOT NULL DEFAULT 0,
    probed_at           timestamptz,
    failure_threshold   integer NOT NULL DEFAULT 10,
    recovery_secs       integer NOT NULL DEFAULT 60,
    half_open_calls_max integer NOT NULL DEFAULT 1
);

CREATE TABLE destination_breakers (
    destination         text PRIMARY KEY,
    state               text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
    failure_count       integer NOT NULL DEFAULT 0,
    last_failure_at     timestamptz,
    opened_at           timestamptz,
    probes              integer NOT NULL DEFAULT 0,
    probed_at           timestamptz,
    failure_threshold   integer NOT NULL DEFAULT 10,
    recovery_secs       integer NOT NULL DEFAULT 60,
    half_open_calls_max integer NOT NULL DEFAULT 1
);
