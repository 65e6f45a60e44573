//! Families of series whose whole label product is registered at start; emitting is an array index.

use std::marker::PhantomData;

use metrics::Counter;
use metrics::Gauge;
use metrics::Histogram;
use metrics::Key;
use metrics::KeyName;
use metrics::Level;
use metrics::Metadata;
use metrics::Recorder;

use crate::telemetry::labels::Labels;

/// How a catalogue entry comes to life on a recorder.
pub(in crate::telemetry) trait Family: Sized {
    /// Registers every series of the family, each with the labels it shares.
    fn register(
        recorder: &dyn Recorder,
        name: &'static str,
        shared: &[(&'static str, String)],
    ) -> Self;
    /// Tells the recorder the HELP text.
    fn describe(recorder: &dyn Recorder, name: &'static str, help: &'static str);
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
    ($(#[$about:meta])* $family:ident of $series:ty, $register:ident, $describe:ident) => {
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
                recorder: &dyn Recorder,
                name: &'static str,
                shared: &[(&'static str, String)],
            ) -> Self {
                let series = keys::<L>(name, shared)
                    .map(|key| recorder.$register(&key, &METADATA))
                    .collect();
                Self { series, labels: PhantomData }
            }

            fn describe(recorder: &dyn Recorder, name: &'static str, help: &'static str) {
                recorder.$describe(KeyName::from_const_str(name), None, help.trim().into());
            }
        }
    };
}

family! {
    /// Counters, one for each combination of labels.
    Counters of Counter, register_counter, describe_counter
}
family! {
    /// Gauges, one for each combination of labels.
    Gauges of Gauge, register_gauge, describe_gauge
}
family! {
    /// Histograms, one for each combination of labels.
    Histograms of Histogram, register_histogram, describe_histogram
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
        if let Some(series) = self.series.get(labels.place()) {
            series.record(value);
        }
    }
}
