//! Where an issuer's keys come from: a file that somebody keeps up to date, or discovery over https.
//!
//! Discovery (OpenID Connect Discovery 1.0) asks for the issuer's document, whose issuer must be the configured one, and
//! then for its key set. A fetch that fails, or brings nothing usable, never replaces keys; the last good ones are
//! kept for a day. An unknown key id causes at most one fetch in the cooldown, by time alone, however many ask.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use quick_cache::sync::Cache;
use serde::Deserialize;
use url::Url;

use crate::egress::document::Document;
use crate::egress::document::Documents;
use crate::identity::jwks::Demands;
use crate::identity::jwks::KeySet;
use crate::identity::jwks::KeySetError;
use crate::tasks::Tasks;
use crate::tasks::flights::Flights;
use crate::telemetry::Telemetry;
use crate::telemetry::happening::Happening;
use crate::telemetry::happening::What;
use crate::telemetry::labels::identity::KeyRefresh;
use crate::telemetry::labels::service::Service;
use crate::telemetry::metrics::IssuerMetrics;

/// The keys of one issuer.
#[derive(Debug)]
pub(in crate::identity) enum Keys {
    /// A file.
    File(FileKeys),
    /// Discovery.
    Discovered(Discovered),
}

impl Keys {
    /// The set in force, if there is one; asks for one if there never was.
    pub(in crate::identity) async fn set(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        match self {
            Self::File(file) => file.set(now),
            Self::Discovered(discovered) => match discovered.set() {
                Some(set) => Some(set),
                None => discovered.refresh().await,
            },
        }
    }

    /// The set after a look for a key it does not have; `None` if there is no use in looking.
    pub(in crate::identity) async fn look_for(&self, id: &str) -> Option<Arc<KeySet>> {
        match self {
            Self::File(_) => None,
            Self::Discovered(discovered) => discovered.look_for(id).await,
        }
    }
}

/// Keys from a file, read again when it changes.
#[derive(Debug)]
pub(in crate::identity) struct FileKeys {
    path: PathBuf,
    demands: Demands,
    set: ArcSwapOption<KeySet>,
    looked: Mutex<(SystemTime, Option<SystemTime>)>,
    news: News,
}

/// Who hears of an issuer's keys, and what was told last.
#[derive(Debug)]
pub(in crate::identity) struct News {
    issuer: String,
    metrics: Box<IssuerMetrics>,
    telemetry: Arc<Telemetry>,
    failed: AtomicBool,
}

impl News {
    /// Of an issuer; `name` is what it is called in the configuration.
    pub(in crate::identity) fn of(issuer: &str, name: &str, telemetry: Arc<Telemetry>) -> Self {
        let metrics = Box::new(telemetry.issuer(name));
        Self { issuer: issuer.to_owned(), metrics, telemetry, failed: AtomicBool::new(false) }
    }

    /// Counts, and tells of keys that are others than before.
    fn good(&self, before: Option<&KeySet>, now: &KeySet) {
        self.failed.store(false, Ordering::Relaxed);
        self.telemetry.found_keys(&self.metrics, now.ids().len());
        let (ids, known) = (now.ids(), before.map(KeySet::ids).unwrap_or_default());
        if ids != known {
            let what = Happening::new(What::KeysChanged, &self.issuer);
            self.telemetry.tell(what.because(format_args!("keys {}", ids.join(" "))));
        }
    }

    /// Counts, and tells of the first of several failures in a row.
    fn failed(&self, result: KeyRefresh, why: &dyn fmt::Display) {
        self.metrics.refreshes.count((result,));
        if !self.failed.swap(true, Ordering::Relaxed) {
            let what = Happening::new(What::KeysFailed, &self.issuer);
            self.telemetry.tell(what.because(why));
        }
    }
}

