//! `modgate login` and `modgate goauth`, with a `go` command that asks for them.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::go::Go;
use crate::support::tree::Tree;
use crate::support::upstream::Upstream;

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(home: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = modgate()
        .args(arguments)
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // a command that needs no input may have ended before it is written
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn world() -> (Tree, Upstream, Gateway, tempfile::TempDir) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    (tree, upstream, gateway, tempfile::tempdir().unwrap())
}

/// A `go` without netrc, which asks `modgate goauth`.
fn go(gateway: &Gateway, home: &Path) -> Go {
    let command = format!("{} goauth", env!("CARGO_BIN_EXE_modgate"));
    Go::at(gateway)
        .with("NETRC", "/nonexistent")
        .with("GOAUTH", &command)
        .with("XDG_CONFIG_HOME", &home.join(".config").display().to_string())
        .with("GONOSUMDB", "*")
}

fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("go.mod"), "module example.com/main\n\ngo 1.21\n").unwrap();
    project
}

#[test]
fn go_downloads_with_a_kept_token_and_not_without() {
    let (_tree, _upstream, gateway, home) = world();
    let project = project();
    let without = go(&gateway, home.path()).run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(!without.ok && without.err.contains("401"), "{}", without.err);
    let kept = run(home.path(), &["login", &gateway.url()], &format!("{}\n", gateway.token()));
    assert_eq!(kept.code, Some(0), "{}", kept.err);
    let file = home.path().join(".config/modgate/credentials.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let said = go(&gateway, home.path()).run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(said.ok, "{}", said.err);
    let used = gateway.audited(1, "a download", |event| event["event"] == "module.zip");
    assert_eq!(used[0]["actor"]["id"], "user:token:dev");
    assert_eq!(run(home.path(), &["login", &gateway.url(), "--forget"], "").code, Some(0));
    assert_eq!(run(home.path(), &["goauth"], "").out, "");
}

#[test]
fn go_downloads_with_credentials_in_its_proxy_url_what_they_may_and_nothing_else() {
    let (_tree, _upstream, gateway, home) = world();
    let project = project();
    let with = |token: &str| {
        let url = gateway.url().replace("https://", &format!("https://dev:{token}@"));
        go(&gateway, home.path()).with("GOAUTH", "off").with("GOPROXY", &url)
    };
    let good = with(&gateway.token());
    let said = good.run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(said.ok, "{}", said.err);
    let said = good.run(project.path(), &["get", "example.com/banned/lib@v1.0.0"]);
    assert!(!said.ok && said.err.contains("rule banned-example"), "{}", said.err);
    let said = with("mgt_wrong").run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(!said.ok && said.err.contains("401"), "{}", said.err);
}

#[test]
fn a_refused_token_is_renewed_once_and_go_goes_on() {
    let (_tree, _upstream, gateway, home) = world();
    let project = project();
    let script = home.path().join("token.sh");
    // the first two tokens are wrong ones: one at login, one for the first request
    let text = format!(
        "cd {}; echo x >> calls; if [ $(wc -l < calls) -gt 1 ]; then echo {}; else echo mgt_wrong; fi\n",
        home.path().display(),
        gateway.token()
    );
    std::fs::write(&script, text).unwrap();
    let command = format!("sh {}", script.display());
    let kept = run(home.path(), &["login", &gateway.url(), "--token-command", &command], "");
    assert_eq!(kept.code, Some(0), "{}", kept.err);
    let said = go(&gateway, home.path()).run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(said.ok, "{}", said.err);
    let calls = std::fs::read_to_string(home.path().join("calls")).unwrap().lines().count();
    assert_eq!(calls, 2, "once at login, once after the 401");
}

#[test]
fn the_second_call_answers_for_its_url_and_renews_on_401_alone() {
    let (_tree, _upstream, gateway, home) = world();
    let command =
        format!("echo x >> {0}/calls; echo token-$(wc -l < {0}/calls)", home.path().display());
    let kept = run(home.path(), &["login", &gateway.url(), "--token-command", &command], "");
    assert_eq!(kept.code, Some(0), "{}", kept.err);
    let block = |token: &str| format!("{}\n\nAuthorization: Bearer {token}\n\n", gateway.url());
    assert_eq!(run(home.path(), &["goauth"], "").out, block("token-1"));
    let url = format!("{}/example.com/lib/@v/list", gateway.url());
    assert_eq!(
        run(home.path(), &["goauth", &url], "HTTP/1.1 404 Not Found\n\n").out,
        block("token-1")
    );
    assert_eq!(
        run(home.path(), &["goauth", &url], "HTTP/1.1 401 Unauthorized\n\n").out,
        block("token-2")
    );
    assert_eq!(
        run(home.path(), &["goauth", "https://other.example/x"], "HTTP/1.1 401 X\n\n").out,
        ""
    );
}

#[test]
fn wrong_input_is_told_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    for (gateway, token, part) in [
        ("http://gw.example", "mgt_x", "is no gateway"),
        ("gw.example", "mgt_x", "is no gateway"),
        ("https://user:pw@gw.example", "mgt_x", "is no gateway"),
        ("https://gw.example", "", "no token"),
        ("https://gw.example", "two words", "no token"),
    ] {
        let said = run(home.path(), &["login", gateway], &format!("{token}\n"));
        assert!(said.code == Some(2) && said.err.contains(part), "{gateway}: {}", said.err);
    }
    assert!(!home.path().join(".config").exists());
    let failing = run(
        home.path(),
        &["login", "https://gw.example", "--token-command", "echo no >&2; exit 3"],
        "",
    );
    assert!(failing.code == Some(1) && failing.err.contains("no"), "{}", failing.err);
    assert_eq!(run(home.path(), &["login", "https://gw.example"], "mgt_x\n").code, Some(0));
    let file = home.path().join(".config/modgate/credentials.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = run(home.path(), &["goauth"], "");
    assert!(said.code == Some(2) && said.err.contains("chmod 600"), "{}", said.err);
}

fn world_with_private_modules() -> (Tree, Gateway, tempfile::TempDir) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    tree.module("corp.example/tools/lint", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let private = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n",
        upstream.url()
    );
    let gateway = Setup::over(&upstream.url()).with(&private).start();
    (tree, gateway, tempfile::tempdir().unwrap())
}

