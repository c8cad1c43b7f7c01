-- What each limited tenant and API key has taken of its limit in the last window: `until:units`, with the moment in
-- microseconds since 1970 up to which the units may have been used.
CREATE TABLE rate_budgets (
    name       TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    charges    TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rate_budgets_expiry ON rate_budgets (expires_at);
