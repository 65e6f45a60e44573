//! The shipped alerts fire by real faults and are over when these are healed, and no panel is empty: a real Prometheus,
//! a real Alertmanager, the times of the rules divided by 60. `make fault-run` injects every fault.

use std::time::Duration;

use crate::support::faults::Form;
use crate::support::faults::World;
use crate::support::faults::list;
use crate::support::panels;
use crate::support::until;

#[test]
fn alerts_fire_by_their_faults_and_panels_show_what_happens() {
    let mut world = World::start();
    // on a starved machine four scrapes in a row may be late, and ModgateDown fires for them: what fires in each of six
    // windows has another cause
    let mut fired = Vec::new();
    let silent = (0..6).any(|_| {
        fired = world.quiet(Duration::from_secs(8));
        fired.is_empty()
    });
    assert!(silent, "fired though nothing was wrong: {fired:?}");
    let mut empty = Vec::new();
    until("every panel shows something", || {
        empty = panels::empty_panels(&world.monitoring);
        empty.is_empty()
    });
    assert_eq!(empty, [""; 0]);
    let exemplars = world.monitoring.exemplars("modgate_http_request_duration_seconds_bucket");
    let shown: Vec<_> = exemplars
        .iter()
        .flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default())
        .map(|one| one["labels"]["trace_id"].as_str().unwrap_or_default().to_owned())
        .collect();
    until("an exemplar's trace in the collector", || {
        shown.iter().any(|id| world.collector.spans().iter().any(|span| span.trace == *id))
    });
    for fault in list::all().iter().filter(|fault| fault.form == Form::Short) {
        for (alert, fired, resolved) in world.suffer(fault) {
            assert!(
                fired.is_some() && resolved.is_some(),
                "{}: {alert} {fired:?} {resolved:?}",
                fault.what
            );
        }
    }
}