/// What the developer of the tests is told about somebody else's private module.
const PRIVATE_REFUSED: &str = "denied: corp.example/tools/lint";

/// More arguments, an environment, and what must be said.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

/// What the doctor of a gateway says at a home, and how it ends.
fn doctor(
    (url, home): (&str, &Path),
    more: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
    let output = modgate()
        .args(["doctor", url])
        .args(more)
        .env("HOME", home)
        .env("GOENV", "off")
        .env("GOFLAGS", "")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn the_doctor_says_what_is_well_and_what_to_change() {
    let (_tree, gateway, home) = world_with_private_modules();
    let ca = gateway.ca().display().to_string();
    let url = gateway.url();
    let doctor = |more: &[&str], environment: &[(&str, &str)]| {
        doctor((&url, home.path()), more, environment)
    };
    let netrc = gateway.netrc().display().to_string();
    let well =
        [("GOPROXY", url.as_str()), ("NETRC", netrc.as_str()), ("GONOSUMDB", "corp.example")];
    let modules = ["--ca", &ca, "--module", "example.com/lib", "--denied", "example.com/banned/x"];
    let (code, said) = doctor(&modules, &well);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "you are user:token:dev",
        "1 versions, the info of v1.0.0",
        "is denied",
        "GOPROXY is the gateway alone",
        "GONOSUMDB has every private prefix",
        "nothing to change",
    ] {
        assert!(said.contains(part), "no {part} in:\n{said}");
    }
    let only_host = home.path().join("netrc");
    std::fs::write(&only_host, "machine localhost login a password b\n").unwrap();
    let only_host = only_host.display().to_string();
    let falls_back = format!("{url},direct");
    let table: [Case<'_>; 9] = [
        (&["--ca", &ca], &well[..2], "GONOSUMDB= lacks corp.example"),
        (&["--ca", &ca, "--module", "corp.example/tools/lint"], &well, PRIVATE_REFUSED),
        (&[], &well, "set SSL_CERT_FILE"),
        (&["--ca", &ca], &[("GOPROXY", &url), ("NETRC", "/nonexistent")], "modgate login"),
        (&["--ca", &ca], &[("GOPROXY", &url), ("NETRC", &only_host)], "wants the port"),
        (&["--ca", &ca], &[("GOPROXY", &falls_back), ("NETRC", &netrc)], "goes on to others"),
        (
            &["--ca", &ca],
            &[("GOPROXY", &url), ("NETRC", &netrc), ("GOPRIVATE", "corp.example")],
            "past the gateway",
        ),
        (&["--ca", &ca, "--module", "example.com/banned/x"], &well, "rule banned-example"),
        (&["--ca", &ca, "--denied", "example.com/lib"], &well, "is not denied"),
    ];
    for (more, environment, part) in table {
        let (code, said) = doctor(more, environment);
        assert!(code == Some(1) && said.contains(part), "no {part} in:\n{said}");
    }
}

#[test]
fn go_downloads_with_what_git_keeps_and_git_goes_on_keeping_it() {
    let (_tree, _upstream, gateway, home) = world();
    let project = project();
    let (kept, config) = (home.path().join("kept"), home.path().join("gitconfig"));
    let line = format!("https://dev:{}@localhost:{}\n", gateway.token(), gateway.address.port());
    std::fs::write(&kept, &line).unwrap();
    std::fs::write(&config, format!("[credential]\n\thelper = store --file={}\n", kept.display()))
        .unwrap();
    let go = Go::at(&gateway)
        .with("NETRC", "/nonexistent")
        .with("GOAUTH", &format!("git {}", home.path().display()))
        .with("GIT_CONFIG_GLOBAL", &config.display().to_string())
        .with("GONOSUMDB", "*");
    let said = go.run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(said.ok, "{}", said.err);
    // git asked with HEAD whether the secret is good; at 401 it would have erased it
    let asked = gateway.audited(1, "a HEAD", |event| event["http"]["method"] == "HEAD");
    assert!(asked.iter().all(|event| event["http"]["status"] == 200), "{asked:?}");
    assert_eq!(
        std::fs::read_to_string(&kept).unwrap().replace("%3a", ":"),
        line.replace("%3a", ":")
    );
}
