//! Past requests, decided again by a candidate: who would gain or lose what, and how often. Reads the events of an audit.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::Admission;
use crate::policy::draft::Draft;
use crate::policy::gates::Circumstances;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot::Asker;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::policy::DecisionReason;

/// What a caller would gain or lose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Shift {
    /// Who.
    pub principal: String,
    /// Which module.
    pub module: String,
    /// Which version or query; empty for none.
    pub version: String,
    /// Which artifact.
    pub artifact: String,
    /// What was decided.
    pub was: String,
    /// What the candidate decides.
    pub is: &'static str,
}

/// A replay so far.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    shifts: BTreeMap<Shift, u64>,
    decided: u64,
    skipped: u64,
    unsure: u64,
}

impl Replay {
    /// Decides an event again. Events without a decision about a module are passed over; of callers whose groups the
    /// event does not keep whole nothing is said.
    pub fn event(&mut self, candidate: &Draft, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            self.skipped += 1;
            return;
        };
        match self.decide(candidate, &event) {
            Some(shift) if shift.was == shift.is => self.decided += 1,
            Some(shift) => {
                self.decided += 1;
                *self.shifts.entry(shift).or_default() += 1;
            }
            None => self.skipped += 1,
        }
    }

    fn decide(&mut self, candidate: &Draft, event: &Value) -> Option<Shift> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let (was, principal) = (text("/decision/effect")?, text("/actor/id")?);
        let (module, artifact) = (text("/resource/module")?, text("/resource/artifact")?);
        // the end of the same request is told by an event of its own
        if text("/phase") == Some("decided") {
            return None;
        }
        // the token's limit is not the policy's
        if text("/decision/reason") == Some("token_limit") {
            return None;
        }
        ModulePath::parse(module).ok()?;
        let version = text("/resource/version").unwrap_or_default();
        let canonical = Version::parse(version).map(|_| version).unwrap_or_default();
        let action = match (artifact, canonical) {
            ("sumdb_lookup", _) => Action::Sumdb,
            (_, "") => Action::List,
            (_, _) => Action::Download,
        };
        let groups: Vec<String> = event
            .pointer("/actor/groups")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |groups| {
                groups.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            });
        if groups.len() >= GROUPS_KEPT {
            self.unsure += 1;
            return None;
        }
        let caller = Caller::imagined(principal, groups);
        let circumstances = Circumstances {
            source: text("/source/ip").and_then(|ip| ip.parse().ok()).unwrap_or(NOWHERE),
            now: text("/time").and_then(moment).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let asker = Asker { realm: caller.realm(), circumstances };
        let snapshot = &candidate.snapshot;
        let question = Question { name: module, version: canonical, action };
        let subjects = snapshot.subjects(&caller);
        let (mut verdict, _) = snapshot.judge(&subjects, question, asker);
        // what was refused only because nobody had admitted it is refused again, unless admitting is what changes
        let first = text("/decision/reason") == Some(DecisionReason::NotAdmitted.text());
        if first && verdict.is_allowed() && snapshot.admission() == Admission::Explicit {
            let admit = Question { action: Action::Admit, ..question };
            verdict = snapshot.judge(&subjects, admit, asker).0;
        }
        Some(Shift {
            principal: principal.to_owned(),
            module: module.to_owned(),
            version: version.to_owned(),
            artifact: artifact.to_owned(),
            was: was.to_owned(),
            is: verdict.decision.text(),
        })
    }

    /// How many decisions differ, counted by request.
    pub fn differing(&self) -> u64 {
        self.shifts.values().sum()
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let shift = |(shift, requests): (&Shift, &u64)| serde_json::json!({ "shift": shift, "requests": requests });
        serde_json::json!({
            "decided": self.decided, "passed_over": self.skipped, "groups_cut": self.unsure,
            "differing": self.differing(), "shifts": self.shifts.iter().map(shift).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, requests) in &self.shifts {
            let Shift { principal, module, version, artifact, was, is } = shift;
            let mark = if *is == "allow" { '+' } else { '-' };
            let at = if version.is_empty() { String::new() } else { format!("@{version}") };
            writeln!(
                out,
                "{mark} {principal} {artifact} {module}{at}: {was} -> {is} ({requests} requests)"
            )?;
        }
        if self.unsure > 0 {
            let why = "their callers have more groups than an event keeps";
            writeln!(out, "{} requests were not decided: {why}", self.unsure)?;
        }
        let differing = self.differing();
        write!(out, "{differing} of {} past decisions would differ", self.decided)
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// An event keeps this many groups; somebody with as many may have more.
const GROUPS_KEPT: usize = 32;
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
