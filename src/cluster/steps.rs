//! What nodes tell each other of their logs: a list of texts for each node, and beside it what its witnesses signed.

use crate::cluster::list::KEPT;
use crate::cluster::list::List;
use crate::link::LinkError;
use crate::link::RedisLink;
use crate::telemetry::labels::RedisGroup;

/// The lists of all nodes.
#[derive(Debug)]
pub struct Steps {
    link: RedisLink,
}

impl Steps {
    /// The lists in a Redis.
    pub fn over(link: RedisLink) -> Self {
        Self { link }
    }

    /// Tells a step of one's own log.
    pub async fn tell(&self, node: &str, step: &str) -> Result<(), LinkError> {
        self.of(node).add(step).await?;
        let nodes = self.link.key("nodes", LOGS);
        let words: [&[u8]; 3] = [b"SADD", nodes.as_bytes(), node.as_bytes()];
        self.link.ask(RedisGroup::Set, &words).await.map(|_| ())
    }

    /// The nodes that told steps.
    pub async fn nodes(&self) -> Result<Vec<String>, LinkError> {
        let nodes = self.link.key("nodes", LOGS);
        let words: [&[u8]; 2] = [b"SMEMBERS", nodes.as_bytes()];
        texts(self.link.ask(RedisGroup::Get, &words).await?.list()?)
    }

    /// The steps of a node after a number, with their numbers, oldest first.
    pub async fn after(&self, node: &str, number: i64) -> Result<Vec<(i64, String)>, LinkError> {
        let list = self.of(node);
        let now = list.generation().await?;
        // numbers only grow: if this one does not, the list is another one
        let number = if number > now { 0 } else { number };
        let new = usize::try_from(now.saturating_sub(number)).unwrap_or(KEPT);
        if new == 0 {
            return Ok(Vec::new());
        }
        // what was told between our two questions comes next time
        let mut steps = list.newest(new.saturating_add(BETWEEN).min(KEPT)).await?;
        steps.retain(|(known, _)| *known > number && *known <= now);
        steps.reverse();
        Ok(steps)
    }

    /// The step that a node told last.
    pub async fn last(&self, node: &str) -> Result<Option<String>, LinkError> {
        Ok(self.of(node).newest(1).await?.pop().map(|(_, step)| step))
    }

    /// Keeps the newest note of a node that a witness signed.
    pub async fn cosigned(&self, node: &str, witness: &str, note: &str) -> Result<(), LinkError> {
        let signed = self.link.key("witnessed", node);
        let words: [&[u8]; 4] = [b"HSET", signed.as_bytes(), witness.as_bytes(), note.as_bytes()];
        self.link.ask(RedisGroup::Set, &words).await.map(|_| ())
    }

    /// The newest note of a node that each of its witnesses signed.
    pub async fn witnessed(&self, node: &str) -> Result<Vec<String>, LinkError> {
        let signed = self.link.key("witnessed", node);
        let words: [&[u8]; 2] = [b"HVALS", signed.as_bytes()];
        texts(self.link.ask(RedisGroup::Get, &words).await?.list()?)
    }

    fn of(&self, node: &str) -> List {
        List::new(self.link.clone(), &format!("{LOGS}/{node}"))
    }
}

fn texts(answers: Vec<crate::link::Answer>) -> Result<Vec<String>, LinkError> {
    let text = |answer: crate::link::Answer| {
        let bytes = answer.bytes()?.ok_or(LinkError::Form)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    answers.into_iter().map(text).collect()
}

/// More than are told in one round trip.
const BETWEEN: usize = 4;
/// What the lists are called.
const LOGS: &str = "logs";
