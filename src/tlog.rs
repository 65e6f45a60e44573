//! # Transparency logs: trees, notes and checkpoints
//!
//! **Question.** How can somebody who holds forty bytes tell whether a log of millions of lines was changed?
//!
//! **Rule.** The lines are the leaves of a Merkle tree as RFC 6962 defines it ([`tree`]). Its root and size, signed, are a
//! checkpoint ([`checkpoint`]): the text of a signed note ([`note`]) in the format of Go's checksum database
//! (C2SP signed-note and tlog-checkpoint), so verifiers exist that are not ours.
//!
//! **What it refuses.** A note without its blank line, with a control character, or over 64 KiB; a signature by a key
//! nobody named; a proof that is too long, too short, or leads to another root.
//!
//! **How it fails.** Formats only: no file, no clock, no network. Every function is total on any bytes.
//!
//! **Why not a library.** The crates `signed_note` and `tlog_tiles` were tried: both bring a second implementation of
//! Ed25519 and of randomness (`ed25519-dalek`, `rand_core` 0.6), and this house has one provider. `tlog_tiles` also has no
//! tree that grows one leaf at a time and continues after a restart, which is what an audit log does all day.

pub mod checkpoint;
pub mod note;
pub mod tree;
