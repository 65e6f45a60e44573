//! How a proof notes itself on the record; the proofs of the lowest layers do so here, the others where they are made.

use crate::content::Content;
use crate::goproxy::request::Request;
use crate::goproxy::request::SumdbAsk;
use crate::telemetry::record::Facts;

/// An outcome of a stage, and what it has to say for the record: a proof its facts, an error what it refused.
pub trait Observed {
    /// Writes the facts this value stands for; an error that is fully told by its kind and text has none.
    fn note(&self, _facts: &mut Facts) {}
}

impl Observed for Content {
    fn note(&self, facts: &mut Facts) {
        facts.sha256 = Some(self.sum().to_string());
    }
}

impl Observed for Request {
    fn note(&self, facts: &mut Facts) {
        let endpoint = self.endpoint();
        facts.endpoint = Some(endpoint);
        match self {
            Self::Module(asked) => {
                facts.module = Some(asked.path.to_string());
                facts.version = asked.artifact.asked_version().map(str::to_owned);
                facts.artifact = Some(asked.artifact.word());
            }
            Self::Sumdb(asked) => {
                facts.artifact = Some(endpoint.word());
                if let SumdbAsk::Lookup { path, version } = &asked.ask {
                    facts.module = Some(path.to_string());
                    facts.version = Some(version.to_string());
                }
            }
            Self::Own(_) | Self::Root => facts.artifact = Some(endpoint.word()),
        }
    }
}
