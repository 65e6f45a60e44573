//! How one upstream is treated: its breaker, its turns, its budget of repetitions, the quiet it asked for.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::breaker;
use crate::breaker::Breaker;
use crate::breaker::Condition;
use crate::breaker::Verdict;
use crate::clock::Clock;
use crate::egress::EgressError;
use crate::telemetry::Telemetry;
use crate::telemetry::happening::Happening;
use crate::telemetry::happening::What;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::SecurityEvent;
use crate::telemetry::labels::upstream::Circuit;
use crate::telemetry::labels::upstream::Health;
use crate::telemetry::labels::upstream::Phase;
use crate::telemetry::metrics::UpstreamMetrics;
use crate::telemetry::record::Record;
use crate::upstream::retry::Budget;
use crate::upstream::retry::Quiet;
use crate::upstream::turns::Turns;

/// What is asked of one upstream at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// When it is left alone.
    pub breaker: breaker::Settings,
    /// Requests at a time.
    pub at_once: usize,
    /// Requests that may wait for their turn.
    pub waiting: usize,
    /// Repeated attempts as a share of all, from 0 to 1.
    pub repeated: f64,
}

/// The care of one upstream.
#[derive(Debug)]
pub struct Care {
    name: String,
    pub(in crate::upstream) breaker: Breaker,
    pub(in crate::upstream) turns: Turns,
    pub(in crate::upstream) budget: Budget,
    pub(in crate::upstream) quiet: Quiet,
    told: Mutex<Condition>,
    telemetry: Arc<Telemetry>,
}

impl Care {
    /// The care of an upstream that is thought to be well. `name` is the configured one.
    pub fn new(
        name: &str,
        bounds: &Bounds,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let care = Self {
            name: name.to_owned(),
            breaker: Breaker::new(bounds.breaker, clock),
            turns: Turns::new(bounds.at_once, bounds.waiting),
            budget: Budget::new(bounds.repeated),
            quiet: Quiet::default(),
            told: Mutex::new(Condition::Closed),
            telemetry,
        };
        care.show(Condition::Closed);
        care
    }

    /// The configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::upstream) fn metrics(&self) -> Option<&UpstreamMetrics> {
        self.telemetry.upstream(&self.name)
    }

    /// Accounts for one attempt.
    pub(in crate::upstream) fn attempted(&self, record: &Record, word: Attempt, took: Duration) {
        record.attempt(&self.name, word);
        self.count(record, word, took);
    }

    /// Accounts for an attempt that was not made.
    pub(in crate::upstream) fn unasked(&self, record: &Record, word: Attempt) {
        record.attempt(&self.name, word);
        self.telemetry.attempted(&self.name, word);
    }

    /// Counts one attempt; what the record says stays.
    pub(in crate::upstream) fn count(&self, record: &Record, word: Attempt, took: Duration) {
        self.telemetry.attempted(&self.name, word);
        self.time(record, Phase::Total, took);
    }

    fn time(&self, record: &Record, phase: Phase, took: Duration) {
        if let Some(metrics) = self.metrics() {
            metrics.seconds.observe_seen((phase,), took.as_secs_f64(), record.sighting());
        }
    }

    /// The head of an answer has come.
    pub(in crate::upstream) fn first_byte(&self, record: &Record, took: Duration) {
        self.time(record, Phase::FirstByte, took);
    }

    /// It gave something good, or said that it has none.
    pub(in crate::upstream) fn answered(&self) {
        self.telemetry.answered_well(&self.name);
    }

    /// Tells the security team what egress would not let out.
    pub(in crate::upstream) fn note_blocked(&self, blocked: &EgressError) {
        let event = match blocked {
            EgressError::PrivateName { .. } => SecurityEvent::PrivateNameUpstream,
            EgressError::Redirect(_) | EgressError::Address(_) => SecurityEvent::EgressBlocked,
            EgressError::Slow(..) | EgressError::Transport(..) | EgressError::Url(_) => return,
        };
        self.telemetry.metrics().security_events.count((event,));
        self.telemetry.tell(Happening::new(What::EgressRefused, &self.name).because(blocked));
    }

    /// Tells the security team of a certificate that was refused.
    pub(in crate::upstream) fn note_untrusted(&self, word: Attempt, why: &dyn std::fmt::Display) {
        if matches!(word, Attempt::TlsUntrusted | Attempt::TlsExpired) {
            self.telemetry.tell(Happening::new(What::UpstreamTls, &self.name).because(why));
        }
    }

    /// Says how the breaker stands where that has changed: in the gauges, and for the operator in the log.
    pub(in crate::upstream) fn tell(&self) {
        let condition = self.breaker.condition();
        let before = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *told, condition)
        };
        if before == condition {
            return;
        }
        self.show(condition);
        let upstream = self.name.as_str();
        let what = match condition {
            Condition::Open => "failed too often: it is left alone",
            Condition::HalfOpen => "is tried again",
            Condition::Closed => "is back",
        };
        tracing::warn!(upstream, "the upstream {what}");
        let happened =
            |what| self.telemetry.tell(Happening::new(what, format!("upstream {upstream}")));
        match (before, condition) {
            (Condition::Closed, Condition::Open | Condition::HalfOpen) => {
                happened(What::DependencyDown);
            }
            (_, Condition::Closed) => happened(What::DependencyUp),
            (Condition::Open | Condition::HalfOpen, _) => {}
        }
    }

    fn show(&self, condition: Condition) {
        let Some(metrics) = self.metrics() else { return };
        let now = match condition {
            Condition::Closed => Circuit::Closed,
            Condition::Open => Circuit::Open,
            Condition::HalfOpen => Circuit::HalfOpen,
        };
        for one in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
            metrics.circuit.set((one,), if one == now { 1.0 } else { 0.0 });
        }
        metrics.up.set((), if condition == Condition::Closed { 1.0 } else { 0.0 });
    }
}

/// What the breaker makes of a word.
pub(in crate::upstream) const fn verdict(word: Attempt) -> Verdict {
    match word.health() {
        Health::Well => Verdict::Well,
        Health::Ill => Verdict::Ill,
        Health::Unknown => Verdict::Silent,
    }
}
