//! The line's health checks on healthy facts, and on the same facts with one thing wrong.
//!
//! Every check must find its own trouble, name the figure, and say what mends it; and find none where none is.

use bowline_line::checks::{
    Answer, BackupFacts, BreakerFacts, CHECKS, CacheFacts, ClientFacts, ClockOffset, DiskFacts,
    FollowerFacts, LineFacts, ListenFacts, NodeFacts, PoolFacts, ProcessFacts, QueueFacts, SequencerFacts,
    StoreAnswer, StreamsFacts,
};
use bowline_runtime::{Samples, Status};
use bowline_store::{
    Activity, ChainFacts, ChainPlace, CommitmentOrigin, CommitmentRecord, ConnectionFacts, CounterLock,
    DeadLetterCount, IndexFacts, SchemaFacts, StoreFacts, StreamFacts, TableFacts, TenantLoad,
};
use bowline_types::{BatchId, Limits, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Hash, Tree};

const NOW: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const STREAM: StreamId = StreamId::new(TenantId::from_bytes([1; 16]), StoreId::from_bytes([2; 16]));

const METRICS: &str = r#"
sequencer_ingest_latency_seconds_bucket{le="0.25"} 100
sequencer_ingest_latency_seconds_bucket{le="1"} 100
sequencer_ingest_latency_seconds_bucket{le="+Inf"} 100
sequencer_ingest_latency_seconds_count 100
sequencer_http_requests_total{method="POST",path="/x",status="200"} 100
sequencer_events_rejected{reason="invalid_signature"} 1
sequencer_ves_events_received 100
bowline_store_errors_total{kind="unavailable"} 0
bowline_store_errors_total{kind="full"} 0
"#;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn answer(status: u16, says: &str) -> Answer {
    Answer { status, says: says.to_owned(), took_ms: 2 }
}

fn node() -> NodeFacts {
    NodeFacts {
        status: "healthy".to_owned(),
        service: "stateset-sequencer".to_owned(),
        version: "0.1.1".to_owned(),
        timestamp: at(NOW),
        uptime_secs: 60,
        draining: false,
        store: StoreAnswer {
            engine: "postgres".to_owned(),
            reachable: true,
            response_time_ms: 1,
            schema_version: 2,
        },
        pool: PoolFacts { max: 10, open: 3, active: 1, idle: 2, utilization: "10.0%".to_owned() },
        queue: QueueFacts { pending_events: 0, pending_events_max: 100, refused_total: 0 },
        streams: Some(StreamsFacts { count: 1, events: 4, uncommitted: 0, most_behind: Vec::new() }),
        followers: vec![
            FollowerFacts { name: "commitments".to_owned(), lag_events: 5_000_000, errors: 0 },
            FollowerFacts { name: "index".to_owned(), lag_events: 3, errors: 0 },
        ],
        caches: vec![CacheFacts {
            name: "agent_keys".to_owned(),
            entries: 1,
            entries_max: Some(9),
            hits: 1,
            misses: 1,
        }],
        anchors: None,
        circuit_breakers: ["store", "anchor"]
            .map(|name| BreakerFacts { name: name.to_owned(), state: "closed".to_owned(), opened_total: 0 })
            .to_vec(),
        roles: Vec::new(),
        deliveries: None,
        chains: Vec::new(),
        connections: ClientFacts { open: 1, max: 4_096, event_streams: 0, event_streams_max: 256 },
        limits: Limits::default(),
        listen: ListenFacts {
            address: "127.0.0.1:8080".to_owned(),
            loopback: true,
            auth: "required".to_owned(),
        },
        sequencer: SequencerFacts { sequencer_id: String::new(), key_version: 1, public_key: String::new() },
        disk: DiskFacts { free_bytes: 50 << 30, total_bytes: 100 << 30 },
        process: ProcessFacts {
            resident_bytes: 50 << 20,
            threads: 4,
            open_files: 30,
            open_files_max: Some(1_024),
        },
    }
}

fn commitment(start: u64, end: u64, prev: Hash) -> Commitment {
    let tree = Tree::new((start..=end).map(|n| Hash::new([n as u8; 32])).collect());
    Commitment::seal(BatchId::random(), STREAM, &tree, start, end, prev, at(NOW)).unwrap()
}

fn record(commitment: Commitment) -> CommitmentRecord {
    let chain = ChainPlace { position: 1, corrected_by: None, reason: None };
    CommitmentRecord { commitment, origin: CommitmentOrigin::Client, chain, anchor: None }
}

fn chain() -> Vec<CommitmentRecord> {
    let first = commitment(1, 2, Hash::ZERO);
    let second = commitment(3, 4, first.new_state_root);
    vec![record(first), record(second)]
}

