//! Upstream, verify, store: the work behind a miss, done once for everybody who waits.

use std::sync::Arc;

use crate::cache::Absence;
use crate::cache::AbsentStatus;
use crate::cache::Cache;
use crate::cache::Found;
use crate::cache::key::Key;
use crate::gateway::Error;
use crate::policy::decision::Permit;
use crate::sumdb::Verified;
use crate::sumdb::verifier::Verifier;
use crate::tasks::flights::Landing;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::FillResult;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;
use crate::upstream::Chain;
use crate::upstream::UpstreamError;
use crate::upstream::attempt::Fetched;

/// What a fill comes to.
pub(in crate::gateway) type Outcome = Result<Verified, Error>;

/// One fill: a clone of the leader's permit, and the leader's record.
#[derive(Debug)]
pub(in crate::gateway) struct Fill {
    pub(in crate::gateway) cache: Arc<Cache>,
    pub(in crate::gateway) chain: Arc<Chain>,
    pub(in crate::gateway) verifier: Verifier,
    pub(in crate::gateway) telemetry: Arc<Telemetry>,
    pub(in crate::gateway) key: Key,
    pub(in crate::gateway) permit: Permit,
    pub(in crate::gateway) record: Record,
}

impl Fill {
    /// Runs as a task of its own: the caller who started it may hang up. The landing ends the flight after the
    /// store, so whoever finds no flight finds the entry.
    pub(in crate::gateway) async fn run(self, landing: Landing<Key, Outcome>) -> Outcome {
        let outcome = self.fill().await;
        let result = match &outcome {
            Ok(_) => FillResult::Stored,
            Err(Error::Absent(_) | Error::Upstream(UpstreamError::Absent { .. })) => {
                FillResult::Absent
            }
            Err(_) => FillResult::Failed,
        };
        let endpoint = self.permit.request().endpoint();
        self.telemetry.metrics().cache_fills.count((endpoint, result));
        drop(landing);
        outcome
    }

    async fn fill(&self) -> Outcome {
        // another fill may have landed between our look and our take-off
        match self.cache.look_again(&self.key).await {
            Found::Fresh(verified, _tier) => return Ok(verified),
            Found::Absent(absence) => return Err(Error::Absent(absence)),
            Found::Nothing => {}
        }
        let (request, record) = (self.permit.request(), &self.record);
        let fetched = record.stage(Stage::Upstream, self.chain.fetch(request, record)).await;
        if let Err(error) = &fetched {
            self.remember(error).await;
        }
        let Fetched { content, attempt } = fetched?;
        let verified = record.stage(Stage::Verify, self.verifier.verify(request, content)).await;
        if let Some(check) =
            verified.as_ref().err().and_then(crate::sumdb::verifier::VerifyError::integrity)
        {
            self.telemetry.metrics().integrity_failures.count((check,));
            attempt.refused(check.attempt());
        }
        let verified = verified?;
        self.cache.store(&self.key, &verified).await;
        Ok(verified)
    }

    /// Remembers that there is none. A fault is never remembered.
    async fn remember(&self, error: &UpstreamError) {
        if let UpstreamError::Absent { gone, text } = error {
            let status = if *gone { AbsentStatus::Gone } else { AbsentStatus::NotFound };
            self.cache.remember(&self.key, Absence { status, text: text.clone() }).await;
        }
    }
}
