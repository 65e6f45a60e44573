//! `[cache]`: how much is kept, where, and for how long what can change is fresh.

mod bucket;

use std::path::PathBuf;
use std::time::Duration;

pub use crate::config::cache::bucket::Bucket;
pub(in crate::config) use crate::config::cache::bucket::SECTION as BUCKET;
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
    /// Bytes that the directory may hold.
    pub max_size: u64,
    /// How often the directory is read through and checked.
    pub scrub_interval: Duration,
    /// A bucket behind it.
    pub bucket: Option<Bucket>,
    /// Whether upstreams are never asked.
    pub offline: bool,
    /// How long a list, `@latest` or a query is fresh.
    pub list_ttl: Duration,
    /// To how long that grows while nothing changes.
    pub list_ttl_max: Duration,
    /// How long after that a list is still given while it is renewed.
    pub stale_while_revalidate: Duration,
    /// How long after that a list is still given if it cannot be renewed.
    pub stale_if_error: Duration,
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
            name: "max_size",
            form: Form::Size,
            preset: Preset::Value("20 GiB"),
            doc: "How much the directory may hold: a size. What is asked for least goes first.",
        },
        Key {
            name: "scrub_interval",
            form: Form::Text,
            preset: Preset::Value("24h"),
            doc: "How often everything in the directory is read and compared with its sum: a time.",
        },
        Key {
            name: "offline",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether to serve only what is held, however old, and never ask an upstream: true or \
                  false.",
        },
        Key {
            name: "list_ttl",
            form: Form::Text,
            preset: Preset::Value("60s"),
            doc: "How long lists, @latest and queries for a branch are fresh at first: a time. New \
                  tags appear after it.",
        },
        Key {
            name: "list_ttl_max",
            form: Form::Text,
            preset: Preset::Value("10m"),
            doc: "To how long that grows, twofold each time, while one is asked for and does not \
                  change: a time. It shrinks when it does.",
        },
        Key {
            name: "stale_while_revalidate",
            form: Form::Text,
            preset: Preset::Value("10s"),
            doc: "How long after that it is still given, while it is renewed: a time.",
        },
        Key {
            name: "stale_if_error",
            form: Form::Text,
            preset: Preset::Value("24h"),
            doc: "How long after that it is still given if no upstream can be asked: a time.",
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
    let bucket = bucket::read(reader);
    let mut table = reader.section(&SECTION);
    let memory = table.one("memory", units::bytes);
    let max_object_memory = table.one("max_object_memory", units::bytes);
    let dir = table.one("dir", units::path);
    let max_size = table.one("max_size", units::bytes);
    let scrub_interval = table.one("scrub_interval", units::duration);
    let offline = table.one("offline", units::switch);
    let list_ttl = table.one("list_ttl", units::duration);
    let list_ttl_max = table.one("list_ttl_max", units::duration);
    let stale_while_revalidate = table.one("stale_while_revalidate", units::duration);
    let stale_if_error = table.one("stale_if_error", units::duration);
    let absent_ttl = table.one("absent_ttl", units::duration);
    if let (Some(first), Some(longest)) = (list_ttl, list_ttl_max)
        && longest < first
    {
        let remedy = "make it at least as long as cache.list_ttl";
        table.wrong("list_ttl_max", Wrong::new("is shorter than cache.list_ttl", remedy));
    }
    let cache = Cache {
        memory: memory?,
        max_object_memory: max_object_memory?,
        dir: dir?,
        max_size: max_size?,
        scrub_interval: scrub_interval?,
        bucket: bucket?,
        offline: offline?,
        list_ttl: list_ttl?,
        list_ttl_max: list_ttl_max?,
        stale_while_revalidate: stale_while_revalidate?,
        stale_if_error: stale_if_error?,
        absent_ttl: absent_ttl?,
    };
    if cache.max_object_memory > cache.memory {
        let remedy = "make cache.memory larger or cache.max_object_memory smaller";
        table.wrong("memory", Wrong::new("is smaller than cache.max_object_memory", remedy));
    }
    Some(cache)
}
