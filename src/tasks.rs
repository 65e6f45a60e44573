//! The only place that spawns: every task has a name, an owner, an end, and is counted when it dies.

pub mod flights;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault::Fault;
use crate::fault::Kind;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::JobState;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::service::Ending;
use crate::telemetry::labels::service::Service;
use crate::telemetry::metrics::ServiceMetrics;

/// A task that ended without a result: it panicked, or the gateway is stopping.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the task {0} ended without a result")]
pub struct TaskGone(&'static str);

impl Fault for TaskGone {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// A thread that a service has for itself.
#[derive(Debug)]
pub struct Thread {
    name: &'static str,
    run: JoinHandle<()>,
    ended: mpsc::Receiver<Infallible>,
}

impl Thread {
    /// Waits until it has ended, but not beyond `until`: one that hangs in the kernel is left to the end of the process.
    pub fn join(self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        if matches!(self.ended.recv_timeout(left), Err(RecvTimeoutError::Timeout)) {
            tracing::error!(
                thread = self.name,
                "a service thread does not end and is left behind: does its disk hang?"
            );
            return;
        }
        if self.run.join().is_err() {
            tracing::error!(thread = self.name, "a service thread panicked");
        }
    }
}

/// Blocking work in one state, as long as it lives.
struct Job {
    state: JobState,
    telemetry: Arc<Telemetry>,
}

impl Job {
    fn is(state: JobState, telemetry: &Arc<Telemetry>) -> Self {
        telemetry.metrics().blocking_jobs.add((state,), 1.0);
        Self { state, telemetry: Arc::clone(telemetry) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.telemetry.metrics().blocking_jobs.add((self.state,), -1.0);
    }
}

/// A service that lives, and what is told when it does not any more.
struct Alive {
    service: Service,
    metrics: ServiceMetrics,
    stop: CancellationToken,
    telemetry: Arc<Telemetry>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        if panicked {
            self.telemetry.metrics().panics.count(());
        } else if self.stop.is_cancelled() {
            return;
        }
        let how = if panicked { Ending::Panicked } else { Ending::Finished };
        self.metrics.up.set((), 0.0);
        self.metrics.ends.count((how,));
        let (task, how) = (self.service.text(), how.text());
        tracing::error!(task, how, "a service of the gateway ended: restart it, and report this");
    }
}

/// Spawns on the fetch runtime, which is not the listeners': a fill may block there without delaying an answer.
#[derive(Clone)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    stop: CancellationToken,
    blocking: Arc<Semaphore>,
    telemetry: Arc<Telemetry>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tasks", self.tracker.len())
    }
}

impl Tasks {
    /// Tasks on a runtime. At most `blocking` jobs that hash, inflate or sync run at once; others wait.
    pub fn new(runtime: Handle, blocking: usize, telemetry: Arc<Telemetry>) -> Self {
        Self {
            runtime,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            blocking: Arc::new(Semaphore::new(blocking.max(1))),
            telemetry,
        }
    }

    /// The handle of metrics, for work that runs here.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The same, to be kept.
    pub fn telemetry_handle(&self) -> Arc<Telemetry> {
        Arc::clone(&self.telemetry)
    }

