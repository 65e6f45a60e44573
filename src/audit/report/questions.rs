//! Each question whole: the events it is about, which records count, what they are counted under, and what is told of them.

use std::net::IpAddr;

use crate::audit::report::Asked;
use crate::audit::report::Delivery;
use crate::audit::report::Group;
use crate::audit::report::Question;
use crate::audit::report::SESSION;
use crate::audit::report::Seen;

/// What makes a question.
#[derive(Debug)]
pub(in crate::audit::report) struct Shape {
    /// Events, or groups of them with their dot; none if it is about all.
    pub(in crate::audit::report) events: &'static [&'static str],
    /// The names of its columns: what is counted together, then what was counted.
    pub(in crate::audit::report) columns: &'static [&'static str],
    /// Whether an answer counts.
    pub(in crate::audit::report) concerns: fn(&Seen<'_>) -> bool,
    /// What it is counted under, and what is told apart within.
    pub(in crate::audit::report) keys: fn(&Seen<'_>) -> Vec<Key>,
    /// Whether a group is told, when everything was read.
    pub(in crate::audit::report) tells: fn(&Group, &Asked) -> bool,
    /// What was counted under a key.
    pub(in crate::audit::report) counted: fn(&[String], &Group, &Asked) -> Vec<String>,
    /// Which rows come first.
    pub(in crate::audit::report) order: Order,
    /// Whether each entry of the list has a row, though nothing was counted.
    pub(in crate::audit::report) lists_all: bool,
}

type Key = (Vec<String>, Option<String>);

/// Which rows come first.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit::report) enum Order {
    /// By what they were counted under.
    Key,
    /// Those within which most was told apart.
    MostDistinct,
    /// Those whose last time is the longest ago.
    LongestUnused,
}

impl Question {
    pub(in crate::audit::report) const fn shape(self) -> &'static Shape {
        match self {
            Self::Downloads => &DOWNLOADS,
            Self::Denials => &DENIALS,
            Self::Access => &ACCESS,
            Self::Leavers => &LEAVERS,
            Self::Firsts => &FIRSTS,
            Self::Logins => &LOGINS,
            Self::Changes => &CHANGES,
            Self::Holders => &HOLDERS,
            Self::Spread => &SPREAD,
            Self::OffHours => &OFF_HOURS,
            Self::Gates => &GATES,
            Self::Networks => &NETWORKS,
            Self::Unused => &UNUSED,
            Self::Idle => &IDLE,
            Self::Gaps => &GAPS,
        }
    }
}

/// What most questions have in common: everything is told, nothing is counted, in the order of the key.
const PLAIN: Shape = Shape {
    events: &[],
    columns: &[],
    concerns: |_| true,
    keys: |_| Vec::new(),
    tells: |_, _| true,
    counted: |_, _, _| Vec::new(),
    order: Order::Key,
    lists_all: false,
};

static DOWNLOADS: Shape = Shape {
    events: &["module.zip"],
    columns: &["time", "actor", "module", "version", "source", "bytes", "delivered"],
    concerns: is_delivered,
    keys: |seen| {
        let mut row = words(seen, &["/time", "/actor/id", "/resource/module", "/resource/version"]);
        row.extend([seen.word("/source/ip"), seen.json("/http/bytes_out")]);
        row.push(seen.delivery.text().to_owned());
        vec![(row, None)]
    },
    ..PLAIN
};

static DENIALS: Shape = Shape {
    events: &["authz.deny"],
    columns: &["rule", "actor", "family", "longest path", "tries", "first", "last"],
    concerns: |seen| !seen.holds("/repeat"),
    keys: |seen| {
        let module = seen.word("/resource/module");
        vec![(words(seen, &["/decision/rule", "/actor/id", "/family"]), Some(module))]
    },
    counted: |_, group, _| {
        let longest = group.distinct.iter().max_by_key(|path| path.len());
        [vec![longest.cloned().unwrap_or_default()], often(group)].concat()
    },
    ..PLAIN
};

static ACCESS: Shape = Shape {
    columns: &["policy", "module", "actor", "rule", "count", "first", "last"],
    concerns: |seen| {
        seen.text("/decision/policy").is_some() && seen.is("/decision/effect", "allow")
    },
    keys: |seen| {
        let under = ["/decision/policy", "/resource/module", "/actor/id", "/decision/rule"];
        vec![(words(seen, &under), None)]
    },
    counted: |_, group, _| often(group),
    ..PLAIN
};

