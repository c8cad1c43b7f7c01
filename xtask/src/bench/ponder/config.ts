import { createConfig } from "ponder";

export default createConfig({
  chains: { anvil: { id: 31337, rpc: process.env.PEER_RPC!, disableCache: true, finalityBlockCount: 0 } },
  contracts: {
    Reputation: {
      chain: "anvil",
      abi: JSON.parse(process.env.PEER_ABI!),
      address: process.env.PEER_ADDRESS as `0x${string}`,
      startBlock: 1,
    },
  },
});
