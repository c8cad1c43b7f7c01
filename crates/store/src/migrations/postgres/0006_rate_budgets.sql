-- What each limited tenant and API key has taken of its limit in the last window: `until:units`, with the moment in
-- microseconds since 1970 up to which the units may have been used.
CREATE TABLE rate_budgets (
    name       text PRIMARY KEY,
    version    bigint NOT NULL,
    charges    text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX rate_budgets_expiry ON rate_budgets (expires_at);
