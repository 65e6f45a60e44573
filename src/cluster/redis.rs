//! News through Redis: a list by generations that is polled, and a channel that says when to look.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use crate::cluster::local::Local;
use crate::cluster::message::Message;
use crate::link::LinkError;
use crate::link::RedisLink;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Direction;
use crate::telemetry::labels::RedisGroup;

/// The other nodes.
#[derive(Debug)]
pub(in crate::cluster) struct Far {
    link: RedisLink,
    /// This process: two nodes may have one name.
    me: String,
    telemetry: Arc<Telemetry>,
}

impl Far {
    pub(in crate::cluster) fn new(link: RedisLink, telemetry: Arc<Telemetry>) -> Self {
        Self { link, me: Uuid::new_v4().simple().to_string(), telemetry }
    }

    /// Writes the list, then wakes everybody. That nobody could be woken is no failure: they look anyway.
    pub(in crate::cluster) async fn tell(&self, message: &Message) -> Result<(), LinkError> {
        let (generation, list) = self.names();
        let (text, kept) = (message.write(&self.me), KEPT_MESSAGES.to_string());
        let arguments: [&[u8]; 2] = [text.as_bytes(), kept.as_bytes()];
        let said = self.link.script(TELL, &[&generation, &list], &arguments).await?;
        let number = said.int()?.to_string();
        if let Some(news) = message.news() {
            self.telemetry.redis().news.count((news, Direction::Sent));
        }
        let _unheard = self.link.publish(CHANNEL, number.as_bytes()).await;
        Ok(())
    }

    /// Looks when it is woken, and every [`POLL`].
    pub(in crate::cluster) async fn listen(&self, here: &Local, tasks: &Tasks) {
        let (stop, mut seen) = (tasks.stop(), None);
        self.begin(&mut seen, here, tasks).await;
        while !stop.is_cancelled() {
            // without the channel the clock alone wakes us
            let mut woken = self.link.subscribe(CHANNEL).await.ok();
            loop {
                if let Err(error) = self.catch_up(&mut seen, here).await {
                    tracing::debug!(%error, "news cannot be read just now");
                }
                let is_heard = wait(woken.as_mut(), tasks).await;
                if !is_heard || stop.is_cancelled() {
                    break;
                }
            }
        }
    }

    /// Learns from which generation on there is news. Redis may be down for a while: what was told meanwhile about
    /// things that this node has looked up since its start is missed.
    async fn begin(&self, seen: &mut Option<i64>, here: &Local, tasks: &Tasks) {
        let mut waited = Duration::ZERO;
        while self.catch_up(seen, here).await.is_err() && !tasks.stop().is_cancelled() {
            let _stopped = tokio::time::timeout(FIRST_LOOK, tasks.stop().cancelled()).await;
            waited += FIRST_LOOK;
        }
        if waited > POLL {
            here.tell(Message::Missed);
        }
    }

    /// Reads what came after the generation that was seen last.
    async fn catch_up(&self, seen: &mut Option<i64>, here: &Local) -> Result<(), LinkError> {
        let (generation, list) = self.names();
        let now = match self.link.get(&generation).await? {
            Some(bytes) => std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()),
            None => Some(0),
        };
        let now: i64 = now.ok_or(LinkError::Form)?;
        let Some(last) = seen.replace(now) else {
            // at the start there is nothing that could be out of date, but what was taken away stays so
            let recalled = self.recall(&list, here).await;
            if recalled.is_err() {
                *seen = None;
            }
            return recalled;
        };
        if now == last {
            return Ok(());
        }
        let news = match self.read(&list, last, now).await {
            Ok(news) => news,
            Err(error) => {
                *seen = Some(last);
                return Err(error);
            }
        };
        let Some(news) = news else {
            if let Err(error) = self.recall(&list, here).await {
                *seen = Some(last);
                return Err(error);
            }
            self.telemetry.redis().gaps.count(());
            tracing::warn!(event_name = "cluster_gap", "news was missed: distrusting memory");
            here.tell(Message::Missed);
            return Ok(());
        };
        for (message, from) in news.iter().filter_map(|text| Message::read(text)) {
            self.pass_on(message, &from, here);
        }
        Ok(())
    }

    /// Passes on again what lasts of all that is in the list, oldest first.
    async fn recall(&self, list: &str, here: &Local) -> Result<(), LinkError> {
        let mut listed = self.listed(list, KEPT_MESSAGES).await?;
        listed.reverse();
        for (message, from) in listed.iter().filter_map(|(_, text)| Message::read(text)) {
            if message.lasts() {
                self.pass_on(message, &from, here);
            }
        }
        Ok(())
    }

    /// The texts of the generations after `last`, oldest first; `None` if some are no longer there.
    async fn read(
        &self,
        list: &str,
        last: i64,
        now: i64,
    ) -> Result<Option<Vec<String>>, LinkError> {
        // there was no list when we last looked: all of it is news
        let wanted = if last == 0 { Some(KEPT_MESSAGES) } else { usize::try_from(now - last).ok() };
        let Some(count) = wanted.filter(|count| *count <= KEPT_MESSAGES) else { return Ok(None) };
        // news that comes between our two questions stands before what we want
        let mut listed = self.listed(list, count + BETWEEN).await?;
        listed.retain(|(number, _)| (last + 1..=now).contains(number));
        let news: Vec<String> = listed.into_iter().rev().map(|(_, text)| text).collect();
        let is_whole = news.len() == count || (last == 0 && news.len() < KEPT_MESSAGES);
        Ok(is_whole.then_some(news))
    }

    /// Generation and text of the newest entries, newest first.
    async fn listed(&self, list: &str, count: usize) -> Result<Vec<(i64, String)>, LinkError> {
        let to = count.saturating_sub(1).to_string();
        let words: [&[u8]; 4] = [b"LRANGE", list.as_bytes(), b"0", to.as_bytes()];
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

    fn pass_on(&self, message: Message, from: &str, here: &Local) {
        if from == self.me {
            return;
        }
        if let Some(news) = message.news() {
            self.telemetry.redis().news.count((news, Direction::Received));
        }
        here.tell(message);
    }

    fn names(&self) -> (String, String) {
        (self.link.key("generation", BUS), self.link.key("news", BUS))
    }
}

/// Waits for a word, for a while, or for the end; tells whether the channel can still be heard.
async fn wait(woken: Option<&mut BoxStream<'static, Bytes>>, tasks: &Tasks) -> bool {
    let Some(stream) = woken else {
        let _stopped = tokio::time::timeout(POLL, tasks.stop().cancelled()).await;
        return false;
    };
    tokio::select! {
        () = tasks.stop().cancelled() => true,
        () = tokio::time::sleep(POLL) => true,
        next = stream.next() => next.is_some(),
    }
}

/// Adds news under the next generation. The first one of a new list is the time, so that a list which was lost is
/// never taken for the one that a node has seen.
const TELL: &str = "
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

/// The name of generation and list; both stand in one slot of a cluster.
const BUS: &str = "bus";
/// The channel that wakes.
const CHANNEL: &str = "bus";
/// How long news is found in the list: a node that missed more distrusts everything.
const KEPT_MESSAGES: usize = 1000;
/// More than are told in one round trip.
const BETWEEN: usize = 20;
/// How often a node that has just started tries to learn where the news is.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// So late does a node hear of what was not published to it.
const POLL: Duration = Duration::from_secs(1);
