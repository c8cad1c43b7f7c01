-- What is kept of an event that was not taken: how often it came, and which follower put it aside ('' is none).
-- The payload stands last, so that counting letters reads no payloads.
CREATE TABLE kept_letters (
    id              BLOB PRIMARY KEY,
    event_id        BLOB NOT NULL,
    tenant_id       BLOB NOT NULL,
    store_id        BLOB NOT NULL,
    event_type      TEXT NOT NULL,
    reason          TEXT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'pending',
    error_message   TEXT NOT NULL DEFAULT '',
    retry_count     INTEGER NOT NULL DEFAULT 0,
    max_retries     INTEGER NOT NULL DEFAULT 10,
    last_retry_at   INTEGER,
    next_retry_at   INTEGER,
    created_at      INTEGER NOT NULL,
    metadata        TEXT,
    follower        TEXT NOT NULL DEFAULT '',
    sequence_number INTEGER,
    seen_count      INTEGER NOT NULL DEFAULT 1,
    last_seen_at    INTEGER NOT NULL,
    payload_bytes   INTEGER NOT NULL,
    payload         TEXT NOT NULL,
    UNIQUE (tenant_id, store_id, event_id, follower)
) STRICT;

INSERT INTO kept_letters
SELECT id, event_id, tenant_id, store_id, event_type, reason, status, error_message, retry_count, max_retries,
       last_retry_at, next_retry_at, created_at, metadata, '', NULL, 1, created_at, length(CAST(payload AS BLOB)), payload
FROM dead_letter_events;

DROP TABLE dead_letter_events;
ALTER TABLE kept_letters RENAME TO dead_letter_events;

CREATE INDEX dead_letter_events_newest ON dead_letter_events (created_at, id);
CREATE INDEX dead_letter_events_room ON dead_letter_events (tenant_id, store_id, status, payload_bytes, last_seen_at);
CREATE INDEX dead_letter_events_handed ON dead_letter_events (follower, status, created_at) WHERE follower <> '';
