-- Requests and events that an API key may bring a minute; null for as many as its tenant may.
ALTER TABLE api_keys ADD COLUMN rate_limit INTEGER CHECK (rate_limit > 0);
