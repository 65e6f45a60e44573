//! The keys above every table: where the gateway keeps what it makes itself.

use std::path::PathBuf;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::reader::Reader;
use crate::config::source::Form;
use crate::config::units;

/// `state_dir`.
pub(in crate::config) const SECTION: Section = Section {
    path: "",
    times: Times::Once,
    doc: "Above every section:",
    keys: &[Key {
        name: "state_dir",
        form: Form::Text,
        preset: Preset::Value(".modgate"),
        doc: "The directory below which everything stands that is not placed elsewhere: tokens, \
              cache, audit. It is made if it is not there.",
    }],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<PathBuf> {
    reader.section(&SECTION).one("state_dir", units::path)
}
