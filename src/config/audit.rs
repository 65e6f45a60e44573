//! `[audit]`: where the record of every answer goes, and what holds when it cannot be written.

use std::path::PathBuf;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::source::Form;
use crate::config::units;

/// The audit's files.
#[derive(Debug, Clone)]
pub struct Audit {
    /// The directory of segments.
    pub dir: PathBuf,
    /// Bytes after which a new segment is begun.
    pub max_segment: u64,
    /// What happens when events cannot be written.
    pub on_failure: FailureMode,
}

/// What happens when events cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMode {
    /// Nothing is served that could not be recorded: 503.
    Closed,
    /// It is served all the same, and the loss is counted.
    Open,
}

impl FailureMode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Closed, Self::Open];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// `[audit]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "audit",
    times: Times::Once,
    doc: "The record of every answer: JSON lines.",
    keys: &[
        Key {
            name: "dir",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{state_dir}/audit",
                words: "audit in state_dir",
                example: "/var/log/modgate/audit",
            },
            doc: "The directory of its files. It is made if it is not there.",
        },
        Key {
            name: "max_segment",
            form: Form::Size,
            preset: Preset::Value("64 MiB"),
            doc: "The size after which a new file is begun, 64 KiB at least.",
        },
        Key {
            name: "on_failure",
            form: Form::Text,
            preset: Preset::Value("closed"),
            doc: "What holds when it cannot be written: closed (503, nothing is served unrecorded) \
                  or open (served, and the loss is counted).",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Audit> {
    let mut table = reader.section(&SECTION);
    let dir = table.one("dir", units::path);
    let max_segment = table.one("max_segment", segment);
    let on_failure = table.one("on_failure", units::one_of(&FailureMode::ALL, FailureMode::word));
    Some(Audit { dir: dir?, max_segment: max_segment?, on_failure: on_failure? })
}

fn segment(text: &str) -> Result<u64, Wrong> {
    let bytes = units::bytes(text)?;
    if bytes < SMALLEST_SEGMENT_BYTES {
        return Err(Wrong::value(
            text,
            "is too small for a file of its own",
            "write \"64 KiB\" or more",
        ));
    }
    Ok(bytes)
}

/// Smaller ones would be more files than events.
const SMALLEST_SEGMENT_BYTES: u64 = 64 << 10;
