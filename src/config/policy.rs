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
            doc: "Whom a refused caller may ask; printed in every refusal: a text of at most 60 bytes.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<PolicySettings> {
    let mut table = reader.section(&SECTION);
    let dir = table.maybe("dir", units::directory);
    let contact = table.maybe("contact", contact);
    Some(PolicySettings { dir: dir?, contact: contact? })
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
