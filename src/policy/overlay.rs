//! Emergency denies: rows that an operator puts over the reviewed files within a second. They only take away.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Clock;
use crate::clock::rfc3339_seconds;
use crate::content::Sum;
use crate::kept::Kept;
use crate::kept::KeptError;
use crate::policy::loader::Origin;
use crate::policy::loader::line;
use crate::policy::loader::line::Line;
use crate::policy::rule::Rule;

/// One emergency deny, as its file keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// The id of its row, the same on every node: `deny-` and eight hex digits, or a number if it is old.
    pub id: String,
    /// A pattern as in a deny rule.
    pub module: String,
    /// Versions as in a rule.
    pub versions: String,
    /// Told to everybody it refuses.
    pub reason: String,
    /// When it was given, in seconds since 1970.
    pub created: u64,
    /// From when on it is over, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// When it was lifted, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<u64>,
}

impl fmt::Display for Deny {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}@{}", self.id, self.module, self.versions)?;
        if let Some(until) = self.until {
            write!(out, " until {}", rfc3339_seconds(until))?;
        }
        write!(out, ": {}", self.reason)
    }
}

impl Deny {
    /// Whether an id is that of an emergency deny: `deny-` and eight hex digits. No row of a file has one like it.
    pub fn is_id(id: &str) -> bool {
        let digits = id.strip_prefix("deny-").filter(|digits| digits.len() == 8);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }

    /// Whether it holds at a time, in seconds since 1970.
    pub fn holds(&self, now: u64) -> bool {
        self.lifted.is_none() && self.until.is_none_or(|until| now < until)
    }

