//! Who does what with news of other nodes: here stations hear what is theirs, without knowing who told it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::cluster::Bus;
use crate::cluster::message::Message;
use crate::gateway::Gateway;
use crate::identity::token::revocations::Revocations;
use crate::link::RedisLink;
use crate::policy::overlay::Denies;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::policy::ReloadSource;
use crate::telemetry::labels::service::Service;

/// All that hears.
#[derive(Debug)]
pub(in crate::app) struct Ears {
    pub(in crate::app) cache: Arc<Cache>,
    pub(in crate::app) revocations: Arc<Revocations>,
    pub(in crate::app) denies: Denies,
    pub(in crate::app) gateway: Arc<Gateway>,
    pub(in crate::app) policies: Arc<Policies>,
    pub(in crate::app) clock: Arc<dyn Clock>,
}

/// What is known of other nodes' policies.
#[derive(Debug, Default)]
pub(in crate::app) struct Policies {
    /// The revision heard last.
    heard: Mutex<String>,
    /// Whether a look at our own files is under way for it.
    looking: AtomicBool,
}

impl Policies {
    fn heard(&self) -> String {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps Redis up, listens to other nodes, lets the stations hear what is theirs, and tells others of a new policy.
pub(in crate::app) fn connect(
    link: Option<RedisLink>,
    ears: Ears,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) {
    let Some(link) = link else { return };
    let bus = Arc::new(Bus::over(link.clone(), Arc::clone(telemetry)));
    let (heard, policies) = (bus.hear(), ears.gateway.follow_policy());
    let known = Arc::clone(&ears.policies);
    tasks.serve(Service::RedisLink, link.keep(tasks.clone()));
    tasks.serve(Service::PolicyNews, tell(Arc::clone(&bus), policies, known, tasks.clone()));
    tasks.serve(Service::ClusterBus, bus.keep(tasks.clone()));
    tasks.serve(Service::ClusterNews, ears.hear(heard, tasks.clone()));
}

/// Announces each policy that comes into force here, unless another node did: the list of news is short, and what lasts
/// stands in it too.
async fn tell(
    bus: Arc<Bus>,
    mut policies: watch::Receiver<Arc<str>>,
    known: Arc<Policies>,
    tasks: Tasks,
) {
    loop {
        let next = tokio::select! {
            () = tasks.stop().cancelled() => return,
            next = policies.changed() => next,
        };
        if next.is_err() {
            return;
        }
        let revision = policies.borrow_and_update().to_string();
        if known.heard() == revision {
            continue;
        }
        if let Err(error) = bus.announce(Message::PolicyRevision(revision)).await {
            // they look at their files by themselves, only later
            tracing::warn!(%error, "other nodes could not be told of the new policy");
        }
    }
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

    async fn act(&self, message: Message, tasks: &Tasks) {
        match message {
            Message::Invalidate(begin) => self.cache.forget(&begin).await,
            Message::Missed => self.cache.distrust().await,
            Message::TokenRevoked { sha256, expires } => self.revocations.hear(&sha256, expires),
            Message::Deny(told) => self.deny(told, tasks).await,
            Message::PolicyRevision(revision) => self.look(revision, tasks),
        }
    }

    /// Looks at the policy's own files if another node has a policy that this one has not: nothing is taken from the
    /// other node but the word. Other news does not wait for it; a word that comes meanwhile is only remembered.
    fn look(&self, revision: String, tasks: &Tasks) {
        let policies = Arc::clone(&self.policies);
        policies.heard.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&revision);
        let gateway = Arc::clone(&self.gateway);
        if *gateway.policy_revision() == *revision || policies.looking.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let _look = tasks.run("policy look", async move {
            let _told = gateway.reload_policy(ReloadSource::Cluster).await;
            policies.looking.store(false, Ordering::Release);
            let here = gateway.policy_revision();
            if *here != *policies.heard() {
                tracing::warn!(revision, %here, "another node has another policy, which is not in the files of this one");
            }
        });
    }

    /// Writes it into our own file, which the policy follows.
    async fn deny(&self, told: String, tasks: &Tasks) {
        let (denies, clock) = (self.denies.clone(), Arc::clone(&self.clock));
        let heard = tasks.block("deny", move || denies.hear(&told, clock.as_ref())).await;
        let refused = match heard {
            Ok(Ok(_)) => {
                let _told = self.gateway.reload_denies(ReloadSource::Cluster).await;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            refused,
            "an emergency deny of another node was not taken over: run modgate deny here"
        );
    }
}
