//! `[audit]`: where the record of every answer goes, and what holds when it cannot be written.

use std::path::PathBuf;
use std::time::Duration;

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
    /// A second one, on another file system: a record in either is enough.
    pub second_dir: Option<PathBuf>,
    /// Bytes after which a new segment is begun.
    pub max_segment: u64,
    /// Time after which a new segment is begun.
    pub max_age: Duration,
    /// What becomes of closed segments.
    pub packing: Packing,
    /// Time for which a closed segment stays as it is before it is compressed; none for not at all.
    pub plain_for: Duration,
    /// Days that segments are kept.
    pub keep_days: u32,
    /// Whether segments are kept whatever their age.
    pub hold: bool,
    /// Bytes held back for the hour when the disk is full.
    pub reserve: u64,
    /// What happens to bodies of private modules, and to administrative actions, when events cannot be written.
    pub on_failure: FailureMode,
    /// What happens to everything else.
    pub on_failure_public: FailureMode,
    /// When a record of a private body counts as written.
    pub private_mode: Mode,
    /// The same for everything else that has a body.
    pub public_mode: Mode,
    /// The same for refusals.
    pub refusal_mode: Mode,
    /// The same for administrative actions.
    pub admin_mode: Mode,
    /// The time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Whether each checkpoint is a log line too.
    pub announce: bool,
    /// What the log is called, before the node's name.
    pub origin: String,
    /// The file of the key that signs checkpoints.
    pub key_file: PathBuf,
    /// Whether nodes tell each other how their logs grow.
    pub witness: Witness,
    /// What it keeps as a witness of others.
    pub witness_dir: PathBuf,
    /// Whether principals are written as keyed hashes.
    pub pseudonymise: bool,
}

/// Who signs a node's checkpoints besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The other nodes, and it theirs.
    EachOther,
    /// Nobody that modgate knows of.
    Nobody,
}

/// What becomes of closed segments; each gets its index in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// They are compressed (zstd).
    Compress,
    /// They stay as they are.
    Leave,
}

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At once; it may be lost, and is the first to go under pressure.
    BestEffort,
    /// When the operating system has it: it survives a crash of the process.
    Written,
    /// When the disk has it: it survives a loss of power.
    Durable,
}

