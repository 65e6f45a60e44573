//! A planted secret in every input, and in no output: answers, log lines at their most talkative, audit, metrics,
//! traces, stored files, and what commands print.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::client::parse;
use crate::support::collector::Collector;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::issuer::Issuer;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

/// What no output may hold; each place gets one of its own, so that a leak says whence it came.
fn canary(place: &str) -> String {
    format!("cAnArY{place}7f3a9e")
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// A place, and how a canary is planted there.
type Place = (&'static str, fn(&str) -> String);

/// Places of a request, and the bytes that plant a canary there.
fn heads() -> Vec<(String, Vec<u8>)> {
    let list = "GET /example.com/lib/@v/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let field = |text: String| format!("{list}{text}\r\n\r\n");
    let target = |text: String| {
        format!("GET {text} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    };
    let places: [Place; 17] = [
        ("gatewaytoken", |c| format!("Authorization: Bearer mgt_{c}")),
        ("bearer", |c| format!("Authorization: Bearer {c}")),
        ("jwt", |c| format!("Authorization: Bearer {c}.{c}.{c}")),
        ("password", |c| format!("Authorization: Basic {}", base64(&format!("alice:{c}")))),
        ("jwtpassword", |c| format!("Authorization: Basic {}", base64(&format!("jwt:{c}")))),
        ("tokenpassword", |c| format!("Authorization: Basic {}", base64(&format!("x:mgt_{c}")))),
        ("nocolon", |c| format!("Authorization: Basic {}", base64(c))),
        ("notbase64", |c| format!("Authorization: Basic *{c}")),
        ("control", |c| format!("Authorization: Basic {}", base64(&format!("a\x07:{c}")))),
        ("scheme", |c| format!("Authorization: Digest {c}")),
        ("noscheme", |c| format!("Authorization: {c}")),
        ("twice", |c| format!("Authorization: Bearer {c}\r\nAuthorization: Bearer {c}")),
        ("long", |c| format!("Authorization: Bearer {c}{}", "x".repeat(9000))),
        ("cookie", |c| format!("Cookie: session={c}\r\nProxy-Authorization: Basic {c}")),
        ("forwarded", |c| format!("X-Forwarded-User: {c}\r\nX-Api-Key: {c}\r\nForwarded: for={c}")),
        ("trace", |c| format!("traceparent: {c}\r\ntracestate: a={c}\r\nbaggage: a={c}")),
        ("badfield", |c| format!("Authorization : Bearer {c}\r\n{c}\r\n folded {c}")),
    ];
    let fields = places.map(|(place, plant)| (place.to_owned(), field(plant(&canary(place)))));
    let targets: [Place; 6] = [
        ("query", |c| format!("/example.com/lib/@v/list?token={c}")),
        ("ownquery", |c| format!("/-/whoami?access_token={c}")),
        ("whyquery", |c| format!("/-/why?module=example.com/lib&token={c}")),
        ("rootquery", |c| format!("/?{c}")),
        ("userinfo", |c| format!("https://user:{c}@localhost/example.com/lib/@v/list")),
        ("fragment", |c| format!("/example.com/lib/@v/list#{c}")),
    ];
    let targets = targets.map(|(place, plant)| (place.to_owned(), target(plant(&canary(place)))));
    let body = canary("body");
    let others = [
        ("body".to_owned(), format!("{list}Content-Length: {}\r\n\r\n{body}", body.len())),
        (
            "post".to_owned(),
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
                canary("post")
            ),
        ),
        ("noise".to_owned(), format!("{}\r\n\r\n", canary("noise"))),
        (
            "host".to_owned(),
            format!(
                "GET / HTTP/1.1\r\nHost: u:{}@localhost\r\nConnection: close\r\n\r\n",
                canary("host")
            ),
        ),
    ];
    let all = fields.into_iter().chain(targets).chain(others);
    all.map(|(place, head)| (place, head.into_bytes())).collect()
}

/// Every place of an output that holds a text, for people.
fn found(outputs: &[(String, String)], secrets: &[String]) -> Vec<String> {
    let mut leaks = Vec::new();
    for (name, text) in outputs {
        for secret in secrets {
            if let Some((before, _)) = text.split_once(secret.as_str()) {
                let start = before.chars().count().saturating_sub(80);
                let near: String = text.chars().skip(start).take(200).collect();
                leaks.push(format!("{secret} in {name}: …{near}…"));
            }
        }
    }
    leaks
}

/// Every file below a directory but those whose purpose it is to hold secrets.
fn files(directory: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.file_name().is_some_and(|name| name != "netrc") {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            into.push((path.display().to_string(), text));
        }
    }
}

struct World {
    slapd: Slapd,
    issuer: Issuer,
    collector: Collector,
    gateway: Gateway,
    _trees: [Tree; 2],
    _password: tempfile::NamedTempFile,
}

fn world() -> World {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let public = Upstream::serve(tree.path());
    let mut own = Tree::new();
    own.module("corp.example/payments/ledger", "v1.0.0", &[]);
    let inner = Upstream::serve(own.path());
    let slapd = Slapd::with(&People::new().person("alice").group("staff", &["alice"]));
    let issuer = Issuer::start("ES256");
    let collector = Collector::listen();
    // a temporary file is made with mode 0600
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), canary("upstream")).unwrap();
    let settings = format!(
        "[telemetry]\notlp_endpoint = \"{}\"\ntrace_ratio = 1.0\notlp_logs = \"application\"\nlog_filter = \"trace\"\n\n\
         [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\nusername = \"gate\"\npassword_file = \"{}\"\n\n{}\n{}",
        collector.url(),
        inner.url(),
        password.path().display(),
        slapd.settings(""),
        issuer.settings("")
    );
    let gateway = Setup::over(&public.url()).with(&settings).start();
    World { slapd, issuer, collector, gateway, _trees: [tree, own], _password: password }
}

