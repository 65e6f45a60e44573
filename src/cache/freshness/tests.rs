//! Lives that grow and shrink, on times that are given.

use bytes::Bytes;

use super::*;
use crate::cache::Absence;
use crate::cache::AbsentStatus;
use crate::content::Content;
use crate::goproxy::request::Request;
use crate::goproxy::request::Routes;
use crate::sumdb::Basis;
use crate::sumdb::Verified;

const RULES: Freshness = Freshness {
    mutable: Duration::from_mins(1),
    longest: Duration::from_mins(10),
    absent: Duration::from_mins(1),
    meanwhile: Duration::from_secs(10),
    on_error: Duration::from_hours(24),
};

fn key(path: &str) -> Key {
    let routes = Routes::new("/", Vec::new());
    match Request::parse(path, &routes).unwrap() {
        Request::Module(asked) => Key::of(&asked),
        other => panic!("{other:?}"),
    }
}

fn entry(text: &'static str, stored: u64, life: u64) -> Entry {
    let content = Content::from_bytes(Bytes::from_static(text.as_bytes()));
    let held = Held::Content(Verified::restored(content, Basis::Unsummed));
    Entry { held, stored, life, fence: 0, validator: None }
}

fn sum(text: &str) -> Sum {
    Sum::of(text.as_bytes())
}

#[test]
fn an_artifact_that_never_changes_is_fresh_for_ever_and_a_list_is_not() {
    let old = entry("x", 0, 1);
    assert_eq!(RULES.judge(&key("/example.com/m/@v/v1.0.0.mod"), &old, u64::MAX), Age::Fresh);
    let (list, entry) = (key("/example.com/m/@v/list"), entry("v1.0.0\n", 1000, 60));
    let judged = |age: u64| RULES.judge(&list, &entry, 1000 + age);
    assert_eq!(judged(0), Age::Fresh);
    assert_eq!(judged(53), Age::Fresh);
    assert_eq!(judged(61), Age::Meanwhile);
    assert_eq!(judged(71), Age::OnError);
    assert_eq!(judged(60 + 24 * 3600), Age::Expired);
    assert_eq!(RULES.judge(&list, &entry, 999), Age::Expired, "from the future");
}

#[test]
fn an_absence_is_never_served_after_its_life() {
    let held = Held::Absence(Absence { status: AbsentStatus::NotFound, text: None });
    let entry = Entry { held, stored: 1000, life: 60, fence: 0, validator: None };
    let mutable = key("/example.com/m/@v/list");
    assert_eq!(RULES.judge(&mutable, &entry, 1010), Age::Fresh);
    assert_eq!(RULES.judge(&mutable, &entry, 1061), Age::Expired);
    let immutable = key("/example.com/m/@v/v1.0.0.mod");
    assert_eq!(RULES.judge(&immutable, &entry, 1061), Age::Expired);
}

#[test]
fn a_life_grows_while_nothing_changes_and_shrinks_when_something_does() {
    let (mut now, mut held) = (1000, entry("a", 1000, RULES.life(None, sum("a"), 1000)));
    let mut lives = Vec::new();
    for _ in 0..5 {
        now += held.life + 1;
        held = entry("a", now, RULES.life(Some(&held), sum("a"), now));
        lives.push(held.life);
    }
    assert_eq!(lives, [120, 240, 480, 600, 600]);
    assert_eq!(RULES.life(Some(&held), sum("b"), now + 1), 150);
    let cold = now + 600 * 4;
    assert_eq!(RULES.life(Some(&held), sum("a"), cold), 600, "nobody asked: it does not grow");
    assert_eq!(RULES.life(Some(&entry("a", 0, 100)), sum("b"), 0), 60, "never below the first");
}

#[test]
fn what_was_learnt_at_once_does_not_run_out_at_once() {
    let mut ends = std::collections::BTreeSet::new();
    for n in 0..200 {
        let key = key(&format!("/example.com/m{n}/@v/list"));
        ends.insert(spread(&key, &entry("x", 1000, 600)));
    }
    assert!(ends.len() > 30, "{ends:?}");
    assert!(ends.iter().all(|life| (540..=600).contains(life)));
}
