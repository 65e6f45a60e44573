//! `[[identity.ldap]]`: directories that know people by name and password.

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

/// One directory, on one server or several that hold the same.
#[derive(Debug, Clone)]
pub struct LdapDirectory {
    /// Callers are `user:ldap/NAME:ID`.
    pub name: String,
    /// Asked in order; the next one when one is down.
    pub servers: Vec<Url>,
    /// How the connection is protected.
    pub protection: Protection,
    /// PEM: authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How a name becomes a DN.
    pub find: Find,
    /// Where groups come from.
    pub groups: Groups,
    /// How long each part may take.
    pub times: Limits,
    /// After how many failures the directory locks an account; it never sees that many from us.
    pub lock_threshold: usize,
    /// How long a verified password is good without asking again.
    pub cache_ttl: Duration,
    /// How much longer it is good while no server can be asked; `None` for not at all.
    pub stale_while_down: Option<Duration>,
    /// How long a wrong one is wrong without asking again.
    pub failure_ttl: Duration,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// `ldaps://`.
    Tls,
    /// `ldap://`, then `StartTLS` before anything else.
    StartTls,
    /// Not at all; whoever wrote `insecure_plaintext` wanted that.
    None,
}

/// How a name becomes a DN.
#[derive(Debug, Clone)]
pub enum Find {
    /// A service account searches.
    Search {
        /// The service account.
        bind_dn: String,
        /// Its password.
        bind_password: Secret<String>,
        /// Where people are.
        base: String,
        /// With `{user}`.
        filter: String,
        /// The attribute that holds the id.
        id: String,
    },
    /// A template with `{user}`; groups are read as the user.
    Template(String),
}

/// Where groups come from.
#[derive(Debug, Clone)]
pub struct Groups {
    /// From which side.
    pub mode: GroupMode,
    /// Where groups are.
    pub base: String,
    /// With `{dn}`.
    pub filter: String,
    /// The attribute that names a group.
    pub name: String,
    /// How many steps from group to group are followed.
    pub nested_depth: usize,
}

/// From which side membership is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMode {
    /// Groups that list the user.
    Search,
    /// The user's own `memberOf`.
    MemberOf,
    /// Both, joined.
    Both,
    /// Nobody has groups.
    None,
}

impl GroupMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Search, Self::MemberOf, Self::Both, Self::None];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::MemberOf => "memberof",
            Self::Both => "both",
            Self::None => "none",
        }
    }
}

/// How long each part may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To connect, TLS included.
    pub connect: Duration,
    /// For one operation.
    pub operation: Duration,
    /// For everything, all servers together.
    pub total: Duration,
}

const fn text(name: &'static str, preset: Preset, doc: &'static str) -> Key {
    Key { name, form: Form::Text, preset, doc }
}

