//! Tells whoever keeps copies elsewhere how the log grew. Nobody is waited for: what cannot be handed over yet becomes part
//! of the next step.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::audit::witness::step::Step;
use crate::audit::witness::step::Told;
use crate::tlog::note::Note;
use crate::tlog::note::Signer;
use crate::tlog::tree::Edge;
use crate::tlog::tree::Growth;
use crate::tlog::tree::Hash;

/// Hands steps over, as long as somebody takes them.
pub(in crate::audit::writer) struct Teller {
    to: Option<mpsc::Sender<Told>>,
    growth: Growth,
}

impl Teller {
    pub(in crate::audit::writer) fn new(to: mpsc::Sender<Told>) -> Self {
        Self { to: Some(to), growth: Growth::default() }
    }

    /// Begins where the boot before ended, with the steps that it may not have told and what grew since.
    pub(in crate::audit::writer) fn begin(
        &mut self,
        before: Vec<(String, Growth)>,
        growth: Growth,
        signers: &[Signer],
    ) {
        self.growth = growth;
        let signed = |note: &str| {
            let note = Note::parse(note).ok()?;
            signers.iter().rev().map(Signer::verifier).find(|key| note.is_signed_by(key)).cloned()
        };
        let skipped = before.len().saturating_sub(TOLD_AGAIN);
        for (note, growth) in before.into_iter().skip(skipped) {
            if let Some(key) = signed(&note) {
                self.tell(Told { step: Step { key, note, growth }, again: true });
            }
        }
    }

    /// Takes a leaf that the tree has got.
    pub(in crate::audit::writer) fn push(&mut self, leaf: Hash) {
        if self.to.is_some() {
            self.growth.push(leaf);
        }
    }

    /// Tells a checkpoint over the tree whose edge this is.
    pub(in crate::audit::writer) fn checkpoint(
        &mut self,
        edge: &Edge,
        note: &str,
        signers: &[Signer],
    ) {
        let Some(signer) = signers.last().filter(|_| self.to.is_some()) else { return };
        let (key, growth) = (signer.verifier().clone(), self.growth.clone());
        if self.tell(Told { step: Step { key, note: note.to_owned(), growth }, again: false }) {
            self.growth = Growth::of(edge.clone());
        }
    }

    fn tell(&mut self, told: Told) -> bool {
        match self.to.as_ref().map(|to| to.try_send(told)) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_))) => false,
            Some(Err(TrySendError::Closed(_))) | None => {
                self.to = None;
                false
            }
        }
    }
}

/// An hour of checkpoints, by default.
const TOLD_AGAIN: usize = 360;
