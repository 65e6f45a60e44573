//! The catalogue against the page: names, units, births, and how many lines it takes.

use super::*;

#[test]
fn names_say_their_unit_and_help_is_a_sentence() {
    for entry in entries() {
        let ours = entry.name.starts_with("modgate_") || entry.name.starts_with("process_");
        assert!(ours, "{}", entry.name);
        assert_eq!(entry.kind == "counter", entry.name.ends_with("_total"), "{}", entry.name);
        if entry.kind == "histogram" {
            let unit = entry.name.ends_with("_seconds") || entry.name.ends_with("_bytes");
            assert!(unit && entry.ladder.is_some(), "{}", entry.name);
        }
        assert!(entry.help.trim().ends_with('.'), "{}", entry.name);
    }
}

#[test]
fn every_series_is_on_the_page_from_the_first_scrape() {
    let (_, _, page) = install(&["athens".to_owned()]).unwrap();
    let page = page.render(page::Format::Text);
    let needed_by = [
        redis::REDIS_ENTRIES,
        identity::LDAP_ENTRIES,
        identity::ISSUER_ENTRIES,
        service::SERVICE_ENTRIES,
        service::CONFIG_ENTRIES,
    ];
    let optional =
        |entry: &Entry| needed_by.iter().copied().flatten().any(|one| one.name == entry.name);
    let always = entries().filter(|entry| !optional(entry));
    for entry in always.filter(|entry| entry.kind != "histogram") {
        assert!(page.contains(entry.name), "{}", entry.name);
    }
    assert!(page.contains("modgate_upstream_requests_total{upstream=\"athens\",result=\"dns\"} 0"));
    assert!(!page.contains("quantile="));
}

/// Four upstreams, two directory servers and two issuers are an ordinary deployment; as many as are named at all are the
/// ceiling.
#[test]
fn the_page_keeps_its_budget_and_the_catalogue_counts_its_lines() {
    let names: Vec<_> = (0..40).map(|number| format!("upstream-{number}")).collect();
    for (count, judges, budget) in [(4, 2, 5000), (40, 40, 20_000)] {
        let (_, _, page) = install(names.get(..count).unwrap()).unwrap();
        let _redis = page.redis();
        let services = Service::values().iter().map(|service| page.service(*service));
        let services = services.count();
        page.configured("00000000");
        for name in names.get(..judges).unwrap() {
            let (_ldap, _issuer) = (page.ldap(name), page.issuer(name));
        }
        let page = page.render(page::Format::Text);
        let lines: Vec<_> =
            page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert!(lines.len() <= budget, "{count} upstreams: {} lines", lines.len());
        let named = |count: usize| count.min(NAMES_LIMIT + 1);
        for entry in entries() {
            let ours = |line: &&&str| {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let part = name.strip_prefix(entry.name);
                part.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            };
            let dimension = match entry.dimension {
                Some("upstream") => named(count),
                Some("server" | "issuer") => named(judges),
                Some("task") => services,
                _ => 1,
            };
            assert_eq!(lines.iter().filter(ours).count(), entry.lines(dimension), "{}", entry.name);
        }
    }
}
