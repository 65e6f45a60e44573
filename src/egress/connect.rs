//! Measures how long it takes to make a connection: TCP, and TLS where it is spoken.

use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use crate::telemetry::Telemetry;

/// Stands before whatever makes connections to one origin.
#[derive(Debug, Clone)]
pub(in crate::egress) struct Timing {
    pub(in crate::egress) origin: Arc<str>,
    pub(in crate::egress) telemetry: Arc<Telemetry>,
}

/// What makes connections, measured.
#[derive(Debug, Clone)]
pub(in crate::egress) struct Timed<S> {
    inner: S,
    timing: Timing,
}

impl<S> Layer<S> for Timing {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timed { inner, timing: self.clone() }
    }
}

impl<S, R> Service<R> for Timed<S>
where
    S: Service<R, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (begun, timing) = (Instant::now(), self.timing.clone());
        let connecting = self.inner.call(request);
        Box::pin(async move {
            let made = connecting.await;
            if made.is_ok()
                && let Some(upstream) = timing.telemetry.upstream(&timing.origin)
            {
                upstream.connect_seconds.observe((), begun.elapsed().as_secs_f64());
            }
            made
        })
    }
}
