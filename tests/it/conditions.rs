//! HEAD, tags, ranges and caching headers: the same journey, and only then the condition.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::nginx::Nginx;
use crate::support::tree::Tree;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

fn world() -> (Vec<u8>, Upstream, Gateway, Tree) {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 600_000);
    let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    (zip, upstream, gateway, tree)
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let (zip, _upstream, gateway, _tree) = world();
    let client = gateway.client();
    let (get, head) = (client.get(ZIP), client.ask("HEAD", ZIP, ""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["etag", "content-length", "content-type", "cache-control", "accept-ranges"] {
        assert_eq!(get.header(name), head.header(name), "{name}");
        assert!(!get.header(name).is_empty(), "{name}");
    }
    assert_eq!(head.header("content-length"), zip.len().to_string());
    let heads = gateway.audited(1, "a HEAD", |event| event["http"]["method"] == "HEAD");
    assert_eq!(heads[0]["http"]["complete"], true);
    assert_eq!(heads[0]["http"]["bytes_out"], 0);
}

#[test]
fn a_known_tag_is_304_and_only_after_the_permit() {
    let (_zip, _upstream, gateway, _tree) = world();
    let client = gateway.client();
    let etag = client.get(ZIP).header("etag");
    let again = client.ask("GET", ZIP, &format!("If-None-Match: \"x\", W/{etag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), etag);
    assert_eq!(client.ask("GET", ZIP, "If-None-Match: \"x\"\r\n").status, 200);
    assert_eq!(
        gateway.stranger().ask("GET", ZIP, &format!("If-None-Match: {etag}\r\n")).status,
        401
    );
}

#[test]
fn one_range_is_a_part_and_anything_else_the_whole() {
    let (zip, _upstream, gateway, _tree) = world();
    let client = gateway.client();
    let part = client.ask("GET", ZIP, "Range: bytes=100000-399999\r\n");
    assert_eq!(part.status, 206);
    assert!(part.body == zip[100_000..400_000]);
    assert_eq!(part.header("content-range"), format!("bytes 100000-399999/{}", zip.len()));
    let end = client.ask("GET", ZIP, "Range: bytes=-7\r\n");
    assert!(end.status == 206 && end.body == zip[zip.len() - 7..]);
    let several = client.ask("GET", ZIP, "Range: bytes=0-1,4-5\r\n");
    assert!(several.status == 200 && several.body == zip);
    let beyond = client.ask("GET", ZIP, "Range: bytes=99999999-\r\n");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", zip.len()));
    let list = client.ask("GET", "/example.com/lib/@v/list", "Range: bytes=0-1\r\n");
    assert_eq!(list.status, 200);
}

#[test]
fn what_only_this_caller_was_shown_to_be_allowed_is_kept_by_nobody() {
    let (_zip, _upstream, gateway, _tree) = world();
    let client = gateway.client();
    for path in [ZIP, "/example.com/lib/@v/list", "/example.com/none/@v/list"] {
        let answer = client.get(path);
        assert_eq!(answer.header("cache-control"), "private, no-store", "{path}");
        assert_eq!(answer.header("vary"), "Authorization", "{path}");
    }
}

#[test]
fn cache_status_tells_how_it_was_found_and_a_refusal_tells_nothing() {
    let (_zip, _upstream, gateway, _tree) = world();
    let client = gateway.client();
    let info = "/example.com/lib/@v/v1.0.0.info";
    assert_eq!(
        client.get(info).header("cache-status"),
        "modgate; fwd=uri-miss; fwd-status=200; stored"
    );
    assert_eq!(client.get(info).header("cache-status"), "modgate; hit; detail=memory");
    assert_eq!(client.get("/example.com/banned/x/@v/list").header("cache-status"), "");
    let cold = client.ask("GET", "/example.com/other/@v/list", "Disable-Module-Fetch: true\r\n");
    assert_eq!(cold.status, 404);
    assert!(cold.text().contains("temporarily unavailable"), "{}", cold.text());
    let warm = client.ask("GET", info, "Disable-Module-Fetch: true\r\n");
    assert_eq!(warm.status, 200);
    assert_eq!(client.get(&format!("/cached-only{info}")).status, 200);
}

#[test]
fn bytes_pass_unchanged_and_lists_are_sorted() {
    let (_zip, upstream, gateway, _tree) = world();
    let info = b"{\"Version\":\"v1.0.0\",  \"Time\":\"2024-01-02T03:04:05Z\", \"Origin\":{\"VCS\":\"git\"}}\n";
    let path = "/example.com/lib/@v/v1.0.0.info";
    upstream.instead(path, Some(crate::support::upstream::Instead::Bytes(info.to_vec())));
    let list = b"v1.10.0\nv1.9.0\njunk\nv2.0.0\nv1.9.0\n".to_vec();
    upstream
        .instead("/example.com/lib/@v/list", Some(crate::support::upstream::Instead::Bytes(list)));
    let client = gateway.client();
    let answer = client.get(path);
    assert_eq!(answer.body, info);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(client.get("/example.com/lib/@v/list").text(), "v1.9.0\nv1.10.0\n");
}

/// A gateway whose policy opens example.com and the checksum database to everybody.
fn open_world() -> (tempfile::TempDir, Tree, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let policy = tempfile::tempdir().unwrap();
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for part in ["rules", "tests"] {
        std::fs::create_dir(policy.path().join(part)).unwrap();
    }
    std::fs::copy(shipped.join("model.conf"), policy.path().join("model.conf")).unwrap();
    std::fs::write(policy.path().join("roles.csv"), "").unwrap();
    let rules = "p, open-lib,  any:anonymous,     example.com, *, read,  allow\n\
                 p, closed,    any:authenticated, example.net, *, read,  allow\n\
                 p, open-sums, any:anonymous,     @sumdb,      *, sumdb, allow\n";
    std::fs::write(policy.path().join("rules/10-open.csv"), rules).unwrap();
    let settings = format!(
        "[policy]\ndir = \"{}\"\n[identity]\nanonymous = \"allowed\"\n[sumdb]\nnames = [\"sum.example\"]\n",
        policy.path().display()
    );
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    (policy, tree, upstream, gateway)
}

#[test]
fn what_anybody_may_read_may_be_kept_by_anybody_for_as_long_as_it_cannot_change() {
    let (_policy, _tree, upstream, gateway) = open_world();
    let sums = ["latest", "lookup/example.com/lib@v1.0.0", "tile/8/0/000.p/3", "tile/8/0/000"];
    for path in sums {
        let path = format!("/sumdb/sum.example/{path}");
        upstream.instead(&path, Some(crate::support::upstream::Instead::Bytes(vec![0; 32])));
    }
    let (ever, day, minute) =
        ("public, max-age=31536000, immutable", "public, max-age=86400", "public, max-age=60");
    for (path, status, kept) in [
        ("/example.com/lib/@v/v1.0.0.zip", 200, ever),
        ("/example.com/lib/@v/v1.0.0.mod", 200, ever),
        ("/example.com/lib/@v/v1.0.0.info", 200, ever),
        ("/example.com/lib/@v/list", 200, minute),
        ("/example.com/none/@v/list", 404, minute),
        ("/sumdb/sum.example/supported", 200, minute),
        ("/sumdb/sum.example/latest", 200, minute),
        ("/sumdb/sum.example/lookup/example.com/lib@v1.0.0", 200, day),
        ("/sumdb/sum.example/tile/8/0/000.p/3", 200, day),
        ("/sumdb/sum.example/tile/8/0/000", 200, ever),
        ("/example.com/x/@v/v1.0.0.exe", 404, "private, no-store"),
        ("/cached-only/example.com/cold/@v/list", 404, "private, no-store"),
        ("/example.net/x/@v/list", 401, "no-store"),
    ] {
        let answer = gateway.stranger().get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), kept, "{path}");
        let vary = if kept == "private, no-store" { "Authorization" } else { "" };
        assert_eq!(answer.header("vary"), vary, "{path}");
        assert_eq!(answer.header("etag").is_empty(), status != 200, "{path}");
    }
    upstream.always(Some(crate::support::upstream::Instead::Status(500, "broken")));
    for (path, more, status) in [
        ("/example.com/broken/@v/list", "", 502),
        ("/example.com/lib/@v/v1.0.0.zip", "Range: bytes=99999-\r\n", 416),
        ("/example.com//lib/@v/list", "", 400),
    ] {
        let answer = gateway.stranger().ask("GET", path, more);
        assert_eq!((answer.status, answer.header("cache-control").as_str()), (status, "no-store"));
    }
}

#[test]
fn head_answers_like_get_on_every_endpoint_and_every_answer_has_a_length() {
    let (_policy, _tree, upstream, gateway) = open_world();
    let path = "/sumdb/sum.example/lookup/example.com/lib@v1.0.0";
    upstream.instead(path, Some(crate::support::upstream::Instead::Bytes(vec![b'x'; 77])));
    upstream.instead(
        "/example.com/lib/@latest",
        Some(crate::support::upstream::Instead::Bytes(b"{\"Version\":\"v1.0.0\"}".to_vec())),
    );
    let client = gateway.client();
    for path in [
        "/",
        "/example.com/lib/@v/list",
        "/example.com/lib/@latest",
        "/example.com/lib/@v/v1.0.0.info",
        "/example.com/lib/@v/v1.0.0.mod",
        "/example.com/lib/@v/v1.0.0.zip",
        "/example.com/none/@v/list",
        "/example.com/LIB/@v/list",
        "/corp.example/x/@v/list",
        "/nowhere",
        "/-/whoami",
        "/-/env",
        "/sumdb/sum.example/supported",
        path,
    ] {
        let (get, head) = (client.get(path), client.ask("HEAD", path, ""));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["etag", "content-type", "cache-control", "vary", "accept-ranges"] {
            assert_eq!(get.header(name), head.header(name), "{path}: {name}");
        }
        assert_eq!(get.header("content-length"), get.body.len().to_string(), "{path}");
        // the trace in a text differs, its length does not
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        assert!(
            get.header("content-encoding").is_empty() && get.header("transfer-encoding").is_empty()
        );
        assert!(get.header("last-modified").is_empty() && get.header("location").is_empty());
    }
}

#[test]
fn a_304_repeats_what_the_200_said_and_no_date_is_a_condition() {
    let (_policy, _tree, _upstream, gateway) = open_world();
    let client = gateway.client();
    for path in ["/example.com/lib/@v/list", "/example.com/lib/@v/v1.0.0.info", ZIP] {
        let whole = client.get(path);
        let etag = whole.header("etag");
        let again = client.ask("GET", path, &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        for name in ["etag", "cache-control", "vary"] {
            assert_eq!(again.header(name), whole.header(name), "{path}: {name}");
        }
        assert!(again.header("cache-status").starts_with("modgate; hit"), "{path}");
        assert_eq!(client.ask("GET", path, "If-None-Match: *\r\n").status, 304, "{path}");
        let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
        assert_eq!(client.ask("GET", path, since).status, 200, "{path}");
    }
    let etag = client.get(ZIP).header("etag");
    for (tag, status) in
        [(etag.as_str(), 206), ("\"other\"", 200), ("Fri, 01 Jan 2100 00:00:00 GMT", 200)]
    {
        let fields = format!("Range: bytes=0-9\r\nIf-Range: {tag}\r\n");
        assert_eq!(client.ask("GET", ZIP, &fields).status, status, "{tag}");
    }
    assert_eq!(client.ask("HEAD", ZIP, "Range: bytes=0-9\r\n").status, 200);
}

#[test]
fn a_shared_cache_in_front_keeps_what_is_open_and_never_serves_one_caller_what_another_may_have() {
    let (_policy, _tree, upstream, gateway) = open_world();
    let cache = Nginx::before(&gateway);
    let dev = gateway.client().authorization();
    let asked = || gateway.metric_sum("modgate_http_requests_total");
    // open: kept for everybody, and the gateway is not asked again
    let first = cache.get(ZIP, "");
    assert_eq!((first.status, first.header("x-kept").as_str()), (200, "MISS"));
    let before = asked();
    let again = cache.get(ZIP, &dev);
    assert_eq!((again.status, again.header("x-kept").as_str()), (200, "HIT"));
    assert!(again.body == first.body && (asked() - before).abs() < 0.5);
    // closed: never kept, whoever asks first, found or not
    upstream.instead(CLOSED, Some(crate::support::upstream::Instead::Bytes(b"v1.0.0\n".to_vec())));
    for _ in 0..2 {
        for (authorization, status) in
            [(dev.as_str(), 200), ("", 401), ("Authorization: Bearer x\r\n", 401)]
        {
            let answer = cache.get(CLOSED, authorization);
            assert_eq!((answer.status, answer.header("x-kept").as_str()), (status, "MISS"));
        }
        assert_eq!(cache.get("/example.net/none/@v/list", &dev).status, 404);
        assert_eq!(cache.get("/example.net/none/@v/list", "").status, 401);
    }
}

/// Open to everybody who is known.
const CLOSED: &str = "/example.net/lib/@v/list";