static LEAVERS: Shape = Shape {
    columns: &["actor", "event", "module", "version", "outcome", "count", "first", "last"],
    concerns: |seen| seen.text("/actor/id").is_some_and(|id| seen.list.contains(id)),
    keys: |seen| {
        let mut row =
            words(seen, &["/actor/id", "/event", "/resource/module", "/resource/version"]);
        row.push(seen.word("/outcome"));
        vec![(row, None)]
    },
    counted: |_, group, _| often(group),
    ..PLAIN
};

static FIRSTS: Shape = Shape {
    events: &["module."],
    columns: &["actor", "module", "first", "delivered"],
    concerns: is_private_and_delivered,
    keys: |seen| vec![(words(seen, &["/actor/id", "/resource/module"]), None)],
    tells: |group, asked| asked.from.as_ref().is_none_or(|from| group.first >= *from),
    counted: |_, group, _| vec![group.first.clone(), group.first_delivery.text().to_owned()],
    ..PLAIN
};

static LOGINS: Shape = Shape {
    events: &["auth.failure", "auth.lockout"],
    columns: &["by", "who", "result", "others", "shape", "count", "first", "last"],
    keys: |seen| {
        let (source, result) = (seen.word("/source/ip"), seen.word("/actor/result"));
        let name = seen.text("/actor/id").map(str::to_owned);
        let by = |what: &str, who: &str| vec![what.to_owned(), who.to_owned(), result.clone()];
        let mut keys = Vec::new();
        keys.extend(name.as_ref().map(|name| (by("name", name), Some(source.clone()))));
        if source != "-" {
            keys.push((by("source", &source), name));
        }
        keys
    },
    counted: |key, group, _| {
        let (others, is_source) =
            (group.distinct.len(), key.first().is_some_and(|by| by == "source"));
        let shape = match (is_source && others >= MANY, group.count >= MANY as u64) {
            (true, _) => "spray",
            (false, true) => "guesses",
            (false, false) => "-",
        };
        [vec![others.to_string(), shape.to_owned()], often(group)].concat()
    },
    order: Order::MostDistinct,
    ..PLAIN
};

static CHANGES: Shape = Shape {
    events: &["policy.", "config.", "token.", "cache.", "admin."],
    columns: &["time", "event", "outcome", "actor", "detail"],
    keys: |seen| {
        let mut row = words(seen, &["/time", "/event", "/outcome", "/actor/id"]);
        row.push(seen.json("/detail"));
        vec![(row, None)]
    },
    ..PLAIN
};

static HOLDERS: Shape = Shape {
    events: &["module.zip"],
    columns: &["module", "version", "actor", "delivered", "count", "first", "last"],
    concerns: is_delivered,
    keys: |seen| vec![(words(seen, &["/resource/module", "/resource/version", "/actor/id"]), None)],
    counted: |_, group, _| [vec![group.delivery.text().to_owned()], often(group)].concat(),
    ..PLAIN
};

static SPREAD: Shape = Shape {
    events: &["module."],
    columns: &["actor", "hour", "modules", "answers"],
    concerns: is_private_and_delivered,
    keys: |seen| {
        let hour = seen.word("/time").get(..13).unwrap_or_default().to_owned();
        vec![(vec![seen.word("/actor/id"), hour], Some(seen.word("/resource/module")))]
    },
    counted: |_, group, _| vec![group.distinct.len().to_string(), group.count.to_string()],
    order: Order::MostDistinct,
    ..PLAIN
};

static OFF_HOURS: Shape = Shape {
    events: &["module."],
    columns: &["time", "actor", "module", "version", "source", "delivered"],
    concerns: |seen| {
        is_private_and_delivered(seen) && is_off_hours(seen.text("/time").unwrap_or_default())
    },
    keys: |seen| {
        let mut row = words(seen, &["/time", "/actor/id", "/resource/module", "/resource/version"]);
        row.extend([seen.word("/source/ip"), seen.delivery.text().to_owned()]);
        vec![(row, None)]
    },
    ..PLAIN
};

