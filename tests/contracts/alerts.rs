//! `alerts/alerts.toml` is the one source of rules, unit tests and runbooks; here they are written and held to it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use modgate::telemetry::labels::Attempt;
use modgate::telemetry::labels::Label as _;
use serde::Deserialize;

use crate::catalogue::Catalogue;
use crate::source::Finding;
use crate::source::Tree;
use crate::written;

/// `alerts.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alerts {
    runbooks: String,
    slo: Vec<Slo>,
    burn: Runbook,
    pub(crate) alert: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slo {
    name: String,
    objective: f64,
    promise: String,
    errors: String,
    requests: String,
    burning: Series,
    quiet: Series,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Alert {
    group: String,
    pub(crate) name: String,
    pub(crate) expr: String,
    #[serde(rename = "for")]
    hold: String,
    severity: String,
    summary: String,
    description: String,
    dashboard: String,
    #[serde(flatten)]
    runbook: Runbook,
    fires: Case,
    silent: Option<Case>,
}

#[derive(Debug, Deserialize)]
struct Runbook {
    meaning: String,
    impact: String,
    queries: Vec<String>,
    mitigation: String,
    fault: String,
}

/// Samples by series, in promtool's own notation.
type Series = BTreeMap<String, String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    at: String,
    series: Series,
    labels: BTreeMap<String, String>,
    summary: String,
    description: String,
}

/// Severity, factor, long and short window, hold: 2 %, 5 %, 10 % and 10 % of the budget.
const BURN: [(&str, &str, &str, &str, &str); 4] = [
    ("critical", "14.4", "1h", "5m", "2m"),
    ("critical", "6", "6h", "30m", "15m"),
    ("warning", "3", "1d", "2h", "1h"),
    ("warning", "1", "3d", "6h", "3h"),
];
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];
const JOB: &str = "job=\"modgate\"";
const TESTED: &str = "job=\"modgate\",instance=\"a\"";
const BURN_NAME: &str = "ModgateErrorBudgetBurn";

/// Reads the source.
pub(crate) fn read(tree: &Tree) -> Alerts {
    toml::from_str(&tree.text("alerts/alerts.toml")).unwrap()
}

impl Slo {
    fn budget(&self) -> String {
        let text = format!("{:.4}", 1.0 - self.objective);
        text.trim_end_matches('0').to_owned()
    }
}

/// Each alert, and what its runbook says fires it.
pub(crate) fn faults(alerts: &Alerts) -> Vec<(String, String)> {
    let burn = (BURN_NAME.to_owned(), alerts.burn.fault.clone());
    let causes = alerts.alert.iter().map(|one| (one.name.clone(), one.runbook.fault.clone()));
    causes.chain([burn]).collect()
}

/// Names that the rules record.
pub(crate) fn recorded(alerts: &Alerts) -> BTreeSet<String> {
    recordings(alerts).into_iter().map(|(_, name, _)| name).collect()
}

/// Objective, name and expression of everything that is recorded.
fn recordings(alerts: &Alerts) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for slo in &alerts.slo {
        let at = |text: &str, window: &str| {
            text.replace("[W]", &format!("[{window}]")).replace("$J", JOB)
        };
        let mut add = |name: String, expr: String| all.push((slo.name.clone(), name, expr));
        for window in WINDOWS {
            let (errors, requests) = (at(&slo.errors, window), at(&slo.requests, window));
            add(
                format!("modgate:slo_errors:ratio_rate{window}"),
                format!("({errors}) / ({requests} > 0)"),
            );
        }
        add("modgate:slo_errors:rate5m".to_owned(), at(&slo.errors, "5m"));
        add("modgate:slo_requests:rate5m".to_owned(), at(&slo.requests, "5m"));
        add("modgate:slo_objective:ratio".to_owned(), format!("vector({})", slo.objective));
        let (name, budget) = (&slo.name, slo.budget());
        // weighted by requests: a quiet night must not count as much as a busy morning
        add(
            "modgate:slo_error_budget_remaining:ratio30d".to_owned(),
            format!(
                "1 - (sum_over_time(modgate:slo_errors:rate5m{{slo=\"{name}\"}}[30d]) / \
                 (sum_over_time(modgate:slo_requests:rate5m{{slo=\"{name}\"}}[30d]) > 0)) / {budget}"
            ),
        );
    }
    all
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn rules(alerts: &Alerts) -> String {
    let mut out =
        "# Written from alerts.toml by `make alerts`; change that file.\ngroups:\n".to_owned();
    let mut last = String::new();
    for (slo, name, expr) in recordings(alerts) {
        if slo != last {
            writeln!(out, "- name: modgate-slo-{}\n  rules:", slo.replace('_', "-")).unwrap();
            last.clone_from(&slo);
        }
        writeln!(
            out,
            "  - record: {name}\n    expr: {}\n    labels: {{slo: {slo}}}",
            quoted(&expr)
        )
        .unwrap();
    }
    writeln!(out, "- name: modgate-slo-burn\n  rules:").unwrap();
    for slo in &alerts.slo {
        burns(&mut out, alerts, slo);
    }
    let mut last = "";
    for alert in &alerts.alert {
        if alert.group != last {
            writeln!(out, "- name: modgate-{}\n  rules:", alert.group).unwrap();
            last = &alert.group;
        }
        let expr = quoted(&alert.expr.replace("$J", JOB));
        write!(
            out,
            "  - alert: {}\n    expr: {expr}\n    for: {}\n    labels: {{severity: {}}}\n    annotations:\n\
             {}",
            alert.name,
            alert.hold,
            alert.severity,
            annotations("      ", alerts, &alert.name, &alert.texts()),
        )
        .unwrap();
    }
    out
}

