-- A correction is a commitment at the end of its stream's chain, over the range of an earlier one that is wrong.
ALTER TABLE commitments ADD COLUMN chain_position bigint, ADD COLUMN corrects uuid;

UPDATE ves_commitments c SET chain_position = ranked.position
FROM (SELECT batch_id, row_number() OVER (PARTITION BY tenant_id, store_id ORDER BY sequence_start) AS position
      FROM ves_commitments) ranked
WHERE ranked.batch_id = c.batch_id;
ALTER TABLE commitments ALTER COLUMN chain_position SET NOT NULL;

DROP INDEX ves_commitments_chain;
CREATE UNIQUE INDEX ves_commitments_chain ON ves_commitments (tenant_id, store_id, chain_position);
CREATE UNIQUE INDEX ves_commitments_range ON ves_commitments (tenant_id, store_id, sequence_start) WHERE corrects IS NULL;
CREATE UNIQUE INDEX ves_commitments_corrects ON ves_commitments (corrects) WHERE corrects IS NOT NULL;
CREATE INDEX ves_commitments_covering ON ves_commitments (tenant_id, store_id, sequence_start, chain_position);