/// `[[identity.ldap]]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "identity.ldap",
    times: Times::Several,
    doc: "A directory (LDAP, Active Directory) that knows people by name and password; may stand \
          several times. The first judges plain names, the others names such as NAME/alice.",
    keys: &[
        text(
            "name",
            Preset::Required { example: "corp" },
            "Our name for it, a-z, 0-9 and -: callers are user:ldap/NAME:ID.",
        ),
        Key {
            name: "servers",
            form: Form::List,
            preset: Preset::Required {
                example: "ldaps://ldap-1.corp.example,ldaps://ldap-2.corp.example",
            },
            doc: "Its servers, in the order they are asked: ldaps://HOST[:PORT], or ldap:// with starttls.",
        },
        Key {
            name: "starttls",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether ldap:// is encrypted by StartTLS before anything is said: true or false.",
        },
        Key {
            name: "insecure_plaintext",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether ldap:// may stay unencrypted: passwords can then be read on the way.",
        },
        text(
            "ca_file",
            Preset::Unset { example: "/etc/modgate/ldap-ca.pem" },
            "A PEM file of authorities to trust instead of the system's.",
        ),
        text(
            "bind_dn",
            Preset::Unset { example: "cn=modgate,ou=services,dc=corp,dc=example" },
            "The service account that searches.",
        ),
        Key {
            name: "bind_password",
            form: Form::Hidden,
            preset: Preset::Unset { example: "" },
            doc: "Its password; better is bind_password_file.",
        },
        text(
            "bind_password_file",
            Preset::Unset { example: "/etc/modgate/ldap-password" },
            "A file that holds its password; refused if everybody may read it.",
        ),
        text(
            "bind_template",
            Preset::Unset { example: "uid={user},ou=people,dc=corp,dc=example" },
            "The DN of a user, instead of a search; {user} is put in safely.",
        ),
        text(
            "user_base",
            Preset::Unset { example: "ou=people,dc=corp,dc=example" },
            "Where people are searched.",
        ),
        text(
            "user_filter",
            Preset::Value("(uid={user})"),
            "How one is found; {user} is put in safely. Active Directory: (sAMAccountName={user}).",
        ),
        text(
            "user_id",
            Preset::Value("uid"),
            "The attribute that holds the id, so that two spellings of a name are one caller.",
        ),
        text(
            "group_mode",
            Preset::Value("search"),
            "Where groups come from: search (groups that list the user), memberof, both, or none.",
        ),
        text(
            "group_base",
            Preset::Unset { example: "ou=groups,dc=corp,dc=example" },
            "Where groups are searched.",
        ),
        text(
            "group_filter",
            Preset::Value("(member={dn})"),
            "Which groups list somebody; {dn} is put in safely. Active Directory, nested in one step: (member:1.2.840.113556.1.4.1941:={dn}) with nested_depth = 1.",
        ),
        text(
            "group_name",
            Preset::Value("cn"),
            "The attribute that names a group: callers are in group:ldap/NAME:GROUP.",
        ),
        Key {
            name: "nested_depth",
            form: Form::Number,
            preset: Preset::Value("8"),
            doc: "How many steps from group to group are followed, 1 to 32.",
        },
        text(
            "connect_timeout",
            Preset::Value("1s"),
            "Time to connect to one server, TLS included.",
        ),
        text("operation_timeout", Preset::Value("1s"), "Time for one bind or search."),
        text(
            "total_timeout",
            Preset::Value("1800ms"),
            "Time for a whole login, all servers together; then the answer is 503.",
        ),
        Key {
            name: "lock_threshold",
            form: Form::Number,
            preset: Preset::Value("5"),
            doc: "After how many failures the directory locks an account, 2 to 1000: it never sees \
                  that many from us.",
        },
        text(
            "cache_ttl",
            Preset::Value("60s"),
            "How long a verified password is good without asking again.",
        ),
        text(
            "stale_while_down",
            Preset::Unset { example: "15m" },
            "How much longer a verified password is good while no server can be asked; the audit says so.",
        ),
        text(
            "failure_ttl",
            Preset::Value("5s"),
            "How long a wrong password is wrong without asking again.",
        ),
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Vec<LdapDirectory>> {
    reader.refuse_twins(&SECTION);
    let mut read = Vec::new();
    for element in reader.elements(&SECTION) {
        read.push(directory(&mut reader.element(&SECTION, element)));
    }
    read.into_iter().collect()
}

fn directory(table: &mut Table<'_>) -> Option<LdapDirectory> {
    let name = table.one("name", units::name);
    let servers = table.some("servers", server);
    let starttls = table.one("starttls", units::switch);
    let plaintext = table.one("insecure_plaintext", units::switch);
    let ca_file = table.maybe("ca_file", units::file);
    let find = find(table);
    let groups = groups(table);
    let connect = table.one("connect_timeout", units::duration);
    let operation = table.one("operation_timeout", units::duration);
    let total = table.one("total_timeout", units::duration);
    let lock_threshold = table.one("lock_threshold", units::count(1000_usize));
    let cache_ttl = table.one("cache_ttl", units::duration);
    let stale_while_down = table.maybe("stale_while_down", units::duration);
    let failure_ttl = table.one("failure_ttl", units::duration);
    let servers = servers?;
    let protection = protection(table, &servers, starttls?, plaintext?);
    Some(LdapDirectory {
        name: name?,
        servers,
        protection: protection?,
        ca_file: ca_file?,
        find: find?,
        groups: groups?,
        times: Limits { connect: connect?, operation: operation?, total: total? },
        lock_threshold: lock_threshold?,
        cache_ttl: cache_ttl?,
        stale_while_down: stale_while_down?,
        failure_ttl: failure_ttl?,
    })
}

fn server(text: &str) -> Result<Url, Wrong> {
    let remedy = "write ldaps://HOST or ldaps://HOST:PORT";
    let bad = || Wrong::value(text, "is no LDAP server", remedy);
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let known = matches!(url.scheme(), "ldap" | "ldaps") && matches!(url.path(), "" | "/");
    if known && plain && url.host_str().is_some_and(|host| !host.is_empty()) {
        Ok(url)
    } else {
        Err(bad())
    }
}

#[expect(clippy::fn_params_excessive_bools, reason = "two switches of the file, judged together")]
fn protection(
    table: &mut Table<'_>,
    servers: &[Url],
    starttls: bool,
    plaintext: bool,
) -> Option<Protection> {
    let encrypted = servers.iter().filter(|url| url.scheme() == "ldaps").count();
    let wrong = match (encrypted == servers.len(), encrypted == 0, starttls, plaintext) {
        (true, _, false, false) => return Some(Protection::Tls),
        (false, true, true, false) => return Some(Protection::StartTls),
        (false, true, false, true) => return Some(Protection::None),
        (false, true, false, false) => {
            let remedy = "write ldaps://, or starttls = true (insecure_plaintext = true sends passwords in clear)";
            Wrong::new("ldap:// without encryption", remedy)
        }
        (false, false, ..) => {
            Wrong::new("ldap:// and ldaps:// are mixed", "protect all servers in the same way")
        }
        _ => Wrong::new(
            "starttls and insecure_plaintext contradict the URLs",
            "ldaps:// needs neither, ldap:// exactly one",
        ),
    };
    table.wrong("servers", wrong);
    None
}

fn find(table: &mut Table<'_>) -> Option<Find> {
    let bind_dn = table.maybe("bind_dn", units::text);
    let password = table.secret("bind_password", "bind_password_file");
    let template = table.maybe("bind_template", |text| with("{user}", text));
    let base = table.maybe("user_base", units::text);
    let filter = table.one("user_filter", |text| with("{user}", text));
    let id = table.one("user_id", units::text);
    let (filter, id) = (filter?, id?);
    match (bind_dn?, password?, template?, base?) {
        (Some(bind_dn), Some(bind_password), None, Some(base)) => {
            Some(Find::Search { bind_dn, bind_password, base, filter, id })
        }
        (None, None, Some(template), _) => Some(Find::Template(template)),
        _ => {
            let remedy =
                "give bind_dn, its password and user_base to search, or bind_template alone";
            table.wrong("bind_dn", Wrong::new("users can be found in no way, or in two", remedy));
            None
        }
    }
}

fn groups(table: &mut Table<'_>) -> Option<Groups> {
    let mode = table.one("group_mode", units::one_of(&GroupMode::ALL, GroupMode::word));
    let base = table.maybe("group_base", units::text);
    let filter = table.one("group_filter", |text| with("{dn}", text));
    let name = table.one("group_name", units::text);
    let depth = table.one("nested_depth", units::count(32_usize));
    let (mode, base) = (mode?, base?);
    if base.is_none() && matches!(mode, GroupMode::Search | GroupMode::Both) {
        let remedy = "give group_base, or group_mode = \"memberof\" or \"none\"";
        table.wrong("group_base", Wrong::new("is missing", remedy));
        return None;
    }
    let (base, filter, name) = (base.unwrap_or_default(), filter?, name?);
    Some(Groups { mode, base, filter, name, nested_depth: depth? })
}

/// A text that holds a placeholder; without it everybody would be the same.
fn with(placeholder: &str, text: &str) -> Result<String, Wrong> {
    if text.contains(placeholder) {
        return Ok(text.to_owned());
    }
    Err(Wrong::value(
        text,
        &format!("has no {placeholder}"),
        format!("write {placeholder} where it belongs"),
    ))
}
