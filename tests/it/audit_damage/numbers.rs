//! Numbers in records and names that no log has: whoever reads says so, and ends with an answer.

use std::io::Write as _;

use modgate::audit::chain::Chain;
use modgate::audit::prove::ProofError;
use modgate::audit::prove::prove;
use modgate::audit::segment::Segment;
use modgate::audit::verify::Kind;
use modgate::tlog::checkpoint::Checkpoint;
use modgate::tlog::note::sign;

use crate::audit_damage::chain_of;
use crate::audit_damage::opening;
use crate::audit_damage::sealed;
use crate::support::log::download;
use crate::support::log::settings;
use crate::support::log::verified;
use crate::support::log::write;

/// A log of three segments.
fn world() -> (tempfile::TempDir, Vec<Segment>) {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let event = || download("2026-10-01T12:00:00.000000Z", "user:a", "corp.example/m");
        write(settings(directory.path()), [event()]);
    }
    let segments = modgate::audit::segment::list(&directory.path().join("audit")).unwrap();
    (directory, segments)
}

#[test]
fn a_first_record_that_tells_of_more_records_than_there_can_be_is_believed_by_nobody() {
    let (directory, segments) = world();
    let many = (0..64).map(|_| [7; 32]).collect::<Vec<_>>();
    for (size, name) in [(u64::MAX, 99), (u64::MAX - 1, u64::MAX)] {
        let roots = &many[..usize::try_from(size.count_ones()).unwrap()];
        let detail = opening(size, roots, &[7; 32]);
        let planted = Segment::new(&segments[0].directory, "gw", &"f".repeat(32), name);
        let mut chain = Chain { last: [7; 32], ..Chain::default() };
        let lines = [0; 3].map(|_| sealed(&mut chain, "audit.start", &detail));
        std::fs::write(planted.plain(), lines.concat()).unwrap();
        let report = verified(directory.path(), "");
        let found = report.findings.first().map(|found| (found.kind, found.seq));
        assert_eq!(found, Some((Kind::Missing, report.last + 1)), "{report:?}");
        // and the gateway goes on with its log
        let event = download("2026-10-01T12:00:00.000000Z", "user:a", "corp.example/m");
        write(settings(directory.path()), [event]);
        std::fs::remove_file(planted.plain()).unwrap();
    }
}

#[test]
fn a_record_of_a_removal_explains_what_is_not_there_once_a_checkpoint_covers_it() {
    let (directory, segments) = world();
    let mut chain = chain_of(&segments);
    std::fs::remove_file(segments[1].plain()).unwrap();
    let removed = serde_json::json!({"first": "1", "last": u64::MAX.to_string()});
    let mut last = std::fs::File::options().append(true).open(segments[2].plain()).unwrap();
    last.write_all(&sealed(&mut chain, "audit.delete", &removed)).unwrap();
    let told = |kept: &str| {
        let report = verified(directory.path(), kept);
        let first = segments[1].first;
        let of_hole = report.remarks.iter().filter(|remark| remark.seq == first);
        (report.exit_code(), of_hole.map(|remark| remark.kind).collect::<Vec<_>>())
    };
    // anybody can write such a record at the end, and then nobody can tell
    assert_eq!(told(""), (2, vec!["hole"]));
    let origin = "modgate/gw";
    let (size, root) = (chain.edge.size(), chain.root());
    let words = Checkpoint { origin: origin.to_owned(), size, root }.to_string();
    let key = directory.path().join("audit.key");
    let note = sign(&words, &modgate::audit::keys::signers(&key, origin).unwrap());
    assert_eq!(told(&note), (0, vec!["deleted"]));
}

#[test]
fn a_segment_that_is_said_to_begin_before_the_first_record_is_told() {
    let (directory, segments) = world();
    let planted = Segment::new(&segments[0].directory, "gw", &"f".repeat(32), 0);
    for lines in [b"".as_slice(), b"x\n", &std::fs::read(segments[0].plain()).unwrap()] {
        std::fs::write(planted.plain(), lines).unwrap();
        let report = verified(directory.path(), "");
        let [found] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((found.kind, &found.segment), (Kind::Edited, &planted.stem));
        // the log itself is verified all the same
        assert_eq!(report.signed, chain_of(&segments).edge.size());
    }
    let asked = prove(std::slice::from_ref(&planted.directory), "gw", 0, &mut |_| ());
    assert!(matches!(asked, Err(ProofError::NoRecord)), "{asked:?}");
}
