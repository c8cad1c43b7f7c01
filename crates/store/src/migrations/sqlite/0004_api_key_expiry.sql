-- The last moment of an API key, and when it was revoked; lists are read by tenant.
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN revoked_at INTEGER;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at);
