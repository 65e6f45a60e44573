//! What can be told, and how it is written.

use serde::Deserialize;
use serde::Serialize;

use crate::telemetry::labels::News;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Entries whose keys begin so are no longer good.
    Invalidate(String),
    /// A token was taken back.
    TokenRevoked {
        /// SHA-256 of the token, in hex.
        sha256: String,
        /// When it would have expired, in seconds since 1970.
        expires: u64,
    },
    /// An emergency deny was given or lifted: as the policy's own words tell it.
    Deny(String),
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
            Self::TokenRevoked { .. } => Some(News::TokenRevoked),
            Self::Deny(_) => Some(News::Deny),
            Self::PolicyRevision(_) => Some(News::PolicyRevision),
            Self::Missed => None,
        }
    }

    /// Whether it concerns also a node that starts later: what was taken away stays so.
    pub(in crate::cluster) fn lasts(&self) -> bool {
        matches!(self, Self::TokenRevoked { .. } | Self::Deny(_))
    }

    pub(in crate::cluster) fn write(&self, from: &str) -> String {
        let (kind, what) = match self {
            Self::Invalidate(begin) => ("invalidate", begin.clone()),
            Self::TokenRevoked { sha256, expires } => {
                ("token_revoked", format!("{sha256} {expires}"))
            }
            Self::Deny(told) => ("deny", told.clone()),
            Self::PolicyRevision(revision) => ("policy_revision", revision.clone()),
            Self::Missed => ("missed", String::new()),
        };
        let (from, kind) = (from.to_owned(), kind.to_owned());
        // four plain fields cannot fail to be written
        serde_json::to_string(&Line { v: 1, from, kind, what }).unwrap_or_default()
    }

    /// The message, and who told it; `None` if it is nothing that we know.
    pub(in crate::cluster) fn read(text: &str) -> Option<(Self, String)> {
        let line: Line = serde_json::from_str(text).ok().filter(|line: &Line| line.v == 1)?;
        let message = match line.kind.as_str() {
            "invalidate" => Self::Invalidate(line.what),
            "token_revoked" => {
                let (sha256, expires) = line.what.split_once(' ')?;
                let (sha256, expires) = (sha256.to_owned(), expires.parse().ok()?);
                Self::TokenRevoked { sha256, expires }
            }
            "deny" => Self::Deny(line.what),
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
            Message::TokenRevoked { sha256: "00ab".to_owned(), expires: 1_900_000_000 },
            Message::Deny("{\"id\":\"deny-1\"}".to_owned()),
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
