//! Every fault that an alert is seen to fire by, injected and healed: seconds to fire and to be over, with all times of
//! the shipped rules divided by 60. `make fault-run` prints the table; `make fault-run FAULTS='slapd|certificate'` injects
//! only faults whose description holds one of these texts, and leaves the quiet minute and the panels out.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed run")]
#![expect(clippy::panic, reason = "a failed step is a failed run")]
#![expect(clippy::print_stdout, reason = "it prints its table")]

#[expect(dead_code, reason = "the harness of the promises; a run needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use it::support::faults::World;
use it::support::faults::list;
use it::support::monitoring::Monitoring;
use it::support::panels;
use serde_json::Value;

fn main() -> ExitCode {
    // cargo adds --bench
    let wanted: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |what: &str| {
        wanted.is_empty()
            || wanted.iter().any(|words| words.split('|').any(|word| what.contains(word)))
    };
    let faults: Vec<_> = list::all().into_iter().filter(|fault| is_wanted(fault.what)).collect();
    assert!(!faults.is_empty(), "no fault is called {wanted:?}");
    let begun = Instant::now();
    let mut world = World::start();
    let mut failed = wanted.is_empty() && !is_calm(&world);
    println!("| fault | alert | fires after | over after |\n|---|---|---|---|");
    for fault in faults {
        for (alert, fired, resolved) in world.suffer(&fault) {
            failed |= fired.is_none() || resolved.is_none();
            let shown = |seconds: Option<f64>| {
                seconds.map_or_else(|| "NEVER".to_owned(), |s| format!("{s:.1} s"))
            };
            println!("| {} | {alert} | {} | {} |", fault.what, shown(fired), shown(resolved));
        }
        keep_pictures(&world.monitoring);
    }
    println!("\nthe run took {} s", begun.elapsed().as_secs());
    ExitCode::from(u8::from(failed))
}

/// Whether nothing fires while nothing is wrong, and every panel shows something.
fn is_calm(world: &World) -> bool {
    let early = world.quiet(QUIET);
    println!("{} s of quiet traffic fired: {early:?}", QUIET.as_secs());
    let empty = panels::empty_panels(&world.monitoring);
    println!("panels that show nothing: {empty:?}\n");
    early.is_empty() && empty.is_empty()
}

/// What tests/draw draws; after each fault, so that a run that is cut off leaves something as well.
fn keep_pictures(monitoring: &Monitoring) {
    std::fs::create_dir_all(PICTURES).unwrap();
    for board in ["overview", "security", "upstreams"] {
        let drawn = drawn(monitoring, board, 180);
        std::fs::write(format!("{PICTURES}/{board}.json"), drawn.to_string()).unwrap();
    }
}

/// A board with what its panels show over the last seconds, for tests/draw.
fn drawn(monitoring: &Monitoring, id: &str, seconds: u64) -> Value {
    let uid = format!("modgate-{id}");
    let mut board = panels::boards().into_iter().find(|board| board["uid"] == *uid).unwrap();
    let (mut from, mut to, mut bottom) = (f64::MAX, 0.0_f64, 0);
    for panel in board["panels"].as_array_mut().unwrap() {
        let grid = &panel["gridPos"];
        bottom = bottom.max(grid["y"].as_u64().unwrap() + grid["h"].as_u64().unwrap());
        let mut all = Vec::new();
        for (legend, expr) in panels::targets(panel) {
            for series in monitoring.range(&expr, seconds) {
                let values = series["values"].as_array().unwrap();
                let times: Vec<_> =
                    values.iter().map(|pair| pair[0].as_f64().unwrap() * 1e3).collect();
                from = from.min(times[0]);
                to = to.max(times[times.len() - 1]);
                let number =
                    |pair: &Value| pair[1].as_str()?.parse().ok().filter(|n: &f64| n.is_finite());
                let numbers: Vec<_> = values.iter().map(number).collect();
                let name = named(&legend, &series["metric"]);
                all.push(serde_json::json!({"name": name, "t": times, "v": numbers}));
            }
        }
        panel["series"] = all.into();
    }
    for (key, value) in [("from", from), ("to", to)] {
        board[key] = value.into();
    }
    board["bottom"] = bottom.into();
    board
}

/// A legend with its labels filled in.
fn named(legend: &str, labels: &Value) -> String {
    let labels = labels.as_object().unwrap();
    let filled = labels.iter().fold(legend.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value.as_str().unwrap_or_default())
    });
    // a label that a series has not: its name stands there
    filled.replace("{{", "").replace("}}", "")
}

/// Where tests/draw/draw.sh finds the boards.
const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/pictures");
const QUIET: Duration = Duration::from_mins(1);
