//! One fetch for all nodes: who fetches a key holds a lease of it in Redis, and everybody else waits for the tiers.
//!
//! A lease lives [`LIFE`] and is renewed while its holder works, so a node that dies frees its keys soon. Each lease
//! has a token, higher than those of the key before it; what was fetched under it carries the token, and Redis
//! refuses an answer whose token is not the highest. A fetch that failed leaves a mark for [`MARK`]: those who
//! waited then go on alone, each at once, instead of failing one after the other.
//!
//! **How it fails.** Without Redis, or if it fails, every node fetches for itself. Never does a request fail for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cache::key::Key;
use crate::clock::Clock;
use crate::link::Answer;
use crate::link::LinkError;
use crate::link::RedisLink;
use crate::link::millis;
use crate::tasks::Tasks;
use crate::telemetry::labels::RedisGroup;

/// Takes leases for one node.
#[derive(Debug)]
pub struct Leases {
    link: RedisLink,
    node: String,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
}

/// What became of the wish to fetch.
#[derive(Debug)]
pub(in crate::cache) enum Taken {
    /// It is ours to fetch.
    Ours(Lease),
    /// Somebody else fetches.
    Theirs,
    /// Their fetch failed just now: fetch.
    Alone,
    /// Redis did not say.
    Unknown,
}

/// One node's wish to fetch a key: asked again under the same name, so that an answer that was lost is told again.
#[derive(Debug)]
pub(in crate::cache) struct Wish<'a> {
    key: &'a Key,
    names: Names,
    owner: String,
}

/// A key that is ours to fetch. Ends when it is dropped; unless [`Lease::succeeded`] was called, as a failure.
#[derive(Debug)]
pub struct Lease {
    /// The token of what is fetched under it.
    token: u64,
    end: Option<oneshot::Sender<Ended>>,
}

#[derive(Debug, Clone, Copy)]
enum Ended {
    Well,
    Badly,
}

/// One lease, as everybody sees it.
#[derive(Debug)]
pub struct Held {
    /// Of which key.
    pub key: String,
    /// By which node.
    pub owner: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Its token.
    pub token: u64,
}

impl Leases {
    /// Leases in the name of a node.
    pub fn new(link: RedisLink, node: String, tasks: Tasks, clock: Arc<dyn Clock>) -> Self {
        Self { link, node, tasks, clock }
    }

    /// Whether Redis can be asked at all.
    pub(in crate::cache) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    pub(in crate::cache) fn wish<'a>(&self, key: &'a Key) -> Wish<'a> {
        let nonce = uuid::Uuid::new_v4().simple();
        let owner = format!("{}|{}|{nonce}", self.clock.unix_seconds(), self.node);
        Wish { key, names: Names::of(&self.link, key), owner }
    }

    pub(in crate::cache) async fn take(&self, wish: &Wish<'_>) -> Taken {
        let (life, fence_life) = (millis(LIFE), millis(FENCE_LIFE));
        let arguments: [&[u8]; 3] = [wish.owner.as_bytes(), life.as_bytes(), fence_life.as_bytes()];
        let names = &wish.names;
        let keys = [names.lease.as_str(), &names.fence, &names.mark];
        match self.link.script(TAKE, &keys, &arguments).await.and_then(|answer| answer.int()) {
            Ok(0) => Taken::Theirs,
            Ok(token) => match u64::try_from(token) {
                Ok(token) => Taken::Ours(self.begin(wish.key, names.clone(), token)),
                Err(_marked) => Taken::Alone,
            },
            Err(_down_or_late) => Taken::Unknown,
        }
    }

    fn begin(&self, key: &Key, names: Names, token: u64) -> Lease {
        let (end, ended) = oneshot::channel();
        let (link, key) = (self.link.clone(), key.as_str().to_owned());
        let _running = self.tasks.run("lease", keep(link, key, names, token, ended));
        Lease { token, end: Some(end) }
    }
}

impl Lease {
    /// The token of what is fetched under it.
    pub(in crate::cache) fn token(&self) -> u64 {
        self.token
    }

    /// What was wanted is in the tiers.
    pub fn succeeded(mut self) {
        self.finish(Ended::Well);
    }

