//! HEAD, tags, ranges and caching headers: the same journey, and only then the condition.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
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
