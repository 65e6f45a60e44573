//! One event of the audit, schema version 1: member order is fixed, absent members are absent, every string is encoded.

use serde::Serialize;
use serde::Serializer;

use crate::audit::name::Code;
use crate::audit::name::Name;
use crate::audit::name::Outcome;

/// What happened. The writer adds sequence number, node and boot.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// A stable name, such as `module.zip`, `authz.deny`, `request.rejected`.
    pub event: &'static str,
    /// Its code, such as `MG005I`: success and failure differ.
    pub code: Code,
    /// A time-ordered UUID, the same in log and trace.
    pub id: String,
    /// allowed, denied, ancestor, `not_found`, unauthenticated, throttled, rejected or failed.
    pub outcome: &'static str,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Whence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// For what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// What the policy said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Where the content came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Whom we asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// The class of the fault, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// More about an event that is no answer.
    #[serde(skip_serializing_if = "Detail::is_empty")]
    pub detail: Detail,
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
            event: name.text(),
            code: name.code(outcome),
            id,
            outcome: outcome.text(),
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

/// Groups kept of a caller; somebody in more of them is told apart by name.
pub const GROUPS: usize = 32;

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
    /// Their groups, 32 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Token name, expiry, issuer; or why the proof was refused. Never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Actor {
    /// Somebody who acted on the gateway, known by name.
    pub fn operator(principal: String) -> Self {
        Self {
            id: Some(principal),
            auth: "operator",
            result: "ok",
            groups: Vec::new(),
            detail: None,
        }
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
    /// Whether the decision was remembered.
    pub cached: bool,
}

/// What was answered.
#[derive(Debug, Clone, Serialize)]
pub struct Http {
    /// GET or HEAD.
    pub method: &'static str,
    /// The status.
    pub status: u16,
    /// Body bytes handed to the connection.
    pub bytes_out: u64,
    /// Whether that was all of them.
    pub complete: bool,
    /// Milliseconds from the head to the last byte.
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

/// Makes a text safe for one line of a log that people read in a terminal: control characters, line separators and
/// bidirectional controls become `?`. JSON would escape most of them; a reader that decodes JSON would undo that.
pub fn plain(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if hostile(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn no_text_can_start_a_line_or_turn_the_reading_direction() {
        assert_eq!(plain("a\nb\r\u{1b}[31m\u{202e}x\u{2028}é"), "a?b??[31m?x?é");
    }
}
