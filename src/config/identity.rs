//! `[identity]` and `[[identity.jwt]]`: who may prove who they are, and how.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::ldap;
use crate::config::ldap::LdapDirectory;
use crate::config::mtls;
use crate::config::mtls::Mtls;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::reader::Table;
use crate::config::source::Form;
use crate::config::units;

/// How callers prove who they are.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whether a caller without credentials is let in as `any:anonymous`.
    pub anonymous: Anonymous,
    /// The file of gateway tokens; it may not exist yet.
    pub tokens_file: PathBuf,
    /// Basic user names whose password is a JSON web token.
    pub jwt_users: Vec<String>,
    /// Requests a second of one source.
    pub source_rate: NonZeroU32,
    /// Requests a second of one caller.
    pub caller_rate: NonZeroU32,
    /// Issuers of JSON web tokens.
    pub jwt: Vec<JwtIssuer>,
    /// Directories that know people by name and password.
    pub ldap: Vec<LdapDirectory>,
    /// Client certificates, if they are looked at.
    pub mtls: Option<Mtls>,
}

/// What becomes of a caller without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// 401.
    Refused,
    /// The policy decides about `any:anonymous`.
    Allowed,
}

impl Anonymous {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Refused, Self::Allowed];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Allowed => "allowed",
        }
    }
}

/// One issuer of JSON web tokens, and what we demand of them.
#[derive(Debug, Clone)]
pub struct JwtIssuer {
    /// Our name for it: callers are `user:oidc/<name>:<sub>`.
    pub name: String,
    /// The `iss` claim, byte for byte: an `https` URL.
    pub issuer: String,
    /// Audiences of which a token must hold one.
    pub audience: Vec<String>,
    /// Where its key set (JWKS, RFC 7517) comes from.
    pub keys: KeySource,
    /// The least time between two fetches of its key set.
    pub keys_cooldown: Duration,
    /// Claims that become groups, as `CLAIM=VALUE`.
    pub claim_groups: Vec<String>,
    /// Claims that a token must have, each with a value.
    pub required_claims: Vec<(String, String)>,
    /// Algorithms that are taken, never an HMAC one.
    pub algorithms: Vec<String>,
    /// Where the groups stand, such as `realm_access.roles`.
    pub groups_claim: String,
    /// What the header's `typ` may be.
    pub typ: Vec<String>,
    /// The longest time from `iat` to `exp`.
    pub max_life: Duration,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Where a key set comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file, kept up to date by somebody else; read again when it changes.
    File(PathBuf),
    /// Found by OpenID Connect discovery below the issuer's URL.
    Discovery {
        /// Authorities to trust besides the system's, a PEM file.
        ca_file: Option<PathBuf>,
    },
}

/// `[identity]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "identity",
    times: Times::Once,
    doc: "Who may ask, and how they prove who they are. Gateway tokens are always taken: \
          modgate token issue.",
    keys: &[
        Key {
            name: "anonymous",
            form: Form::Text,
            preset: Preset::Value("refused"),
            doc: "What becomes of a caller without credentials: refused (401), or allowed (the \
                  policy decides about any:anonymous).",
        },
        Key {
            name: "tokens_file",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{state_dir}/tokens",
                words: "tokens in state_dir",
                example: "/var/lib/modgate/tokens",
            },
            doc: "The file of gateway tokens: hashes only.",
        },
        Key {
            name: "jwt_users",
            form: Form::List,
            preset: Preset::Value("jwt,oauth2accesstoken"),
            doc: "Basic user names whose password is a JSON web token, so that netrc can carry one.",
        },
        Key {
            name: "source_rate",
            form: Form::Number,
            preset: Preset::Value("500"),
            doc: "Requests a second of one address (IPv6: one /64), 1 to 1000000; twenty times as \
                  many may come at once. Beyond that the answer is 429.",
        },
        Key {
            name: "caller_rate",
            form: Form::Number,
            preset: Preset::Value("500"),
            doc: "Requests a second of one caller, 1 to 1000000; twenty times as many may come at once.",
        },
    ],
};

