//! `modgate cache`: fill it beforehand, carry it elsewhere, look into it, take something out.

mod inspect;
mod progress;
mod transfer;
mod wanted;
mod warm;

use clap::Subcommand;

use crate::cli::Failure;

/// What can be done with a cache.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CacheCommand {
    /// Let a gateway fetch everything that a go.sum, a go.mod or an SBOM names.
    Warm(warm::Warm),
    /// Take a module cache of go (GOMODCACHE) into the cache; needs no upstream.
    Import(transfer::Import),
    /// Write everything that never changes into a directory that GOPROXY=file://… can use.
    Export(transfer::Export),
    /// Read everything in the directory and the bucket, and remove what is not what was stored.
    Verify(inspect::Verify),
    /// Forget a module, or one version of it, in every place that this machine reaches.
    Purge(inspect::Purge),
    /// Tell how much is where.
    Stat(inspect::Stat),
}

impl CacheCommand {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        match self {
            Self::Warm(command) => command.run(&environment),
            Self::Import(command) => command.run(environment),
            Self::Export(command) => command.run(environment),
            Self::Verify(command) => command.run(environment),
            Self::Purge(command) => command.run(environment),
            Self::Stat(command) => command.run(environment),
        }
    }
}
