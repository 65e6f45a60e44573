//! What a node tells other nodes of its log, and what they make of it: each step leads from one checkpoint to the next.
//!
//! A witness believes the first key that a node shows (there is nobody else to ask), and from then on that one only; a new
//! key is believed if the one before signed with it. It signs a checkpoint if the step begins at the checkpoint that it
//! signed last and ends at the new one. If it was away, so that steps are missing, it begins anew and says so; the older
//! note is kept, and `modgate audit verify --checkpoints` compares it with the records. It never begins anew with a log
//! that it has seen to be another than it was: that is for people to look at.

use serde::Deserialize;
use serde::Serialize;

use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note;
use crate::tlog::note::Note;
use crate::tlog::note::Signer;
use crate::tlog::note::Verifier;
use crate::tlog::tree::Growth;

/// From one checkpoint to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The key that signs from now on.
    pub key: Verifier,
    /// The signed checkpoint at its end.
    pub note: String,
    /// What came in between.
    pub growth: Growth,
}

/// A step on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The step.
    pub step: Step,
    /// Whether it is of the boot before, which may have told it.
    pub again: bool,
}

/// As it is told. Fields that are not known are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    v: u8,
    key: String,
    note: String,
    growth: String,
}

impl Step {
    /// One line of JSON.
    pub fn write(&self) -> String {
        let Self { key, note, growth } = self;
        let (key, growth) = (key.to_string(), growth.to_string());
        let line = Line { v: VERSION, key, note: note.clone(), growth };
        // a struct of texts cannot fail
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads what [`Step::write`] writes; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(text).ok().filter(|line: &Line| line.v == VERSION)?;
        let key = Verifier::parse(&line.key).ok()?;
        Some(Self { key, note: line.note, growth: Growth::parse(&line.growth)? })
    }
}

/// What a witness remembers of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The key that signs.
    pub key: String,
    /// The newest note, cosigned.
    pub note: String,
}

/// What a witness makes of a step that it believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The log grew from what was signed before.
    Grown(Known),
    /// It is the first step that is known of this log.
    First(Known),
    /// Steps in between were not heard: whether the log grew from what was signed before is not known.
    Anew(Known),
    /// It ends where the last one ended: told once more.
    Repeated,
}

/// Why a witness does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The note is none, or is not signed by the key that is shown.
    #[error("the checkpoint is not signed by the key it comes with")]
    Unsigned,
    /// It is signed by another key than before, and not by that one too.
    #[error("the checkpoint is signed by a key that the former one did not hand over to")]
    Stranger,
    /// It is about another log.
    #[error("the checkpoint is about another log")]
    Origin,
    /// Its numbers do not lead from one root to the other.
    #[error("the step does not lead to the checkpoint it comes with")]
    Astray,
    /// There are fewer records than were signed before.
    #[error(
        "the log is shorter than it was: {before} records were signed before, now it has {now}"
    )]
    Shorter {
        /// Records that were signed.
        before: u64,
        /// Records that are left.
        now: u64,
    },
    /// The records that were signed before are others now.
    #[error("records that were signed before are others now, among the first {0}")]
    Rewritten(u64),
}

impl Refused {
    /// Whether the log itself, under its own key, is not what was signed: no later step makes up for that.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Shorter { .. } | Self::Rewritten(_))
    }
}