fn store() -> StoreFacts {
    let table = TableFacts {
        name: "ves_events".to_owned(),
        rows: 50_000,
        dead_rows: 10,
        bytes: 1 << 20,
        analyzed_at: Some(at(NOW)),
        changed_rows: 10,
    };
    let index = IndexFacts {
        name: "ves_events_type".to_owned(),
        table: "ves_events".to_owned(),
        scans: Some(0),
        bytes: 8_192,
        usable: true,
        unique: false,
    };
    StoreFacts {
        engine: "postgres",
        schema: Ok(SchemaFacts { found: 2, known: 2 }),
        streams: Ok(vec![StreamFacts {
            stream: STREAM,
            head: 20,
            committed: 4,
            updated_at: at(NOW),
            uncommitted_since: Some(at(NOW - 60 * SECOND)),
            looked_from: 11,
            present: 10,
            last: 20,
            gaps: Vec::new(),
        }]),
        chains: Ok(vec![ChainFacts { commitments: chain(), whole: true }]),
        dead_letters: Ok(vec![DeadLetterCount {
            status: "resolved".to_owned(),
            count: 7,
            oldest: Some(at(0)),
        }]),
        tables: Ok(vec![table]),
        indexes: Ok(vec![index]),
        connections: Ok(ConnectionFacts { active: 1, used: 10, max: 100, long_idle: 0 }),
        activity: Ok(Vec::new()),
        counter_locks: Ok(Vec::new()),
        busiest_tenants: Ok(vec![TenantLoad { tenant_id: STREAM.tenant_id, events: 20 }]),
        sources: Ok(Vec::new()),
        matching: Err("judged elsewhere".to_owned()),
        actions: Err("judged elsewhere".to_owned()),
        open_breakers: Ok(Vec::new()),
    }
}

fn healthy() -> LineFacts {
    let clock = ClockOffset { ahead_ms: 3, give_or_take_ms: 2 };
    LineFacts {
        health: Ok(answer(200, "healthy")),
        ready: Ok(answer(200, "ready")),
        metrics: Ok(Samples::parse(METRICS)),
        window_secs: None,
        node: Ok(node()),
        node_clock: Ok(clock),
        store: Ok(store()),
        database_clock: Ok(clock),
        backup: Ok(BackupFacts { place: "backups".to_owned(), newest: Some(at(NOW - 3_600 * SECOND)) }),
        now: at(NOW),
    }
}

fn on_node(change: impl Fn(&mut NodeFacts)) -> LineFacts {
    let mut facts = healthy();
    change(facts.node.as_mut().unwrap());
    facts
}

fn on_store(change: impl Fn(&mut StoreFacts)) -> LineFacts {
    let mut facts = healthy();
    change(facts.store.as_mut().unwrap());
    facts
}

fn on_stream(change: impl Fn(&mut StreamFacts)) -> LineFacts {
    on_store(|store| change(&mut store.streams.as_mut().unwrap()[0]))
}

fn with_metrics(text: &str) -> LineFacts {
    LineFacts { metrics: Ok(Samples::parse(text)), ..healthy() }
}

fn activity(secs: f64, waits_for_lock: bool, blocked_by: Vec<i32>) -> Activity {
    let (application, query) = ("psql".to_owned(), "SELECT 1".to_owned());
    Activity { pid: 77, application, secs, waits_for_lock, blocked_by, query }
}

fn lock(secs: f64, blocks: u64) -> CounterLock {
    CounterLock { pid: 4711, application: "psql".to_owned(), granted: true, secs, blocks }
}

#[test]
fn a_healthy_line_gives_no_cause_for_concern() {
    let facts = healthy();
    for check in CHECKS {
        let checked = check.run(&facts);
        assert_eq!(checked.finding.status, Status::Ok, "{checked:?}");
        assert_eq!(checked.finding.fix, None, "{checked:?}");
        assert!(!checked.finding.evidence.is_empty() || checked.check == "anchor", "{checked:?}");
    }
    let mut names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CHECKS.len());
}

#[test]
fn what_can_not_be_seen_is_skipped_with_the_reason_and_never_well() {
    let away = || "the reason".to_owned();
    let blind = LineFacts {
        health: Ok(answer(200, "healthy")),
        ready: Ok(answer(200, "ready")),
        metrics: Err(away()),
        node: Err(away()),
        node_clock: Err(away()),
        store: Err(away()),
        database_clock: Err(away()),
        backup: Err(away()),
        ..healthy()
    };
    for check in CHECKS.iter().filter(|check| !["health", "ready"].contains(&check.name)) {
        let finding = check.run(&blind).finding;
        assert_eq!(finding.status, Status::Skipped, "{}: {finding:?}", check.name);
        assert!(finding.cause.contains("the reason"), "{}: {finding:?}", check.name);
    }
}

