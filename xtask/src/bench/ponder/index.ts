import { ponder } from "ponder:registry";
import { event } from "ponder:schema";

ponder.on("Reputation:NewFeedback", async ({ event: found, context }: any) => {
  const args = found.args;
  await context.db.insert(event).values({
    id: found.id,
    agentId: args.agentId,
    clientAddress: args.clientAddress,
    feedbackIndex: args.feedbackIndex,
    value: args.value,
    valueDecimals: args.valueDecimals,
    tag1: args.tag1,
    tag2: args.tag2,
    endpoint: args.endpoint,
    fileUri: args.feedbackURI,
    fileHash: args.feedbackHash,
    blockNumber: found.block.number,
    blockHash: found.block.hash,
    timestamp: found.block.timestamp,
    transactionHash: found.transaction.hash,
    logIndex: found.log.logIndex,
  });
});
