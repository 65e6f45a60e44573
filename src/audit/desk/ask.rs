//! What somebody asks of a running gateway: a query string, read whole or refused with what to write.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::audit::desk::Unanswered;
use crate::audit::encode::cut;
use crate::audit::export::Format;
use crate::audit::filter::Filter;
use crate::audit::report::Question;
use crate::audit::report::RECORDS;
use crate::audit::stats::STATS;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Errand;
use crate::telemetry::record::Facts;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit::desk) enum Wanted {
    Records(Format),
    Stats,
    Report(Question),
}

/// What somebody asks.
#[derive(Debug, Clone)]
pub struct Ask {
    pub(in crate::audit::desk) wanted: Wanted,
    pub(in crate::audit::desk) list: BTreeSet<String>,
    /// What stands for a list that was not given.
    pub(in crate::audit::desk) rules: BTreeSet<String>,
    pub(in crate::audit::desk) filter: Filter,
    pub(in crate::audit::desk) limit: usize,
}

impl Observed for Ask {
    fn note(&self, facts: &mut Facts) {
        facts.asked = self.told();
    }
}

impl Ask {
    /// Reads a query string: `question` and `list` (as often as there are entries), or `format` of an export; `limit`, and the
    /// fields of a filter.
    pub fn parse(errand: Errand, query: &str, now: SystemTime) -> Result<Self, Unanswered> {
        let (mut word, mut limit) = (None, None);
        let (mut list, mut filter) = (BTreeSet::new(), Filter::default());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, errand) {
                ("list", Errand::Query) => {
                    list.insert(value.into_owned());
                }
                ("question", Errand::Query) => once(&mut word, "question", value.into_owned())?,
                ("format", Errand::Export) => once(&mut word, "format", value.into_owned())?,
                ("limit", _) => once(&mut limit, "limit", value.into_owned())?,
                (name, _) => {
                    let field = Filter::FIELDS.iter().find(|field| field.name == name);
                    let unknown = || Unanswered::Unknown(cut(name, NAME_BYTES), errand);
                    let field = field.ok_or_else(unknown)?;
                    if filter.given().any(|(given, _)| given == field.name) {
                        return Err(Unanswered::Twice(field.name));
                    }
                    let read = field.read(&value, now);
                    let read = read.map_err(|why| Unanswered::Value(field.name, why))?;
                    field.set(&mut filter, read);
                }
            }
        }
        let wanted = wanted(errand, word.as_deref())?;
        let limit = match limit {
            None if errand == Errand::Export => LIMIT,
            None => USUAL_LIMIT,
            Some(text) => text.parse().map_err(|_| Unanswered::Limit)?,
        };
        if limit == 0 || limit > LIMIT {
            return Err(Unanswered::Limit);
        }
        if list.len() > LIST {
            return Err(Unanswered::TooLong);
        }
        if list.is_empty() && matches!(wanted, Wanted::Report(question) if question.needs_list()) {
            return Err(Unanswered::List);
        }
        // whoever forgets it would take the answer for the whole truth, or read four hundred days
        if filter.from.is_none() {
            return Err(Unanswered::Since);
        }
        Ok(Self { wanted, list, rules: BTreeSet::new(), filter, limit })
    }

    /// The rules of the policy in force, where the question is about rules and names none: some left no record.
    #[must_use]
    pub fn about(mut self, rules: impl FnOnce() -> BTreeSet<String>) -> Self {
        let is_of_rules = matches!(self.wanted, Wanted::Report(question) if question.is_of_rules());
        if is_of_rules && self.list.is_empty() {
            self.rules = rules();
        }
        self
    }

    /// For the record of the question itself.
    pub(in crate::audit::desk) fn told(&self) -> Vec<(&'static str, String)> {
        let word = match self.wanted {
            Wanted::Records(Format::Jsonl) => RECORDS,
            Wanted::Records(format) => format.text(),
            Wanted::Stats => STATS,
            Wanted::Report(question) => question.text(),
        };
        let mut told = vec![("question", word.to_owned())];
        told.extend(self.filter.given().map(|(name, value)| (name, cut(value, TOLD_BYTES))));
        if !self.list.is_empty() {
            let list: Vec<_> = self.list.iter().map(String::as_str).collect();
            told.push(("list", cut(&list.join(" "), LIST_BYTES)));
        }
        told.push(("limit", self.limit.to_string()));
        told
    }
}

fn wanted(errand: Errand, word: Option<&str>) -> Result<Wanted, Unanswered> {
    match (errand, word) {
        (Errand::Query, None | Some(RECORDS)) | (Errand::Export, None) => {
            Ok(Wanted::Records(Format::Jsonl))
        }
        (Errand::Query, Some(STATS)) => Ok(Wanted::Stats),
        (Errand::Query, Some(word)) => {
            Question::parse(word).map(Wanted::Report).ok_or(Unanswered::Question)
        }
        (Errand::Export, Some(word)) => {
            let format = Format::ALL.iter().find(|format| format.text() == word);
            format.copied().map(Wanted::Records).ok_or(Unanswered::Format)
        }
    }
}

fn once(place: &mut Option<String>, name: &'static str, value: String) -> Result<(), Unanswered> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Unanswered::Twice(name)),
    }
}

/// The parameters that there are.
pub(in crate::audit::desk) fn names(errand: Errand) -> String {
    let own = match errand {
        Errand::Query => "question, list",
        Errand::Export => "format",
    };
    let fields: Vec<_> = Filter::FIELDS.iter().map(|field| field.name).collect();
    format!("{own}, limit, {}", fields.join(", "))
}

/// The questions that there are.
pub(in crate::audit::desk) fn words() -> String {
    let words: Vec<_> = Question::ALL.iter().map(|question| question.text()).collect();
    format!("{RECORDS}, {STATS}, {}", words.join(", "))
}

/// The formats that there are.
pub(in crate::audit::desk) fn formats() -> String {
    Format::ALL.map(Format::text).join(", ")
}

/// Rows that one question may ask for; a record is 8 KiB at most, and some 600 bytes mostly.
pub(in crate::audit::desk) const LIMIT: usize = 10_000;
const USUAL_LIMIT: usize = 1_000;
/// Principals or rules of one question.
pub(in crate::audit::desk) const LIST: usize = 200;
/// A value in the record of a question.
pub(in crate::audit::desk) const TOLD_BYTES: usize = 300;
const LIST_BYTES: usize = 2_000;
/// A parameter's name in an answer.
const NAME_BYTES: usize = 40;
