//! The table of keys: what each section file declares, in one shape for reading, showing and the example file.

use crate::config::audit;
use crate::config::cache;
use crate::config::identity;
use crate::config::ldap;
use crate::config::mtls;
use crate::config::policy;
use crate::config::private;
use crate::config::redis;
use crate::config::server;
use crate::config::source::Form;
use crate::config::state;
use crate::config::sumdb;
use crate::config::telemetry;
use crate::config::upstream;

/// One table of the file.
#[derive(Debug)]
pub(in crate::config) struct Section {
    /// Its dotted name; empty for the keys above every table.
    pub(in crate::config) path: &'static str,
    /// How often it stands.
    pub(in crate::config) times: Times,
    /// What it is about: a sentence.
    pub(in crate::config) doc: &'static str,
    /// Its keys, in the order in which they are shown.
    pub(in crate::config) keys: &'static [Key],
}

/// How often a table may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Times {
    /// `[section]`.
    Once,
    /// `[[section]]`.
    Several,
}

/// One key of a table.
#[derive(Debug)]
pub(in crate::config) struct Key {
    /// Its name in the table.
    pub(in crate::config) name: &'static str,
    /// How its value is written.
    pub(in crate::config) form: Form,
    /// What holds if it is not given.
    pub(in crate::config) preset: Preset,
    /// What it means, with its unit.
    pub(in crate::config) doc: &'static str,
}

/// What holds if a key is not given. Texts are written as in a variable of the environment.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Preset {
    /// This value.
    Value(&'static str),
    /// A value that depends on where we run; the words say how.
    Derived {
        /// With `{state_dir}`, `{cores}` or `{node}`.
        template: &'static str,
        /// The default in words.
        words: &'static str,
        /// For the example file.
        example: &'static str,
    },
    /// Nothing.
    Unset {
        /// For the example file.
        example: &'static str,
    },
    /// It must be given.
    Required {
        /// For the example file.
        example: &'static str,
    },
}

impl Key {
    /// A line that would do, such as `prefix = "corp.example"`.
    pub(in crate::config) fn example_line(&self) -> String {
        let example = match self.preset {
            Preset::Value(example)
            | Preset::Derived { example, .. }
            | Preset::Unset { example }
            | Preset::Required { example } => example,
        };
        format!("{} = {}", self.name, self.form.write(&self.form.read(example)))
    }
}

/// Every section, in the order of the example file.
pub(in crate::config) const SECTIONS: [&Section; 17] = [
    &state::SECTION,
    &server::SECTION,
    &identity::SECTION,
    &identity::JWT,
    &ldap::SECTION,
    &mtls::SECTION,
    &policy::SECTION,
    &upstream::SECTION,
    &upstream::SERVERS,
    &upstream::chains::SECTION,
    &private::SECTION,
    &sumdb::SECTION,
    &cache::SECTION,
    &cache::BUCKET,
    &redis::SECTION,
    &audit::SECTION,
    &telemetry::SECTION,
];
