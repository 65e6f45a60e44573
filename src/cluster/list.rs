//! Texts under numbers that only grow, in Redis: the newest of them are there for whoever comes late.

use crate::link::LinkError;
use crate::link::RedisLink;
use crate::telemetry::labels::RedisGroup;

/// A list of a name.
#[derive(Debug)]
pub(in crate::cluster) struct List {
    link: RedisLink,
    generation: String,
    texts: String,
}

impl List {
    /// The list and its number stand in one slot of a cluster.
    pub(in crate::cluster) fn new(link: RedisLink, name: &str) -> Self {
        let (generation, texts) = (link.key("generation", name), link.key("news", name));
        Self { link, generation, texts }
    }

    /// Adds a text; gives its number.
    pub(in crate::cluster) async fn add(&self, text: &str) -> Result<i64, LinkError> {
        let kept = KEPT.to_string();
        let arguments: [&[u8]; 2] = [text.as_bytes(), kept.as_bytes()];
        self.link.script(ADD, &[&self.generation, &self.texts], &arguments).await?.int()
    }

    /// The number of the newest text; 0 if there never was one.
    pub(in crate::cluster) async fn generation(&self) -> Result<i64, LinkError> {
        let now = match self.link.get(&self.generation).await? {
            Some(bytes) => std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()),
            None => Some(0),
        };
        now.ok_or(LinkError::Form)
    }

    /// Numbers and texts of the newest, newest first.
    pub(in crate::cluster) async fn newest(
        &self,
        count: usize,
    ) -> Result<Vec<(i64, String)>, LinkError> {
        let to = count.saturating_sub(1).to_string();
        let words: [&[u8]; 4] = [b"LRANGE", self.texts.as_bytes(), b"0", to.as_bytes()];
        let listed = self.link.ask(RedisGroup::Get, &words).await?.list()?;
        let mut entries = Vec::with_capacity(listed.len());
        for item in listed {
            let bytes = item.bytes()?.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let (number, text) = text.split_once('|').ok_or(LinkError::Form)?;
            let number: i64 = number.parse().map_err(|_| LinkError::Form)?;
            entries.push((number, text.to_owned()));
        }
        Ok(entries)
    }
}

/// Adds a text under the next number. The first one of a new list is the time, so that a list which was lost is
/// never taken for the one that a node has seen.
const ADD: &str = "
local number
if redis.call('EXISTS', KEYS[1]) == 0 then
  number = redis.call('TIME')[1] * 1000
  redis.call('SET', KEYS[1], string.format('%d', number))
else
  number = redis.call('INCR', KEYS[1])
end
redis.call('LPUSH', KEYS[2], string.format('%d', number) .. '|' .. ARGV[1])
redis.call('LTRIM', KEYS[2], 0, ARGV[2] - 1)
return number
";

/// How many of the newest are found: whoever missed more distrusts what it has.
pub(in crate::cluster) const KEPT: usize = 1000;
