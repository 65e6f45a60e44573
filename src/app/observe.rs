//! The handle of telemetry, as configured.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::ldap::Protection;
use crate::config::server::Plaintext;
use crate::telemetry::Telemetry;
use crate::telemetry::export::Exporter;
use crate::telemetry::labels::service::Insecure;
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
    let insecure = &telemetry.metrics().insecure_setting;
    let anywhere = config.server.plaintext == Plaintext::InsecureAnywhere;
    let directories = &config.identity.ldap;
    for (setting, is_on) in [
        (Insecure::Anywhere, anywhere && config.server.tls_cert.is_none()),
        (Insecure::Plaintext, directories.iter().any(|one| one.protection == Protection::None)),
    ] {
        insecure.set((setting,), if is_on { 1.0 } else { 0.0 });
    }
    Ok(Arc::new(telemetry))
}
