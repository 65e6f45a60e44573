//! A raw path becomes a typed request, or is refused: the only parser of paths in the house.

use std::borrow::Cow;
use std::sync::Arc;

use crate::fault::Fault;
use crate::fault::Kind;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::artifact::Endpoint;
use crate::goproxy::escape;
use crate::goproxy::path::ModulePath;
use crate::goproxy::path::PathError;
use crate::goproxy::sumdb_path;
use crate::goproxy::sumdb_path::Tile;
use crate::goproxy::version;
use crate::goproxy::version::Query;
use crate::goproxy::version::Version;
use crate::goproxy::version::VersionError;

/// Why a path is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It does not begin with a slash.
    #[error("the request path has to begin with a slash")]
    NotAbsolute,
    /// A `%` without two hex digits, or bytes that are not UTF-8 once decoded.
    #[error("the percent-encoding of the path is wrong: write %XX, in UTF-8")]
    Encoding,
    /// An encoded slash, a backslash, or a control byte: two readers could read two paths.
    #[error("write slashes plainly, and no backslash or control byte")]
    Ambiguous,
    /// The module path breaks a rule.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The version breaks a rule.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// It is no endpoint of the protocol.
    #[error("no such endpoint: ask for MODULE/@v/list, /@latest or /@v/V.info")]
    NoEndpoint,
    /// A version that can never be one of this module.
    #[error("no module of this path can have this version: see its list")]
    Impossible,
    /// A checksum database that is not configured.
    #[error("this checksum database is not served here: see GOSUMDB")]
    Database,
}

impl Fault for RequestError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAbsolute
            | Self::Encoding
            | Self::Ambiguous
            | Self::Path(_)
            | Self::Version(_) => Kind::Malformed,
            Self::NoEndpoint | Self::Impossible | Self::Database => Kind::NotFound,
        }
    }

    fn public(&self) -> Cow<'static, str> {
        match self {
            Self::NotAbsolute
            | Self::Encoding
            | Self::Ambiguous
            | Self::Path(_)
            | Self::Version(_) => format!("bad request: {self}").into(),
            Self::NoEndpoint | Self::Impossible | Self::Database => {
                format!("not found: {self}").into()
            }
        }
    }
}

/// What the parser must know of the configuration.
#[derive(Debug, Clone)]
pub struct Routes {
    base: String,
    databases: Vec<Arc<str>>,
}

impl Routes {
    /// `base` is a path such as `/go`, or nothing; `databases` are the names of checksum databases.
    pub fn new(base: &str, databases: Vec<String>) -> Self {
        let mut databases: Vec<Arc<str>> = databases.into_iter().map(Arc::from).collect();
        // a name may be the beginning of another one
        databases.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self { base: base.trim_end_matches('/').to_owned(), databases }
    }
}

/// What is asked, well-formed by construction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A file of a module.
    Module(ModuleRequest),
    /// Something of a checksum database.
    Sumdb(SumdbRequest),
    /// A page of the gateway's own.
    Own(Own),
    /// `/`: how `git credential` asks whether credentials are good.
    Root,
}

/// A file of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModuleRequest {
    /// Of which module.
    pub path: ModulePath,
    /// Which file.
    pub artifact: Artifact,
    /// Whether upstreams may be asked.
    pub fetch: FetchMode,
}

/// Whether upstreams may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchMode {
    /// They may.
    Allowed,
    /// The tiers answer, or nobody.
    CacheOnly,
}

/// Something of a checksum database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SumdbRequest {
    /// The database's name, one of those configured.
    pub database: Arc<str>,
    /// What of it.
    pub ask: SumdbAsk,
}

/// The endpoints of a checksum database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SumdbAsk {
    /// Whether requests for it are passed on.
    Supported,
    /// Its signed head.
    Latest,
    /// The sums of a version.
    Lookup {
        /// Of which module.
        path: ModulePath,
        /// Which version.
        version: Version,
    },
    /// A tile of its tree.
    Tile(Tile),
}

/// Pages of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Own {
    /// `/-/whoami`.
    Whoami,
    /// `/-/why`.
    Why,
    /// `/-/env`.
    Env,
    /// `/audit/query` of the operations listener; no path of a module listener leads there.
    Audit,
    /// `/audit/export`, likewise.
    AuditExport,
}

impl Request {
    /// Parses a path as it was received, without its query.
    pub fn parse(raw: &str, routes: &Routes) -> Result<Self, RequestError> {
        if !raw.starts_with('/') {
            return Err(RequestError::NotAbsolute);
        }
        if raw == "/" {
            return Ok(Self::Root);
        }
        let below = raw.strip_prefix(&routes.base).ok_or(RequestError::NoEndpoint)?;
        let below = match below.strip_prefix('/') {
            Some("") => return Ok(Self::Root),
            Some(below) => below,
            None if below.is_empty() => return Ok(Self::Root),
            None => return Err(RequestError::NoEndpoint),
        };
        if let Some(own) = below.strip_prefix("-/") {
            return match own {
                "whoami" => Ok(Self::Own(Own::Whoami)),
                "why" => Ok(Self::Own(Own::Why)),
                "env" => Ok(Self::Own(Own::Env)),
                _ => Err(RequestError::NoEndpoint),
            };
        }
        let decoded = decode(below)?;
        match decoded.split_once('/') {
            Some(("sumdb", rest)) => sumdb(rest, routes),
            Some(("cached-only", rest)) => module(rest, FetchMode::CacheOnly),
            _ => module(&decoded, FetchMode::Allowed),
        }
    }