#[test]
fn t40_a_secret_planted_in_every_input_stands_in_no_output() {
    let mut world = world();
    let gateway = &world.gateway;
    let mut outputs = Vec::new();
    let mut secrets: Vec<String> = Vec::new();
    // those that are good
    let (token, jwt) = (gateway.token(), world.issuer.token());
    let pay = gateway.issue("pay", &["payments", "developers"]);
    let by_jwt = gateway.stranger().bearer(&jwt);
    until("the provider's keys are known", || by_jwt.get("/-/whoami").status == 200);
    for client in [
        gateway.stranger().bearer(&token),
        gateway.stranger().basic("any", &pay),
        by_jwt,
        gateway.stranger().basic("jwt", &jwt),
        gateway.stranger().basic("alice", "alice-pw"),
    ] {
        assert_eq!(client.get("/-/whoami").status, 200);
        for path in [
            "/-/whoami",
            "/-/env",
            "/corp.example/payments/ledger/@v/list",
            "/example.com/lib/@v/v1.0.0.zip",
        ] {
            outputs.push((path.to_owned(), client.get(path).text()));
        }
    }
    secrets.extend([token, pay, "alice-pw".to_owned(), "service-pw".to_owned()]);
    // the signature is what makes it good, and the whole
    secrets.extend([jwt.rsplit('.').next().unwrap().to_owned(), canary("upstream")]);
    // and those that are not
    let planted = heads();
    for (place, head) in &planted {
        let raw = gateway.stranger().raw(head);
        assert!(parse(&raw).is_some(), "no answer to {place}");
        outputs
            .push((format!("the answer to {place}"), String::from_utf8_lossy(&raw).into_owned()));
        secrets.push(canary(place));
    }
    // a directory that fails while somebody logs in says more than usual
    world.slapd.stop();
    let answer = gateway.stranger().basic("bob", &canary("outage")).get("/-/whoami");
    assert_eq!(answer.status, 503);
    secrets.push(canary("outage"));
    until("every request has its event", || gateway.audit().len() >= planted.len() + 26);
    outputs.push(("metrics".to_owned(), gateway.metrics()));
    world.gateway.signal("TERM");
    assert_eq!(world.gateway.wait(), Some(0));
    finish(&world, outputs, secrets);
}

