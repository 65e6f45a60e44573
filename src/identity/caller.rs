//! Somebody who was recognised: name, groups, and how they proved it.

use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Proof;

/// A recognised caller. Only this station makes one:
///
/// ```compile_fail
/// let forged = modgate::identity::caller::Caller::recognised(
///     "user:token:root".to_owned(), Vec::new(),
///     modgate::telemetry::labels::AuthMethod::Token, String::new(),
/// );
/// ```
///
/// ```
/// let principal: fn(&modgate::identity::caller::Caller) -> &str =
///     modgate::identity::caller::Caller::principal;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    principal: String,
    groups: Vec<String>,
    method: AuthMethod,
    detail: String,
    proof: Proof,
    limits: Vec<String>,
    known: Known,
    obtained: Vec<String>,
}

/// The mark of one policy: what was made of a caller under one is worth nothing under another.
#[derive(Debug, Clone, Default)]
pub struct Mark(Arc<()>);

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Mark {}

/// What the policy made of a caller's names last. It follows from them, so callers are equal whatever it holds.
#[derive(Debug, Default)]
struct Known(ArcSwapOption<(Mark, Arc<str>)>);

impl Clone for Known {
    fn clone(&self) -> Self {
        Self(ArcSwapOption::new(self.0.load_full()))
    }
}

impl PartialEq for Known {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Known {}

impl Caller {
    /// Somebody with a name: `user:<realm>:<id>`, and groups `group:<realm>:<name>`.
    pub(in crate::identity) fn recognised(
        principal: String,
        groups: Vec<String>,
        method: AuthMethod,
        detail: String,
    ) -> Self {
        Self {
            principal,
            groups,
            method,
            detail,
            proof: Proof::default(),
            limits: Vec::new(),
            obtained: Vec::new(),
            known: Known::default(),
        }
    }

    /// The same caller, with how each group was obtained, in their order.
    pub(in crate::identity) fn obtained(self, obtained: Vec<String>) -> Self {
        Self { obtained, ..self }
    }

    /// The same caller, with the pieces of their proof.
    pub(in crate::identity) fn proved(self, proof: Proof) -> Self {
        Self { proof, ..self }
    }

    /// The same caller, good for modules below some prefixes only; without any, for all.
    pub(crate) fn limited(self, limits: Vec<String>) -> Self {
        Self { limits, ..self }
    }

    /// The same caller, who could not be judged again because nobody could be asked.
    pub(in crate::identity) fn stale(&self) -> Self {
        let detail = format!("{}, stale: no server could be asked", self.detail);
        let proof = Proof { stale: true, ..self.proof.clone() };
        Self { detail, proof, ..self.clone() }
    }

    /// Nobody in particular.
    pub(in crate::identity) fn anonymous() -> Self {
        Self::imagined("any:anonymous", Vec::new())
    }

    /// A caller for the suites of a policy and for tests: it never comes from a request.
    pub(crate) fn imagined(principal: &str, groups: Vec<String>) -> Self {
        let method = match principal {
            "any:anonymous" => AuthMethod::Anonymous,
            _ => AuthMethod::Unknown,
        };
        Self::recognised(principal.to_owned(), groups, method, String::new())
    }

    /// `user:<realm>:<id>` or `any:anonymous`.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Groups, each `group:<realm>:<name>`.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Where the name comes from: `token`, `ldap/<server>`, `oidc/<alias>`, `mtls`; `anonymous` for nobody in particular.
    pub fn realm(&self) -> &str {
        let mut parts = self.principal.split(':');
        match parts.next() {
            Some("user") => parts.next().unwrap_or_default(),
            _ => "anonymous",
        }
    }

    /// What a policy makes of the caller's names, made once for each policy: `mark` is its, `make` works it out.
    pub fn subjects(&self, mark: &Mark, make: impl FnOnce() -> Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.0.load().as_deref()
            && known.0 == *mark
        {
            return Arc::clone(&known.1);
        }
        let subjects = make();
        self.known.0.store(Some(Arc::new((mark.clone(), Arc::clone(&subjects)))));
        subjects
    }

    /// Each group with how it was obtained, such as `claim groups` or `directory corp, through go-dev`; for `/-/whoami`.
    pub fn groups_obtained(&self) -> impl Iterator<Item = (&str, &str)> {
        let how = self.obtained.iter().map(String::as_str).chain(std::iter::repeat(""));
        self.groups.iter().map(String::as_str).zip(how)
    }

    /// Whether nobody proved anything.
    pub fn is_anonymous(&self) -> bool {
        self.method == AuthMethod::Anonymous
    }

    /// Whether the proof is good for a module at all; what the policy says comes on top. A limit that cannot be read
    /// limits to nothing.
    pub fn reaches(&self, path: &str) -> bool {
        let covers = |text: &String| {
            Prefix::parse(text).is_ok_and(|prefix| prefix.covers(path, Case::Exact))
        };
        self.limits.is_empty() || self.limits.iter().any(covers)
    }

    /// The prefixes beyond which the proof is good for nothing; none for no limit.
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// How they proved it.
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// The pieces of the proof.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// More about the proof, such as a token's expiry; for `/-/whoami` and the audit.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl Observed for Arc<Caller> {
    fn note(&self, facts: &mut Facts) {
        facts.principal = Some(self.principal.clone());
        facts.groups.clone_from(&self.groups);
        facts.auth_method = Some(self.method);
        facts.auth_result = Some(AuthResult::Success);
        facts.proof.clone_from(&self.proof);
        facts.auth_detail = Some(self.detail.clone()).filter(|detail| !detail.is_empty());
    }
}

/// Encodes a name for principals, groups, policy columns and log lines: every byte outside
/// `A-Z a-z 0-9 . _ @ / + : = -` becomes `%XX`, so no comma, blank or newline gets through.
pub fn encode_name(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._@/+:=-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // writing to a string cannot fail
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_policy_made_of_a_caller_is_nothing_to_another() {
        let caller = Caller::imagined("user:ldap/corp:alice", Vec::new());
        let (first, second) = (Mark::default(), Mark::default());
        assert_eq!(&*caller.subjects(&first, || Arc::from("a")), "a");
        assert_eq!(&*caller.subjects(&first, || Arc::from("not asked again")), "a");
        assert_eq!(&*caller.subjects(&second, || Arc::from("b")), "b");
        assert_eq!(caller.realm(), "ldap/corp");
        assert_eq!(Caller::anonymous().realm(), "anonymous");
    }

    #[test]
    fn a_name_cannot_break_a_column_or_a_line() {
        assert_eq!(encode_name("alice@corp.example"), "alice@corp.example");
        assert_eq!(encode_name("a,b c\nd%é"), "a%2Cb%20c%0Ad%25%C3%A9");
    }
}
