//! Judges one stored event by its own row: payload, signing hash, agent's signature, receipt and leaf.
//!
//! Each part is judged against what the parts before it say, as stored or as computed: a row with one wrong
//! value has one fault, and the parts that are right are not blamed for it. Nothing here knows the events beside
//! it; the place in the stream is the caller's business.

use bowline_store::{EventTrace, StoredEvent};
use bowline_types::Timestamp;
use bowline_ves::{
    Hash, Payload, VerifyKey, attestation_hash, canonicalize, check_hashes, check_scheme, event_signing_hash,
    leaf_hash, payload_plain_hash, receipt_hash,
};

use super::finding::{Finding, FindingKind};
use super::keys::PageKeys;

/// An event with what is wrong with it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) sequence_number: u64,
    /// The leaf that commitments are judged with; none if there is none to go by.
    pub(super) leaf: Option<Hash>,
    pub(super) sequenced_at: Option<Timestamp>,
    /// Signatures verified.
    pub(super) signatures: u32,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn judge(trace: EventTrace, keys: &PageKeys) -> Judged {
    let mut judged = Judged {
        sequence_number: trace.sequence_number,
        leaf: trace.leaf,
        sequenced_at: None,
        signatures: 0,
        findings: Vec::new(),
    };
    let event = match trace.event {
        Ok(event) => event,
        Err(problem) => {
            judged.findings.push(Finding::new(FindingKind::Unreadable, "an event", problem.0));
            return judged;
        }
    };
    judged.sequenced_at = Some(event.receipt.sequenced_at);
    judged.payload(&event);
    let hashes = judged.signing_hash(&event);
    let signed = judged.agent_signature(&event, &hashes, keys);
    judged.receipt(&event, &hashes, keys);
    judged.leaf(&event, &hashes, signed);
    judged
}

/// What the event says that was signed: computed, and as stored beside it.
type SigningHashes = [Hash; 2];

impl Judged {
    fn add(&mut self, kind: FindingKind, expected: impl Into<String>, found: impl Into<String>) {
        self.findings.push(Finding::new(kind, expected, found));
    }

    fn payload(&mut self, event: &StoredEvent) {
        let envelope = &event.envelope;
        let Err(rejection) = check_scheme(envelope).and_then(|()| check_hashes(envelope)) else { return };
        let computed = match &envelope.payload {
            Payload::Plain(text) => canonicalize(text).ok().map(|bytes| payload_plain_hash(&bytes, None)),
            Payload::Encrypted(_) => None,
        };
        match computed.filter(|computed| *computed != envelope.payload_plain_hash) {
            Some(computed) => self.add(
                FindingKind::PayloadHash,
                format!("a payload of hash {}", envelope.payload_plain_hash),
                format!("one of hash {computed}"),
            ),
            None => self.add(FindingKind::PayloadHash, "the payload that was hashed", rejection.to_string()),
        }
    }

    fn signing_hash(&mut self, event: &StoredEvent) -> SigningHashes {
        let computed = event_signing_hash(&event.envelope);
        if computed != event.signing_hash {
            self.add(FindingKind::SigningHash, computed.to_string(), event.signing_hash.to_string());
        }
        [computed, event.signing_hash]
    }

    /// Whether the agent's signature may be gone by.
    fn agent_signature(&mut self, event: &StoredEvent, hashes: &SigningHashes, keys: &PageKeys) -> bool {
        if !keys.signatures() {
            return true;
        }
        let envelope = &event.envelope;
        let (agent, key_id) = (envelope.source_agent_id, envelope.agent_key_id);
        let key = match keys.agent((envelope.stream.tenant_id, agent, key_id)) {
            Ok(key) => key,
            Err(problem) => {
                self.add(FindingKind::AgentKey, format!("key {key_id} of agent {agent}"), problem);
                return true;
            }
        };
        self.signatures += 1;
        let is_signed = any(hashes, |hash| key.verify(hash.as_bytes(), &envelope.agent_signature));
        if !is_signed {
            let expected = format!("a signature over {} by key {key_id} of agent {agent}", hashes[0]);
            self.add(FindingKind::AgentSignature, expected, envelope.agent_signature.to_string());
        }
        is_signed
    }

    fn receipt(&mut self, event: &StoredEvent, hashes: &SigningHashes, keys: &PageKeys) {
        let receipt = &event.receipt;
        let due =
            hashes.map(|hash| receipt_hash(receipt.stream, receipt.event_id, receipt.sequence_number, &hash));
        if !due.contains(&receipt.receipt_hash) {
            self.add(FindingKind::ReceiptHash, due[0].to_string(), receipt.receipt_hash.to_string());
        }
        // A receipt of a chain's event is signed when somebody asks for it.
        let Some([signature, attestation]) = receipt.signatures.filter(|_| keys.signatures()) else { return };
        let (sequencer, version) = (receipt.sequencer_id, receipt.key_version);
        let key = match keys.sequencer(sequencer, version) {
            Ok(key) => key,
            Err(problem) => {
                let expected = format!("key version {version} of sequencer {sequencer}");
                self.add(FindingKind::SequencerKey, expected, problem);
                return;
            }
        };
        self.signatures += 2;
        let sealed = [receipt.receipt_hash, due[0]];
        if !any(&sealed, |hash| key.verify(hash.as_bytes(), &signature)) {
            let expected = format!("a signature over {} by key version {version}", sealed[0]);
            self.add(FindingKind::SequencerSignature, expected, signature.to_string());
        }
        let attested = sealed.map(|hash| attestation_hash(&hash, receipt.sequenced_at, sequencer, version));
        if !any(&attested, |hash| key.verify(hash.as_bytes(), &attestation)) {
            let time = receipt.sequenced_at;
            let expected = format!("a signature over {} at {time} by key version {version}", sealed[0]);
            self.add(FindingKind::Attestation, expected, attestation.to_string());
        }
    }

    fn leaf(&mut self, event: &StoredEvent, hashes: &SigningHashes, signed: bool) {
        let receipt = &event.receipt;
        let signature = &event.envelope.agent_signature;
        let due = hashes.map(|hash| leaf_hash(receipt.stream, receipt.sequence_number, &hash, signature));
        match self.leaf {
            None => self.add(FindingKind::Leaf, due[0].to_string(), "no leaf"),
            Some(leaf) if due.contains(&leaf) => return,
            // A wrong signature gives a wrong leaf, and is the fault that counts; the stored leaf may be right.
            Some(_) if !signed => return,
            Some(leaf) => self.add(FindingKind::Leaf, due[0].to_string(), leaf.to_string()),
        }
        self.leaf = Some(due[0]);
    }
}

/// Whether it holds for the first, or else for the second where that is another one.
fn any(hashes: &[Hash; 2], holds: impl Fn(&Hash) -> bool) -> bool {
    holds(&hashes[0]) || (hashes[1] != hashes[0] && holds(&hashes[1]))
}
