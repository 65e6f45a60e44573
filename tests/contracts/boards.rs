//! `dashboards/boards.toml` is the one source of the dashboards; here their JSON is written and held to it, and the
//! rules that every panel keeps.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use modgate::telemetry::metrics::entries;
use promql_parser::parser;
use promql_parser::parser::Expr;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::alerts;
use crate::catalogue;
use crate::catalogue::Catalogue;
use crate::source::Finding;
use crate::source::Tree;
use crate::written;

/// `boards.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Boards {
    board: Vec<Board>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    id: String,
    title: String,
    question: String,
    /// A label of recorded series that can be chosen.
    variable: Option<String>,
    row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    #[serde(default = "timeseries")]
    kind: String,
    unit: String,
    about: String,
    ask: Vec<String>,
    to: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default = "green")]
    base: String,
    #[serde(default)]
    steps: Vec<(f64, String)>,
    #[serde(default)]
    exemplars: bool,
    #[serde(default)]
    stack: bool,
}

fn timeseries() -> String {
    "timeseries".to_owned()
}

fn green() -> String {
    "green".to_owned()
}

const CHOSEN: &str = "job=~\"$job\",instance=~\"$instance\"";
/// Panel types of Grafana itself that we use.
const KINDS: [&str; 5] = ["stat", "timeseries", "table", "bargauge", "heatmap"];
/// Grafana draws 24 columns.
const COLUMNS: usize = 24;

impl Panel {
    /// Legend and expression of each target.
    fn targets(&self) -> impl Iterator<Item = (String, String)> {
        self.ask.iter().map(|ask| {
            let (legend, expr) = ask.split_once(" := ").unwrap();
            let expr = expr.replace("$S", CHOSEN).replace("$J", "job=~\"$job\"");
            (legend.to_owned(), expr)
        })
    }

    fn json(&self, number: usize, place: &Value) -> Value {
        let source = self.source.as_deref().unwrap_or("prometheus");
        let source = json!({"type": if source == "logs" { "loki" } else { source },
            "uid": if source == "logs" { "${logs}" } else { "${datasource}" }});
        let targets: Vec<_> = self.targets().zip('A'..).map(|((legend, expr), letter)| {
            let instant = ["table", "bargauge"].contains(&self.kind.as_str());
            json!({"refId": letter.to_string(), "datasource": source, "expr": expr, "legendFormat": legend,
                "exemplar": self.exemplars, "instant": instant, "range": !instant,
                "format": match self.kind.as_str() { "table" => "table", "heatmap" => "heatmap", _ => "time_series" }})
        }).collect();
        let mut steps = vec![json!({"color": self.base, "value": null})];
        steps.extend(
            self.steps.iter().map(|(value, color)| json!({"color": color, "value": value})),
        );
        let lines = !self.steps.is_empty() && self.kind == "timeseries";
        json!({
            "id": number, "type": self.kind, "title": self.title, "description": self.about,
            "datasource": source, "gridPos": place, "targets": targets,
            "fieldConfig": {"defaults": {
                "unit": self.unit, "min": 0, "noValue": "no data",
                "color": {"mode": if self.kind == "stat" { "thresholds" } else { "palette-classic" }},
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {
                    "fillOpacity": 10, "lineWidth": 1, "showPoints": "never",
                    "stacking": {"mode": if self.stack { "normal" } else { "none" }},
                    "thresholdsStyle": {"mode": if lines { "dashed" } else { "off" }},
                }}, "overrides": []},
            "options": options(&self.kind),
            "links": [{"title": format!("next: {}", self.to), "url": format!("/d/modgate-{}?${{__url_time_range}}&${{job:queryparam}}&${{instance:queryparam}}&${{datasource:queryparam}}", self.to)}],
        })
    }
}

fn options(kind: &str) -> Value {
    let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    match kind {
        "stat" => json!({"reduceOptions": last, "colorMode": "value", "graphMode": "area"}),
        "bargauge" => json!({"reduceOptions": last, "orientation": "horizontal"}),
        "table" => json!({"showHeader": true}),
        "heatmap" => json!({"calculate": false, "yAxis": {"unit": "s"}}),
        _ => json!({"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
            "tooltip": {"mode": "multi", "sort": "desc"}}),
    }
}

