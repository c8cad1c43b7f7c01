// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// The interface of the sequencer that Bowline is compatible with, for tests: a node must be able to go on with a
/// contract of that kind which is deployed already. It is not meant to be deployed anywhere else, because it
/// knows no chain: any two batches with different names can be anchored, whatever they cover.
contract OriginalAnchor {
    struct Commitment {
        bytes32 eventsRoot;
        bytes32 stateRoot;
        uint64 sequenceStart;
        uint64 sequenceEnd;
        uint32 eventCount;
        uint256 timestamp;
        bool exists;
    }

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

    address public owner;
    /// Whether anybody may anchor, not only the owner.
    bool public permissionless;
    mapping(bytes32 => Commitment) private _commitments;
    mapping(bytes32 => mapping(bytes32 => uint64)) private _latest;
    uint256 private _count;

    modifier onlyOwner() {
        require(msg.sender == owner, "Only owner");
        _;
    }

    modifier onlyAuthorized() {
        require(permissionless || msg.sender == owner, "Not authorized");
        _;
    }

    constructor() {
        owner = msg.sender;
    }

    /// Anchors one batch; one that is anchored already is refused.
    function anchor(
        bytes32 batchId,
        bytes32 tenantId,
        bytes32 storeId,
        bytes32 eventsRoot,
        bytes32 stateRoot,
        uint64 sequenceStart,
        uint64 sequenceEnd,
        uint32 eventCount
    ) external onlyAuthorized {
        Commitment memory c =
            Commitment(eventsRoot, stateRoot, sequenceStart, sequenceEnd, eventCount, block.timestamp, true);
        _anchor(batchId, tenantId, storeId, c);
    }

    /// Anchors batches given as columns of equal length: all of them or none.
    function anchorBatch(
        bytes32[] calldata batchIds,
        bytes32[] calldata tenantIds,
        bytes32[] calldata storeIds,
        bytes32[] calldata eventsRoots,
        bytes32[] calldata stateRoots,
        uint64[] calldata sequenceStarts,
        uint64[] calldata sequenceEnds,
        uint32[] calldata eventCounts
    ) external onlyAuthorized {
        uint256 n = batchIds.length;
        require(n == tenantIds.length && n == storeIds.length && n == eventsRoots.length, "Length mismatch");
        require(n == stateRoots.length && n == sequenceStarts.length, "Length mismatch");
        require(n == sequenceEnds.length && n == eventCounts.length, "Length mismatch");
        for (uint256 i = 0; i < n; ++i) {
            Commitment memory c;
            c.eventsRoot = eventsRoots[i];
            c.stateRoot = stateRoots[i];
            c.sequenceStart = sequenceStarts[i];
            c.sequenceEnd = sequenceEnds[i];
            c.eventCount = eventCounts[i];
            c.timestamp = block.timestamp;
            c.exists = true;
            _anchor(batchIds[i], tenantIds[i], storeIds[i], c);
        }
    }

    function isAnchored(bytes32 batchId) external view returns (bool) {
        return _commitments[batchId].exists;
    }

    /// The highest sequence number anchored of a tenant's store.
    function getLatestSequence(bytes32 tenantId, bytes32 storeId) external view returns (uint64) {
        return _latest[tenantId][storeId];
    }

    function verifyEventsRoot(bytes32 batchId, bytes32 eventsRoot) external view returns (bool) {
        return _commitments[batchId].exists && _commitments[batchId].eventsRoot == eventsRoot;
    }

    function getCommitment(bytes32 batchId) external view returns (Commitment memory) {
        require(_commitments[batchId].exists, "Not anchored");
        return _commitments[batchId];
    }

    function getAnchoredCount() external view returns (uint256) {
        return _count;
    }

    function transferOwnership(address to) external onlyOwner {
        require(to != address(0), "Zero address");
        owner = to;
    }

    function setPermissionless(bool allowed) external onlyOwner {
        permissionless = allowed;
    }

    function _anchor(bytes32 batchId, bytes32 tenantId, bytes32 storeId, Commitment memory c) private {
        require(!_commitments[batchId].exists, "Already anchored");
        _commitments[batchId] = c;
        if (c.sequenceEnd > _latest[tenantId][storeId]) {
            _latest[tenantId][storeId] = c.sequenceEnd;
        }
        _count += 1;
        emit CommitmentAnchored(
            batchId,
            tenantId,
            storeId,
            c.eventsRoot,
            c.stateRoot,
            c.sequenceStart,
            c.sequenceEnd,
            c.eventCount,
            c.timestamp
        );
    }
}
