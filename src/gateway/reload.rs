//! A new policy, while requests are answered: the look at its files, and what metrics, log and audit say of it.
//!
//! The audit is not asked for leave: a new policy may be an emergency deny, and a full disk must not keep a right alive that
//! was taken away. While nothing can be recorded nothing private is served anyway; the record of the change waits in the
//! audit's queue and comes before the first body that is let in again.

use std::sync::Arc;

use tokio::sync::watch;

use crate::audit::act::Act;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::gateway::Gateway;
use crate::policy::Change;
use crate::policy::overlay::Deny;
use crate::policy::reload::Activated;
use crate::policy::reload::Rejected;
use crate::policy::reload::Reload;
use crate::tasks::TaskGone;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::policy::PolicyReload;
use crate::telemetry::labels::policy::ReloadSource;

impl Gateway {
    /// Looks at the policy's files and takes what changed, if it is good; the last good one stays in force otherwise.
    ///
    /// Cancel safety: dropping the future does not stop the look.
    pub async fn reload_policy(self: &Arc<Self>, source: ReloadSource) -> Result<Reload, TaskGone> {
        let gateway = Arc::clone(self);
        self.tasks.block("policy", move || gateway.reload_policy_now(source)).await
    }

    /// The same, blocking.
    pub fn reload_policy_now(&self, source: ReloadSource) -> Reload {
        let reload = self.policy.reload(self.clock.as_ref());
        self.tell_reload(&reload, source);
        reload
    }

    /// Looks at the emergency denies alone: they wait for no look at the rules.
    ///
    /// Cancel safety: dropping the future does not stop the look.
    pub async fn reload_denies(self: &Arc<Self>, source: ReloadSource) -> Result<(), TaskGone> {
        let gateway = Arc::clone(self);
        let look = move || {
            let reload = gateway.policy.reload_denies(gateway.clock.as_ref());
            gateway.tell_reload(&reload, source);
        };
        self.tasks.block("denies", look).await
    }

    fn tell_reload(&self, reload: &Reload, source: ReloadSource) {
        let metrics = self.telemetry.metrics();
        let result = match (reload.rejected.first(), reload.activated.first()) {
            (Some(rejected), _) => rejected.step,
            (None, Some(_)) => PolicyReload::Success,
            (None, None) => PolicyReload::Unchanged,
        };
        metrics.policy_reloads.count((source, result));
        self.behind.store(reload.behind.clone().map(Arc::new));
        for activated in &reload.activated {
            self.tell_activated(activated, source);
        }
        self.revision.send_if_modified(|told| {
            let now = self.policy.revision();
            let before = std::mem::replace(told, now);
            before != *told
        });
        for rejected in &reload.rejected {
            self.tell_rejected(rejected, source);
        }
        metrics.policy_last_reload_success.set((), f64::from(u8::from(self.behind().is_none())));
        match &reload.candidate {
            Some(Ok(revision)) => {
                tracing::info!(%revision, "a candidate policy is observed; it decides nothing");
            }
            Some(Err(problems)) => tracing::warn!(
                problem = problems.first().map(String::as_str),
                problems = problems.len(),
                "the candidate policy cannot be observed"
            ),
            None => {}
        }
    }

    /// What is wrong with the policy's files, if they are not what is in force.
    pub fn behind(&self) -> Option<Arc<Rejected>> {
        self.behind.load_full()
    }

    /// Hears of each policy that comes into force from now on, by its digest.
    pub fn follow_policy(&self) -> watch::Receiver<Arc<str>> {
        self.revision.subscribe()
    }

    /// The digest of the policy in force.
    pub fn policy_revision(&self) -> Arc<str> {
        self.policy.revision()
    }

    /// Makes a sample of recent decisions again over all rows, and tells of every difference.
    ///
    /// Cancel safety: dropping the future does not stop it.
    pub async fn crosscheck_policy(self: &Arc<Self>) -> Result<(), TaskGone> {
        let policy = Arc::clone(&self.policy);
        let differing = self.tasks.block("policy", move || policy.crosscheck()).await?;
        for _one in 0..differing {
            self.telemetry.metrics().policy_crosscheck_mismatches.count(());
        }
        if differing > 0 {
            tracing::error!(
                differing,
                "decisions over the index differ from Casbin over all rows: the index is not used until the next start; please report it"
            );
        }
        Ok(())
    }

    fn tell_activated(&self, activated: &Activated, source: ReloadSource) {
        let Activated { old, new, rules, denies, changes, findings, expectations, past } =
            activated;
        let now = self.clock.unix_seconds();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.telemetry.metrics().policy_last_reload_success_timestamp.set((), now as f64);
        tracing::info!(revision = %new, %old, rules, denies = denies.len(), changes = changes.len(), "a policy is in force");
        for finding in findings {
            tracing::warn!(%finding, "the policy in force has an oddity");
        }
        let act = Act::new(Name::PolicyActivate, Outcome::Allowed)
            .with("policy", &**new)
            .with("before", &**old)
            .with("source", source.text())
            .with("rules", rules.to_string())
            .with("emergency_denies", denies.len().to_string())
            .with("expectations", expectations.to_string())
            .with("kept", format!("sha256:{}", past.sum()))
            .with("changes", told(changes));
        let given = denies.iter().filter(|deny| {
            changes.iter().any(|change| change.id == deny.id && change.what == "added")
        });
        let given: Vec<String> = given.take(CHANGES).map(ToString::to_string).collect();
        let act = if given.is_empty() { act } else { act.with("denied", given.join("; ")) };
        self.accounts.administer(act);
        self.tell_denies(activated, source);
        self.desk.keep_policy(&past.revision, &past.text);
    }

    /// Each emergency deny has an event of its own when it begins, and when it is over.
    fn tell_denies(
        &self,
        Activated { new, denies, changes, .. }: &Activated,
        source: ReloadSource,
    ) {
        let emergency = |change: &&Change| change.kind == "rule" && Deny::is_id(&change.id);
        for change in changes.iter().filter(emergency) {
            let held = denies.iter().find(|deny| deny.id == change.id);
            let act = Act::new(Name::PolicyDeny, Outcome::Allowed)
                .with("policy", &**new)
                .with("source", source.text())
                .with("id", &*change.id)
                .with("what", if held.is_some() { "in force" } else { "over" });
            let told = held.map(ToString::to_string);
            self.accounts.administer(match told {
                Some(told) => act.with("denied", told),
                None => act,
            });
        }
    }

    fn tell_rejected(&self, Rejected { step, problems }: &Rejected, source: ReloadSource) {
        let first = problems.first().map(String::as_str).unwrap_or_default();
        let in_force = self.policy.revision();
        tracing::error!(
            step = step.text(), problems = problems.len(), %in_force,
            "the policy's files were refused, and what was in force stays: {first}"
        );
        let act = Act::new(Name::PolicyReject, Outcome::Failed)
            .with("policy", &*in_force)
            .with("source", source.text())
            .with("step", step.text())
            .with("problems", problems.len().to_string())
            .with("first", first);
        self.accounts.administer(act);
    }
}

/// The first changes, and how many more there are.
fn told(changes: &[Change]) -> String {
    let mut words: Vec<String> = changes.iter().take(CHANGES).map(ToString::to_string).collect();
    if changes.len() > CHANGES {
        words.push(format!("and {} more", changes.len() - CHANGES));
    }
    words.join("; ")
}

/// The first policy adds every row it has; an event is read by people.
const CHANGES: usize = 32;
