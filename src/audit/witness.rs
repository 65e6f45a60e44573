//! A witness: somebody on another machine who signs a node's checkpoint as well, and only if the log grew from the last one
//! they signed. A log that was rewritten, or put back, gets no signature any more.
//!
//! The witness of this file reads the records themselves, from a copy or a shared directory, so it needs no proof: the tree
//! is computed again, and the last note it signed must be on its way. Other gateways have no records; what they are told
//! instead is a [`step`].

pub mod register;
pub mod step;

use std::io;

use crate::audit::prove;
use crate::audit::verify;
use crate::audit::verify::Report;
use crate::audit::verify::Subject;
use crate::tlog::note;
use crate::tlog::note::Signer;

/// Why a witness does not sign.
#[derive(Debug, thiserror::Error)]
pub enum Unwitnessed {
    /// A file cannot be read.
    #[error("the log cannot be read: {0}")]
    File(#[from] io::Error),
    /// The log is not what it was.
    #[error("the log of {} is not what was signed before, or is signed by nobody", .0.node)]
    Changed(Box<Report>),
}

/// The newest checkpoint with the witness's signature beside the node's. `subject.kept` holds the note signed before.
pub fn cosign(subject: &Subject, witness: &Signer) -> Result<String, Unwitnessed> {
    let report = verify::verify(subject, &mut |_| ())?;
    if report.exit_code() != 0 {
        return Err(Unwitnessed::Changed(Box::new(report)));
    }
    match prove::covering(&subject.directories, &subject.node, report.signed)? {
        Some((_, newest)) => Ok(note::cosign(&newest, witness)),
        None => Err(Unwitnessed::Changed(Box::new(report))),
    }
}
