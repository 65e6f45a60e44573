//! What panels and rules may ask for: metrics, labels and values of the catalogue, and what rules record.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use modgate::telemetry::metrics::entries;
use promql_parser::label::MatchOp;
use promql_parser::label::Matcher;
use promql_parser::parser;
use promql_parser::parser::Expr;
use promql_parser::parser::LabelModifier;
use promql_parser::parser::VectorSelector;

/// A metric as a query sees it: its labels, each with its values; none if anything can stand there.
type Series = BTreeMap<String, Vec<String>>;

/// All that can be asked for.
#[derive(Debug)]
pub(crate) struct Catalogue {
    series: BTreeMap<String, Series>,
}

impl Catalogue {
    /// Our own metrics, what Prometheus adds by itself, and these recorded ones.
    pub(crate) fn with(recorded: &BTreeSet<String>) -> Self {
        let mut series = BTreeMap::new();
        for entry in entries() {
            let labels: Series = entry
                .labels()
                .into_iter()
                .map(|set| {
                    let values = set.values.iter().map(|value| (*value).to_owned());
                    (set.name.to_owned(), values.collect())
                })
                .collect();
            let Some(ladder) = entry.ladder else {
                series.insert(entry.name.to_owned(), labels);
                continue;
            };
            let mut bounds: Vec<String> = ladder.iter().map(|bound| format!("{bound:?}")).collect();
            bounds.push("+Inf".to_owned());
            let mut bucket = labels.clone();
            bucket.insert("le".to_owned(), bounds);
            series.insert(format!("{}_bucket", entry.name), bucket);
            series.insert(format!("{}_sum", entry.name), labels.clone());
            series.insert(format!("{}_count", entry.name), labels);
        }
        for added in ["up", "scrape_duration_seconds", "scrape_samples_scraped"] {
            series.insert(added.to_owned(), Series::new());
        }
        let any = |labels: &[&str]| labels.iter().map(|l| ((*l).to_owned(), Vec::new())).collect();
        let alerts = any(&["alertstate", "alertname", "severity", "slo"]);
        series.insert("ALERTS".to_owned(), alerts);
        series.extend(recorded.iter().map(|name| (name.clone(), any(&["slo"]))));
        Self { series }
    }

    /// What is wrong with an expression.
    pub(crate) fn problems(&self, expression: &str) -> Vec<String> {
        match parser::parse(expression) {
            Err(error) => vec![format!("{error} in {expression}")],
            Ok(tree) => {
                let (mut found, mut labels) = (Vec::new(), BTreeSet::new());
                for selector in selectors(&tree) {
                    self.judge(selector, &mut labels, &mut found);
                }
                let unknown = grouped(&tree).into_iter().filter(|label| !labels.contains(label));
                found.extend(unknown.map(|label| format!("no label {label} in {expression}")));
                found
            }
        }
    }

    fn judge(
        &self,
        selector: &VectorSelector,
        labels: &mut BTreeSet<String>,
        found: &mut Vec<String>,
    ) {
        let name = selector.name.clone().unwrap_or_default();
        let Some(series) = self.series.get(&name) else {
            found.push(format!("no metric {name}"));
            return;
        };
        labels.extend(series.keys().cloned().chain(["job".to_owned(), "instance".to_owned()]));
        for matcher in &selector.matchers.matchers {
            if ["job", "instance"].contains(&matcher.name.as_str()) {
                continue;
            }
            match series.get(&matcher.name) {
                None => found.push(format!("{name} has no label {}", matcher.name)),
                Some(values) => found.extend(
                    unknown_values(matcher, values)
                        .into_iter()
                        .map(|value| format!("{name}: {} is never {value}", matcher.name)),
                ),
            }
        }
    }
}

