//! What a directory is asked, what it says of groups, and what becomes of logins while it breaks.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::ldap::soon;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::fault::Wire;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;

fn over(settings: &str) -> Gateway {
    let tree = Tree::new();
    Setup::over(&format!("file://{}", tree.path().display())).with(settings).start()
}

fn login(gateway: &Gateway, name: &str) -> Client {
    gateway.stranger().basic(name, &format!("{name}-pw"))
}

fn who(client: &Client) -> Value {
    let answer = client.get("/-/whoami");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// The groups of somebody without their realm, and how each was obtained.
fn groups(gateway: &Gateway, name: &str) -> Vec<(String, String)> {
    let who = who(&login(gateway, name));
    let plain = |group: &str| group.trim_start_matches("group:ldap/corp:").to_owned();
    let obtained = who["obtained"].as_object().unwrap().iter();
    obtained.map(|(group, how)| (plain(group), how.as_str().unwrap().to_owned())).collect()
}

fn names(groups: Vec<(String, String)>) -> Vec<String> {
    groups.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn t46_groups_in_a_circle_end_and_too_deep_or_ambiguous_ones_do_not_count() {
    let mut people = People::new().person("alice").person("bob");
    // alice is in a, a in b, b in c, and c in a again
    people =
        people.group("a", &["alice", "group:c"]).group("b", &["group:a"]).group("c", &["group:b"]);
    people = people.group("d01", &["bob"]);
    for step in 2..=12 {
        people = people.group(&format!("d{step:02}"), &[&format!("group:d{:02}", step - 1)]);
    }
    // two groups with one name, one of them below the other
    people = people.group("twin", &["alice"]).group("twin,cn=twin", &["bob"]).group("e", &["bob"]);
    people = people.group("twin,cn=e", &["bob"]);
    let slapd = Slapd::with(&people);
    for mode in ["search", "memberof", "both"] {
        let gateway = over(&slapd.settings(&format!("group_mode = \"{mode}\"")));
        let how = |through: &str| format!("directory corp{through}");
        let expected = [
            ("a".to_owned(), how("")),
            ("b".to_owned(), how(", through a")),
            ("c".to_owned(), how(", through b")),
            ("twin".to_owned(), how("")),
        ];
        assert_eq!(groups(&gateway, "alice"), expected, "{mode}");
        let mut expected: Vec<_> = (1..=8).map(|step| format!("d{step:02}")).collect();
        expected.push("e".to_owned());
        assert_eq!(names(groups(&gateway, "bob")), expected, "{mode}");
        until("the log says why", || gateway.output().contains("several groups have this name"));
    }
}

#[test]
fn t23_a_name_is_no_filter_in_the_search_of_groups_either() {
    let people = People::new()
        .person("alice")
        .person("*")
        .person("bob,x")
        .person("a)(member=*")
        .group("star", &["*"])
        .group("comma", &["bob,x"])
        .group("paren", &["a)(member=*"])
        .group("staff", &["alice"]);
    let slapd = Slapd::with(&people);
    let table = [("alice", "staff"), ("*", "star"), ("bob,x", "comma"), ("a)(member=*", "paren")];
    for filter in ["(member={dn})", "(member:distinguishedNameMatch:={dn})"] {
        let more = format!("group_filter = \"{filter}\"\nnested_depth = 1");
        let gateway = over(&slapd.settings(&more));
        for (name, group) in table {
            assert_eq!(names(groups(&gateway, name)), [group], "{name} {filter}");
        }
    }
}

#[test]
fn groups_that_the_directory_cuts_off_are_a_fault_and_not_fewer_groups() {
    let mut people = People::new().person("alice").person("bob").group("few", &["bob"]);
    for n in 0..600 {
        people = people.group(&format!("many{n}"), &["alice"]);
    }
    let slapd = Slapd::with(&people);
    let gateway = over(&slapd.settings(""));
    assert_eq!(login(&gateway, "alice").get("/-/whoami").status, 503);
    let told =
        gateway.audited(1, "the fault", |event| event["actor"]["result"] == "backend_unavailable");
    assert!(
        told[0]["actor"]["detail"].as_str().unwrap().contains("raise its size limit"),
        "{told:?}"
    );
    assert_eq!(names(groups(&gateway, "bob")), ["few"]);
}

/// What a stranger can see of an answer, without what is different each time.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let each_time = |name: &str| matches!(name, "date" | "traceparent" | "server-timing");
    let mut headers: Vec<_> =
        answer.headers.iter().filter(|(name, _)| !each_time(name)).cloned().collect();
    headers.sort();
    let text = answer.text();
    let lines = text.lines().filter(|line| !line.starts_with("trace ")).collect::<Vec<_>>();
    (answer.status, headers, lines.join("\n"))
}

#[test]
fn t29_an_unknown_name_and_a_wrong_password_look_alike_and_cost_the_directory_the_same() {
    let slapd =
        Slapd::with(&People::new().person("alice").person("bob").group("staff", &["alice"]));
    let gateway = over(&slapd.settings(""));
    assert_eq!(login(&gateway, "bob").get("/-/whoami").status, 200);
    let mut all = Vec::new();
    for (place, name) in ["alice", "nobody", "alice", "somebody-else", "*"].iter().enumerate() {
        let before = slapd.asked_about_people();
        let stranger = gateway.stranger().from(&format!("127.0.2.{}", place + 1));
        let answer = stranger.basic(name, &format!("wrong{place}")).get("/-/whoami");
        let asked: Vec<_> = slapd.asked_about_people().into_iter().skip(before.len()).collect();
        all.push((seen(&answer), asked));
    }
    assert_eq!(all[0].1, ["search", "bind"]);
    for other in &all[1..] {
        assert_eq!(*other, all[0]);
    }
    assert_eq!(all[0].0.0, 401);
}

#[test]
fn t25_a_connection_reset_at_any_step_is_503_and_the_next_login_is_judged() {
    let slapd = Slapd::with(&People::new().person("alice").group("staff", &["alice"]));
    let wire = Wire::to(slapd.tls_port());
    let settings = slapd.settings_for(&format!("\"ldaps://localhost:{}\"", wire.port()), "");
    let mut steps = 0;
    loop {
        let gateway = over(&settings);
        wire.reset_after(steps);
        let answer = login(&gateway, "alice").get("/-/whoami");
        wire.mend();
        let took = gateway.took(&answer);
        assert!(took < 2000.0, "{took} ms at step {steps}");
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 503, "at step {steps}");
        soon("alice can log in", || login(&gateway, "alice").get("/-/whoami").status == 200);
        steps += 1;
    }
    // two handshakes, a service bind, a search, a bind and at least one search of groups
    assert!(steps >= 6, "{steps}");
}

