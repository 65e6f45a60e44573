//! Families of series whose whole label product is registered at start; emitting is an array index.

use std::marker::PhantomData;
use std::sync::Arc;

use metrics::Counter;
use metrics::Gauge;
use metrics::Histogram;
use metrics::Key;
use metrics::KeyName;
use metrics::Level;
use metrics::Metadata;
use metrics::Recorder;

use crate::telemetry::exemplars::Exemplars;
use crate::telemetry::exemplars::Sighting;
use crate::telemetry::exemplars::Slots;
use crate::telemetry::product::LabelSet;
use crate::telemetry::product::Labels;

/// Where series are registered.
pub(in crate::telemetry) struct Registry<'a> {
    pub(in crate::telemetry) recorder: &'a dyn Recorder,
    pub(in crate::telemetry) exemplars: &'a Exemplars,
}

/// How a catalogue entry comes to life on a recorder.
pub(in crate::telemetry) trait Family: Sized {
    /// Registers every series of the family, each with the labels it shares. Only a histogram has a ladder.
    fn register(
        on: &Registry<'_>,
        name: &'static str,
        shared: &[(&'static str, String)],
        ladder: Option<&'static [f64]>,
    ) -> Self;
    /// Tells the recorder the HELP text.
    fn describe(recorder: &dyn Recorder, name: &'static str, help: &'static str);
    /// The labels with all their values, without what is configured.
    fn labels() -> Vec<LabelSet>;
    /// How many series a family has, once for each configured name.
    fn size() -> usize;
}

const METADATA: Metadata<'static> = Metadata::new("modgate", Level::INFO, None);

fn keys<L: Labels>(
    name: &'static str,
    shared: &[(&'static str, String)],
) -> impl Iterator<Item = Key> {
    (0..L::count()).map(move |place| {
        let mut labels: Vec<metrics::Label> =
            shared.iter().map(|(label, text)| metrics::Label::new(*label, text.clone())).collect();
        labels.extend(L::at(place).into_iter().map(|(l, t)| metrics::Label::new(l, t)));
        Key::from_parts(name, labels)
    })
}

macro_rules! family {
    ($(#[$about:meta])* $family:ident of $series:ty, $describe:ident, $register:expr) => {
        $(#[$about])*
        pub struct $family<L: Labels> {
            series: Vec<$series>,
            labels: PhantomData<fn(L)>,
        }

        impl<L: Labels> std::fmt::Debug for $family<L> {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(out, "{} series", self.series.len())
            }
        }

        impl<L: Labels> Family for $family<L> {
            fn register(
                on: &Registry<'_>,
                name: &'static str,
                shared: &[(&'static str, String)],
                ladder: Option<&'static [f64]>,
            ) -> Self {
                let register: fn(&Registry<'_>, &Key, &'static [f64]) -> $series = $register;
                let series = keys::<L>(name, shared)
                    .map(|key| register(on, &key, ladder.unwrap_or_default()))
                    .collect();
                Self { series, labels: PhantomData }
            }

            fn describe(recorder: &dyn Recorder, name: &'static str, help: &'static str) {
                recorder.$describe(KeyName::from_const_str(name), None, help.trim().into());
            }

            fn labels() -> Vec<LabelSet> {
                L::sets()
            }

            fn size() -> usize {
                L::count()
            }
        }
    };
}

family! {
    /// Counters, one for each combination of labels.
    Counters of Counter, describe_counter, |on, key, _| on.recorder.register_counter(key, &METADATA)
}
family! {
    /// Gauges, one for each combination of labels.
    Gauges of Gauge, describe_gauge, |on, key, _| on.recorder.register_gauge(key, &METADATA)
}
family! {
    /// Histograms, one for each combination of labels.
    Histograms of (Histogram, Arc<Slots>), describe_histogram, |on, key, ladder| {
        let labels: Vec<_> = key
            .labels()
            .map(|label| (label.key().to_owned(), label.value().to_owned()))
            .collect();
        let slots = on.exemplars.slots(key.name(), &labels, ladder);
        (on.recorder.register_histogram(key, &METADATA), slots)
    }
}

impl<L: Labels> Counters<L> {
    /// Counts one.
    pub fn count(&self, labels: L) {
        self.add(labels, 1);
    }

    /// Counts some.
    pub fn add(&self, labels: L, by: u64) {
        if let Some(series) = self.series.get(labels.place()) {
            series.increment(by);
        }
    }

    /// Takes over a count that is kept elsewhere; a smaller one than before is ignored.
    pub fn reach(&self, labels: L, total: u64) {
        if let Some(series) = self.series.get(labels.place()) {
            series.absolute(total);
        }
    }
}

impl<L: Labels> Gauges<L> {
    /// Sets the value.
    pub fn set(&self, labels: L, value: f64) {
        if let Some(series) = self.series.get(labels.place()) {
            series.set(value);
        }
    }

    /// Moves the value.
    pub fn add(&self, labels: L, by: f64) {
        if let Some(series) = self.series.get(labels.place()) {
            series.increment(by);
        }
    }
}

impl<L: Labels> Histograms<L> {
    /// Takes one observation, in the unit of the metric's name.
    pub fn observe(&self, labels: L, value: f64) {
        self.observe_seen(labels, value, None);
    }

    /// Takes one observation, with the trace that shows it, if that leaves the process.
    pub fn observe_seen(&self, labels: L, value: f64, seen: Option<Sighting>) {
        if let Some((series, slots)) = self.series.get(labels.place()) {
            series.record(value);
            if let Some(seen) = seen {
                slots.keep(value, seen);
            }
        }
    }
}
