-- Commitments on an outside chain: the contract they go to, calls of it on their way, and who may make them.
CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     uuid,
    epoch      bigint NOT NULL CHECK (epoch > 0),
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Every contract that was ever chosen; the one with the highest turn is the present one.
CREATE TABLE anchor_targets (
    chain_id  bigint NOT NULL CHECK (chain_id > 0),
    contract  bytea NOT NULL CHECK (length(contract) = 20),
    turn      bigint NOT NULL UNIQUE,
    chosen_at timestamptz NOT NULL,
    PRIMARY KEY (chain_id, contract)
);

-- Wei are decimal text, since they are only ever read whole.
CREATE TABLE anchor_sends (
    send_id      uuid PRIMARY KEY,
    chain_id     bigint NOT NULL CHECK (chain_id > 0),
    contract     bytea NOT NULL CHECK (length(contract) = 20),
    origin       text NOT NULL,
    sender       bytea NOT NULL CHECK (length(sender) = 20),
    nonce        bigint,
    call         bytea NOT NULL,
    gas_limit    bigint NOT NULL,
    state        text NOT NULL,
    created_at   timestamptz NOT NULL,
    tx_hash      bytea CHECK (length(tx_hash) = 32),
    block_number bigint,
    block_hash   bytea CHECK (length(block_hash) = 32),
    gas_used     bigint,
    gas_price    text,
    settled_at   timestamptz,
    reason       text
);
CREATE INDEX anchor_sends_live ON anchor_sends (nonce) WHERE state IN ('open', 'mined');
CREATE INDEX anchor_sends_mined ON anchor_sends (tx_hash) WHERE tx_hash IS NOT NULL;

CREATE TABLE anchor_transactions (
    tx_hash     bytea NOT NULL CHECK (length(tx_hash) = 32),
    send_id     uuid NOT NULL,
    ordinal     bigint NOT NULL,
    raw         bytea NOT NULL,
    fee_max     text NOT NULL,
    tip         text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (send_id, tx_hash),
    UNIQUE (send_id, ordinal)
);

-- Which commitments a send holds; void ones are held no more. The target is the send's.
CREATE TABLE anchors (
    send_id  uuid NOT NULL,
    batch_id uuid NOT NULL,
    chain_id bigint NOT NULL,
    contract bytea NOT NULL,
    ordinal  bigint NOT NULL,
    void     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (send_id, batch_id)
);
CREATE UNIQUE INDEX anchors_held ON anchors (chain_id, contract, batch_id) WHERE NOT void;
CREATE INDEX anchors_batch ON anchors (batch_id);

-- Streams that the present target refuses until somebody looks.
CREATE TABLE anchor_blocks (
    tenant_id uuid NOT NULL,
    store_id  uuid NOT NULL,
    batch_id  uuid NOT NULL,
    code      text NOT NULL,
    message   text NOT NULL,
    since     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
);

CREATE INDEX ves_commitments_unanchored
    ON ves_commitments (tenant_id, store_id, chain_position, committed_at, batch_id) WHERE anchored_at IS NULL;
CREATE INDEX ves_commitments_unanchored_range
    ON ves_commitments (tenant_id, store_id, sequence_start, chain_position) WHERE anchored_at IS NULL;
CREATE INDEX ves_commitments_anchored ON ves_commitments (tenant_id, store_id, chain_position)
    WHERE anchored_at IS NOT NULL;

INSERT INTO change_epochs VALUES ('anchors', 0);
