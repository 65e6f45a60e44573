//! Who does what with news of other nodes: here stations hear what is theirs, without knowing who told it.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::cluster::Bus;
use crate::cluster::message::Message;
use crate::identity::token::revocations::Revocations;
use crate::link::RedisLink;
use crate::policy::overlay::Denies;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;

/// All that hears.
#[derive(Debug)]
pub(in crate::app) struct Ears {
    pub(in crate::app) cache: Arc<Cache>,
    pub(in crate::app) revocations: Arc<Revocations>,
    pub(in crate::app) denies: Denies,
    pub(in crate::app) clock: Arc<dyn Clock>,
}

/// Keeps Redis up, listens to other nodes, and lets the stations hear what is theirs.
pub(in crate::app) fn connect(
    link: Option<RedisLink>,
    ears: Ears,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) {
    let Some(link) = link else { return };
    let bus = Arc::new(Bus::over(link.clone(), Arc::clone(telemetry)));
    let heard = bus.hear();
    let _service = tasks.run("redis link", link.keep(tasks.clone()));
    let _service = tasks.run("cluster bus", bus.keep(tasks.clone()));
    let _service = tasks.run("news", ears.hear(heard, tasks.clone()));
}

impl Ears {
    async fn hear(self, mut heard: Receiver<Message>, tasks: Tasks) {
        loop {
            let next = tokio::select! {
                () = tasks.stop().cancelled() => return,
                next = heard.recv() => next,
            };
            match next {
                Ok(message) => self.act(message, &tasks).await,
                Err(RecvError::Lagged(_)) => self.act(Message::Missed, &tasks).await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// A policy is read from files that each node looks at by itself, and so needs no more than a word in the log.
    async fn act(&self, message: Message, tasks: &Tasks) {
        match message {
            Message::Invalidate(begin) => self.cache.forget(&begin).await,
            Message::Missed => self.cache.distrust().await,
            Message::TokenRevoked { sha256, expires } => self.revocations.hear(&sha256, expires),
            Message::Deny(told) => self.deny(told, tasks).await,
            Message::PolicyRevision(revision) => {
                tracing::info!(revision, "another node has another policy");
            }
        }
    }

    /// Writes it into our own file, which the policy follows.
    async fn deny(&self, told: String, tasks: &Tasks) {
        let (denies, clock) = (self.denies.clone(), Arc::clone(&self.clock));
        let heard = tasks.block("deny", move || denies.hear(&told, clock.as_ref())).await;
        let refused = match heard {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            refused,
            "an emergency deny of another node was not taken over: run modgate deny here"
        );
    }
}
