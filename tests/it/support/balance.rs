//! Answers against records: whatever a test does to a gateway, at its end no answer and no request to an upstream lacks its
//! record. Checked for every gateway that a test leaves running or stops cleanly.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::Value;

use super::client::Answer;
use super::gateway::Gateway;
use super::gateway::records_in;
use super::until;
use super::until_told;
use super::upstream::Upstream;

/// The trace in a `traceparent` field's value.
pub(crate) fn trace_of(traceparent: &str) -> Option<String> {
    traceparent.split('-').nth(1).map(str::to_owned)
}

/// The trace that an answer names.
pub(crate) fn answered(answer: &Answer) -> Option<String> {
    trace_of(&answer.header("traceparent"))
}

impl Gateway {
    /// Holds this process's own count of its answers to the records of this start, and the answers that clients of the test
    /// read to records by their trace. What the gateway says it lost may be missing.
    pub(crate) fn balance(&self) {
        until_told("every answer has its record", || {
            let answered = self.metric_sum("modgate_http_requests_total");
            let records = self.of_this_start().iter().filter(|record| is_answer(record)).count();
            let recorded = f64::from(u32::try_from(records).unwrap());
            // somebody may be asking still: both must fit between two looks
            let (lost, later) = (self.lost(), self.metric_sum("modgate_http_requests_total"));
            let holds = recorded <= later && answered <= recorded + lost;
            let standing = format!("({answered} answers, {recorded} records, {lost} lost)");
            if holds { Ok(()) } else { Err(standing) }
        });
        if self.lost() < 0.5 {
            self.every_answer_is_recorded();
        }
    }

    /// The same of a gateway that has ended well: its metrics are gone.
    pub(crate) fn every_answer_is_recorded(&self) {
        if records_in(&self.log()).iter().any(|record| record["event"] == "audit.delete") {
            return;
        }
        let answered = self.answered();
        until_told("every answer that was read has its record", || {
            let traces = self.traces();
            let missing: Vec<_> =
                answered.iter().filter(|trace| !traces.contains(*trace)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        });
    }

    /// Every request that reached an upstream has a record in the log of one of these gateways.
    pub(crate) fn vouch_for(gateways: &[&Self], upstream: &Upstream) {
        let heads = upstream.heads();
        until("every request of an upstream has its record", || {
            let known: HashSet<String> =
                gateways.iter().flat_map(|gateway| gateway.traces()).collect();
            heads.iter().all(|head| {
                let told = head.lines().filter_map(|line| line.split_once(": "));
                let mut told = told.filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
                let trace = told.next().and_then(|(_, value)| trace_of(value));
                // a recovery probe asks for nothing, for nobody
                trace.is_none_or(|trace| known.contains(&trace))
            })
        });
    }

    fn lost(&self) -> f64 {
        self.metric("modgate_audit_events_total{sink=\"segment\",result=\"dropped\"}")
    }

    fn traces(&self) -> HashSet<String> {
        let trace = |record: &Value| record["http"]["trace_id"].as_str().map(str::to_owned);
        records_in(&self.log()).iter().filter_map(trace).collect()
    }

    fn of_this_start(&self) -> Vec<Value> {
        let mut records = records_in(&self.log());
        let started = records.iter().rposition(|record| record["event"] == "audit.start");
        records.drain(..started.unwrap_or(0));
        records
    }

    /// Where its records are, if the settings say something else than usual.
    fn log(&self) -> PathBuf {
        let usual = self.state().join("audit");
        let settings = self.state().join("../modgate.toml");
        let text = std::fs::read_to_string(settings).unwrap_or_default();
        let section = text.split("[audit]").nth(1).unwrap_or_default();
        let mut lines = section.lines().take_while(|line| !line.starts_with('['));
        let named = lines.find_map(|line| line.strip_prefix("dir = \""));
        named.map_or(usual, |named| named.trim_end_matches('"').into())
    }
}

/// Whether a record is the one about an answer: the last of a request, or of bytes that never became one.
fn is_answer(record: &Value) -> bool {
    let is_last = record["phase"] != "decided";
    is_last && (record["http"].is_object() || record["event"] == "request.rejected")
}
