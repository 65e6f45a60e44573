//! A directory in the layout of a module proxy, such as the download part of a module cache.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::content::Content;
use crate::content::Spool;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::request::ModuleRequest;
use crate::goproxy::request::Request;
use crate::tasks::Tasks;
use crate::upstream::source::Limits;
use crate::upstream::source::SourceError;

/// A file tree `<escaped path>/@v/<escaped version>.{info,mod,zip}` and `…/@v/list`.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    limits: Limits,
    spools: Arc<Path>,
    tasks: Tasks,
}

impl Directory {
    /// A source below `root`. Files are copied to a spool before they are verified, so a writer beside us cannot
    /// change what was checked.
    pub fn new(root: PathBuf, limits: Limits, spools: Arc<Path>, tasks: Tasks) -> Self {
        Self { root, limits, spools, tasks }
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads once.
    pub async fn fetch(&self, request: &Request) -> Result<Content, SourceError> {
        // a directory holds modules only
        let Request::Module(asked) = request else { return Err(none()) };
        let file = self.root.join(place(asked));
        let limit = self.limits.bytes(request.endpoint());
        let spool = Spool::new(Arc::clone(&self.spools), limit);
        self.tasks.block("read a directory upstream", move || copy(&file, spool)).await?
    }
}

impl Directory {
    /// Whether it is there and can be read, or why not.
    pub async fn examine(&self) -> Result<(), String> {
        let root = self.root.clone();
        let read = self.tasks.block("look for a directory upstream", move || root.read_dir()).await;
        let found = read.map_err(|gone| gone.to_string())?;
        found.map(drop).map_err(|error| {
            format!("the directory {} cannot be read: {error}", self.root.display())
        })
    }
}

/// The file of a request, relative to the root. The typed request cannot hold an element that leaves it.
fn place(asked: &ModuleRequest) -> PathBuf {
    let mut place = PathBuf::from(asked.path.escaped());
    match (&asked.artifact, asked.artifact.asked_version_escaped()) {
        (Artifact::Latest, _) => place.push("@latest"),
        (artifact, Some(version)) => place.push(format!("@v/{version}.{}", artifact.word())),
        (_, None) => place.push("@v/list"),
    }
    place
}

fn copy(file: &Path, mut spool: Spool) -> Result<Content, SourceError> {
    let mut file = match File::open(file) {
        Ok(file) => file,
        Err(error) if is_absence(&error) => return Err(none()),
        Err(error) => return Err(SourceError::Directory(error)),
    };
    if !file.metadata().map_err(SourceError::Directory)?.is_file() {
        return Err(none());
    }
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(SourceError::Directory)?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => spool.push(bytes)?,
            _ => break,
        }
    }
    Ok(spool.finish()?)
}

/// No such file; or a name too long to be one.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn none() -> SourceError {
    SourceError::Absent { gone: false, text: None }
}
