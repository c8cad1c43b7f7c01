//! Anchors that somebody else made and reports.

use std::sync::Arc;

use bowline_anchor::tables::{
    AnchorTarget, ReportOutcome, ReportedAnchor, SendChange, SendOrigin, SendState,
};
use bowline_store::{AnchorMark, StoreError};
use bowline_types::{BatchId, EvmAddress};

use bowline_conformance::Place;
use bowline_conformance::events::at;

use super::given::{
    OTHER, TARGET, committed, counts, hash, is_internal, lease, mark, mark_of, mined, pending, pending_of,
    report, rows, send, tables,
};

pub(crate) async fn somebody_elses_anchor_is_recorded_once(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, ids) = committed(&store, &[1, 2, 3, 4]).await;
    let tell = async |report| tables(&store).report_anchor(report, at(50)).await.unwrap();
    assert_eq!(tell(report(BatchId::random(), 1)).await, ReportOutcome::NoCommitment);
    assert_eq!(tell(report(ids[0], 1)).await, ReportOutcome::Recorded);
    assert_eq!(tell(report(ids[1], 1)).await, ReportOutcome::Recorded);
    assert_eq!(tell(report(ids[0], 1)).await, ReportOutcome::Known);
    assert_eq!(tell(report(ids[0], 2)).await, ReportOutcome::Conflict(Some(hash(1))));
    let elsewhere = ReportedAnchor { chain_id: 1, ..report(ids[0], 1) };
    assert_eq!(tell(elsewhere).await, ReportOutcome::Conflict(Some(hash(1))));
    is_internal(
        tables(&store).report_anchor(ReportedAnchor { chain_id: u64::MAX, ..elsewhere }, at(50)).await,
    );
    let blockless = ReportedAnchor { block_number: None, gas_used: None, ..report(ids[3], 4) };
    assert_eq!(tell(blockless).await, ReportOutcome::Recorded);
    assert_eq!(mark(&store, ids[3]).await, Some(AnchorMark { block_number: None, ..mark_of(4) }));

    assert_eq!(mark(&store, ids[1]).await, Some(mark_of(1)));
    assert_eq!(pending_of(&store, stream).await, [ids[2]]);
    let listed = rows(&store, stream).await;
    let told = listed[0].send.clone().unwrap();
    let contract = EvmAddress::default();
    assert_eq!(told.target, AnchorTarget { chain_id: TARGET.chain_id, contract });
    assert_eq!((told.origin, told.state), (SendOrigin::Reported, SendState::Anchored));
    let at_block = told.mined.unwrap();
    assert_eq!((at_block.tx_hash, at_block.block_number), (Some(hash(1)), 1_001));
    // Two reports of one transaction: it carries both.
    assert_eq!(listed.iter().map(|row| row.shared_by).collect::<Vec<_>>(), [2, 2, 0, 1]);

    // Choosing a contract takes their marks away; what was told may be told again.
    let lease = lease(&store, 1).await;
    tables(&store).choose_anchor_target(&lease, TARGET, at(60)).await.unwrap();
    assert_eq!(pending(&store).await, ids);
    assert_eq!(tell(report(ids[0], 1)).await, ReportOutcome::Recorded);
    assert!(tables(&store).anchored_ends(None, 9).await.unwrap().is_empty());
    let own = send(vec![ids[2]], 7);
    tables(&store).record_send(&lease, own.clone()).await.unwrap();
    assert_eq!(tell(report(ids[2], 9)).await, ReportOutcome::UnderWay);
    tables(&store).change_send(&lease, own.send_id, SendChange::Mined(mined(7)), at(61)).await.unwrap();
    assert_eq!(tell(report(ids[2], 7)).await, ReportOutcome::UnderWay);
    tables(&store).change_send(&lease, own.send_id, SendChange::Anchored, at(62)).await.unwrap();
    assert_eq!(tell(report(ids[2], 7)).await, ReportOutcome::Known);
    assert_eq!(tell(report(ids[2], 9)).await, ReportOutcome::Conflict(Some(hash(7))));
    is_internal(tables(&store).record_send(&lease, send(vec![ids[0]], 8)).await);

    // And so does choosing another one.
    tables(&store).choose_anchor_target(&lease, OTHER, at(63)).await.unwrap();
    assert_eq!(pending(&store).await, ids);
    assert_eq!(tell(report(ids[0], 3)).await, ReportOutcome::Conflict(Some(hash(1))));
    assert_eq!(tell(report(ids[0], 1)).await, ReportOutcome::Recorded);
    assert_eq!(tables(&store).sends_of(ids[0]).await.unwrap(), [told]);
    assert_eq!(tables(&store).unmark_anchors(&lease, stream, 0, "lost", at(64)).await.unwrap(), 1);
    assert_eq!(tables(&store).sends_of(ids[0]).await.unwrap()[0].state, SendState::Void);
    assert_eq!(tell(report(ids[0], 3)).await, ReportOutcome::Recorded);
}

/// The anchoring process and somebody who reports reach for the same commitments: each goes to one of them.
pub(crate) async fn a_report_and_a_send_at_a_time_exclude_each_other(place: Arc<Place>) {
    let stores = place.open_two().await;
    let lease = lease(&stores[0], 1).await;
    tables(&stores[0]).choose_anchor_target(&lease, TARGET, at(0)).await.unwrap();
    let (_, ids) = committed(&stores[0], &(1..=40).collect::<Vec<_>>()).await;
    for (byte, id) in (1..).zip(ids) {
        let [first, second] = [tables(&stores[0]), tables(&stores[1])];
        let (own, others) = tokio::join!(
            first.record_send(&lease, send(vec![id], byte)),
            second.report_anchor(report(id, byte + 100), at(9)),
        );
        match (own, others.unwrap()) {
            (Ok(()), ReportOutcome::UnderWay) => assert_eq!(mark(&stores[1], id).await, None),
            (Err(StoreError::Internal(_)), ReportOutcome::Recorded) => {
                assert_eq!(mark(&stores[0], id).await.unwrap().tx_hash, Some(hash(byte + 100)));
            }
            other => panic!("{other:?}"),
        }
    }
    let (pending, under_way, anchored) = counts(&stores[0]).await;
    assert_eq!((pending, under_way + anchored), (0, 40));
}
