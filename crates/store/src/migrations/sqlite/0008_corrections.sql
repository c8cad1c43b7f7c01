-- A correction is a commitment at the end of its stream's chain, over the range of an earlier one that is wrong.
-- A table's own UNIQUE can't be taken back, so the table is made anew.
CREATE TABLE chained_commitments (
    batch_id           BLOB PRIMARY KEY,
    stream_no          INTEGER NOT NULL REFERENCES streams,
    chain_position     INTEGER NOT NULL CHECK (chain_position > 0),
    corrects           BLOB,
    ves_version        INTEGER NOT NULL,
    tree_depth         INTEGER NOT NULL,
    leaf_count         INTEGER NOT NULL,
    padded_leaf_count  INTEGER NOT NULL,
    merkle_root        BLOB NOT NULL,
    prev_state_root    BLOB NOT NULL,
    new_state_root     BLOB NOT NULL,
    sequence_start     INTEGER NOT NULL,
    sequence_end       INTEGER NOT NULL CHECK (sequence_end >= sequence_start),
    committed_at       INTEGER NOT NULL,
    origin             TEXT NOT NULL,
    upper_levels       BLOB NOT NULL,
    chain_id           INTEGER,
    chain_tx_hash      BLOB,
    chain_block_number INTEGER,
    anchored_at        INTEGER,
    metadata           TEXT,
    UNIQUE (stream_no, chain_position)
) STRICT;

INSERT INTO chained_commitments
SELECT batch_id, stream_no, row_number() OVER (PARTITION BY stream_no ORDER BY sequence_start), NULL, ves_version,
       tree_depth, leaf_count, padded_leaf_count, merkle_root, prev_state_root, new_state_root, sequence_start,
       sequence_end, committed_at, origin, upper_levels, chain_id, chain_tx_hash, chain_block_number, anchored_at,
       metadata
FROM ves_commitments;

DROP TABLE ves_commitments;
ALTER TABLE chained_commitments RENAME TO ves_commitments;

CREATE UNIQUE INDEX ves_commitments_range ON ves_commitments (stream_no, sequence_start) WHERE corrects IS NULL;
CREATE UNIQUE INDEX ves_commitments_corrects ON ves_commitments (corrects) WHERE corrects IS NOT NULL;
CREATE INDEX ves_commitments_covering ON ves_commitments (stream_no, sequence_start, chain_position);
