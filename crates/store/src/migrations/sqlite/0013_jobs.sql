-- What is to be delivered, every attempt, and the circuit breakers before deliveries.
CREATE TABLE action_jobs (
    job_id           BLOB PRIMARY KEY,
    tenant_id        BLOB NOT NULL,
    trigger_id       BLOB NOT NULL,
    action_id        BLOB NOT NULL,
    action_type      TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    stream_tenant_id BLOB NOT NULL,
    stream_store_id  BLOB NOT NULL,
    sequence_number  INTEGER NOT NULL,
    event_id         BLOB NOT NULL,
    occurrence       BLOB NOT NULL,
    event            TEXT NOT NULL,
    state            TEXT NOT NULL,
    -- Whether a waiting job is due; one that is not becomes so when somebody looks after `due_at`.
    ready            INTEGER NOT NULL,
    handed_over      INTEGER NOT NULL,
    tag              INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    claim            INTEGER NOT NULL,
    worker           TEXT,
    lease_until      INTEGER,
    due_at           INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    last_error       TEXT,
    -- Attempts that were begun before somebody had it delivered again.
    attempts_before  INTEGER NOT NULL DEFAULT 0,
    -- When it was handed over last.
    handed_at        INTEGER
) STRICT;
CREATE INDEX action_jobs_ready ON action_jobs (priority DESC, tag, job_id) WHERE state = 'waiting' AND ready;
CREATE INDEX action_jobs_due ON action_jobs (ready, due_at) WHERE state = 'waiting';
CREATE INDEX action_jobs_to_hand ON action_jobs (priority DESC, tag, job_id)
    WHERE state = 'waiting' AND ready AND NOT handed_over;
CREATE INDEX action_jobs_handed ON action_jobs (handed_at, job_id) WHERE state = 'waiting' AND handed_over;
CREATE INDEX action_jobs_running ON action_jobs (lease_until) WHERE state = 'running';
CREATE INDEX action_jobs_dead ON action_jobs (created_at, job_id) WHERE state = 'dead';
CREATE INDEX action_jobs_ended ON action_jobs (ended_at) WHERE state IN ('succeeded', 'cancelled');
CREATE INDEX action_jobs_newest ON action_jobs (created_at, job_id);
CREATE INDEX action_jobs_of_tenant ON action_jobs (tenant_id, created_at, job_id);
CREATE INDEX action_jobs_of_trigger ON action_jobs (trigger_id, created_at, job_id);
CREATE INDEX action_jobs_of_event ON action_jobs (event_id);
CREATE INDEX action_jobs_of_occurrence ON action_jobs (occurrence) WHERE state IN ('waiting', 'cancelled');

-- Fair queueing: the last tag of each tenant, and (under the zero id) the highest one that was claimed.
CREATE TABLE job_tags (
    tenant_id BLOB PRIMARY KEY,
    last_tag  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every attempt at a delivery.
CREATE TABLE action_results (
    job_id        BLOB NOT NULL,
    attempt       INTEGER NOT NULL,
    status        TEXT NOT NULL,
    executed_at   INTEGER NOT NULL,
    duration_ms   INTEGER NOT NULL,
    http_status   INTEGER,
    error_message TEXT,
    response_data TEXT,
    destination   TEXT NOT NULL,
    worker        TEXT NOT NULL,
    PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE circuit_breaker_state (
    trigger_id          TEXT PRIMARY KEY,
    state               TEXT NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
    failure_count       INTEGER NOT NULL DEFAULT 0,
    last_failure_at     INTEGER,
    opened_at           INTEGER,
    probes              INTEGER NOT NULL DEFAULT 0,
    probed_at           INTEGER,
    failure_threshold   INTEGER NOT NULL DEFAULT 10,
    recovery_secs       INTEGER NOT NULL DEFAULT 60,
    half_open_calls_max INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE destination_breakers (
    destination         TEXT PRIMARY KEY,
    state               TEXT NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
    failure_count       INTEGER NOT NULL DEFAULT 0,
    last_failure_at     INTEGER,
    opened_at           INTEGER,
    probes              INTEGER NOT NULL DEFAULT 0,
    probed_at           INTEGER,
    failure_threshold   INTEGER NOT NULL DEFAULT 10,
    recovery_secs       INTEGER NOT NULL DEFAULT 60,
    half_open_calls_max INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX circuit_breaker_state_turned ON circuit_breaker_state (state) WHERE state <> 'closed';
CREATE INDEX destination_breakers_turned ON destination_breakers (state) WHERE state <> 'closed';

-- An operator may close or open a breaker with one UPDATE of its state: the rest of the row follows, and the process
-- hears of it as of a change of the store's own. Times are microseconds since 1970.
CREATE TRIGGER circuit_breaker_state_turned AFTER UPDATE ON circuit_breaker_state WHEN old.state <> new.state
BEGIN
    UPDATE circuit_breaker_state
    SET probes = 0, probed_at = NULL, opened_at = CASE
        WHEN new.state = 'closed' THEN NULL
        WHEN new.state = 'open' AND new.opened_at IS old.opened_at
        THEN CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000
        ELSE new.opened_at END
    WHERE rowid = new.rowid;
    UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = 'breakers';
END;
CREATE TRIGGER circuit_breaker_state_removed AFTER DELETE ON circuit_breaker_state WHEN old.state <> 'closed'
BEGIN
    UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = 'breakers';
END;
CREATE TRIGGER destination_breakers_turned AFTER UPDATE ON destination_breakers WHEN old.state <> new.state
BEGIN
    UPDATE destination_breakers
    SET probes = 0, probed_at = NULL, opened_at = CASE
        WHEN new.state = 'closed' THEN NULL
        WHEN new.state = 'open' AND new.opened_at IS old.opened_at
        THEN CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000
        ELSE new.opened_at END
    WHERE rowid = new.rowid;
    UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = 'breakers';
END;
CREATE TRIGGER destination_breakers_removed AFTER DELETE ON destination_breakers WHEN old.state <> 'closed'
BEGIN
    UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = 'breakers';
END;
