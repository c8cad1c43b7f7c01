//! A good store has no finding; each kind of damage, done by SQL past the store, is found as what it is.
//!
//! Every damage is done to a copy of one good store, and the findings must be those and no others.

use bowline_anchor::tables::{
    AnchorSend, AnchorTarget, MinedAt, ReportOutcome, ReportedAnchor, SendChange, SendOrigin, SendState,
};
use bowline_node::{AuditReport, AuditScope, FindingKind, audit};
use bowline_types::{EvmAddress, EvmHash, StreamId};
use bowline_ves::{Commitment, Hash, Tree};
use uuid::Uuid;

use crate::place::{Engine, Filled, Place, at, fill};

/// What is done to a store, and the findings that it must give and no others.
struct Damage {
    sqlite: String,
    postgres: String,
    found: Vec<(FindingKind, Option<u64>)>,
}

/// One statement of each engine and the one finding that it makes.
fn damage(sqlite: String, postgres: String, kind: FindingKind, number: u64) -> Damage {
    Damage { sqlite, postgres, found: vec![(kind, Some(number))] }
}

/// `UPDATE table SET … WHERE the row of that number`, the same assignment on both.
struct Rows {
    stream: StreamId,
}

impl Rows {
    /// The rows of a table of the stream whose `column` is that number.
    fn row(&self, engine: Engine, column: &str, number: u64) -> String {
        let hex = |id: uuid::Uuid| id.simple().to_string();
        let (tenant, store) = (hex(self.stream.tenant_id.uuid()), hex(self.stream.store_id.uuid()));
        match engine {
            Engine::Sqlite => {
                let stream_no = format!(
                    "(SELECT stream_no FROM streams WHERE tenant_id = x'{tenant}' AND store_id = x'{store}')"
                );
                match column {
                    "position" => format!("position = ({stream_no} << 40) + {number}"),
                    _ => format!("stream_no = {stream_no} AND {column} = {number}"),
                }
            }
            Engine::Postgres => {
                let column = if column == "position" { "sequence_number" } else { column };
                format!("tenant_id = '{tenant}' AND store_id = '{store}' AND {column} = {number}")
            }
        }
    }

    /// An event's column set to something else.
    fn event(&self, number: u64, sqlite: &str, postgres: &str, kind: FindingKind) -> Damage {
        self.set("ves_events", "position", number, sqlite, postgres, kind)
    }

    fn set(
        &self,
        table: &str,
        column: &str,
        number: u64,
        sqlite: &str,
        postgres: &str,
        kind: FindingKind,
    ) -> Damage {
        let update = |engine, assignment: &str| {
            format!("UPDATE {table} SET {assignment} WHERE {}", self.row(engine, column, number))
        };
        damage(update(Engine::Sqlite, sqlite), update(Engine::Postgres, postgres), kind, number)
    }

    /// A column of bytes turned into as many zeros.
    fn zeros(&self, number: u64, column: &str, bytes: u64, kind: FindingKind) -> Damage {
        let [sqlite, postgres] = zeros(column, bytes);
        self.event(number, &sqlite, &postgres, kind)
    }

    fn commitment(&self, start: u64, column: &str, bytes: u64, kind: FindingKind) -> Damage {
        let [sqlite, postgres] = zeros(column, bytes);
        self.set("ves_commitments", "sequence_start", start, &sqlite, &postgres, kind)
    }
}

fn zeros(column: &str, bytes: u64) -> [String; 2] {
    [format!("{column} = zeroblob({bytes})"), format!("{column} = decode(repeat('00', {bytes}), 'hex')")]
}

