//! Every fault that an alert is seen to fire by, injected and healed: seconds to fire and to be over, with all times of
//! the shipped rules divided by 60. `make fault-run` prints the table.

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

use it::support::faults;
use it::support::faults::World;

fn main() -> ExitCode {
    let mut world = World::start();
    let early = world.quiet(QUIET);
    println!("{} s of quiet traffic fired: {early:?}", QUIET.as_secs());
    let empty = faults::empty_panels(&world.monitoring);
    println!("panels that show nothing: {empty:?}\n");
    println!("| fault | alert | fires after | over after |\n|---|---|---|---|");
    let mut failed = !early.is_empty() || !empty.is_empty();
    for fault in faults::all() {
        for (alert, fired, resolved) in world.suffer(&fault) {
            failed |= fired.is_none() || resolved.is_none();
            let shown = |seconds: Option<f64>| {
                seconds.map_or_else(|| "NEVER".to_owned(), |s| format!("{s:.1} s"))
            };
            println!("| {} | {alert} | {} | {} |", fault.what, shown(fired), shown(resolved));
        }
    }
    ExitCode::from(u8::from(failed))
}

const QUIET: Duration = Duration::from_mins(1);
