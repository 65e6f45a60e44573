//! `[cache.bucket]`: an S3-compatible bucket in which nodes share what they have fetched.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::reader::Table;
use crate::config::secret::Secret;
use crate::config::source::Form;
use crate::config::units;

/// A bucket, and how it is reached.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// `http` or `https`, without the bucket's name.
    pub endpoint: Url,
    /// Its name.
    pub name: String,
    /// Its region; many stores take any.
    pub region: String,
    /// What every key begins with; may be empty.
    pub prefix: String,
    /// Who we are to it.
    pub access_key: Secret<String>,
    /// The proof.
    pub secret_key: Secret<String>,
    /// PEM: authorities besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long nothing may come.
    pub timeout: Duration,
    /// How long one body may take.
    pub total_timeout: Duration,
}

/// `[cache.bucket]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "cache.bucket",
    times: Times::Once,
    doc: "A bucket of an S3-compatible store, in which several gateways share everything they have \
          fetched; each keeps its directory in front of it. If it fails, nothing else does.",
    keys: &[
        Key {
            name: "endpoint",
            form: Form::Text,
            preset: Preset::Unset { example: "https://s3.corp.example" },
            doc: "Where the store is: https://HOST or http://HOST, without the bucket. Without it there is \
                  no bucket.",
        },
        Key {
            name: "name",
            form: Form::Text,
            preset: Preset::Unset { example: "go-modules" },
            doc: "The bucket. It must exist.",
        },
        Key {
            name: "region",
            form: Form::Text,
            preset: Preset::Value("us-east-1"),
            doc: "Its region; many stores take any.",
        },
        Key {
            name: "prefix",
            form: Form::Text,
            preset: Preset::Value(""),
            doc: "What every key begins with, if the bucket holds other things as well.",
        },
        Key {
            name: "access_key",
            form: Form::Hidden,
            preset: Preset::Unset { example: "" },
            doc: "Who we are to it; better is access_key_file.",
        },
        Key {
            name: "access_key_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/s3-access-key" },
            doc: "A file that holds it; refused if everybody may read it.",
        },
        Key {
            name: "secret_key",
            form: Form::Hidden,
            preset: Preset::Unset { example: "" },
            doc: "The proof; better is secret_key_file.",
        },
        Key {
            name: "secret_key_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/s3-secret-key" },
            doc: "A file that holds it; refused if everybody may read it.",
        },
        Key {
            name: "ca_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/corp-ca.pem" },
            doc: "A PEM file of authorities to trust besides the system's.",
        },
        Key {
            name: "connect_timeout",
            form: Form::Text,
            preset: Preset::Value("2s"),
            doc: "How long connecting may take: a time.",
        },
        Key {
            name: "timeout",
            form: Form::Text,
            preset: Preset::Value("5s"),
            doc: "How long nothing may come: a time. After two such failures the bucket rests.",
        },
        Key {
            name: "total_timeout",
            form: Form::Text,
            preset: Preset::Value("5m"),
            doc: "How long one body may take: a time.",
        },
    ],
};

#[expect(clippy::option_option, reason = "a problem is not the same as nothing given")]
pub(in crate::config) fn read(reader: &mut Reader) -> Option<Option<Bucket>> {
    let mut table = reader.section(&SECTION);
    let endpoint = table.maybe("endpoint", units::url);
    let name = table.maybe("name", bucket_name);
    let region = table.one("region", units::text);
    let prefix = table.maybe("prefix", prefix);
    let access_key = table.secret("access_key", "access_key_file");
    let secret_key = table.secret("secret_key", "secret_key_file");
    let ca_file = table.maybe("ca_file", units::file);
    let connect_timeout = table.one("connect_timeout", units::duration);
    let timeout = table.one("timeout", units::duration);
    let total_timeout = table.one("total_timeout", units::duration);
    let (name, access_key, secret_key) = (name?, access_key?, secret_key?);
    let Some(endpoint) = endpoint? else {
        if name.is_some() || access_key.is_some() || secret_key.is_some() {
            let remedy = "give it, such as \"https://s3.corp.example\", or take the section out";
            table
                .wrong("endpoint", Wrong::new("is missing beside the rest of the section", remedy));
        }
        return Some(None);
    };
    let name = needed(&mut table, "name", name);
    let access_key = needed(&mut table, "access_key_file", access_key);
    let secret_key = needed(&mut table, "secret_key_file", secret_key);
    let bucket = Bucket {
        endpoint,
        name: name?,
        region: region?,
        prefix: prefix?.unwrap_or_default(),
        access_key: access_key?,
        secret_key: secret_key?,
        ca_file: ca_file?,
        connect_timeout: connect_timeout?,
        timeout: timeout?,
        total_timeout: total_timeout?,
    };
    Some(Some(bucket))
}

fn needed<T>(table: &mut Table<'_>, key: &'static str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        table.wrong(key, Wrong::new("is missing beside endpoint", "give it as well"));
    }
    value
}

/// What S3 takes as a name of a bucket, without dots.
fn bucket_name(text: &str) -> Result<String, Wrong> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(3..=63).contains(&text.len()) || !text.bytes().all(plain) {
        let remedy = "write 3 to 63 of a-z, 0-9 and -";
        return Err(Wrong::value(text, "is no name of a bucket", remedy));
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, Wrong> {
    let text = text.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if !text.bytes().all(plain) || text.split('/').any(|part| part.is_empty() || part == "..") {
        let remedy = "write letters, digits, -, _ and / between them";
        return Err(Wrong::value(text, "is no prefix", remedy));
    }
    Ok(text.to_owned())
}
