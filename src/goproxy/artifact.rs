//! What can be asked of a module, and what is known of the answer beforehand.

use crate::goproxy::version::Query;
use crate::goproxy::version::Version;

/// One of the files of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Artifact {
    /// The known versions.
    List,
    /// The info of the newest version.
    Latest,
    /// The info of whatever a branch, tag or commit turns out to be.
    Query(Query),
    /// The info of a canonical version.
    Info(Version),
    /// The go.mod of a canonical version.
    Mod(Version),
    /// The zip of a canonical version.
    Zip(Version),
}

/// Whether an answer can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutability {
    /// It can.
    Mutable,
    /// It is the same for ever.
    Immutable,
}

/// Which endpoint a request is for: a closed set, and a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/@v/list`.
    List,
    /// `/@v/V.info`.
    Info,
    /// `/@v/V.mod`.
    Mod,
    /// `/@v/V.zip`.
    Zip,
    /// `/@latest`.
    Latest,
    /// `/sumdb/NAME/supported`.
    SumdbSupported,
    /// `/sumdb/NAME/latest`.
    SumdbLatest,
    /// `/sumdb/NAME/lookup/…`.
    SumdbLookup,
    /// `/sumdb/NAME/tile/…`.
    SumdbTile,
    /// `/-/…`.
    Own,
    /// `/`.
    Root,
    /// What operators ask on the operations listener.
    Admin,
    /// None of them.
    Other,
}

impl Endpoint {
    /// All of them, in the order of their definition.
    pub const ALL: [Self; 13] = [
        Self::List,
        Self::Info,
        Self::Mod,
        Self::Zip,
        Self::Latest,
        Self::SumdbSupported,
        Self::SumdbLatest,
        Self::SumdbLookup,
        Self::SumdbTile,
        Self::Own,
        Self::Root,
        Self::Admin,
        Self::Other,
    ];

    /// The word in metrics, logs and audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Info => "info",
            Self::Mod => "mod",
            Self::Zip => "zip",
            Self::Latest => "latest",
            Self::SumdbSupported => "sumdb_supported",
            Self::SumdbLatest => "sumdb_latest",
            Self::SumdbLookup => "sumdb_lookup",
            Self::SumdbTile => "sumdb_tile",
            Self::Own => "own",
            Self::Root => "root",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }
}

impl Artifact {
    /// Its endpoint.
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::List => Endpoint::List,
            Self::Latest => Endpoint::Latest,
            Self::Query(_) | Self::Info(_) => Endpoint::Info,
            Self::Mod(_) => Endpoint::Mod,
            Self::Zip(_) => Endpoint::Zip,
        }
    }

    /// The media type of its answers.
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::List | Self::Mod(_) => "text/plain; charset=utf-8",
            Self::Latest | Self::Query(_) | Self::Info(_) => "application/json",
            Self::Zip(_) => "application/zip",
        }
    }

    /// Whether its answer can change.
    pub const fn mutability(&self) -> Mutability {
        match self {
            Self::List | Self::Latest | Self::Query(_) => Mutability::Mutable,
            Self::Info(_) | Self::Mod(_) | Self::Zip(_) => Mutability::Immutable,
        }
    }

    /// The canonical version, if one was asked for.
    pub const fn version(&self) -> Option<&Version> {
        match self {
            Self::Info(version) | Self::Mod(version) | Self::Zip(version) => Some(version),
            Self::List | Self::Latest | Self::Query(_) => None,
        }
    }

    /// The version or query, if one was asked for.
    pub fn asked_version(&self) -> Option<&str> {
        match self {
            Self::Info(version) | Self::Mod(version) | Self::Zip(version) => Some(version.as_str()),
            Self::Query(query) => Some(query.as_str()),
            Self::List | Self::Latest => None,
        }
    }

    /// The same, case-encoded.
    pub fn asked_version_escaped(&self) -> Option<String> {
        match self {
            Self::Info(version) | Self::Mod(version) | Self::Zip(version) => {
                Some(version.escaped())
            }
            Self::Query(query) => Some(query.escaped()),
            Self::List | Self::Latest => None,
        }
    }

    /// list, latest, info, mod or zip.
    pub const fn word(&self) -> &'static str {
        self.endpoint().word()
    }
}