    /// Tells services to end; what they should wait for.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs work to its end, whoever still waits for it. Cancel safety: dropping the returned future leaves the
    /// work running.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn run<T, F>(
        &self,
        name: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T, TaskGone>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let running = self.tracker.spawn_on(work, &self.runtime);
        let telemetry = Arc::clone(&self.telemetry);
        async move {
            running.await.map_err(|gone| {
                if gone.is_panic() {
                    telemetry.metrics().panics.count(());
                    tracing::error!(task = name, "a task panicked");
                }
                TaskGone(name)
            })
        }
    }

    /// Runs what should live as long as the gateway does, until it is told to stop. If it ends before, that is counted
    /// and told.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn serve<F>(&self, service: Service, work: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let alive = self.alive(service);
        let work = async move {
            let _alive = alive;
            let _ended = work.await;
        };
        let _running = self.tracker.spawn_on(work, &self.runtime);
    }

    /// Runs work on the event loop of this thread, which need not be the runtime of all other tasks.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn here(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _running = tokio::spawn(self.tracker.track_future(work));
    }

    fn alive(&self, service: Service) -> Alive {
        let metrics = self.telemetry.service(service);
        metrics.up.set((), 1.0);
        let (stop, telemetry) = (self.stop.clone(), Arc::clone(&self.telemetry));
        Alive { service, metrics, stop, telemetry }
    }

    /// Lets other work of this thread have its turn: between pieces of work that take parts of a millisecond.
    pub async fn give_way(&self) {
        tokio::task::yield_now().await;
    }

    /// Runs blocking work in a bounded pool.
    #[expect(clippy::disallowed_methods, reason = "the one place that blocks")]
    pub async fn block<T, F>(&self, name: &'static str, work: F) -> Result<T, TaskGone>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let queued = Job::is(JobState::Queued, &self.telemetry);
        let _slot = self.blocking.acquire().await.map_err(|_closed| TaskGone(name))?;
        drop(queued);
        let job = Job::is(JobState::Running, &self.telemetry);
        let running = self.runtime.spawn_blocking(move || {
            // whoever asked may have left: it runs to its end
            let _job = job;
            work()
        });
        running.await.map_err(|gone| {
            if gone.is_panic() {
                self.telemetry.metrics().panics.count(());
                tracing::error!(task = name, "blocking work panicked");
            }
            TaskGone(name)
        })
    }

    /// Starts a thread for a service that blocks for its whole life.
    pub fn thread(
        &self,
        service: Service,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        let (ends, ended) = mpsc::channel::<Infallible>();
        let (name, alive) = (service.text(), self.alive(service));
        let run = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // dropped when the work is done, or panics
            let (_ends, _alive) = (ends, alive);
            work();
        });
        Ok(Thread { name, run: run?, ended })
    }

    /// Ends services and waits until every task is done.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::telemetry::page::Format;
    use crate::telemetry::trace::sampler::Sampler;

    fn tasks() -> Tasks {
        let telemetry = Telemetry::new(&[], Sampler::default(), Arc::new(SystemClock)).unwrap();
        Tasks::new(Handle::current(), 1, Arc::new(telemetry))
    }

    fn has(tasks: &Tasks, line: &str) -> bool {
        tasks.telemetry().page().render(Format::Text).lines().any(|one| one == line)
    }

    #[tokio::test]
    async fn a_service_that_ends_or_panics_is_missed_and_one_that_is_told_to_stop_is_not() {
        let tasks = tasks();
        assert!(!tasks.telemetry().page().render(Format::Text).contains("background_task"));
        let stop = tasks.stop().clone();
        tasks.serve(Service::PolicyWatch, async move { stop.cancelled().await });
        assert!(has(&tasks, "modgate_background_task_up{task=\"policy_watch\"} 1"));
        let ended = "modgate_background_task_ends_total{task=\"blob_scrub\",how=\"panicked\"}";
        tasks.serve(Service::BlobScrub, async { panic!("a defect") });
        tasks.serve(Service::ClusterBus, async { 7 });
        let thread = tasks.thread(Service::AuditWriter, || ()).unwrap();
        thread.join(Instant::now() + Duration::from_secs(20));
        while !has(&tasks, &format!("{ended} 1")) {
            tasks.give_way().await;
        }
        for task in ["blob_scrub", "cluster_bus", "audit_writer"] {
            assert!(
                has(&tasks, &format!("modgate_background_task_up{{task=\"{task}\"}} 0")),
                "{task}"
            );
        }
        assert!(has(&tasks, "modgate_panics_total 1"));
        tasks.drain().await;
        let up = "modgate_background_task_up{task=\"policy_watch\"} 1";
        assert!(has(&tasks, up), "it ended because it was told to");
    }

    #[tokio::test]
    async fn the_end_waits_for_a_thread_but_not_for_one_that_hangs() {
        let tasks = tasks();
        let (release, held) = mpsc::channel::<()>();
        let (tell, done) = mpsc::channel();
        let hanging = tasks.thread(Service::AuditSink, move || held.recv().unwrap()).unwrap();
        let working = tasks.thread(Service::AuditKeeper, move || tell.send(()).unwrap()).unwrap();
        let soon = Instant::now() + Duration::from_secs(20);
        working.join(soon);
        assert!(done.try_recv().is_ok());
        hanging.join(Instant::now());
        // it hung all the while
        assert!(release.send(()).is_ok());
    }
}
