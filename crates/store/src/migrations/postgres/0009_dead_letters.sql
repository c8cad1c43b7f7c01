-- What is kept of an event that was not taken: how often it came, and which follower put it aside ('' is none).
ALTER TABLE dead_letter_events
    ADD COLUMN follower text NOT NULL DEFAULT '',
    ADD COLUMN sequence_number bigint,
    ADD COLUMN seen_count integer NOT NULL DEFAULT 1,
    ADD COLUMN last_seen_at timestamptz,
    ADD COLUMN payload_bytes bigint;
UPDATE dead_letter_events SET last_seen_at = created_at, payload_bytes = octet_length(payload);
ALTER TABLE dead_letter_events
    ALTER COLUMN last_seen_at SET NOT NULL,
    ALTER COLUMN payload_bytes SET NOT NULL,
    DROP CONSTRAINT dead_letter_events_tenant_id_store_id_event_id_key,
    ADD UNIQUE (tenant_id, store_id, event_id, follower);

CREATE INDEX dead_letter_events_newest ON dead_letter_events (created_at, id);
CREATE INDEX dead_letter_events_room ON dead_letter_events (tenant_id, store_id, status, payload_bytes, last_seen_at);
CREATE INDEX dead_letter_events_handed ON dead_letter_events (follower, status, created_at) WHERE follower <> '';
