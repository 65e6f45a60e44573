//! Whatever is asked: with indexes the same records are found as without, and less is read.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::audit::keeper;
use crate::config::audit::Packing;

#[derive(Default)]
struct Lines(Vec<String>);

impl Listener for Lines {
    fn record(&mut self, _record: &Value, line: &str) -> ControlFlow<()> {
        self.0.push(line.to_owned());
        ControlFlow::Continue(())
    }
}

/// A number from a number, spread evenly: the finalizer of `SplitMix64`.
const fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

const RARE: &str = "user:token:rare";
const ACTORS: u64 = 60;
const MODULES: u64 = 90;

fn actor(n: u64) -> String {
    format!("user:token:u{n}")
}

fn module(n: u64) -> String {
    format!("corp.example/team{}/m{n}", n % 7)
}

fn event(n: u64) -> (&'static str, &'static str) {
    match n % 50 {
        0 => ("authz.deny", "denied"),
        1 => ("auth.failure", "unauthenticated"),
        n if n % 2 == 0 => ("module.zip", "allowed"),
        _ => ("module.info", "allowed"),
    }
}

/// Three closed segments of some ten blocks each, one of them plain, and one that is being written.
fn log(directory: &Path) {
    let boot = "0191".repeat(8);
    for (number, first) in [1_u64, 1_001, 2_001, 3_001].into_iter().enumerate() {
        let segment = Segment::new(directory, "gw", &boot, first);
        let mut lines = String::new();
        for seq in first..first + 1_000 {
            let (actor, module) =
                (actor(mixed(seq) % ACTORS), module(mixed(seq + 9_999) % MODULES));
            let actor = if seq % 500 == 77 { RARE.to_owned() } else { actor };
            let ((event, outcome), rule) = (event(mixed(seq + 5)), mixed(seq + 7) % 40);
            let ip = mixed(seq + 3) % 100;
            writeln!(
                lines,
                r#"{{"seq":{seq},"time":"2026-10-0{}T{:04}","event":"{event}","outcome":"{outcome}","actor":{{"id":"{actor}"}},"source":{{"ip":"10.0.0.{ip}"}},"resource":{{"module":"{module}","version":"v1.{}.0"}},"decision":{{"rule":"r{rule}"}},"filler":"{}"}}"#,
                number + 1, seq % 1_000, seq % 3, "x".repeat(usize::try_from(mixed(seq) % 200).unwrap())
            )
            .unwrap();
        }
        std::fs::write(segment.plain(), lines).unwrap();
        if number < 3 {
            let packing = if number == 1 { Packing::Leave } else { Packing::Compress };
            keeper::close(&segment, packing).unwrap();
        }
    }
}

/// A filter of one, two or three fields.
fn filter(seed: u64) -> Filter {
    let mut filter = Filter::default();
    for part in 0..=seed % 3 {
        let (which, value) = (mixed(seed * 31 + part), mixed(seed * 17 + part + 1));
        match which % 10 {
            0 | 1 => filter.actor = Some(actor(value % (ACTORS + 5))),
            2 => filter.module = Some(module(value % (MODULES + 5))),
            3 => filter.module = Some(format!("corp.example/team{}/...", value % 9)),
            4 => filter.rule = Some(format!("r{}", value % 44)),
            5 => filter.source = Some(format!("10.0.0.{}", value % 104)),
            6 => {
                filter.event = Some(
                    ["authz.deny", "auth.", "module.", "module.zip", "odd"]
                        [usize::try_from(value % 5).unwrap()]
                    .to_owned(),
                );
            }
            7 => {
                filter.outcome = Some(
                    ["denied", "allowed", "odd"][usize::try_from(value % 3).unwrap()].to_owned(),
                );
            }
            8 => filter.people = (0..3).map(|n| actor(mixed(value + n) % ACTORS)).collect(),
            _ => filter.from = Some(format!("2026-10-0{}", value % 5)),
        }
    }
    filter
}

#[test]
fn an_index_hides_no_record_and_leaves_most_unread() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    let directories = [directory.path().to_owned()];
    let ask = |filter: &Filter, indexes| {
        let mut lines = Lines::default();
        let effort = scan(&directories, filter, indexes, &mut lines).unwrap();
        (lines.0, effort)
    };
    let (mut found, mut some) = (0, 0);
    for seed in 0..80 {
        let filter = filter(seed);
        let (whole, all) = ask(&filter, Indexes::Ignore);
        let (lines, effort) = ask(&filter, Indexes::IfThere);
        assert_eq!(lines, whole, "{filter:?}");
        found += lines.len();
        some += u64::from(effort.bytes < all.bytes);
    }
    assert!(found > 5_000 && some > 30, "{found} {some}");
    let rare = Filter { actor: Some(RARE.to_owned()), ..Filter::default() };
    let ((lines, effort), (_, all)) = (ask(&rare, Indexes::IfThere), ask(&rare, Indexes::Ignore));
    assert_eq!(lines.len(), 8);
    // the segment that is being written has no index
    assert!(effort.bytes < all.bytes / 2, "{effort:?} of {all:?}");
}

#[test]
fn a_damaged_index_is_passed_over_and_a_damaged_segment_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    let directories = [directory.path().to_owned()];
    let filter = Filter { actor: Some(actor(1)), ..Filter::default() };
    let ask = || {
        let mut lines = Lines::default();
        scan(&directories, &filter, Indexes::IfThere, &mut lines).map(|_| lines.0)
    };
    let before = ask().unwrap();
    let segment = crate::audit::segment::list(directory.path()).unwrap().remove(0);
    let index = std::fs::read(segment.index()).unwrap();
    for at in (0..index.len()).step_by(1_999) {
        let mut damaged = index.clone();
        damaged[at] ^= 0x55;
        std::fs::write(segment.index(), damaged).unwrap();
        // what is not noticed may hide records: no checkpoint covers an index; but nothing panics
        let _any = ask();
    }
    // blocks that are not in order cannot be read
    let head = index.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut damaged = index.clone();
    damaged[head + 8..head + 16].fill(0xff);
    std::fs::write(segment.index(), damaged).unwrap();
    assert_eq!(ask().unwrap(), before);
    std::fs::write(segment.index(), &index).unwrap();
    let mut packed = std::fs::read(segment.packed()).unwrap();
    let middle = packed.len() / 2;
    packed[middle..middle + 9_000].fill(0);
    std::fs::write(segment.packed(), packed).unwrap();
    let told = ask().unwrap_err().to_string();
    assert!(told.contains("modgate audit index --again"), "{told}");
}