/// `[[identity.jwt]]`.
pub(in crate::config) const JWT: Section = Section {
    path: "identity.jwt",
    times: Times::Several,
    doc: "An issuer of JSON web tokens; may stand several times.",
    keys: &[
        Key {
            name: "name",
            form: Form::Text,
            preset: Preset::Required { example: "corp" },
            doc: "Our name for it, a-z, 0-9 and -: callers are user:oidc/NAME:SUB.",
        },
        Key {
            name: "issuer",
            form: Form::Text,
            preset: Preset::Required { example: "https://idp.corp.example" },
            doc: "The iss claim of its tokens, byte for byte: an https URL.",
        },
        Key {
            name: "audience",
            form: Form::List,
            preset: Preset::Required { example: "modgate" },
            doc: "The aud claims that mean us: a token must hold one of them.",
        },
        Key {
            name: "keys_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/corp-jwks.json" },
            doc: "Its key set as a JSON file (JWKS), read again when it changes; without it the keys \
                  are found by OpenID Connect discovery.",
        },
        Key {
            name: "ca_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/idp-ca.pem" },
            doc: "A PEM file of authorities to trust besides the system's, for discovery.",
        },
        Key {
            name: "keys_cooldown",
            form: Form::Text,
            preset: Preset::Value("30s"),
            doc: "The least time between two fetches of its keys: a time. Unknown keys cost no more.",
        },
        Key {
            name: "claim_groups",
            form: Form::List,
            preset: Preset::Value(""),
            doc: "Claims that become groups as CLAIM=VALUE, such as repository and ref of CI jobs.",
        },
        Key {
            name: "required_claims",
            form: Form::List,
            preset: Preset::Value(""),
            doc: "Claims a token must have, all of them: CLAIM=VALUE, where a list must hold VALUE, and \
                  scope the word. For an issuer that serves others too, such as a public CI: \
                  repository_owner=corp.",
        },
        Key {
            name: "algorithms",
            form: Form::List,
            preset: Preset::Value("RS256,PS256,ES256,ES384,EdDSA"),
            doc: "Signature algorithms that are taken; asymmetric ones only.",
        },
        Key {
            name: "groups_claim",
            form: Form::Text,
            preset: Preset::Value("groups"),
            doc: "The claim that holds the groups, with dots for nesting, such as \
                  realm_access.roles.",
        },
        Key {
            name: "typ",
            form: Form::List,
            preset: Preset::Value("at+jwt,application/at+jwt,JWT"),
            doc: "What a token's header may say that it is.",
        },
        Key {
            name: "max_life",
            form: Form::Text,
            preset: Preset::Value("24h"),
            doc: "The longest life of a token, from iat to exp: a time. Longer ones are refused.",
        },
        Key {
            name: "leeway",
            form: Form::Text,
            preset: Preset::Value("30s"),
            doc: "How far the issuer's clock may differ from ours: a time, 5m at most.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Identity> {
    let mut table = reader.section(&SECTION);
    let anonymous = table.one("anonymous", units::one_of(&Anonymous::ALL, Anonymous::word));
    let tokens_file = table.one("tokens_file", units::path);
    let jwt_users = table.list("jwt_users", units::text);
    let rate = units::count(1_000_000_u32);
    let source_rate = table.one("source_rate", &rate);
    let caller_rate = table.one("caller_rate", &rate);
    let jwt = read_issuers(reader);
    let ldap = ldap::read(reader);
    let mtls = mtls::read(reader);
    Some(Identity {
        anonymous: anonymous?,
        tokens_file: tokens_file?,
        jwt_users: jwt_users?,
        source_rate: NonZeroU32::new(source_rate?)?,
        caller_rate: NonZeroU32::new(caller_rate?)?,
        jwt: jwt?,
        ldap: ldap?,
        mtls: mtls?,
    })
}

