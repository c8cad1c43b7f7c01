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
    last_error       text,
    -- Attempts that were begun before somebody had it delivered again.
    attempts_before  integer NOT NULL DEFAULT 0,
    -- When it was handed over last.
    handed_at        timestamptz
);
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

CREATE INDEX circuit_breaker_state_turned ON circuit_breaker_state (state) WHERE state <> 'closed';
CREATE INDEX destination_breakers_turned ON destination_breakers (state) WHERE state <> 'closed';

-- An operator may close or open a breaker with one UPDATE of its state: the rest of the row follows, and every process
-- hears of it as of a change of the store's own.
CREATE FUNCTION bowline_breaker_turns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'closed' THEN
        NEW.opened_at := NULL;
    ELSIF NEW.state = 'open' AND NEW.opened_at IS NOT DISTINCT FROM OLD.opened_at THEN
        NEW.opened_at := clock_timestamp();
    END IF;
    NEW.probes := 0;
    NEW.probed_at := NULL;
    RETURN NEW;
END $$;

-- The schema is named, since neither an operator's session nor a restored dump need have it in its search path.
CREATE FUNCTION bowline_breaker_turned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE raised bigint;
BEGIN
    EXECUTE format(
        'UPDATE %I.change_epochs
         SET epoch = greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
         WHERE kind = ''breakers'' RETURNING epoch', TG_TABLE_SCHEMA) INTO raised;
    PERFORM pg_notify('bowline_changes', 'breakers ' || raised);
    RETURN NULL;
END $$;

CREATE TRIGGER turns BEFORE UPDATE ON circuit_breaker_state FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION bowline_breaker_turns();
CREATE TRIGGER turns BEFORE UPDATE ON destination_breakers FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION bowline_breaker_turns();
CREATE TRIGGER turned AFTER UPDATE ON circuit_breaker_state FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION bowline_breaker_turned();
CREATE TRIGGER turned AFTER UPDATE ON destination_breakers FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION bowline_breaker_turned();
CREATE TRIGGER removed AFTER DELETE ON circuit_breaker_state FOR EACH ROW
    WHEN (OLD.state <> 'closed') EXECUTE FUNCTION bowline_breaker_turned();
CREATE TRIGGER removed AFTER DELETE ON destination_breakers FOR EACH ROW
    WHEN (OLD.state <> 'closed') EXECUTE FUNCTION bowline_breaker_turned();
