//! Which upstreams are asked for a request, and in which order: by the longest pattern, or by the private prefix.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::egress::Bindings;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::proxylist::FallBack;
use crate::goproxy::request::Request;
use crate::upstream::Upstream;

/// One entry of a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whom to ask.
    pub upstream: Arc<Upstream>,
    /// What must happen for the next entry to be asked.
    pub fall_back: FallBack,
}

/// Every chain there is.
#[derive(Debug)]
pub struct Routes {
    usual: Vec<Link>,
    /// Longest pattern first.
    named: Vec<(Prefix, Vec<Link>)>,
    all: Vec<Arc<Upstream>>,
    bindings: Arc<Bindings>,
}

impl Routes {
    /// The usual chain and all upstreams, among which those bound to a private prefix are found.
    pub fn new(usual: Vec<Link>, all: Vec<Arc<Upstream>>, bindings: Arc<Bindings>) -> Self {
        Self { usual, named: Vec::new(), all, bindings }
    }

    /// Adds chains for the modules of some patterns.
    #[must_use]
    pub fn with(mut self, named: Vec<(Prefix, Vec<Link>)>) -> Self {
        self.named = named;
        // of two patterns with as many elements the one that says more is the longer one
        let literal = |pattern: &Prefix| {
            pattern.as_str().bytes().filter(|byte| !b"*?".contains(byte)).count()
        };
        self.named.sort_by_key(|(pattern, _)| Reverse((pattern.element_count(), literal(pattern))));
        self
    }

    /// Whether a path lies under a private prefix.
    pub fn is_private(&self, path: &str) -> bool {
        self.bindings.is_private(path)
    }

    /// Every upstream, whichever chain it is in.
    pub fn all(&self) -> &[Arc<Upstream>] {
        &self.all
    }

    /// The walk for one request.
    pub(in crate::upstream) fn of(&self, request: &Request) -> Vec<Link> {
        if let Request::Sumdb(_) = request {
            return self.usual.iter().filter(|link| link.upstream.serves_sumdb).cloned().collect();
        }
        match request.module_path() {
            Some(path) if self.is_private(path) => self.bound(path),
            Some(path) => self.public(path).to_vec(),
            None => self.usual.clone(),
        }
    }

    /// Upstreams bound to the prefix of a private path, in the order `[[private]]` names them.
    fn bound(&self, path: &str) -> Vec<Link> {
        let find = |name| self.all.iter().find(|upstream| upstream.name == name);
        let link = |upstream: &Arc<Upstream>| Link {
            upstream: Arc::clone(upstream),
            fall_back: FallBack::OnNotFound,
        };
        self.bindings.bound(path).filter_map(find).map(link).collect()
    }

    fn public(&self, path: &str) -> &[Link] {
        let covering = self.named.iter().find(|(pattern, _)| pattern.covers(path, Case::Exact));
        covering.map_or(&self.usual, |(_, chain)| chain)
    }
}
