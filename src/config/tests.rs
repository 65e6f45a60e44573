//! The configuration as a whole: precedence, problems, what is shown, and the files of the repository.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::config::Inputs;
use crate::config::identity::Anonymous;
use crate::config::problem::Problems;
use crate::config::server::Plaintext;
use crate::config::telemetry::AccessLog;
use crate::config::upstream::Place;
use crate::goproxy::proxylist::FallBack;

/// A settings file of its own, and a place beside it for what it names.
struct World(tempfile::TempDir);

impl World {
    fn of(toml: &str) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        world.write("modgate.toml", toml, 0o600);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        std::fs::write(self.path(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    fn load_with(&self, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
        let pairs = |all: &[(&str, &str)]| {
            all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Config::load(Inputs {
            file: Some(self.path("modgate.toml")),
            environment: pairs(environment),
            overrides: pairs(flags),
        })
    }

    fn load(&self) -> Loaded {
        self.load_with(&[], &[])
    }

    /// Problems without the directory's name, which differs from run to run.
    fn told(&self, loaded: &Loaded) -> String {
        let text = loaded.as_ref().map(|_| "no problem".to_owned());
        let text = text.unwrap_or_else(ToString::to_string);
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

type Loaded = Result<Config, Problems>;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn nothing_given_is_a_configuration_on_loopback_that_admits_nobody_unknown() {
    let config = Config::load(Inputs::default()).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:8443".parse().unwrap()]);
    assert!(config.server.ops_listen.ip().is_loopback());
    assert_eq!(config.server.plaintext, Plaintext::Loopback);
    assert_eq!(config.identity.anonymous, Anonymous::Refused);
    assert_eq!(config.identity.tokens_file, Path::new(".modgate/tokens"));
    assert_eq!(config.cache.dir, Path::new(".modgate/cache"));
    assert_eq!(config.cache.list_ttl, Duration::from_mins(1));
    assert_eq!(config.upstream.max_zip, 500 << 20);
    assert!(config.upstream.chain.is_empty() && config.upstream.servers.is_empty());
    assert!(config.server.workers >= 1 && !config.telemetry.node.is_empty());
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let world = World::of("state_dir = \"/srv\"\n[server]\nworkers = 2\ndrain = \"1s\"\n");
    let by_file = world.load().unwrap();
    assert_eq!((by_file.server.workers, by_file.server.drain), (2, Duration::from_secs(1)));
    let variables = [("MODGATE_SERVER_WORKERS", "3"), ("HOME", "/root")];
    assert_eq!(world.load_with(&variables, &[]).unwrap().server.workers, 3);
    let flags = [("server.workers", "4"), ("server.workers", "5")];
    let by_flag = world.load_with(&variables, &flags).unwrap();
    assert_eq!(by_flag.server.workers, 5, "the last flag wins");
    assert_eq!(by_flag.server.drain, Duration::from_secs(1));
    assert_eq!(by_flag.audit.dir, Path::new("/srv/audit"), "defaults follow state_dir");
    let moved = world.load_with(&[("MODGATE_STATE_DIR", "/var/x/")], &[]).unwrap();
    assert_eq!(moved.cache.dir, Path::new("/var/x/cache"));
}

#[test]
fn lists_come_from_variables_and_flags_with_commas() {
    let flags = [("server.listen", "127.0.0.1:1, [::1]:2")];
    let config = World::of("").load_with(&[("MODGATE_IDENTITY_JWT_USERS", "")], &flags).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert!(config.identity.jwt_users.is_empty());
}

#[test]
fn a_table_with_a_name_is_reached_by_it_from_outside() {
    let world = World::of(
        "[[upstream.servers]]\nname = \"in-ner\"\nurl = \"https://a.example\"\nusername = \"me\"\n",
    );
    let variables = [("MODGATE_UPSTREAM_SERVERS_IN_NER_PASSWORD", "hunter2")];
    let config = world.load_with(&variables, &[("upstream.servers.in-ner.sumdb", "true")]).unwrap();
    let server = config.upstream.servers.first().unwrap();
    assert!(server.sumdb);
    assert_eq!(server.password.as_ref().unwrap().expose(), "hunter2");
    let wrong = world.load_with(&variables, &[("upstream.servers.iner.sumdb", "true")]);
    assert_eq!(
        world.told(&wrong),
        "flag --set upstream.servers.iner.sumdb: is no setting; \
         did you mean upstream.servers.in-ner.sumdb?"
    );
}

#[test]
fn what_is_no_setting_is_an_error_wherever_it_stands() {
    let world = World::of("");
    let variables = [("MODGATE_SERVER_LISEN", "x"), ("MODGATE_NONSENSE_AT_ALL", "x")];
    let told = world.told(&world.load_with(&variables, &[("cache.dri", "x")]));
    assert_eq!(
        told,
        "env MODGATE_NONSENSE_AT_ALL: is no setting; unset it: `modgate check-config` and the \
         example file list every setting\n\
         env MODGATE_SERVER_LISEN: is no setting; did you mean MODGATE_SERVER_LISTEN?\n\
         flag --set cache.dri: is no setting; did you mean cache.dir?"
    );
}

#[test]
fn what_kubernetes_says_of_a_service_called_modgate_is_no_setting_of_ours() {
    let variables = [
        ("MODGATE_SERVICE_HOST", "10.0.0.1"),
        ("MODGATE_SERVICE_PORT", "443"),
        ("MODGATE_SERVICE_PORT_HTTPS", "443"),
        ("MODGATE_PORT", "tcp://10.0.0.1:443"),
        ("MODGATE_PORT_443_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(World::of("").load_with(&variables, &[]).is_ok());
    assert!(World::of("").load_with(&[("MODGATE_PORTAL", "x")], &[]).is_err());
}

#[test]
fn show_gives_every_value_its_origin_and_masks_secrets() {
    let world = World::of(
        "[[upstream.servers]]\nname = \"inner\"\nurl = \"https://a.example\"\nusername = \"me\"\n\
         password = \"hunter2\"\n[server]\nworkers = 2\n",
    );
    let flags = [("telemetry.node", "gate-1"), ("cache.memory", "2 MiB")];
    let variables = [("MODGATE_SUMDB_NAMES", "sum.example,b.example")];
    let shown = world.load_with(&variables, &flags).unwrap().show();
    let has = |start: &str, end: &str| {
        let line = shown.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no {start} in {shown}"));
        assert!(line.ends_with(end), "{line}");
    };
    has("workers = 2 ", "modgate.toml:7");
    has("password = \"***\"", "modgate.toml:5");
    has("# password_file is not set", "# default");
    has("node = \"gate-1\"", "# flag --set telemetry.node");
    has("memory = \"2 MiB\"", "# flag --set cache.memory");
    has("names = [\"sum.example\", \"b.example\"]", "# env MODGATE_SUMDB_NAMES");
    has("drain = \"30s\"", "# default");
    assert!(!shown.contains("hunter2"));
    let debug = format!("{:?}", world.load().unwrap());
    assert!(!debug.contains("hunter2") && debug.contains("***"));
}

#[test]
fn what_is_shown_loads_again_and_shows_the_same_values() {
    let flags = [("upstream.chain", "https://a.example|https://b.example:8080/x,file:///srv/m")];
    let first = World::of("").load_with(&[], &flags).unwrap();
    let second = World::of(&first.show()).load().unwrap();
    assert_eq!(first.upstream.chain, second.upstream.chain);
    let values = |config: &Config| {
        let lines = config.show();
        let value = |line: &str| line.split(" # ").next().map(|line| line.trim_end().to_owned());
        lines.lines().map(|line| value(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn a_url_in_the_chain_makes_a_server_named_after_its_host() {
    let world = World::of(
        "[upstream]\nchain = \"inner, https://a.example|https://a.example/two|http://b.example:81,\
         file:///srv/tree\"\n[[upstream.servers]]\nname = \"inner\"\nurl = \"https://i.example\"\n",
    );
    let upstream = world.load().unwrap().upstream;
    let chain: Vec<_> = upstream.chain.iter().map(|(name, next)| (name.as_str(), *next)).collect();
    let expected = [
        ("inner", FallBack::OnNotFound),
        ("a.example", FallBack::OnAnyError),
        ("a.example-2", FallBack::OnAnyError),
        ("b.example:81", FallBack::OnNotFound),
        ("tree", FallBack::OnNotFound),
    ];
    assert_eq!(chain, expected);
    assert_eq!(upstream.servers.len(), 5);
    assert_eq!(upstream.servers.last().unwrap().place, Place::Directory("/srv/tree".into()));
    let again = world.load_with(&[], &[("upstream.chain", "https://i.example")]).unwrap().upstream;
    assert_eq!(again.chain, [("inner".to_owned(), FallBack::OnNotFound)], "the file's own server");
    assert_eq!(again.servers.len(), 1);
}

const SERVER: &str =
    "[[upstream.servers]]\nname = \"inner\"\nurl = \"https://a.example\"\nusername = \"me\"\n";

#[test]
fn a_secret_may_stand_in_a_file_that_not_everybody_can_read() {
    let world = World::of(SERVER);
    world.write("secret", "hunter2\n", 0o640);
    let secret = world.path("secret").display().to_string();
    let variables = [("MODGATE_UPSTREAM_SERVERS_INNER_PASSWORD_FILE", secret.as_str())];
    let config = world.load_with(&variables, &[]).unwrap();
    let server = config.upstream.servers.first().unwrap();
    assert_eq!(server.password.as_ref().unwrap().expose(), "hunter2");
    world.write("secret", "hunter2", 0o644);
    let told = world.told(&world.load_with(&variables, &[]));
    assert!(told.contains("everybody on this machine may read it; run: chmod o-rwx"), "{told}");
    for bad in ["", "\n", "two\nlines", &"x".repeat(5000)] {
        world.write("secret", bad, 0o600);
        let told = world.told(&world.load_with(&variables, &[]));
        assert!(told.contains("holds no single line of text"), "{told}");
    }
    let literal = World::of(&format!("{SERVER}password = \"hunter2\"\n"));
    assert!(literal.load().is_ok());
    literal.write("modgate.toml", &format!("{SERVER}password = \"hunter2\"\n"), 0o644);
    let told = literal.told(&literal.load());
    assert!(told.contains("everybody on this machine may read it"), "{told}");
}

#[test]
fn of_two_secrets_the_stronger_origin_wins_and_equals_are_a_problem() {
    let world = World::of(&format!("{SERVER}password_file = \"/nonexistent\"\n"));
    let variables = [("MODGATE_UPSTREAM_SERVERS_INNER_PASSWORD", "hunter2")];
    assert!(world.load_with(&variables, &[]).is_ok());
    let both =
        World::of(&format!("{SERVER}password = \"hunter2\"\npassword_file = \"/nonexistent\"\n"));
    let told = both.told(&both.load());
    assert!(
        told.contains("password: is given twice; take password or password_file out"),
        "{told}"
    );
    assert!(!told.contains("hunter2"));
    let told = both.told(&both.load_with(&[], &[("upstream.servers.inner.password", "hunter3")]));
    assert!(told.contains("a secret on the command line") && !told.contains("hunter"), "{told}");
}

#[test]
fn no_problem_repeats_a_secret_that_stands_in_the_wrong_place() {
    let places = [
        "[[upstream.servers]]\nname = \"a\"\nurl = \"https://me:hunter2@a.example\"\n",
        "[upstream]\nchain = \"https://hunter2@a.example\"\n",
        "[[upstream.servers]]\nname = \"a\"\nurl = \"https://a.example\"\npassword = [\"hunter2\"]\n",
        "[[upstream.servers]]\nname = \"a\"\npasword = \"hunter2\"\n",
        "[[upstream.servers]\npassword = \"hunter2\"\n",
        "password = \"hunter2",
        "[upstream]\nchain = \"me:hunter2@a.example\"\n",
        "[upstream]\nchain = \"https://me:hunter2,x@a.example\"\n",
        "[[upstream.servers]]\nname = \"a\"\nurl = \"https://a.example\"\npassword_file = \"hunter2\"\n",
        "[[upstream.servers]]\nname = \"a\"\nallow_redirect_hosts = [\"me:hunter2@a\"]\n",
        "[telemetry]\notlp_endpoint = \"https://c.example/?token=hunter2\"\n",
    ];
    for place in places {
        let world = World::of(place);
        let told = world.load().unwrap_err();
        assert!(!told.to_string().contains("hunter2"), "{told}");
        assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
    }
    let inputs = Inputs {
        environment: vec![("MODGATE_X".to_owned(), "hunter2".to_owned())],
        overrides: vec![("x".to_owned(), "hunter2".to_owned())],
        file: None,
    };
    assert!(!format!("{inputs:?}").contains("hunter2"));
}

#[test]
fn plain_http_beyond_loopback_takes_a_word_that_says_so() {
    let open = World::of("[server]\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:2\"]\n");
    let told = open.told(&open.load());
    assert!(told.starts_with("modgate.toml:2: server.listen: \"0.0.0.0:2\" would be"), "{told}");
    assert!(open.load_with(&[("MODGATE_SERVER_PLAINTEXT", "insecure_anywhere")], &[]).is_ok());
    open.write("crt", "", 0o600);
    let pem = open.path("crt").display().to_string();
    let pair = [("server.tls_cert", pem.as_str()), ("server.tls_key", pem.as_str())];
    assert!(open.load_with(&[], &pair).is_ok());
    let told = open.told(&open.load_with(&[], &pair[..1]));
    assert_eq!(
        told,
        "flag --set server.tls_cert: server.tls_cert: has no key; give server.tls_key as well"
    );
}

#[test]
fn every_word_of_a_closed_set_is_read_as_itself() {
    for access in AccessLog::ALL {
        let flags = [("telemetry.access", access.word())];
        assert_eq!(World::of("").load_with(&[], &flags).unwrap().telemetry.access, access);
    }
    for anonymous in Anonymous::ALL {
        let flags = [("identity.anonymous", anonymous.word())];
        assert_eq!(World::of("").load_with(&[], &flags).unwrap().identity.anonymous, anonymous);
    }
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let gone = Inputs { file: Some("/nonexistent/modgate.toml".into()), ..Inputs::default() };
    let problems = Config::load(gone).unwrap_err();
    assert_eq!(problems.iter().count(), 1);
    assert!(problems.to_string().starts_with("/nonexistent/modgate.toml:1: the settings file"));
}

#[test]
fn each_bad_file_yields_exactly_the_problems_beside_it() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("tests/fixtures/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let world = World::of(&std::fs::read_to_string(&path).unwrap());
        let told = world.told(&world.load());
        let expected = path.with_extension("expected");
        let text = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(format!("{told}\n"), text, "{}", expected.display());
    }
    assert!(seen >= 6, "only {seen} files");
}

#[test]
fn the_example_file_is_what_the_table_of_keys_says_and_holds_the_defaults() {
    let file = repository("deploy/modgate.example.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, crate::config::show::example(), "write it anew: {}", file.display());
    let world = World::of(&text);
    let example = world.load().unwrap();
    let value = |line: &str| line.split(" # ").next().unwrap().trim_end().to_owned();
    let values = |config: &Config| config.show().lines().map(value).collect::<Vec<_>>();
    assert_eq!(values(&example), values(&Config::load(Inputs::default()).unwrap()));
}

#[test]
fn the_example_file_still_loads_with_every_setting_uncommented() {
    let world = World::of("");
    let here = world.0.path().display().to_string();
    let uncomment = |line: &str| {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        setting.unwrap_or(line).replace("/etc/modgate", &here)
    };
    // a secret is given as itself or as a file, and users are found by a search or by a template
    let once = [
        "password = ",
        "bind_password = ",
        "bind_template = ",
        "sentinel_password = ",
        "access_key = ",
        "secret_key = ",
    ];
    let given_once = |line: &String| !once.iter().any(|other| line.starts_with(other));
    let example = crate::config::show::example();
    let lines: Vec<String> = example.lines().map(uncomment).filter(given_once).collect();
    world.write("modgate.toml", &lines.join("\n"), 0o600);
    for file in [
        "tls.crt",
        "tls.key",
        "corp-ca.pem",
        "inner-password",
        "ldap-ca.pem",
        "ldap-password",
        "idp-ca.pem",
        "clients-ca.pem",
        "clients.crl",
        "redis-password",
        "sentinel-password",
        "s3-access-key",
        "s3-secret-key",
    ] {
        world.write(file, "x", 0o600);
    }
    std::fs::create_dir(world.path("policy")).unwrap();
    std::fs::create_dir(world.path("candidate")).unwrap();
    let config = world.load().unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.identity.jwt.len(), config.private.len()), (1, 1));
    assert_eq!(config.upstream.chain.len(), 2);
}