/// Looks at a step of the log called `origin`; signs its checkpoint if it leads on from what is known.
pub fn judge(
    known: Option<&Known>,
    origin: &str,
    step: &Step,
    witness: &Signer,
) -> Result<Seen, Refused> {
    let note = Note::parse(&step.note).map_err(|_| Refused::Unsigned)?;
    if !note.is_signed_by(&step.key) {
        return Err(Refused::Unsigned);
    }
    let told = Checkpoint::parse(&note.text).ok_or(Refused::Unsigned)?;
    if told.origin != origin || step.key.name() != origin {
        return Err(Refused::Origin);
    }
    let after = step.growth.after().ok_or(Refused::Astray)?;
    if (after.size(), after.root()) != (told.size, told.root) {
        return Err(Refused::Astray);
    }
    let cosigned = Known { key: step.key.to_string(), note: note::cosign(&step.note, witness) };
    let Some(known) = known else { return Ok(Seen::First(cosigned)) };
    let handed_over = || Verifier::parse(&known.key).is_ok_and(|former| note.is_signed_by(&former));
    if known.key != cosigned.key && !handed_over() {
        return Err(Refused::Stranger);
    }
    let signed = Note::parse(&known.note).ok().and_then(|note| Checkpoint::parse(&note.text));
    let Some(signed) = signed else { return Ok(Seen::Anew(cosigned)) };
    if (told.size, told.root) == (signed.size, signed.root) {
        return Ok(Seen::Repeated);
    }
    let before = step.growth.before();
    if before.size() > signed.size {
        return Ok(Seen::Anew(cosigned));
    }
    if (before.size(), before.root()) == (signed.size, signed.root) {
        return Ok(Seen::Grown(cosigned));
    }
    if told.size < signed.size {
        return Err(Refused::Shorter { before: signed.size, now: told.size });
    }
    Err(Refused::Rewritten(signed.size))
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::tree;
    use crate::tlog::tree::Edge;

    const ORIGIN: &str = "modgate/gw-1";

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(ORIGIN, [seed; 32]).unwrap()
    }

    fn witness() -> Signer {
        Signer::from_seed("gw-2", [9; 32]).unwrap()
    }

    fn edge(records: &[&str]) -> Edge {
        let mut edge = Edge::default();
        for record in records {
            edge.push(tree::leaf(record.as_bytes()));
        }
        edge
    }

    /// A step of a log from its first `from` records to all of them.
    fn step(records: &[&str], from: usize, signers: &[Signer]) -> Step {
        let mut growth = Growth::of(edge(&records[..from]));
        for record in &records[from..] {
            growth.push(tree::leaf(record.as_bytes()));
        }
        let all = edge(records);
        let told = Checkpoint { origin: ORIGIN.to_owned(), size: all.size(), root: all.root() };
        let note = note::sign(&told.to_string(), signers);
        Step { key: signers.last().unwrap().verifier().clone(), note, growth }
    }

    fn known(seen: Result<Seen, Refused>) -> Known {
        match seen {
            Ok(Seen::Grown(known) | Seen::First(known) | Seen::Anew(known)) => known,
            Ok(Seen::Repeated) => panic!("told once more"),
            Err(refused) => panic!("{refused}"),
        }
    }

    #[test]
    fn a_log_that_grows_is_signed_and_any_other_is_refused_with_its_reason() {
        let (old, witness) = ([signer(1)], witness());
        let first = step(&["a", "b", "c"], 0, &old);
        assert_eq!(Step::read(&first.write()), Some(first.clone()));
        let three = known(judge(None, ORIGIN, &first, &witness));
        let note = Note::parse(&three.note).unwrap();
        assert!(note.is_signed_by(witness.verifier()) && note.is_signed_by(old[0].verifier()));
        let judge = |step: &Step| judge(Some(&three), ORIGIN, step, &witness);
        let all = ["a", "b", "c", "d", "e"];
        assert!(matches!(judge(&step(&all, 3, &old)), Ok(Seen::Grown(_))));
        assert_eq!(judge(&step(&["a", "b", "c"], 1, &old)), Ok(Seen::Repeated));
        assert!(matches!(judge(&step(&all, 4, &old)), Ok(Seen::Anew(_))));
        let rewritten = Err(Refused::Rewritten(3));
        assert_eq!(judge(&step(&["a", "x", "c", "d"], 3, &old)), rewritten);
        assert_eq!(judge(&step(&["a", "b", "x", "d"], 2, &old)), rewritten);
        let shorter = Err(Refused::Shorter { before: 3, now: 2 });
        assert_eq!(judge(&step(&["a", "b"], 1, &old)), shorter);
        let astray = Step { growth: first.growth.clone(), ..step(&all, 3, &old) };
        assert_eq!(judge(&astray), Err(Refused::Astray));
        let other = Step { key: signer(2).verifier().clone(), ..step(&all, 3, &old) };
        assert_eq!(judge(&other), Err(Refused::Unsigned));
        assert_eq!(judge(&Step { note: "words".to_owned(), ..other }), Err(Refused::Unsigned));
        assert_eq!(super::judge(None, "modgate/gw-3", &first, &witness), Err(Refused::Origin));
    }

    #[test]
    fn a_new_key_is_believed_only_if_the_one_before_hands_over() {
        let witness = witness();
        let first = known(judge(None, ORIGIN, &step(&["a"], 0, &[signer(1)]), &witness));
        let alone = step(&["a", "b"], 1, &[signer(2)]);
        assert_eq!(judge(Some(&first), ORIGIN, &alone, &witness), Err(Refused::Stranger));
        let both = step(&["a", "b"], 1, &[signer(1), signer(2)]);
        let second = known(judge(Some(&first), ORIGIN, &both, &witness));
        let next = step(&["a", "b", "c"], 2, &[signer(2)]);
        assert!(matches!(judge(Some(&second), ORIGIN, &next, &witness), Ok(Seen::Grown(_))));
        let back = step(&["a", "b", "c"], 2, &[signer(1)]);
        assert_eq!(judge(Some(&second), ORIGIN, &back, &witness), Err(Refused::Stranger));
    }

    #[test]
    fn what_is_no_step_is_none() {
        let text = step(&["a"], 0, &[signer(1)]).write();
        for bad in ["", "{}", &text.replace("\"v\":1", "\"v\":2"), &text.replace("0 / ", "1 / ")] {
            assert_eq!(Step::read(bad), None, "{bad}");
        }
    }
}
