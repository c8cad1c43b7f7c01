-- A number for each kind of record that processes cache; it grows with every change that makes a copy wrong.
CREATE TABLE change_epochs (
    kind  TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO change_epochs VALUES ('agent_keys', 0), ('api_keys', 0), ('schemas', 0);