impl Alert {
    fn texts(&self) -> [String; 3] {
        let link = format!("/d/modgate-{}", self.dashboard);
        [self.summary.clone(), self.description.clone(), link]
    }
}

/// Summary, description and the two links, each on its line.
fn annotations(indent: &str, alerts: &Alerts, name: &str, texts: &[String; 3]) -> String {
    let [summary, description, link] = texts;
    let runbook = format!("{}#{}", alerts.runbooks, name.to_lowercase());
    format!(
        "{indent}summary: {}\n{indent}description: {}\n{indent}runbook_url: {runbook}\n\
         {indent}dashboard_url: {link}\n",
        quoted(summary),
        quoted(description),
    )
}

fn burn_texts(slo: &Slo, factor: &str, long: &str, told: (&str, &str)) -> [String; 3] {
    let (job, value) = told;
    let allowed = (1.0 - slo.objective) * 100.0;
    [
        format!("The {} SLO of {job} burns its 30-day budget {factor} times too fast.", slo.name),
        format!("Over {long} the error ratio is {value}; the objective allows {allowed:.1}%."),
        format!("/d/modgate-slo?var-slo={}", slo.name),
    ]
}

fn burns(out: &mut String, alerts: &Alerts, slo: &Slo) {
    let (name, budget) = (&slo.name, slo.budget());
    for (severity, factor, long, short, hold) in BURN {
        let over = |window: &str| {
            format!(
                "modgate:slo_errors:ratio_rate{window}{{slo=\"{name}\"}} > ({factor} * {budget})"
            )
        };
        let told = ("{{ $labels.job }}", "{{ $value | humanizePercentage }}");
        let texts = burn_texts(slo, factor, long, told);
        write!(
            out,
            "  - alert: {BURN_NAME}\n    expr: {}\n    for: {hold}\n    labels: {{severity: {severity}, slo: \
             {name}, long: {long}, short: {short}}}\n    annotations:\n{}",
            quoted(&format!("{} and {}", over(long), over(short))),
            annotations("      ", alerts, BURN_NAME, &texts),
        )
        .unwrap();
    }
}

fn input(out: &mut String, name: &str, series: &Series) {
    writeln!(out, "- name: {}\n  interval: 1m\n  input_series:", quoted(name)).unwrap();
    for (series, values) in series {
        let series = quoted(&series.replace("$T", TESTED));
        writeln!(out, "  - {{series: {series}, values: '{values}'}}").unwrap();
    }
    out.push_str("  alert_rule_test:\n");
}

fn silent(out: &mut String, name: &str, at: &str) {
    writeln!(out, "  - {{alertname: {name}, eval_time: {at}, exp_alerts: []}}").unwrap();
}

