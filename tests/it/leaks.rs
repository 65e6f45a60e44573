//! Whatever is asked and whatever fails: a public upstream never hears a private name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::client::Session;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::inherited;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

/// Requests that are asked; `MODGATE_LEAK_REQUESTS` asks for more.
const REQUESTS: usize = 2_000;
/// Callers at a time.
const CALLERS: usize = 4;

/// The same numbers every time, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Private names, spelled in every way; and public ones, some of which look alike.
const PRIVATE: [&str; 12] = [
    "corp.example/payments/ledger",
    "corp.example/payments/ledger/v2",
    "corp.example/payments",
    "corp.example/!payments/!ledger",
    "corp.example",
    "corp.example/secret/x",
    "%63orp.example/payments/ledger",
    "corp.example/%70ayments/ledger",
    "corp.example/%21payments/ledger",
    "git.corp.internal/team/tool",
    "git.corp.internal/!team/tool",
    "git.corp.internal",
];
const PUBLIC: [&str; 8] = [
    "example.com/lib",
    "example.com/!big/!lib",
    "example.com/lib/v2",
    "corp.example2/payments/ledger",
    "example.com/corp.example/payments",
    "notcorp.example/payments",
    "corp.example.com/payments",
    "mirror.example/tools/a",
];
const ARTIFACTS: [&str; 12] = [
    "@v/list",
    "@latest",
    "@v/v1.0.0.info",
    "@v/v1.0.0.mod",
    "@v/v1.0.0.zip",
    "@v/main.info",
    "@v/v9.9.9.info",
    "@v/v1.0.0.zip?x=1",
    "@v/../@v/list",
    "@v/dev.info",
    "@v/v1.info",
    "@v/v0.0.0-20240102030405-abcdefabcdef.info",
];

fn request(dice: &mut Dice) -> String {
    let names = if dice.below(2) == 0 { &PRIVATE[..] } else { &PUBLIC[..] };
    let (name, artifact) = (*dice.of(names), *dice.of(&ARTIFACTS));
    match dice.below(24) {
        0 => format!("/sumdb/sum.example/lookup/{name}@v1.0.0"),
        1 => format!("/cached-only/{name}/{artifact}"),
        2 => format!("//{name}/{artifact}"),
        3 => format!("/{name}//{artifact}"),
        4 => format!("/example.com/lib/@v/list/../../../{name}/{artifact}"),
        _ => format!("/{name}/{artifact}"),
    }
}

/// What an upstream does from now on.
fn fault(dice: &mut Dice, elsewhere: &Upstream, path: &str) -> Option<Instead> {
    match dice.below(24) {
        0 => Some(Instead::Status(404, "no")),
        1 => Some(Instead::Status(410, "gone")),
        2 => Some(Instead::Status(500, "broken")),
        3 => Some(Instead::Status(403, "not you")),
        4 => Some(Instead::Status(429, "slower")),
        5 => Some(Instead::Hang),
        6 => Some(Instead::Reset),
        7 => Some(Instead::Half),
        8 => Some(Instead::Redirect(format!("{}{path}", elsewhere.url()))),
        9 => Some(Instead::Bytes(b"<html>sign in</html>".to_vec())),
        _ => None,
    }
}

