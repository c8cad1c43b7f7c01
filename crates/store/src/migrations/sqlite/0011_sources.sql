-- How far each chain is on the line, and by which blocks that is known.
CREATE TABLE checkpoints (
    chain_id          INTEGER PRIMARY KEY CHECK (chain_id > 0),
    tenant_id         BLOB NOT NULL,
    store_id          BLOB NOT NULL,
    last_block_number INTEGER,
    last_block_hash   BLOB,
    generation        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL
) STRICT;

-- The newest marks; `head` is the stream's last number when everything up to that block was written.
CREATE TABLE chain_blocks (
    chain_id INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    head     INTEGER NOT NULL,
    PRIMARY KEY (chain_id, number)
) STRICT, WITHOUT ROWID;
