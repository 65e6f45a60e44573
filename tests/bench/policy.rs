//! What a decision costs: remembered and new, among ten rules and a hundred thousand; and what reading them costs.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fmt::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use modgate::clock::Clock;
use modgate::clock::SystemClock;
use modgate::goproxy::request::Request;
use modgate::goproxy::request::Routes;
use modgate::head::Conditions;
use modgate::head::Head;
use modgate::head::Hidden;
use modgate::head::Method;
use modgate::head::Peer;
use modgate::head::Transport;
use modgate::identity::Anonymous;
use modgate::identity::Door;
use modgate::identity::Identity;
use modgate::identity::authenticator::Authenticator;
use modgate::identity::caller::Caller;
use modgate::identity::mtls::Certificates;
use modgate::identity::token::TokenFile;
use modgate::identity::token::Tokens;
use modgate::policy::Policy;
use modgate::policy::Source;
use modgate::policy::Sources;
use modgate::policy::draft::Draft;
use modgate::policy::gates::Circumstances;
use modgate::telemetry::Telemetry;
use modgate::telemetry::trace::sampler::Sampler;

const MODEL: &str = include_str!("../../policies/model.conf");
/// The last size is the one at which an index could grow tired.
const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];
/// Paths asked for anew: more than are remembered of a path cannot be measured twice.
const MISSES: usize = 4_000;
const HITS: usize = 200_000;

fn main() {
    println!(
        "{:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>12}",
        "rules", "cached", "miss 1", "miss 3", "miss 12", "miss 1/11", "load", "memory"
    );
    for rules in SIZES {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), rules);
        let sources = Sources::of(Source::Directory(directory.path().to_owned()));
        let before = resident();
        let begun = Instant::now();
        let draft = Draft::read(&sources).unwrap();
        let loaded = begun.elapsed();
        let memory = resident().saturating_sub(before);
        drop(draft);
        let policy = Policy::none(sources);
        let reload = policy.reload(&SystemClock);
        assert!(!reload.activated.is_empty(), "{:?}", reload.rejected);
        println!(
            "{rules:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} KiB",
            micros(cached(&policy)),
            micros(missed(&policy, "n1", rules)),
            micros(missed(&policy, "n3", rules)),
            micros(missed(&policy, "n12", rules)),
            micros(missed(&policy, BESIDE, rules)),
            format!("{:.1} ms", loaded.as_secs_f64() * 1e3),
            memory / 1024
        );
    }
    println!("cached, miss N: one decision, in the median; N rows apply. The same caller asks.");
    println!(
        "miss 1/11: one row allows, and eleven deny rows are about other versions of the module."
    );
}

