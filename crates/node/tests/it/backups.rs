//! Backups on both engines and in both kinds of destination: what is brought back is what was there, what is
//! damaged is named and never brought back, and a restore that ends at any step leaves the old store or the new.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_node::{
    AuditScope, BackupError, BackupSource, CreateOptions, DataError, DataFolder, Destination,
    DestinationOptions, Manifest, RestoreOptions, RestoreStep, RestoreTo, Restored, Scratch, audit,
    create_backup, list_backups, newest_backup, prune_backups, restore_backup, verify_backup,
};
use bowline_store::{LineStore, ReadQuery};
use bowline_types::{Secret, StreamId};

use crate::place::{Engine, Place, Writer, at, commit, fill};

/// The steps of a restore, in their order.
const STEPS: [RestoreStep; 6] = [
    RestoreStep::Unpacked,
    RestoreStep::Audited,
    RestoreStep::KeysPlaced,
    RestoreStep::LogFolded,
    RestoreStep::PutAside,
    RestoreStep::Swapped,
];

fn folder(path: &Path) -> Destination {
    let location = path.to_str().unwrap().to_owned();
    Destination::open(&DestinationOptions { location, ..DestinationOptions::default() }).unwrap()
}

async fn back_up(
    place: &Place,
    destination: &Destination,
    keys_of: Option<PathBuf>,
    second: i64,
) -> Manifest {
    let source = match place {
        Place::Folder(_) => BackupSource::Sqlite(place.file()),
        Place::Database(_) => BackupSource::Postgres(Secret::new(place.url())),
    };
    let options = CreateOptions { source, keys_of, now: at(second) };
    create_backup(destination, &options, &mut |_, _| ()).await.unwrap()
}

fn into(place: &Place, data: &Path, replace: bool) -> RestoreOptions {
    let to = match place {
        Place::Folder(_) => RestoreTo::DataFolder,
        Place::Database(_) => {
            RestoreTo::Database { url: Secret::new(place.url()), application_name: "bowline".to_owned() }
        }
    };
    RestoreOptions { id: None, to, data: data.to_owned(), replace, now: at(100) }
}

/// Restores, ended after that step if there is one.
async fn restore(
    destination: &Destination,
    options: &RestoreOptions,
    end: Option<RestoreStep>,
) -> Result<Restored, BackupError> {
    let mut watch = |step| if Some(step) == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    restore_backup(destination, options, &mut |_, _| (), &mut watch).await
}

/// The folder that a restore of this place needs: its own, or any for a database's keys.
fn data_of(place: &Place, spare: &Path) -> PathBuf {
    match place {
        Place::Folder(folder) => folder.path().to_owned(),
        Place::Database(_) => spare.join("data"),
    }
}

fn scratch(place: Option<&Place>) -> Scratch {
    Scratch { folder: None, database: place.map(|place| Secret::new(place.url())) }
}

async fn heads(place: &Place) -> Vec<(StreamId, u64)> {
    let mut snapshot = place.snapshot().await;
    let streams = snapshot.streams().await.unwrap();
    streams.iter().map(|trace| (trace.stream, trace.counter.unwrap())).collect()
}

async fn assert_sound(place: &Place) {
    let mut snapshot = place.snapshot().await;
    let report = audit(snapshot.as_mut(), AuditScope::default(), &mut |_, _| ()).await.unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings.kept());
}

