//! The file that events are appended to, and the next one when it is full.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// An append-only file `audit-<node>-<boot>-<first seq>.jsonl`, mode 0640.
#[derive(Debug)]
pub(in crate::audit) struct Segment {
    directory: PathBuf,
    stem: String,
    limit: u64,
    file: Option<File>,
    len: u64,
}

impl Segment {
    /// A segment in a directory, made at the first append. Rotated when it holds `limit` bytes.
    pub(in crate::audit) fn new(directory: PathBuf, stem: String, limit: u64) -> Self {
        Self { directory, stem, limit, file: None, len: 0 }
    }

    /// Appends whole lines; `first` is the sequence number of the first of them.
    ///
    /// After an error the file is cut back to its last whole line, so a retry cannot leave half a line between.
    pub(in crate::audit) fn append(&mut self, lines: &[u8], first: u64) -> io::Result<()> {
        if self.len >= self.limit {
            self.file = None;
        }
        let file = if let Some(file) = self.file.as_mut() {
            file
        } else {
            let name = format!("audit-{}-{first:012}.jsonl", self.stem);
            std::fs::create_dir_all(&self.directory)?;
            let mut options = OpenOptions::new();
            let opened =
                options.append(true).create(true).mode(0o640).open(self.directory.join(name))?;
            self.len = opened.metadata()?.len();
            self.file.insert(opened)
        };
        match file.write_all(lines) {
            Ok(()) => {
                self.len += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                file.set_len(self.len)?;
                Err(error)
            }
        }
    }
}
