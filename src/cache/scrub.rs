//! Reads the directory through, now and then: what changed on the disk is found before somebody asks for it.
//!
//! A pass looks at every entry as a request would, so what is corrupt is removed and counted, and the shelf learns what
//! is there: the first pass begins with the gateway. What another tier still holds is put back at once; the rest
//! is fetched when it is asked for. Bodies that no entry names are removed at the end of a pass.
//!
//! **How it fails.** An entry that cannot be read is left for the next pass. A pass works a fifth of the time at most,
//! so that a disk that is slow for it is not slow for everybody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt as _;

use crate::cache::Cache;
use crate::cache::blob::Blob;
use crate::cache::entry::Held;
use crate::cache::tier::Tier as _;
use crate::cache::tier::TierError;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::integrity::CheckResult;
use crate::telemetry::labels::integrity::Checked;

/// Reads a directory through again and again, until the gateway stops.
pub async fn keep(cache: Arc<Cache>, directory: Blob, interval: Duration, tasks: Tasks) {
    let stop = tasks.stop().clone();
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = pass(&cache, &directory, tasks.telemetry()) => {}
        }
        let _stopped = tokio::time::timeout(interval, stop.cancelled()).await;
    }
}

async fn pass(cache: &Cache, directory: &Blob, telemetry: &Telemetry) {
    let count = |result| telemetry.metrics().integrity_checks.count((Checked::BlobScrub, result));
    let (mut seen, mut corrupt, mut unreadable) = (0_usize, 0_usize, 0_usize);
    let mut named = HashSet::new();
    let mut keys = directory.keys();
    while let Some(key) = keys.next().await {
        let begun = Instant::now();
        seen += 1;
        match directory.look(&key).await {
            Ok(Some(entry)) => {
                count(CheckResult::Ok);
                if let Held::Content(verified) = &entry.held {
                    named.insert(verified.content().sum());
                }
            }
            Ok(None) => {}
            Err(TierError::Corrupt(_)) => {
                corrupt += 1;
                count(CheckResult::Failed);
                cache.put_back(&key).await;
            }
            Err(_) => {
                unreadable += 1;
                count(CheckResult::Unavailable);
            }
        }
        tokio::time::sleep(begun.elapsed() * REST_FOR_WORK).await;
    }
    let orphans = if unreadable == 0 { directory.sweep_orphans(&named).await } else { Ok(0) };
    let orphans = orphans.unwrap_or_default();
    if corrupt + unreadable + orphans > 0 {
        tracing::warn!(seen, corrupt, unreadable, orphans, "the directory was read through");
    }
}

/// Rests so many times as long as it works.
const REST_FOR_WORK: u32 = 4;
