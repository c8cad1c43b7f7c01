//! The way of an envelope into the line: verified, appended, and kept as a dead letter if it was refused for a
//! reason that somebody can mend.
//!
//! Whoever takes envelopes in goes through here, so that each is judged alike wherever it came from. It refuses to
//! ask who may write a stream: that is its caller's to have asked.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bowline_store::{AppendOutcome, StoreError, VerifiedBatch};
use bowline_types::StreamId;
use bowline_ves::{Envelope, Rejected, VerifiedEvent};

use crate::appender::{AppendError, Appender};
use crate::letters::{LetterBox, letter_reason};
use crate::metrics::count_rejection;
use crate::verifier::{Examined, Verifier};

/// What else a verified event must satisfy, such as the schema of its payload.
#[async_trait]
pub trait PayloadCheck: Debug + Send + Sync + 'static {
    /// Judges each event, in order.
    ///
    /// # Errors
    /// The rules could not be looked up; nothing is known about the events then.
    async fn check(
        &self,
        events: Vec<VerifiedEvent>,
    ) -> Result<Vec<Result<VerifiedEvent, Box<Rejected>>>, StoreError>;
}

/// Takes envelopes in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    verifier: Verifier,
    payloads: Option<Arc<dyn PayloadCheck>>,
    appender: Appender,
    letter_box: LetterBox,
}

/// What became of envelopes.
#[derive(Debug, Clone)]
pub struct Taken {
    /// One outcome an envelope, in their order.
    pub outcomes: Vec<AppendOutcome>,
    /// The heads of the streams that something was appended to or tried to.
    pub heads: HashMap<StreamId, u64>,
}

impl Intake {
    pub(crate) fn new(
        verifier: Verifier,
        payloads: Option<Arc<dyn PayloadCheck>>,
        appender: Appender,
        letter_box: LetterBox,
    ) -> Self {
        Self { verifier, payloads, appender, letter_box }
    }

    /// Verifies the envelopes and appends those that are right, in their order. What is rejected and can be mended
    /// becomes a dead letter, later and without being waited for.
    ///
    /// # Errors
    /// See [`AppendError`]: nothing is known about any of the envelopes then, and nothing was kept.
    pub async fn take(&self, envelopes: Vec<Envelope>) -> Result<Taken, AppendError> {
        let (taken, refused) = self.judge(envelopes).await?;
        for (index, envelope) in refused {
            if let Some(AppendOutcome::Rejected(rejection)) = taken.outcomes.get(index) {
                self.letter_box.put(envelope, rejection);
            }
        }
        Ok(taken)
    }

    /// The same without keeping letters, for events that are letters already.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub(crate) async fn take_again(&self, envelopes: Vec<Envelope>) -> Result<Taken, AppendError> {
        self.judge(envelopes).await.map(|(taken, _)| taken)
    }

    /// Turns those that were right until now into rejections if their payloads are not what they must be.
    async fn check_payloads(&self, mut judged: Vec<Examined>) -> Result<Vec<Examined>, StoreError> {
        let Some(payloads) = &self.payloads else { return Ok(judged) };
        let mut places = Vec::with_capacity(judged.len());
        let mut right = Vec::with_capacity(judged.len());
        let mut checked = Vec::with_capacity(judged.len());
        for (place, one) in judged.drain(..).enumerate() {
            match one {
                Ok(event) => {
                    places.push(place);
                    right.push(event);
                    checked.push(None);
                }
                Err(rejected) => checked.push(Some(Err(rejected))),
            }
        }
        for (place, one) in places.into_iter().zip(payloads.check(right).await?) {
            if let Err(rejected) = &one {
                count_rejection(&rejected.rejection);
            }
            checked[place] = Some(one);
        }
        Ok(checked.into_iter().flatten().collect())
    }

    /// The outcomes, and of the rejected envelopes those that may be kept, with their places.
    async fn judge(&self, envelopes: Vec<Envelope>) -> Result<(Taken, Vec<(usize, Envelope)>), AppendError> {
        let (judged, keys_epoch) = self.verifier.examine(envelopes).await?;
        let judged = self.check_payloads(judged).await?;
        let mut outcomes: Vec<Option<AppendOutcome>> = Vec::with_capacity(judged.len());
        let (mut verified, mut places) = (Vec::with_capacity(judged.len()), Vec::with_capacity(judged.len()));
        let mut refused = Vec::new();
        for (index, judged) in judged.into_iter().enumerate() {
            match judged {
                Ok(event) => {
                    places.push(index);
                    verified.push(event);
                    outcomes.push(None);
                }
                Err(rejected) => {
                    if letter_reason(&rejected.rejection).is_some() {
                        refused.push((index, rejected.envelope));
                    }
                    outcomes.push(Some(AppendOutcome::Rejected(rejected.rejection)));
                }
            }
        }
        // The append takes the events with it; only what names a version can be refused and mended after that.
        let contestable: Vec<(usize, Envelope)> =
            places.iter().zip(&verified).filter_map(contestable).collect();
        let mut heads = HashMap::new();
        if !verified.is_empty() {
            let report = self.appender.append(VerifiedBatch { events: verified, keys_epoch }).await?;
            heads = report.heads;
            for (place, outcome) in places.into_iter().zip(report.outcomes) {
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = Some(outcome);
                }
            }
        }
        let rejected = |index: &usize| matches!(outcomes.get(*index), Some(Some(AppendOutcome::Rejected(_))));
        refused.extend(contestable.into_iter().filter(|(index, _)| rejected(index)));
        Ok((Taken { outcomes: outcomes.into_iter().flatten().collect(), heads }, refused))
    }
}

fn contestable((index, event): (&usize, &VerifiedEvent)) -> Option<(usize, Envelope)> {
    event.envelope.base_version.is_some().then(|| (*index, event.envelope.clone()))
}
