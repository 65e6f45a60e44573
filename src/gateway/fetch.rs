//! Tiers first, nearest first; then one fill.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use tracing::Span;

use crate::cache::Cache;
use crate::cache::Found;
use crate::cache::Serve;
use crate::cache::key::Key;
use crate::content::Content;
use crate::gateway::Error;
use crate::gateway::fill::Fill;
use crate::gateway::fill::Filled;
use crate::gateway::fill::From;
use crate::gateway::fill::Outcome;
use crate::goproxy::request::FetchMode;
use crate::goproxy::request::Request;
use crate::goproxy::request::SumdbAsk;
use crate::policy::decision::Permit;
use crate::sumdb::Verified;
use crate::sumdb::verifier::Verifier;
use crate::tasks::Tasks;
use crate::tasks::flights::Flight;
use crate::tasks::flights::Flights;
use crate::tasks::flights::Role;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::CacheResult;
use crate::telemetry::labels::Tier;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;
use crate::upstream::Chain;
use crate::upstream::source::Given;

/// Whether upstreams are asked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstreams {
    /// For what no tier holds.
    Asked,
    /// Never: the gateway is offline.
    Never,
}

/// The only station-keeper that holds a cache: it demands a permit for every look.
#[derive(Debug)]
pub struct Fetcher {
    cache: Arc<Cache>,
    chain: Arc<Chain>,
    verifier: Verifier,
    upstreams: Upstreams,
    flights: Flights<Key, Outcome>,
    tasks: Tasks,
    telemetry: Arc<Telemetry>,
}

impl Fetcher {
    /// A fetcher over tiers and a chain.
    pub fn new(
        cache: Arc<Cache>,
        chain: Arc<Chain>,
        verifier: Verifier,
        tasks: Tasks,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let (upstreams, flights) = (Upstreams::Asked, Flights::default());
        Self { cache, chain, verifier, upstreams, flights, tasks, telemetry }
    }

    /// The same, asking upstreams or not.
    #[must_use]
    pub fn with(self, upstreams: Upstreams) -> Self {
        Self { upstreams, ..self }
    }

    /// Where work is run.
    pub(in crate::gateway) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Finds or fetches what a permit permits.
    ///
    /// Cancel safety: dropping the future leaves a fill running for the next caller.
    pub async fn fetch(&self, permit: &Permit, record: &Record) -> Result<Verified, Error> {
        let asked = match permit.request() {
            Request::Module(asked) => asked,
            Request::Sumdb(_) => return self.pass_through(permit, record).await,
            Request::Own(_) | Request::Root => {
                return Err(Error::Defect("a page was to be fetched"));
            }
        };
        let key = Key::of(asked);
        match self.cache.look_near(&key).await {
            Found::Fresh(verified, tier) => {
                self.found(record, CacheResult::Hit, Some(tier));
                Ok(verified)
            }
            Found::Absent(absence) => {
                self.found(record, CacheResult::NegativeHit, None);
                Err(Error::Absent(absence))
            }
            Found::Stale(_) | Found::Nothing
                if self.upstreams == Upstreams::Never || asked.fetch == FetchMode::CacheOnly =>
            {
                self.held(key, record).await
            }
            Found::Stale(stale) if stale.serve == Serve::Meanwhile => {
                // renewed by a task of its own, which nobody waits for
                let _renewing = self.board(&key, permit, record);
                self.found(record, CacheResult::Stale, Some(stale.tier));
                Ok(stale.verified)
            }
            Found::Stale(_) | Found::Nothing => {
                record.step(Stage::Authorize, || permit.admitted().map_err(Error::from))?;
                self.fill(key, permit, record).await
            }
        }
    }

