//! Every event that an ERC-8004 registry emits or ever emitted, with the names that its values have on the line.
//!
//! The registries are proxies whose events changed while their addresses stayed, so one address has several versions
//! of an event, told apart by their first topic. A test pins each of those.

/// A signature, and what each of its values is called, in order: `-` leaves a hash out whose text stands beside it,
/// and `=` at the end says that 32 bytes are a text that is padded with zeros.
pub(crate) type Known = (&'static str, &'static [&'static str]);

/// A value that is left out.
pub(crate) const LEFT_OUT: &str = "-";
/// What marks 32 bytes that are a text.
pub(crate) const PADDED_TEXT: char = '=';

/// Events of proxies, which every registry is.
pub(crate) const PROXY: &[Known] = &[
    ("event Initialized(uint64 version)", &["version"]),
    ("event Upgraded(address indexed implementation)", &["implementation"]),
    (
        "event OwnershipTransferred(address indexed previousOwner, address indexed newOwner)",
        &["previous_owner", "new_owner"],
    ),
];

/// Events of the identity registry, which is an ERC-721 token with ERC-4906.
pub(crate) const IDENTITY: &[Known] = &[
    (
        "event Registered(uint256 indexed agentId, string agentURI, address indexed owner)",
        &["agent_id", "token_uri", "owner"],
    ),
    (
        "event MetadataSet(uint256 indexed agentId, string indexed indexedMetadataKey, string metadataKey, bytes metadataValue)",
        &["agent_id", LEFT_OUT, "metadata_key", "metadata_value"],
    ),
    (
        "event URIUpdated(uint256 indexed agentId, string newURI, address indexed updatedBy)",
        &["agent_id", "token_uri", "updated_by"],
    ),
    (
        "event Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
        &["from", "to", "agent_id"],
    ),
    (
        "event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId)",
        &["owner", "approved", "agent_id"],
    ),
    (
        "event ApprovalForAll(address indexed owner, address indexed operator, bool approved)",
        &["owner", "operator", "approved"],
    ),
    ("event MetadataUpdate(uint256 tokenId)", &["agent_id"]),
    ("event BatchMetadataUpdate(uint256 fromTokenId, uint256 toTokenId)", &["from_agent_id", "to_agent_id"]),
];

/// Events of the reputation registry: four versions of `NewFeedback`, the newest first.
pub(crate) const REPUTATION: &[Known] = &[
    (
        "event NewFeedback(uint256 indexed agentId, address indexed clientAddress, uint64 feedbackIndex, int128 value, uint8 valueDecimals, string indexed indexedTag1, string tag1, string tag2, string endpoint, string feedbackURI, bytes32 feedbackHash)",
        &[
            "agent_id",
            "client_address",
            "feedback_index",
            "value_raw",
            "value_decimals",
            LEFT_OUT,
            "tag1",
            "tag2",
            "endpoint",
            "file_uri",
            "file_hash",
        ],
    ),
    (
        "event NewFeedback(uint256 indexed agentId, address indexed clientAddress, uint64 feedbackIndex, uint8 score, string indexed indexedTag1, string tag1, string tag2, string endpoint, string feedbackURI, bytes32 feedbackHash)",
        &[
            "agent_id",
            "client_address",
            "feedback_index",
            "score",
            LEFT_OUT,
            "tag1",
            "tag2",
            "endpoint",
            "file_uri",
            "file_hash",
        ],
    ),
    (
        "event NewFeedback(uint256 indexed agentId, address indexed clientAddress, uint64 feedbackIndex, uint8 score, string indexed tag1, string tag2, string endpoint, string feedbackURI, bytes32 feedbackHash)",
        &[
            "agent_id",
            "client_address",
            "feedback_index",
            "score",
            "tag1_hash",
            "tag2",
            "endpoint",
            "file_uri",
            "file_hash",
        ],
    ),
    (
        "event NewFeedback(uint256 indexed agentId, address indexed clientAddress, uint8 score, bytes32 indexed tag1, bytes32 tag2, string fileuri, bytes32 filehash)",
        &["agent_id", "client_address", "score", "tag1=", "tag2=", "file_uri", "file_hash"],
    ),
    (
        "event FeedbackRevoked(uint256 indexed agentId, address indexed clientAddress, uint64 indexed feedbackIndex)",
        &["agent_id", "client_address", "feedback_index"],
    ),
    (
        "event ResponseAppended(uint256 indexed agentId, address indexed clientAddress, uint64 feedbackIndex, address indexed responder, string responseURI, bytes32 responseHash)",
        &["agent_id", "client_address", "feedback_index", "responder", "response_uri", "response_hash"],
    ),
];

/// Events of the validation registry.
pub(crate) const VALIDATION: &[Known] = &[
    (
        "event ValidationRequest(address indexed validatorAddress, uint256 indexed agentId, string requestURI, bytes32 indexed requestHash)",
        &["validator_address", "agent_id", "request_uri", "request_hash"],
    ),
    (
        "event ValidationResponse(address indexed validatorAddress, uint256 indexed agentId, bytes32 indexed requestHash, uint8 response, string responseURI, bytes32 responseHash, string tag)",
        &[
            "validator_address",
            "agent_id",
            "request_hash",
            "response",
            "response_uri",
            "response_hash",
            "tag",
        ],
    ),
];
