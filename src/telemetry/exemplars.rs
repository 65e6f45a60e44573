//! Exemplars: the newest exported trace of each bucket of each histogram, so that a slow dot leads to its request.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;

use opentelemetry::trace::TraceId;

/// A trace that was, or will be, exported, and when it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    pub(in crate::telemetry) trace: TraceId,
    pub(in crate::telemetry) at: SystemTime,
}

/// One observation with its trace.
#[derive(Debug, Clone, Copy)]
struct Exemplar {
    value: f64,
    seen: Sighting,
}

/// The newest exemplar of each bucket of one series; the last slot is the bucket without a bound.
#[derive(Debug)]
pub(in crate::telemetry) struct Slots {
    ladder: &'static [f64],
    newest: Mutex<Vec<Option<Exemplar>>>,
}

impl Slots {
    /// Keeps an observation, unless somebody else is at it: an exemplar is a favour, never a reason to wait.
    pub(in crate::telemetry) fn keep(&self, value: f64, seen: Sighting) {
        let place = self.ladder.partition_point(|bound| *bound < value);
        if let Ok(mut newest) = self.newest.try_lock()
            && let Some(slot) = newest.get_mut(place)
        {
            *slot = Some(Exemplar { value, seen });
        }
    }

    fn at(&self, le: &str) -> Option<Exemplar> {
        let place = match le {
            "+Inf" => self.ladder.len(),
            le => {
                let bound: f64 = le.parse().ok()?;
                self.ladder.iter().position(|known| known.to_bits() == bound.to_bits())?
            }
        };
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied().flatten()
    }
}

/// The slots of every histogram, by `name|label="value",…` as the page spells them.
#[derive(Debug, Clone, Default)]
pub(in crate::telemetry) struct Exemplars(Arc<Mutex<HashMap<String, Arc<Slots>>>>);

impl Exemplars {
    /// Slots for one series; called once a series, at start.
    pub(in crate::telemetry) fn slots(
        &self,
        name: &str,
        labels: &[(String, String)],
        ladder: &'static [f64],
    ) -> Arc<Slots> {
        let mut key = format!("{name}|");
        for (place, (label, value)) in labels.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            // writing to a string cannot fail
            let _written = write!(key, "{comma}{label}=\"{value}\"");
        }
        let slots = Slots { ladder, newest: Mutex::new(vec![None; ladder.len() + 1]) };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(slots)))
    }

    /// What follows a bucket's line on an `OpenMetrics` page: ` # {trace_id="…"} value time`; nothing for other lines.
    pub(in crate::telemetry) fn suffix(&self, line: &str) -> Option<String> {
        let (name, rest) = line.split_once("_bucket{")?;
        let (labels, bound) = rest.rsplit_once("le=\"")?;
        let (le, _) = bound.split_once('"')?;
        let key = format!("{name}|{}", labels.trim_end_matches(','));
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        let Exemplar { value, seen } = slots.at(le)?;
        let at = seen.at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
        Some(format!(" # {{trace_id=\"{}\"}} {value} {at:.3}", seen.trace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::buckets::SERVE;

    #[test]
    fn an_exemplar_sits_in_its_bucket_and_nowhere_else() {
        let exemplars = Exemplars::default();
        let labels = [("endpoint".to_owned(), "zip".to_owned())];
        let slots = exemplars.slots("a_seconds", &labels, SERVE);
        let seen = Sighting { trace: TraceId::from(0xa), at: SystemTime::UNIX_EPOCH };
        slots.keep(10.0, seen);
        slots.keep(99.0, seen);
        let at = |le: &str| {
            exemplars.suffix(&format!("a_seconds_bucket{{endpoint=\"zip\",le=\"{le}\"}} 1"))
        };
        assert_eq!(
            at("10").unwrap(),
            " # {trace_id=\"0000000000000000000000000000000a\"} 10 0.000"
        );
        assert!(at("+Inf").unwrap().contains("} 99 "));
        assert_eq!(at("5"), None);
        assert_eq!(exemplars.suffix("a_seconds_sum{endpoint=\"zip\"} 109"), None);
    }
}
