-- Commitments on an outside chain: the contract they go to, calls of it on their way, and who may make them.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    holder     BLOB CHECK (length(holder) = 16),
    epoch      INTEGER NOT NULL CHECK (epoch > 0),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every contract that was ever chosen; the one with the highest turn is the present one.
CREATE TABLE anchor_targets (
    chain_id  INTEGER NOT NULL CHECK (chain_id > 0),
    contract  BLOB NOT NULL CHECK (length(contract) = 20),
    turn      INTEGER NOT NULL UNIQUE,
    chosen_at INTEGER NOT NULL,
    PRIMARY KEY (chain_id, contract)
) STRICT, WITHOUT ROWID;

-- Wei are decimal text: 128 bits fit no column.
CREATE TABLE anchor_sends (
    send_id      BLOB PRIMARY KEY CHECK (length(send_id) = 16),
    chain_id     INTEGER NOT NULL CHECK (chain_id > 0),
    contract     BLOB NOT NULL CHECK (length(contract) = 20),
    origin       TEXT NOT NULL,
    sender       BLOB NOT NULL CHECK (length(sender) = 20),
    nonce        INTEGER,
    call         BLOB NOT NULL,
    gas_limit    INTEGER NOT NULL,
    state        TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    tx_hash      BLOB CHECK (length(tx_hash) = 32),
    block_number INTEGER,
    block_hash   BLOB CHECK (length(block_hash) = 32),
    gas_used     INTEGER,
    gas_price    TEXT,
    settled_at   INTEGER,
    reason       TEXT
) STRICT;
CREATE INDEX anchor_sends_live ON anchor_sends (nonce) WHERE state IN ('open', 'mined');
CREATE INDEX anchor_sends_mined ON anchor_sends (tx_hash) WHERE tx_hash IS NOT NULL;

CREATE TABLE anchor_transactions (
    tx_hash     BLOB NOT NULL CHECK (length(tx_hash) = 32),
    send_id     BLOB NOT NULL REFERENCES anchor_sends,
    ordinal     INTEGER NOT NULL,
    raw         BLOB NOT NULL,
    fee_max     TEXT NOT NULL,
    tip         TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (send_id, tx_hash),
    UNIQUE (send_id, ordinal)
) STRICT;

-- Which commitments a send holds; void ones are held no more. The target is the send's.
CREATE TABLE anchors (
    send_id  BLOB NOT NULL REFERENCES anchor_sends,
    batch_id BLOB NOT NULL CHECK (length(batch_id) = 16),
    chain_id INTEGER NOT NULL,
    contract BLOB NOT NULL,
    ordinal  INTEGER NOT NULL,
    void     INTEGER NOT NULL DEFAULT 0 CHECK (void IN (0, 1)),
    PRIMARY KEY (send_id, batch_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX anchors_held ON anchors (chain_id, contract, batch_id) WHERE void = 0;
CREATE INDEX anchors_batch ON anchors (batch_id);

-- Streams that the present target refuses until somebody looks.
CREATE TABLE anchor_blocks (
    stream_no INTEGER PRIMARY KEY REFERENCES streams,
    batch_id  BLOB NOT NULL CHECK (length(batch_id) = 16),
    code      TEXT NOT NULL,
    message   TEXT NOT NULL,
    since     INTEGER NOT NULL
) STRICT;

-- It holds all that counting reads, also the column that is null.
CREATE INDEX ves_commitments_unanchored
    ON ves_commitments (stream_no, chain_position, committed_at, batch_id, anchored_at) WHERE anchored_at IS NULL;
CREATE INDEX ves_commitments_unanchored_range ON ves_commitments (stream_no, sequence_start, chain_position)
    WHERE anchored_at IS NULL;
CREATE INDEX ves_commitments_anchored ON ves_commitments (stream_no, chain_position) WHERE anchored_at IS NOT NULL;

INSERT INTO change_epochs VALUES ('anchors', 0);