/// The unit tests for promtool: each alert fires once, with its labels and texts, and keeps silent once.
fn unit_tests(alerts: &Alerts) -> String {
    let mut groups: Vec<String> = Vec::new();
    let slos = alerts.slo.iter().map(|slo| format!("slo-{}", slo.name.replace('_', "-")));
    groups.extend(slos.chain(["slo-burn".to_owned()]));
    groups.extend(alerts.alert.iter().map(|alert| alert.group.clone()));
    groups.dedup();
    let order: Vec<_> = groups.iter().map(|group| format!("modgate-{group}")).collect();
    let mut out = format!(
        "# Written from alerts.toml by `make alerts`; run it with: promtool test rules modgate.test.yml\n\
         rule_files: [modgate.rules.yml]\nevaluation_interval: 1m\ngroup_eval_order: [{}]\ntests:\n",
        order.join(", "),
    );
    for slo in &alerts.slo {
        burn_tests(&mut out, alerts, slo);
    }
    for alert in &alerts.alert {
        input(
            &mut out,
            &format!("{} fires: {}", alert.name, alert.runbook.fault),
            &alert.fires.series,
        );
        let Case { at, labels, summary, description, .. } = &alert.fires;
        writeln!(out, "  - alertname: {}\n    eval_time: {at}\n    exp_alerts:", alert.name)
            .unwrap();
        let mut labels = labels.clone();
        labels.insert("severity".to_owned(), alert.severity.clone());
        if alert.name != "ModgateWatchdog" {
            labels.insert("job".to_owned(), "modgate".to_owned());
        }
        expected(&mut out, &labels);
        let texts = [summary.clone(), description.clone(), alert.texts()[2].clone()];
        out.push_str(&annotations("        ", alerts, &alert.name, &texts));
        if let Some(case) = &alert.silent {
            input(&mut out, &format!("{} keeps silent", alert.name), &case.series);
            silent(&mut out, &alert.name, &case.at);
        }
    }
    out
}

fn expected(out: &mut String, labels: &BTreeMap<String, String>) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    writeln!(out, "    - exp_labels: {{{}}}\n      exp_annotations:", labels.join(", ")).unwrap();
}

/// At 8 minutes only the fastest of the four has been true for long enough.
fn burn_tests(out: &mut String, alerts: &Alerts, slo: &Slo) {
    let value = if slo.name == "latency_miss" { "80%" } else { "20%" };
    input(out, &format!("{} burns", slo.name), &slo.burning);
    silent(out, BURN_NAME, "2m");
    writeln!(out, "  - alertname: {BURN_NAME}\n    eval_time: 8m\n    exp_alerts:").unwrap();
    let (severity, factor, long, short, _) = BURN[0];
    let labels = [
        ("severity", severity),
        ("slo", slo.name.as_str()),
        ("long", long),
        ("short", short),
        ("job", "modgate"),
    ];
    expected(out, &labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let texts = burn_texts(slo, factor, long, ("modgate", value));
    out.push_str(&annotations("        ", alerts, BURN_NAME, &texts));
    input(out, &format!("{} does not burn", slo.name), &slo.quiet);
    silent(out, BURN_NAME, "80m");
}

fn runbooks(alerts: &Alerts) -> String {
    let mut out =
        "# Runbooks\n\nOne heading an alert, one a kind of failure of an upstream. Written from \
                   [alerts.toml](alerts.toml) by `make alerts`; change that file.\n"
            .to_owned();
    runbook(&mut out, BURN_NAME, &alerts.burn);
    out.push_str("\n| objective | promise | of requests, in 30 days |\n|---|---|---|\n");
    for slo in &alerts.slo {
        let share = format!("{:.2}", slo.objective * 100.0);
        let share = share.trim_end_matches('0').trim_end_matches('.');
        writeln!(out, "| {} | {} | {share} % |", slo.name, slo.promise).unwrap();
    }
    for alert in &alerts.alert {
        runbook(&mut out, &alert.name, &alert.runbook);
    }
    out.push_str(
        "\n# Kinds of failure of an upstream\n\nThe same word stands in the label `result` of \
         `modgate_upstream_requests_total`, in the span, the access line and the audit event \
         (`upstream.result`), and in the body that the go command prints (`reason`).\n",
    );
    for kind in Attempt::values().iter().map(|kind| kind.text()) {
        writeln!(out, "\n## {kind}\n\n{}", what_to_do(kind)).unwrap();
    }
    out
}

fn runbook(out: &mut String, name: &str, runbook: &Runbook) {
    write!(
        out,
        "\n## {name}\n\n**Meaning.** {}\n\n**Impact.** {}\n\n**Diagnosis.**\n\n```promql\n{}\n```\n\n\
         **Mitigation.** {}\n\n**What fires it in `make fault-run`:** {}.\n",
        runbook.meaning,
        runbook.impact,
        runbook.queries.join("\n"),
        runbook.mitigation,
        runbook.fault,
    )
    .unwrap();
}

/// What a kind of failure means and what is done about it.
fn what_to_do(kind: &str) -> &'static str {
    match kind {
        "success" => "No failure: its content came and passed the checks.",
        "not_found" => "No failure: it says that it has no such thing (404).",
        "gone" => "No failure: it says that it has no such thing any more (410).",
        "dns" => "Its name is not resolved. Ask the resolver of the gateway's machine for it.",
        "connect_refused" => "Nobody listens there: it is down, or the port is wrong.",
        "connect_timeout" => {
            "No handshake within upstream.connect_timeout: a firewall drops, or it is overloaded."
        }
        "connect" => {
            "Another failure to connect, such as no route. The access line has the system's words."
        }
        "tls_untrusted" => {
            "Its certificate is signed by an authority we do not know, or is for another name. Set ca_file of the upstream, or mend its certificate."
        }
        "tls_expired" => "Its certificate has ended, or has not begun: renew it, or set a clock.",
        "tls" => "TLS fails in another way; often plain HTTP is spoken on the port.",
        "timeout_first_byte" => {
            "It took the request and said nothing in time. It is overloaded, or fetches slowly itself: see first_byte_timeout and zip_first_byte_timeout."
        }
        "timeout_total" => "The body came too slowly for total_timeout or zip_total_timeout.",
        "reset" => "The connection was lost under way; often a proxy between cuts it.",
        "protocol" => {
            "What came is no answer of a module proxy: a login page, a redirect that egress forbids, an info of another version. Ask it with curl."
        }
        "body_truncated" => "Fewer bytes came than were announced. It was asked again by itself.",
        "too_large" => "Over the size limit: upstream.max_zip, or 16 MiB for a go.mod.",
        "upstream_4xx" => {
            "A 4xx that is no absence, mostly 401 or 403: our credentials there are wrong."
        }
        "upstream_429" => "It asks us to slow down. Give it less, or agree on more.",
        "upstream_5xx" => "It failed by itself; its own log says why.",
        "local" => "Our own disk failed under the download: space or rights of cache.dir.",
        "checksum_mismatch" => {
            "The bytes are not those whose sum it sent along (Repr-Digest, Content-Digest or X-Checksum-Sha256). Something changes them under way, or at rest there. See ModgateIntegrityFailure."
        }
        "zip_invalid" => "Its zip breaks the rules of module zips. See ModgateIntegrityFailure.",
        "circuit_open" => {
            "It was not asked: it failed too often, and rests. Look for the kind before."
        }
        "client_closed" => "Given up because nobody waited any more. Not a fault.",
        _ => "",
    }
}

