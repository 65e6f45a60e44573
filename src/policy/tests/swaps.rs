//! Decisions while policies come and go: each is that of the one policy whose revision it carries.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;

fn draft(rules: &str) -> Draft {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "model.conf", loader::MODEL);
    write(directory.path(), "roles.csv", "g, group:token:dev, role:dev\n");
    write(directory.path(), "rules/a.csv", rules);
    write(directory.path(), "tests/none.toml", "");
    Draft::read(&Sources::of(Source::Directory(directory.path().to_owned()))).unwrap()
}

#[test]
fn sixteen_threads_decide_through_a_thousand_swaps_and_each_decision_is_one_policys() {
    let even = "p, even, role:dev, example.com/even, *, read, allow\np, wall, any:authenticated, example.com/odd, *, *, deny\n";
    let odd = "p, odd, role:dev, example.com/odd, *, read, allow\np, wall, any:authenticated, example.com/even, *, *, deny\n";
    let drafts = [draft(even), draft(odd)];
    let policy = Policy::none(Sources::of(Source::Embedded));
    policy.snapshot.store(Arc::clone(&drafts[0].snapshot));
    let (stop, decided) = (AtomicBool::new(false), AtomicUsize::new(0));
    let check = |caller: &Arc<Caller>, name: &str| {
        let raw = format!("/example.com/{name}/@v/v1.0.0.zip");
        let (allowed, revision) = match decide(&policy, Arc::clone(caller), &raw) {
            Ok(permit) => (true, Arc::clone(permit.snapshot.revision())),
            Err(refusal) => (false, Arc::clone(&refusal.revision)),
        };
        let place = drafts.iter().position(|draft| *draft.revision() == revision).unwrap();
        assert_eq!(allowed, name == ["even", "odd"][place], "{name} by {revision}");
        decided.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (check, stop) = (&check, &stop);
            scope.spawn(move || {
                // half of them share what a caller is to a policy, as cached callers do
                let shared = dev();
                while !stop.load(Ordering::Relaxed) {
                    let caller = if thread % 2 == 0 { Arc::clone(&shared) } else { dev() };
                    check(&caller, "even");
                    check(&caller, "odd");
                }
            });
        }
        for swap in 0..1_000 {
            let before = decided.load(Ordering::Relaxed);
            // a fresh snapshot each time, with nothing remembered
            let fresh = Draft::of(drafts[swap % 2].files.clone(), &Sources::of(Source::Embedded));
            policy.snapshot.store(fresh.unwrap().snapshot);
            while decided.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(decided.into_inner() >= 1_000);
}