fn variable(name: &str, query: &str) -> Value {
    json!({"name": name, "label": name, "type": "query", "query": query, "multi": true, "includeAll": true,
        "datasource": {"type": "prometheus", "uid": "${datasource}"}, "allValue": ".+", "refresh": 2, "sort": 1,
        "current": {"text": "All", "value": "$__all"}})
}

fn annotation(name: &str, color: &str, expr: &str, text: &str) -> Value {
    json!({"name": name, "enable": true, "iconColor": color, "expr": expr, "textFormat": text, "titleFormat": name,
        "datasource": {"type": "prometheus", "uid": "${datasource}"}})
}

/// Name, colour, expression and text of what is marked on every board.
fn annotations() -> [(&'static str, &'static str, String, &'static str); 3] {
    let chosen = |text: &str| text.replace("$S", CHOSEN);
    [
        (
            "start or deploy",
            "purple",
            chosen("changes(process_start_time_seconds{$S}[1m]) > 0"),
            "{{instance}}",
        ),
        (
            "policy changed",
            "blue",
            chosen("changes(modgate_policy_last_reload_success_timestamp_seconds{$S}[1m]) > 0"),
            "{{instance}}",
        ),
        (
            "alert",
            "red",
            "ALERTS{alertstate=\"firing\",severity=~\"critical|warning\"}".to_owned(),
            "{{alertname}}",
        ),
    ]
}

impl Board {
    fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.row.iter().flat_map(|row| &row.panels)
    }

    /// Rows from top to bottom; each line of panels fills the whole width.
    fn laid_out(&self) -> Vec<Value> {
        let (mut out, mut top, mut number) = (Vec::new(), 0, 0);
        for row in &self.row {
            number += 1;
            out.push(json!({"id": number, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top}}));
            top += 1;
            let stats = row.panels.iter().all(|panel| panel.kind == "stat");
            let (across, height) = if stats { (6, 4) } else { (3, 8) };
            for line in lines(&row.panels, across) {
                for (place, panel) in line.iter().enumerate() {
                    number += 1;
                    let width = COLUMNS / line.len();
                    let at = json!({"h": height, "w": width, "x": width * place, "y": top});
                    out.push(panel.json(number, &at));
                }
                top += height;
            }
        }
        out
    }

    fn json(&self) -> String {
        let mut variables = vec![
            json!({"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus"}),
            json!({"name": "logs", "label": "logs", "type": "datasource", "query": "loki", "hide": 2}),
            variable("job", "label_values(modgate_build_info, job)"),
            variable("instance", "label_values(modgate_build_info{job=~\"$job\"}, instance)"),
        ];
        variables.extend(self.variable.as_ref().map(|name| {
            variable(name, &format!("label_values(modgate:slo_objective:ratio, {name})"))
        }));
        let marks =
            annotations().map(|(name, color, expr, text)| annotation(name, color, &expr, text));
        let board = json!({
            "uid": format!("modgate-{}", self.id), "title": format!("modgate / {}", self.title),
            "description": self.question, "tags": ["modgate"], "editable": false, "schemaVersion": 39, "version": 1,
            "refresh": "30s", "timezone": "browser", "graphTooltip": 1, "time": {"from": "now-1h", "to": "now"},
            "links": [{"type": "dashboards", "title": "modgate", "tags": ["modgate"], "asDropdown": true,
                "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link",
                "tooltip": "the other questions", "url": ""}],
            "annotations": {"list": marks}, "templating": {"list": variables}, "panels": self.laid_out(),
        });
        serde_json::to_string_pretty(&board).unwrap() + "\n"
    }
}

/// Panels in lines of nearly the same length, none longer than that.
fn lines(panels: &[Panel], across: usize) -> Vec<&[Panel]> {
    let count = panels.len().div_ceil(across);
    // 5 of 3 across are 3 and 2, 4 are 2 and 2: each width divides the columns
    panels.chunks(panels.len().div_ceil(count)).collect()
}

