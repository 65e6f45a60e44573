//! Named chains: the longest pattern says who is asked, private modules stay with those they are bound to.

use std::fmt::Write as _;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

/// Five upstreams with the same modules, and which of them were asked.
struct World {
    _tree: Tree,
    upstreams: Vec<(&'static str, Upstream)>,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        let mut tree = Tree::new();
        let upstreams: Vec<_> = ["usual", "short", "long", "last", "inner"]
            .into_iter()
            .map(|name| (name, Upstream::serve(tree.path())))
            .collect();
        for path in [
            "example.com/a",
            "example.com/tools/a",
            "example.com/tools/deep/a",
            "corp.example/payments/tools/a",
        ] {
            tree.module(path, "v1.0.0", &[]);
        }
        let mut settings = String::from(
            "[[upstream.chains]]\nname = \"short\"\npatterns = [\"example.com/tools\", \"*.example/payments\"]\n\
             chain = \"short\"\n\n\
             [[upstream.chains]]\nname = \"long\"\npatterns = [\"example.com/too?s/deep\"]\nchain = \"long|last\"\n\n\
             [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n",
        );
        for (name, upstream) in &upstreams {
            let url = upstream.url();
            let _written =
                write!(settings, "[[upstream.servers]]\nname = \"{name}\"\nurl = \"{url}\"\n\n");
        }
        let gateway = Setup::over("usual").with(&settings).start();
        Self { _tree: tree, upstreams, gateway }
    }

    fn upstream(&self, name: &str) -> &Upstream {
        &self.upstreams.iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// Asks, and gives the status and who was asked for it.
    fn ask(&self, token: &str, path: &str) -> (u16, Vec<&'static str>) {
        let status = self.gateway.stranger().bearer(token).get(path).status;
        let asked = self.upstreams.iter().filter(|(_, one)| one.count(path) > 0);
        (status, asked.map(|(name, _)| *name).collect())
    }
}

#[test]
fn the_longest_pattern_says_who_is_asked() {
    let world = World::start();
    let token = world.gateway.issue("pay", &["payments", "developers"]);
    for (path, asked) in [
        ("/example.com/a/@v/list", "usual"),
        ("/example.com/tools/a/@v/list", "short"),
        ("/example.com/tools/deep/a/@v/list", "long"),
        ("/example.com/toolsmith/@v/list", "usual"),
        ("/corp.example/payments/tools/a/@v/list", "inner"),
    ] {
        let (_, found) = world.ask(&token, path);
        assert_eq!(found, [asked], "{path}");
    }
}

#[test]
fn a_named_chain_has_its_own_marks_and_does_not_end_in_the_usual_one() {
    let world = World::start();
    let token = world.gateway.issue("dev2", &["developers"]);
    let path = "/example.com/tools/deep/a/@v/v1.0.0.info";
    world.upstream("long").instead(path, Some(Instead::Status(403, "not you")));
    assert_eq!(world.ask(&token, path), (200, vec!["long", "last"]));
    let path = "/example.com/tools/a/@v/v9.0.0.info";
    assert_eq!(world.ask(&token, path), (404, vec!["short"]));
}

#[test]
fn private_modules_are_asked_in_the_order_that_their_prefix_names() {
    let mut tree = Tree::new();
    tree.module("corp.example/payments/a", "v1.0.0", &[]);
    let (first, second) = (Upstream::serve("/nonexistent"), Upstream::serve(tree.path()));
    let mut settings =
        String::from("[[private]]\nprefix = \"corp.example\"\nupstreams = [\"zwei\", \"eins\"]\n");
    for (name, upstream) in [("eins", &second), ("zwei", &first)] {
        let url = upstream.url();
        let _written =
            write!(settings, "[[upstream.servers]]\nname = \"{name}\"\nurl = \"{url}\"\n");
    }
    let gateway = Setup::over("http://127.0.0.1:1").with(&settings).start();
    let client = gateway.stranger().bearer(&gateway.issue("pay", &["payments"]));
    let path = "/corp.example/payments/a/@v/v1.0.0.info";
    assert_eq!(client.get(path).status, 200);
    assert_eq!((first.count(path), second.count(path)), (1, 1));
    // a fault of the first is not passed over
    first.always(Some(Instead::Status(500, "broken")));
    assert_eq!(client.get("/corp.example/payments/a/@v/list").status, 502);
    assert_eq!(second.count("list"), 0);
}
