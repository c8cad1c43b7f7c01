// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Emits every version of `NewFeedback`, which are overloads of one name, and the other events of a reputation
/// registry, for tests. It keeps nothing, so whoever calls says what is emitted.
contract ERC8004Reputation {
    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        int128 value,
        uint8 valueDecimals,
        string indexed indexedTag1,
        string tag1,
        string tag2,
        string endpoint,
        string feedbackURI,
        bytes32 feedbackHash
    );
    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        uint8 score,
        string indexed indexedTag1,
        string tag1,
        string tag2,
        string endpoint,
        string feedbackURI,
        bytes32 feedbackHash
    );
    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        uint8 score,
        string indexed tag1,
        string tag2,
        string endpoint,
        string feedbackURI,
        bytes32 feedbackHash
    );
    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint8 score,
        bytes32 indexed tag1,
        bytes32 tag2,
        string fileuri,
        bytes32 filehash
    );
    event FeedbackRevoked(uint256 indexed agentId, address indexed clientAddress, uint64 indexed feedbackIndex);
    event ResponseAppended(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        address indexed responder,
        string responseURI,
        bytes32 responseHash
    );

    struct Feedback {
        uint256 agentId;
        uint64 index;
        int128 value;
        uint8 decimals;
        string tag1;
        string tag2;
        string endpoint;
        string uri;
        bytes32 hash;
    }

    function give(Feedback calldata f) public {
        emit NewFeedback(
            f.agentId, msg.sender, f.index, f.value, f.decimals, f.tag1, f.tag1, f.tag2, f.endpoint, f.uri, f.hash
        );
    }

    /// As between 11 and 17 January 2026.
    function giveScore(Feedback calldata f, uint8 score) external {
        emit NewFeedback(f.agentId, msg.sender, f.index, score, f.tag1, f.tag1, f.tag2, f.endpoint, f.uri, f.hash);
    }

    /// As between 7 and 10 January 2026.
    function giveScoreHashed(Feedback calldata f, uint8 score) external {
        emit NewFeedback(f.agentId, msg.sender, f.index, score, f.tag1, f.tag2, f.endpoint, f.uri, f.hash);
    }

    /// As in 2025.
    function giveLegacy(uint256 agentId, uint8 score, bytes32 tag1, bytes32 tag2, string calldata uri, bytes32 hash)
        external
    {
        emit NewFeedback(agentId, msg.sender, score, tag1, tag2, uri, hash);
    }

    function revoke(uint256 agentId, uint64 index) external {
        emit FeedbackRevoked(agentId, msg.sender, index);
    }

    function respond(uint256 agentId, address client, uint64 index, string calldata uri, bytes32 hash) external {
        emit ResponseAppended(agentId, client, index, msg.sender, uri, hash);
    }

    /// The same feedback so many times in one transaction, with other indexes and agents.
    function giveMany(Feedback calldata f, uint256 count) external {
        for (uint64 step = 0; step < count; step++) {
            emit NewFeedback(
                f.agentId + (step % 100),
                msg.sender,
                f.index + step,
                f.value,
                f.decimals,
                f.tag1,
                f.tag1,
                f.tag2,
                f.endpoint,
                f.uri,
                f.hash
            );
        }
    }
}
