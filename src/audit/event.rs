//! One event of the audit, schema version 1: member order is fixed, absent members are absent.

use serde::Serialize;
use serde::Serializer;

use crate::audit::encode::cut;
use crate::audit::name::Code;
use crate::audit::name::Name;
use crate::audit::name::Outcome;

/// What happened. The writer adds sequence number, node, boot, the marks and the chain.
#[derive(Debug, Clone)]
pub struct Event {
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// What happened.
    pub name: Name,
    /// A time-ordered UUID, the same in log and trace; joins the two phases of one request.
    pub id: String,
    /// Which of the records of a request this is.
    pub phase: Phase,
    /// What came of it.
    pub outcome: Outcome,
    /// Who asked.
    pub actor: Option<Actor>,
    /// Whence.
    pub source: Option<Source>,
    /// For what.
    pub resource: Option<Resource>,
    /// What the policy said.
    pub decision: Option<Decision>,
    /// What was answered.
    pub http: Option<Http>,
    /// Where the content came from.
    pub cache: Option<Cache>,
    /// Whom we asked.
    pub upstream: Option<Upstream>,
    /// The class of the fault, if there was one.
    pub fault: Option<&'static str>,
    /// More about an event that is no answer.
    pub detail: Detail,
}

/// Which of the records of a request this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was decided to send the body of a private module: written before its first byte.
    Decided,
    /// A refusal, written before it is sent.
    Refused,
    /// It has ended.
    Done,
}

/// A record as it is written: the members and their order are schema version 1.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct Line<'a> {
    v: u8,
    seq: u64,
    time: &'a str,
    event: &'static str,
    code: Code,
    id: &'a str,
    phase: Phase,
    node: &'a str,
    boot: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a Resource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<&'a Http>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'a Cache>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a Upstream>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Detail::is_empty")]
    detail: &'a Detail,
    #[serde(skip_serializing_if = "is_false")]
    repeat: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(mark: &bool) -> bool {
    !*mark
}

/// What the writer knows of an event.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit) struct Standing<'a> {
    /// Its number.
    pub(in crate::audit) seq: u64,
    /// This node.
    pub(in crate::audit) node: &'a str,
    /// This start of it.
    pub(in crate::audit) boot: &'a str,
    /// Whether a client repeated a refused request.
    pub(in crate::audit) repeat: bool,
    /// The first of the denials that belong together.
    pub(in crate::audit) family: Option<&'a str>,
}

impl Event {
    /// The record of this event.
    pub(in crate::audit) fn line<'a>(&'a self, standing: Standing<'a>) -> Line<'a> {
        let Standing { seq, node, boot, repeat, family } = standing;
        Line {
            v: 1,
            seq,
            time: &self.time,
            event: self.name.text(),
            code: self.name.code(self.outcome),
            id: &self.id,
            phase: self.phase,
            node,
            boot,
            outcome: self.outcome.text(),
            actor: self.actor.as_ref(),
            source: self.source.as_ref(),
            resource: self.resource.as_ref(),
            decision: self.decision.as_ref(),
            http: self.http.as_ref(),
            cache: self.cache.as_ref(),
            upstream: self.upstream.as_ref(),
            fault: self.fault,
            detail: &self.detail,
            repeat,
            family,
        }
    }

    /// Cuts what a client or a directory made longer than a record may be.
    pub(in crate::audit) fn shorten(&mut self) {
        let short = |text: &mut String| *text = cut(text, SHORT_BYTES);
        if let Some(actor) = &mut self.actor {
            actor.groups.truncate(GROUPS / 4);
            actor.roles.truncate(GROUPS / 4);
            actor.groups.iter_mut().chain(&mut actor.roles).for_each(short);
            let token = actor.token.iter_mut().flat_map(|token| [&mut token.iss, &mut token.kid]);
            token.flatten().chain(&mut actor.detail).for_each(short);
        }
        if let Some(resource) = &mut self.resource {
            let texts = [&mut resource.module, &mut resource.version, &mut resource.path];
            texts.into_iter().flatten().for_each(short);
        }
        self.detail.0.iter_mut().for_each(|(_, value)| short(value));
    }
}

