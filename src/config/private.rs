//! `[[private]]`: module paths that never leave the house, and whom they may be asked of.

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::problem::nearest;
use crate::config::reader::Reader;
use crate::config::reader::Table;
use crate::config::source::Form;
use crate::goproxy::pattern::Prefix;

/// One private prefix.
#[derive(Debug, Clone)]
pub struct PrivateBinding {
    /// The paths: a pattern and everything below what it matches.
    pub prefix: Prefix,
    /// Names of upstream servers, asked in this order; at least one.
    pub upstreams: Vec<String>,
}

/// `[[private]]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "private",
    times: Times::Several,
    doc: "Module paths that are asked only of the upstreams named here, whatever goes wrong; may \
          stand several times.",
    keys: &[
        Key {
            name: "prefix",
            form: Form::Text,
            preset: Preset::Required { example: "corp.example" },
            doc: "The first elements of the paths; * and ? match inside an element, letter case \
                  does not count.",
        },
        Key {
            name: "upstreams",
            form: Form::List,
            preset: Preset::Required { example: "inner" },
            doc: "Names of [[upstream.servers]].",
        },
    ],
};

/// `servers` are the names of all configured upstream servers.
pub(in crate::config) fn read(
    reader: &mut Reader,
    servers: &[String],
) -> Option<Vec<PrivateBinding>> {
    let mut read: Vec<Option<PrivateBinding>> = Vec::new();
    for element in reader.elements(&SECTION) {
        let mut table = reader.element(&SECTION, element);
        let binding = read_binding(&mut table, servers);
        let twice = |binding: &&PrivateBinding| {
            let same = |other: &PrivateBinding| {
                other.prefix.as_str().eq_ignore_ascii_case(binding.prefix.as_str())
            };
            read.iter().flatten().any(same)
        };
        if let Some(binding) = binding.as_ref().filter(twice) {
            let remedy = "name all its upstreams in one [[private]]";
            table.wrong("prefix", Wrong::value(binding.prefix.as_str(), "stands twice", remedy));
        }
        read.push(binding);
    }
    read.into_iter().collect()
}

fn read_binding(table: &mut Table<'_>, servers: &[String]) -> Option<PrivateBinding> {
    let prefix = table.one("prefix", prefix);
    let upstreams = table.some("upstreams", |text| server(text, servers));
    Some(PrivateBinding { prefix: prefix?, upstreams: upstreams? })
}

/// The first elements of module paths.
pub(in crate::config) fn prefix(text: &str) -> Result<Prefix, Wrong> {
    Prefix::parse(text).map_err(|error| {
        let remedy = match text.split_once("://") {
            Some((_, path)) => format!("a module path has no scheme: write {path}"),
            None => "write such as corp.example/team-*".to_owned(),
        };
        Wrong::value(text, &format!("is no prefix: {error}"), remedy)
    })
}

/// The name of a server that is configured.
pub(in crate::config) fn server(text: &str, servers: &[String]) -> Result<String, Wrong> {
    if servers.iter().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let meant = nearest(text, servers.iter().map(String::as_str));
    let remedy = match (meant, servers.is_empty()) {
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, true) => "add a [[upstream.servers]] of that name".to_owned(),
        (None, false) => {
            format!("add a [[upstream.servers]] of that name, or use one of {}", servers.join(", "))
        }
    };
    Err(Wrong::value(text, "is no upstream server", remedy))
}
