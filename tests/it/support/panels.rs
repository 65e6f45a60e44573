//! The panels of the shipped dashboards, asked of a live Prometheus.

use std::path::Path;

use serde_json::Value;

use super::monitoring::Monitoring;

/// Every board, as shipped.
pub(crate) fn boards() -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
        .collect()
}

/// What the Prometheus targets of a panel ask for.
pub(crate) fn targets(panel: &Value) -> Vec<(String, String)> {
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    let asked = targets.iter().filter(|target| target["datasource"]["type"] == "prometheus");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    asked.map(|target| (text(&target["legendFormat"]), filled(&text(&target["expr"])))).collect()
}

/// Panels whose query gives nothing, or no number at all, over the last seconds.
pub(crate) fn empty_panels(monitoring: &Monitoring) -> Vec<String> {
    let mut found = Vec::new();
    for board in boards() {
        for panel in board["panels"].as_array().unwrap() {
            for (_, expr) in targets(panel) {
                let series = monitoring.range(&expr, 20);
                let numbers = series
                    .iter()
                    .flat_map(|one| one["values"].as_array().cloned().unwrap_or_default());
                if !numbers.into_iter().any(|value| value[1] != "NaN") {
                    found.push(format!("{} / {}: {expr}", board["title"], panel["title"]));
                }
            }
        }
    }
    found
}

/// Variables as Grafana would fill them in, with short times.
fn filled(expr: &str) -> String {
    let pairs = [
        ("$__rate_interval", "5s"),
        ("$__range", "60s"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$slo", ".+"),
    ];
    pairs.iter().fold(expr.to_owned(), |text, (name, value)| text.replace(name, value))
}
