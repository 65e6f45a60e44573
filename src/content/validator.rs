//! By what an upstream knows an answer again, and which upstream that is.

use std::sync::Arc;

/// An entity tag (RFC 9110, section 8.8.3) and who gave it. What one upstream calls unchanged means nothing to another,
/// so the tag is handed out for sending only against the name of its giver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    giver: Arc<str>,
    tag: Arc<str>,
}

impl Validator {
    /// A tag, strong or weak, as it was sent; `None` if it is no tag, or longer than 256 bytes.
    pub fn new(giver: &str, tag: &str) -> Option<Self> {
        let quoted = tag.strip_prefix("W/").unwrap_or(tag);
        let opaque = quoted.strip_prefix('"')?.strip_suffix('"')?;
        let clean = opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let short = tag.len() <= LONGEST_TAG_BYTES;
        (clean && short).then(|| Self { giver: Arc::from(giver), tag: Arc::from(tag) })
    }

    /// What to send in `If-None-Match`, if the one who is about to be asked gave it.
    pub fn told_to(&self, asked: &str) -> Option<&str> {
        (*self.giver == *asked).then_some(&*self.tag)
    }

    /// Giver and tag, for whoever keeps them.
    pub fn parts(&self) -> (&str, &str) {
        (&self.giver, &self.tag)
    }
}

/// Tags are a hash or a counter; a longer one is not worth keeping beside a list.
const LONGEST_TAG_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_quoted_printable_and_short() {
        let longest = format!("\"{}\"", "x".repeat(254));
        for tag in ["\"\"", "\"a-1\"", "W/\"a-1\"", longest.as_str()] {
            assert!(Validator::new("one", tag).is_some(), "{tag}");
        }
        let longer = format!("\"{}\"", "x".repeat(255));
        for tag in
            ["", "\"", "a", "*", "w/\"a\"", "\"a", "\"a\"b\"", "\"a b\"", "\"\u{e9}\"", &longer]
        {
            assert_eq!(Validator::new("one", tag), None, "{tag}");
        }
    }

    #[test]
    fn a_tag_is_told_to_its_giver_only() {
        let validator = Validator::new("one", "W/\"a\"").unwrap();
        assert_eq!(validator.told_to("one"), Some("W/\"a\""));
        assert_eq!(validator.told_to("on"), None);
        assert_eq!(validator.told_to("two"), None);
    }
}
