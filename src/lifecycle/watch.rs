//! Whatever may be a reason to look at the policy's files again: a changed file, SIGHUP, and time, which misses nothing.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::RecursiveMode;
use notify::Watcher as _;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::Notify;

use crate::app::App;
use crate::config::Config;
use crate::telemetry::labels::policy::ReloadSource;
use crate::telemetry::labels::service::Service;

/// Starts the service. Notices of the file system are hints: they are lost on network file systems, and where a folder is
/// exchanged as a whole; the look by time is what counts.
pub(in crate::lifecycle) fn start(config: &Config, app: &App) -> std::io::Result<()> {
    watch_denies(config, app);
    let changed = Arc::new(Notify::new());
    let watcher = watcher(&watched(config), &changed);
    let mut hangup = signal(SignalKind::hangup())?;
    let (gateway, stop) = (Arc::clone(&app.gateway), app.tasks.stop().clone());
    app.tasks.serve(Service::PolicyWatch, async move {
        // ends with the service
        let _watcher = watcher;
        loop {
            let source = tokio::select! {
                () = stop.cancelled() => return,
                _signal = hangup.recv() => ReloadSource::Signal,
                () = changed.notified() => {
                    // one edit is several notices
                    let _settled = tokio::time::timeout(SETTLE, stop.cancelled()).await;
                    ReloadSource::File
                }
                () = tokio::time::sleep(interval()) => ReloadSource::File,
            };
            // a task that died is counted and told where it runs
            let _told = gateway.reload_policy(source).await;
            let _told = gateway.crosscheck_policy().await;
        }
    });
    Ok(())
}

/// Emergency denies have a service of their own: a look at the rules takes as long as their expectations do.
fn watch_denies(config: &Config, app: &App) {
    let changed = Arc::new(Notify::new());
    let folder = config.policy.denies_file.parent().unwrap_or_else(|| Path::new("."));
    let watcher = watcher(&[(folder.to_owned(), RecursiveMode::NonRecursive)], &changed);
    let (gateway, stop) = (Arc::clone(&app.gateway), app.tasks.stop().clone());
    app.tasks.serve(Service::DenyWatch, async move {
        // ends with the service
        let _watcher = watcher;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed.notified() => {}
            }
            let _settled = tokio::time::timeout(SETTLE, stop.cancelled()).await;
            // a task that died is counted and told where it runs
            let _told = gateway.reload_denies(ReloadSource::File).await;
        }
    });
}

/// Folders in which something may change.
fn watched(config: &Config) -> Vec<(PathBuf, RecursiveMode)> {
    let policy = &config.policy;
    let folders = [policy.dir.as_ref(), policy.candidate.as_ref()].into_iter().flatten();
    folders.map(|folder| (folder.clone(), RecursiveMode::Recursive)).collect()
}

fn watcher(
    folders: &[(PathBuf, RecursiveMode)],
    changed: &Arc<Notify>,
) -> Option<notify::RecommendedWatcher> {
    let tell = Arc::clone(changed);
    let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // a look at a file is no change, or every look of ours would be a reason for the next one
        if event.is_ok_and(|event| !event.kind.is_access()) {
            tell.notify_one();
        }
    });
    let mut watcher = match made {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "changes of the policy are found by looking, within 12 s");
            return None;
        }
    };
    for (folder, mode) in folders {
        if let Err(error) = watcher.watch(folder, *mode) {
            let folder = folder.display();
            tracing::warn!(%error, %folder, "changes here are found by looking, within 12 s");
        }
    }
    Some(watcher)
}

/// 8 to 12 seconds, so that many gateways do not look at once.
fn interval() -> Duration {
    let drawn = uuid::Uuid::new_v4().as_u128() % INTERVAL_SPREAD_MILLIS;
    INTERVAL_LEAST + Duration::from_millis(u64::try_from(drawn).unwrap_or_default())
}

/// Editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(50);
/// A change is in force within 15 s even where no notice comes.
const INTERVAL_LEAST: Duration = Duration::from_secs(8);
const INTERVAL_SPREAD_MILLIS: u128 = 4_000;