impl Mode {
    /// All three.
    pub const ALL: [Self; 3] = [Self::BestEffort, Self::Written, Self::Durable];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Written => "written",
            Self::Durable => "durable",
        }
    }
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
            name: "second_dir",
            form: Form::Text,
            preset: Preset::Unset { example: "/mnt/audit" },
            doc: "A second directory, on another file system, that gets the same: a record in either is enough, and one that hangs is waited for by nobody.",
        },
        Key {
            name: "max_segment",
            form: Form::Size,
            preset: Preset::Value("256 MiB"),
            doc: "The size after which a new file is begun, 64 KiB at least.",
        },
        Key {
            name: "max_age",
            form: Form::Text,
            preset: Preset::Value("1h"),
            doc: "The time after which a new file is begun, if there is something to write.",
        },
        Key {
            name: "compress",
            form: Form::Switch,
            preset: Preset::Value("true"),
            doc: "Whether closed files are compressed (zstd); an index is written beside them in any case.",
        },
        Key {
            name: "plain_for",
            form: Form::Text,
            preset: Preset::Value("1h"),
            doc: "How long a closed file stays as it is before it is compressed, 0s for not at all. Agents that ship the audit read plain files: one that is away for less misses nothing.",
        },
        Key {
            name: "keep_days",
            form: Form::Number,
            preset: Preset::Value("400"),
            doc: "Days that closed files are kept: a number. Each removal is recorded with the file's digest.",
        },
        Key {
            name: "hold",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether files are kept whatever their age, such as while a court may ask for them.",
        },
        Key {
            name: "reserve",
            form: Form::Size,
            preset: Preset::Value("64 MiB"),
            doc: "Space held back in each directory, given back when the disk is full so that what is under way can be written.",
        },
        Key {
            name: "on_failure",
            form: Form::Text,
            preset: Preset::Value("closed"),
            doc: "What holds for bodies of private modules and for administrative actions when nothing can be written: closed (503, nothing is served unrecorded) or open (served, and the loss is counted and recorded).",
        },
        Key {
            name: "on_failure_public",
            form: Form::Text,
            preset: Preset::Value("open"),
            doc: "The same for everything else. Refusals are refused in any case.",
        },
        Key {
            name: "private_mode",
            form: Form::Text,
            preset: Preset::Value("written"),
            doc: "When the record of a private body counts as written: best-effort (at once), written (the operating system has it: survives a crash) or durable (the disk has it: survives a loss of power).",
        },
        Key {
            name: "public_mode",
            form: Form::Text,
            preset: Preset::Value("written"),
            doc: "The same for every other answer with a body.",
        },
        Key {
            name: "refusal_mode",
            form: Form::Text,
            preset: Preset::Value("written"),
            doc: "The same for refusals.",
        },
        Key {
            name: "admin_mode",
            form: Form::Text,
            preset: Preset::Value("written"),
            doc: "The same for administrative actions.",
        },
        Key {
            name: "checkpoint_every",
            form: Form::Text,
            preset: Preset::Value("10s"),
            doc: "The time between two signed checkpoints, if there is something new.",
        },
        Key {
            name: "announce",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether each checkpoint is a log line too, so that whoever keeps the log keeps a copy.",
        },
        Key {
            name: "origin",
            form: Form::Text,
            preset: Preset::Value("modgate"),
            doc: "What the log is called in checkpoints, before the node's name: letters, digits, - . _.",
        },
        Key {
            name: "key_file",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{state_dir}/audit.key",
                words: "audit.key in state_dir",
                example: "/etc/modgate/audit.key",
            },
            doc: "The key that signs checkpoints. It is made if it is not there; modgate audit key prints its public half.",
        },
        Key {
            name: "witness",
            form: Form::Switch,
            preset: Preset::Value("true"),
            doc: "Whether nodes that share a [redis] tell each other how their logs grow, and sign what they are told.",
        },
        Key {
            name: "witness_dir",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{state_dir}/witness",
                words: "witness in state_dir",
                example: "/var/lib/modgate/witness",
            },
            doc: "What this node keeps of others as their witness: modgate audit verify --checkpoints takes its notes.",
        },
        Key {
            name: "pseudonymise",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether principals are written as keyed hashes; modgate audit hash NAME finds them.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Audit> {
    let mut table = reader.section(&SECTION);
    let failure = units::one_of(&FailureMode::ALL, FailureMode::word);
    let mode = units::one_of(&Mode::ALL, Mode::word);
    let dir = table.one("dir", units::path);
    let second_dir = table.maybe("second_dir", units::path);
    let (max_segment, max_age) =
        (table.one("max_segment", segment), table.one("max_age", units::duration));
    let (compress, hold) = (table.one("compress", units::switch), table.one("hold", units::switch));
    let plain_for = table.one("plain_for", time_or_none);
    let keep_days = table.one("keep_days", units::count(36_600_u32));
    let reserve = table.one("reserve", units::bytes);
    let on_failure = table.one("on_failure", &failure);
    let on_failure_public = table.one("on_failure_public", &failure);
    let private_mode = table.one("private_mode", &mode);
    let public_mode = table.one("public_mode", &mode);
    let refusal_mode = table.one("refusal_mode", &mode);
    let admin_mode = table.one("admin_mode", &mode);
    let checkpoint_every = table.one("checkpoint_every", units::duration);
    let announce = table.one("announce", units::switch);
    let origin = table.one("origin", units::node);
    let key_file = table.one("key_file", units::path);
    let witness = table.one("witness", units::switch);
    let witness_dir = table.one("witness_dir", units::path);
    let pseudonymise = table.one("pseudonymise", units::switch);
    if dir.is_some() && second_dir.as_ref().is_some_and(|second| *second == dir) {
        let remedy = "name a directory on another file system, or none";
        table.wrong("second_dir", Wrong::new("is audit.dir once more", remedy));
    }
    Some(Audit {
        dir: dir?,
        second_dir: second_dir?,
        max_segment: max_segment?,
        max_age: max_age?,
        packing: if compress? { Packing::Compress } else { Packing::Leave },
        plain_for: plain_for?,
        keep_days: keep_days?,
        hold: hold?,
        reserve: reserve?,
        on_failure: on_failure?,
        on_failure_public: on_failure_public?,
        private_mode: private_mode?,
        public_mode: public_mode?,
        refusal_mode: refusal_mode?,
        admin_mode: admin_mode?,
        checkpoint_every: checkpoint_every?,
        announce: announce?,
        origin: origin?,
        key_file: key_file?,
        witness: if witness? { Witness::EachOther } else { Witness::Nobody },
        witness_dir: witness_dir?,
        pseudonymise: pseudonymise?,
    })
}

fn time_or_none(text: &str) -> Result<Duration, Wrong> {
    if text == "0s" { Ok(Duration::ZERO) } else { units::duration(text) }
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
