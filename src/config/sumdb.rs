//! `[sumdb]`: the checksum databases that are passed on.

use url::Url;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::source::Form;

/// Checksum databases.
#[derive(Debug, Clone)]
pub struct Sumdb {
    /// Their names, as the go command's GOSUMDB has them, without keys.
    pub names: Vec<String>,
}

/// `[sumdb]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "sumdb",
    times: Times::Once,
    doc: "Checksum databases, so that go can check what it gets without asking anybody else.",
    keys: &[Key {
        name: "names",
        form: Form::List,
        preset: Preset::Value(""),
        doc: "Names of the databases that are passed on, as in GOSUMDB but without the key, such \
              as sum.example. Upstreams with sumdb = true are asked.",
    }],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Sumdb> {
    let names = reader.section(&SECTION).list("names", name);
    Some(Sumdb { names: names? })
}

/// A host, with a path if need be: it is a part of URLs.
fn name(text: &str) -> Result<String, Wrong> {
    let url = format!("https://{text}");
    let same = Url::parse(&url).is_ok_and(|parsed| {
        parsed.as_str().trim_end_matches('/') == url && parsed.port().is_none()
    });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if same && text.bytes().all(plain) && !text.contains("//") {
        return Ok(text.to_owned());
    }
    let remedy = "write a name without scheme and key, such as sum.example";
    Err(Wrong::value(text, "is no name of a checksum database", remedy))
}
