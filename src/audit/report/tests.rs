//! Each rule of the questions on records made by hand.

use serde_json::json;

use super::*;
use crate::audit::report::questions::is_off_hours;
use crate::audit::report::questions::network;

const NOON: &str = "2026-10-01T12:00:00.000000Z";

fn ask(question: Question, list: &[&str], filter: &mut Filter, records: &[Value]) -> Table {
    let list = list.iter().map(|entry| (*entry).to_owned()).collect();
    let mut gathering = Gathering::over(question, list, filter);
    for record in records {
        gathering.take(record);
    }
    gathering.table()
}

fn rows(question: Question, records: &[Value]) -> Vec<Vec<String>> {
    ask(question, &[], &mut Filter::default(), records).rows
}

/// A private zip, or the decision to give one.
fn zip(id: &str, phase: &str, http: &Value) -> Value {
    json!({
        "time": NOON, "event": "module.zip", "id": id, "phase": phase, "outcome": "allowed",
        "actor": {"id": "user:a", "result": "success"}, "source": {"ip": "10.1.2.3"},
        "resource": {"module": "c.example/a", "version": "v1.0.0", "private": true},
        "decision": {"effect": "allow", "rule": "team", "policy": "ab12", "gates": ["office"]},
        "http": http,
    })
}

fn decided(id: &str) -> Value {
    zip(id, "decided", &json!({"method": "GET", "status": 200}))
}

fn done(id: &str, status: u16, bytes: u64) -> Value {
    let http = json!({"method": "GET", "status": status, "bytes_out": bytes, "complete": true});
    zip(id, "done", &http)
}

fn cut(id: &str, bytes: u64) -> Value {
    let http = json!({"method": "GET", "status": 200, "bytes_out": bytes, "complete": false});
    zip(id, "done", &http)
}

#[test]
fn hours_and_networks_are_told_apart() {
    assert!(is_off_hours("2026-10-01T03:00:00.000000Z"), "night");
    assert!(!is_off_hours(NOON), "a Thursday");
    assert!(is_off_hours("2026-10-03T12:00:00.000000Z"), "a Saturday");
    assert_eq!(network("10.1.2.3"), "10.1.2.0/24");
    assert_eq!(network("2001:db8::1"), "2001:db8:0:0::/64");
}

#[test]
fn a_decision_and_its_end_count_once_in_every_question() {
    let both = [decided("1"), done("1", 200, 9)];
    let outside = Filter { from: Some("2026-10-02".to_owned()), ..Filter::default() };
    let mut asked = 0;
    for question in Question::ALL {
        // who has not used a right since is asked about later
        let mut filter =
            if *question == Question::Idle { outside.clone() } else { Filter::default() };
        let table = ask(*question, &["user:a"], &mut filter, &both);
        let Some(count) = table.columns.iter().position(|name| ["count", "answers"].contains(name))
        else {
            continue;
        };
        for row in
            table.rows.iter().filter(|row| row[0] != "user:a" || *question != Question::Unused)
        {
            assert_eq!(row[count], "1", "{question:?}");
            asked += 1;
        }
    }
    assert_eq!(asked, 7, "access, leavers, holders, spread, gates, unused, idle");
}

#[test]
fn what_may_have_left_without_an_end_is_told_and_what_did_not_leave_is_not() {
    let at = |table: &[Vec<String>], column: usize| {
        table.iter().map(|row| row[column].clone()).collect::<Vec<_>>()
    };
    let killed = [decided("1")];
    assert_eq!(at(&rows(Question::Downloads, &killed), 6), ["may have been"]);
    assert_eq!(at(&rows(Question::Holders, &killed), 3), ["may have been"]);
    assert_eq!(at(&rows(Question::Firsts, &killed), 3), ["may have been"]);
    assert_eq!(at(&rows(Question::Spread, &killed), 2), ["1"]);
    // the whole one tells more than the one that was cut off
    let twice = [decided("1"), cut("1", 9), decided("2"), done("2", 200, 99)];
    assert_eq!(at(&rows(Question::Holders, &twice), 3), ["whole"]);
    assert_eq!(at(&rows(Question::Downloads, &twice), 6), ["in part", "whole"]);
    // a range may be all of it
    let range = [decided("1"), done("1", 206, 9)];
    assert_eq!(at(&rows(Question::Holders, &range), 3), ["in part"]);
    let begun = zip("1", "decided", &json!({"method": "GET", "status": 206}));
    assert_eq!(at(&rows(Question::Holders, &[begun]), 3), ["may have been"]);
    // decided, and then something else was sent; or nothing; or it was there already; or only asked about
    for nothing in [
        done("1", 503, 40),
        cut("1", 0),
        done("1", 304, 0),
        zip(
            "1",
            "done",
            &json!({"method": "HEAD", "status": 200, "bytes_out": 0, "complete": true}),
        ),
    ] {
        assert_eq!(rows(Question::Holders, &[decided("1"), nothing]), [[""; 0]; 0]);
    }
}

