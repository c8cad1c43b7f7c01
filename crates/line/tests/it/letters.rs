//! Dead letters on a running line: which events are kept, which are not, and how a retry ends.
//!
//! Events go in through the intake that the gateway uses; letters are read as an operator reads them.

use std::sync::atomic::Ordering;

use bowline_line::RetryOutcome;
use bowline_store::{
    AgentKeyRecord, AgentKeyStatus, AppendOutcome, DeadLetter, KeyStore as _, LetterFilter, LetterOrder,
    LetterReason, LetterStatus,
};
use bowline_types::{LetterId, StreamId};
use bowline_ves::{Envelope, Rejection, SecretKey, sign_envelope};

use crate::events::{agent, agent_key, at, draft, envelope, new_stream};
use crate::support::{Line, metric, record_metrics, soon, until};

async fn register(line: &Line, stream: StreamId) {
    let key = AgentKeyRecord {
        tenant_id: stream.tenant_id,
        agent_id: agent(),
        key_id: 1,
        public_key: agent_key().public().to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        created_at: at(0),
        revoked_at: None,
        revoked_reason: None,
    };
    line.store.register_agent_key(key).await.unwrap();
}

async fn take(line: &Line, envelopes: Vec<Envelope>) -> Vec<AppendOutcome> {
    soon(line.handle.intake.take(envelopes)).await.unwrap().outcomes
}

async fn count(line: &Line) -> u64 {
    line.handle.letters.count(LetterFilter::default()).await.unwrap()
}

async fn letters(line: &Line) -> Vec<DeadLetter> {
    line.handle.letters.list(LetterFilter::default(), LetterOrder::Oldest(None), 100).await.unwrap()
}

async fn retry(line: &Line, ids: Vec<LetterId>) -> Vec<RetryOutcome> {
    let retried = soon(line.handle.letters.retry(ids)).await.unwrap();
    retried.into_iter().map(|one| one.outcome).collect()
}

#[tokio::test]
async fn what_can_be_mended_is_kept_as_it_was_sent_and_the_rest_is_not() {
    let line = Line::start().await;
    let (stream, unknown) = (new_stream(), new_stream());
    register(&line, stream).await;
    let right = envelope(stream);
    let forged = sign_envelope(draft(stream), &SecretKey::from_seed([99; 32])).unwrap();
    let mut stale = draft(stream);
    stale.base_version = Some(7);
    let stale = sign_envelope(stale, &agent_key()).unwrap();
    let mut changed = envelope(stream);
    changed.payload = bowline_ves::Payload::Plain("{}".into());
    let early = envelope(unknown);
    let sent = vec![right.clone(), forged, stale.clone(), changed, early.clone()];
    let outcomes = take(&line, sent).await;
    assert!(matches!(outcomes[0], AppendOutcome::Accepted(_)), "{outcomes:?}");
    let conflict = Rejection::VersionConflict { expected: 7, actual: 1 };
    assert_eq!(outcomes[2], AppendOutcome::Rejected(conflict));
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, AppendOutcome::Rejected(_))));
    until(2, async || count(&line).await).await;
    let kept = letters(&line).await;
    for (sent, reason) in
        [(&stale, LetterReason::VersionConflict), (&early, LetterReason::AgentKeyNotRegistered)]
    {
        let found = kept.iter().find(|letter| letter.letter.event_id == sent.event_id).unwrap();
        assert_eq!((found.letter.reason, &found.letter.payload), (reason, &sent.to_json()));
        assert_eq!(&Envelope::parse(&found.letter.payload).unwrap(), sent);
    }

    // The cause is mended: the one is taken, and the other has to wait.
    register(&line, unknown).await;
    let ids: Vec<LetterId> = kept.iter().map(|letter| letter.id).collect();
    let outcomes = retry(&line, ids.clone()).await;
    let taken = outcomes.iter().filter(|outcome| **outcome == RetryOutcome::Taken(1)).count();
    assert_eq!((outcomes.len(), taken), (2, 1), "{outcomes:?}");
    let left = letters(&line).await;
    assert_eq!((left.len(), left[0].letter.event_id, left[0].retry_count), (1, stale.event_id, 1));
    assert_eq!((left[0].status, left[0].seen_count), (LetterStatus::Pending, 1));
    assert!(retry(&line, vec![LetterId::random()]).await.is_empty());
    let stored = line.handle.reader.event(unknown, early.event_id).await.unwrap().unwrap();
    assert_eq!(stored.envelope, early);
    line.stop().await;
}

#[tokio::test]
async fn answers_never_wait_for_letters() {
    let (metrics, _recording) = record_metrics();
    let line = Line::start().await;
    line.store.letters_away.store(true, Ordering::SeqCst);
    let stream = new_stream();
    assert!(matches!(take(&line, vec![envelope(stream)]).await[0], AppendOutcome::Rejected(_)));
    line.store.letters_away.store(false, Ordering::SeqCst);
    until(1, async || count(&line).await).await;
    let kept = r#"sequencer_dlq_events_total{reason="agent_key_not_registered"}"#;
    until(Some(1.0), async || metric(&metrics, kept)).await;

    let full = Line::with(|config| config.dead_letters.waiting_max = 0).await;
    assert!(matches!(take(&full, vec![envelope(stream)]).await[0], AppendOutcome::Rejected(_)));
    assert_eq!(metric(&metrics, r#"sequencer_dlq_dropped_total{cause="box_full"}"#), Some(1.0));
    full.stop().await;
    assert_eq!(count(&full).await, 0);
    line.stop().await;
}