    fn finish(&mut self, how: Ended) {
        if let Some(end) = self.end.take() {
            // a task that is gone leaves a lease that runs out by itself
            let _gone = end.send(how);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.finish(Ended::Badly);
    }
}

#[derive(Debug, Clone)]
struct Names {
    lease: String,
    fence: String,
    mark: String,
}

impl Names {
    fn of(link: &RedisLink, key: &Key) -> Self {
        let name = |kind| link.key(kind, key.as_str());
        Self { lease: name("lease"), fence: name("fence"), mark: name("failed") }
    }
}

/// Renews a lease until its holder is done, then gives it back. The list of leases is only for people, so a lease
/// that could not be put on it, or taken off, is no harm.
async fn keep(
    link: RedisLink,
    key: String,
    names: Names,
    token: u64,
    mut ended: oneshot::Receiver<Ended>,
) {
    let (list, token) = (link.key(LIST, "all"), token.to_string());
    let words: [&[u8]; 4] = [b"HSET", list.as_bytes(), key.as_bytes(), token.as_bytes()];
    let _unlisted = link.ask(RedisGroup::Set, &words).await;
    let how = loop {
        match tokio::time::timeout(LIFE / 5, &mut ended).await {
            Ok(how) => break how.unwrap_or(Ended::Badly),
            Err(_due) => {
                let life = millis(LIFE);
                let arguments: [&[u8]; 2] = [token.as_bytes(), life.as_bytes()];
                // a renewal that fails is tried again, several times before the lease runs out
                let _late = link.script(RENEW, &[&names.lease], &arguments).await;
            }
        }
    };
    let mark = if matches!(how, Ended::Badly) { millis(MARK) } else { "0".to_owned() };
    let arguments: [&[u8]; 2] = [token.as_bytes(), mark.as_bytes()];
    let _late = link.script(GIVE_BACK, &[&names.lease, &names.mark], &arguments).await;
    let words: [&[u8]; 3] = [b"HDEL", list.as_bytes(), key.as_bytes()];
    let _unlisted = link.ask(RedisGroup::Del, &words).await;
}

/// Every lease that is held; those on the list that have run out are taken off it.
pub async fn held(link: &RedisLink) -> Result<Vec<Held>, LinkError> {
    let list = link.key(LIST, "all");
    let words: [&[u8]; 2] = [b"HKEYS", list.as_bytes()];
    let keys = link.ask(RedisGroup::Get, &words).await?.list()?;
    let mut found = Vec::new();
    for key in keys.into_iter().filter_map(|key| key.bytes().ok().flatten()) {
        let key = String::from_utf8_lossy(&key).into_owned();
        let lease = link.get(&link.key("lease", &key)).await?;
        if let Some(lease) = lease.and_then(|value| parse(&key, &value)) {
            found.push(lease);
        } else {
            let words: [&[u8]; 3] = [b"HDEL", list.as_bytes(), key.as_bytes()];
            let _gone: Answer = link.ask(RedisGroup::Del, &words).await?;
        }
    }
    found.sort_by(|one, other| one.since.cmp(&other.since).then(one.key.cmp(&other.key)));
    Ok(found)
}

/// `TOKEN|SINCE|NODE|NONCE`.
fn parse(key: &str, value: &[u8]) -> Option<Held> {
    let text = std::str::from_utf8(value).ok()?;
    let (token, rest) = text.split_once('|')?;
    let (since, rest) = rest.split_once('|')?;
    let (owner, _nonce) = rest.split_once('|')?;
    let (token, since) = (token.parse().ok()?, since.parse().ok()?);
    Some(Held { key: key.to_owned(), owner: owner.to_owned(), since, token })
}

/// A token (the same again for the same wish), 0 if somebody has the lease, -1 if their fetch failed just now.
const TAKE: &str = "
if redis.call('EXISTS', KEYS[3]) == 1 then return -1 end
local held = redis.call('GET', KEYS[1])
if held then
  local token = string.match(held, '^%d+')
  if held == token .. '|' .. ARGV[1] then return tonumber(token) end
  return 0
end
local token = redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], token .. '|' .. ARGV[1], 'PX', ARGV[2])
return token
";

/// Prolongs a lease that is still ours.
const RENEW: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+') == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
";

/// Ends a lease that is still ours, and leaves a mark if the fetch failed.
const GIVE_BACK: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  if ARGV[2] ~= '0' then redis.call('SET', KEYS[2], '1', 'PX', ARGV[2]) end
  return 1
end
return 0
";

/// The list of leases, for people.
const LIST: &str = "leases";
/// A lease that nobody renews ends after this: so long is a key without a fetch after its node died.
pub(in crate::cache) const LIFE: Duration = Duration::from_secs(5);
/// How long tokens of a key go on counting: longer than any fetch.
const FENCE_LIFE: Duration = Duration::from_hours(24);
/// How long those who come go on alone after a failed fetch.
const MARK: Duration = Duration::from_secs(2);
