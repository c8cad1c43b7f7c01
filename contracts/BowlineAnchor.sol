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
/// commitment, with an event of its own, and lies within what the stream has committed, whose end it does not move.
///
/// Nothing here can be paused, replaced or taken back: the owner decides who commits from now on, and nothing else.
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

    /// A stream as it is kept; two slots.
    struct Stream {
        bytes32 stateRoot;
        uint64 end;
        uint64 length;
        uint64 blockNumber;
        /// Where its first commitment began.
        uint64 start;
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
    /// The range does not begin after the stream's end, or a correction reaches out of what the stream committed:
    /// then `expected` is the first or the last sequence number that it may have.
    error NotContiguous(bytes32 streamId, uint64 expected, uint64 given);
    /// The stream's last state root is another one: this is a fork, or comes too late or too early.
    error NotChained(bytes32 streamId, bytes32 expected, bytes32 given);
    /// The range is empty, begins at 0, or does not have so many events.
    error BadRange(bytes32 streamId, uint64 start, uint64 end, uint32 count);
    /// The state root is not the hash of the other fields.
    error BadStateRoot(bytes32 streamId, bytes32 expected, bytes32 given);

    /// The version of this interface.
    uint256 public constant BOWLINE_ANCHOR = 1;

    /// May say who commits, and hand that right on.
    address public owner;
    /// May become the owner; zero if nobody.
    address public offeredTo;
    /// May commit.
    mapping(address => bool) public isCommitter;
    mapping(bytes32 => Stream) private _streams;
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
        return _head(streamId);
    }

    /// The ends of streams.
    function heads(bytes32[] calldata streamIds) external view returns (Head[] memory found) {
        found = new Head[](streamIds.length);
        for (uint256 i = 0; i < streamIds.length; ++i) {
            found[i] = _head(streamIds[i]);
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

    /// Offers the contract to another account, which takes it with `acceptOwnership`; zero withdraws the offer.
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
        if (c.start == 0 || c.end < c.start || uint256(c.end) - c.start + 1 != c.count) {
            revert BadRange(c.streamId, c.start, c.end, c.count);
        }
        Stream storage stream = _streams[c.streamId];
        if (c.prevStateRoot != stream.stateRoot) {
            revert NotChained(c.streamId, stream.stateRoot, c.prevStateRoot);
        }
        if (c.correction) {
            if (c.end > stream.end) revert NotContiguous(c.streamId, stream.end, c.end);
            if (c.start < stream.start) revert NotContiguous(c.streamId, stream.start, c.start);
        } else if (stream.length == 0) {
            // A stream's first commitment may begin anywhere, every other one where the last one ended.
            stream.start = c.start;
            stream.end = c.end;
        } else {
            if (c.start - 1 != stream.end) revert NotContiguous(c.streamId, _next(stream.end), c.start);
            stream.end = c.end;
        }
        bytes32 computed = stateRoot(c.streamId, c.start, c.end, c.count, c.root, c.prevStateRoot);
        if (computed != c.newStateRoot) revert BadStateRoot(c.streamId, computed, c.newStateRoot);
        stream.stateRoot = computed;
        stream.length += 1;
        stream.blockNumber = uint64(block.number);
        _anchors[computed] = Anchor(c.start, c.end, uint64(block.number), uint64(block.timestamp));
        if (c.correction) {
            emit Corrected(c.streamId, computed, c.root, c.prevStateRoot, c.start, c.end);
        } else {
            emit Committed(c.streamId, computed, c.root, c.prevStateRoot, c.start, c.end);
        }
    }

    /// After the last number of all there is none: 0.
    function _next(uint64 sequence) private pure returns (uint64) {
        return sequence == type(uint64).max ? 0 : sequence + 1;
    }

    function _head(bytes32 streamId) private view returns (Head memory) {
        Stream storage stream = _streams[streamId];
        return Head(stream.stateRoot, stream.end, stream.length, stream.blockNumber);
    }

    function _onlyCommitter() private view {
        if (!isCommitter[msg.sender]) revert NotCommitter(msg.sender);
    }

    function _onlyOwner() private view {
        if (msg.sender != owner) revert NotOwner(msg.sender);
    }
}
