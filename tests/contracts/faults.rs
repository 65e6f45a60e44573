//! Every alert is fired by a fault of the fault run, the one that its runbook names; the few that none can fire say why.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::alerts;
use crate::source::Finding;
use crate::source::Tree;

/// Alerts that only a defect of modgate fires, and the one that always does: promtool alone tests them.
const BEYOND: [&str; 5] = [
    "ModgateAuthzErrors",
    "ModgateBackgroundTaskDead",
    "ModgateDependencyConfusion",
    "ModgatePolicyCrosscheck",
    "ModgateWatchdog",
];
const LIST: &str = "tests/it/support/faults/list";

/// The alerts of each fault, as the list of faults has them.
fn injected(list: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let parts = list.split("what: \"").skip(1).filter_map(|part| part.split_once('"'));
    parts.map(|(what, rest)| (what, named(rest))).collect()
}

/// Names of alerts that stand in quotes as the first of a pair.
fn named(rest: &str) -> BTreeSet<&str> {
    let quoted = rest.split("(\"").skip(1).filter_map(|begun| begun.split('"').next());
    quoted.filter(|name| name.starts_with("Modgate")).collect()
}

/// What is wrong between the alerts, each with what its runbook says fires it, and the faults of the run.
fn problems(told: &[(String, String)], list: &str) -> Vec<String> {
    let faults = injected(list);
    let mut found = Vec::new();
    for (alert, fault) in told {
        let fires =
            faults.get(fault.as_str()).is_some_and(|alerts| alerts.contains(alert.as_str()));
        match (BEYOND.contains(&alert.as_str()), fault.starts_with("none: ")) {
            (true, true) => {}
            (true, false) => {
                found.push(format!("{alert}: {fault}? it is said that nothing fires it"));
            }
            (false, _) if fires => {}
            (false, _) => found.push(format!("{alert}: no fault of the run fires it: {fault}")),
        }
    }
    let known: BTreeSet<_> = told.iter().map(|(alert, _)| alert.as_str()).collect();
    let unknown = faults.values().flatten().filter(|alert| !known.contains(**alert));
    found.extend(unknown.map(|alert| format!("{LIST} waits for {alert}, which is no alert")));
    found
}

/// The findings of this rule.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let told = alerts::faults(&alerts::read(tree));
    let parts = tree.files().iter().filter(|path| path.starts_with(LIST));
    let list: String = parts.map(|path| tree.text(path)).collect();
    let found = problems(&told, &list).into_iter();
    found.map(|what| Finding::new("alerts/alerts.toml", 1, "faults", what)).collect()
}

#[test]
fn an_alert_without_a_fault_in_the_run_is_found() {
    let list = "what: \"it is cut\", alerts: &[(\"ModgateCut\", \"\"), (\"ModgateGone\", \"x\")],";
    let told = |alert: &str, fault: &str| (alert.to_owned(), fault.to_owned());
    let good = [
        told("ModgateCut", "it is cut"),
        told("ModgateGone", "it is cut"),
        told("ModgateWatchdog", "none: always"),
    ];
    assert_eq!(problems(&good, list), [""; 0]);
    for (bad, what) in [
        (
            told("ModgateOther", "it is cut"),
            "ModgateOther: no fault of the run fires it: it is cut",
        ),
        (told("ModgateOther", "none: so"), "ModgateOther: no fault of the run fires it: none: so"),
        (told("ModgateWatchdog", "a"), "ModgateWatchdog: a? it is said that nothing fires it"),
    ] {
        let all = [good.to_vec(), vec![bad]].concat();
        assert_eq!(problems(&all, list), [what]);
    }
    assert_eq!(problems(&good[..1], list).len(), 1, "an alert that is none");
}