pub(crate) async fn what_was_backed_up_is_brought_back_and_goes_on(engine: Engine) {
    let (spare, source, target) =
        (tempfile::tempdir().unwrap(), Place::new(engine).await, Place::new(engine).await);
    let filled = fill(&source).await;
    let destination = folder(&spare.path().join("backups"));
    assert!(newest_backup(&destination).await.unwrap().is_none());
    // The store is open and holds more than its file: what is in the log belongs to it.
    let store = source.open().await;
    let writer = Writer::of(store.as_ref(), &[filled.small.tenant_id]).await;
    writer.grow(store.as_ref(), filled.small, 3, 1).await;
    let manifest = back_up(&source, &destination, None, 1).await;
    assert_eq!((manifest.events(), manifest.streams.len(), manifest.streams[0].head), (615, 2, 15));
    let events = store.read(ReadQuery::from(filled.small, 1, 100)).await.unwrap().events;
    store.close().await;

    if engine == Engine::Postgres {
        // The audit within the restore's own transaction then checks each index, too.
        target.execute("CREATE EXTENSION amcheck").await;
    }
    let restored = restore(&destination, &into(&target, &data_of(&target, spare.path()), false), None).await;
    let restored = restored.unwrap();
    assert_eq!((restored.audit.events, restored.aside), (615, None));
    assert_sound(&target).await;
    let store = target.open().await;
    assert_eq!(store.read(ReadQuery::from(filled.small, 1, 100)).await.unwrap().events, events);
    assert_eq!(store.cursor("reader", filled.small).await.unwrap(), 12);
    // It goes on with the next number, and a new sequencer gets the next version.
    let writer = Writer::of(store.as_ref(), &[filled.small.tenant_id]).await;
    writer.grow(store.as_ref(), filled.small, 2, 1).await;
    commit(store.as_ref(), filled.small, 11, 17).await;
    let other = store.register_sequencer_key(uuid::Uuid::from_u128(44), [8; 32], at(0)).await.unwrap();
    assert_eq!(other.key_version, 2);
    store.close().await;
    assert_sound(&target).await;
    source.remove().await;
    target.remove().await;
}

pub(crate) async fn a_restore_ended_anywhere_leaves_the_old_store_or_the_new(engine: Engine) {
    let (spare, source, target) =
        (tempfile::tempdir().unwrap(), Place::new(engine).await, Place::new(engine).await);
    fill(&source).await;
    let destination = folder(&spare.path().join("backups"));
    back_up(&source, &destination, None, 1).await;
    let filled = fill(&target).await;
    let store = target.open().await;
    let writer = Writer::of(store.as_ref(), &[filled.large.tenant_id]).await;
    writer.grow(store.as_ref(), filled.large, 1, 1).await;
    store.close().await;
    let (old, new) = (heads(&target).await, heads(&source).await);
    assert_ne!(old, new);
    let options = into(&target, &data_of(&target, spare.path()), true);
    let refused = restore(&destination, &RestoreOptions { replace: false, ..options.clone() }, None).await;
    assert!(matches!(refused, Err(BackupError::Occupied(_))), "{refused:?}");
    for step in STEPS {
        let ended = restore(&destination, &options, Some(step)).await;
        let is_step_of_engine =
            engine == Engine::Sqlite || !matches!(step, RestoreStep::LogFolded | RestoreStep::PutAside);
        if !is_step_of_engine {
            // The whole restore of the engine went through: what it put aside is the old store.
            assert!(ended.unwrap().aside.is_some());
            assert_eq!(heads(&target).await, new);
            break;
        }
        assert!(matches!(ended, Err(BackupError::Ended(_))), "{step}: {ended:?}");
        let expected = if step == RestoreStep::Swapped { &new } else { &old };
        assert_eq!(heads(&target).await, *expected, "after {step}");
        assert_sound(&target).await;
    }
    if let Place::Folder(folder) = &target {
        let aside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> = aside.filter(|path| path.to_str().unwrap().contains("before-")).collect();
        std::fs::rename(&aside[0], target.file()).unwrap();
        assert_eq!(heads(&target).await, old, "what was put aside is the old store");
    }
    source.remove().await;
    target.remove().await;
}

