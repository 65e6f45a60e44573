//! Expectations: what a policy is meant to do, and what it must never do, run against it.

mod invariant;
mod report;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

use crate::goproxy::path::ModulePath;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::LoadError;
use crate::policy::Settings;
use crate::policy::decision::Verdict;
use crate::policy::draft::Draft;
use crate::policy::gates;
use crate::policy::gates::Circumstances;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot::Asker;
use crate::policy::snapshot::Snapshot;
use crate::policy::suite::invariant::Invariant;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;

/// A suite that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A file that is no suite.
    #[error("{0}")]
    Format(String),
    /// The policy itself.
    #[error(transparent)]
    Load(#[from] LoadError),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    /// Prefixes that are private here, whatever the gateway's configuration says.
    #[serde(default)]
    private: Vec<String>,
    #[serde(default)]
    expect: Vec<Expect>,
    #[serde(default)]
    never_allow: Vec<Invariant>,
    #[serde(default)]
    always_allow: Vec<Invariant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    name: String,
    #[serde(default = "somebody")]
    caller: String,
    #[serde(default)]
    groups: Vec<String>,
    module: String,
    #[serde(default)]
    version: Option<String>,
    /// list, download, sumdb, admit or an operator's; download with a version and list without one.
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    source: Option<IpAddr>,
    #[serde(default)]
    at: Option<toml::value::Datetime>,
    outcome: Wanted,
    #[serde(default)]
    rule: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Allow,
    Deny,
    Ancestor,
}

/// Who is meant if nobody is named.
fn somebody() -> String {
    "user:token:somebody".to_owned()
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    results: Vec<Held>,
    /// Rules that decided in no expectation.
    pub unexercised: Vec<String>,
}

/// One expectation.
#[derive(Debug, Clone)]
struct Held {
    suite: String,
    name: String,
    /// What was found instead.
    failed: Option<String>,
}

/// Runs every suite of a draft.
pub(in crate::policy) fn run(draft: &Draft) -> Result<Outcome, SuiteError> {
    let (mut results, mut exercised) = (Vec::new(), BTreeSet::new());
    // most suites have the same private prefixes: the policy is read once for each set of them
    let mut policies: BTreeMap<Vec<String>, Running> = BTreeMap::new();
    for (name, text) in draft.texts().filter(|(name, _)| name.starts_with("tests/")) {
        let bad = |why: String| SuiteError::Format(format!("{name}: {why}"));
        let suite: Suite = toml::from_str(text)
            .map_err(|error| SuiteError::Format(gates::placed(name, text, &error)))?;
        let private: Result<Vec<_>, _> =
            suite.private.iter().map(|text| Prefix::parse(text)).collect();
        let private = private.map_err(|error| bad(format!("private: {error}")))?;
        let running = match policies.entry(suite.private.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let settings = Settings::default();
                let snapshot = Snapshot::build(&draft.files, &[], private, settings)?;
                free.insert(Running { snapshot })
            }
        };
        let mut held = |said: &str, failed| {
            let (suite, name) = (name.to_owned(), said.to_owned());
            results.push(Held { suite, name, failed });
        };
        for expect in &suite.expect {
            let checked = running.check(expect, &mut exercised);
            held(&expect.name, checked.map_err(|why| bad(format!("{}: {why}", expect.name)))?);
        }
        let invariants = suite.never_allow.iter().map(|one| (one, Decision::Deny));
        let always = suite.always_allow.iter().map(|one| (one, Decision::Allow));
        for (one, wanted) in invariants.chain(always) {
            let checked = one.check(&running.snapshot, wanted);
            held(&one.name, checked.map_err(|why| bad(format!("{}: {why}", one.name)))?);
        }
    }
    let ids = draft.snapshot.rules.iter().map(|rule| rule.id.clone());
    let unexercised = ids.filter(|id| !exercised.contains(id)).collect();
    Ok(Outcome { results, unexercised })
}

/// A policy as a suite sees it.
struct Running {
    snapshot: Snapshot,
}

impl Running {
    /// What was found instead of what is expected; or why the expectation makes no sense.
    fn check(
        &self,
        expect: &Expect,
        exercised: &mut BTreeSet<String>,
    ) -> Result<Option<String>, String> {
        let verdict = self.verdict(expect)?;
        let rule = verdict.rule.and_then(|place| self.snapshot.told(place));
        let rule = rule.map(|told| told.id.to_string());
        exercised.extend(rule.clone());
        let found = match verdict.decision {
            Decision::Allow => Wanted::Allow,
            Decision::Deny | Decision::Error => Wanted::Deny,
            Decision::Absent => Wanted::Ancestor,
        };
        let same_rule = expect.rule.is_none() || expect.rule == rule;
        if found == expect.outcome && same_rule {
            return Ok(None);
        }
        let said = verdict.reason.text();
        let rule = rule.as_deref().unwrap_or("none");
        Ok(Some(format!("found {} ({said}, rule {rule})", verdict.decision.text())))
    }

    fn verdict(&self, expect: &Expect) -> Result<Verdict, String> {
        let version = expect.version.as_deref().unwrap_or_default();
        if !version.is_empty() {
            Version::parse(version).map_err(|error| error.to_string())?;
        }
        let action = match &expect.action {
            Some(word) => Action::of(word).ok_or_else(|| format!("{word} is no action"))?,
            None if version.is_empty() => Action::List,
            None => Action::Download,
        };
        if !matches!(expect.module.as_str(), "@sumdb" | "@gateway") {
            ModulePath::parse(&expect.module).map_err(|error| error.to_string())?;
        }
        let question = Question { name: &expect.module, version, action };
        let caller = Arc::new(Caller::imagined(&expect.caller, expect.groups.clone()));
        let now = expect.at.as_ref().map_or(Ok(SystemTime::UNIX_EPOCH), gates::moment)?;
        let source = expect.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let asker = Asker { realm: caller.realm(), circumstances: Circumstances { source, now } };
        Ok(self.snapshot.judge(&self.snapshot.subjects(&caller), question, asker).0)
    }
}