struct World {
    _tree: Tree,
    public: Vec<Upstream>,
    inner: Upstream,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        let mut tree = Tree::new();
        for path in ["example.com/lib", "example.com/Big/Lib", "corp.example/payments/ledger"] {
            tree.module(path, "v1.0.0", &[]);
        }
        tree.module("git.corp.internal/team/tool", "v1.0.0", &[]);
        let public: Vec<_> = (0..3).map(|_| Upstream::serve(tree.path())).collect();
        let inner = Upstream::serve(tree.path());
        // the worst that can be configured: every chain goes on whatever happens, and the mirror takes anything
        let mut settings = String::from(
            "[upstream]\nbreaker_rest = \"50ms\"\nbreaker_longest_rest = \"100ms\"\n\
             [sumdb]\nnames = [\"sum.example\"]\n\
             [cache]\nlist_ttl = \"1ms\"\nabsent_ttl = \"1ms\"\n\
             [identity]\nsource_rate = 100000\ncaller_rate = 100000\n\
             [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\
             [[private]]\nprefix = \"git.corp.internal\"\nupstreams = [\"inner\"]\n\
             [[upstream.chains]]\nname = \"anything\"\npatterns = [\"*.example\", \"*.corp.internal\"]\n\
             chain = \"public2|public0|public1\"\n",
        );
        let servers = public.iter().enumerate().map(|(at, one)| (format!("public{at}"), one));
        for (name, upstream) in servers.chain([("inner".to_owned(), &inner)]) {
            let url = upstream.url();
            let _written = write!(
                settings,
                "[[upstream.servers]]\nname = \"{name}\"\nurl = \"{url}\"\nsumdb = true\n"
            );
        }
        let gateway = Setup::over("public0|public1").with(&settings).start();
        Self { _tree: tree, public, inner, gateway }
    }

    /// One caller's share of the requests; gives how often each status came.
    fn ask(&self, token: &str, seed: usize, requests: usize) -> BTreeMap<u16, usize> {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1));
        let mut session = Session::open(self.gateway.stranger().bearer(token));
        let mut statuses = BTreeMap::new();
        for _ in 0..requests {
            let path = request(&mut dice);
            if dice.below(4) == 0 {
                let elsewhere = dice.of(&self.public);
                // the inner one tries to send the very name to a public one
                if dice.below(2) == 0 {
                    self.inner.always(fault(&mut dice, elsewhere, &path));
                } else {
                    let what = fault(&mut dice, elsewhere, "/example.com/lib/@v/list");
                    dice.of(&self.public).always(what);
                }
            }
            let method = if dice.below(8) == 0 { "HEAD" } else { "GET" };
            *statuses.entry(session.ask(method, &path)).or_default() += 1;
        }
        statuses
    }
}

/// Whether a path an upstream heard names something private, however it is spelled.
fn is_private(path: &str) -> bool {
    let plain = path.replace("%21", "!").replace('!', "").to_lowercase();
    let path = plain
        .strip_prefix("/sumdb/sum.example/lookup/")
        .unwrap_or_else(|| plain.trim_start_matches('/'));
    ["corp.example", "git.corp.internal"].iter().any(|prefix| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are for people")]
fn a_recording_public_upstream_hears_no_private_name() {
    let requests =
        inherited("MODGATE_LEAK_REQUESTS").map_or(REQUESTS, |text| text.parse().unwrap());
    let world = World::start();
    let tokens = [
        world.gateway.issue("pay", &["payments", "developers"]),
        world.gateway.issue("dev2", &["developers"]),
    ];
    let mut statuses = BTreeMap::<u16, usize>::new();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..CALLERS)
            .map(|seed| {
                let (world, token) = (&world, &tokens[seed % tokens.len()]);
                scope.spawn(move || world.ask(token, seed, requests / CALLERS))
            })
            .collect();
        for one in asking {
            for (status, count) in one.join().unwrap() {
                *statuses.entry(status).or_default() += count;
            }
        }
    });
    let heard: Vec<_> = world.public.iter().flat_map(Upstream::asked).collect();
    let leaked: Vec<_> = heard.iter().filter(|path| is_private(path)).collect();
    let inner = world.inner.asked();
    println!(
        "{requests} requests {statuses:?}: public upstreams heard {} paths, {} of them private; \
         the inner one {}",
        heard.len(),
        leaked.len(),
        inner.len()
    );
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(heard.len() > requests / 20 && inner.iter().any(|path| is_private(path)));
    assert!([200, 400, 403, 404, 502].iter().all(|status| statuses.contains_key(status)));
    for upstream in world.public.iter().chain([&world.inner]) {
        Gateway::vouch_for(&[&world.gateway], upstream);
    }
}
