//! How a decision comes about: remembered, or made by Casbin over the rows that the index finds.

use std::sync::Arc;

use crate::goproxy::pattern;
use crate::goproxy::pattern::Case;
use crate::policy::index::Index;
use crate::policy::remembered::Decided;
use crate::policy::rule;
use crate::policy::rule::Action;
use crate::policy::rule::Asked;
use crate::policy::rule::Effect;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::policy::DecisionReason;

impl Snapshot {
    /// What the rows say, and whether that was remembered.
    pub(in crate::policy) fn decide(
        &self,
        subjects: &Arc<str>,
        question: Question<'_>,
    ) -> (Decided, bool) {
        let holds = |decided: &Decided| !decided.indexed || self.crosscheck.is_index_trusted();
        if let Some(decided) = self.remembered.get(subjects, question).filter(holds) {
            return (decided, true);
        }
        let decided = self.evaluate(subjects, question);
        self.crosscheck.sample(subjects, question, &decided);
        if decided.decision != Decision::Error {
            self.remembered.insert(subjects, question, decided.clone());
        }
        (decided, false)
    }

    /// Compares sampled decisions with Casbin over all rows; says how many differ. Blocking: some ten milliseconds each
    /// among ten thousand rows. A difference ends the use of the index until the next start, and of all that was
    /// remembered over it.
    pub(in crate::policy) fn crosscheck(&self) -> usize {
        let all: Vec<&Rule> = self.rules.iter().collect();
        self.crosscheck.drain(|sample| {
            let asked = self.asked(sample.question());
            self.engine.decide(&all, &sample.subjects, &asked) != Ok(sample.allowed)
        })
    }

    /// Casbin decides over what is shown to it of the candidates; an evaluation of ours names the row, and has to
    /// agree.
    fn evaluate(&self, subjects: &str, question: Question<'_>) -> Decided {
        let asked = self.asked(question);
        // asked once: whoever stops trusting the index meanwhile finds that this decision was made over it
        let indexed = self.crosscheck.is_index_trusted();
        let rows = self.candidates(indexed.then_some(&self.index), subjects, &asked);
        let applying = |effect| {
            rows.iter()
                .filter(move |(_, rule)| rule.effect == effect)
                .filter(|(_, rule)| rule.applies(subjects, &asked))
                .map(|(place, _)| *place)
        };
        let (deny, allow) = (applying(Effect::Deny).next(), applying(Effect::Allow).next());
        let shown: Vec<&Rule> = rows
            .iter()
            .filter(|(place, rule)| !indexed || is_shown(*place, rule.effect, deny, allow))
            .map(|(_, rule)| *rule)
            .collect();
        let allowed = match shown.as_slice() {
            [] => Ok(false),
            shown => self.engine.decide(shown, subjects, &asked),
        };
        let private = asked.module.starts_with("private ");
        let ours = deny.is_none() && allow.is_some();
        let (decision, reason, rule) = match allowed {
            Ok(theirs) if theirs != ours => {
                tracing::error!(
                    module = asked.module,
                    "two evaluations of the policy disagree: denied"
                );
                (Decision::Error, DecisionReason::PolicyError, None)
            }
            Err(error) => {
                tracing::error!(module = asked.module, %error, "the policy could not be evaluated: denied");
                (Decision::Error, DecisionReason::PolicyError, None)
            }
            Ok(true) => (Decision::Allow, DecisionReason::PolicyAllow, allow),
            Ok(false) if deny.is_some() => (Decision::Deny, DecisionReason::PolicyDeny, deny),
            Ok(false) => match self.above(subjects, &asked) {
                Some(place) => (Decision::Absent, DecisionReason::Ancestor, Some(place)),
                None => (Decision::Deny, DecisionReason::NoMatch, None),
            },
        };
        let gated = (decision == Decision::Allow && !self.gates.is_empty())
            .then(|| applying(Effect::Allow).collect::<Vec<usize>>())
            .filter(|allows| allows.iter().any(|place| !self.gates.of(*place).is_empty()))
            .map(|mut allows| {
                allows.retain(|place| self.confirms(&rows, *place, subjects, &asked));
                Arc::from(allows)
            });
        Decided { decision, reason, rule, gated, private, indexed }
    }

    /// Whether Casbin allows it by one row, whatever other rows allow: under conditions it may be the only one left.
    fn confirms(&self, rows: &[(usize, &Rule)], row: usize, subjects: &str, asked: &Asked) -> bool {
        let shown =
            rows.iter().filter(|(place, rule)| rule.effect == Effect::Deny || *place == row);
        let shown: Vec<&Rule> = shown.map(|(_, rule)| *rule).collect();
        self.engine.decide(&shown, subjects, asked) == Ok(true)
    }

    /// Rows that could apply, with their places, in the order of the files; all rows without an index.
    fn candidates(
        &self,
        index: Option<&Index>,
        subjects: &str,
        asked: &Asked,
    ) -> Vec<(usize, &Rule)> {
        let Some(index) = index else { return self.rules.iter().enumerate().collect() };
        let places = index.candidates(asked).into_iter();
        places
            .filter_map(|place| Some((place, self.rules.get(place)?)))
            .filter(|(_, rule)| rule.concerns(subjects, asked))
            .collect()
    }

    /// The row above whose pattern the path lies, if the caller may read that: of several, a private one, because its
    /// answer keeps the client from asking others for names below.
    fn above(&self, subjects: &str, asked: &Asked) -> Option<usize> {
        if !matches!(asked.action, Action::List | Action::Download) {
            return None;
        }
        let reads = |rule: &Rule| {
            rule.grants_reading()
                && rule::subject_in(subjects, &rule.subject)
                && rule.prefix().is_some_and(|prefix| {
                    pattern::is_strict_ancestor(prefix, asked.name(), Case::Exact)
                        && !self.denies(subjects, prefix)
                })
        };
        let places = self.ancestors.candidates(asked.name());
        let mut found =
            places.into_iter().filter(|place| self.rules.get(*place).is_some_and(&reads));
        let first = found.next()?;
        let private = |place: &usize| self.private_rules.contains(place);
        std::iter::once(first).chain(found).find(private).or(Some(first))
    }

    /// Whether a deny row takes everything back that a pattern would give.
    fn denies(&self, subjects: &str, pattern: &str) -> bool {
        let asked = self.asked(Question { name: pattern, version: "", action: Action::List });
        self.about(pattern)
            .any(|(_, rule)| rule.effect == Effect::Deny && rule.applies(subjects, &asked))
    }
}

/// Whether Casbin is shown a row, given the first deny and the first allow row that apply by our evaluation.
///
/// An allowed request: the allow row that says so and every deny row that could object. A denied one: the deny row, and
/// the allow row that it overrules. One about which no row says anything: all. What is left out cannot change Casbin's
/// answer: one allow row that applies counts as much as twelve, and so does one deny row. Where our evaluation is
/// wrong about a row that is shown, Casbin's answer differs, and nothing is allowed.
fn is_shown(place: usize, effect: Effect, deny: Option<usize>, allow: Option<usize>) -> bool {
    match (effect, deny, allow) {
        (_, None, None) | (Effect::Deny, None, Some(_)) => true,
        (Effect::Deny, Some(_), _) => deny == Some(place),
        (Effect::Allow, _, _) => allow == Some(place),
    }
}
