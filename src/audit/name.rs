//! What can happen: each event's stable name and code, and each outcome's word. Closed sets, so a report can list them.

use std::fmt;

/// Declares the names of events: variant, name, number of its code, and what it means.
macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal $text:literal),+ $(,)?) => {
        /// The name of an event. Names and numbers never change their meaning; new ones are added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Name { $($(#[doc = $doc])+ $name),+ }

        impl Name {
            /// Every name, in order of number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name in a record, such as `module.zip`.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The number in its code: the first digit is the group.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number),+ }
            }

            /// What it means: a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

names! {
    /// A list of versions was asked for.
    ModuleList = 1 "module.list",
    /// The latest version was asked for.
    ModuleLatest = 2 "module.latest",
    /// A version's time was asked for.
    ModuleInfo = 3 "module.info",
    /// A go.mod file was asked for.
    ModuleMod = 4 "module.mod",
    /// A module's content was asked for.
    ModuleZip = 5 "module.zip",
    /// A record of a checksum database was asked for.
    SumdbLookup = 10 "sumdb.lookup",
    /// A tile of a checksum database was asked for.
    SumdbTile = 11 "sumdb.tile",
    /// The head of a checksum database, or whether it is served, was asked for.
    SumdbHead = 12 "sumdb.head",
    /// One of the gateway's own pages was asked for.
    GatewayRead = 20 "gateway.read",
    /// Something else was asked for.
    RequestOther = 21 "request.other",
    /// A proof of identity was verified.
    AuthSuccess = 101 "auth.success",
    /// A request without credentials was asked for some.
    AuthChallenge = 102 "auth.challenge",
    /// A proof of identity was refused.
    AuthFailure = 103 "auth.failure",
    /// A name or a source is locked out for a while.
    AuthLockout = 104 "auth.lockout",
    /// Somebody asked too often.
    AuthThrottled = 105 "auth.throttled",
    /// Nobody could judge a proof of identity.
    AuthUnavailable = 106 "auth.unavailable",
    /// The whole set of groups behind a digest.
    ActorGroups = 107 "actor.groups",
    /// A token was issued.
    TokenIssue = 108 "token.issue",
    /// A token was revoked.
    TokenRevoke = 109 "token.revoke",
    /// The policy refused a request.
    AuthzDeny = 201 "authz.deny",
    /// A path above something the caller may read was answered without asking anybody.
    AuthzAncestor = 202 "authz.ancestor",
    /// A request broke the rules of the protocol or of framing.
    RequestRejected = 203 "request.rejected",
    /// An upstream's certificate was refused.
    UpstreamTls = 301 "upstream.tls_failure",
    /// Content was not what it should be.
    IntegrityFailed = 302 "integrity.failed",
    /// A connection to the outside was refused.
    EgressRefused = 303 "egress.refused",
    /// An issuer's keys changed.
    JwksRotate = 304 "jwks.rotate",
    /// An issuer's keys could not be fetched.
    JwksFail = 305 "jwks.fail",
    /// Another server of a directory took over.
    LdapFailover = 306 "ldap.failover",
    /// A directory's breaker opened or closed.
    LdapBreaker = 307 "ldap.breaker",
    /// An upstream or Redis is left alone after failures, or cannot be reached.
    DependencyDown = 308 "dependency.down",
    /// An upstream or Redis is back.
    DependencyUp = 309 "dependency.up",
    /// A policy came into force.
    PolicyActivate = 401 "policy.activate",
    /// A policy was refused, and the old one stays.
    PolicyReject = 402 "policy.reject",
    /// A shadow policy became the policy.
    PolicyPromote = 403 "policy.promote",
    /// An emergency deny came into force, or is over.
    PolicyDeny = 404 "policy.deny",
    /// The configuration was read.
    ConfigReload = 405 "config.reload",
    /// Something was taken out of the cache.
    CachePurge = 406 "cache.purge",
    /// Another administrative action.
    AdminAction = 407 "admin.action",
    /// The audit began, and says how the one before ended.
    AuditStart = 501 "audit.start",
    /// The audit ended.
    AuditStop = 502 "audit.stop",
    /// A new segment began.
    AuditRotate = 503 "audit.rotate",
    /// A segment was removed.
    AuditDelete = 504 "audit.delete",
    /// Events were lost, or a tail could not be read.
    AuditGap = 505 "audit.gap",
    /// The wall clock stepped back.
    AuditClock = 506 "audit.clock",
    /// Somebody read the audit.
    AuditRead = 507 "audit.read",
    /// Somebody exported the audit.
    AuditExport = 508 "audit.export",
    /// Somebody verified the audit.
    AuditVerify = 509 "audit.verify",
}

impl Name {
    /// The name with this text, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.text() == text)
    }

    /// The code of the event with an outcome: `MG`, three digits, and I (done), W (refused) or E (failed).
    pub const fn code(self, outcome: Outcome) -> Code {
        Code(self.number(), outcome.letter())
    }
}

/// `MG005I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(u16, char);

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MG{:03}{}", self.0, self.1)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// The policy refused.
    Denied,
    /// A path above something the caller may read.
    Ancestor,
    /// There is none.
    NotFound,
    /// Nobody was recognised.
    Unauthenticated,
    /// Too often.
    Throttled,
    /// It is no request.
    Rejected,
    /// It went wrong.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Allowed,
        Self::Denied,
        Self::Ancestor,
        Self::NotFound,
        Self::Unauthenticated,
        Self::Throttled,
        Self::Rejected,
        Self::Failed,
    ];

    /// The word in a record.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Ancestor => "ancestor",
            Self::NotFound => "not_found",
            Self::Unauthenticated => "unauthenticated",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Allowed | Self::Ancestor => 'I',
            Self::Denied
            | Self::NotFound
            | Self::Unauthenticated
            | Self::Throttled
            | Self::Rejected => 'W',
            Self::Failed => 'E',
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_ordered() {
        let names: HashSet<_> = Name::ALL.iter().map(|name| name.text()).collect();
        assert_eq!(names.len(), Name::ALL.len());
        assert!(Name::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        assert!(Name::ALL.iter().all(|name| name.meaning().trim().ends_with('.')));
    }

    #[test]
    fn success_and_failure_differ_in_their_code() {
        assert_eq!(Name::ModuleZip.code(Outcome::Allowed).to_string(), "MG005I");
        assert_eq!(Name::PolicyActivate.code(Outcome::Failed).to_string(), "MG401E");
        assert_eq!(Name::AuthzDeny.code(Outcome::Denied).to_string(), "MG201W");
        assert_eq!(Name::parse("policy.reject"), Some(Name::PolicyReject));
        assert_eq!(Name::parse("policy.rejected"), None);
    }
}
