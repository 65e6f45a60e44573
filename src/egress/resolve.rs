//! Resolves names, leaves out addresses that a name must not lead to, and marks failures so that they can be told apart.
//!
//! The system's resolver is asked, so that hosts files and name services of the house hold. It is asked for each
//! connection and not for each request: connections are kept, and TLS sessions resumed, by the client library.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;

use crate::egress::networks;
use crate::egress::networks::Networks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::upstream::Resolved;

/// The name could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("the name {name} could not be resolved")]
pub(in crate::egress) struct NotResolved {
    name: String,
    #[source]
    cause: io::Error,
}

/// The name leads to addresses that are not allowed, and to no other.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{name} is {address}, which is not a public address; allow_networks does not name it either"
)]
pub(in crate::egress) struct NotAllowed {
    name: String,
    address: std::net::IpAddr,
}

/// The system's resolver, for the hosts of one origin.
#[derive(Debug, Clone)]
pub(in crate::egress) struct Resolver(Arc<Hosts>);

#[derive(Debug)]
struct Hosts {
    /// Names in URLs of ours. Any other name is that of a proxy the environment tells us to go through, which looks
    /// for addresses itself.
    named: Mutex<BTreeSet<String>>,
    networks: Networks,
    telemetry: Arc<Telemetry>,
}

impl Resolver {
    pub(in crate::egress) fn new(networks: Networks, telemetry: Arc<Telemetry>) -> Self {
        Self(Arc::new(Hosts { named: Mutex::new(BTreeSet::new()), networks, telemetry }))
    }

    /// A URL with this host is about to be asked for; `false` if there were too many already.
    pub(in crate::egress) fn admit(&self, host: &str) -> bool {
        let mut named = self.0.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(host) {
            return true;
        }
        named.len() < MOST_HOSTS && named.insert(host.to_owned())
    }
}

impl Hosts {
    fn is_named(&self, name: &str) -> bool {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn judge(&self, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotAllowed> {
        if !self.is_named(name) {
            return Ok(found);
        }
        let house = if name == "localhost" { networks::loopback().to_vec() } else { Vec::new() };
        let allow = |one: &SocketAddr| {
            self.networks.allow(one.ip()) || house.iter().any(|net| net.contains(&one.ip()))
        };
        let refused = found.iter().find(|one| !allow(one)).map(SocketAddr::ip);
        let kept: Vec<_> = found.into_iter().filter(allow).collect();
        match refused {
            Some(address) if kept.is_empty() => Err(NotAllowed { name: name.to_owned(), address }),
            _ => Ok(kept),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let hosts = Arc::clone(&self.0);
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let begun = Instant::now();
            let found =
                tokio::net::lookup_host((name.as_str(), 0)).await.map(Iterator::collect::<Vec<_>>);
            let result = if found.is_ok() { Resolved::Success } else { Resolved::Failure };
            let seconds = &hosts.telemetry.metrics().dns_seconds;
            seconds.observe((result,), begun.elapsed().as_secs_f64());
            match found {
                Ok(found) => {
                    let addresses: Addrs = Box::new(hosts.judge(&name, found)?.into_iter());
                    Ok(addresses)
                }
                Err(cause) => Err(NotResolved { name, cause }.into()),
            }
        })
    }
}

/// Hosts that one origin may send us to in its life: more is somebody who makes names up.
const MOST_HOSTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::telemetry::trace::sampler::Sampler;

    fn resolver(networks: Networks) -> Resolver {
        let (sampler, clock) = (Sampler::default(), Arc::new(SystemClock));
        Resolver::new(networks, Arc::new(Telemetry::new(&[], sampler, clock).unwrap()))
    }

    fn judged(resolver: &Resolver, name: &str, addresses: &[&str]) -> Option<Vec<String>> {
        let found = addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0));
        let judged = resolver.0.judge(name, found.collect()).ok()?;
        Some(judged.iter().map(|one| one.ip().to_string()).collect())
    }

    #[test]
    fn a_name_of_ours_leads_to_allowed_addresses_only_and_that_of_a_proxy_anywhere() {
        let resolver = resolver(Networks::new(vec!["10.20.0.0/16".parse().unwrap()]));
        for host in ["proxy.example", "localhost"] {
            assert!(resolver.admit(host));
        }
        let public = ["93.184.216.34".to_owned()];
        let mixed = ["127.0.0.1", "93.184.216.34", "169.254.169.254"];
        assert_eq!(judged(&resolver, "proxy.example", &mixed).unwrap(), public);
        assert_eq!(judged(&resolver, "proxy.example", &["127.0.0.1"]), None);
        assert_eq!(judged(&resolver, "proxy.example", &["10.20.0.1"]).unwrap(), ["10.20.0.1"]);
        assert_eq!(
            judged(&resolver, "localhost", &["127.0.0.1", "10.0.0.1"]).unwrap(),
            ["127.0.0.1"]
        );
        assert_eq!(
            judged(&resolver, "web-proxy.corp.example", &["10.0.0.1"]).unwrap(),
            ["10.0.0.1"]
        );
    }

    #[test]
    fn somebody_who_makes_names_up_comes_to_an_end() {
        let resolver = resolver(Networks::new(Vec::new()));
        assert!((0..MOST_HOSTS).all(|number| resolver.admit(&format!("h{number}.example"))));
        assert!(!resolver.admit("one-more.example") && resolver.admit("h7.example"));
    }
}
