//! Signed notes, in the format of Go's checksum database (C2SP signed-note), with Ed25519 keys in Go's own notation.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::signature::ED25519;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use sha2::Sha256;

/// Why a key or a note cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A key is not `NAME+HASH+BASE64`.
    #[error("it is no verifier key: write NAME+HASH+KEY, as modgate audit key prints it")]
    Verifier,
    /// A key is not `PRIVATE+KEY+NAME+HASH+BASE64`.
    #[error("it is no signer key of the form PRIVATE+KEY+NAME+HASH+KEY")]
    Signer,
    /// A note is not text, a blank line, and signature lines.
    #[error("it is no signed note")]
    Note,
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    hash: [u8; 4],
    public: [u8; 32],
}

impl Verifier {
    fn new(name: &str, public: [u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        hash.update([b'\n', ED25519_ALGORITHM]);
        hash.update(public);
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = digest;
        Self { name: name.to_owned(), hash: [a, b, c, d], public }
    }

    /// From `NAME+HASH+BASE64`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, hash, key) = parts(text).ok_or(NoteError::Verifier)?;
        let found = Self::new(name, key);
        if hex(found.hash) == hash { Ok(found) } else { Err(NoteError::Verifier) }
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_ALGORITHM], self.public.as_slice()].concat();
        write!(out, "{}+{}+{}", self.name, hex(self.hash), STANDARD.encode(key))
    }
}

/// A key that signs.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
    seed: [u8; 32],
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "signer {}", self.verifier)
    }
}

impl Signer {
    /// From 32 random bytes.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, NoteError> {
        let fits = !name.is_empty() && !name.contains('+') && !name.contains(char::is_whitespace);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoteError::Signer)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Signer)?;
        let verifier = Verifier::new(name, public);
        if fits { Ok(Self { pair, verifier, seed }) } else { Err(NoteError::Signer) }
    }

    /// From `PRIVATE+KEY+NAME+HASH+BASE64`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.strip_prefix(PRIVATE).ok_or(NoteError::Signer)?;
        let (name, hash, seed) = parts(rest).ok_or(NoteError::Signer)?;
        let signer = Self::from_seed(name, seed)?;
        if hex(signer.verifier.hash) == hash { Ok(signer) } else { Err(NoteError::Signer) }
    }

    /// The key as text: a secret.
    pub fn secret_text(&self) -> String {
        let key = [&[ED25519_ALGORITHM], self.seed.as_slice()].concat();
        let Verifier { name, hash, .. } = &self.verifier;
        format!("{PRIVATE}{name}+{}+{}", hex(*hash), STANDARD.encode(key))
    }

    /// The key that verifies what this one signs.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    fn line(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let bytes = [self.verifier.hash.as_slice(), signature.as_ref()].concat();
        format!("{DASH} {} {}\n", self.verifier.name, STANDARD.encode(bytes))
    }
}

/// A note: a text, which ends with a line break, and a signature by each signer.
pub fn sign<'a>(text: &str, signers: impl IntoIterator<Item = &'a Signer>) -> String {
    let mut note = format!("{text}\n");
    for signer in signers {
        note.push_str(&signer.line(text));
    }
    note
}

/// A signed note with one more signature.
pub fn cosign(note: &str, signer: &Signer) -> String {
    let text = note.rfind("\n\n").and_then(|at| note.get(..=at)).unwrap_or_default();
    format!("{note}{}", signer.line(text))
}

/// A note that was read; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed, with its last line break.
    pub text: String,
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

impl Note {
    /// Reads a note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let hostile = note.chars().any(|c| c < '\u{20}' && c != '\n');
        let split = note.rfind("\n\n").filter(|_| !hostile && note.len() <= LARGEST_BYTES);
        let (text, lines) =
            split.and_then(|at| note.split_at_checked(at + 1)).ok_or(NoteError::Note)?;
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let signatures = lines.ok_or(NoteError::Note)?.split('\n').map(signature);
        let signatures: Option<Vec<_>> = signatures.collect();
        Ok(Self { text: text.to_owned(), signatures: signatures.ok_or(NoteError::Note)? })
    }

    /// Whether a key signed it.
    pub fn is_signed_by(&self, key: &Verifier) -> bool {
        self.signatures.iter().any(|(name, hash, bytes)| {
            *name == key.name
                && *hash == key.hash
                && UnparsedPublicKey::new(&ED25519, key.public)
                    .verify(self.text.as_bytes(), bytes)
                    .is_ok()
        })
    }

    /// The name and hash of each key that is said to have signed.
    pub fn signers(&self) -> impl Iterator<Item = String> {
        self.signatures.iter().map(|(name, hash, _)| format!("{name}+{}", hex(*hash)))
    }
}