pub(crate) async fn what_is_damaged_is_named_and_not_brought_back(engine: Engine) {
    let (spare, source, target) =
        (tempfile::tempdir().unwrap(), Place::new(engine).await, Place::new(engine).await);
    fill(&source).await;
    let backups = spare.path().join("backups");
    let destination = folder(&backups);
    let manifest = back_up(&source, &destination, None, 1).await;
    let database = (engine == Engine::Postgres).then_some(&target);
    for scratch in [scratch(None), scratch(database)] {
        let verified =
            verify_backup(&destination, None, &scratch, AuditScope::default(), &mut |_, _| ()).await;
        let audited = verified.unwrap().audit;
        assert_eq!(audited.is_some(), engine == Engine::Sqlite || scratch.database.is_some());
        assert!(audited.is_none_or(|report| report.is_clean() && report.events == 612));
    }
    let options = into(&target, &data_of(&target, spare.path()), false);
    let file = manifest.files.iter().max_by_key(|file| file.size).unwrap();
    let path = backups.join(manifest.id.as_str()).join(&file.name);
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damaged in [flipped, good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), Vec::new()] {
        std::fs::write(&path, damaged).unwrap();
        let verified =
            verify_backup(&destination, None, &scratch(None), AuditScope::default(), &mut |_, _| ()).await;
        let error = verified.unwrap_err();
        assert!(error.is_verdict() && error.to_string().contains(&file.name), "{error}");
        assert!(restore(&destination, &options, None).await.unwrap_err().is_verdict());
    }
    std::fs::write(&path, &good).unwrap();
    // A manifest that promises another store than the files make is found out, too.
    let manifest_path = backups.join(manifest.id.as_str()).join("manifest.json");
    let text = std::fs::read_to_string(&manifest_path).unwrap();
    std::fs::write(&manifest_path, text.replacen("\"head\": 12", "\"head\": 13", 1)).unwrap();
    let refused = restore(&destination, &options, None).await.unwrap_err();
    assert!(
        matches!(&refused, BackupError::Faulty(problem) if problem.contains("is not at 13")),
        "{refused}"
    );
    // Without a manifest there is no backup.
    std::fs::remove_file(&manifest_path).unwrap();
    assert!(matches!(restore(&destination, &options, None).await, Err(BackupError::Missing(None))));
    // None of it has left a store behind.
    let nothing = restore(&destination, &options, None).await;
    assert!(matches!(nothing, Err(BackupError::Missing(None))));
    if engine == Engine::Sqlite {
        assert!(!target.file().exists());
    }
    source.remove().await;
    target.remove().await;
}

pub(crate) async fn a_store_with_faults_is_not_brought_back(engine: Engine) {
    let (spare, source, target) =
        (tempfile::tempdir().unwrap(), Place::new(engine).await, Place::new(engine).await);
    fill(&source).await;
    source.execute("UPDATE ves_events SET payload = '{}' WHERE entity_version = 600").await;
    let destination = folder(&spare.path().join("backups"));
    back_up(&source, &destination, None, 1).await;
    let refused = restore(&destination, &into(&target, &data_of(&target, spare.path()), false), None).await;
    assert!(matches!(refused, Err(BackupError::Faulty(_))), "{refused:?}");
    let database = (engine == Engine::Postgres).then_some(&target);
    let verified =
        verify_backup(&destination, None, &scratch(database), AuditScope::default(), &mut |_, _| ()).await;
    assert_eq!(verified.unwrap().audit.unwrap().findings.total(), 1);
    source.remove().await;
    target.remove().await;
}

pub(crate) async fn a_store_in_use_is_left_alone(engine: Engine) {
    let (spare, source) = (tempfile::tempdir().unwrap(), Place::new(engine).await);
    fill(&source).await;
    let destination = folder(&spare.path().join("backups"));
    back_up(&source, &destination, None, 1).await;
    let options = into(&source, &data_of(&source, spare.path()), true);
    let before = heads(&source).await;
    let refused = match &source {
        Place::Folder(folder) => {
            let _node = DataFolder::open(folder.path()).unwrap();
            restore(&destination, &options, None).await
        }
        Place::Database(_) => {
            let store: Arc<dyn LineStore> = source.open().await;
            let refused = restore(&destination, &options, None).await;
            store.close().await;
            refused
        }
    };
    let is_in_use = matches!(refused, Err(BackupError::InUse(_) | BackupError::Data(DataError::InUse(_))));
    assert!(is_in_use, "{refused:?}");
    assert_eq!(heads(&source).await, before);
    source.remove().await;
}

