//! The checks of each artifact; inflating and hashing run in the bounded pool.

use std::io;

use bytes::Bytes;

use crate::content::Content;
use crate::content::Sum;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::dirhash::H1;
use crate::goproxy::gomod;
use crate::goproxy::info;
use crate::goproxy::info::Asked;
use crate::goproxy::list;
use crate::goproxy::path::ModulePath;
use crate::goproxy::request::ModuleRequest;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::goproxy::zipfile;
use crate::sumdb::Basis;
use crate::sumdb::Verified;
use crate::tasks::TaskGone;
use crate::tasks::Tasks;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::Integrity;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::integrity::CheckResult;
use crate::telemetry::labels::integrity::Checked;
use crate::telemetry::observed::Observed;

/// Which check refused the content.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// The zip breaks a rule of module zips.
    #[error("{what}: not a module zip: {why}")]
    Zip {
        /// Path and version.
        what: String,
        /// The rule, in words.
        why: String,
    },
    /// The `.mod` is no go.mod.
    #[error("{what}: not a go.mod: {why}")]
    GoMod {
        /// Path and version.
        what: String,
        /// What was found.
        why: String,
    },
    /// The info does not name what was asked for.
    #[error("{what}: bad info: {why}")]
    Info {
        /// Path and version or query.
        what: String,
        /// What was found.
        why: String,
    },
    /// The bytes are not those that the upstream says it sent.
    #[error("{what}: came as sha256:{came}, but its upstream says it sent sha256:{announced}")]
    Sum {
        /// Path, and version or query.
        what: String,
        /// What came.
        came: Sum,
        /// What was said.
        announced: Sum,
    },
    /// A spooled body could not be read back.
    #[error("the spool could not be read: {0}")]
    Spool(String),
    /// The check itself ended early.
    #[error(transparent)]
    Gone(#[from] TaskGone),
}

impl VerifyError {
    /// The label of the refusal; `None` if the fault is ours.
    pub fn integrity(&self) -> Option<Integrity> {
        match self {
            Self::Sum { .. } => Some(Integrity::ChecksumMismatch),
            Self::Zip { .. } => Some(Integrity::ZipInvalid),
            Self::GoMod { .. } | Self::Info { .. } => Some(Integrity::PathMismatch),
            Self::Spool(_) | Self::Gone(_) => None,
        }
    }
}

impl Observed for VerifyError {}

impl Fault for VerifyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Sum { .. } | Self::Zip { .. } | Self::GoMod { .. } | Self::Info { .. } => {
                Kind::Integrity
            }
            Self::Spool(_) | Self::Gone(_) => Kind::Internal,
        }
    }

    fn public(&self) -> std::borrow::Cow<'static, str> {
        match self {
            Self::Sum { .. } | Self::Zip { .. } | Self::GoMod { .. } | Self::Info { .. } => {
                let word = self.integrity().map_or(Attempt::Protocol, Integrity::attempt).text();
                format!("refused: {self}\nreason {word}").into()
            }
            Self::Spool(_) | Self::Gone(_) => self.kind().sentence().into(),
        }
    }
}

/// Checks content against the request it is said to answer.
#[derive(Debug, Clone)]
pub struct Verifier {
    tasks: Tasks,
}

impl Verifier {
    /// A verifier that works in the bounded pool.
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks }
    }

    /// Verifies, or says which check refused; `announced` is the sum that the upstream says the content has.
    pub async fn verify(
        &self,
        request: &Request,
        content: Content,
        announced: Option<Sum>,
    ) -> Result<Verified, VerifyError> {
        let came = content.sum();
        if let Some(announced) = announced {
            let result = if announced == came { CheckResult::Ok } else { CheckResult::Failed };
            self.count(Checked::AnnouncedSum, result);
        }
        if let Some(announced) = announced.filter(|announced| *announced != came) {
            let what = request.module_path().unwrap_or("the checksum database").to_owned();
            return Err(VerifyError::Sum { what, came, announced });
        }
        let Request::Module(asked) = request else {
            return Ok(Verified::new(content, Basis::Unsummed));
        };
        let checked = checked(&asked.artifact);
        let asked = asked.clone();
        let verified = self.tasks.block("verify", move || check(&asked, content)).await;
        let verified = verified.unwrap_or_else(|gone| Err(gone.into()));
        if let Some(checked) = checked {
            let result = match &verified {
                Ok(_) => CheckResult::Ok,
                Err(VerifyError::Spool(_) | VerifyError::Gone(_)) => CheckResult::Unavailable,
                Err(_) => CheckResult::Failed,
            };
            self.count(checked, result);
        }
        verified
    }

    fn count(&self, checked: Checked, result: CheckResult) {
        self.tasks.telemetry().metrics().integrity_checks.count((checked, result));
    }
}

/// What is checked of an artifact; nothing of a list, whose lines are taken one by one.
const fn checked(artifact: &Artifact) -> Option<Checked> {
    match artifact {
        Artifact::Zip(_) => Some(Checked::Zip),
        Artifact::Mod(_) => Some(Checked::GoMod),
        Artifact::Info(_) | Artifact::Query(_) | Artifact::Latest => Some(Checked::Info),
        Artifact::List => None,
    }
}

fn check(asked: &ModuleRequest, content: Content) -> Result<Verified, VerifyError> {
    let path = &asked.path;
    match &asked.artifact {
        Artifact::Zip(version) => zip(path, version, content),
        Artifact::Mod(version) => gomod(path, version, content),
        Artifact::Info(version) => named(path, Asked::Exactly(version), content),
        Artifact::Query(_) | Artifact::Latest => named(path, Asked::Any, content),
        Artifact::List => {
            let lines = list::read(&whole(&content)?, path);
            let sorted = Content::from_bytes(Bytes::from(list::render(&lines)));
            Ok(Verified::new(sorted, Basis::Unsummed))
        }
    }
}

fn zip(path: &ModulePath, version: &Version, content: Content) -> Result<Verified, VerifyError> {
    match zipfile::check(content.reader(), content.len(), path, version) {
        Ok(report) => Ok(Verified::new(content, Basis::Computed(report.h1.to_string()))),
        // a disk of ours that fails says nothing about the zip
        Err(zipfile::ZipError::Io(error)) => Err(VerifyError::Spool(error.to_string())),
        Err(why) => {
            Err(VerifyError::Zip { what: format!("{path}@{version}"), why: why.to_string() })
        }
    }
}

fn gomod(path: &ModulePath, version: &Version, content: Content) -> Result<Verified, VerifyError> {
    let bytes = whole(&content)?;
    match gomod::read(&bytes) {
        Ok(_) => Ok(Verified::new(content, Basis::Computed(H1::of_gomod(&bytes).to_string()))),
        Err(why) => {
            Err(VerifyError::GoMod { what: format!("{path}@{version}"), why: why.to_string() })
        }
    }
}

fn named(path: &ModulePath, asked: Asked<'_>, content: Content) -> Result<Verified, VerifyError> {
    match info::check(&whole(&content)?, path, asked) {
        Ok(info) => Ok(Verified::new(content, Basis::Names(info.version))),
        Err(why) => Err(VerifyError::Info { what: path.to_string(), why: why.to_string() }),
    }
}

fn whole(content: &Content) -> Result<Bytes, VerifyError> {
    let read: io::Result<Bytes> = content.to_bytes(u64::MAX);
    read.map_err(|error| VerifyError::Spool(error.to_string()))
}
