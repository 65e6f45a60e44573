//! Finds out whether an upstream that was left alone is back, so that no caller has to be the one who tries.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::breaker::Condition;
use crate::tasks::Tasks;
use crate::telemetry::labels::service::Service;
use crate::upstream::Chain;
use crate::upstream::Upstream;
use crate::upstream::care;

/// Watches every upstream of a chain until the gateway stops.
pub fn watch(chain: Arc<Chain>, tasks: &Tasks) {
    let stop = tasks.stop().clone();
    tasks.serve(Service::UpstreamProbe, async move {
        while !stop.is_cancelled() {
            let look = join_all(chain.all().iter().map(|upstream| look_after(upstream)));
            // a probe under way is not waited for when the gateway stops
            tokio::select! {
                _all = look => {}
                () = stop.cancelled() => break,
            }
            let _woken = tokio::time::timeout(INTERVAL, stop.cancelled()).await;
        }
    });
}

/// Asks an upstream whose rest is over for nothing in particular: no module is named.
async fn look_after(upstream: &Upstream) {
    let care = &upstream.care;
    care.tell();
    if care.breaker.condition() != Condition::HalfOpen {
        return;
    }
    let Some(attempt) = care.breaker.attempt() else { return };
    let word = upstream.source.probe(Instant::now() + PATIENCE).await;
    attempt.end(care::verdict(word));
    care.tell();
}

/// What each upstream says when it is asked once, by its name.
pub async fn examine(chain: &Chain, now: SystemTime) -> Vec<(String, Result<(), String>)> {
    let ask = async |upstream: &Arc<Upstream>| {
        let said = upstream.source.examine(Instant::now() + PATIENCE, now).await;
        (format!("upstream {}", upstream.name), said)
    };
    join_all(chain.all().iter().map(ask)).await
}

/// Short beside the shortest rest, so that a rest ends soon after it may.
const INTERVAL: Duration = Duration::from_millis(250);
/// Nobody waits for a probe; one that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
