//! The only table from kinds to statuses, and how an answer is dressed: conditions, ranges, caching, text `go` prints.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::content::Content;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::gateway::Error;
use crate::gateway::account::Refused;
use crate::gateway::own::Page;
use crate::goproxy::artifact::Endpoint;
use crate::goproxy::artifact::Mutability;
use crate::goproxy::request::Request;
use crate::goproxy::request::SumdbAsk;
use crate::head::Conditions;
use crate::head::Method;
use crate::policy::decision::Permit;
use crate::sumdb::Verified;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::CacheResult;
use crate::telemetry::labels::Code;
use crate::telemetry::labels::Label as _;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Record;

/// What is sent after the headers.
#[derive(Debug, Clone)]
pub enum Body {
    /// Nothing, and no length: 304.
    None,
    /// A text or a page.
    Memory(Bytes),
    /// A part of verified content.
    Part {
        /// The whole.
        content: Content,
        /// The first byte that is sent.
        from: u64,
        /// How many are.
        len: u64,
    },
}

impl Body {
    /// Length in bytes; `None` if the answer has no body at all.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Memory(bytes) => Some(bytes.len() as u64),
            Self::Part { len, .. } => Some(*len),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len().unwrap_or(0) == 0
    }
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The next request may come.
    Keep,
    /// It is closed: what follows on it cannot be trusted to be a request.
    Close,
}

/// An answer: a status of the closed set, headers and a body; no framework type.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub code: Code,
    /// Header names in lower case, and values that are ASCII without control characters.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
    /// What becomes of the connection.
    pub connection: Connection,
}

/// The table. Two kinds share 502: a lying upstream is as little an answer about the module as a broken one.
pub const fn code(kind: Kind) -> Code {
    match kind {
        Kind::Malformed => Code::BadRequest,
        Kind::Unauthenticated => Code::Unauthorized,
        Kind::Denied => Code::Forbidden,
        Kind::NotFound => Code::NotFound,
        Kind::Gone => Code::Gone,
        Kind::Throttled => Code::TooManyRequests,
        Kind::Unavailable => Code::Unavailable,
        Kind::Upstream | Kind::Integrity => Code::BadGateway,
        Kind::Timeout => Code::GatewayTimeout,
        Kind::Internal => Code::Internal,
    }
}

impl Reply {
    /// Verified content, or the part of it that the conditions ask for.
    pub fn content(
        permit: &Permit,
        verified: &Verified,
        conditions: &Conditions,
        record: &Record,
    ) -> Self {
        let (request, content) = (permit.request(), verified.content());
        let etag = format!("\"{}\"", content.sum());
        let mut reply = Self::bare(Code::Ok, record);
        reply.add("etag", etag.clone());
        reply.caching(permit, &record.facts());
        if conditions.if_none_match.as_deref().is_some_and(|asked| matches_tag(asked, &etag)) {
            reply.code = Code::NotModified;
            return reply;
        }
        reply.add("content-type", media_type(request).to_owned());
        let (mut from, mut len) = (0, content.len());
        if takes_ranges(request.endpoint()) {
            reply.add("accept-ranges", "bytes".to_owned());
            match (record.method(), wanted(conditions, &etag, content.len())) {
                (Method::Head, _) | (Method::Get, Wanted::Whole) => {}
                (Method::Get, Wanted::Part { first, last }) => {
                    (from, len) = (first, last - first + 1);
                    reply.code = Code::Partial;
                    reply.add("content-range", format!("bytes {first}-{last}/{}", content.len()));
                }
                (Method::Get, Wanted::Nothing) => return reply.unsatisfiable(content.len()),
            }
        }
        reply.body = Body::Part { content: content.clone(), from, len };
        reply
    }

    /// One of the gateway's own pages; never stored by anybody.
    pub fn page(page: Page, record: &Record) -> Self {
        let mut reply = Self::bare(Code::Ok, record);
        reply.add("content-type", page.media_type.to_owned());
        reply.add("cache-control", "no-store".to_owned());
        reply.body = Body::Memory(Bytes::from(page.text));
        reply
    }

