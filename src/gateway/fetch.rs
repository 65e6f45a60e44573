//! Tiers first, nearest first; then one fill.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::cache::Cache;
use crate::cache::Found;
use crate::cache::key::Key;
use crate::content::Content;
use crate::gateway::Error;
use crate::gateway::fill::Fill;
use crate::gateway::fill::Outcome;
use crate::goproxy::request::FetchMode;
use crate::goproxy::request::Request;
use crate::goproxy::request::SumdbAsk;
use crate::policy::decision::Permit;
use crate::sumdb::Verified;
use crate::sumdb::verifier::Verifier;
use crate::tasks::Tasks;
use crate::tasks::flights::Flights;
use crate::tasks::flights::Role;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::CacheResult;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;
use crate::upstream::Chain;

/// The only station-keeper that holds a cache: it demands a permit for every look.
#[derive(Debug)]
pub struct Fetcher {
    cache: Arc<Cache>,
    chain: Arc<Chain>,
    verifier: Verifier,
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
        Self { cache, chain, verifier, flights: Flights::default(), tasks, telemetry }
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
        match self.cache.look(&key).await {
            Found::Fresh(verified, tier) => {
                record.note(|facts| facts.tier = Some(tier));
                self.found(record, CacheResult::Hit);
                Ok(verified)
            }
            Found::Absent(absence) => {
                self.found(record, CacheResult::NegativeHit);
                Err(Error::Absent(absence))
            }
            Found::Nothing if asked.fetch == FetchMode::CacheOnly => {
                self.found(record, CacheResult::Bypass);
                Err(Error::NotHeld)
            }
            Found::Nothing => {
                record.step(Stage::Authorize, || permit.admitted().map_err(Error::from))?;
                self.fill(key, permit, record).await
            }
        }
    }

    async fn fill(&self, key: Key, permit: &Permit, record: &Record) -> Result<Verified, Error> {
        let (flight, role) = self.flights.board(&key, |landing| {
            let fill = Fill {
                cache: Arc::clone(&self.cache),
                chain: Arc::clone(&self.chain),
                verifier: self.verifier.clone(),
                telemetry: Arc::clone(&self.telemetry),
                key: key.clone(),
                permit: permit.clone(),
                record: record.clone(),
            };
            let running = self.tasks.run("fill", fill.run(landing));
            async move { running.await.unwrap_or_else(|gone| Err(Error::Task(gone))) }.boxed()
        });
        match role {
            Role::Leader => {
                self.found(record, CacheResult::Miss);
                flight.await
            }
            Role::Follower => {
                self.found(record, CacheResult::Coalesced);
                let waiters = &self.telemetry.metrics().fetch_waiters;
                waiters.add((), 1.0);
                let _left = OnDrop(|| waiters.add((), -1.0));
                flight.await
            }
        }
    }

    /// Answers of a checksum database: the client verifies them, so they pass through and no tier keeps them.
    async fn pass_through(&self, permit: &Permit, record: &Record) -> Result<Verified, Error> {
        let request = permit.request();
        self.found(record, CacheResult::Bypass);
        if let Request::Sumdb(asked) = request {
            match &asked.ask {
                SumdbAsk::Lookup { path, .. } if self.chain.is_private(path.as_str()) => {
                    return Err(Error::PrivateLookup);
                }
                // asked of us, not of the database: the name is one we pass on
                SumdbAsk::Supported => {
                    let nothing = Content::from_bytes(Bytes::new());
                    return Ok(self.verifier.verify(request, nothing).await?);
                }
                SumdbAsk::Lookup { .. } | SumdbAsk::Latest | SumdbAsk::Tile(_) => {}
            }
        }
        let fetched = record.stage(Stage::Upstream, self.chain.fetch(request, record)).await;
        Ok(record.stage(Stage::Verify, self.verifier.verify(request, fetched?.content)).await?)
    }

    /// Tells the gauges what the tiers hold.
    pub fn report(&self) {
        self.cache.report();
    }

    fn found(&self, record: &Record, result: CacheResult) {
        self.telemetry.metrics().cache_requests.count((result,));
        record.note(|facts| facts.cache = Some(result));
    }
}

/// Does something when it goes out of scope, also when the caller hangs up.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
