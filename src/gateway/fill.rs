//! Upstream, verify, store: the work behind a miss, done once for everybody who waits.

use std::sync::Arc;

use tracing::Instrument as _;

use crate::cache::Absence;
use crate::cache::AbsentStatus;
use crate::cache::Arrival;
use crate::cache::Cache;
use crate::cache::Found;
use crate::cache::Lead;
use crate::cache::Stale;
use crate::cache::key::Key;
use crate::cache::lease::Lease;
use crate::content::Content;
use crate::content::Sum;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::gateway::Error;
use crate::policy::decision::Permit;
use crate::sumdb::Verified;
use crate::sumdb::verifier::Verifier;
use crate::tasks::flights::Landing;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::FillResult;
use crate::telemetry::labels::Tier;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;
use crate::telemetry::trace::lease_span;
use crate::upstream::Chain;
use crate::upstream::UpstreamError;
use crate::upstream::attempt::Fetched;
use crate::upstream::attempt::Unsettled;
use crate::upstream::source::Known;
use crate::upstream::source::Novelty;

/// What a fill comes to.
pub(in crate::gateway) type Outcome = Result<Filled, Error>;

/// Content, and where a fill had it from.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Filled {
    pub(in crate::gateway) verified: Verified,
    pub(in crate::gateway) from: From,
}

/// Where content came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum From {
    /// A tier, where it was fresh.
    Tier(Tier),
    /// A tier, where it was not, since it could not be renewed.
    Stale(Tier),
    /// Upstream.
    Upstream,
}

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
            Ok(Filled { from: From::Tier(_), .. }) => None,
            Ok(Filled { from: From::Upstream, .. }) => Some(FillResult::Stored),
            Err(error) if is_absent(error) => Some(FillResult::Absent),
            Ok(Filled { from: From::Stale(_), .. }) | Err(_) => Some(FillResult::Failed),
        };
        if let Some(result) = result {
            let endpoint = self.permit.request().endpoint();
            self.telemetry.metrics().cache_fills.count((endpoint, result));
        }
        drop(landing);
        outcome
    }

    async fn fill(&self) -> Outcome {
        let stale = match self.cache.look_far(&self.key).await {
            Found::Stale(stale) => Some(stale),
            Found::Nothing => None,
            found => return held(found),
        };
        let lease = match self.cache.lead(&self.key).instrument(lease_span()).await {
            Lead::Found(found) => return held(*found),
            Lead::Leads(lease) => Some(lease),
            Lead::Alone => None,
        };
        let outcome = self.fetch(stale.as_ref(), lease.as_ref()).await;
        if let Some(lease) = lease
            && outcome.as_ref().map_or_else(is_absent, |_| true)
        {
            lease.succeeded();
        }
        match (outcome, stale) {
            (Err(error), Some(stale)) if is_outage(&error) => {
                tracing::warn!(key = %self.key, %error, "it cannot be renewed: serving what is held");
                Ok(Filled { verified: stale.verified, from: From::Stale(stale.tier) })
            }
            (outcome, _) => outcome,
        }
    }

    async fn fetch(&self, stale: Option<&Stale>, lease: Option<&Lease>) -> Outcome {
        let (request, record) = (self.permit.request(), &self.record);
        let known = stale.and_then(|stale| {
            Some(Known { content: stale.verified.content(), validator: stale.validator()? })
        });
        let fetching = self.chain.fetch(request, record, known);
        let fetched = record.stage(Stage::Upstream, fetching).await;
        if let Err(error) = &fetched {
            self.remember(error, lease).await;
        }
        let Fetched { given, attempt } = fetched?;
        let verified = match stale.filter(|_| given.novelty == Novelty::Unchanged) {
            // these bytes have passed, and their sum was checked when they left the tier
            Some(stale) => stale.verified.clone(),
            None => self.verify(given.content, given.announced, attempt).await?,
        };
        let validator = given.validator.as_ref();
        let arrival = Arrival { verified: &verified, validator, before: stale };
        self.cache.store(&self.key, arrival, lease).await;
        Ok(Filled { verified, from: From::Upstream })
    }

    async fn verify(
        &self,
        content: Content,
        announced: Option<Sum>,
        attempt: Unsettled,
    ) -> Result<Verified, Error> {
        let (request, record) = (self.permit.request(), &self.record);
        let verifying = self.verifier.verify(request, content, announced);
        let verified = record.stage(Stage::Verify, verifying).await;
        if let Some(check) =
            verified.as_ref().err().and_then(crate::sumdb::verifier::VerifyError::integrity)
        {
            self.telemetry.metrics().integrity_failures.count((check,));
            attempt.refused(check.attempt());
        }
        Ok(verified?)
    }

    /// Remembers that there is none. A fault is never remembered.
    async fn remember(&self, error: &UpstreamError, lease: Option<&Lease>) {
        if let UpstreamError::Absent { gone, text } = error {
            let status = if *gone { AbsentStatus::Gone } else { AbsentStatus::NotFound };
            self.cache.remember(&self.key, Absence { status, text: text.clone() }, lease).await;
        }
    }
}

/// What another fill, or another node, has stored meanwhile.
fn held(found: Found) -> Outcome {
    match found {
        Found::Fresh(verified, tier) => Ok(Filled { verified, from: From::Tier(tier) }),
        Found::Stale(stale) => {
            Ok(Filled { verified: stale.verified, from: From::Stale(stale.tier) })
        }
        Found::Absent(absence) => Err(Error::Absent(absence)),
        Found::Nothing => Err(Error::NotHeld),
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Absent(_) | Error::Upstream(UpstreamError::Absent { .. }))
}

/// Whether the upstreams could not be asked; what they said that is wrong or missing is no outage.
fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Upstream | Kind::Timeout | Kind::Unavailable)
}
