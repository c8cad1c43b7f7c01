// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Emits the events of a validation registry, for tests. It keeps nothing, so whoever calls says what is emitted.
contract ERC8004Validation {
    event ValidationRequest(
        address indexed validatorAddress, uint256 indexed agentId, string requestURI, bytes32 indexed requestHash
    );
    event ValidationResponse(
        address indexed validatorAddress,
        uint256 indexed agentId,
        bytes32 indexed requestHash,
        uint8 response,
        string responseURI,
        bytes32 responseHash,
        string tag
    );

    function request(address validator, uint256 agentId, string calldata uri, bytes32 hash) external {
        emit ValidationRequest(validator, agentId, uri, hash);
    }

    function respond(
        uint256 agentId,
        bytes32 requestHash,
        uint8 response,
        string calldata uri,
        bytes32 hash,
        string calldata tag
    ) external {
        emit ValidationResponse(msg.sender, agentId, requestHash, response, uri, hash, tag);
    }
}
