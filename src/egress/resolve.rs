//! Resolves names, and marks a failure so that it can be told from a failure to connect.

use std::io;

use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;

/// The name could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("the name {name} could not be resolved")]
pub(in crate::egress) struct NotResolved {
    name: String,
    #[source]
    cause: io::Error,
}

/// The system's resolver.
#[derive(Debug)]
pub(in crate::egress) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found =
                tokio::net::lookup_host((name.as_str(), 0)).await.map(Iterator::collect::<Vec<_>>);
            match found {
                Ok(found) => {
                    let addresses: Addrs = Box::new(found.into_iter());
                    Ok(addresses)
                }
                Err(cause) => Err(NotResolved { name, cause }.into()),
            }
        })
    }
}
