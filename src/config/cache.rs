//! `[cache]`: how much is kept, where, and for how long what can change is fresh.

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

/// The tiers.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Bytes that the memory tier may hold.
    pub memory: u64,
    /// Bytes of the largest body that the memory tier takes; never more than [`Self::memory`].
    pub max_object_memory: u64,
    /// The directory of the blob tier, and of spools.
    pub dir: PathBuf,
    /// How long a list, `@latest` or a query is fresh.
    pub list_ttl: Duration,
    /// How long a remembered 404 or 410 is fresh.
    pub absent_ttl: Duration,
}

/// `[cache]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "cache",
    times: Times::Once,
    doc: "What is kept. An info, mod or zip of a version is good for ever; the rest is fresh for a time.",
    keys: &[
        Key {
            name: "memory",
            form: Form::Size,
            preset: Preset::Value("256 MiB"),
            doc: "How much is kept in memory: a size.",
        },
        Key {
            name: "max_object_memory",
            form: Form::Size,
            preset: Preset::Value("1 MiB"),
            doc: "The largest body that is kept in memory: a size, at most that of memory.",
        },
        Key {
            name: "dir",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{state_dir}/cache",
                words: "cache in state_dir",
                example: "/var/cache/modgate",
            },
            doc: "The directory that keeps everything. It is made if it is not there.",
        },
        Key {
            name: "list_ttl",
            form: Form::Text,
            preset: Preset::Value("60s"),
            doc: "How long lists, @latest and queries for a branch are fresh: a time. New tags \
                  appear after it.",
        },
        Key {
            name: "absent_ttl",
            form: Form::Text,
            preset: Preset::Value("60s"),
            doc: "How long a 404 or 410 of the upstreams is remembered: a time.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Cache> {
    let mut table = reader.section(&SECTION);
    let memory = table.one("memory", units::bytes);
    let max_object_memory = table.one("max_object_memory", units::bytes);
    let dir = table.one("dir", units::path);
    let list_ttl = table.one("list_ttl", units::duration);
    let absent_ttl = table.one("absent_ttl", units::duration);
    let cache = Cache {
        memory: memory?,
        max_object_memory: max_object_memory?,
        dir: dir?,
        list_ttl: list_ttl?,
        absent_ttl: absent_ttl?,
    };
    if cache.max_object_memory > cache.memory {
        let remedy = "make cache.memory larger or cache.max_object_memory smaller";
        table.wrong("memory", Wrong::new("is smaller than cache.max_object_memory", remedy));
    }
    Some(cache)
}
