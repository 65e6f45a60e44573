//! `[[upstream.chains]]`: other chains for some modules, by the patterns of their paths.

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::private;
use crate::config::private::PrivateBinding;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::reader::Table;
use crate::config::source::Form;
use crate::config::units;
use crate::config::upstream::UpstreamServer;
use crate::config::upstream::chain;
use crate::config::upstream::chain::Target;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::proxylist::FallBack;

/// One chain with a name.
#[derive(Debug, Clone)]
pub struct NamedChain {
    /// Its name, for people.
    pub name: String,
    /// The paths it is for: what a pattern matches, and everything below.
    pub patterns: Vec<Prefix>,
    /// Who is asked, as in [`crate::config::upstream::Upstream::chain`].
    pub chain: Vec<(String, FallBack)>,
}

/// `[[upstream.chains]]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "upstream.chains",
    times: Times::Several,
    doc: "Another chain for some modules; may stand several times. The pattern with most elements \
          wins; without one, upstream.chain is asked. Private modules are asked as [[private]] says.",
    keys: &[
        Key {
            name: "name",
            form: Form::Text,
            preset: Preset::Required { example: "tools" },
            doc: "Its name: a-z, 0-9 and -.",
        },
        Key {
            name: "patterns",
            form: Form::List,
            preset: Preset::Required { example: "example.com/tools,*.example.net" },
            doc: "The first elements of the paths it is for; * and ? match inside an element.",
        },
        Key {
            name: "chain",
            form: Form::Text,
            preset: Preset::Required { example: "inner|https://goproxy.example" },
            doc: "Who is asked for them, as in upstream.chain.",
        },
    ],
};

/// A chain whose URLs are no servers yet.
#[derive(Debug)]
pub(in crate::config::upstream) struct Read {
    name: String,
    patterns: Vec<Prefix>,
    entries: Vec<(Target, FallBack)>,
}

impl Read {
    /// The same with names only.
    pub(in crate::config::upstream) fn resolve(
        self,
        servers: &mut Vec<UpstreamServer>,
    ) -> NamedChain {
        let chain = chain::resolve(self.entries, servers);
        NamedChain { name: self.name, patterns: self.patterns, chain }
    }
}

/// Every chain; `servers` are the names of all configured upstream servers.
pub(in crate::config::upstream) fn read(
    reader: &mut Reader,
    servers: &[String],
) -> Option<Vec<Read>> {
    let mut read: Vec<Option<Read>> = Vec::new();
    reader.refuse_twins(&SECTION);
    for element in reader.elements(&SECTION) {
        let mut table = reader.element(&SECTION, element);
        let chain = read_chain(&mut table, servers);
        for pattern in chain.iter().flat_map(|chain| &chain.patterns) {
            let same = |other: &Prefix| other.as_str() == pattern.as_str();
            if read.iter().flatten().flat_map(|other| &other.patterns).any(same) {
                let remedy = "leave it in one chain only";
                table.wrong("patterns", Wrong::value(pattern.as_str(), "stands twice", remedy));
            }
        }
        read.push(chain);
    }
    read.into_iter().collect()
}

fn read_chain(table: &mut Table<'_>, servers: &[String]) -> Option<Read> {
    let name = table.one("name", units::name);
    let patterns = table.some("patterns", private::prefix);
    let entries = table.one("chain", |text| {
        let entries = chain::parse(text, servers)?;
        if entries.is_empty() {
            return Err(Wrong::value(text, "names nobody", "name an upstream or a URL"));
        }
        Ok(entries)
    });
    Some(Read { name: name?, patterns: patterns?, entries: entries? })
}

/// Notes patterns that can never be in force, because a private prefix has those paths already.
pub(in crate::config) fn refuse_private(
    reader: &mut Reader,
    chains: &[NamedChain],
    private: &[PrivateBinding],
) {
    for (element, chain) in reader.elements(&SECTION).into_iter().zip(chains) {
        for pattern in &chain.patterns {
            let covers =
                |bound: &&PrivateBinding| bound.prefix.covers(pattern.as_str(), Case::Folded);
            if let Some(bound) = private.iter().find(covers) {
                let what = format!("lies under the private prefix {}", bound.prefix);
                let remedy = "take it out: [[private]] says who is asked for these modules";
                let wrong = Wrong::value(pattern.as_str(), &what, remedy);
                reader.element(&SECTION, element.clone()).wrong("patterns", wrong);
            }
        }
    }
}
