import { onchainTable } from "ponder";

export const event = onchainTable("event", (t) => ({
  id: t.text().primaryKey(),
  agentId: t.bigint().notNull(),
  clientAddress: t.hex().notNull(),
  feedbackIndex: t.bigint().notNull(),
  value: t.bigint().notNull(),
  valueDecimals: t.integer().notNull(),
  tag1: t.text().notNull(),
  tag2: t.text().notNull(),
  endpoint: t.text().notNull(),
  fileUri: t.text().notNull(),
  fileHash: t.hex().notNull(),
  blockNumber: t.bigint().notNull(),
  blockHash: t.hex().notNull(),
  timestamp: t.bigint().notNull(),
  transactionHash: t.hex().notNull(),
  logIndex: t.integer().notNull(),
}));