    /// A fault. An absence's own text is passed on unchanged; everything else is ours, fitted to what `go` prints.
    pub fn fault(fault: &dyn Fault, passed_on: Option<&str>, record: &Record) -> Self {
        let (kind, facts) = (fault.kind(), record.facts());
        let mut reply = Self::bare(code(kind), record);
        match kind {
            Kind::NotFound | Kind::Gone => reply.closed(),
            Kind::Unauthenticated => {
                reply.add("cache-control", "no-store".to_owned());
                reply.add("www-authenticate", BASIC.to_owned());
                reply.add("www-authenticate", "Bearer".to_owned());
            }
            Kind::Throttled | Kind::Unavailable => {
                reply.add("cache-control", "no-store".to_owned());
                reply.add("retry-after", RETRY_AFTER_SECONDS.to_owned());
            }
            Kind::Malformed
            | Kind::Denied
            | Kind::Upstream
            | Kind::Timeout
            | Kind::Integrity
            | Kind::Internal => reply.add("cache-control", "no-store".to_owned()),
        }
        reply.cache_status(&facts);
        if matches!(kind, Kind::Upstream | Kind::Timeout | Kind::Integrity | Kind::Internal)
            && let Some(said) = facts.attempt.and_then(Attempt::proxy_status)
        {
            reply.add("proxy-status", said);
        }
        let text = match passed_on {
            Some(text) => text.to_owned(),
            None => fitted(&fault.public(), &record.trace().trace_id()),
        };
        reply.text(text);
        reply
    }

    /// An absence that upstreams told. Where anybody would be told the same, anybody may keep it for a minute; an absence
    /// that depends on who asked, or how, is a fault like others.
    pub fn absence(permit: &Permit, absence: &Error, record: &Record) -> Self {
        let mut reply = Self::fault(absence, absence.passed_on().as_deref(), record);
        if permit.open() {
            reply.headers.retain(|(name, _)| !["cache-control", "vary"].contains(name));
            reply.add("cache-control", MINUTE.to_owned());
        }
        reply
    }

    /// What the framing rules refuse.
    pub fn refusal(refused: Refused, record: &Record) -> Self {
        let mut reply = Self::bare(refused.code(), record);
        reply.add("cache-control", "no-store".to_owned());
        if refused == Refused::Method {
            reply.add("allow", "GET, HEAD".to_owned());
        }
        reply.connection = refused.connection();
        reply.text(fitted(&refused.to_string(), &record.trace().trace_id()));
        reply
    }

    fn bare(code: Code, record: &Record) -> Self {
        let headers = vec![
            ("traceparent", record.trace().traceparent()),
            ("server-timing", record.server_timing()),
        ];
        Self { code, headers, body: Body::None, connection: Connection::Keep }
    }

    fn add(&mut self, name: &'static str, value: String) {
        self.headers.push((name, value));
    }

    fn text(&mut self, text: String) {
        self.add("content-type", "text/plain; charset=utf-8".to_owned());
        self.body = Body::Memory(Bytes::from(text));
    }

    fn closed(&mut self) {
        self.add("cache-control", CLOSED.to_owned());
        self.add("vary", "Authorization".to_owned());
    }

    fn unsatisfiable(mut self, len: u64) -> Self {
        self.code = Code::RangeNotSatisfiable;
        self.headers.retain(|(name, _)| !["cache-control", "vary"].contains(name));
        self.add("cache-control", "no-store".to_owned());
        self.add("content-range", format!("bytes */{len}"));
        self.body = Body::Memory(Bytes::new());
        self
    }

    /// By class: what anybody may read may be stored by anybody, for as long as it cannot change.
    fn caching(&mut self, permit: &Permit, facts: &Facts) {
        self.cache_status(facts);
        if !permit.open() {
            return self.closed();
        }
        let fresh = match permit.request() {
            Request::Module(asked) => match asked.artifact.mutability() {
                Mutability::Immutable => FOR_EVER,
                Mutability::Mutable => MINUTE,
            },
            Request::Sumdb(asked) => match &asked.ask {
                SumdbAsk::Tile(tile) if tile.width.is_none() => FOR_EVER,
                SumdbAsk::Tile(_) | SumdbAsk::Lookup { .. } => DAY,
                SumdbAsk::Supported | SumdbAsk::Latest => MINUTE,
            },
            Request::Own(_) | Request::Root => MINUTE,
        };
        self.add("cache-control", fresh.to_owned());
    }