/// All findings about alerts: files that are not what the source says, and rules that ask for what there is not.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let alerts = read(tree);
    let mut found = written(tree, "alerts/modgate.rules.yml", &rules(&alerts));
    found.extend(written(tree, "alerts/modgate.test.yml", &unit_tests(&alerts)));
    found.extend(written(tree, "alerts/runbooks.md", &runbooks(&alerts)));
    let at = |what: String| Finding::new("alerts/alerts.toml", 1, "alerts", what);
    let catalogue = Catalogue::with(&recorded(&alerts));
    for expression in expressions(&alerts) {
        found.extend(catalogue.problems(&expression).into_iter().map(at));
    }
    for alert in &alerts.alert {
        let has_case = alert.silent.is_some() || alert.name == "ModgateWatchdog";
        let board = format!("dashboards/{}.json", alert.dashboard);
        if !has_case || alert.fires.series.is_empty() {
            found.push(at(format!("{}: one case that fires, one that does not", alert.name)));
        }
        if !tree.files().contains(&board) {
            found.push(at(format!("{}: there is no {board}", alert.name)));
        }
        if !["critical", "warning", "none"].contains(&alert.severity.as_str()) {
            found.push(at(format!("{}: severity {}", alert.name, alert.severity)));
        }
    }
    let kinds = Attempt::values().iter().map(|kind| kind.text());
    let untold = kinds.filter(|kind| what_to_do(kind).is_empty());
    found.extend(untold.map(|kind| at(format!("no runbook for the failure {kind}"))));
    found
}

/// Every expression: recorded, alerting, and in a runbook.
pub(crate) fn expressions(alerts: &Alerts) -> Vec<String> {
    let recorded = recordings(alerts).into_iter().map(|(_, _, expr)| expr);
    let alerting = alerts.alert.iter().map(|alert| alert.expr.replace("$J", JOB));
    let told = alerts.alert.iter().flat_map(|alert| alert.runbook.queries.clone());
    recorded.chain(alerting).chain(told).chain(alerts.burn.queries.clone()).collect()
}

/// Runs one of Prometheus' own tools over files of `alerts/`.
fn tool(name: &str, arguments: &[&str]) -> Result<(), String> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts");
    let output = Command::new(name).args(arguments).current_dir(directory).output();
    let output = output.map_err(|error| format!("{name}: {error}; tests/setup.sh installs it"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_and_keeps_silent() {
    tool("promtool", &["check", "rules", "modgate.rules.yml"]).unwrap();
    tool("promtool", &["test", "rules", "modgate.test.yml"]).unwrap();
    tool("promtool", &["check", "rules", "no-such-file.yml"]).unwrap_err();
}

#[test]
fn alertmanager_takes_the_example() {
    tool("amtool", &["check-config", "alertmanager.example.yml"]).unwrap();
}