#[test]
fn t25_a_frozen_directory_leaves_no_connections_and_no_logins_behind() {
    let slapd = Slapd::with(&People::new().person("alice").person("bob"));
    let gateway = over(&slapd.settings_as_preset("cache_ttl = \"1h\""));
    until("alice is known", || login(&gateway, "alice").get("/-/whoami").status == 200);
    let (sockets, threads) = (gateway.descriptors(), gateway.threads());
    slapd.signal("STOP");
    for round in 0..2 {
        let logins: Vec<_> = (0..100)
            .map(|n| {
                let client = login(&gateway, &format!("nobody{round}-{n}"));
                std::thread::spawn(move || client.get("/-/whoami").status)
            })
            .collect();
        for login in logins {
            assert_eq!(login.join().unwrap(), 503);
        }
    }
    // still frozen: what waited is gone all the same
    until("connections are closed", || gateway.descriptors() <= sockets + 4);
    // threads that looked the server's name up stay a while; there are no more than logins at once
    assert!(gateway.threads() <= threads + 32, "{} threads, before {threads}", gateway.threads());
    assert_eq!(login(&gateway, "alice").get("/-/whoami").status, 200);
    slapd.signal("CONT");
    soon("bob can log in", || login(&gateway, "bob").get("/-/whoami").status == 200);
}

#[test]
fn t25_who_is_known_goes_on_until_their_time_is_over_and_is_never_refused() {
    let mut slapd = Slapd::with(&People::new().person("alice"));
    let gateway = over(&slapd.settings("cache_ttl = \"3s\""));
    let alice = login(&gateway, "alice");
    // a time that begins before hers does
    let known = Instant::now();
    assert_eq!(alice.get("/-/whoami").status, 200);
    slapd.stop();
    let (mut served, mut over) = (0, false);
    until("the time of alice is over", || {
        match alice.get("/-/whoami").status {
            200 => served += 1,
            503 => over = true,
            other => panic!("{other}"),
        }
        over
    });
    assert!(served > 0 && known.elapsed() >= Duration::from_millis(2900), "{served}");
    slapd.start_again();
    until("alice is judged again", || alice.get("/-/whoami").status == 200);
}

#[test]
fn t30_a_changed_password_ends_the_old_one_within_its_time_for_good() {
    let slapd = Slapd::with(&People::new().person("alice"));
    let gateway = over(&slapd.settings("cache_ttl = \"500ms\"\nfailure_ttl = \"100ms\""));
    let old = login(&gateway, "alice");
    assert_eq!(old.get("/-/whoami").status, 200);
    slapd.set_password("alice", "another-pw");
    until("the old password is refused", || old.get("/-/whoami").status == 401);
    assert_eq!(gateway.stranger().basic("alice", "another-pw").get("/-/whoami").status, 200);
    assert_eq!(old.get("/-/whoami").status, 401);
    assert_eq!(who(&gateway.stranger().basic("alice", "another-pw"))["groups"], json!([]));
}
