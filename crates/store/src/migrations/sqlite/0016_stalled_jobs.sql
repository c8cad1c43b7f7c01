-- Since when a job waits behind an open circuit breaker, and the waiting jobs that were begun or barred before: when
-- an organization has too many, these are given up first.
ALTER TABLE action_jobs ADD COLUMN barred_since INTEGER;

CREATE INDEX action_jobs_barred ON action_jobs (barred_since) WHERE state = 'waiting' AND barred_since IS NOT NULL;
CREATE INDEX action_jobs_stalled ON action_jobs (tenant_id, created_at, job_id)
    WHERE state = 'waiting' AND (barred_since IS NOT NULL OR attempts > attempts_before);
