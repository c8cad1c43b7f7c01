-- Schemas that payloads of an event type must satisfy. A deleted one keeps its row without its text, so that its number
-- is never given to another.
CREATE TABLE event_schemas (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    event_type    text NOT NULL,
    version       bigint NOT NULL CHECK (version > 0),
    schema_json   text NOT NULL,
    status        text NOT NULL,
    compatibility text NOT NULL,
    description   text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    created_by    text,
    UNIQUE (tenant_id, event_type, version)
);
