//! Expectations: what a policy is meant to do, run against it. Prints TAP.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::goproxy::artifact::Artifact;
use crate::goproxy::path::ModulePath;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::request::FetchMode;
use crate::goproxy::request::ModuleRequest;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::LoadError;
use crate::policy::Policy;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;

/// A suite that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A file that is no suite.
    #[error("{0}: {1}")]
    Format(String, String),
    /// There are no expectations at all.
    #[error("the policy has no tests/*.toml: a policy without expectations cannot be checked")]
    None,
    /// The policy itself.
    #[error(transparent)]
    Load(#[from] LoadError),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    #[serde(default)]
    private: Vec<String>,
    expect: Vec<Expect>,
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

fn somebody() -> String {
    "user:token:somebody".to_owned()
}

/// What a run came to: TAP lines.
#[derive(Debug, Clone)]
pub struct Outcome {
    lines: Vec<Result<String, String>>,
}

impl Outcome {
    /// How many expectations do not hold.
    pub fn failures(&self) -> usize {
        self.lines.iter().filter(|line| line.is_err()).count()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "TAP version 14\n1..{}", self.lines.len())?;
        for (number, line) in self.lines.iter().enumerate().map(|(at, line)| (at + 1, line)) {
            match line {
                Ok(name) => writeln!(out, "ok {number} - {name}")?,
                Err(name) => writeln!(out, "not ok {number} - {name}")?,
            }
        }
        let (all, bad) = (self.lines.len(), self.failures());
        write!(out, "# {} of {all} expectations hold", all - bad)
    }
}

/// Runs every suite of a policy.
pub fn run(policy: &Policy) -> Result<Outcome, SuiteError> {
    let mut lines = Vec::new();
    for (name, text) in policy.files.iter().filter(|(name, _)| name.starts_with("tests/")) {
        let bad = |why: String| SuiteError::Format(name.to_owned(), why);
        let suite: Suite = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let private: Result<Vec<_>, _> =
            suite.private.iter().map(|text| Prefix::parse(text)).collect();
        let policy = policy.with_private(private.map_err(|error| bad(error.to_string()))?)?;
        for expect in &suite.expect {
            lines.push(
                check(&policy, expect).map_err(|why| bad(format!("{}: {why}", expect.name)))?,
            );
        }
    }
    if lines.is_empty() { Err(SuiteError::None) } else { Ok(Outcome { lines }) }
}

/// The line of one expectation, or why it makes no sense.
fn check(policy: &Policy, expect: &Expect) -> Result<Result<String, String>, String> {
    let path = ModulePath::parse(&expect.module).map_err(|error| error.to_string())?;
    let artifact = match &expect.version {
        None => Artifact::List,
        Some(text) => Artifact::Zip(Version::parse(text).map_err(|error| error.to_string())?),
    };
    let request = Request::Module(ModuleRequest { path, artifact, fetch: FetchMode::Allowed });
    let caller = Arc::new(Caller::imagined(&expect.caller, expect.groups.clone()));
    let verdict = match policy.authorize(caller, request) {
        Ok(permit) => permit.verdict,
        Err(refusal) => refusal.verdict,
    };
    let found = match verdict.decision {
        Decision::Allow => Wanted::Allow,
        Decision::Deny | Decision::Error => Wanted::Deny,
        Decision::Absent => Wanted::Ancestor,
    };
    let rule = verdict.rule.as_deref();
    let same_rule = expect.rule.as_deref().is_none_or(|wanted| rule == Some(wanted));
    if found == expect.outcome && same_rule {
        return Ok(Ok(expect.name.clone()));
    }
    let said = verdict.reason.text();
    Ok(Err(format!("{}: found {found:?} ({said}, rule {})", expect.name, rule.unwrap_or("none"))))
}
