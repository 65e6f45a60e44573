//! By how much the event loop of a worker is late: whatever blocks it delays every answer of that worker.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::tasks::Tasks;

thread_local! {
    /// Whether the loop of this thread is watched already.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Watches the loop of this thread until we stop; a second call changes nothing.
pub(in crate::server) fn watch(tasks: &Tasks) {
    if WATCHED.replace(true) {
        return;
    }
    let (telemetry, stop) = (tasks.telemetry_handle(), tasks.stop().clone());
    tasks.here(async move {
        loop {
            let due = Instant::now() + TICK;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            telemetry.metrics().worker_lag.observe((), due.elapsed().as_secs_f64());
        }
    });
}

/// Short beside what a caller notices, long beside what it costs.
const TICK: Duration = Duration::from_millis(100);
