//! The handle of telemetry, as configured.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry::Telemetry;
use crate::telemetry::export::Exporter;
use crate::telemetry::trace::sampler::Sampler;

/// The handle; with an exporter traces leave through it.
pub(in crate::app) fn telemetry(
    config: &Config,
    exporter: Option<&Exporter>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<Telemetry>> {
    let names: Vec<_> = config.upstream.servers.iter().map(|server| server.name.clone()).collect();
    let settings = &config.telemetry;
    let sampler = Sampler::new(if exporter.is_some() { settings.trace_ratio } else { 0.0 })
        .trusting(settings.trace_trusted.clone());
    let mut telemetry = Telemetry::new(&names, sampler, Arc::clone(clock))?;
    if let Some(exporter) = exporter {
        telemetry = telemetry.exporting(exporter.clone());
        if settings.trace_late {
            telemetry = telemetry.keeping_late(settings.trace_slow);
        }
    }
    Ok(Arc::new(telemetry))
}
