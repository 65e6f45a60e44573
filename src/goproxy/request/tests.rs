//! Paths as they arrive: what they mean, and which are refused with which kind.

use super::*;
use crate::goproxy::sumdb_path::TileLevel;
use proptest::prelude::*;

fn routes() -> Routes {
    Routes::new("", vec!["sum.example".to_owned(), "sum.example/private".to_owned()])
}

fn kind(raw: &str) -> Result<Endpoint, Kind> {
    Request::parse(raw, &routes()).map(|request| request.endpoint()).map_err(|error| error.kind())
}

#[test]
fn every_endpoint_is_known_by_its_path() {
    let table = [
        ("/", Endpoint::Root),
        ("/example.com/lib/@v/list", Endpoint::List),
        ("/example.com/lib/@latest", Endpoint::Latest),
        ("/example.com/lib/@v/v1.0.0.info", Endpoint::Info),
        ("/example.com/lib/@v/v1.0.0.mod", Endpoint::Mod),
        ("/example.com/lib/@v/v1.0.0.zip", Endpoint::Zip),
        ("/example.com/lib/@v/main.info", Endpoint::Info),
        ("/example.com/lib/@v/v2.0.0.info", Endpoint::Info),
        ("/example.com/lib/@v/v2.0.0+incompatible.zip", Endpoint::Zip),
        ("/example.com/lib/v2/@v/v2.0.0.zip", Endpoint::Zip),
        ("/example.com/%21upper/@v/list", Endpoint::List),
        ("/example.com/!upper/@v/list", Endpoint::List),
        ("/example.com/lib/@v/v1.0.0-!beta.info", Endpoint::Info),
        ("/example..com/lib/@v/list", Endpoint::List),
        ("/cached-only/example.com/lib/@v/list", Endpoint::List),
        ("/sumdb/sum.example/supported", Endpoint::SumdbSupported),
        ("/sumdb/sum.example/latest", Endpoint::SumdbLatest),
        ("/sumdb/sum.example/private/latest", Endpoint::SumdbLatest),
        ("/sumdb/sum.example/lookup/example.com/!upper@v1.0.0", Endpoint::SumdbLookup),
        ("/sumdb/sum.example/tile/8/0/x001/000.p/3", Endpoint::SumdbTile),
        ("/-/whoami", Endpoint::Own),
        ("/-/why", Endpoint::Own),
        ("/-/env", Endpoint::Own),
    ];
    for (raw, endpoint) in table {
        assert_eq!(kind(raw), Ok(endpoint), "{raw}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_malformed() {
    let table = [
        "",
        "example.com/lib/@v/list",
        "//example.com/lib/@v/list",
        "/example.com//lib/@v/list",
        "/example.com/./lib/@v/list",
        "/example.com/../lib/@v/list",
        "/example.com/%2e%2e/lib/@v/list",
        "/example.com%2Flib/@v/list",
        "/example.com%2flib/@v/list",
        "/example.com/lib/@v%2flist",
        "/example.com%252Flib/@v/list",
        "/example.com/lib%00/@v/list",
        "/example.com/lib%0a/@v/list",
        "/example.com/lib%7f/@v/list",
        // malformed even where there is no endpoint: 404 would send the name to the next proxy
        "/example.com/lib%0a",
        "/%00",
        "/example.com\\lib",
        "/example.com\\lib/@v/list",
        "/example.com/%5clib/@v/list",
        "/example.com/Lib/@v/list",
        "/example.com/%4Cib/@v/list",
        "/example.com/!Lib/@v/list",
        "/example.com/!/@v/list",
        "/example.com/a!/@v/list",
        "/example.com/!1/@v/list",
        "/example.com/l\u{e4}b/@v/list",
        "/example.com/l%C3%A4b/@v/list",
        "/example.com/l%ffb/@v/list",
        "/example.com/lib%/@v/list",
        "/example.com/lib%2/@v/list",
        "/example.com/lib%zz/@v/list",
        "/example.com/lib%+1/@v/list",
        "/.example.com/lib/@v/list",
        "/example.com/lib./@v/list",
        "/example.com/con/@v/list",
        "/example.com/lib~1/@v/list",
        "/examplecom/lib/@v/list",
        "/example.com/lib/v1/@v/list",
        "/example.com/lib/@v/V1.0.0.info",
        "/example.com/lib/@v/v1.0.0-Beta.info",
        "/example.com/lib/@v/a*b.info",
        "/example.com/lib/@v/...info",
        "/sumdb/sum.example/lookup/example.com/Upper@v1.0.0",
        "/sumdb/sum.example/lookup/example.com/lib@main",
        "/cached-only/sumdb/@v/list",
    ];
    for raw in table {
        assert_eq!(kind(raw), Err(Kind::Malformed), "{raw}");
    }
}

#[test]
fn what_cannot_be_anything_is_not_found() {
    let table = [
        "/example.com/lib",
        "/example.com/lib/@v/",
        "/example.com/lib/@v/.info",
        "/example.com/lib/@v/v1.0.0",
        "/example.com/lib/@v/v1.0.0.exe",
        "/example.com/lib/@v/list/more",
        "/example.com/lib@v1.0.0/@v/list",
        "/example.com/lib/@v/main.zip",
        "/example.com/lib/@v/v2.0.0.zip",
        "/example.com/lib/v2/@v/v1.0.0.mod",
        "/example.com/lib/@v/v1.0.zip",
        "/example.com/lib/@v/v1.0.0+meta.zip",
        "/example.com/lib/@v/latest.info",
        "/sumdb/other.example/supported",
        "/sumdb/sum.example",
        "/sumdb/sum.example/",
        "/sumdb/sum.example/tile/8/0/1",
        "/sumdb/sum.example.evil/latest",
        "/-/nothing",
        "/-/whoami/",
    ];
    for raw in table {
        assert_eq!(kind(raw), Err(Kind::NotFound), "{raw}");
    }
}

#[test]
fn the_longer_name_of_a_database_wins_and_decides_its_host_alone() {
    let parsed = Request::parse("/sumdb/sum.example/private/latest", &routes()).unwrap();
    let Request::Sumdb(asked) = parsed else { panic!("{parsed:?}") };
    assert_eq!(asked.database.as_ref(), "sum.example/private");
}

#[test]
fn a_base_path_is_stripped_by_exact_bytes() {
    let routes = Routes::new("/go", Vec::new());
    let parse = |raw: &str| Request::parse(raw, &routes).map(|request| request.endpoint());
    assert_eq!(parse("/go/example.com/lib/@v/list"), Ok(Endpoint::List));
    for root in ["/", "/go", "/go/"] {
        assert_eq!(parse(root), Ok(Endpoint::Root));
    }
    for other in
        ["/example.com/lib/@v/list", "/gox/example.com/lib/@v/list", "/GO/example.com/a/@v/list"]
    {
        assert_eq!(parse(other), Err(RequestError::NoEndpoint), "{other}");
    }
}

#[test]
fn cached_only_is_a_mode_and_no_part_of_the_path() {
    let parsed = Request::parse("/cached-only/example.com/lib/@v/list", &routes()).unwrap();
    let Request::Module(asked) = &parsed else { panic!("{parsed:?}") };
    assert_eq!((asked.path.as_str(), asked.fetch), ("example.com/lib", FetchMode::CacheOnly));
    assert_eq!(parsed.upstream_path(), "example.com/lib/@v/list");
}

#[test]
fn a_refusal_is_one_line_that_go_prints_whole_and_that_repeats_nothing_of_the_request() {
    let errors = [
        RequestError::NotAbsolute,
        RequestError::Encoding,
        RequestError::Ambiguous,
        RequestError::Path(PathError::Escape),
        RequestError::Path(PathError::Empty),
        RequestError::Path(PathError::Element),
        RequestError::Path(PathError::Dot),
        RequestError::Path(PathError::Dash),
        RequestError::Path(PathError::Character),
        RequestError::Path(PathError::Reserved),
        RequestError::Path(PathError::Host),
        RequestError::Path(PathError::Major),
        RequestError::Path(PathError::TooLong),
        RequestError::Version(VersionError::NotCanonical),
        RequestError::Version(VersionError::Query),
        RequestError::Version(VersionError::Escape),
        RequestError::NoEndpoint,
        RequestError::Impossible,
        RequestError::Database,
    ];
    for error in errors {
        let public = error.public();
        assert!(public.len() <= 79 && !public.contains('\n'), "{}: {public}", public.len());
        let start = if error.kind() == Kind::Malformed { "bad request: " } else { "not found: " };
        assert!(public.starts_with(start), "{public}");
    }
    for raw in ["/example.com/Canary/@v/list", "/example.com/a/@v/ca*nary.info", "/canary%zz/x"] {
        let public = Request::parse(raw, &routes()).unwrap_err().public();
        assert!(!public.to_lowercase().contains("nary"), "{public}");
    }
}

fn paths() -> impl Strategy<Value = String> {
    "[a-z]{1,6}\\.[a-z]{2,3}(/[A-Za-z0-9_.~-]{1,8}){0,3}"
}

fn versions() -> impl Strategy<Value = String> {
    "v[0-2]\\.[0-9]\\.[0-9](-[A-Za-z0-9.]{1,6})?(\\+incompatible)?"
}

fn queries() -> impl Strategy<Value = String> {
    "[A-Za-z0-9 #$%&()+,.=@\\[\\]^_{}~-]{1,12}"
}

proptest! {
    #[test]
    fn what_an_upstream_is_asked_means_what_we_were_asked(
        path in paths(), version in versions(), query in queries(), which in 0..6,
    ) {
        let Ok(path) = ModulePath::parse(&path) else { return Ok(()) };
        let fitting = Version::parse(&version).ok().filter(|version| version.fits(&path));
        let artifact = match (which, fitting) {
            (0, _) => Artifact::List,
            (1, _) => Artifact::Latest,
            (2, Some(version)) => Artifact::Info(version),
            (3, Some(version)) => Artifact::Mod(version),
            (4, Some(version)) => Artifact::Zip(version),
            _ => match Query::parse(&query) {
                Ok(query) if Version::parse(query.as_str()).is_err()
                    && !matches!(query.as_str(), "latest" | "upgrade" | "patch") => Artifact::Query(query),
                _ => return Ok(()),
            },
        };
        let request = Request::Module(ModuleRequest { path, artifact, fetch: FetchMode::Allowed });
        let again = Request::parse(&format!("/{}", request.upstream_path()), &routes());
        prop_assert_eq!(again, Ok(request));
    }

    #[test]
    fn nothing_makes_the_parser_panic(raw in any::<String>()) {
        let _any = Request::parse(&raw, &routes());
        let _any = Request::parse(&format!("/{raw}"), &routes());
        let _any = Request::parse(&format!("/sumdb/sum.example/{raw}"), &routes());
    }

    #[test]
    fn every_spelling_of_a_request_means_the_same(
        path in paths(), version in versions(), which in 0..7, spelling in any::<u64>(),
    ) {
        let (Ok(path), Ok(version)) = (ModulePath::parse(&path), Version::parse(&version)) else {
            return Ok(());
        };
        let (path, version) = (path.escaped(), version.escaped());
        let plain = match which {
            0 => format!("/{path}/@v/list"),
            1 => format!("/{path}/@latest"),
            2 => format!("/{path}/@v/{version}.info"),
            3 => format!("/{path}/@v/{version}.mod"),
            4 => format!("/{path}/@v/{version}.zip"),
            5 => format!("/sumdb/sum.example/lookup/{path}@{version}"),
            _ => format!("/sumdb/sum.example/private/lookup/{path}@{version}"),
        };
        let expected = Request::parse(&plain, &routes());
        prop_assert_eq!(&Request::parse(&respelt(&plain, spelling), &routes()), &expected);
        if let Ok(request) = expected {
            let again = Request::parse(&format!("/{}", request.upstream_path()), &routes());
            prop_assert_eq!(again, Ok(request));
        }
    }

    #[test]
    fn a_tile_is_asked_of_an_upstream_as_it_was_asked_of_us(
        level in 0_u8..65, index in any::<u64>(), shift in 0..64, width in 0_u8..=255,
    ) {
        // one above the highest level stands for the tiles of records
        let level = if level == 64 { TileLevel::Data } else { TileLevel::Hashes(level) };
        let tile = Tile { level, index: index >> shift, width: Some(width).filter(|w| *w > 0) };
        let request = Request::Sumdb(SumdbRequest {
            database: Arc::from("sum.example/private"),
            ask: SumdbAsk::Tile(tile),
        });
        let again = Request::parse(&format!("/{}", request.upstream_path()), &routes());
        prop_assert_eq!(again, Ok(request));
    }
}

/// The same path with some of its bytes percent-encoded, in either case of hex digits; slashes stay.
fn respelt(plain: &str, spelling: u64) -> String {
    let mut bits = (0_u32..32).cycle().map(|at| (spelling >> (2 * at)) & 3);
    let spell = |byte: u8| match bits.next() {
        Some(1) if byte != b'/' => format!("%{byte:02X}"),
        Some(2) if byte != b'/' => format!("%{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    plain.bytes().map(spell).collect()
}
