//! News through Redis: a list by generations that is polled, and a channel that says when to look.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use crate::cluster::list::KEPT;
use crate::cluster::list::List;
use crate::cluster::local::Local;
use crate::cluster::message::Message;
use crate::link::LinkError;
use crate::link::RedisLink;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Direction;

/// The other nodes.
#[derive(Debug)]
pub(in crate::cluster) struct Far {
    link: RedisLink,
    list: List,
    /// This process: two nodes may have one name.
    me: String,
    telemetry: Arc<Telemetry>,
}

impl Far {
    pub(in crate::cluster) fn new(link: RedisLink, telemetry: Arc<Telemetry>) -> Self {
        let list = List::new(link.clone(), BUS);
        Self { link, list, me: Uuid::new_v4().simple().to_string(), telemetry }
    }

    /// Writes the list, then wakes everybody. That nobody could be woken is no failure: they look anyway.
    pub(in crate::cluster) async fn tell(&self, message: &Message) -> Result<(), LinkError> {
        let number = self.list.add(&message.write(&self.me)).await?.to_string();
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
        let now = self.list.generation().await?;
        let Some(last) = seen.replace(now) else {
            // at the start there is nothing that could be out of date, but what was taken away stays so
            let recalled = self.recall(here).await;
            if recalled.is_err() {
                *seen = None;
            }
            return recalled;
        };
        if now == last {
            return Ok(());
        }
        let news = match self.read(last, now).await {
            Ok(news) => news,
            Err(error) => {
                *seen = Some(last);
                return Err(error);
            }
        };
        let Some(news) = news else {
            if let Err(error) = self.recall(here).await {
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
    async fn recall(&self, here: &Local) -> Result<(), LinkError> {
        let mut listed = self.list.newest(KEPT).await?;
        listed.reverse();
        for (message, from) in listed.iter().filter_map(|(_, text)| Message::read(text)) {
            if message.lasts() {
                self.pass_on(message, &from, here);
            }
        }
        Ok(())
    }

    /// The texts of the generations after `last`, oldest first; `None` if some are no longer there.
    async fn read(&self, last: i64, now: i64) -> Result<Option<Vec<String>>, LinkError> {
        // there was no list when we last looked: all of it is news
        let wanted = if last == 0 { Some(KEPT) } else { usize::try_from(now - last).ok() };
        let Some(count) = wanted.filter(|count| *count <= KEPT) else { return Ok(None) };
        // news that comes between our two questions stands before what we want
        let mut listed = self.list.newest(count + BETWEEN).await?;
        listed.retain(|(number, _)| (last + 1..=now).contains(number));
        let news: Vec<String> = listed.into_iter().rev().map(|(_, text)| text).collect();
        let is_whole = news.len() == count || (last == 0 && news.len() < KEPT);
        Ok(is_whole.then_some(news))
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

/// The name of the list.
const BUS: &str = "bus";
/// The channel that wakes.
const CHANNEL: &str = "bus";
/// More than are told in one round trip.
const BETWEEN: usize = 20;
/// How often a node that has just started tries to learn where the news is.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// So late does a node hear of what was not published to it.
const POLL: Duration = Duration::from_secs(1);
