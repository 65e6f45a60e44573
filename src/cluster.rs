//! # Cluster: what nodes tell each other
//!
//! **Question.** Something changed that other gateways have copies of: an entry was purged, a token taken back, a policy
//! replaced. How do they hear of it, and how do they know that they heard everything?
//!
//! **Rule.** Publishing is a hint, polling is the truth. Whoever has news writes it into a list in Redis under the next
//! generation, and publishes the generation's number. A node reads the list from the generation it has seen, woken by
//! the number or by the clock ([`redis`]). So a message that was lost on the way costs a second, not correctness.
//!
//! **A gap.** If the list does not reach back to what a node has seen (it was away too long, or Redis was emptied), it
//! hears [`Message::Missed`] and distrusts whatever the news may have been about: it forgets what it has in memory.
//!
//! **What lasts.** Tokens that were taken back and emergency denies concern also a node that was down: at its start, and
//! after a gap, it hears those that the list still holds. The list holds the last 1000 pieces of news of every kind, so
//! a node that was away for longer must be told by hand, or be given the files of another one.
//!
//! **A policy** is announced by its digest alone. A node that has another one looks at its own files at once, which
//! matters where they lie on a volume that tells nobody of changes, and says so if they do not hold that policy.
//!
//! **Logs** ([`steps`]). Each node tells how its audit log grew, and keeps what others told and signed: a list for each
//! node, in which every step has its number.
//!
//! **Who hears.** [`Bus::hear`] gives everybody a receiver of their own. Stations do not know the bus, and the bus no
//! station: `app` connects them. A node hears its own news at once, without Redis ([`local`]).
//!
//! **What it refuses.** Text that is no message is skipped, and so is a kind that it does not know: a newer node may
//! speak of things that an older one need not hear. Nothing that is heard allows what the reviewed files do not:
//! nobody who can write into Redis can make a node trust anything. They can make it forget, refuse a token and deny a
//! module, or lift an emergency deny that they know; its audit records the last two.
//!
//! **How it fails.** Without Redis a node is complete alone: it hears itself, and nobody waits. While Redis is down an
//! announcement is an error to whoever announced, who says so; those who listen go on, and catch up afterwards.

mod list;
pub mod local;
pub mod message;
pub mod redis;
pub mod steps;

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::cluster::local::Local;
use crate::cluster::message::Message;
use crate::cluster::redis::Far;
use crate::link::LinkError;
use crate::link::RedisLink;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;

/// Announces and hears.
#[derive(Debug)]
pub struct Bus {
    here: Local,
    far: Option<Far>,
}

impl Bus {
    /// A bus of one node.
    pub fn alone() -> Self {
        Self { here: Local::new(), far: None }
    }

    /// A bus of all nodes that share a Redis.
    pub fn over(link: RedisLink, telemetry: Arc<Telemetry>) -> Self {
        Self { here: Local::new(), far: Some(Far::new(link, telemetry)) }
    }

    /// Tells this node, and then the others; fails if the others cannot be told.
    pub async fn announce(&self, message: Message) -> Result<(), LinkError> {
        self.here.tell(message.clone());
        match &self.far {
            Some(far) => far.tell(&message).await,
            None => Ok(()),
        }
    }

    /// Everything that is announced from now on, here or elsewhere.
    pub fn hear(&self) -> broadcast::Receiver<Message> {
        self.here.hear()
    }

    /// Listens to the other nodes until the gateway stops.
    pub async fn keep(self: Arc<Self>, tasks: Tasks) {
        if let Some(far) = &self.far {
            far.listen(&self.here, &tasks).await;
        }
    }
}
