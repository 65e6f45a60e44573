//! What must never be allowed, or always: held against paths and versions that are made from all rows of the policy, so
//! that it does not depend on what an author thought of.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::identity::caller::Caller;
use crate::policy::gates::Circumstances;
use crate::policy::representatives;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot::Asker;
use crate::policy::snapshot::Snapshot;
use crate::policy::suite::somebody;
use crate::telemetry::labels::Decision;

/// `[[never_allow]]` or `[[always_allow]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy::suite) struct Invariant {
    pub(in crate::policy::suite) name: String,
    #[serde(default = "somebody")]
    caller: String,
    #[serde(default)]
    groups: Vec<String>,
    /// Prefixes; everything below them is meant, also in other letter case.
    modules: Vec<String>,
    /// Words of actions; `read` for the three of it.
    actions: Vec<String>,
}

impl Invariant {
    /// The first decision that breaks it; or why it makes no sense.
    pub(in crate::policy::suite) fn check(
        &self,
        snapshot: &Snapshot,
        wanted: Decision,
    ) -> Result<Option<String>, String> {
        let prefixes: Result<Vec<Prefix>, _> =
            self.modules.iter().map(|text| Prefix::parse(text)).collect();
        let prefixes = prefixes.map_err(|error| error.to_string())?;
        let caller = Arc::new(Caller::imagined(&self.caller, self.groups.clone()));
        let source = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let circumstances = Circumstances { source, now: SystemTime::UNIX_EPOCH };
        let asker = Asker { realm: caller.realm(), circumstances };
        let subjects = snapshot.subjects(&caller);
        let mut paths = representatives::paths(snapshot.rules.iter(), &snapshot.private);
        paths.extend(self.modules.iter().flat_map(|path| [path.clone(), format!("{path}/below")]));
        let case = if wanted == Decision::Allow { Case::Exact } else { Case::Folded };
        paths.retain(|path| prefixes.iter().any(|prefix| prefix.covers(path, case)));
        let actions = self.actions()?;
        for path in &paths {
            let versions = representatives::versions(snapshot.about(path).map(|(_, rule)| rule));
            for action in actions.iter().copied() {
                for version in &versions {
                    let question = Question { name: path, version, action };
                    if (action == Action::List) != version.is_empty() {
                        continue;
                    }
                    let (verdict, _) = snapshot.judge(&subjects, question, asker);
                    let allowed = verdict.decision == Decision::Allow;
                    if allowed != (wanted == Decision::Allow) {
                        let rule = verdict.rule.and_then(|place| Some(snapshot.told(place)?.id));
                        let rule = rule.as_deref().unwrap_or("none").to_owned();
                        let word = if allowed { "allowed" } else { "not allowed" };
                        let at = if version.is_empty() { "" } else { "@" };
                        return Ok(Some(format!(
                            "{} of {path}{at}{version} is {word} (rule {rule})",
                            action.word()
                        )));
                    }
                }
            }
        }
        Ok(None)
    }

    fn actions(&self) -> Result<BTreeSet<Action>, String> {
        let mut actions = BTreeSet::new();
        for word in &self.actions {
            match (word.as_str(), Action::of(word)) {
                ("read", _) => actions.extend([Action::List, Action::Download, Action::Sumdb]),
                (_, Some(action)) => {
                    actions.insert(action);
                }
                (other, None) => return Err(format!("{other} is no action")),
            }
        }
        Ok(actions)
    }
}
