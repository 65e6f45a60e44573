//! `check-config --probe` asks each upstream once, names no module, and says what is wrong and what to do.

use std::net::SocketAddr;
use std::path::Path;

use crate::support::authority::Authority;
use crate::support::authority::Life;
use crate::support::chaos;
use crate::support::gateway::modgate;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

/// Exit code, and everything that was printed.
fn probe(settings: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("modgate.toml"), settings).unwrap();
    let asked = modgate().current_dir(directory.path()).args(["check-config", "--probe"]).output();
    let asked = asked.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
    (asked.status.code(), format!("{out}{err}"))
}

fn server(url: &str, more: &str) -> String {
    format!("[[upstream.servers]]\nname = \"inner\"\nurl = \"{url}\"\n{more}")
}

/// The same without patience, for who takes no connections.
fn hasty(settings: &str) -> String {
    format!("[upstream]\nconnect_timeout = \"500ms\"\n{settings}")
}

fn scripted(what: &'static str) -> String {
    let upstream = Upstream::serve("/nonexistent");
    upstream.always(Some(Instead::Raw(what)));
    upstream.url()
}

fn encrypted(directory: &Path, name: &str, life: Life, plain: SocketAddr) -> (String, String) {
    let authority = Authority::make(directory);
    authority.sign_for(&[name], life);
    let address = chaos::tls(plain, &authority.cert, &authority.key);
    (format!("https://{address}"), format!("ca_file = \"{}\"\n", authority.ca.display()))
}

#[test]
fn each_mistake_is_found_and_comes_with_a_remedy() {
    let tree = Tree::new();
    let upstream = Upstream::serve(tree.path());
    let plain = upstream.address();
    let places: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let over = encrypted(places[0].path(), "127.0.0.1", Life::Over, plain);
    let early = encrypted(places[1].path(), "127.0.0.1", Life::NotBegun, plain);
    let misnamed = encrypted(places[2].path(), "other.example", Life::Good, plain);
    let hello = chaos::saying("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let skewed =
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    let table = [
        (server("http://nothing.invalid", ""), "dns: ", "correct the host in url"),
        (
            server(&format!("http://{}", chaos::nobody()), ""),
            "connect_refused: ",
            "nobody listens there",
        ),
        (
            hasty(&server(&format!("http://{}", chaos::full()), "")),
            "connect_timeout: ",
            "open the firewall",
        ),
        (server(&over.0, &over.1), "tls_expired: ", "set this machine's clock"),
        (server(&early.0, &early.1), "tls_expired: ", "set this machine's clock"),
        (server(&misnamed.0, &misnamed.1), "tls_untrusted: ", "for another name"),
        (server(&misnamed.0, ""), "tls_untrusted: ", "set ca_file to its authority"),
        (server(&format!("https://{hello}"), ""), "tls: ", "write http:// in url"),
        (
            server(&scripted("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"), ""),
            "it answered 401",
            "correct username and password_file",
        ),
        (
            server(&scripted("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), ""),
            "it answered 403",
            "correct username and password_file",
        ),
        (
            server(&scripted("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), ""),
            "it answered 500",
            "own log",
        ),
        (server(&scripted(skewed), ""), "its clock and ours differ by", "best by NTP"),
        (
            server(&format!("http://{}", chaos::saying("220 mail.example\r\n")), ""),
            "protocol: ",
            "correct the port in url",
        ),
        (server("file:///nonexistent/modules", ""), "cannot be read", "correct the path in url"),
    ];
    for (settings, what, remedy) in table {
        let (code, said) = probe(&settings);
        assert_eq!(code, Some(1), "{what}: {said}");
        let line = said.lines().find(|line| line.starts_with("FAILED  upstream inner: "));
        assert!(line.is_some_and(|line| line.contains(what)), "no {what} in {said}");
        assert!(said.contains(remedy), "no {remedy} in {said}");
    }
    assert_eq!(upstream.asked(), Vec::<String>::new());
}

#[test]
fn an_upstream_that_is_well_is_ok_and_hears_no_name() {
    let tree = Tree::new();
    let upstream = Upstream::serve(tree.path());
    let url = format!("{}/go", upstream.url());
    let directory = format!("file://{}", tree.path().display());
    let more = format!("[[upstream.servers]]\nname = \"tree\"\nurl = \"{directory}\"\n");
    let (code, said) = probe(&server(&url, &more));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok      upstream inner") && said.contains("ok      upstream tree"));
    assert_eq!(upstream.asked(), ["/go/"]);
    let (code, said) = probe(&server("htps://goproxy.example", ""));
    assert_eq!(code, Some(2));
    assert!(said.contains("is neither http, https nor file; write https://HOST"), "{said}");
}