    /// Whatever a tier holds, however old: nobody else is asked.
    async fn held(&self, key: Key, record: &Record) -> Result<Verified, Error> {
        let cache = Arc::clone(&self.cache);
        match self.tasks.run("look", async move { cache.look_far(&key).await }).await? {
            Found::Fresh(verified, tier) => {
                self.found(record, CacheResult::Hit, Some(tier));
                Ok(verified)
            }
            Found::Stale(stale) => {
                self.found(record, CacheResult::Stale, Some(stale.tier));
                Ok(stale.verified)
            }
            Found::Absent(absence) => {
                self.found(record, CacheResult::NegativeHit, None);
                Err(Error::Absent(absence))
            }
            Found::Nothing => {
                self.found(record, CacheResult::Bypass, None);
                match self.upstreams {
                    Upstreams::Asked => Err(Error::NotHeld),
                    Upstreams::Never => Err(Error::Offline),
                }
            }
        }
    }

    fn board(&self, key: &Key, permit: &Permit, record: &Record) -> (Flight<Outcome>, Role) {
        self.flights.board(key, |landing| {
            let fill = Fill {
                cache: Arc::clone(&self.cache),
                chain: Arc::clone(&self.chain),
                verifier: self.verifier.clone(),
                telemetry: Arc::clone(&self.telemetry),
                key: key.clone(),
                permit: permit.clone(),
                record: record.clone(),
            };
            // its look-ups and its lease belong to the stage of whoever began it
            let filling = fill.run(landing).instrument(Span::current());
            let running = self.tasks.run("fill", filling);
            async move { running.await.unwrap_or_else(|gone| Err(Error::Task(gone))) }.boxed()
        })
    }

    async fn fill(&self, key: Key, permit: &Permit, record: &Record) -> Result<Verified, Error> {
        let (flight, role) = self.board(&key, permit, record);
        let outcome = match role {
            Role::Leader => flight.await,
            Role::Follower => {
                let waiters = &self.telemetry.metrics().fetch_waiters;
                waiters.add((), 1.0);
                let _left = OnDrop(|| waiters.add((), -1.0));
                flight.await
            }
        };
        match (&outcome, role) {
            (Ok(Filled { from: From::Tier(tier), .. }), _) => {
                self.found(record, CacheResult::Hit, Some(*tier));
            }
            (Ok(Filled { from: From::Stale(tier), .. }), _) => {
                self.found(record, CacheResult::Stale, Some(*tier));
            }
            (Err(Error::Absent(_)), _) => self.found(record, CacheResult::NegativeHit, None),
            (Ok(_) | Err(_), Role::Leader) => self.found(record, CacheResult::Miss, None),
            (Ok(_) | Err(_), Role::Follower) => self.found(record, CacheResult::Coalesced, None),
        }
        outcome.map(|filled| filled.verified)
    }

    /// Answers of a checksum database: the client verifies them, so they pass through and no tier keeps them.
    async fn pass_through(&self, permit: &Permit, record: &Record) -> Result<Verified, Error> {
        let request = permit.request();
        self.found(record, CacheResult::Bypass, None);
        if self.upstreams == Upstreams::Never
            && !matches!(request, Request::Sumdb(asked) if asked.ask == SumdbAsk::Supported)
        {
            return Err(Error::Offline);
        }
        if let Request::Sumdb(asked) = request {
            match &asked.ask {
                SumdbAsk::Lookup { path, .. } if self.chain.is_private(path.as_str()) => {
                    return Err(Error::PrivateLookup);
                }
                // asked of us, not of the database: the name is one we pass on
                SumdbAsk::Supported => {
                    let nothing = Content::from_bytes(Bytes::new());
                    return Ok(self.verifier.verify(request, nothing, None).await?);
                }
                SumdbAsk::Lookup { .. } | SumdbAsk::Latest | SumdbAsk::Tile(_) => {}
            }
        }
        let fetched = record.stage(Stage::Upstream, self.chain.fetch(request, record, None)).await;
        let Given { content, announced, .. } = fetched?.given;
        let verifying = self.verifier.verify(request, content, announced);
        Ok(record.stage(Stage::Verify, verifying).await?)
    }

    /// Tells the gauges what the tiers hold.
    pub fn report(&self) {
        self.cache.report();
    }

    fn found(&self, record: &Record, result: CacheResult, tier: Option<Tier>) {
        self.telemetry.metrics().cache_requests.count((result,));
        record.note(|facts| {
            facts.cache = Some(result);
            facts.tier = tier;
        });
    }
}

/// Does something when it goes out of scope, also when the caller hangs up.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
