//! The chain: GOPROXY's list syntax over names and URLs, and the servers that a URL in it makes.

use std::path::Path;

use crate::config::private;
use crate::config::problem::Wrong;
use crate::config::units;
use crate::config::upstream::Place;
use crate::config::upstream::UpstreamServer;
use crate::config::upstream::place;
use crate::goproxy::proxylist::FallBack;

/// Whom an entry of the chain means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config::upstream) enum Target {
    /// A server of the file.
    Named(String),
    /// A place of its own.
    At(Place),
}

/// Reads a list. Entries are separated as in GOPROXY: the mark after an entry says when the next one is asked.
pub(in crate::config::upstream) fn parse(
    text: &str,
    servers: &[String],
) -> Result<Vec<(Target, FallBack)>, Wrong> {
    if text.contains('@') {
        // before the list is split: a password may hold a comma
        units::any_url(text)?;
    }
    let mut entries: Vec<(Target, FallBack)> = Vec::new();
    for part in text.split_inclusive([',', '|']) {
        let (entry, fall_back) = match part.strip_suffix('|') {
            Some(entry) => (entry.trim(), FallBack::OnAnyError),
            None => (part.strip_suffix(',').unwrap_or(part).trim(), FallBack::OnNotFound),
        };
        let target = match entry {
            "" => continue,
            "direct" | "off" => {
                let remedy = "take it out: modgate asks module proxies only, and stops at the end";
                return Err(Wrong::value(entry, "has no meaning here", remedy));
            }
            url if url.contains("://") => Target::At(place(url)?),
            name => Target::Named(private::server(name, servers)?),
        };
        if entries.iter().any(|(other, _)| *other == target) {
            return Err(Wrong::value(entry, "stands twice", "take one of the two out"));
        }
        entries.push((target, fall_back));
    }
    Ok(entries)
}

/// Names for all entries; a URL that no server of the file has makes a server.
pub(in crate::config::upstream) fn resolve(
    entries: Vec<(Target, FallBack)>,
    servers: &mut Vec<UpstreamServer>,
) -> Vec<(String, FallBack)> {
    let mut chain = Vec::new();
    for (target, fall_back) in entries {
        let name = match target {
            Target::Named(name) => name,
            Target::At(place) => match servers.iter().find(|server| server.place == place) {
                Some(server) => server.name.clone(),
                None => add(place, servers),
            },
        };
        chain.push((name, fall_back));
    }
    chain
}

fn add(place: Place, servers: &mut Vec<UpstreamServer>) -> String {
    let wanted = match &place {
        Place::Http(url) => {
            let host = url.host_str().unwrap_or("upstream");
            url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
        }
        Place::Directory(path) => last(path),
    };
    let taken = |name: &str| servers.iter().any(|server| server.name == name);
    let numbered = (2_u32..).map(|number| format!("{wanted}-{number}"));
    let name = std::iter::once(wanted.clone()).chain(numbered).find(|name| !taken(name));
    let name = name.unwrap_or(wanted);
    servers.push(UpstreamServer {
        name: name.clone(),
        place,
        ca_file: None,
        username: None,
        password: None,
        allow_redirect_hosts: Vec::new(),
        allow_networks: Vec::new(),
        sumdb: false,
    });
    name
}

fn last(path: &Path) -> String {
    path.file_name().map_or_else(|| "directory".to_owned(), |name| name.to_string_lossy().into())
}
