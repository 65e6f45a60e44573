//! How many requests an upstream gets at a time, and how many wait for their turn.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::telemetry::metrics::UpstreamMetrics;

/// The turns at one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct Turns {
    free: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// A turn: it ends when this is dropped, with the last byte of the answer.
#[derive(Debug)]
pub(in crate::upstream) struct Turn<'a> {
    _slot: SemaphorePermit<'a>,
    metrics: Option<&'a UpstreamMetrics>,
}

impl Turns {
    /// So many at once; so many more may wait.
    pub(in crate::upstream) fn new(at_once: usize, most_waiting: usize) -> Self {
        Self { free: Semaphore::new(at_once), waiting: AtomicUsize::new(0), most_waiting }
    }

    /// Waits for a turn; `None` if too many wait already, or it does not come in time.
    ///
    /// Cancel safety: dropping the future leaves the queue.
    pub(in crate::upstream) async fn take<'a>(
        &'a self,
        until: Instant,
        metrics: Option<&'a UpstreamMetrics>,
    ) -> Option<Turn<'a>> {
        let slot = match self.free.try_acquire() {
            Ok(slot) => Some(slot),
            Err(_none_free) => self.wait(until, metrics).await,
        };
        let Some(slot) = slot else {
            if let Some(metrics) = metrics {
                metrics.refused.count(());
            }
            return None;
        };
        if let Some(metrics) = metrics {
            metrics.in_flight.add((), 1.0);
        }
        Some(Turn { _slot: slot, metrics })
    }

    async fn wait(
        &self,
        until: Instant,
        metrics: Option<&UpstreamMetrics>,
    ) -> Option<SemaphorePermit<'_>> {
        let _place = Place::take(self, metrics)?;
        timeout_at(until, self.free.acquire()).await.ok()?.ok()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.in_flight.add((), -1.0);
        }
    }
}

/// A place among those who wait.
struct Place<'a> {
    turns: &'a Turns,
    metrics: Option<&'a UpstreamMetrics>,
}

impl<'a> Place<'a> {
    fn take(turns: &'a Turns, metrics: Option<&'a UpstreamMetrics>) -> Option<Self> {
        let place = Self { turns, metrics };
        let before = turns.waiting.fetch_add(1, Ordering::Relaxed);
        place.show(1.0);
        (before < turns.most_waiting).then_some(place)
    }

    fn show(&self, by: f64) {
        if let Some(metrics) = self.metrics {
            metrics.waiting.add((), by);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.waiting.fetch_sub(1, Ordering::Relaxed);
        self.show(-1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn so_many_have_a_turn_so_many_wait_and_the_next_is_refused() {
        let turns = Turns::new(1, 1);
        let soon = Instant::now() + Duration::from_secs(20);
        let first = turns.take(soon, None).await.unwrap();
        let second = turns.take(soon, None);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(turns.take(soon, None).await.is_none(), "a third waits");
        drop(first);
        assert!(second.await.is_some());
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_turn_that_does_not_come_in_time_is_none() {
        let turns = Turns::new(1, 1);
        let first = turns.take(Instant::now(), None).await.unwrap();
        assert!(turns.take(Instant::now(), None).await.is_none());
        drop(first);
        assert!(turns.take(Instant::now(), None).await.is_some());
    }
}
