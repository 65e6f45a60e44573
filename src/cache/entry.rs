//! What a tier holds under a key: verified content or a remembered absence, since when, and for how long it is fresh.

use crate::cache::Absence;
use crate::content::validator::Validator;
use crate::sumdb::Verified;

/// One answer as a tier holds it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The answer.
    pub held: Held,
    /// When it was fetched or found unchanged, in seconds since 1970.
    pub stored: u64,
    /// For how many seconds from then on it is fresh, if it can change.
    pub life: u64,
    /// The token of the lease under which it was fetched; 0 if there was none. An entry never replaces one with a
    /// higher token in a tier that nodes share.
    pub fence: u64,
    /// By what its upstream knows it again, if that said so and the content can change.
    pub validator: Option<Validator>,
}

/// The two things worth remembering.
#[derive(Debug, Clone)]
pub enum Held {
    /// Content that passed verification.
    Content(Verified),
    /// A 404 or 410.
    Absence(Absence),
}

impl Entry {
    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> u64 {
        let body = match &self.held {
            Held::Content(verified) => verified.content().len(),
            Held::Absence(absence) => absence.text.as_ref().map_or(0, |text| text.len() as u64),
        };
        let known = self.validator.as_ref().map_or(0, |known| known.parts().1.len() as u64);
        body + known + OVERHEAD_BYTES
    }
}

/// Key, sums and bookkeeping of one entry, roughly.
const OVERHEAD_BYTES: u64 = 512;
