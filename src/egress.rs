//! # Egress: the only way out
//!
//! **Question.** May this request leave for that place, and what came back?
//!
//! **Rule.** A URL is made here, from a typed request and a configured origin, and from nothing else. A module path
//! under a private prefix leaves only for the origins bound to that prefix; this is checked here, at the edge of
//! the socket, whatever a station before thought. The caller's headers are never forwarded: what leaves is our
//! user agent, `Accept-Encoding: identity`, `Via`, `traceparent`, the credentials of that origin, and the entity tag it
//! gave us for what we hold.
//!
//! **Addresses.** A name leads to public addresses only, whatever the name service says, unless the configuration
//! names other networks for that origin; an address that is written in a configured URL is configured. A machine that
//! the environment names as our proxy is asked as it is.
//!
//! **Redirects** are followed by hand: at most ten, never from https to http, never with credentials to another
//! origin, and only to the origin itself or to hosts the configuration allows for it. A private path follows
//! redirects only to hosts allowed by name, because its name stands in the URL.
//!
//! **How it fails.** Every failure has one word of a closed list ([`Attempt`]), found by walking the whole chain of
//! causes: the client library's own text says only that sending failed. Nothing here retries; the chain does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Client;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::config::secret::Secret;
use crate::egress::answer::Answer;
use crate::egress::answer::Hop;
use crate::egress::connect::Timing;
use crate::egress::networks::Networks;
use crate::egress::resolve::NotAllowed;
use crate::egress::resolve::Resolver;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::request::Request;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Attempt;

pub mod answer;
mod classify;
mod connect;
pub mod document;
mod networks;
mod resolve;

/// Why nothing useful came back.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// A private name was about to leave for an origin it is not bound to.
    #[error("{path} is private and {origin} is not bound to it")]
    PrivateName {
        /// The module path.
        path: String,
        /// The name of the origin.
        origin: String,
    },
    /// A redirect that the rules forbid.
    #[error("redirect to {0} is not allowed")]
    Redirect(String),
    /// A name that leads to addresses the rules forbid.
    #[error("{0}")]
    Address(String),
    /// No head, or no end, in time.
    #[error("no {0} in time")]
    Slow(&'static str, Attempt),
    /// The transport failed.
    #[error("{1:?}: {0}")]
    Transport(#[source] reqwest::Error, Attempt),
    /// The URL could not be formed.
    #[error("not a URL: {0}")]
    Url(String),
}

impl EgressError {
    /// The word of the closed list.
    pub fn attempt(&self) -> Attempt {
        match self {
            Self::PrivateName { .. } | Self::Redirect(_) | Self::Address(_) | Self::Url(_) => {
                Attempt::Protocol
            }
            Self::Slow(_, attempt) | Self::Transport(_, attempt) => *attempt,
        }
    }
}

/// Which private prefix may be asked of which origin.
#[derive(Debug, Clone, Default)]
pub struct Bindings(Vec<(Prefix, String)>);

impl Bindings {
    /// Pairs of prefix and origin name; a prefix may stand several times.
    pub fn new(pairs: Vec<(Prefix, String)>) -> Self {
        Self(pairs)
    }

    /// Whether a path lies under any private prefix, letter case aside.
    pub fn is_private(&self, path: &str) -> bool {
        self.0.iter().any(|(prefix, _)| prefix.covers(path, Case::Folded))
    }

    /// The origins that the longest private prefix over a path is bound to, in the order they were given; none for a
    /// public path.
    pub fn bound<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let covering =
            move || self.0.iter().filter(move |(prefix, _)| prefix.covers(path, Case::Folded));
        let longest = covering().map(|(prefix, _)| prefix.element_count()).max();
        covering()
            .filter(move |(prefix, _)| Some(prefix.element_count()) == longest)
            .map(|(_, name)| name.as_str())
    }

    /// Whether a path may be asked of an origin: it is public, or bound to that origin.
    pub fn allow(&self, path: &str, origin: &str) -> bool {
        !self.is_private(path) || self.bound(path).any(|name| name == origin)
    }
}

/// Where requests may go, and with what.
#[derive(Debug, Clone)]
pub struct OriginSettings {
    /// The configured name: a label, a field, and what bindings refer to.
    pub name: String,
    /// `http` or `https`, with an optional path.
    pub base: Url,
    /// A PEM bundle of authorities to trust besides the system's.
    pub extra_roots: Option<Vec<u8>>,
    /// Name and password for Basic authentication at this origin only.
    pub basic: Option<(String, Secret<String>)>,
    /// Hosts a redirect may lead to; `*` is any public host, for public modules only.
    pub redirect_hosts: Vec<String>,
    /// Networks, besides the public ones, that its names may lead to.
    pub networks: Vec<IpNet>,
    /// Time to connect, the TLS handshake included.
    pub connect_timeout: Duration,
}