fn signature(line: &str) -> Option<(String, [u8; 4], Vec<u8>)> {
    let (name, key) = line.strip_prefix(DASH)?.strip_prefix(' ')?.split_once(' ')?;
    let bytes = STANDARD.decode(key).ok()?;
    let (hash, signature) = bytes.split_first_chunk()?;
    (!name.is_empty() && !signature.is_empty())
        .then(|| (name.to_owned(), *hash, signature.to_vec()))
}

/// The notes of a text that holds one after the other.
pub fn split(text: &str) -> Vec<&str> {
    let (mut notes, mut start, mut at, mut signed) = (Vec::new(), 0, 0, false);
    for line in text.split_inclusive('\n') {
        let is_signature = line.starts_with(DASH);
        if signed && !is_signature {
            notes.extend(text.get(start..at));
            start = at;
        }
        signed = is_signature;
        at += line.len();
    }
    notes.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    notes
}

fn parts(text: &str) -> Option<(&str, &str, [u8; 32])> {
    let (name, rest) = text.trim().split_once('+')?;
    let (hash, key) = rest.split_once('+')?;
    let bytes = STANDARD.decode(key).ok()?;
    let (algorithm, key) = bytes.split_first()?;
    let fits = *algorithm == ED25519_ALGORITHM && !name.is_empty();
    key.try_into().ok().filter(|_| fits).map(|key| (name, hash, key))
}

fn hex(bytes: [u8; 4]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // writing to a string cannot fail
        let _written = write!(text, "{byte:02x}");
    }
    text
}

const ED25519_ALGORITHM: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";
/// An em dash begins each signature line.
const DASH: &str = "\u{2014}";
/// Larger ones are no checkpoints.
const LARGEST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &str = include_str!("../../tests/fixtures/vectors/sumdb/keys.txt");
    const OTHER: &str = include_str!("../../tests/fixtures/vectors/sumdb/other_key.txt");
    const HEADS: [&str; 3] = [
        include_str!("../../tests/fixtures/vectors/sumdb/latest-1"),
        include_str!("../../tests/fixtures/vectors/sumdb/latest-300"),
        include_str!("../../tests/fixtures/vectors/sumdb/latest-70000"),
    ];

    fn keys() -> (Verifier, Signer) {
        let mut lines = KEYS.lines();
        let verifier = Verifier::parse(lines.next().unwrap()).unwrap();
        (verifier, Signer::parse(lines.next().unwrap()).unwrap())
    }

    #[test]
    fn heads_signed_by_go_verify_and_are_signed_again_to_the_same_bytes() {
        let (verifier, signer) = keys();
        assert_eq!(signer.verifier(), &verifier);
        assert_eq!(KEYS, format!("{verifier}\n{}\n", signer.secret_text()));
        let other = Verifier::parse(OTHER).unwrap();
        for head in HEADS {
            let note = Note::parse(head).unwrap();
            assert!(note.is_signed_by(&verifier) && !note.is_signed_by(&other));
            assert_eq!(sign(&note.text, [&signer]), *head);
            let stranger = Signer::from_seed("other", [3; 32]).unwrap();
            let both = Note::parse(&cosign(head, &stranger)).unwrap();
            assert!(both.is_signed_by(&verifier) && both.is_signed_by(stranger.verifier()));
        }
        assert_eq!(split(&HEADS.concat()), HEADS);
    }

    #[test]
    fn a_changed_note_is_signed_by_nobody() {
        let (verifier, _) = keys();
        let changed = HEADS[1].replacen("\n300\n", "\n301\n", 1);
        assert!(!Note::parse(&changed).unwrap().is_signed_by(&verifier));
        let hyphen = HEADS[1].replace(DASH, "-");
        let no_blank = HEADS[1].replace("\n\n", "\n");
        let control = HEADS[1].replace("go.sum", "go.\u{7}sum");
        for bad in [hyphen, no_blank, control, String::new(), HEADS[1].trim_end().to_owned()] {
            assert_eq!(Note::parse(&bad), Err(NoteError::Note), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,200}", lines in "(— [a-z/]{1,5} [A-Za-z0-9+/=]{0,12}\n){0,3}") {
            let _read = Note::parse(&text);
            let _read = Note::parse(&format!("{text}\n\n{lines}"));
            let _key = (Verifier::parse(&text), Signer::parse(&format!("PRIVATE+KEY+{text}")).is_ok());
            prop_assert_eq!(split(&text).concat(), text);
        }
    }
}