    /// Its endpoint.
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Module(asked) => asked.artifact.endpoint(),
            Self::Sumdb(asked) => match asked.ask {
                SumdbAsk::Supported => Endpoint::SumdbSupported,
                SumdbAsk::Latest => Endpoint::SumdbLatest,
                SumdbAsk::Lookup { .. } => Endpoint::SumdbLookup,
                SumdbAsk::Tile(_) => Endpoint::SumdbTile,
            },
            Self::Own(Own::Audit | Own::AuditExport) => Endpoint::Admin,
            Self::Own(Own::Whoami | Own::Why | Own::Env) => Endpoint::Own,
            Self::Root => Endpoint::Root,
        }
    }

    /// The module whose name the request carries, decoded.
    pub fn module_path(&self) -> Option<&str> {
        match self {
            Self::Module(asked) => Some(asked.path.as_str()),
            Self::Sumdb(SumdbRequest { ask: SumdbAsk::Lookup { path, .. }, .. }) => {
                Some(path.as_str())
            }
            Self::Sumdb(_) | Self::Own(_) | Self::Root => None,
        }
    }

    /// The path by which an upstream is asked for the same: no slash before it, encoded anew.
    pub fn upstream_path(&self) -> String {
        let plain = match self {
            Self::Module(asked) => {
                let path = asked.path.escaped();
                match (&asked.artifact, asked.artifact.asked_version_escaped()) {
                    (Artifact::Latest, _) => format!("{path}/@latest"),
                    (artifact, Some(version)) => format!("{path}/@v/{version}.{}", artifact.word()),
                    (_, None) => format!("{path}/@v/list"),
                }
            }
            Self::Sumdb(SumdbRequest { database, ask }) => match ask {
                SumdbAsk::Supported => format!("sumdb/{database}/supported"),
                SumdbAsk::Latest => format!("sumdb/{database}/latest"),
                SumdbAsk::Lookup { path, version } => {
                    format!("sumdb/{database}/lookup/{}@{}", path.escaped(), version.escaped())
                }
                SumdbAsk::Tile(tile) => format!("sumdb/{database}/tile/{tile}"),
            },
            Self::Own(_) | Self::Root => String::new(),
        };
        escape::percent_encode(&plain)
    }
}

/// Undoes percent-encoding, exactly once, and refuses what would be ambiguous afterwards.
fn decode(raw: &str) -> Result<String, RequestError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        let plain = if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(rest.next()), digit(rest.next()));
            let (Some(high), Some(low)) = (high, low) else { return Err(RequestError::Encoding) };
            let decoded = u8::try_from(high * 16 + low).unwrap_or(0);
            if decoded == b'/' {
                return Err(RequestError::Ambiguous);
            }
            decoded
        } else {
            byte
        };
        if plain.is_ascii_control() || plain == b'\\' {
            return Err(RequestError::Ambiguous);
        }
        bytes.push(plain);
    }
    String::from_utf8(bytes).map_err(|_| RequestError::Encoding)
}

fn sumdb(rest: &str, routes: &Routes) -> Result<Request, RequestError> {
    for database in &routes.databases {
        let below = rest.strip_prefix(database.as_ref()).and_then(|rest| rest.strip_prefix('/'));
        if let Some(below) = below {
            let (database, ask) = (Arc::clone(database), sumdb_path::ask(below)?);
            return Ok(Request::Sumdb(SumdbRequest { database, ask }));
        }
    }
    Err(RequestError::Database)
}

fn module(decoded: &str, fetch: FetchMode) -> Result<Request, RequestError> {
    let (path, artifact) = match decoded.strip_suffix("/@latest") {
        Some(path) if !path.contains('@') => (ModulePath::unescape(path)?, Artifact::Latest),
        _ => versioned(decoded)?,
    };
    Ok(Request::Module(ModuleRequest { path, artifact, fetch }))
}

fn versioned(decoded: &str) -> Result<(ModulePath, Artifact), RequestError> {
    let (path, file) = decoded.rsplit_once("/@v/").ok_or(RequestError::NoEndpoint)?;
    if path.contains('@') || file.contains('/') {
        return Err(RequestError::NoEndpoint);
    }
    if file == "list" {
        return Ok((ModulePath::unescape(path)?, Artifact::List));
    }
    let (name, kind) = file.rsplit_once('.').ok_or(RequestError::NoEndpoint)?;
    if name.is_empty() || !matches!(kind, "info" | "mod" | "zip") {
        return Err(RequestError::NoEndpoint);
    }
    let path = ModulePath::unescape(path)?;
    let text = version::unescape(name)?;
    let fitting = Version::parse(&text).ok().filter(|version| version.fits(&path));
    let artifact = match (kind, fitting) {
        ("mod", Some(version)) => Artifact::Mod(version),
        ("zip", Some(version)) => Artifact::Zip(version),
        ("mod" | "zip", None) => return Err(RequestError::Impossible),
        (_, Some(version)) => Artifact::Info(version),
        // words of the go command, which it never sends
        (_, None) if matches!(text.as_str(), "latest" | "upgrade" | "patch") => {
            return Err(RequestError::Impossible);
        }
        (_, None) => Artifact::Query(Query::parse(&text)?),
    };
    Ok((path, artifact))
}

#[cfg(test)]
mod tests;