    /// How the content was found (RFC 9211). Refusals touched no tier and say nothing.
    fn cache_status(&mut self, facts: &Facts) {
        let Some(found) = facts.cache else { return };
        let mut value = "modgate".to_owned();
        let said = match found {
            CacheResult::Hit | CacheResult::NegativeHit => match facts.tier {
                Some(tier) => write!(value, "; hit; detail={}", tier.text()),
                None => write!(value, "; hit"),
            },
            CacheResult::Stale => match facts.tier {
                Some(tier) => write!(value, "; hit; ttl=-1; detail={}", tier.text()),
                None => write!(value, "; hit; ttl=-1"),
            },
            CacheResult::Coalesced => write!(value, "; fwd=uri-miss; collapsed"),
            CacheResult::Bypass => write!(value, "; fwd=bypass"),
            CacheResult::Miss => match self.code {
                Code::Ok => write!(value, "; fwd=uri-miss; fwd-status=200; stored"),
                _ => write!(value, "; fwd=uri-miss"),
            },
        };
        if said.is_ok() {
            self.add("cache-status", value);
        }
    }
}

fn media_type(request: &Request) -> &'static str {
    match request {
        Request::Module(asked) => asked.artifact.media_type(),
        Request::Sumdb(_) => match request.endpoint() {
            Endpoint::SumdbTile => "application/octet-stream",
            _ => "text/plain; charset=utf-8",
        },
        Request::Own(_) | Request::Root => "text/plain; charset=utf-8",
    }
}

fn takes_ranges(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Zip | Endpoint::Mod | Endpoint::Info)
}

/// Weak comparison (RFC 9110, section 13.1.2): a list of tags, or `*`.
fn matches_tag(asked: &str, etag: &str) -> bool {
    asked.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// What a `Range` field comes to.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part { first: u64, last: u64 },
    Nothing,
}