fn read(tree: &Tree) -> Boards {
    toml::from_str(&tree.text("dashboards/boards.toml")).unwrap()
}

fn readme(boards: &Boards) -> String {
    let mut out = "# Dashboards\n\nTen boards, each answers one question. Import the JSON files into Grafana as they \
        are, or provision them: [deploy/grafana](../deploy/grafana) does.\nThey are written from \
        [boards.toml](boards.toml) by `make boards`, and held to it, to the catalogue of metrics (`modgate metrics`) \
        and to the rules below by `make contracts`.\n\n| board | the question it answers |\n|---|---|\n"
        .to_owned();
    for board in &boards.board {
        writeln!(out, "| [{}]({}.json) | {} |", board.title, board.id, board.question).unwrap();
    }
    out.push_str(
        "\nThe way down: overview, the kind of failure, upstreams, a dot of an exemplar, its trace, the access line, \
         the audit event. All of them carry one trace id.\n\n**Every panel** names a unit, says what it shows, asks \
         the chosen data source, jobs and instances, and links to the board with the next question. Rates use \
         `$__rate_interval`, counters stand only inside a rate, times ask for exemplars. Starts, policy changes and \
         alerts are marked on every board.\n\nPanels with logs need Loki; they were parsed by nobody here. The rest \
         was asked of a live Prometheus by the integration tests.\n",
    );
    out
}

/// All findings about dashboards.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let (boards, rules) = (read(tree), alerts::read(tree));
    let catalogue = Catalogue::with(&alerts::recorded(&rules));
    let ids: BTreeSet<_> = boards.board.iter().map(|board| board.id.as_str()).collect();
    let mut found = written(tree, "dashboards/README.md", &readme(&boards));
    let mut asked: BTreeSet<String> = BTreeSet::new();
    for board in &boards.board {
        found.extend(written(tree, &format!("dashboards/{}.json", board.id), &board.json()));
        for panel in board.panels() {
            let what = judge(panel, &ids, &catalogue);
            let at = |what| {
                Finding::new(
                    "dashboards/boards.toml",
                    1,
                    "dashboards",
                    format!("{}, {}: {what}", board.id, panel.title),
                )
            };
            found.extend(what.into_iter().map(at));
            asked.extend(panel.targets().flat_map(|(_, expr)| catalogue::names(&filled(&expr))));
        }
    }
    asked.extend(alerts::expressions(&rules).iter().flat_map(|expr| catalogue::names(expr)));
    let asked: BTreeSet<_> = asked.iter().map(|name| catalogue::base(name)).collect();
    found.extend(entries().filter(|entry| !asked.contains(entry.name)).map(|entry| {
        let what = format!("{} is on no panel and in no alert", entry.name);
        Finding::new("dashboards/boards.toml", 1, "dashboards", what)
    }));
    found
}

/// An expression as Grafana would send it.
fn filled(expr: &str) -> String {
    expr.replace("$__rate_interval", "1m").replace("$__range", "1h")
}

fn judge(panel: &Panel, boards: &BTreeSet<&str>, catalogue: &Catalogue) -> Vec<String> {
    let rules = [
        (KINDS.contains(&panel.kind.as_str()), "not a kind of panel we use"),
        (panel.about.ends_with('.'), "about is no sentence"),
        (!panel.unit.is_empty(), "no unit"),
        (boards.contains(panel.to.as_str()), "leads to no board"),
        (!panel.ask.is_empty(), "asks nothing"),
    ];
    let mut found = broken(&rules);
    // nobody here reads what is asked of logs
    for (legend, expr) in panel.targets().filter(|_| panel.source.is_none()) {
        let bare = expr.contains("_bucket{") && !expr.contains("histogram_quantile");
        let serving = expr.contains("modgate_http_") && expr.contains("_seconds_bucket");
        found.extend(broken(&[
            (!legend.is_empty(), "a target without a legend"),
            (!expr.contains("$__interval"), "$__interval in a rate"),
            (!bare || panel.kind == "heatmap", "buckets as they are"),
            (
                !serving || panel.kind != "timeseries" || panel.exemplars,
                "a time of requests without exemplars",
            ),
        ]));
        found.extend(catalogue.problems(&filled(&expr)));
        found.extend(unchosen(&expr));
        found.extend(bare_counters(&filled(&expr)));
    }
    found
}