fn damages(filled: Filled) -> Vec<Damage> {
    use FindingKind as Kind;
    let small = Rows { stream: filled.small };
    let large = Rows { stream: filled.large };
    let both = |sql: &str| (sql.to_owned(), sql.to_owned());
    let mut damages = vec![
        small.event(3, r#"payload = '{"n":99}'"#, r#"payload = '{"n":99}'"#, Kind::PayloadHash),
        small.event(4, "event_type = 'order.paid'", "event_type = 'order.paid'", Kind::SigningHash),
        small.zeros(5, "event_signing_hash", 32, Kind::SigningHash),
        small.zeros(6, "agent_signature", 64, Kind::AgentSignature),
        small.zeros(7, "receipt_hash", 32, Kind::ReceiptHash),
        small.zeros(8, "sequencer_signature", 64, Kind::SequencerSignature),
        small.zeros(9, "receipt_attestation", 64, Kind::Attestation),
        // Only a chain's events may be without.
        small.event(
            1,
            "sequencer_signature = x'', receipt_attestation = x''",
            "sequencer_signature = '', receipt_attestation = ''",
            Kind::Unreadable,
        ),
        small.event(2, "sequencer_key_version = 77", "sequencer_key_version = 77", Kind::SequencerKey),
        small.zeros(10, "receipt_hash", 5, Kind::Unreadable),
        small.commitment(1, "new_state_root", 32, Kind::Commitment),
        small.commitment(6, "merkle_root", 32, Kind::Commitment),
        small.commitment(6, "prev_state_root", 32, Kind::Commitment),
        large.commitment(1, "upper_levels", 32, Kind::UpperLevels),
        small.commitment(6, "merkle_root", 7, Kind::Unreadable),
    ];
    // The time is attested, so a changed one is found twice: by itself and by where it stands.
    let mut late = small.event(
        6,
        "sequenced_at = sequenced_at + 1000000000",
        "sequenced_at = sequenced_at + interval '1000 s'",
        Kind::Attestation,
    );
    late.found.push((Kind::Time, Some(7)));
    damages.push(late);
    let [sqlite, postgres] = zeros("leaf", 32);
    let leaf = |engine, assignment: String| {
        let table = if engine == Engine::Sqlite { "ves_leaves" } else { "ves_events" };
        format!("UPDATE {table} SET {assignment} WHERE {}", small.row(engine, "position", 11))
    };
    damages.push(damage(leaf(Engine::Sqlite, sqlite), leaf(Engine::Postgres, postgres), Kind::Leaf, 11));
    // An entity's next version no longer follows either.
    let mut version = small.event(5, "entity_version = 9", "entity_version = 9", Kind::EntityVersion);
    version.found.push((Kind::EntityVersion, Some(8)));
    damages.push(version);
    // A missing event takes its entity's version along.
    let delete = |engine| format!("DELETE FROM ves_events WHERE {}", small.row(engine, "position", 5));
    damages.push(Damage {
        sqlite: delete(Engine::Sqlite),
        postgres: delete(Engine::Postgres),
        found: vec![(Kind::Number, Some(5)), (Kind::EntityVersion, Some(8))],
    });
    let (sqlite, postgres) =
        both("UPDATE sequence_counters SET current_sequence = 13 WHERE current_sequence = 12");
    damages.push(Damage { sqlite, postgres, found: vec![(Kind::Counter, None)] });
    // The last event is gone, and on SQLite its leaf is still there.
    let last = |engine| format!("DELETE FROM ves_events WHERE {}", small.row(engine, "position", 12));
    let (sqlite, postgres) = (last(Engine::Sqlite), last(Engine::Postgres));
    damages.push(Damage { sqlite, postgres, found: vec![(Kind::Counter, None)] });
    let (sqlite, postgres) = both("UPDATE follower_cursors SET sequence_number = 13");
    damages.push(damage(sqlite, postgres, Kind::Cursor, 13));
    // The commitments' ends are bound by their state roots; where a range goes beyond the events, the range counts.
    let remove = "DELETE FROM agent_keys WHERE tenant_id = ";
    let keys = |number| (Kind::AgentKey, Some(number));
    damages.push(Damage {
        sqlite: format!("{remove}x'{}'", "01".repeat(16)),
        postgres: format!("{remove}'{}'", "01".repeat(16)),
        found: (1..=12).map(keys).collect(),
    });
    // Behind a dropped index an id may come twice. The copy is no event that anyone signed, so it is found as
    // one whose signing hash and leaf are another's, too.
    for column in ["event_id", "command_id"] {
        let twice = |engine| {
            format!(
                "DROP INDEX ves_events_{column};
                 UPDATE ves_events SET {column} = (SELECT {column} FROM ves_events WHERE {}) WHERE {}",
                small.row(engine, "position", 3),
                small.row(engine, "position", 12)
            )
        };
        let mut found = vec![(Kind::RepeatedId, Some(12))];
        if column == "event_id" {
            found.extend([(Kind::SigningHash, Some(12)), (Kind::ReceiptHash, Some(12))]);
        }
        damages.push(Damage { sqlite: twice(Engine::Sqlite), postgres: twice(Engine::Postgres), found });
    }
    damages
}

/// Commitments that are consistent in themselves and still wrong: over other leaves, and after another state root.
async fn forgeries(place: &Place, filled: Filled) -> Vec<Damage> {
    let store = place.open().await;
    let last = store.last_commitment(filled.small).await.unwrap().unwrap().commitment;
    let leaves = store.leaves(filled.small, 6, 10).await.unwrap();
    store.close().await;
    let forge = |leaves: Vec<Hash>, prev, kind| {
        let tree = Tree::new(leaves);
        let forged =
            Commitment::seal(last.batch_id, filled.small, &tree, 6, 10, prev, last.committed_at).unwrap();
        let roots = [
            ("merkle_root", forged.merkle_root),
            ("prev_state_root", forged.prev_state_root),
            ("new_state_root", forged.new_state_root),
        ];
        let set = |before: &str, after: &str| {
            let set = roots.map(|(column, root)| format!("{column} = {before}{root}{after}"));
            format!("UPDATE ves_commitments SET {} WHERE sequence_start = 6", set.join(", "))
        };
        damage(set("x'", "'"), set("decode('", "', 'hex')"), kind, 6)
    };
    let others: Vec<Hash> = leaves.iter().rev().copied().collect();
    vec![
        forge(others, last.prev_state_root, FindingKind::MerkleRoot),
        forge(leaves, Hash::new([5; 32]), FindingKind::Chain),
    ]
}

async fn audited(place: &Place, scope: AuditScope) -> AuditReport {
    let mut snapshot = place.snapshot().await;
    audit(snapshot.as_mut(), scope, &mut |_, _| ()).await.unwrap()
}

fn kinds(report: &AuditReport) -> Vec<(FindingKind, Option<u64>)> {
    let mut found: Vec<_> =
        report.findings.kept().iter().map(|finding| (finding.kind, finding.sequence_number)).collect();
    found.sort_unstable();
    found
}

pub(crate) async fn every_fault_is_found_and_nothing_else(engine: Engine) {
    let good = Place::new(engine).await;
    let filled = fill(&good).await;
    let report = audited(&good, AuditScope::default()).await;
    assert_eq!(report.findings.kept(), []);
    assert_eq!((report.streams, report.events, report.signatures), (2, 612, 3 * 612));
    assert_eq!((report.commitments, report.cursors), (3, 1));
    let forged = forgeries(&good, filled).await;
    for damage in damages(filled).into_iter().chain(forged) {
        // Only the large stream has upper levels; for all else the small one does.
        let is_of_large = damage.found.contains(&(FindingKind::UpperLevels, Some(1)));
        let stream = Some(if is_of_large { filled.large } else { filled.small });
        let bad = good.copy().await;
        let sql = if engine == Engine::Sqlite { &damage.sqlite } else { &damage.postgres };
        bad.execute(sql).await;
        let report = audited(&bad, AuditScope { stream, quick: false }).await;
        let mut expected = damage.found;
        if engine == Engine::Sqlite && sql.starts_with("DELETE FROM ves_events") && sql.ends_with("+ 12") {
            expected.push((FindingKind::Leaf, Some(12)));
        }
        expected.sort_unstable();
        assert_eq!(kinds(&report), expected, "{sql}\n{:#?}", report.findings.kept());
        for finding in report.findings.kept() {
            assert!(!finding.expected.is_empty() && !finding.found.is_empty(), "{finding:?}");
        }
        bad.remove().await;
    }
    what_an_index_hides_is_found(&good, engine).await;
    good.remove().await;
}

/// A row that an index does not know: the engine says so itself.
async fn what_an_index_hides_is_found(good: &Place, engine: Engine) {
    let bad = good.copy().await;
    bad.execute(match engine {
        // Two indexes that read each other's pages.
        Engine::Sqlite => {
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = (
                 SELECT sum(rootpage) FROM sqlite_schema WHERE name IN ('ves_events_type', 'ves_events_entity')
             ) - rootpage WHERE name IN ('ves_events_type', 'ves_events_entity')"
        }
        // While the index is not ready, a row is changed that it never hears of.
        Engine::Postgres => {
            "SET allow_system_table_mods = on;
             UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'ves_events_pkey'::regclass;
             UPDATE ves_events SET leaf = leaf WHERE sequence_number = 12;
             UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'ves_events_pkey'::regclass"
        }
    })
    .await;
    let report = audited(&bad, AuditScope { quick: true, ..AuditScope::default() }).await;
    let found_by = |report: &AuditReport| {
        let engine = report.findings.kept().iter().find(|found| found.kind == FindingKind::Engine);
        engine.map(|found| found.subject.clone()).unwrap_or_else(|| panic!("{report:?}"))
    };
    let expected = if engine == Engine::Sqlite { "integrity_check" } else { "index_count" };
    assert_eq!(found_by(&report), expected);
    if engine == Engine::Postgres {
        // With the extension the index is named.
        bad.execute("CREATE EXTENSION amcheck").await;
        let report = audited(&bad, AuditScope { quick: true, ..AuditScope::default() }).await;
        assert_eq!(found_by(&report), "amcheck");
        assert!(report.findings.kept().iter().any(|found| found.expected.contains("index ves_events_pkey")));
    }
    bad.remove().await;
}

pub(crate) async fn an_audit_keeps_to_its_stream_and_to_its_haste(engine: Engine) {
    let place = Place::new(engine).await;
    let filled = fill(&place).await;
    let rows = Rows { stream: filled.small };
    let damage = rows.zeros(8, "sequencer_signature", 64, FindingKind::SequencerSignature);
    place.execute(if engine == Engine::Sqlite { &damage.sqlite } else { &damage.postgres }).await;
    let large = audited(&place, AuditScope { stream: Some(filled.large), quick: false }).await;
    assert!(large.is_clean() && large.events == 600, "{large:?}");
    let small = audited(&place, AuditScope { stream: Some(filled.small), quick: false }).await;
    assert_eq!((small.events, kinds(&small)), (12, damage.found));
    // In haste no signature is looked at, and everything else still is.
    let quick = audited(&place, AuditScope { stream: None, quick: true }).await;
    assert!(quick.is_clean() && quick.signatures == 0 && quick.events == 612, "{quick:?}");
    place.remove().await;
}

/// Both commitments of the small stream in a send of the store's own, and the large stream's as somebody told it.
async fn anchor(place: &Place, filled: Filled) {
    let store = place.open().await;
    let ttl = std::time::Duration::from_secs(60);
    let lease = store.take_lease("anchors", Uuid::from_u128(1), ttl, at(0)).await.unwrap().unwrap();
    let target = AnchorTarget { chain_id: 1, contract: EvmAddress::new([5; 20]) };
    bowline_anchor::tables::open(&store.engine()).choose_anchor_target(&lease, target, at(0)).await.unwrap();
    let pending = bowline_anchor::tables::open(&store.engine()).pending_of(filled.small, 9).await.unwrap();
    let tx_hash = EvmHash::new([3; 32]);
    let mined = MinedAt {
        tx_hash: Some(tx_hash),
        block_number: 7,
        block_hash: None,
        gas_used: None,
        gas_price: None,
    };
    let send_id = Uuid::from_u128(2);
    let send = AnchorSend {
        send_id,
        target,
        origin: SendOrigin::Adopted,
        sender: EvmAddress::default(),
        nonce: None,
        call: Vec::new(),
        gas_limit: 0,
        state: SendState::Mined,
        created_at: at(0),
        mined: Some(mined),
        settled_at: None,
        reason: None,
        transactions: Vec::new(),
        batch_ids: pending.iter().map(|record| record.commitment.batch_id).collect(),
    };
    bowline_anchor::tables::open(&store.engine()).record_send(&lease, send).await.unwrap();
    bowline_anchor::tables::open(&store.engine())
        .change_send(&lease, send_id, SendChange::Anchored, at(1))
        .await
        .unwrap();
    let batch_id = store.last_commitment(filled.large).await.unwrap().unwrap().commitment.batch_id;
    let told = ReportedAnchor { batch_id, chain_id: 2, tx_hash, block_number: None, gas_used: None };
    assert_eq!(
        bowline_anchor::tables::open(&store.engine()).report_anchor(told, at(1)).await.unwrap(),
        ReportOutcome::Recorded
    );
    store.close().await;
}

pub(crate) async fn marks_and_the_sends_that_gave_them_must_agree(engine: Engine) {
    let good = Place::new(engine).await;
    let filled = fill(&good).await;
    anchor(&good, filled).await;
    assert_eq!(audited(&good, AuditScope { quick: true, stream: None }).await.findings.kept(), []);
    let zeros = &zeros("chain_tx_hash", 32)[usize::from(engine == Engine::Postgres)];
    let void = if engine == Engine::Sqlite { "void = 1" } else { "void = true" };
    let of = |stream, sql: &str, number| {
        let row = Rows { stream }.row(engine, "sequence_start", number);
        (sql.replace("ROW", &row), Some(stream), Some(number))
    };
    let held = "batch_id IN (SELECT batch_id FROM ves_commitments WHERE ROW)";
    for (sql, stream, number) in [
        of(filled.small, "UPDATE ves_commitments SET anchored_at = NULL WHERE ROW", 1),
        of(filled.small, "UPDATE ves_commitments SET chain_id = 2 WHERE ROW", 6),
        of(filled.small, &format!("UPDATE ves_commitments SET {zeros} WHERE ROW"), 6),
        of(filled.small, &format!("UPDATE anchors SET {void} WHERE {held}"), 1),
        of(filled.large, &format!("UPDATE ves_commitments SET {zeros} WHERE ROW"), 1),
        of(filled.large, &format!("DELETE FROM anchors WHERE {held}"), 1),
        // The last commitment of a chain is missed by nobody but its anchor.
        (of(filled.small, "DELETE FROM ves_commitments WHERE ROW", 6).0, None, None),
    ] {
        let bad = good.copy().await;
        bad.execute(&sql).await;
        let report = audited(&bad, AuditScope { quick: true, stream: None }).await;
        let found: Vec<_> = report.findings.kept().iter().map(|found| (found.kind, found.stream)).collect();
        assert_eq!(found, [(FindingKind::Anchor, stream)], "{sql}");
        assert_eq!(report.findings.kept()[0].sequence_number, number, "{sql}");
        let elsewhere = if stream == Some(filled.large) { filled.small } else { filled.large };
        let report = audited(&bad, AuditScope { quick: true, stream: Some(elsewhere) }).await;
        assert!(report.is_clean(), "{sql}");
        bad.remove().await;
    }
    good.remove().await;
}
