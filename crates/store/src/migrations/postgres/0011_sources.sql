-- How far each chain is on the line, and by which blocks that is known.
CREATE TABLE checkpoints (
    chain_id          bigint PRIMARY KEY CHECK (chain_id > 0),
    tenant_id         uuid NOT NULL,
    store_id          uuid NOT NULL,
    last_block_number bigint,
    last_block_hash   bytea,
    generation        bigint NOT NULL,
    updated_at        timestamptz NOT NULL
);

-- The newest marks; `head` is the stream's last number when everything up to that block was written.
CREATE TABLE chain_blocks (
    chain_id bigint NOT NULL,
    number   bigint NOT NULL,
    hash     bytea NOT NULL CHECK (length(hash) = 32),
    head     bigint NOT NULL,
    PRIMARY KEY (chain_id, number)
);