fn broken(rules: &[(bool, &str)]) -> Vec<String> {
    rules.iter().filter(|(kept, _)| !kept).map(|(_, what)| (*what).to_owned()).collect()
}

/// Selectors that do not ask for the chosen instances, or for the chosen jobs where series are recorded.
fn unchosen(expr: &str) -> Vec<String> {
    let Ok(tree) = parser::parse(&filled(expr)) else { return Vec::new() };
    let mut found = Vec::new();
    for selector in catalogue::selectors(&tree) {
        let name = selector.name.clone().unwrap_or_default();
        let has = |label: &str| selector.matchers.matchers.iter().any(|one| one.name == label);
        let free = ["ALERTS", "modgate:slo_objective:ratio"].contains(&name.as_str());
        if !free && (!has("job") || (!name.contains(':') && !has("instance"))) {
            found.push(format!("{name} asks for instances that were not chosen"));
        }
    }
    found
}

/// Counters that stand outside a rate.
fn bare_counters(expr: &str) -> Vec<String> {
    fn walk(tree: &Expr, found: &mut Vec<String>) {
        if let Expr::VectorSelector(selector) = tree {
            let name = selector.name.clone().unwrap_or_default();
            if ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end)) {
                found.push(format!("{name} stands outside a rate"));
            }
        }
        for part in catalogue::parts(tree) {
            walk(part, found);
        }
    }
    let mut found = Vec::new();
    if let Ok(tree) = parser::parse(expr) {
        walk(&tree, &mut found);
    }
    found
}

#[test]
fn a_panel_that_breaks_a_rule_is_found() {
    let catalogue = Catalogue::with(&BTreeSet::new());
    let boards = BTreeSet::from(["cache"]);
    let panel = |unit: &str, ask: &str| Panel {
        title: "x".to_owned(),
        kind: timeseries(),
        unit: unit.to_owned(),
        about: "Says it.".to_owned(),
        ask: vec![ask.to_owned()],
        to: "cache".to_owned(),
        source: None,
        base: green(),
        steps: Vec::new(),
        exemplars: false,
        stack: false,
    };
    let found = |unit: &str, ask: &str| judge(&panel(unit, ask), &boards, &catalogue);
    assert_eq!(found("none", "a := modgate_ready{$S}"), [""; 0]);
    assert_eq!(found("", "a := modgate_ready{$S}"), ["no unit"]);
    assert_eq!(found("none", " := modgate_ready{$S}"), ["a target without a legend"]);
    assert_eq!(found("none", "a := modgate_gone{$S}"), ["no metric modgate_gone"]);
    let counter = found("none", "a := modgate_panics_total{$S}");
    assert_eq!(counter, ["modgate_panics_total stands outside a rate"]);
    let all = found("none", "a := modgate_ready");
    assert_eq!(all, ["modgate_ready asks for instances that were not chosen"]);
    let slow = "a := histogram_quantile(0.9, sum by (le) (rate(modgate_http_first_byte_seconds_bucket{$S}[$__rate_interval])))";
    assert_eq!(found("s", slow), ["a time of requests without exemplars"]);
}

#[test]
fn a_line_of_panels_fills_the_width() {
    let tree = Tree::read();
    for board in read(&tree).board {
        let mut cells = BTreeSet::new();
        let (mut area, mut bottom) = (0, 0);
        for panel in board.laid_out() {
            let number =
                |key: &str| usize::try_from(panel["gridPos"][key].as_u64().unwrap()).unwrap();
            let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
            area += w * h;
            bottom = bottom.max(y + h);
            cells.extend((x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))));
        }
        assert_eq!(cells.len(), area, "{}: panels lie upon each other", board.id);
        assert_eq!(area, bottom * COLUMNS, "{}: a hole", board.id);
    }
}