fn read_issuers(reader: &mut Reader) -> Option<Vec<JwtIssuer>> {
    let mut read: Vec<Option<JwtIssuer>> = Vec::new();
    reader.refuse_twins(&JWT);
    for element in reader.elements(&JWT) {
        let mut table = reader.element(&JWT, element);
        let issuer = read_issuer(&mut table);
        if let Some(issuer) = &issuer {
            let mut others = read.iter().flatten();
            if others.any(|other| other.issuer == issuer.issuer) {
                let remedy = "join the two [[identity.jwt]]";
                table.wrong("issuer", Wrong::value(&issuer.issuer, "stands twice", remedy));
            }
        }
        read.push(issuer);
    }
    read.into_iter().collect()
}

fn read_issuer(table: &mut Table<'_>) -> Option<JwtIssuer> {
    let name = table.one("name", units::name);
    let issuer = table.one("issuer", issuer);
    let audience = table.some("audience", units::text);
    let keys_file = table.maybe("keys_file", units::path);
    let ca_file = table.maybe("ca_file", units::file);
    let keys_cooldown = table.one("keys_cooldown", units::duration);
    let claim_groups = table.list("claim_groups", units::text);
    let required_claims = table.list("required_claims", required_claim);
    let algorithms = table.some("algorithms", algorithm);
    let groups_claim = table.one("groups_claim", units::text);
    let typ = table.some("typ", units::text);
    let max_life = table.one("max_life", units::duration);
    let leeway = table.one("leeway", leeway);
    Some(JwtIssuer {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        keys: match (keys_file?, ca_file?) {
            (Some(path), _) => KeySource::File(path),
            (None, ca_file) => KeySource::Discovery { ca_file },
        },
        keys_cooldown: keys_cooldown?,
        claim_groups: claim_groups?,
        required_claims: required_claims?,
        algorithms: algorithms?,
        groups_claim: groups_claim?,
        typ: typ?,
        max_life: max_life?,
        leeway: leeway?,
    })
}

/// The text stays as it is: it is compared byte for byte.
fn issuer(text: &str) -> Result<String, Wrong> {
    let parsed: Url = units::any_url(text)?;
    let host = parsed.host_str().unwrap_or_default();
    let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    if parsed.scheme() == "https" || parsed.scheme() == "http" && loopback {
        return Ok(text.to_owned());
    }
    Err(Wrong::value(text, "is no https URL", "write the issuer's https URL as its tokens have it"))
}

fn required_claim(text: &str) -> Result<(String, String), Wrong> {
    match text.split_once('=') {
        Some((claim, value)) if !claim.is_empty() && !value.is_empty() => {
            Ok((claim.to_owned(), value.to_owned()))
        }
        _ => {
            let remedy = "write CLAIM=VALUE, such as repository_owner=corp";
            Err(Wrong::value(text, "is no claim with a value", remedy))
        }
    }
}

fn algorithm(text: &str) -> Result<String, Wrong> {
    if ALGORITHMS.contains(&text) {
        return Ok(text.to_owned());
    }
    let is = if text.starts_with("HS") {
        "is symmetric: whoever can check a token could make one"
    } else {
        "is no algorithm that is taken"
    };
    Err(Wrong::value(text, is, format!("choose from {}", ALGORITHMS.join(", "))))
}

fn leeway(text: &str) -> Result<Duration, Wrong> {
    let time = units::duration(text)?;
    if time > LARGEST_LEEWAY {
        return Err(Wrong::value(text, "is too long", "write 5m at most, and set the clocks"));
    }
    Ok(time)
}

/// Asymmetric ones, by their names of RFC 7518 and RFC 8037.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// More would keep expired tokens good.
const LARGEST_LEEWAY: Duration = Duration::from_mins(5);
