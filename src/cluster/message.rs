//! What can be told, and how it is written.

use serde::Deserialize;
use serde::Serialize;

use crate::telemetry::labels::News;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Entries whose keys begin so are no longer good.
    Invalidate(String),
    /// The token with this id was taken back.
    TokenRevoked(String),
    /// Another policy is in force, by its revision.
    PolicyRevision(String),
    /// Something was told that this node did not hear.
    Missed,
}

/// As it stands in Redis. The format is stable; fields that are not known are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    v: u8,
    /// The process that told it.
    from: String,
    kind: String,
    what: String,
}

impl Message {
    /// Its label; a gap has none.
    pub fn news(&self) -> Option<News> {
        match self {
            Self::Invalidate(_) => Some(News::Invalidate),
            Self::TokenRevoked(_) => Some(News::TokenRevoked),
            Self::PolicyRevision(_) => Some(News::PolicyRevision),
            Self::Missed => None,
        }
    }

    pub(in crate::cluster) fn write(&self, from: &str) -> String {
        let (kind, what) = match self {
            Self::Invalidate(begin) => ("invalidate", begin.as_str()),
            Self::TokenRevoked(id) => ("token_revoked", id.as_str()),
            Self::PolicyRevision(revision) => ("policy_revision", revision.as_str()),
            Self::Missed => ("missed", ""),
        };
        let (from, kind, what) = (from.to_owned(), kind.to_owned(), what.to_owned());
        // four plain fields cannot fail to be written
        serde_json::to_string(&Line { v: 1, from, kind, what }).unwrap_or_default()
    }

    /// The message, and who told it; `None` if it is nothing that we know.
    pub(in crate::cluster) fn read(text: &str) -> Option<(Self, String)> {
        let line: Line = serde_json::from_str(text).ok().filter(|line: &Line| line.v == 1)?;
        let message = match line.kind.as_str() {
            "invalidate" => Self::Invalidate(line.what),
            "token_revoked" => Self::TokenRevoked(line.what),
            "policy_revision" => Self::PolicyRevision(line.what),
            _ => return None,
        };
        Some((message, line.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_and_what_is_none_is_skipped() {
        for message in [
            Message::Invalidate("example.com/\"lib\"/@".to_owned()),
            Message::TokenRevoked("0199-ab".to_owned()),
            Message::PolicyRevision("sha256:00".to_owned()),
        ] {
            let read = Message::read(&message.write("a node"));
            assert_eq!(read, Some((message, "a node".to_owned())));
        }
        let newer = "{\"v\":1,\"from\":\"n\",\"kind\":\"moon\",\"what\":\"\",\"more\":1}";
        for text in ["", "{}", "[1]", newer, &newer.replace("\"v\":1", "\"v\":2")] {
            assert_eq!(Message::read(text), None, "{text}");
        }
    }
}