/// As many rules as wanted; a request below `hot.example/N` finds N rows that apply, all others are beside the point.
fn write(directory: &Path, count: usize) {
    let mut rows = String::from("# owner: nobody\n");
    for applying in [1, 3, 12] {
        for place in 0..applying {
            let (effect, range) =
                if place == 0 { ("allow", "*") } else { ("allow", RANGES[place % RANGES.len()]) };
            let action = if place % 2 == 0 { "read" } else { "download" };
            let subject = if place % 3 == 0 { "role:dev" } else { "any:authenticated" };
            let below = "/x".repeat(place / 4);
            let _written = writeln!(
                rows,
                "p, hot-{applying}-{place}, {subject}, hot.example/n{applying}{below}, {range}, {action}, {effect}"
            );
        }
    }
    for place in 0..12 {
        let (effect, range) =
            if place == 0 { ("allow", "*".to_owned()) } else { ("deny", format!("<v0.{place}.0")) };
        let _written = writeln!(
            rows,
            "p, beside-{place}, any:authenticated, hot.example/{BESIDE}, {range}, read, {effect}"
        );
    }
    for place in 28..count {
        let (team, effect) = (place % 997, if place % 10 == 0 { "deny" } else { "allow" });
        let _written = writeln!(
            rows,
            "p, r{place}, role:dev, corp.example/team{team}/module{place}, *, read, {effect}"
        );
    }
    for (name, text) in [
        ("model.conf", MODEL),
        ("roles.csv", "g, group:token:developers, role:dev\n"),
        ("rules/a.csv", &rows),
        ("tests/none.toml", ""),
    ] {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Below it, eleven deny rows have to be looked at that do not apply.
const BESIDE: &str = "beside";
const RANGES: [&str; 4] = [">=v1.0.0", "<v9.0.0", ">v0.1.0 <v8.0.0", "<=v7.0.0"];

/// Somebody who is recognised by a gateway token, as the same caller again and again.
fn caller() -> Arc<Caller> {
    let directory = tempfile::tempdir().unwrap();
    let file = TokenFile::new(directory.path().join("tokens"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let groups = ["developers".to_owned()];
    let token = file.issue("alice", &groups, Duration::from_hours(1), clock.as_ref()).unwrap();
    let door = Door {
        anonymous: Anonymous::Refused,
        jwt_user_names: Vec::new(),
        source_rate: NonZeroU32::MAX,
        caller_rate: NonZeroU32::MAX,
        certificates: Certificates::default(),
    };
    let methods: Vec<Box<dyn Authenticator>> =
        vec![Box::new(Tokens::open(file, Arc::clone(&clock)))];
    let telemetry = Telemetry::new(&[], Sampler::new(0.0), Arc::clone(&clock)).unwrap();
    let identity = Identity::new(door, methods, Arc::new(telemetry));
    let head = Head {
        method: Method::Get,
        path: "/".to_owned(),
        query: None,
        authorization: vec![Hidden::new(format!("Bearer {}", token.expose()).into_bytes())],
        conditions: Conditions::default(),
        disable_module_fetch: None,
        traceparent: None,
        via: Vec::new(),
        user_agent: None,
        peer: Peer {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            transport: Transport::Tls,
            certificate: None,
        },
        received: clock.now(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(identity.identify(&head)).unwrap()
}

fn request(path: &str) -> Request {
    Request::parse(path, &Routes::new("", Vec::new())).unwrap()
}

fn here() -> Circumstances {
    Circumstances { source: IpAddr::V4(Ipv4Addr::LOCALHOST), now: SystemTime::UNIX_EPOCH }
}

/// The time of a remembered decision, the request's own copy left out.
fn cached(policy: &Policy) -> Duration {
    let (caller, asked) = (caller(), request("/hot.example/n1/@v/v1.2.3.zip"));
    let decide = |request: Request| policy.authorize(Arc::clone(&caller), request, here()).is_ok();
    assert!(decide(asked.clone()));
    let mut rounds: Vec<Duration> = (0..9)
        .map(|_| {
            let requests: Vec<Request> = (0..HITS / 9).map(|_| asked.clone()).collect();
            let count = u32::try_from(requests.len()).unwrap();
            let begun = Instant::now();
            let allowed = requests.into_iter().filter(|request| decide(request.clone())).count();
            let took = begun.elapsed();
            assert_eq!(allowed, HITS / 9);
            took / count
        })
        .collect();
    rounds.sort();
    let copies: Vec<Request> = (0..HITS / 9).map(|_| asked.clone()).collect();
    let begun = Instant::now();
    for request in &copies {
        std::hint::black_box(request.clone());
    }
    let copying = begun.elapsed() / u32::try_from(copies.len()).unwrap();
    rounds[rounds.len() / 2].saturating_sub(copying)
}

/// The median time of a decision about a path that nobody asked for yet.
fn missed(policy: &Policy, below: &str, rules: usize) -> Duration {
    let caller = caller();
    let mut times: Vec<Duration> = (0..MISSES)
        .map(|place| {
            let path = format!("/hot.example/{below}/x/x/m{rules}-{place}/@v/v1.2.3.zip");
            let asked = request(&path);
            let begun = Instant::now();
            let decided = policy.authorize(Arc::clone(&caller), asked, here());
            let took = begun.elapsed();
            assert!(decided.is_ok());
            took
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn micros(time: Duration) -> String {
    format!("{:.2} us", time.as_secs_f64() * 1e6)
}

/// Resident memory of this process in bytes (proc(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