/// What every request of this gateway says of itself.
#[derive(Debug, Clone)]
pub struct Instance {
    /// A name no other gateway has: it marks our `Via`, so that a loop is noticed.
    pub via: String,
    /// Which names are private, and whose they are.
    pub bindings: Arc<Bindings>,
    /// Where connections are measured.
    pub telemetry: Arc<Telemetry>,
}

/// Deadlines of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Until the head must have come.
    pub first_byte: Instant,
    /// Until the last byte must have come.
    pub total: Instant,
}

/// One place outside that may be asked.
#[derive(Debug, Clone)]
pub struct Origin {
    settings: Arc<OriginSettings>,
    instance: Instance,
    client: Client,
    resolver: Resolver,
}

impl Origin {
    /// Makes the client of one origin. Fails on an unreadable bundle of authorities.
    #[expect(clippy::disallowed_methods, reason = "the one door to the HTTP client")]
    pub fn new(settings: OriginSettings, instance: Instance) -> Result<Self, reqwest::Error> {
        let telemetry = &instance.telemetry;
        let resolver =
            Resolver::new(Networks::new(settings.networks.clone()), Arc::clone(telemetry));
        let timing =
            Timing { origin: Arc::from(settings.name.as_str()), telemetry: Arc::clone(telemetry) };
        let mut client = Client::builder()
            .user_agent(concat!("modgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .dns_resolver(Arc::new(resolver.clone()))
            .connector_layer(timing)
            .tcp_nodelay(true)
            .http2_adaptive_window(true);
        if let Some(bundle) = &settings.extra_roots {
            client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(bundle)?);
        }
        Ok(Self { settings: Arc::new(settings), instance, client: client.build()?, resolver })
    }

    /// Its name and where it lies, for what must not outlive a change of either.
    pub fn place(&self) -> String {
        let base = &self.settings.base;
        format!("{} {}{}", self.name(), base.origin().ascii_serialization(), base.path())
    }

    /// The configured name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Asks for what a typed request names. `traceparent` is sent along, and `tag` as `If-None-Match`, though not where
    /// a redirect leads: it was not given there.
    ///
    /// Cancel safety: dropping the future closes the connection or resets the stream.
    pub async fn get(
        &self,
        request: &Request,
        traceparent: &str,
        tag: Option<&str>,
        deadlines: Deadlines,
    ) -> Result<Answer, EgressError> {
        self.guard(request)?;
        let private = |path| self.instance.bindings.is_private(path);
        let name =
            if request.module_path().is_some_and(private) { Name::Private } else { Name::Public };
        let mut url = self.url(request)?;
        let (mut hop, mut said) = (Hop::First, Said { traceparent: Some(traceparent), tag });
        for _hop in 0..=REDIRECTS {
            let response = self.ask(&url, said, deadlines).await?;
            if !is_redirect(response.status()) {
                return Ok(Answer::new(response, hop, deadlines.total));
            }
            (hop, said.tag) = (Hop::Later, None);
            url = self.follow(&url, &response, name)?;
        }
        Err(EgressError::Redirect("more than ten redirects".to_owned()))
    }

    /// Asks for the root of this origin: whether anybody is there. No module is named.
    pub async fn knock(&self, deadlines: Deadlines) -> Result<Answer, EgressError> {
        let base = self.settings.base.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}/")).map_err(|_| EgressError::Url(base.to_owned()))?;
        let response = self.ask(&url, Said::default(), deadlines).await?;
        Ok(Answer::new(response, Hop::First, deadlines.total))
    }

    /// The check at the socket's edge: no private name to an origin that is not bound to it.
    fn guard(&self, request: &Request) -> Result<(), EgressError> {
        let Some(path) = request.module_path() else { return Ok(()) };
        if matches!(request, Request::Sumdb(_)) && self.instance.bindings.is_private(path)
            || !self.instance.bindings.allow(path, self.name())
        {
            let (path, origin) = (path.to_owned(), self.name().to_owned());
            return Err(EgressError::PrivateName { path, origin });
        }
        Ok(())
    }

    fn url(&self, request: &Request) -> Result<Url, EgressError> {
        let base = self.settings.base.as_str().trim_end_matches('/');
        let text = format!("{base}/{}", request.upstream_path());
        Url::parse(&text).map_err(|_| EgressError::Url(text))
    }

    async fn ask(
        &self,
        url: &Url,
        said: Said<'_>,
        deadlines: Deadlines,
    ) -> Result<Response, EgressError> {
        let host = url.host_str().unwrap_or_default();
        if !self.resolver.admit(host) {
            return Err(EgressError::Redirect("too many hosts".to_owned()));
        }
        let mut asked = self
            .client
            .get(url.clone())
            .header("accept-encoding", "identity")
            .header("via", format!("1.1 {}", self.instance.via));
        if let Some(traceparent) = said.traceparent {
            asked = asked.header("traceparent", traceparent);
        }
        if let Some(tag) = said.tag {
            asked = asked.header("if-none-match", tag);
        }
        if let Some((name, password)) = &self.settings.basic
            && self.same_origin(url)
        {
            asked = asked.basic_auth(name, Some(password.expose()));
        }
        match timeout_at(deadlines.first_byte.min(deadlines.total), asked.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(EgressError::transport(error)),
            Err(_) => Err(EgressError::Slow("head", Attempt::TimeoutFirstByte)),
        }
    }

