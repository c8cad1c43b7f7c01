// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Commitments of Bowline's streams, in the order in which they were made.
///
/// A stream is named by `SHA-256("VES_STREAM_V1" ‖ tenant ‖ store)`. Each commitment continues the one before it:
/// its previous state root is the stream's last one, its range begins where the last one ended, and its state root is
/// the hash of all that, which this contract computes itself. So a stream has one history here, and whoever
/// holds its last state root can verify all of it.
///
/// A correction covers again what was committed wrongly. It stands at the end of the chain like any other
/// commitment, with an event of its own, and moves no range.
contract BowlineAnchor {
    /// One commitment.
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

    /// The end of a stream.
    struct Head {
        /// The last state root; zero if nothing of the stream was committed.
        bytes32 stateRoot;
        /// The highest sequence number under a commitment.
        uint64 end;
        /// Commitments and corrections so far.
        uint64 length;
        /// The block of the last one.
        uint64 blockNumber;
    }

    /// Where a commitment was anchored.
    struct Anchor {
        uint64 start;
        uint64 end;
        /// The block; zero if the state root is not known.
        uint64 blockNumber;
        /// The block's time, seconds since 1970.
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

    /// The sender may not commit.
    error NotCommitter(address sender);
    /// The sender does not own the contract, or was not offered it.
    error NotOwner(address sender);
    /// The range does not begin where the stream ended, or a correction reaches beyond it.
    error NotContiguous(bytes32 streamId, uint64 expected, uint64 given);
    /// The stream's last state root is another one: this is a fork, or comes too late or too early.
    error NotChained(bytes32 streamId, bytes32 expected, bytes32 given);
    /// The range is empty, begins at 0, or does not have so many events.
    error BadRange(bytes32 streamId, uint64 start, uint64 end, uint32 count);
    /// The state root is not the hash of the other fields.
    error BadStateRoot(bytes32 streamId, bytes32 expected, bytes32 given);

    /// The version of this interface.
    uint256 public constant BOWLINE_ANCHOR = 1;

    address public owner;
    address public offeredTo;
    mapping(address => bool) public isCommitter;
    mapping(bytes32 => Head) private _heads;
    mapping(bytes32 => Anchor) private _anchors;

    constructor(address owner_, address committer) {
        owner = owner_;
        emit OwnershipTransferred(address(0), owner_);
        isCommitter[committer] = true;
        emit CommitterSet(committer, true);
    }

    /// Anchors one commitment.
    function commit(
        bytes32 streamId,
        uint64 start,
        uint64 end,
        uint32 count,
        bytes32 root,
        bytes32 prevStateRoot,
        bytes32 newStateRoot
    ) external {
        _onlyCommitter();
        _commit(Commitment(streamId, start, end, count, false, root, prevStateRoot, newStateRoot));
    }

    /// Anchors one correction.
    function correct(
        bytes32 streamId,
        uint64 start,
        uint64 end,
        uint32 count,
        bytes32 root,
        bytes32 prevStateRoot,
        bytes32 newStateRoot
    ) external {
        _onlyCommitter();
        _commit(Commitment(streamId, start, end, count, true, root, prevStateRoot, newStateRoot));
    }

    /// Anchors commitments and corrections of any streams, in this order: all of them or none.
    function commitBatch(Commitment[] calldata commitments) external {
        _onlyCommitter();
        for (uint256 i = 0; i < commitments.length; ++i) {
            _commit(commitments[i]);
        }
    }

    /// The end of a stream.
    function head(bytes32 streamId) external view returns (Head memory) {
        return _heads[streamId];
    }

    /// The ends of streams.
    function heads(bytes32[] calldata streamIds) external view returns (Head[] memory found) {
        found = new Head[](streamIds.length);
        for (uint256 i = 0; i < streamIds.length; ++i) {
            found[i] = _heads[streamIds[i]];
        }
    }

    /// Where the commitment with that state root was anchored.
    function anchorOf(bytes32 newStateRoot) external view returns (Anchor memory) {
        return _anchors[newStateRoot];
    }

    /// Where the commitments with those state roots were anchored.
    function anchorsOf(bytes32[] calldata newStateRoots) external view returns (Anchor[] memory found) {
        found = new Anchor[](newStateRoots.length);
        for (uint256 i = 0; i < newStateRoots.length; ++i) {
            found[i] = _anchors[newStateRoots[i]];
        }
    }

    /// Whether exactly this commitment was anchored.
    function isAnchored(
        bytes32 streamId,
        uint64 start,
        uint64 end,
        uint32 count,
        bytes32 root,
        bytes32 prevStateRoot
    ) external view returns (bool) {
        return _anchors[stateRoot(streamId, start, end, count, root, prevStateRoot)].blockNumber != 0;
    }

    /// The state root after a commitment: SHA-256 over
    /// `"VES_STATE_ROOT_V1" ‖ streamId ‖ prevStateRoot ‖ root ‖ start ‖ end ‖ count`, numbers big-endian.
    function stateRoot(
        bytes32 streamId,
        uint64 start,
        uint64 end,
        uint32 count,
        bytes32 root,
        bytes32 prevStateRoot
    ) public pure returns (bytes32) {
        return sha256(abi.encodePacked("VES_STATE_ROOT_V1", streamId, prevStateRoot, root, start, end, count));
    }

    /// Allows an account to commit, or forbids it.
    function setCommitter(address committer, bool allowed) external {
        _onlyOwner();
        isCommitter[committer] = allowed;
        emit CommitterSet(committer, allowed);
    }

    /// Offers the contract to another account, which takes it with `acceptOwnership`.
    function transferOwnership(address to) external {
        _onlyOwner();
        offeredTo = to;
        emit OwnershipOffered(owner, to);
    }

    /// Takes the contract that was offered.
    function acceptOwnership() external {
        if (msg.sender != offeredTo) revert NotOwner(msg.sender);
        emit OwnershipTransferred(owner, msg.sender);
        owner = msg.sender;
        offeredTo = address(0);
    }

    function _commit(Commitment memory c) private {
        if (c.start == 0 || c.end < c.start || c.end - c.start + 1 != c.count) {
            revert BadRange(c.streamId, c.start, c.end, c.count);
        }
        Head storage h = _heads[c.streamId];
        if (c.prevStateRoot != h.stateRoot) revert NotChained(c.streamId, h.stateRoot, c.prevStateRoot);
        uint64 last = h.end;
        if (c.correction) {
            if (c.end > last) revert NotContiguous(c.streamId, last, c.end);
        } else {
            // A stream's first commitment may begin anywhere, every other one where the last one ended.
            if (h.length != 0 && c.start != last + 1) revert NotContiguous(c.streamId, last + 1, c.start);
            last = c.end;
        }
        bytes32 computed = stateRoot(c.streamId, c.start, c.end, c.count, c.root, c.prevStateRoot);
        if (computed != c.newStateRoot) revert BadStateRoot(c.streamId, computed, c.newStateRoot);
        h.stateRoot = computed;
        h.end = last;
        h.length += 1;
        h.blockNumber = uint64(block.number);
        _anchors[computed] = Anchor(c.start, c.end, uint64(block.number), uint64(block.timestamp));
        if (c.correction) {
            emit Corrected(c.streamId, computed, c.root, c.prevStateRoot, c.start, c.end);
        } else {
            emit Committed(c.streamId, computed, c.root, c.prevStateRoot, c.start, c.end);
        }
    }

    function _onlyCommitter() private view {
        if (!isCommitter[msg.sender]) revert NotCommitter(msg.sender);
    }

    function _onlyOwner() private view {
        if (msg.sender != owner) revert NotOwner(msg.sender);
    }
}