static GATES: Shape = Shape {
    columns: &["gates", "effect", "rule", "actor", "module", "count", "first", "last"],
    concerns: |seen| seen.text("/decision/gates/0").is_some() && !seen.holds("/repeat"),
    keys: |seen| {
        let mut row = vec![seen.json("/decision/gates")];
        row.extend(words(seen, &["/decision/effect", "/decision/rule", "/actor/id"]));
        row.push(seen.word("/resource/module"));
        vec![(row, None)]
    },
    counted: |_, group, _| often(group),
    ..PLAIN
};

static NETWORKS: Shape = Shape {
    columns: &["actor", "method", "proof", "networks", "count", "first", "last"],
    // the request that begins a session counts for itself
    concerns: |seen| seen.is("/actor/result", "success") && !seen.is("/event", SESSION),
    keys: |seen| {
        let network = Some(network(&seen.word("/source/ip")));
        let proof = ["/actor/token/jti_h", "/actor/cert/sha256", "/actor/detail"];
        let proof = proof.iter().find_map(|path| seen.text(path)).unwrap_or("-").to_owned();
        vec![([words(seen, &["/actor/id", "/actor/auth"]), vec![proof]].concat(), network)]
    },
    tells: |group, _| group.distinct.len() > 1,
    counted: |_, group, _| {
        let networks: Vec<_> = group.distinct.iter().cloned().collect();
        [vec![networks.join(" ")], often(group)].concat()
    },
    ..PLAIN
};

static UNUSED: Shape = Shape {
    columns: &["rule", "count", "first", "last"],
    concerns: |seen| seen.text("/decision/rule").is_some(),
    keys: |seen| vec![(words(seen, &["/decision/rule"]), None)],
    counted: |_, group, asked| match &asked.from {
        // what was before was not read
        Some(from) if group.count == 0 => {
            let not_since = format!("not since {from}");
            vec!["0".to_owned(), not_since.clone(), not_since]
        }
        _ => often(group),
    },
    order: Order::LongestUnused,
    lists_all: true,
    ..PLAIN
};

static IDLE: Shape = Shape {
    columns: &["actor", "rule", "count", "first", "last"],
    concerns: |seen| seen.is("/decision/effect", "allow") && seen.text("/actor/id").is_some(),
    keys: |seen| vec![(words(seen, &["/actor/id", "/decision/rule"]), None)],
    tells: |group, asked| asked.from.as_ref().is_none_or(|from| group.last < *from),
    counted: |_, group, _| often(group),
    order: Order::LongestUnused,
    ..PLAIN
};

static GAPS: Shape = Shape {
    events: &["audit.gap", "audit.start", "audit.stop", "audit.delete", "audit.clock"],
    columns: &["time", "node", "event", "why", "lost"],
    keys: |seen| {
        let mut row = words(seen, &["/time", "/node", "/event"]);
        let why = seen.text("/detail/why").or_else(|| seen.text("/detail/ended"));
        row.extend([why.unwrap_or("-").to_owned(), seen.word("/detail/count")]);
        vec![(row, None)]
    },
    ..PLAIN
};

/// Whether somebody got something of a module, or may have.
fn is_delivered(seen: &Seen<'_>) -> bool {
    seen.delivery > Delivery::None && seen.text("/resource/module").is_some()
}

fn is_private_and_delivered(seen: &Seen<'_>) -> bool {
    is_delivered(seen) && seen.holds("/resource/private")
}

fn words(seen: &Seen<'_>, paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| seen.word(path)).collect()
}

/// How often, first and last.
fn often(group: &Group) -> Vec<String> {
    let known = |time: &String| if time.is_empty() { "never".to_owned() } else { time.clone() };
    vec![group.count.to_string(), known(&group.first), known(&group.last)]
}

/// Before seven, from nineteen on, or on a Saturday or Sunday; UTC.
pub(in crate::audit::report) fn is_off_hours(time: &str) -> bool {
    let parsed = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    parsed.is_ok_and(|at| {
        let weekend = at.weekday().number_days_from_monday() >= 5;
        weekend || !(7..19).contains(&at.hour())
    })
}

/// The first three bytes of an IPv4 address, the first four groups of an IPv6 one.
pub(in crate::audit::report) fn network(ip: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Err(_) => ip.to_owned(),
    }
}

/// So many names from one source, or tries at one name, are no typing error.
const MANY: usize = 5;
