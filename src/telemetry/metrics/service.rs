//! The metrics of a service of the gateway, and of the settings it runs with.

use crate::telemetry::family::Counters;
use crate::telemetry::family::Family as _;
use crate::telemetry::family::Gauges;
use crate::telemetry::family::Registry;
use crate::telemetry::labels::service::Ending;
use crate::telemetry::metrics::Entry;

catalogue! {
    /// The metrics of one service; the label `task` is its name. A service that is not needed has none.
    ServiceMetrics, SERVICE_ENTRIES by "task":
    /// Whether a service of the gateway lives.
    gauge up "modgate_background_task_up": Gauges<()>;
    /// How often a service ended while the gateway went on, by how.
    counter ends "modgate_background_task_ends_total": Counters<(Ending,)>;
}

catalogue! {
    /// Which settings these are.
    ConfigMetrics, CONFIG_ENTRIES by "revision":
    /// Always 1; the label is a digest of the settings in force, secrets left out.
    gauge info "modgate_config_info": Gauges<()>;
}