    /// As other nodes are told of it, given or lifted: one line of JSON for [`Denies::hear`].
    pub fn told(&self) -> String {
        // plain fields cannot fail to be written
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The row it stands for: everybody, every action.
    pub(in crate::policy) fn row(&self) -> String {
        format!("p, {}, any:anonymous, {}, {}, *, deny", self.id, self.module, self.versions)
    }

    /// The rule it stands for, or what is wrong with it.
    pub(in crate::policy) fn rule(&self) -> Result<Rule, String> {
        if self.module.starts_with('@') && self.module != "@private/**" {
            return Err(format!("{} is no pattern of modules", self.module));
        }
        line::check_words(&self.reason, line::REASON_LIMIT_BYTES)?;
        match Line::read_overlay(&self.row()) {
            Ok(Line::Rule(rule)) => Ok(rule),
            Ok(_) => Err("it is no rule".to_owned()),
            Err(wrong) => Err(wrong.what.into_owned()),
        }
    }

    pub(in crate::policy) fn origin(&self) -> Origin {
        Origin {
            file: Arc::from("emergency denies"),
            line: 0,
            owner: None,
            reason: Some(Arc::from(self.reason.as_str())),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u8,
    denies: Vec<Deny>,
}

impl Default for Stored {
    fn default() -> Self {
        Self { v: 1, denies: Vec::new() }
    }
}

/// Why a deny could not be given, listed or lifted.
#[derive(Debug, thiserror::Error)]
pub enum DenyError {
    /// The file could not be read or written, or is none.
    #[error("file of emergency denies {0}")]
    File(#[from] KeptError),
    /// It would be no rule.
    #[error("{0}")]
    Rule(String),
    /// What was told from elsewhere is no deny of this version.
    #[error("what was told is no emergency deny: {0}")]
    Told(#[from] serde_json::Error),
    /// It was told from elsewhere and does not fit what is here.
    #[error("{0} cannot be taken over: another deny here has this id, or there are {MOST_DENIES}")]
    Strange(String),
    /// There is no such deny.
    #[error("there is no emergency deny {0} in force: modgate deny list shows them")]
    Unknown(String),
}

/// What is to be denied.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `MODULE` or `MODULE@VERSIONS`, as in a deny rule.
    pub what: String,
    /// Told to everybody it refuses.
    pub reason: String,
    /// How long; for ever without it.
    pub life: Option<Duration>,
}

/// The file of emergency denies: the command changes it, a running gateway follows it.
#[derive(Debug, Clone)]
pub struct Denies(Kept<Stored>);

impl Denies {
    /// A file that may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self(Kept::new(path))
    }

    /// Denies a module or some versions of it, for everybody.
    pub fn add(&self, wanted: &Wanted, clock: &dyn Clock) -> Result<Deny, DenyError> {
        let (module, versions) = wanted.what.split_once('@').map_or_else(
            || (wanted.what.as_str(), "*"),
            |(module, versions)| {
                if module.is_empty() { (wanted.what.as_str(), "*") } else { (module, versions) }
            },
        );
        let now = clock.unix_seconds();
        self.0.change(|stored| {
            let deny = Deny {
                id: id_of(wanted, now, stored.denies.len()),
                module: module.to_owned(),
                versions: versions.to_owned(),
                reason: wanted.reason.clone(),
                created: now,
                until: wanted.life.map(|life| end_of(life, clock)),
                lifted: None,
            };
            deny.rule().map_err(DenyError::Rule)?;
            stored.denies.push(deny.clone());
            Ok(deny)
        })
    }

    /// Every deny that was ever given.
    pub fn list(&self) -> Result<Vec<Deny>, DenyError> {
        Ok(self.0.read()?.denies)
    }

    /// Lifts a deny that holds, and gives it.
    pub fn lift(&self, id: &str, clock: &dyn Clock) -> Result<Deny, DenyError> {
        let now = clock.unix_seconds();
        self.0.change(|stored| {
            let mut held = stored.denies.iter_mut();
            let deny = held.find(|deny| deny.id == id && deny.holds(now));
            let deny = deny.ok_or_else(|| DenyError::Unknown(id.to_owned()))?;
            deny.lifted = Some(now);
            Ok(deny.clone())
        })
    }

    /// Takes over what [`Deny::told`] says elsewhere, and tells whether that was news: a deny that holds is added, and
    /// one that is here is lifted. It is never held again: whoever lifted it here meant it.
    pub fn hear(&self, told: &str, clock: &dyn Clock) -> Result<bool, DenyError> {
        let told: Deny = serde_json::from_str(told)?;
        let digits = told.id.strip_prefix(line::OVERLAY_ID).unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(DenyError::Rule("its id is none of an emergency deny".to_owned()));
        }
        told.rule().map_err(DenyError::Rule)?;
        let now = clock.unix_seconds();
        // a file that is written is read again by the policy: only for news
        if !merge(&mut self.list()?, &told, now)? {
            return Ok(false);
        }
        self.0.change(|stored| merge(&mut stored.denies, &told, now))
    }

    /// Those that hold at a time, in seconds since 1970; each of them is a rule, or none is told.
    pub fn in_force(&self, now: u64) -> Result<Vec<Deny>, DenyError> {
        let held: Vec<Deny> = self.list()?.into_iter().filter(|deny| deny.holds(now)).collect();
        for deny in &held {
            deny.rule().map_err(|what| DenyError::Rule(format!("{}: {what}", deny.id)))?;
        }
        Ok(held)
    }
}

fn merge(denies: &mut Vec<Deny>, told: &Deny, now: u64) -> Result<bool, DenyError> {
    let strange = || Err(DenyError::Strange(told.id.clone()));
    let count = denies.len();
    let Some(known) = denies.iter_mut().find(|deny| deny.id == told.id) else {
        let is_news = told.holds(now);
        if is_news && count >= MOST_DENIES {
            return strange();
        }
        denies.extend(is_news.then(|| told.clone()));
        return Ok(is_news);
    };
    if *known != (Deny { lifted: known.lifted, ..told.clone() }) {
        return strange();
    }
    let is_news = known.lifted.is_none() && told.lifted.is_some();
    known.lifted = known.lifted.or(told.lifted);
    Ok(is_news)
}

/// To the nearest second: whoever named a time has spent some of the life since.
fn end_of(life: Duration, clock: &dyn Clock) -> u64 {
    let now = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_add(life).saturating_add(HALF_A_SECOND).as_secs()
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// An id that does not depend on the node, so that a deny is one wherever it was given.
fn id_of(wanted: &Wanted, now: u64, place: usize) -> String {
    let sum = Sum::of(format!("{wanted:?} {now} {place}").as_bytes()).to_string();
    format!("{}{}", line::OVERLAY_ID, sum.get(..ID_DIGITS).unwrap_or(&sum))
}

/// So many are told apart by their ids among thousands.
const ID_DIGITS: usize = 8;
/// Others cannot fill our disk.
const MOST_DENIES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn wanted(what: &str) -> Wanted {
        Wanted { what: what.to_owned(), reason: "malware".to_owned(), life: None }
    }

    #[test]
    fn a_deny_is_a_rule_for_everybody_until_it_is_over_or_lifted() {
        let directory = tempfile::tempdir().unwrap();
        let denies = Denies::new(directory.path().join("denies.json"));
        let clock = ManualClock::at_unix(1_000);
        let life = Some(Duration::from_mins(1));
        let first =
            denies.add(&Wanted { life, ..wanted("example.com/x@<v1.4.2") }, &clock).unwrap();
        let second = denies.add(&wanted("=example.com/y"), &clock).unwrap();
        assert!(first.id.starts_with("deny-") && first.id.len() == 13 && first.id != second.id);
        let row = format!("p, {}, any:anonymous, example.com/x, <v1.4.2, *, deny", first.id);
        assert_eq!(first.row(), row);
        assert_eq!(denies.in_force(1_059).unwrap(), [first, second.clone()]);
        assert_eq!(denies.in_force(1_060).unwrap(), std::slice::from_ref(&second));
        denies.lift(&second.id, &clock).unwrap();
        assert!(denies.in_force(1_060).unwrap().is_empty());
        assert!(matches!(denies.lift(&second.id, &clock), Err(DenyError::Unknown(_))));
        assert_eq!(denies.list().unwrap().len(), 2);
    }

    #[test]
    fn what_another_node_tells_is_held_once_and_stays_lifted() {
        let directory = tempfile::tempdir().unwrap();
        let [there, here] =
            ["there", "here"].map(|name| Denies::new(directory.path().join(name).join("d.json")));
        let clock = ManualClock::at_unix(1_000);
        let given = there.add(&wanted("example.com/x"), &clock).unwrap();
        assert!(here.hear(&given.told(), &clock).unwrap());
        assert!(!here.hear(&given.told(), &clock).unwrap());
        assert_eq!(here.in_force(1_000).unwrap(), std::slice::from_ref(&given));
        // the same id for something else, as an old node may give it
        let other = Deny { module: "example.com/y".to_owned(), ..given.clone() };
        assert!(matches!(here.hear(&other.told(), &clock), Err(DenyError::Strange(_))));
        let lifted = there.lift(&given.id, &clock).unwrap();
        assert!(here.hear(&lifted.told(), &clock).unwrap());
        assert!(here.in_force(1_000).unwrap().is_empty());
        assert!(!here.hear(&given.told(), &clock).unwrap());
        assert!(here.in_force(1_000).unwrap().is_empty());
        // one that is over is no news to a node that did not know it
        let over = Deny { id: "deny-9".to_owned(), until: Some(999), ..given.clone() };
        assert!(!here.hear(&over.told(), &clock).unwrap());
        for bad in [
            Deny { id: "deny-1, any:anonymous".to_owned(), ..given.clone() },
            Deny { id: "x".to_owned(), ..given.clone() },
            Deny { id: "deny-8".to_owned(), module: "example.com//x".to_owned(), ..given },
        ] {
            assert!(matches!(here.hear(&bad.told(), &clock), Err(DenyError::Rule(_))), "{bad:?}");
        }
        assert!(matches!(here.hear("{}", &clock), Err(DenyError::Told(_))));
        assert_eq!(here.list().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_deny_is_told_and_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let denies = Denies::new(directory.path().join("denies.json"));
        let clock = ManualClock::at_unix(1_000);
        let long = Wanted { reason: "r".repeat(75), ..wanted("example.com/x") };
        let odd = Wanted { reason: "two\nlines".to_owned(), ..wanted("example.com/x") };
        for bad in [
            wanted(""),
            wanted("example.com//x"),
            wanted("example.com/x@v1"),
            wanted("example.com/x, *, *, allow"),
            wanted("@sumdb"),
            long,
            odd,
        ] {
            assert!(matches!(denies.add(&bad, &clock), Err(DenyError::Rule(_))), "{bad:?}");
        }
        assert_eq!(denies.list().unwrap(), []);
    }
}