/// One `bytes` range (RFC 9110, section 14.1.2). Several, other units, bad syntax or a stale `If-Range`: the whole.
fn wanted(conditions: &Conditions, etag: &str, len: u64) -> Wanted {
    let asked = conditions.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
    let fresh = conditions.if_range.as_deref().is_none_or(|tag| tag == etag);
    let Some((first, last)) = asked.filter(|_| fresh).and_then(|range| range.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let end = len.saturating_sub(1);
    match (first, last) {
        ("", suffix) if digits(suffix) => match suffix.parse().unwrap_or(u64::MAX) {
            0 => Wanted::Nothing,
            _ if len == 0 => Wanted::Nothing,
            count => Wanted::Part { first: len.saturating_sub(count), last: end },
        },
        (first, last) if digits(first) && (last.is_empty() || digits(last)) => {
            let first = first.parse().unwrap_or(u64::MAX);
            let last = if last.is_empty() { end } else { last.parse().unwrap_or(u64::MAX) };
            if last < first && last < end {
                return Wanted::Whole;
            }
            if first >= len { Wanted::Nothing } else { Wanted::Part { first, last: last.min(end) } }
        }
        _ => Wanted::Whole,
    }
}

/// Text as the `go` command prints it whole: 8 lines of 79 bytes, 640 bytes in all, no blank line, no control
/// character, and the trace last.
fn fitted(text: &str, trace: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| cut(&crate::audit::encode::plain(line), LINE_BYTES))
        .filter(|line| !line.trim().is_empty())
        .take(LINES - 1)
        .collect();
    lines.push(format!("trace {trace}"));
    while lines.iter().map(|line| line.len() + 1).sum::<usize>() > TEXT_BYTES && lines.len() > 2 {
        lines.remove(lines.len() - 2);
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn cut(line: &str, limit: usize) -> String {
    let mut kept = String::with_capacity(limit);
    for letter in line.chars() {
        if kept.len() + letter.len_utf8() > limit {
            break;
        }
        kept.push(letter);
    }
    kept
}

/// Nobody may keep what only this caller was shown to be allowed.
const CLOSED: &str = "private, no-store";
/// A version's info, go.mod and zip, and a full tile, are the same for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A lookup is signed with a tree that has grown since; a partial tile is part of a fuller one.
const DAY: &str = "public, max-age=86400";
/// New versions appear after it.
const MINUTE: &str = "public, max-age=60";
/// RFC 7617; the second challenge, Bearer, stands in a header line of its own.
const BASIC: &str = "Basic realm=\"go modules\", charset=\"UTF-8\"";
/// What stops us from answering safely is mostly over in seconds.
const RETRY_AFTER_SECONDS: &str = "5";
/// The go command shows eight lines.
const LINES: usize = 8;
/// Of 79 bytes, or it loses the last one.
const LINE_BYTES: usize = 79;
/// And 648 bytes, counting two before each line after the first.
const TEXT_BYTES: usize = 640;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(range: &str, len: u64) -> Wanted {
        let conditions = Conditions { range: Some(range.to_owned()), ..Conditions::default() };
        wanted(&conditions, "\"x\"", len)
    }

    #[test]
    fn a_range_is_a_part_the_whole_or_nothing() {
        assert_eq!(range("bytes=0-0", 10), Wanted::Part { first: 0, last: 0 });
        assert_eq!(range("bytes=3-", 10), Wanted::Part { first: 3, last: 9 });
        assert_eq!(range("bytes=3-99", 10), Wanted::Part { first: 3, last: 9 });
        assert_eq!(range("bytes=-4", 10), Wanted::Part { first: 6, last: 9 });
        assert_eq!(range("bytes=-40", 10), Wanted::Part { first: 0, last: 9 });
        assert_eq!(range("bytes=10-", 10), Wanted::Nothing);
        assert_eq!(range("bytes=-0", 10), Wanted::Nothing);
        assert_eq!(range("bytes=0-", 0), Wanted::Nothing);
        for whole in
            ["bytes=0-1,3-4", "lines=0-1", "bytes=5-3", "bytes=x-", "bytes=-", "bytes=+1-2"]
        {
            assert_eq!(range(whole, 10), Wanted::Whole, "{whole}");
        }
    }

    #[test]
    fn if_range_needs_the_strong_tag() {
        for (tag, part) in
            [("\"x\"", true), ("W/\"x\"", false), ("Sat, 01 Jan 2000 00:00:00 GMT", false)]
        {
            let conditions = Conditions {
                range: Some("bytes=0-1".to_owned()),
                if_range: Some(tag.to_owned()),
                if_none_match: None,
            };
            assert_eq!(wanted(&conditions, "\"x\"", 9) != Wanted::Whole, part, "{tag}");
        }
    }

    #[test]
    fn tags_are_compared_weakly_in_lists() {
        for (asked, matched) in
            [("*", true), ("\"x\"", true), ("W/\"x\"", true), ("\"a\", \"x\"", true), ("x", false)]
        {
            assert_eq!(matches_tag(asked, "\"x\""), matched, "{asked}");
        }
    }

    #[test]
    fn every_text_fits_what_go_prints_and_ends_with_the_trace() {
        let long = "é".repeat(60);
        let text = [long.as_str(); 12].join("\n\n");
        let fitted = fitted(&text, &"0".repeat(32));
        assert!(fitted.len() <= TEXT_BYTES && fitted.lines().count() <= LINES);
        assert!(fitted.lines().all(|line| line.len() <= LINE_BYTES && !line.is_empty()));
        assert!(fitted.trim_end().ends_with(&format!("trace {}", "0".repeat(32))));
    }

    #[test]
    fn no_fault_is_a_404() {
        for kind in Kind::ALL {
            let absent = matches!(kind, Kind::NotFound | Kind::Gone);
            assert_eq!(absent, matches!(code(kind), Code::NotFound | Code::Gone), "{kind:?}");
        }
    }
}