#[test]
fn a_commitment_that_was_corrected_is_no_trouble() {
    let facts = on_store(|store| {
        let chain = &mut store.chains.as_mut().unwrap()[0].commitments;
        let (wrong, root) = (chain[1].commitment.batch_id, chain[1].commitment.new_state_root);
        let correction = Commitment { corrects: Some(wrong), ..commitment(3, 4, root) };
        chain[1].chain.corrected_by = Some(correction.batch_id);
        chain[1].commitment.merkle_root = Hash::ZERO;
        let next = commitment(5, 6, correction.new_state_root);
        chain.extend([record(correction), record(next)]);
    });
    let check = CHECKS.iter().find(|check| check.name == "commitments").unwrap();
    assert_eq!((check.judge)(&facts).status, Status::Ok);
}

#[test]
fn each_trouble_is_found_by_its_check_alone_with_what_mends_it() {
    let broken = |change: fn(&mut Vec<CommitmentRecord>)| {
        on_store(move |store| change(&mut store.chains.as_mut().unwrap()[0].commitments))
    };
    let slow = METRICS.replace("{le=\"0.25\"} 100", "{le=\"0.25\"} 90");
    let sick: Vec<(&str, LineFacts, Status, &str)> = vec![
        (
            "health",
            LineFacts { health: Err("refused".to_owned()), ..healthy() },
            Status::Fail,
            "bowline serve",
        ),
        ("health", LineFacts { health: Ok(answer(404, "")), ..healthy() }, Status::Fail, "bowline serve"),
        (
            "ready",
            LineFacts { ready: Ok(answer(503, "not_ready database")), ..healthy() },
            Status::Fail,
            "start the database",
        ),
        (
            "ready",
            LineFacts { ready: Ok(answer(503, "not_ready draining")), ..healthy() },
            Status::Fail,
            "bowline serve",
        ),
        ("db_pool", on_node(|node| node.pool.active = 10), Status::Warn, "MAX_DB_CONNECTIONS"),
        ("ingest_latency", with_metrics(&slow), Status::Warn, "--check counter_locks"),
        ("queue", on_node(|node| node.queue.pending_events = 80), Status::Warn, "pending_events_max"),
        (
            "rate_limits",
            with_metrics(&METRICS.replace("status=\"200\"", "status=\"429\"")),
            Status::Warn,
            "RATE_LIMIT_PER_MINUTE",
        ),
        (
            "signatures",
            with_metrics(&METRICS.replace("signature\"} 1", "signature\"} 6")),
            Status::Warn,
            "bowline keys list",
        ),
        (
            "store_errors",
            with_metrics(&METRICS.replace("unavailable\"} 0", "unavailable\"} 1")),
            Status::Warn,
            "lock_contention",
        ),
        ("store_errors", with_metrics(&METRICS.replace("full\"} 0", "full\"} 1")), Status::Fail, "make room"),
        (
            "circuit_breakers",
            on_node(|node| node.circuit_breakers[0].state = "open".to_owned()),
            Status::Fail,
            "DATABASE_URL",
        ),
        (
            "followers",
            on_node(|node| node.followers[1].lag_events = 100_000),
            Status::Warn,
            "Follower fell back",
        ),
        (
            "memory",
            on_node(|node| node.process.resident_bytes = 5 << 30),
            Status::Warn,
            "CACHE_AGENT_KEY_MAX",
        ),
        ("memory", on_node(|node| node.process.open_files = 1_000), Status::Warn, "LimitNOFILE"),
        ("disk_space", on_node(|node| node.disk.free_bytes = 10 << 30), Status::Warn, "make room"),
        ("disk_space", on_node(|node| node.disk.free_bytes = 1 << 30), Status::Fail, "make room"),
        (
            "clock_skew",
            LineFacts { node_clock: Ok(ClockOffset { ahead_ms: -1_500, give_or_take_ms: 100 }), ..healthy() },
            Status::Warn,
            "NTP",
        ),
        (
            "clock_skew",
            LineFacts {
                database_clock: Ok(ClockOffset { ahead_ms: 60_000, give_or_take_ms: 100 }),
                ..healthy()
            },
            Status::Fail,
            "NTP",
        ),
        ("exposure", on_node(|node| node.listen.loopback = false), Status::Warn, "TLS"),
        (
            "exposure",
            on_node(|node| node.listen.auth = "disabled".to_owned()),
            Status::Warn,
            "AUTH_MODE=required",
        ),
        (
            "migrations",
            on_store(|store| store.schema.as_mut().unwrap().found = 1),
            Status::Fail,
            "bowline migrate",
        ),
        (
            "migrations",
            on_store(|store| store.schema.as_mut().unwrap().found = 3),
            Status::Fail,
            "newer binary",
        ),
        (
            "lock_contention",
            on_store(|store| store.activity = Ok(vec![activity(6.0, false, vec![])])),
            Status::Warn,
            "pg_cancel_backend(77)",
        ),
        (
            "lock_contention",
            on_store(|store| store.activity = Ok(vec![activity(2.0, true, vec![99])])),
            Status::Fail,
            "pg_terminate_backend(99)",
        ),
        (
            "counter_locks",
            on_store(|store| store.counter_locks = Ok(vec![lock(6.0, 0)])),
            Status::Warn,
            "pg_terminate_backend(4711)",
        ),
        (
            "counter_locks",
            on_store(|store| store.counter_locks = Ok(vec![lock(2.0, 1)])),
            Status::Fail,
            "pg_terminate_backend(4711)",
        ),
        (
            "db_connections",
            on_store(|store| store.connections.as_mut().unwrap().used = 80),
            Status::Warn,
            "max_connections",
        ),
        (
            "db_connections",
            on_store(|store| store.connections.as_mut().unwrap().used = 96),
            Status::Fail,
            "max_connections",
        ),
        ("sequence_gaps", on_stream(|stream| stream.gaps = vec![(13, 14)]), Status::Fail, "stop appending"),
        ("sequence_gaps", on_stream(|stream| stream.last = 21), Status::Fail, "stop appending"),
        (
            "commitments",
            broken(|chain| chain[1].commitment.merkle_root = Hash::ZERO),
            Status::Fail,
            "bowline commitments correct",
        ),
        ("commitments", broken(|chain| chain.rotate_left(1)), Status::Fail, "bowline commitments correct"),
        (
            "commitments",
            broken(|chain| chain.push(record(commitment(6, 7, chain[1].commitment.new_state_root)))),
            Status::Fail,
            "bowline commitments correct",
        ),
        (
            "commitment_lag",
            on_stream(|stream| stream.head = 10_004),
            Status::Warn,
            "bowline commitments create",
        ),
        (
            "commitment_lag",
            on_stream(|stream| stream.uncommitted_since = Some(at(NOW - 90_000 * SECOND))),
            Status::Warn,
            "auto",
        ),
        (
            "dead_letters",
            on_store(|store| store.dead_letters.as_mut().unwrap()[0].status = "pending".to_owned()),
            Status::Warn,
            "bowline dead-letters retry",
        ),
        (
            "tables",
            on_store(|store| store.tables.as_mut().unwrap()[0].dead_rows = 20_000),
            Status::Warn,
            "VACUUM ANALYZE ves_events",
        ),
        (
            "tables",
            on_store(|store| store.tables.as_mut().unwrap()[0].analyzed_at = None),
            Status::Warn,
            "'ANALYZE ves_events",
        ),
        (
            "indexes",
            on_store(|store| store.indexes.as_mut().unwrap()[0].usable = false),
            Status::Fail,
            "REINDEX",
        ),
        (
            "indexes",
            on_store(|store| store.indexes.as_mut().unwrap()[0].bytes = 65 << 20),
            Status::Warn,
            "dropped",
        ),
        (
            "backups",
            LineFacts { backup: Ok(BackupFacts { place: "b".to_owned(), newest: None }), ..healthy() },
            Status::Fail,
            "pg_dump",
        ),
        (
            "backups",
            LineFacts {
                backup: Ok(BackupFacts { place: "b".to_owned(), newest: Some(at(NOW - 100_000 * SECOND)) }),
                ..healthy()
            },
            Status::Warn,
            "pg_dump",
        ),
        (
            "anchor",
            on_node(|node| node.circuit_breakers[1].state = "open".to_owned()),
            Status::Fail,
            "eth_blockNumber",
        ),
    ];
    // A breaker is seen by the check of all breakers too, and a longer stream is also one with missing numbers.
    let allowed = |name: &str| match name {
        "anchor" => vec!["circuit_breakers"],
        _ => Vec::new(),
    };
    let mut found = std::collections::HashSet::new();
    for (name, facts, status, fix) in sick {
        for check in CHECKS {
            let finding = check.run(&facts).finding;
            if check.name == name {
                assert_eq!(finding.status, status, "{name}: {finding:?}");
                assert!(finding.fix.as_ref().is_some_and(|mends| mends.contains(fix)), "{name}: {finding:?}");
                assert!(
                    finding.evidence.iter().any(|evidence| evidence.threshold.is_some())
                        || name == "exposure",
                    "{finding:?}"
                );
                found.insert(name);
            } else if !allowed(name).contains(&check.name) {
                let calm = matches!(finding.status, Status::Ok | Status::Skipped);
                assert!(calm, "{name} makes {} say {finding:?}", check.name);
            }
        }
    }
    assert_eq!(found.len(), CHECKS.len(), "every check has trouble of its own here");
}
