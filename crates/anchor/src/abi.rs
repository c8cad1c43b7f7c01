//! The two contracts that anchors can go to, as their callers see them.
//!
//! `BowlineAnchor` is `contracts/BowlineAnchor.sol`. `OriginalAnchor` is the interface of the sequencer that
//! Bowline is compatible with: a contract of that kind which is deployed already can be used as it is.

#![allow(missing_docs, clippy::too_many_arguments, reason = "generated from the interfaces")]

use alloy_sol_types::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    interface BowlineAnchor {
        struct Commitment {
            bytes32 streamId;
            uint64 start;
            uint64 end;
            uint32 count;
            bool correction;
            bytes32 root;
            bytes32 prevStateRoot;
            bytes32 newStateRoot;
        }

        struct Head {
            bytes32 stateRoot;
            uint64 end;
            uint64 length;
            uint64 blockNumber;
        }

        struct Anchor {
            uint64 start;
            uint64 end;
            uint64 blockNumber;
            uint64 time;
        }

        event Committed(
            bytes32 indexed streamId,
            bytes32 indexed newStateRoot,
            bytes32 root,
            bytes32 prevStateRoot,
            uint64 start,
            uint64 end
        );
        event Corrected(
            bytes32 indexed streamId,
            bytes32 indexed newStateRoot,
            bytes32 root,
            bytes32 prevStateRoot,
            uint64 start,
            uint64 end
        );
        event CommitterSet(address indexed committer, bool allowed);
        event OwnershipOffered(address indexed from, address indexed to);
        event OwnershipTransferred(address indexed from, address indexed to);

        error NotCommitter(address sender);
        error NotOwner(address sender);
        error NotContiguous(bytes32 streamId, uint64 expected, uint64 given);
        error NotChained(bytes32 streamId, bytes32 expected, bytes32 given);
        error BadRange(bytes32 streamId, uint64 start, uint64 end, uint32 count);
        error BadStateRoot(bytes32 streamId, bytes32 expected, bytes32 given);

        function BOWLINE_ANCHOR() external view returns (uint256);
        function owner() external view returns (address);
        function offeredTo() external view returns (address);
        function isCommitter(address account) external view returns (bool);
        function commit(
            bytes32 streamId,
            uint64 start,
            uint64 end,
            uint32 count,
            bytes32 root,
            bytes32 prevStateRoot,
            bytes32 newStateRoot
        ) external;
        function correct(
            bytes32 streamId,
            uint64 start,
            uint64 end,
            uint32 count,
            bytes32 root,
            bytes32 prevStateRoot,
            bytes32 newStateRoot
        ) external;
        function commitBatch(Commitment[] calldata commitments) external;
        function head(bytes32 streamId) external view returns (Head memory);
        function heads(bytes32[] calldata streamIds) external view returns (Head[] memory found);
        function anchorOf(bytes32 newStateRoot) external view returns (Anchor memory);
        function anchorsOf(bytes32[] calldata newStateRoots) external view returns (Anchor[] memory found);
        function isAnchored(
            bytes32 streamId,
            uint64 start,
            uint64 end,
            uint32 count,
            bytes32 root,
            bytes32 prevStateRoot
        ) external view returns (bool);
        function stateRoot(
            bytes32 streamId,
            uint64 start,
            uint64 end,
            uint32 count,
            bytes32 root,
            bytes32 prevStateRoot
        ) external pure returns (bytes32);
        function setCommitter(address committer, bool allowed) external;
        function transferOwnership(address to) external;
        function acceptOwnership() external;
    }
}

sol! {
    #[derive(Debug, PartialEq, Eq)]
    interface OriginalAnchor {
        event CommitmentAnchored(
            bytes32 indexed batchId,
            bytes32 indexed tenantId,
            bytes32 storeId,
            bytes32 eventsRoot,
            bytes32 stateRoot,
            uint64 sequenceStart,
            uint64 sequenceEnd,
            uint32 eventCount,
            uint256 timestamp
        );

        function anchor(
            bytes32 batchId,
            bytes32 tenantId,
            bytes32 storeId,
            bytes32 eventsRoot,
            bytes32 stateRoot,
            uint64 sequenceStart,
            uint64 sequenceEnd,
            uint32 eventCount
        ) external;
        function anchorBatch(
            bytes32[] calldata batchIds,
            bytes32[] calldata tenantIds,
            bytes32[] calldata storeIds,
            bytes32[] calldata eventsRoots,
            bytes32[] calldata stateRoots,
            uint64[] calldata sequenceStarts,
            uint64[] calldata sequenceEnds,
            uint32[] calldata eventCounts
        ) external;
        function isAnchored(bytes32 batchId) external view returns (bool);
        function getLatestSequence(bytes32 tenantId, bytes32 storeId) external view returns (uint64);
        function verifyEventsRoot(bytes32 batchId, bytes32 eventsRoot) external view returns (bool);
    }
}
