// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Emits what ERC-8004 registries emit, for tests: the identity registry's events with those of ERC-721, ERC-4906 and
/// proxies. It keeps nothing, so whoever calls says what is emitted. It is not meant to be deployed anywhere else.
contract ERC8004Identity {
    event Registered(uint256 indexed agentId, string agentURI, address indexed owner);
    event MetadataSet(
        uint256 indexed agentId, string indexed indexedMetadataKey, string metadataKey, bytes metadataValue
    );
    event URIUpdated(uint256 indexed agentId, string newURI, address indexed updatedBy);
    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);
    event MetadataUpdate(uint256 tokenId);
    event BatchMetadataUpdate(uint256 fromTokenId, uint256 toTokenId);
    event Initialized(uint64 version);
    event Upgraded(address indexed implementation);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    /// The four events of a registration with a URI.
    function register(uint256 agentId, string calldata uri) external {
        emit Transfer(address(0), msg.sender, agentId);
        emit MetadataUpdate(agentId);
        emit Registered(agentId, uri, msg.sender);
        emit MetadataSet(agentId, "agentWallet", "agentWallet", abi.encodePacked(msg.sender));
    }

    function setMetadata(uint256 agentId, string calldata key, bytes calldata value) external {
        emit MetadataSet(agentId, key, key, value);
    }

    function setUri(uint256 agentId, string calldata uri) external {
        emit URIUpdated(agentId, uri, msg.sender);
        emit MetadataUpdate(agentId);
    }

    function transfer(address to, uint256 agentId) external {
        emit MetadataSet(agentId, "agentWallet", "agentWallet", "");
        emit Transfer(msg.sender, to, agentId);
    }

    function approve(address to, uint256 agentId) external {
        emit Approval(msg.sender, to, agentId);
    }

    function approveAll(address operator, bool approved) external {
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    function updateMany(uint256 from, uint256 to) external {
        emit BatchMetadataUpdate(from, to);
    }

    function upgrade(address implementation) external {
        emit Initialized(2);
        emit Upgraded(implementation);
        emit OwnershipTransferred(address(0), msg.sender);
    }

    /// A log of that first topic whose data is whatever the caller says, or an event that nobody knows.
    function emitRaw(bytes32 topic, bytes calldata data) external {
        bytes memory copy = data;
        assembly {
            log1(add(copy, 32), mload(copy), topic)
        }
    }

    /// So many registrations in one transaction.
    function registerMany(uint256 firstId, uint256 count, string calldata uri) external {
        for (uint256 id = firstId; id < firstId + count; id++) {
            emit Registered(id, uri, msg.sender);
        }
    }
}
