//! One place modules come from: a closed set, asked in one way.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::content::Content;
use crate::content::SpoolError;
use crate::content::Sum;
use crate::content::validator::Validator;
use crate::egress::EgressError;
use crate::goproxy::artifact::Endpoint;
use crate::goproxy::request::Request;
use crate::telemetry::labels::Attempt;
use crate::telemetry::record::Record;
use crate::upstream::directory::Directory;
use crate::upstream::http::Http;

/// How a source is asked.
#[derive(Debug)]
pub enum Source {
    /// A module proxy over HTTP.
    Http(Http),
    /// A directory in the layout of a module proxy.
    Directory(Directory),
}

/// What we hold of what is asked for, and by what an upstream knows it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The bytes, which passed verification when they came.
    pub content: &'a Content,
    /// The upstream's word for them.
    pub validator: &'a Validator,
}

/// What a source gave.
#[derive(Debug)]
pub struct Given {
    /// The bytes: those that came, or those that are held and unchanged.
    pub content: Content,
    /// Which of the two.
    pub novelty: Novelty,
    /// By what the upstream knows them again.
    pub validator: Option<Validator>,
    /// What the upstream says their sum is.
    pub announced: Option<Sum>,
}

/// Whether bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// They did.
    New,
    /// Those that are held are still the answer.
    Unchanged,
}

impl Known<'_> {
    /// The answer of an upstream that said "not modified".
    pub fn unchanged(&self) -> Given {
        let (content, validator) = (self.content.clone(), Some(self.validator.clone()));
        Given { content, novelty: Novelty::Unchanged, validator, announced: None }
    }
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It said 404 or 410, or has no such file.
    #[error("it has none")]
    Absent {
        /// Whether it said 410.
        gone: bool,
        /// Text that may be passed on.
        text: Option<Arc<str>>,
    },
    /// It could not be asked, or did not answer.
    #[error("it could not be asked")]
    Egress(#[from] EgressError),
    /// It answered with another status.
    #[error("it answered {status}: {text}")]
    Status {
        /// The status code.
        status: u16,
        /// The beginning of its text, for the log.
        text: String,
        /// How long it wants to be left in peace, if it said so.
        retry_after: Option<Duration>,
    },
    /// Not asked: its breaker is open.
    #[error("it was not asked: it failed too often and is left alone for a while")]
    Resting,
    /// Not asked: it wants to be left in peace for longer than this request may wait.
    #[error("it was not asked: it said when to come again, and that is too late")]
    Quiet,
    /// It said 404 about a failure of its own.
    #[error("it called its own failure a 404: {0}")]
    DisguisedFault(String),
    /// The body was over the limit or could not be spooled.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The directory could not be read.
    #[error("the directory could not be read")]
    Directory(#[source] io::Error),
    /// The work ended early.
    #[error(transparent)]
    Gone(#[from] crate::tasks::TaskGone),
}

impl SourceError {
    /// The word of the closed list.
    pub fn attempt(&self) -> Attempt {
        match self {
            Self::Absent { gone: true, .. } => Attempt::Gone,
            Self::Absent { gone: false, .. } => Attempt::NotFound,
            Self::Egress(error) => error.attempt(),
            Self::Status { status: 429, .. } | Self::Quiet => Attempt::Upstream429,
            Self::Resting => Attempt::CircuitOpen,
            Self::Status { status: 400..=499, .. } => Attempt::Upstream4xx,
            Self::Status { status: 500..=599, .. } | Self::DisguisedFault(_) => {
                Attempt::Upstream5xx
            }
            Self::Status { .. } => Attempt::Protocol,
            Self::Spool(SpoolError::TooLarge(_)) => Attempt::TooLarge,
            Self::Spool(SpoolError::Io(_)) | Self::Directory(_) | Self::Gone(_) => Attempt::Local,
        }
    }
}

impl SourceError {
    /// How long it wants to be left in peace; only 429 and 503 are believed.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { status: 429 | 503, retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Limits of one source, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the head of anything but a zip.
    pub first_byte: Duration,
    /// Until the head of a zip: the upstream may itself be fetching.
    pub zip_first_byte: Duration,
    /// Until the end of anything but a zip.
    pub total: Duration,
    /// Until the end of a zip.
    pub zip_total: Duration,
    /// Bytes of a zip.
    pub zip: u64,
    /// Bytes of a `.mod`.
    pub gomod: u64,
    /// Bytes of an info.
    pub info: u64,
    /// Bytes of a list, and of anything a checksum database answers.
    pub list: u64,
    /// Attempts for one request, the first included.
    pub attempts: u32,
}

impl Limits {
    /// The size limit for the answer to a request, in bytes.
    pub fn bytes(&self, endpoint: Endpoint) -> u64 {
        match endpoint {
            Endpoint::Zip => self.zip,
            Endpoint::Mod => self.gomod,
            Endpoint::Info | Endpoint::Latest => self.info,
            Endpoint::List
            | Endpoint::SumdbSupported
            | Endpoint::SumdbLatest
            | Endpoint::SumdbLookup
            | Endpoint::SumdbTile
            | Endpoint::Own
            | Endpoint::Root
            | Endpoint::Admin
            | Endpoint::Other => self.list,
        }
    }

    /// Until the head.
    pub fn first_byte(&self, endpoint: Endpoint) -> Duration {
        if endpoint == Endpoint::Zip { self.zip_first_byte } else { self.first_byte }
    }

    /// Until the end.
    pub fn total(&self, endpoint: Endpoint) -> Duration {
        if endpoint == Endpoint::Zip { self.zip_total } else { self.total }
    }
}

impl Source {
    /// Asks once. `until` is the deadline of the whole request at this source.
    pub async fn fetch(
        &self,
        request: &Request,
        record: &Record,
        known: Option<Known<'_>>,
        until: Instant,
    ) -> Result<Given, SourceError> {
        match self {
            Self::Http(http) => http.fetch(request, record, known, until).await,
            Self::Directory(directory) => {
                let content = directory.fetch(request).await?;
                Ok(Given { content, novelty: Novelty::New, validator: None, announced: None })
            }
        }
    }

    /// Asks whether it is there, without naming any module.
    pub async fn probe(&self, until: Instant) -> Attempt {
        match self {
            Self::Http(http) => http.probe(until).await,
            Self::Directory(directory) => match directory.examine().await {
                Ok(()) => Attempt::Success,
                Err(_) => Attempt::Local,
            },
        }
    }

    /// Asks once for nothing in particular, and says what is wrong. `now` is what o'clock it is here.
    pub async fn examine(&self, until: Instant, now: SystemTime) -> Result<(), String> {
        match self {
            Self::Http(http) => http.examine(until, now).await,
            Self::Directory(directory) => directory.examine().await,
        }
    }

    /// How long a request may take here, all attempts together.
    pub fn patience(&self, request: &Request) -> Duration {
        match self {
            Self::Http(http) => http.limits().total(request.endpoint()),
            Self::Directory(directory) => directory.limits().total(request.endpoint()),
        }
    }

    /// How often it may be asked for one request.
    pub fn attempts(&self) -> u32 {
        match self {
            Self::Http(http) => http.limits().attempts,
            Self::Directory(_) => 1,
        }
    }
}