pub(crate) async fn keys_go_along_only_when_asked_and_replace_none(engine: Engine) {
    use std::os::unix::fs::PermissionsExt;
    let (spare, source, target) =
        (tempfile::tempdir().unwrap(), Place::new(engine).await, Place::new(engine).await);
    fill(&source).await;
    let keys = spare.path().join("keys");
    drop(DataFolder::open(&keys).unwrap().admin_key().unwrap());
    let backups = spare.path().join("backups");
    let destination = folder(&backups);
    assert!(!back_up(&source, &destination, None, 1).await.has_keys());
    let manifest = back_up(&source, &destination, Some(keys.clone()), 2).await;
    assert!(manifest.has_keys());
    let packed = backups.join(manifest.id.as_str()).join("admin.key.gz");
    assert_eq!(std::fs::metadata(packed).unwrap().permissions().mode() & 0o777, 0o600);
    let options = into(&target, &data_of(&target, spare.path()), true);
    assert_eq!(restore(&destination, &options, None).await.unwrap().keys, ["admin.key"]);
    let placed = options.data.join("admin.key");
    assert_eq!(std::fs::read(&placed).unwrap(), std::fs::read(keys.join("admin.key")).unwrap());
    assert_eq!(std::fs::metadata(&placed).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&placed, "another").unwrap();
    assert!(restore(&destination, &options, None).await.unwrap().keys.is_empty());
    assert_eq!(std::fs::read_to_string(&placed).unwrap(), "another");
    source.remove().await;
    target.remove().await;
}

pub(crate) async fn the_newest_stay_and_what_was_not_finished_goes(engine: Engine) {
    let (spare, source) = (tempfile::tempdir().unwrap(), Place::new(engine).await);
    fill(&source).await;
    let backups = spare.path().join("backups");
    let destination = folder(&backups);
    let mut ids = Vec::new();
    for second in [10, 20, 30] {
        ids.push(back_up(&source, &destination, None, second).await.id);
    }
    std::fs::create_dir(backups.join("20250101T000000000Z-00000000")).unwrap();
    std::fs::create_dir(backups.join("somebody-elses")).unwrap();
    let listed = list_backups(&destination).await.unwrap();
    assert!(listed.iter().map(|manifest| &manifest.id).eq(&ids));
    assert_eq!(newest_backup(&destination).await.unwrap().unwrap().id, ids[2]);
    let removed = prune_backups(&destination, 2, at(40)).await.unwrap();
    assert_eq!((removed[0].as_str(), &removed[1]), ("20250101T000000000Z-00000000", &ids[0]));
    assert_eq!((removed.len(), list_backups(&destination).await.unwrap().len()), (2, 2));
    assert!(backups.join("somebody-elses").exists());
    source.remove().await;
}

/// A store of the first schema version with one sequencer key, for each engine.
const FIRST_SCHEMA: [&str; 2] = [
    concat!(
        include_str!("../../../store/src/migrations/sqlite/0001_line.sql"),
        "CREATE TABLE schema_migrations (
             version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
         INSERT INTO schema_migrations VALUES (1, '0001_line', '2025-01-01T00:00:00.000Z');
         INSERT INTO sequencer_keys VALUES (1, zeroblob(16), zeroblob(32), 0)"
    ),
    concat!(
        include_str!("../../../store/src/migrations/postgres/0001_line.sql"),
        "CREATE TABLE schema_migrations (
             version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
         INSERT INTO schema_migrations (version, name) VALUES (1, '0001_line');
         INSERT INTO sequencer_keys (sequencer_id, public_key, created_at)
         VALUES ('00000000-0000-0000-0000-000000000000', decode(repeat('00', 32), 'hex'), now())"
    ),
];

pub(crate) async fn a_backup_of_an_old_schema_is_migrated_on_its_way(engine: Engine) {
    let (spare, source, target) =
        (tempfile::tempdir().unwrap(), Place::new(engine).await, Place::new(engine).await);
    source.execute(FIRST_SCHEMA[usize::from(engine == Engine::Postgres)]).await;
    let destination = folder(&spare.path().join("backups"));
    assert_eq!(back_up(&source, &destination, None, 1).await.schema_version, 1);
    let database = (engine == Engine::Postgres).then_some(&target);
    let verified =
        verify_backup(&destination, None, &scratch(database), AuditScope::default(), &mut |_, _| ()).await;
    assert_eq!(verified.unwrap().audit.unwrap().schema_version, bowline_node::schema().version());
    restore(&destination, &into(&target, &data_of(&target, spare.path()), false), None).await.unwrap();
    let store = target.open().await;
    assert_eq!(store.sequencer_keys().await.unwrap().len(), 1);
    let next = store.register_sequencer_key(uuid::Uuid::from_u128(44), [8; 32], at(0)).await.unwrap();
    assert_eq!(next.key_version, 2);
    store.close().await;
    source.remove().await;
    target.remove().await;
}