#[test]
fn what_came_of_an_answer_is_asked_of_its_end() {
    let outcome = |wanted: &str| {
        let mut filter = Filter { outcome: Some(wanted.to_owned()), ..Filter::default() };
        let mut ended = cut("1", 9);
        ended["outcome"] = "failed".into();
        let rows = ask(Question::Downloads, &[], &mut filter, &[decided("1"), ended]).rows;
        assert_eq!(filter.outcome, None, "the decision before it had another");
        rows.len()
    };
    assert_eq!((outcome("failed"), outcome("allowed")), (1, 0));
    // what may have left is told whatever is asked about its end, which nobody knows
    for wanted in ["failed", "allowed"] {
        let mut filter = Filter { outcome: Some(wanted.to_owned()), ..Filter::default() };
        assert_eq!(ask(Question::Holders, &[], &mut filter, &[decided("1")]).rows.len(), 1);
    }
}

#[test]
fn a_first_access_is_the_first_ever_and_an_idle_right_was_used_before() {
    let at = |day: &str, actor: &str| {
        let mut record = done(day, 200, 9);
        record["time"] = format!("{day}T12:00:00.000000Z").into();
        record["actor"]["id"] = actor.into();
        record
    };
    let records = [at("2026-09-01", "old"), at("2026-10-05", "old"), at("2026-10-06", "new")];
    let since = || Filter { from: Some("2026-10-01".to_owned()), ..Filter::default() };
    let mut filter = since();
    let firsts = ask(Question::Firsts, &[], &mut filter, &records).rows;
    assert_eq!(filter.from, None, "what was before is read too");
    assert_eq!((firsts.len(), firsts[0][0].as_str()), (1, "new"));
    let records = [at("2026-09-01", "gone"), at("2026-09-01", "here"), at("2026-10-05", "here")];
    let idle = ask(Question::Idle, &[], &mut since(), &records).rows;
    assert_eq!((idle.len(), idle[0][0].as_str(), idle[0][1].as_str()), (1, "gone", "team"));
}

#[test]
fn denials_are_counted_in_families_without_repeats() {
    let denial = |module: &str, family: &str, repeat: bool| {
        json!({
            "time": NOON, "event": "authz.deny", "outcome": "denied",
            "actor": {"id": "user:a"}, "resource": {"module": module},
            "decision": {"effect": "deny", "rule": "r1"}, "family": family, "repeat": repeat,
        })
    };
    let rows = rows(
        Question::Denials,
        &[
            denial("c.example/a/b", "1", false),
            denial("c.example/a", "1", false),
            denial("c.example/a", "1", true),
        ],
    );
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][..5], ["r1", "user:a", "1", "c.example/a/b", "2"].map(str::to_owned));
}

#[test]
fn a_rule_that_was_never_hit_stands_first_and_says_since_when_was_looked() {
    let hit = [json!({"time": NOON, "decision": {"rule": "used"}})];
    let unused = |filter: &mut Filter| ask(Question::Unused, &["used", "idle"], filter, &hit).rows;
    let ever = unused(&mut Filter::default());
    assert_eq!(ever[0], ["idle", "0", "never", "never"].map(str::to_owned));
    assert_eq!((ever[1][0].as_str(), ever[1][1].as_str()), ("used", "1"));
    let since = unused(&mut Filter { from: Some("2026-07-01".to_owned()), ..Filter::default() });
    assert_eq!(since[0][3], "not since 2026-07-01");
}

#[test]
fn failed_logins_are_told_by_source_and_by_name() {
    let failed = |name: &str, ip: &str| {
        json!({
            "time": NOON, "event": "auth.failure", "source": {"ip": ip},
            "actor": {"id": name, "result": "bad_credentials"},
        })
    };
    let mut records: Vec<_> = (0..6).map(|n| failed(&format!("name{n}"), "203.0.113.7")).collect();
    records.extend((0..5).map(|_| failed("alice", "10.1.2.3")));
    let rows = rows(Question::Logins, &records);
    let found = |by: &str, who: &str| {
        let row = rows.iter().find(|row| row[0] == by && row[1] == who).unwrap();
        (row[3].clone(), row[4].clone(), row[5].clone())
    };
    let told = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(found("source", "203.0.113.7"), told("6", "spray", "6"));
    assert_eq!(found("name", "alice"), told("1", "guesses", "5"));
    assert_eq!(found("name", "name0"), told("1", "-", "1"));
    assert_eq!(rows[0][1], "203.0.113.7");
}

#[test]
fn one_name_tried_from_many_places_is_guesses_and_a_session_counts_once() {
    let tried = |n: u8| {
        json!({
            "time": NOON, "event": "auth.failure", "source": {"ip": format!("10.1.2.{n}")},
            "actor": {"id": "alice", "result": "bad_credentials"},
        })
    };
    let tried: Vec<_> = (0..6).map(tried).collect();
    let name = rows(Question::Logins, &tried).into_iter().find(|row| row[0] == "name").unwrap();
    assert_eq!((name[3].as_str(), name[4].as_str()), ("6", "guesses"));
    let mut session = done("1", 200, 9);
    session["event"] = "auth.success".into();
    let mut elsewhere = done("2", 200, 9);
    elsewhere["source"]["ip"] = "198.51.100.9".into();
    let networks = rows(Question::Networks, &[session.clone(), done("1", 200, 9), elsewhere]);
    assert_eq!(networks[0][4], "2");
    let holders = rows(Question::Holders, &[decided("1"), session]);
    assert_eq!(holders[0][3], "may have been", "its end is missing still");
}