/// Looks for every secret, as it is and in base64, in everything.
fn finish(world: &World, mut outputs: Vec<(String, String)>, mut secrets: Vec<String>) {
    outputs.push(("log".to_owned(), world.gateway.output()));
    let traces = String::from_utf8_lossy(&world.collector.bodies()).into_owned();
    assert!(traces.contains("identify"), "no traces");
    assert!(!world.collector.records().is_empty(), "no log records");
    outputs.push(("traces".to_owned(), traces));
    files(&world.gateway.state(), &mut outputs);
    let log = &outputs.iter().find(|(name, _)| name == "log").unwrap().1;
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is not talkative");
    let forms: Vec<_> = [("password", "alice"), ("jwtpassword", "jwt")]
        .iter()
        .map(|(place, user)| base64(&format!("{user}:{}", canary(place))))
        .collect();
    secrets.extend(forms);
    secrets.extend([base64("alice:alice-pw"), base64(&format!("gate:{}", canary("upstream")))]);
    let leaks = found(&outputs, &secrets);
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

/// Runs a command with an environment, and gives what it printed.
fn said(directory: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = modgate()
        .current_dir(directory)
        .args(arguments)
        .env("HOME", directory)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // a command that needs no input may have ended before it is written
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn t40_a_secret_in_a_configuration_right_or_wrong_is_printed_by_no_command() {
    let secret = canary("config");
    let ldap = "[[identity.ldap]]\nname = \"corp\"\nservers = [\"ldaps://127.0.0.1:1\"]\nbind_dn = \"cn=x\"\nuser_base = \"o=x\"\ngroup_mode = \"none\"\n";
    let server = "[[upstream.servers]]\nname = \"inner\"\nusername = \"u\"\n";
    let table = [
        format!("{ldap}bind_password = \"{secret}\"\n"),
        format!("{ldap}bind_passwort = \"{secret}\"\n"),
        format!("{ldap}bind_password = [\"{secret}\"]\n"),
        format!("{ldap}bind_password = \"{secret}\"\nbind_password_file = \"/nonexistent\"\n"),
        format!("{ldap}bind_password_file = \"{secret}\n"),
        format!("{server}url = \"https://u:{secret}@goproxy.example\"\n"),
        format!("{server}url = \"https://goproxy.example/?key={secret}\"\n"),
        format!("{server}url = \"https://goproxy.example\"\npassword = \"{secret}\"\n"),
        format!("[upstream]\nchain = \"https://u:{secret}@goproxy.example\"\n"),
        format!("[telemetry]\notlp_endpoint = \"http://u:{secret}@collector.example\"\n"),
        format!(
            "[[identity.jwt]]\nname = \"a\"\naudience = [\"m\"]\nissuer = \"https://u:{secret}@idp.example\"\n"
        ),
        format!("password = \"{secret}\"\n"),
        format!("password = {secret}\n"),
    ];
    for settings in &table {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("modgate.toml"), settings).unwrap();
        for arguments in [&["check-config"][..], &["check-config", "--probe"], &["serve"]] {
            let text = said(directory.path(), arguments, &[], "");
            assert!(!text.contains(&secret), "{arguments:?} of\n{settings}\nprints\n{text}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let url = format!("https://u:{secret}@goproxy.example,direct");
    for (arguments, environment) in [
        (&["serve", "--dev"][..], &[("GOPROXY", url.as_str()), ("GOSUMDB", "off")][..]),
        (&["serve", "--dev", "--upstream", &url], &[("GOSUMDB", "off")]),
        (&["serve", "--set", &format!("upstream.chain={url}")], &[]),
        (&["check-config"], &[("MODGATE_UPSTREAM_CHAIN", url.as_str())]),
        (&["check-config"], &[("MODGATE_PASSWORD", secret.as_str())]),
        (&["login", &format!("https://u:{secret}@gateway.example")], &[]),
        (&["doctor", &format!("https://u:{secret}@gateway.example")], &[]),
        (&["login", "http://gateway.example"], &[]),
        (&["login", "https://127.0.0.1:1", "--token-command", "cat; exit 3"], &[]),
        (&["doctor", "https://127.0.0.1:1"], &[]),
    ] {
        let text = said(directory.path(), arguments, environment, &secret);
        assert!(!text.contains(&secret), "{arguments:?} {environment:?} prints\n{text}");
    }
}