    fn same_origin(&self, url: &Url) -> bool {
        url.origin() == self.settings.base.origin()
    }

    fn follow(&self, from: &Url, response: &Response, name: Name) -> Result<Url, EgressError> {
        let target = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .and_then(|location| from.join(location).ok())
            .ok_or_else(|| EgressError::Redirect("nowhere".to_owned()))?;
        let shown = || EgressError::Redirect(target.host_str().unwrap_or("no host").to_owned());
        let downgrade = from.scheme() == "https" && target.scheme() != "https";
        if downgrade || !matches!(target.scheme(), "http" | "https") {
            return Err(shown());
        }
        let host = target.host_str().unwrap_or_default();
        let named = self.settings.redirect_hosts.iter().any(|allowed| allowed == host);
        let any = self.settings.redirect_hosts.iter().any(|allowed| allowed == "*");
        let allowed =
            self.same_origin(&target) || named || any && name == Name::Public && !is_local(host);
        if allowed { Ok(target) } else { Err(shown()) }
    }
}

/// What is said to the other side beyond who we are.
#[derive(Debug, Clone, Copy, Default)]
struct Said<'a> {
    traceparent: Option<&'a str>,
    tag: Option<&'a str>,
}

/// Whether the name in a URL may be told to a host that was not configured by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Public,
    Private,
}

impl EgressError {
    fn transport(error: reqwest::Error) -> Self {
        if let Some(refused) = classify::find::<NotAllowed>(&error) {
            return Self::Address(refused.to_string());
        }
        let attempt = classify::attempt(&error);
        Self::Transport(error.without_url(), attempt)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Names and addresses that lead back into the house: a redirect there is never followed by `*`.
fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(_literal) => true,
        Err(_) => host == "localhost" || host.ends_with(".localhost") || !host.contains('.'),
    }
}

/// Redirects followed for one request; the go command itself follows ten.
const REDIRECTS: usize = 10;

/// How long an idle connection is kept for the next request.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::goproxy::request::Routes;
    use crate::telemetry::trace::sampler::Sampler;

    /// An origin where nobody listens: a request that leaves fails to connect.
    fn origin(name: &str, redirect_hosts: &[&str]) -> Origin {
        let prefix = |text| Prefix::parse(text).unwrap();
        let pairs = vec![
            (prefix("corp.example"), "inner".to_owned()),
            (prefix("corp.example/secret"), "vault".to_owned()),
        ];
        let settings = OriginSettings {
            name: name.to_owned(),
            base: Url::parse("http://127.0.0.1:1/go").unwrap(),
            extra_roots: None,
            basic: None,
            redirect_hosts: redirect_hosts.iter().map(|host| (*host).to_owned()).collect(),
            networks: Vec::new(),
            connect_timeout: Duration::from_secs(1),
        };
        let bindings = Arc::new(Bindings::new(pairs));
        let (sampler, clock) = (Sampler::default(), Arc::new(SystemClock));
        let telemetry = Arc::new(Telemetry::new(&[], sampler, clock).unwrap());
        Origin::new(settings, Instance { via: "test".to_owned(), bindings, telemetry }).unwrap()
    }

    fn left(origin: &Origin, path: &str) -> bool {
        let request =
            Request::parse(path, &Routes::new("", vec!["sum.example".to_owned()])).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            let soon = Instant::now() + Duration::from_secs(5);
            let deadlines = Deadlines { first_byte: soon, total: soon };
            origin.get(&request, "00-0-0-00", None, deadlines).await
        });
        !matches!(outcome, Err(EgressError::PrivateName { .. }))
    }

    #[test]
    fn a_private_name_leaves_only_for_the_origins_of_its_longest_prefix() {
        let (public, inner, vault) =
            (origin("public", &[]), origin("inner", &[]), origin("vault", &[]));
        for (path, to) in [
            ("/example.com/lib/@v/list", [true, true, true]),
            ("/corp.example/lib/@v/list", [false, true, false]),
            ("/corp.example/!lib/@v/list", [false, true, false]),
            ("/corp.example/secret/x/@v/list", [false, false, true]),
            ("/corp.example/!secret/x/@v/list", [false, false, true]),
            ("/corp.example2/lib/@v/list", [true, true, true]),
            ("/sumdb/sum.example/lookup/example.com/lib@v1.0.0", [true, true, true]),
            ("/sumdb/sum.example/lookup/corp.example/lib@v1.0.0", [false, false, false]),
        ] {
            let found = [&public, &inner, &vault].map(|origin| left(origin, path));
            assert_eq!(found, to, "{path}");
        }
    }

    #[test]
    fn addresses_and_names_of_the_house_are_local() {
        for host in
            ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "a.localhost", "intranet"]
        {
            assert!(is_local(host), "{host}");
        }
        assert!(!is_local("storage.example"));
    }
}
