//! Names of the audit's files: a segment, the files beside it, and which segments a directory holds.
//!
//! | name | what |
//! |---|---|
//! | `audit-<node>-<boot>-<first seq>.jsonl` | records, one a line; the newest is being written |
//! | `….jsonl.zst` | the same, closed and compressed |
//! | `….idx` | its index, which can be made again at any time |
//! | `….checkpoints` | the signed notes made while it was written |

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::path::Path;
use std::path::PathBuf;

/// A segment by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The directory it lies in.
    pub directory: PathBuf,
    /// Its name without endings.
    pub stem: String,
    /// The node that wrote it.
    pub node: String,
    /// The start of the node it was written in.
    pub boot: String,
    /// The number of its first record.
    pub first: u64,
}

impl Segment {
    /// The segment that begins with a record.
    pub fn new(directory: &Path, node: &str, boot: &str, first: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            stem: format!("audit-{node}-{boot}-{first:012}"),
            node: node.to_owned(),
            boot: boot.to_owned(),
            first,
        }
    }

    /// From the name of any of its files.
    pub fn parse(directory: &Path, name: &str) -> Option<Self> {
        let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))?;
        let rest = stem.strip_prefix("audit-")?;
        let (rest, first) = rest.rsplit_once('-')?;
        let (node, boot) = rest.rsplit_once('-')?;
        let first =
            first.parse().ok().filter(|_| !node.is_empty() && boot.len() == BOOT_LETTERS)?;
        Some(Self {
            directory: directory.to_owned(),
            stem: stem.to_owned(),
            node: node.to_owned(),
            boot: boot.to_owned(),
            first,
        })
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}{ending}", self.stem))
    }

    /// The records as they are written.
    pub fn plain(&self) -> PathBuf {
        self.beside(PLAIN)
    }

    /// The records, compressed.
    pub fn packed(&self) -> PathBuf {
        self.beside(PACKED)
    }

    /// The index.
    pub fn index(&self) -> PathBuf {
        self.beside(INDEX)
    }

    /// The signed notes.
    pub fn checkpoints(&self) -> PathBuf {
        self.beside(CHECKPOINTS)
    }

    /// Whether its records are still there.
    pub fn is_there(&self) -> bool {
        self.plain().exists() || self.packed().exists()
    }

    /// Opens its records, compressed or not.
    pub fn open(&self) -> io::Result<Box<dyn BufRead>> {
        self.open_at(0)
    }

    /// Opens its records behind so many bytes of them.
    pub fn open_at(&self, bytes: u64) -> io::Result<Box<dyn BufRead>> {
        match File::open(self.plain()) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(bytes))?;
                Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut inflated = zstd::Decoder::new(File::open(self.packed())?)?;
                io::copy(&mut inflated.by_ref().take(bytes), &mut io::sink())?;
                Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, inflated)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Every segment of a directory, removed ones included as long as a file beside them is there; oldest first.
pub fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut found: Vec<Segment> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let segment = name.to_str().and_then(|name| Segment::parse(directory, name));
        found.extend(segment);
    }
    found.sort_by(|a, b| (a.first, &a.boot, &a.stem).cmp(&(b.first, &b.boot, &b.stem)));
    found.dedup();
    Ok(found)
}

const PLAIN: &str = ".jsonl";
const PACKED: &str = ".jsonl.zst";
const INDEX: &str = ".idx";
const CHECKPOINTS: &str = ".checkpoints";
const ENDINGS: [&str; 4] = [PACKED, PLAIN, INDEX, CHECKPOINTS];
/// A UUID without hyphens.
const BOOT_LETTERS: usize = 32;
const BUFFER_BYTES: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_known_by_each_of_its_files_whatever_the_node_is_called() {
        let boot = "0191".repeat(8);
        let segment = Segment::new(Path::new("d"), "gw-1.eu", &boot, 42);
        for path in [segment.plain(), segment.packed(), segment.index(), segment.checkpoints()] {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(Segment::parse(Path::new("d"), name), Some(segment.clone()), "{name}");
        }
        for other in ["audit-x-1.jsonl", "audit.key", "audit-gw-1.lock", ""] {
            assert_eq!(Segment::parse(Path::new("d"), other), None, "{other}");
        }
    }
}
