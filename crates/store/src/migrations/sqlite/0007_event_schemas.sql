-- Schemas that payloads of an event type must satisfy. A deleted one keeps its row without its text, so that its number
-- is never given to another.
CREATE TABLE event_schemas (
    id            BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id     BLOB NOT NULL CHECK (length(tenant_id) = 16),
    event_type    TEXT NOT NULL,
    version       INTEGER NOT NULL CHECK (version > 0),
    schema_json   TEXT NOT NULL,
    status        TEXT NOT NULL,
    compatibility TEXT NOT NULL,
    description   TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    created_by    TEXT,
    UNIQUE (tenant_id, event_type, version)
) STRICT, WITHOUT ROWID;