/// Named texts, in the order they were given.
#[derive(Debug, Clone, Default)]
pub struct Detail(Vec<(&'static str, String)>);

impl Detail {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<(&'static str, String)>> for Detail {
    fn from(members: Vec<(&'static str, String)>) -> Self {
        Self(members)
    }
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_map(self.0.iter().map(|(member, value)| (member, value)))
    }
}

impl Event {
    /// An event with its head alone.
    pub fn bare(time: String, name: Name, id: String, outcome: Outcome) -> Self {
        Self {
            time,
            name,
            id,
            phase: Phase::Done,
            outcome,
            actor: None,
            source: None,
            resource: None,
            decision: None,
            http: None,
            cache: None,
            upstream: None,
            fault: None,
            detail: Detail::default(),
        }
    }
}

/// Groups written into a record; of somebody in more of them an `actor.groups` record holds all.
pub const GROUPS: usize = 32;
/// What a text is cut to in a record that would be too long; a module path has 300 bytes at most.
const SHORT_BYTES: usize = 320;

/// Who asked.
#[derive(Debug, Clone, Serialize)]
pub struct Actor {
    /// The principal; absent if nobody was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How they proved it, or tried to.
    pub auth: &'static str,
    /// What became of the proof.
    pub result: &'static str,
    /// What kind of proof stands behind the name: person, workload, bearer, operator or anonymous.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Their groups, 32 at most once it is written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The digest of all their groups, if they have more than 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gset: Option<String>,
    /// The roles that the policy made of them, 32 at most once it is written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Seconds since the proof was made: since a directory was asked, or a token was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_age_s: Option<u64>,
    /// Whether the proof should have been made again, and nobody could be asked.
    #[serde(skip_serializing_if = "is_false")]
    pub stale: bool,
    /// The token that was the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The certificate that was the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<Cert>,
    /// Expiry, issuer; or why the proof was refused. Never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whose name it is.
    #[serde(skip)]
    pub name: Spoken,
}

/// Of a token what tells it apart.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// Its issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The key that verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Its own name; a keyed hash once it is written.
    #[serde(rename = "jti_h", skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

/// Of a certificate what tells it apart.
#[derive(Debug, Clone, Serialize)]
pub struct Cert {
    /// The name of it that stands for the principal.
    pub san: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// Whose name a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// A principal's.
    Known,
    /// Somebody typed it, and it may be anything, a password too: it is written as a keyed hash.
    Typed,
}

impl Actor {
    /// Somebody whose proof came to a result, and nothing more is known of them.
    pub const fn of(auth: &'static str, result: &'static str) -> Self {
        Self {
            id: None,
            auth,
            result,
            kind: None,
            groups: Vec::new(),
            gset: None,
            roles: Vec::new(),
            auth_age_s: None,
            stale: false,
            token: None,
            cert: None,
            detail: None,
            name: Spoken::Known,
        }
    }

    /// Somebody who acted on the gateway, known by name.
    pub fn operator(principal: String) -> Self {
        Self { id: Some(principal), kind: Some("operator"), ..Self::of("operator", "ok") }
    }
}

/// Whence.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    /// The peer's address.
    pub ip: String,
    /// The peer's port.
    pub port: u16,
    /// `tls` or `plain`.
    pub transport: &'static str,
    /// What the client calls itself, 256 bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ua: Option<String>,
}

/// For what.
#[derive(Debug, Clone, Serialize)]
pub struct Resource {
    /// The module path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The version or query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// list, latest, info, mod, zip, or the word of another endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<&'static str>,
    /// The path as received, of a request that has no module; 512 characters at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether it lies under a private prefix.
    pub private: bool,
}

/// What the policy said.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// allow, deny, absent or error.
    pub effect: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Which rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policy's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which policy since the start it is, the first being 1.
    #[serde(rename = "gen", skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Whether the decision was remembered.
    pub cached: bool,
    /// The conditions of the rule, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// What a candidate policy would have said, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Microseconds it took to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub us: Option<u64>,
}

/// The word of a candidate policy, which decided nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Shadow {
    /// allow, deny, absent or error.
    pub effect: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Which rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The candidate's revision.
    pub policy: String,
}

/// What was answered.
#[derive(Debug, Clone, Serialize)]
pub struct Http {
    /// GET or HEAD.
    pub method: &'static str,
    /// The status.
    pub status: u16,
    /// Body bytes handed to the connection; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Whether that was all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// Milliseconds from the head to this record.
    pub ms: f64,
    /// The trace.
    pub trace_id: String,
}

/// Where the content came from.
#[derive(Debug, Clone, Serialize)]
pub struct Cache {
    /// hit, `negative_hit`, coalesced, miss or bypass.
    pub result: &'static str,
    /// Which tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<&'static str>,
    /// SHA-256 of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The h1 sum, if one was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h1: Option<String>,
}

/// Whom we asked.
#[derive(Debug, Clone, Serialize)]
pub struct Upstream {
    /// The configured name.
    pub name: String,
    /// How often anybody was asked.
    pub attempts: u32,
    /// What became of the last attempt.
    pub result: &'static str,
}
