//! The name of an answer: readable, stable across releases, and different for different requests.

use std::fmt;

use crate::content::Sum;
use crate::goproxy::artifact::Mutability;
use crate::goproxy::request::ModuleRequest;
use crate::goproxy::request::Request;
use crate::goproxy::request::Routes;

/// A cache key: the module's escaped path, `/@v/` or `/@latest`, and the escaped version with its suffix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    text: String,
    mutability: Mutability,
}

impl Key {
    /// The key of a request.
    pub fn of(request: &ModuleRequest) -> Self {
        let (path, artifact) = (request.path.escaped(), &request.artifact);
        let text = match artifact.asked_version_escaped() {
            None if artifact.word() == "latest" => format!("{path}/@latest"),
            None => format!("{path}/@v/list"),
            Some(version) => format!("{path}/@v/{version}.{}", artifact.word()),
        };
        Self { text, mutability: artifact.mutability() }
    }

    /// The key that a text is; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        match Request::parse(&format!("/{text}"), &Routes::new("/", Vec::new())) {
            Ok(Request::Module(asked)) => Some(Self::of(&asked)).filter(|key| key.text == text),
            Ok(_) | Err(_) => None,
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the answer can change.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    /// Whether the answer is one of those that are small: anything but a zip.
    pub fn is_small(&self) -> bool {
        self.mutability == Mutability::Mutable || self.text.rsplit('.').next() != Some("zip")
    }

    /// The key as elements of a path in a store: readable where a store can hold it, hashed where an element is
    /// too long or holds a byte that some store treats specially.
    pub fn elements(&self) -> Vec<String> {
        let plain = |element: &str| {
            let fits = element.len() <= ELEMENT_LIMIT_BYTES;
            fits && element.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!@+".contains(&b))
        };
        if self.text.len() <= KEY_LIMIT_BYTES && self.text.split('/').all(plain) {
            return self.text.split('/').map(str::to_owned).collect();
        }
        let hex = Sum::of(self.text.as_bytes()).to_string();
        vec!["hashed".to_owned(), hex]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// File systems take names of 255 bytes; a store may add a suffix while it writes.
const ELEMENT_LIMIT_BYTES: usize = 200;

/// Object stores take keys of 1,024 bytes, and ours stand below a prefix.
const KEY_LIMIT_BYTES: usize = 800;
