//! Who tells other nodes how our log grows, and who signs theirs: the audit judges, the cluster carries, and here they meet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::audit::act::Act;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::witness::register::Looked;
use crate::audit::witness::register::Register;
use crate::audit::witness::step::Step;
use crate::audit::witness::step::Told;
use crate::cluster::steps::Steps;
use crate::gateway::account::Accounts;
use crate::link::LinkError;
use crate::tasks::Tasks;
use crate::telemetry::labels::audit::Witnessed;
use crate::telemetry::labels::service::Service;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::Note;

/// One node among others: what it tells, and what it keeps of them.
#[derive(Debug)]
pub(in crate::app) struct Node {
    /// This node's name.
    pub(in crate::app) name: String,
    pub(in crate::app) steps: Steps,
    pub(in crate::app) register: Arc<Register>,
    pub(in crate::app) accounts: Arc<Accounts>,
    pub(in crate::app) tasks: Tasks,
}

impl Node {
    /// Tells steps, and looks at those of others, until the gateway stops.
    pub(in crate::app) fn run(self, told: mpsc::Receiver<Told>) {
        let (tasks, node) = (self.tasks.clone(), Arc::new(self));
        tasks.serve(Service::AuditSteps, Arc::clone(&node).tell(told));
        tasks.serve(Service::AuditWitness, node.watch());
    }

    /// Tells each step in turn, however long it takes: a step that is missing is a gap for every witness. Ends with the
    /// gateway.
    async fn tell(self: Arc<Self>, mut told: mpsc::Receiver<Told>) -> Option<()> {
        let last = loop {
            match self.last().await {
                Ok(last) => break last,
                Err(error) => self.pause(&error).await?,
            }
        };
        let mut waiting = None;
        loop {
            let Told { step, again } = self.or_stop(told.recv()).await??;
            match (again, last) {
                // a new list, or one that was lost: the newest of them is enough to go on from
                (true, None) => {
                    waiting = Some(step);
                    continue;
                }
                // the boot before told most of its steps itself
                (true, Some(last)) if size(&step.note) <= last => continue,
                (true, Some(_)) | (false, _) => {}
            }
            for step in waiting.take().into_iter().chain([step]) {
                let text = step.write();
                while let Err(error) = self.steps.tell(&self.name, &text).await {
                    self.pause(&error).await?;
                }
                self.measure(size(&step.note)).await;
            }
        }
    }

    /// How many records the step counted that this node told last, if it is there.
    async fn last(&self) -> Result<Option<u64>, LinkError> {
        let last = self.steps.last(&self.name).await?;
        Ok(last.and_then(|text| Step::read(&text)).map(|step| size(&step.note)))
    }

    /// How many records no other node has signed yet.
    async fn measure(&self, now: u64) {
        let Ok(signed) = self.steps.witnessed(&self.name).await else { return };
        let most = signed.iter().map(|note| size(note)).max().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let lag = now.saturating_sub(most) as f64;
        self.tasks.telemetry().metrics().audit_witness_lag.set((), lag);
    }

    async fn watch(self: Arc<Self>) {
        // what is wrong with whom: told when it begins
        let mut wrong = BTreeMap::new();
        loop {
            if let Err(error) = self.look_around(&mut wrong).await {
                tracing::debug!(%error, "other nodes' logs cannot be looked at just now");
            }
            if self.or_stop(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    async fn look_around(&self, wrong: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
        let told = self.steps.nodes().await?;
        let register = Arc::clone(&self.register);
        let known = self.tasks.block("witness", move || register.nodes()).await??;
        // whoever can write into Redis can invent nodes: those that are known come first
        let mut nodes: Vec<String> =
            told.into_iter().filter(|node| *node != self.name && is_name(node)).collect();
        nodes.sort_by_key(|node| !known.contains(node));
        nodes.truncate(NODES);
        wrong.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let Err(error) = self.look_at(&node).await else {
                wrong.remove(&node);
                continue;
            };
            let error = error.to_string();
            if wrong.get(&node) != Some(&error) {
                tracing::warn!(node, error, "the log of another node cannot be looked at");
                wrong.insert(node, error);
            }
        }
        Ok(())
    }

    async fn look_at(&self, node: &str) -> anyhow::Result<()> {
        let (register, name) = (Arc::clone(&self.register), node.to_owned());
        let seen = self.tasks.block("witness", move || register.seen(&name)).await??;
        for (number, text) in self.steps.after(node, seen).await? {
            let (register, name) = (Arc::clone(&self.register), node.to_owned());
            let look = move || register.look(&name, number, &text);
            let looked = self.tasks.block("witness", look).await??;
            self.act(node, looked).await?;
        }
        Ok(())
    }

    async fn act(&self, node: &str, looked: Looked) -> Result<(), LinkError> {
        let metrics = self.tasks.telemetry().metrics();
        match looked {
            Looked::Signed(how, note, former) => {
                metrics.audit_witnessed.count((how,));
                if let Some(former) = former {
                    let why = "steps of this log were missed: the note before is kept, and modgate audit verify --checkpoints compares it with the records";
                    tracing::warn!(node, "{why}");
                    let act = Act::new(Name::AuditVerify, Outcome::Failed).with("node", node);
                    self.accounts.administer(act.with("why", why).with("note", former));
                }
                self.steps.cosigned(node, &self.name, &note).await
            }
            Looked::Repeated => {
                metrics.audit_witnessed.count((Witnessed::Repeated,));
                Ok(())
            }
            Looked::Refused { why, again } => {
                metrics.audit_witnessed.count((Witnessed::Refused,));
                if !again {
                    tracing::error!(
                        node,
                        why,
                        "the audit log of another node is not signed by this witness"
                    );
                    let act = Act::new(Name::AuditVerify, Outcome::Failed);
                    self.accounts.administer(act.with("node", node).with("why", why));
                }
                Ok(())
            }
        }
    }

    async fn pause(&self, error: &LinkError) -> Option<()> {
        tracing::debug!(%error, "a step of the audit log could not be told");
        self.or_stop(tokio::time::sleep(AGAIN)).await
    }

    async fn or_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.tasks.stop().cancelled() => None,
            done = work => Some(done),
        }
    }
}

/// How many records a note counts; 0 if it is none.
fn size(note: &str) -> u64 {
    let told = Note::parse(note).ok().and_then(|note| Checkpoint::parse(&note.text));
    told.map_or(0, |told| told.size)
}

/// Whether it can be the name of a node, and so part of a file's name.
fn is_name(node: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !node.is_empty() && node.len() <= NAME_BYTES && node.bytes().all(plain)
}

/// As long as a name may be in the configuration.
const NAME_BYTES: usize = 64;
/// More nodes than share one Redis.
const NODES: usize = 256;
/// How often other nodes' logs are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How soon a step that could not be told is told again.
const AGAIN: Duration = Duration::from_secs(1);
