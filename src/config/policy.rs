//! `[policy]`: where the rules are, and whom a refused caller is told to ask.

use std::path::PathBuf;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::source::Form;
use crate::config::units;

/// The policy's source.
#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// The directory of the policy; without one the built-in policy is in force.
    pub dir: Option<PathBuf>,
    /// Whom a refused caller may ask; printed in every 403.
    pub contact: Option<String>,
    /// The directory of a candidate that is compared with the policy on live traffic and decides nothing.
    pub candidate: Option<PathBuf>,
    /// Who may be the first for whom a version enters the tiers.
    pub admit: Admit,
    /// One of how many decisions is made again over all rows.
    pub crosscheck_every: u64,
    /// The file of emergency denies; it may not exist yet.
    pub denies_file: PathBuf,
}

/// Who may be the first for whom a version enters the tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Whoever may download it.
    Implied,
    /// Whoever has the action `admit` on it.
    Explicit,
}

impl Admit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Implied, Self::Explicit];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Implied => "implied",
            Self::Explicit => "explicit",
        }
    }
}

/// `[policy]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "policy",
    times: Times::Once,
    doc: "Who may have what.",
    keys: &[
        Key {
            name: "dir",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/policy" },
            doc: "The directory of the policy. Without it the built-in policy is in force.",
        },
        Key {
            name: "contact",
            form: Form::Text,
            preset: Preset::Unset { example: "go-admins@corp.example" },
            doc: "Whom a refused caller may ask, if the file of the rule names no owner; printed in \
                  every refusal: a text of at most 60 bytes.",
        },
        Key {
            name: "candidate",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/candidate" },
            doc: "The directory of a candidate policy. It decides nothing: where it would answer \
                  otherwise, the audit and a metric say so, until modgate policy promote.",
        },
        Key {
            name: "admit",
            form: Form::Text,
            preset: Preset::Value("implied"),
            doc: "Who may be the first for whom a version enters the cache: implied (whoever may \
                  download it), or explicit (whoever has the action admit on it).",
        },
        Key {
            name: "crosscheck_every",
            form: Form::Number,
            preset: Preset::Value("10000"),
            doc: "One of how many new decisions is made again over all rows, without the \
                  index. A difference is told, and the index is not used until the next start.",
        },
        Key {
            name: "denies_file",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{state_dir}/denies.json",
                words: "denies.json in state_dir",
                example: "/var/lib/modgate/denies.json",
            },
            doc: "The file of emergency denies, which modgate deny writes.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<PolicySettings> {
    let mut table = reader.section(&SECTION);
    let dir = table.maybe("dir", units::directory);
    let contact = table.maybe("contact", contact);
    let candidate = table.maybe("candidate", units::directory);
    let admit = table.one("admit", units::one_of(&Admit::ALL, Admit::word));
    let crosscheck_every = table.one("crosscheck_every", units::count(1_000_000_000_u64));
    let denies_file = table.one("denies_file", units::path);
    Some(PolicySettings {
        dir: dir?,
        contact: contact?,
        candidate: candidate?,
        admit: admit?,
        crosscheck_every: crosscheck_every?,
        denies_file: denies_file?,
    })
}

fn contact(text: &str) -> Result<String, Wrong> {
    let contact = units::text(text)?;
    if contact.len() > CONTACT_BYTES {
        return Err(Wrong::value(
            text,
            "is too long for a line of a refusal",
            "write 60 bytes at most",
        ));
    }
    Ok(contact)
}

/// With the words before it, one line of what `go` prints.
const CONTACT_BYTES: usize = 60;