/// What a matcher names and the label never is; each alternative of a pattern must be good for something.
fn unknown_values(matcher: &Matcher, values: &[String]) -> Vec<String> {
    if values.is_empty() || matcher.value.contains('$') {
        return Vec::new();
    }
    let parts: Vec<&str> = match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
    };
    let is_one = |part: &&str| {
        let query = format!("x{{l=~\"{}\"}}", part.replace('\\', "\\\\"));
        match (&matcher.op, parser::parse(&query)) {
            (MatchOp::Re(_) | MatchOp::NotRe(_), Ok(Expr::VectorSelector(alone))) => {
                alone.matchers.matchers.iter().any(|one| values.iter().any(|v| one.is_match(v)))
            }
            _ => values.iter().any(|value| value == part),
        }
    };
    parts.iter().filter(|part| !is_one(part)).map(|part| (*part).to_owned()).collect()
}

/// The names of all metrics that an expression asks for.
pub(crate) fn names(expression: &str) -> BTreeSet<String> {
    let Ok(tree) = parser::parse(expression) else { return BTreeSet::new() };
    selectors(&tree).into_iter().filter_map(|selector| selector.name.clone()).collect()
}

/// Names of metrics without what a histogram adds.
pub(crate) fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Every selector of an expression.
pub(crate) fn selectors(tree: &Expr) -> Vec<&VectorSelector> {
    match tree {
        Expr::VectorSelector(selector) => vec![selector],
        Expr::MatrixSelector(matrix) => vec![&matrix.vs],
        other => parts(other).into_iter().flat_map(selectors).collect(),
    }
}

/// The labels an expression groups or joins by.
fn grouped(tree: &Expr) -> BTreeSet<String> {
    let modifier = match tree {
        Expr::Aggregate(aggregate) => aggregate.modifier.as_ref(),
        Expr::Binary(binary) => binary.modifier.as_ref().and_then(|one| one.matching.as_ref()),
        _ => None,
    };
    let mut labels: BTreeSet<String> = match modifier {
        Some(LabelModifier::Include(labels)) => labels.labels.iter().cloned().collect(),
        _ => BTreeSet::new(),
    };
    labels.extend(parts(tree).into_iter().flat_map(grouped));
    labels
}

/// What an expression is made of.
pub(crate) fn parts(tree: &Expr) -> Vec<&Expr> {
    match tree {
        Expr::Aggregate(one) => {
            one.param.iter().map(AsRef::as_ref).chain([one.expr.as_ref()]).collect()
        }
        Expr::Unary(one) => vec![&one.expr],
        Expr::Binary(one) => vec![&one.lhs, &one.rhs],
        Expr::Paren(one) => vec![&one.expr],
        Expr::Subquery(one) => vec![&one.expr],
        Expr::Call(call) => call.args.args.iter().map(AsRef::as_ref).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

#[test]
fn what_the_catalogue_has_may_be_asked_for_and_nothing_else() {
    let catalogue = Catalogue::with(&BTreeSet::from(["modgate:slo_objective:ratio".to_owned()]));
    for good in [
        "sum by (endpoint) (rate(modgate_http_requests_total{job=\"x\",code=~\"5..\"}[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(modgate_authz_duration_seconds_bucket[5m])))",
        "modgate_http_request_duration_seconds_bucket{le=\"10.0\"}",
        "modgate:slo_objective:ratio{slo=\"a\"} and on (job) up",
    ] {
        assert_eq!(catalogue.problems(good), [""; 0], "{good}");
    }
    for (bad, what) in [
        ("modgate_nothing_total", "no metric modgate_nothing_total"),
        ("modgate_authz_duration_seconds", "no metric modgate_authz_duration_seconds"),
        ("modgate_ready{tier=\"memory\"}", "modgate_ready has no label tier"),
        ("modgate_cache_bytes{tier=\"tape\"}", "modgate_cache_bytes: tier is never tape"),
        ("modgate_cache_bytes{tier=~\"memory|tape\"}", "modgate_cache_bytes: tier is never tape"),
        (
            "modgate_authz_duration_seconds_bucket{le=\"1\"}",
            "modgate_authz_duration_seconds_bucket: le is never 1",
        ),
        ("sum by (tier) (modgate_ready)", "no label tier in sum by (tier) (modgate_ready)"),
    ] {
        assert_eq!(catalogue.problems(bad), [what], "{bad}");
    }
}