impl FileKeys {
    /// Reads the file for the first time. If it cannot be read, tokens cannot be judged until it can.
    pub(in crate::identity) fn open(
        path: PathBuf,
        demands: Demands,
        now: SystemTime,
        news: News,
    ) -> Self {
        let looked = Mutex::new((now, modified(&path)));
        let keys = Self { path, demands, set: ArcSwapOption::empty(), looked, news };
        keys.load();
        keys
    }

    fn load(&self) {
        match KeySet::read(&self.path, &self.demands) {
            Ok(set) => {
                self.news.good(self.set.load().as_deref(), &set);
                self.set.store(Some(Arc::new(set)));
            }
            Err(error) => {
                let unread = matches!(error, KeySetError::File(..));
                let result = if unread { KeyRefresh::File } else { KeyRefresh::Parse };
                self.news.failed(result, &error);
                tracing::error!(issuer = %self.demands.issuer, %error, "key set refused: the last good one stays");
            }
        }
    }

    /// Looks at the file at most once a second.
    fn set(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(looked.0).is_ok_and(|since| since >= LOOK_AGAIN) {
            looked.0 = now;
            let found = modified(&self.path);
            if found != looked.1 {
                looked.1 = found;
                self.load();
            }
        }
        drop(looked);
        self.set.load_full()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// Keys found by discovery. Clones are the same keys.
#[derive(Debug, Clone)]
pub(in crate::identity) struct Discovered(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    demands: Demands,
    documents: Documents,
    cooldown: Duration,
    set: ArcSwapOption<KeySet>,
    times: Mutex<Times>,
    flights: Flights<(), ()>,
    absent: Cache<String, Instant>,
    news: News,
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct Times {
    tried: Option<Instant>,
    good: Option<Instant>,
    max_age: Option<Duration>,
}

/// Why no keys came: the word of a closed list, and what happened.
type Failed = (KeyRefresh, String);

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Discovered {
    /// Starts asking, and goes on asking before the set grows old.
    pub(in crate::identity) fn start(
        demands: Demands,
        documents: Documents,
        cooldown: Duration,
        (news, tasks): (News, Tasks),
    ) -> Self {
        let stop = tasks.stop().clone();
        let keys = Self(Arc::new(Inner {
            news,
            demands,
            documents,
            cooldown,
            set: ArcSwapOption::empty(),
            times: Mutex::default(),
            flights: Flights::default(),
            absent: Cache::new(ABSENT),
            tasks,
        }));
        let service = keys.clone();
        keys.0.tasks.serve(Service::JwksRefresh, async move {
            while !stop.is_cancelled() {
                service.refresh().await;
                let _woken = tokio::time::timeout(service.pause(), stop.cancelled()).await;
            }
        });
        keys
    }

    /// Until the next fetch that nobody asked for.
    fn pause(&self) -> Duration {
        let times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        match (times.good, times.max_age) {
            (None, _) => self.0.cooldown,
            (Some(_), age) => age.unwrap_or(USUAL_AGE).clamp(SHORTEST_AGE, LONGEST_AGE),
        }
    }

    fn set(&self) -> Option<Arc<KeySet>> {
        let good = self.0.times.lock().unwrap_or_else(PoisonError::into_inner).good;
        good.filter(|good| good.elapsed() < KEPT).and_then(|_| self.0.set.load_full())
    }

    async fn look_for(&self, id: &str) -> Option<Arc<KeySet>> {
        let now = Instant::now();
        if self.0.absent.get(id).is_some_and(|until| now < until) {
            return None;
        }
        let set = self.refresh().await;
        let missing = set.as_ref().is_none_or(|set| set.find(Some(id)).is_none());
        let good = self.0.times.lock().unwrap_or_else(PoisonError::into_inner).good;
        // only a fetch that began after the question answers it, and until the next one may begin
        if missing && good.is_some_and(|good| good >= now) {
            self.0.absent.insert(id.to_owned(), now + self.0.cooldown);
        }
        set
    }

    /// Fetches, unless somebody did within the cooldown; whoever comes meanwhile waits, for two seconds at most.
    async fn refresh(&self) -> Option<Arc<KeySet>> {
        let (flight, _role) = self.0.flights.board(&(), |landing| {
            let keys = self.clone();
            let running = self.0.tasks.run("key set", async move {
                if keys.is_due() {
                    keys.fetch().await;
                }
                drop(landing);
            });
            async move { running.await.unwrap_or_default() }.boxed()
        });
        let _late = tokio::time::timeout(PATIENCE, flight).await;
        self.set()
    }

    /// The cooldown runs by time alone, after a good fetch and after a bad one.
    fn is_due(&self) -> bool {
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        let due = times.tried.is_none_or(|tried| tried.elapsed() >= self.0.cooldown);
        if due {
            times.tried = Some(Instant::now());
        }
        due
    }

    async fn fetch(&self) {
        match self.ask().await {
            Ok((set, max_age)) => {
                self.0.news.good(self.0.set.load().as_deref(), &set);
                self.0.set.store(Some(Arc::new(set)));
                let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
                (times.good, times.max_age) = (Some(Instant::now()), max_age);
            }
            Err((result, why)) => {
                self.0.news.failed(result, &why);
                let issuer = &self.0.demands.issuer;
                tracing::warn!(%issuer, %why, "key set could not be fetched: the last good one stays");
            }
        }
    }

    /// Discovery, then the key set.
    async fn ask(&self) -> Result<(KeySet, Option<Duration>), Failed> {
        let issuer = &self.0.demands.issuer;
        let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let unusable = |why| (KeyRefresh::Parse, why);
        let found: Discovery = serde_json::from_slice(&self.get(&place).await?.bytes)
            .map_err(|error| unusable(format!("{place}: {error}")))?;
        if found.issuer != *issuer {
            let why = format!("{place} is about {}: set issuer to exactly that", found.issuer);
            return Err(unusable(why));
        }
        let document = self.get(&found.jwks_uri).await?;
        let set = KeySet::parse(&document.bytes, &self.0.demands, Path::new(&found.jwks_uri));
        Ok((set.map_err(|error| unusable(error.to_string()))?, document.max_age))
    }

    async fn get(&self, place: &str) -> Result<Document, Failed> {
        let failed = |result, why: &dyn fmt::Display| (result, format!("{place}: {why}"));
        let url = Url::parse(place).map_err(|error| failed(KeyRefresh::Parse, &error))?;
        let secure = url.scheme() == "https" || self.0.demands.issuer.starts_with("http://");
        if !secure {
            return Err(failed(KeyRefresh::Parse, &"is no https URL"));
        }
        let got = self.0.documents.get(url, DOCUMENT_BYTES, DOCUMENT_TIME).await;
        got.map_err(|error| {
            failed(KeyRefresh::of(error.attempt()), &crate::fault::chain_text(&error))
        })
    }

    /// Tries it once, for `check-config --probe`.
    pub(in crate::identity) async fn probe(&self) -> Result<(), String> {
        self.ask().await.map(|_| ()).map_err(|(_, why)| why)
    }
}

/// How old a look at a key file may be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The last good set is kept so long when nothing can be fetched.
const KEPT: Duration = Duration::from_hours(24);
/// A set without `max-age` is fetched again after that,
const USUAL_AGE: Duration = Duration::from_hours(1);
/// one with it not sooner than that,
const SHORTEST_AGE: Duration = Duration::from_mins(5);
/// and not later.
const LONGEST_AGE: Duration = Duration::from_hours(24);
/// How long a token waits for keys.
const PATIENCE: Duration = Duration::from_secs(2);
/// Key ids that are known not to be there, so that a stranger's do not cost a wait each.
const ABSENT: usize = 1024;
/// A provider's documents are a few kilobytes.
const DOCUMENT_BYTES: usize = 256 * 1024;
/// And come at once.
const DOCUMENT_TIME: Duration = Duration::from_secs(5);
