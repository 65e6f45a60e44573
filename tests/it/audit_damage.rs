//! A log whose compressed segments are damaged, or that lies on a failing disk: what is bad is named, and the rest is verified.

mod numbers;

use std::io::Read as _;
use std::path::Path;

use modgate::audit::chain::Chain;
use modgate::audit::chain::text_of;
use modgate::audit::keeper;
use modgate::audit::prove::prove;
use modgate::audit::query::Effort;
use modgate::audit::segment::Segment;
use modgate::audit::verify::Kind;
use modgate::audit::verify::Subject;
use modgate::config::audit::Packing;
use modgate::tlog::tree::Hash;

use crate::support::dice::Dice;
use crate::support::gateway::modgate;
use crate::support::log::download;
use crate::support::log::during;
use crate::support::log::rewritten;
use crate::support::log::settings;
use crate::support::log::verified;
use crate::support::log::write;
use crate::support::until;

/// A compressed segment as it was written.
struct Packed {
    segment: Segment,
    bytes: Vec<u8>,
    lines: Vec<u8>,
    last: u64,
}

impl Packed {
    fn of(segment: Segment) -> Self {
        let bytes = std::fs::read(segment.packed()).unwrap();
        let lines = inflate(&segment).unwrap();
        let records = lines.split(|byte| *byte == b'\n').count() - 1;
        let last = segment.first + u64::try_from(records).unwrap() - 1;
        Self { segment, bytes, lines, last }
    }

    fn put(&self, bytes: &[u8]) {
        std::fs::write(self.segment.packed(), bytes).unwrap();
    }
}

fn inflate(segment: &Segment) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    segment.open()?.read_to_end(&mut lines)?;
    Ok(lines)
}

/// Four segments of several compressed blocks each.
fn world() -> (tempfile::TempDir, Vec<Packed>) {
    let directory = tempfile::tempdir().unwrap();
    for day in 1..=4 {
        let time = format!("2026-10-{day:02}T12:00:00.000000Z");
        let module = |n| format!("corp.example/m{n}");
        write(settings(directory.path()), (0..90).map(|n| download(&time, "user:a", &module(n))));
    }
    let segments = modgate::audit::segment::list(&directory.path().join("audit")).unwrap();
    let packed = segments.into_iter().map(|segment| {
        keeper::close(&segment, Packing::Compress).unwrap();
        Packed::of(segment)
    });
    let packed = packed.collect();
    (directory, packed)
}

/// Lines as somebody would compress them who knows how.
fn pack(like: &Segment, lines: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let segment = Segment { directory: directory.path().to_owned(), ..like.clone() };
    std::fs::write(segment.plain(), lines).unwrap();
    keeper::close(&segment, Packing::Compress).unwrap();
    std::fs::read(segment.packed()).unwrap()
}

