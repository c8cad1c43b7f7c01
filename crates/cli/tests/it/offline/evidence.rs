//! A small stream with its export, proof and receipt, made as a sequencer makes them, and a way to run the
//! binary on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bowline_types::{AgentId, BatchId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{
    AgentKeyRecord, AgentPublicKey, Commitment, Draft, Envelope, ExportHeader, ExportWriter, Hash, Receipt,
    SecretKey, SequencerKeyRecord, SequencerSigner, Tree, event_signing_hash, leaf_hash, sign_envelope,
};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const EVENTS: u64 = 5;

/// The files of one stream in a folder that goes with it.
pub(crate) struct Evidence {
    folder: tempfile::TempDir,
    pub(crate) sequencer_key: AgentPublicKey,
    pub(crate) agent_id: AgentId,
    pub(crate) agent_key: AgentPublicKey,
    pub(crate) merkle_root: Hash,
}

/// What the binary did.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect(&self.stdout)
    }
}

/// Runs the binary in `folder` without the caller's settings.
pub(crate) fn bowline(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    for name in ["BOWLINE_URL", "BOWLINE_API_KEY", "BOWLINE_DATA"] {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } = command.current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Evidence {
    /// Writes `export.ndjson`, `event.json` and `proof.json` of event 3, and `receipt.json`.
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        let (agent_id, agent) = (AgentId::random(), SecretKey::random().unwrap());
        let sequencer = SequencerSigner {
            sequencer_id: Uuid::new_v4(),
            key_version: 1,
            key: SecretKey::random().unwrap(),
        };
        let at = Timestamp::from_micros(1_750_000_000_000_000);
        let events: Vec<(Envelope, Receipt)> = (1..=EVENTS)
            .map(|number| {
                let draft = Draft {
                    stream,
                    event_id: EventId::random(),
                    source_agent_id: agent_id,
                    agent_key_id: 1,
                    entity_type: "order".to_owned(),
                    entity_id: format!("o-{number}"),
                    event_type: "order.created".to_owned(),
                    created_at: at.to_string(),
                    payload: format!("{{\"amount\":{number}.50}}").into(),
                    command_id: None,
                    base_version: None,
                };
                let envelope = sign_envelope(draft, &agent).unwrap();
                let receipt =
                    sequencer.seal(stream, envelope.event_id, &event_signing_hash(&envelope), number, at);
                (envelope, receipt)
            })
            .collect();
        let leaves = events.iter().map(|(envelope, receipt)| {
            let hash = event_signing_hash(envelope);
            leaf_hash(stream, receipt.sequence_number, &hash, &envelope.agent_signature)
        });
        let tree = Tree::new(leaves.collect());
        let commitment =
            Commitment::seal(BatchId::random(), stream, &tree, 1, EVENTS, Hash::ZERO, at).unwrap();

        let evidence = Self {
            folder,
            sequencer_key: sequencer.key.public(),
            agent_id,
            agent_key: agent.public(),
            merkle_root: tree.root(),
        };
        let header = ExportHeader {
            stream,
            sequence_start: 1,
            sequence_end: EVENTS,
            exported_at: at,
            sequencer_keys: vec![SequencerKeyRecord {
                key_version: 1,
                sequencer_id: sequencer.sequencer_id,
                public_key: sequencer.key.public(),
            }],
        };
        let file = File::create(evidence.path("export.ndjson")).unwrap();
        let mut writer = ExportWriter::new(file, &header).unwrap();
        writer.agent_key(&AgentKeyRecord { agent_id, agent_key_id: 1, public_key: agent.public() }).unwrap();
        for (envelope, receipt) in &events {
            writer.event(envelope, receipt).unwrap();
        }
        writer.commitment(&commitment).unwrap();
        writer.finish(EVENTS).unwrap();

        let (envelope, receipt) = &events[2];
        let proof = tree.path(2).unwrap();
        evidence.write("event.json", &envelope.sequenced_json(3, at));
        evidence.write("receipt.json", &receipt.to_json().to_string());
        let proof = json!({
            "sequence_number": 3, "batch_id": commitment.batch_id, "merkle_root": tree.root().to_string(),
            "leaf_hash": proof.leaf_hash.to_string(), "leaf_index": 2, "directions": proof.directions(),
            "proof_path": proof.path.iter().map(Hash::to_string).collect::<Vec<_>>(),
            "tenant_id": stream.tenant_id, "store_id": stream.store_id, "event_id": envelope.event_id,
        });
        evidence.write("proof.json", &proof.to_string());
        evidence
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a copy of a file with one text replaced once.
    pub(crate) fn tamper(&self, from: &str, to: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(from)).unwrap();
        let changed = text.replacen(old, new, 1);
        assert_ne!(text, changed, "{old} is not in {from}");
        self.write(to, &changed);
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        bowline(self.folder.path(), arguments)
    }
}
