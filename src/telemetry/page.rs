//! The page of metrics, in the two formats that scrapers ask for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::PrometheusRecorder;
use metrics_process::Collector;

use crate::telemetry::exemplars::Exemplars;
use crate::telemetry::process;

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0, the one with exemplars.
    OpenMetrics,
}

impl Format {
    /// The format of an `Accept` field. Whoever does not name `OpenMetrics`, or weighs it with nothing, gets text.
    pub fn asked(accept: &str) -> Self {
        let named = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
            is_it && weight.is_none_or(|weight| weight > 0.0)
        });
        if named { Self::OpenMetrics } else { Self::Text }
    }

    /// The media type of the page.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The metrics page: renders every series.
#[derive(Clone)]
pub struct Page {
    pub(in crate::telemetry) handle: PrometheusHandle,
    pub(in crate::telemetry) recorder: Arc<PrometheusRecorder>,
    pub(in crate::telemetry) process: Collector,
    pub(in crate::telemetry) exemplars: Exemplars,
    /// What the policy in force is called; a family of series could not forget the one before.
    pub(in crate::telemetry) policy: Arc<Mutex<Option<Arc<str>>>>,
    /// Configured names that stand in labels, by what they name.
    pub(in crate::telemetry) named: Arc<Mutex<BTreeMap<&'static str, BTreeSet<String>>>>,
}

impl fmt::Debug for Page {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the page of metrics")
    }
}

impl Page {
    /// The page, the process's own numbers (`process_…`) included.
    pub fn render(&self, format: Format) -> String {
        let mut page = self.lines();
        page.push_str(&self.policy_lines());
        let series = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        // writing to a string cannot fail
        let _written = writeln!(
            page,
            "# HELP {SERIES} Lines of this page: series, and buckets of histograms.\n\
             # TYPE {SERIES} gauge\n{SERIES} {}",
            series + 1
        );
        match format {
            Format::Text => page,
            Format::OpenMetrics => self.openmetrics(&page),
        }
    }

    /// Which policy is in force from now on.
    pub fn policy_is(&self, revision: Arc<str>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
    }

    fn policy_lines(&self) -> String {
        let revision = self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        format!(
            "# HELP {POLICY} {POLICY_HELP}\n# TYPE {POLICY} gauge\n{POLICY}{{revision=\"{}\"}} 1\n",
            revision.as_deref().unwrap_or("none")
        )
    }

    fn lines(&self) -> String {
        metrics::with_local_recorder(self.recorder.as_ref(), || self.process.collect());
        let mut page = String::new();
        for line in self.handle.render().lines() {
            // whole seconds are too coarse for a rate
            let finer = if line.starts_with(process::CPU) { process::cpu_seconds() } else { None };
            page.push_str(
                &finer.map_or_else(
                    || canonical(line),
                    |seconds| format!("{} {seconds}", process::CPU),
                ),
            );
            page.push('\n');
        }
        page
    }

    /// No empty lines, counters named without `_total` in their head, exemplars, and a mark at the end.
    fn openmetrics(&self, page: &str) -> String {
        let mut out = String::with_capacity(page.len());
        for line in page.lines().filter(|line| !line.is_empty()) {
            out.push_str(&head(line).unwrap_or_else(|| line.to_owned()));
            out.push_str(&self.exemplars.suffix(line).unwrap_or_default());
            out.push('\n');
        }
        out.push_str("# EOF\n");
        out
    }

    /// Moves histogram samples into their buckets; called every few seconds, or they pile up.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The gauge that only the finished page can know.
pub(in crate::telemetry) const SERIES: &str = "modgate_telemetry_series";

/// The gauge whose label is the revision of the policy.
pub(in crate::telemetry) const POLICY: &str = "modgate_policy_info";
/// What it says of itself.
pub(in crate::telemetry) const POLICY_HELP: &str =
    "Always 1; the label says which policy is in force.";

/// A HELP or TYPE line as `OpenMetrics` wants it.
fn head(line: &str) -> Option<String> {
    let mut words = line.strip_prefix("# ")?.splitn(3, ' ');
    let (word, name, rest) = (words.next()?, words.next()?, words.next()?);
    let rest = if rest == "untyped" { "unknown" } else { rest };
    Some(format!("# {word} {} {rest}", name.strip_suffix("_total").unwrap_or(name)))
}

/// `le="10"` as `le="10.0"`: the spelling that every Prometheus ends up with, so that a rule may name it.
fn canonical(line: &str) -> String {
    let Some((head, tail)) = line.rsplit_once("le=\"").filter(|_| line.contains("_bucket{")) else {
        return line.to_owned();
    };
    match tail.split_once('"') {
        Some((le, rest)) if le.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{head}le=\"{le}.0\"{rest}")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_given_to_whoever_asks_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::asked(prometheus), Format::OpenMetrics);
        for text in ["", "*/*", "text/plain", "application/openmetrics-text;q=0"] {
            assert_eq!(Format::asked(text), Format::Text, "{text}");
        }
    }

    #[test]
    fn heads_and_bounds_are_spelt_as_prometheus_spells_them() {
        assert_eq!(head("# TYPE a_total counter").unwrap(), "# TYPE a counter");
        assert_eq!(canonical("a_bucket{x=\"y\",le=\"10\"} 2"), "a_bucket{x=\"y\",le=\"10.0\"} 2");
        assert_eq!(canonical("a_bucket{le=\"+Inf\"} 2"), "a_bucket{le=\"+Inf\"} 2");
        assert_eq!(canonical("a{le=\"10\"} 2"), "a{le=\"10\"} 2");
    }
}