/// Changes the files of a log in one way; gives the first segment that is not what it was, and what was done.
fn damage(world: &[Packed], way: usize, dice: &mut Dice) -> (usize, String) {
    let at = dice.below(world.len());
    let other = (at + 1 + dice.below(world.len() - 1)) % world.len();
    let Packed { segment, bytes, lines, .. } = &world[at];
    let mut changed = bytes.clone();
    let place = dice.below(bytes.len());
    let done = format!(
        "{}; it was segment {at} of {} bytes, its byte {place}, the other segment {other}",
        DEEDS[way],
        bytes.len()
    );
    let mut noise =
        |len| -> Vec<u8> { (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect() };
    match way {
        0 => changed[place] ^= 1 << (place % 8),
        1 => changed.truncate(place),
        2 => {
            std::fs::remove_file(segment.packed()).unwrap();
            return (at, done);
        }
        3 => {
            world[other].put(bytes);
            world[at].put(&world[other].bytes);
            return (at.min(other), done);
        }
        4 => changed.clone_from(&world[other].bytes),
        5 => changed = noise(bytes.len()),
        6 => changed.extend(noise(1 + place % 40)),
        7 => drop(changed.drain(place..bytes.len().min(place + 1 + place % 2000))),
        8 => changed = pack(segment, &rewritten(lines)),
        _ => {
            let end = lines.len() - 1;
            let begin = lines[..end].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
            changed.extend(pack(segment, &lines[begin..]));
        }
    }
    world[at].put(&changed);
    (at, done)
}

#[test]
fn damage_to_compressed_segments_is_found_and_the_first_bad_record_is_named() {
    let (directory, world) = world();
    assert_eq!(verified(directory.path(), "").exit_code(), 0);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut harmless = 0;
    for n in 0..CHANGES {
        let (at, done) = damage(&world, n % WAYS, &mut dice);
        let report = verified(directory.path(), "");
        let Packed { segment, lines, last, .. } = &world[at];
        // a few bits of a block's head mean nothing to whoever inflates it
        let is_harmless = n % WAYS == 0 && inflate(segment).is_ok_and(|read| read == *lines);
        let first = report.findings.first().map(|found| found.seq);
        let is_as_it_should = if is_harmless {
            report.exit_code() == 0
        } else {
            let own = segment.first..=last + 1;
            report.exit_code() == 1 && first.is_some_and(|first| own.contains(&first))
        };
        if !is_as_it_should {
            // what is compressed is another each time: the files are needed to see it again
            let kept = directory.keep();
            panic!("change {n}, kept in {}: {done}: {report:?}", kept.display());
        }
        harmless += usize::from(is_harmless);
        for packed in &world {
            packed.put(&packed.bytes);
        }
    }
    assert!(harmless < CHANGES / WAYS / 4, "{harmless} flipped bits changed nothing");
    assert_eq!(verified(directory.path(), "").exit_code(), 0);
}

/// Where a log of plain segments stands at its end.
fn chain_of(segments: &[Segment]) -> Chain {
    let mut chain = Chain::default();
    for segment in segments {
        let text = std::fs::read_to_string(segment.plain()).unwrap();
        text.lines().for_each(|line| chain.follow(line.as_bytes()).unwrap());
    }
    chain
}

/// The detail of a first record, which tells where the log stood.
fn opening(size: u64, roots: &[Hash], last: &Hash) -> serde_json::Value {
    serde_json::json!({
        "tree_size": size.to_string(),
        "tree_edge": roots.iter().map(text_of).collect::<Vec<_>>().join(" "),
        "chain_before": text_of(last),
    })
}

/// A line that somebody made up who knows how lines are chained.
fn sealed(chain: &mut Chain, event: &str, detail: &serde_json::Value) -> Vec<u8> {
    let (seq, time) = (chain.edge.size().saturating_add(1), "2000-01-01T00:00:00.000000Z");
    let text = format!(
        "{{\"v\":1,\"seq\":{seq},\"time\":\"{time}\",\"event\":\"{event}\",\"detail\":{detail}}}"
    );
    let mut line = text.into_bytes();
    chain.seal(&mut line);
    line.push(b'\n');
    line
}

/// Damages the first block of a segment so that it cannot be inflated.
fn spoil(packed: &Packed) {
    let mut changed = packed.bytes.clone();
    changed[..4].copy_from_slice(b"zzzz");
    packed.put(&changed);
}

#[test]
fn whoever_waits_hears_of_each_segment() {
    let (directory, world) = world();
    let directories = vec![directory.path().join("audit")];
    let mut heard = Vec::new();
    let seq = world[0].last - 5;
    prove(&directories, "gw", seq, &mut |effort| heard.push((effort.opened, effort.bytes)))
        .unwrap();
    assert_eq!(heard, [(1, 0)]);
    heard.clear();
    let keys = modgate::audit::keys::verifiers(&directory.path().join("audit.key")).unwrap();
    let question = Subject { directories, node: "gw".to_owned(), keys, kept: String::new() };
    let mut hear = |effort: Effort| heard.push((effort.opened, effort.bytes));
    modgate::audit::verify::verify(&question, &mut hear).unwrap();
    let before = |n: usize| world[..n].iter().map(|packed| packed.lines.len() as u64).sum();
    assert_eq!(heard, [(1, 0), (2, before(1)), (3, before(2)), (4, before(3))]);
}

#[test]
fn whoever_waits_hears_of_a_search_for_a_record_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let module = |n| download("2026-10-01T12:00:00.000000Z", "user:a", &format!("m{n}"));
    write(settings(directory.path()), (0..9).map(module));
    let path = crate::support::log::segment(directory.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let without: Vec<_> = text.split_inclusive('\n').filter(|line| !line.contains("m4")).collect();
    std::fs::write(&path, without.concat()).unwrap();
    // nothing, for two hundred million bytes
    std::fs::File::options().write(true).open(&path).unwrap().set_len(200_000_000).unwrap();
    let directories = vec![directory.path().join("audit")];
    let keys = modgate::audit::keys::verifiers(&directory.path().join("audit.key")).unwrap();
    let question = Subject { directories, node: "gw".to_owned(), keys, kept: String::new() };
    let mut heard = Vec::new();
    let mut hear = |effort: Effort| heard.push((effort.opened, effort.bytes >> 26));
    let report = modgate::audit::verify::verify(&question, &mut hear).unwrap();
    assert_eq!((report.findings[0].kind, report.findings[0].seq), (Kind::Missing, 6));
    assert_eq!(heard, [(1, 0), (1, 1), (1, 2)]);
}

fn verify(directory: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = modgate();
    command.current_dir(directory).args(["audit", "verify", "--dir", "audit"]).args(more);
    let output = command.args(["--set", "audit.key_file=audit.key"]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn what_is_damaged_keeps_nothing_else_from_being_verified() {
    let (directory, world) = world();
    let mut other = settings(directory.path());
    other.node = "other".to_owned();
    write(other, [download("2026-10-01T12:00:00.000000Z", "user:a", "corp.example/m")]);
    let whole = verified(directory.path(), "");
    spoil(&world[1]);
    spoil(&world[3]);
    let report = verified(directory.path(), "");
    let told = report.findings.iter().map(|finding| (finding.kind, finding.seq));
    let bad = [world[1].segment.first, world[3].segment.first];
    assert_eq!(told.collect::<Vec<_>>(), bad.map(|seq| (Kind::Unreadable, seq)));
    assert_eq!(
        (report.records, whole.records),
        (world[0].last + world[2].last - world[1].last, world[3].last)
    );
    let (code, text) = verify(directory.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    for says in ["FIRST BAD RECORD 93: unreadable", "ALSO BAD: RECORD 277: unreadable", "other: "] {
        assert!(text.contains(says), "{text}");
    }
    // a disk that does not give a file says nothing against it, and nothing for it
    for packed in [&world[1], &world[3]] {
        packed.put(&packed.bytes);
    }
    let unread = world[1].segment.packed();
    std::fs::remove_file(&unread).unwrap();
    std::fs::create_dir(&unread).unwrap();
    let (code, text) = verify(directory.path(), &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("NOT READ from 93 on") && !text.contains("BAD"), "{text}");
    assert!(text.contains("other: 3 records") && text.contains("  verified"), "{text}");
    spoil(&world[3]);
    let (code, text) = verify(directory.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FIRST BAD RECORD 277"), "{text}");
}

#[test]
fn records_put_into_the_hole_that_retention_left_are_believed_by_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let mut settings = settings(directory.path());
    let events = |day: &str| {
        let time = format!("2026-10-{day}T12:00:00.000000Z");
        (0..9).map(move |n| download(&time, "user:a", &format!("corp.example/m{n}")))
    };
    write(settings.clone(), events("01"));
    write(settings.clone(), events("02"));
    settings.config.keep_days = 0;
    let segments = modgate::audit::segment::list(&audit).unwrap();
    during(settings.clone(), |_audit| {
        until("old segments are removed", || !segments.iter().any(Segment::is_there));
    });
    settings.config.keep_days = 400;
    let report = verified(directory.path(), "");
    assert_eq!(report.exit_code(), 0, "{report:?}");
    assert!(report.remarks.iter().any(|remark| remark.kind == "deleted"), "{report:?}");
    // whoever can put records there can take checkpoints away, all but the last one before what is still there
    std::fs::remove_file(segments[0].checkpoints()).unwrap();
    let notes = std::fs::read_to_string(segments[1].checkpoints()).unwrap();
    let last = modgate::tlog::note::split(&notes).pop().unwrap();
    std::fs::write(segments[1].checkpoints(), last).unwrap();
    assert_eq!(verified(directory.path(), "").exit_code(), 0);
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    for seq in 1..=5 {
        let mut line = format!("{{\"v\":1,\"seq\":{seq},\"event\":\"module.zip\"}}").into_bytes();
        chain.seal(&mut line);
        lines.extend([&line[..], b"\n"].concat());
    }
    std::fs::write(Segment::new(&audit, "gw", &"e".repeat(32), 1).plain(), lines).unwrap();
    let report = verified(directory.path(), "");
    let found = report.findings.first().map(|found| (found.kind, found.seq));
    assert_eq!((report.exit_code(), found), (1, Some((Kind::Unsigned, 1))), "{report:?}");
}

const CHANGES: usize = 600;
const WAYS: usize = DEEDS.len();
const DEEDS: [&str; 10] = [
    "a bit was flipped",
    "the rest was cut off",
    "a segment was removed",
    "two segments were exchanged",
    "a segment was replaced by another one",
    "a segment became noise",
    "noise was added",
    "bytes were taken out",
    "all was written and chained again",
    "one more record, made up, was added in a block of its own",
];
