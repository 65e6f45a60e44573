//! A period of a log: whatever belongs to it is read, whatever the clock said and whoever planted segments.

use std::path::Path;
use std::sync::Arc;

use modgate::audit::segment::Segment;
use modgate::audit::verify::Kind;
use modgate::audit::verify::Period;
use modgate::audit::verify::Report;
use modgate::audit::verify::Subject;
use modgate::audit::verify::verify_period;
use modgate::clock::ManualClock;

use crate::audit_damage::chain_of;
use crate::audit_damage::opening;
use crate::audit_damage::sealed;
use crate::support::log::download;
use crate::support::log::settings;
use crate::support::log::write;

/// 2026-10-01T00:00:00Z.
const MIDNIGHT: u64 = 1_790_812_800;

/// A time of that day, as records write it.
fn at(hour: u64) -> String {
    format!("2026-10-01T{hour:02}:00:00.000000Z")
}

/// A log of one segment for each hour at which a boot began, in this order.
fn world(hours: &[u64]) -> (tempfile::TempDir, Vec<Segment>) {
    let directory = tempfile::tempdir().unwrap();
    for hour in hours {
        let mut settings = settings(directory.path());
        settings.clock = Arc::new(ManualClock::at_unix(MIDNIGHT + hour * 3600));
        let module = |n| format!("corp.example/m{n}");
        write(settings, (0..9).map(|n| download(&at(*hour), "user:a", &module(n))));
    }
    let segments = modgate::audit::segment::list(&directory.path().join("audit")).unwrap();
    assert_eq!(segments.len(), hours.len());
    (directory, segments)
}

/// Verifies what of the log overlaps a period.
fn verified(directory: &Path, from: Option<u64>, to: Option<u64>) -> Report {
    let keys = modgate::audit::keys::verifiers(&directory.join("audit.key")).unwrap();
    let directories = vec![directory.join("audit")];
    let subject = Subject { directories, node: "gw".to_owned(), keys, kept: String::new() };
    let period = Period { from: from.map(at), to: to.map(at) };
    verify_period(&subject, &period, &mut |_| ()).unwrap()
}

/// Changes one record in the middle of a segment; gives its number.
fn edit(segment: &Segment) -> u64 {
    let text = std::fs::read_to_string(segment.plain()).unwrap();
    std::fs::write(segment.plain(), text.replacen("corp.example/m4", "corp.example/m5", 1))
        .unwrap();
    let at = text.lines().position(|line| line.contains("corp.example/m4")).unwrap();
    segment.first + u64::try_from(at).unwrap()
}

/// Verification tells of one change in a record.
fn finds(report: &Report, seq: u64) {
    let found = report.findings.first().map(|found| (found.kind, found.seq));
    assert_eq!((report.exit_code(), found), (1, Some((Kind::Edited, seq))), "{report:?}");
}

#[test]
fn a_clock_that_was_wrong_and_set_back_takes_no_segment_out_of_a_period() {
    // the second boot had a clock that was three hours ahead
    let (directory, segments) = world(&[10, 14, 11]);
    for (from, to) in [(None, None), (Some(12), None), (None, Some(13))] {
        assert_eq!(verified(directory.path(), from, to).exit_code(), 0);
    }
    // it wrote records that say 14:00
    let text = std::fs::read_to_string(segments[1].plain()).unwrap();
    let seq = edit(&segments[1]);
    finds(&verified(directory.path(), Some(12), None), seq);
    std::fs::write(segments[1].plain(), text).unwrap();
    // the third one says 11:00
    let seq = edit(&segments[2]);
    finds(&verified(directory.path(), None, Some(13)), seq);
}

/// Puts a segment behind a log that says where the log stood, as it was, and that it began long ago; nobody signed it.
fn forge(segments: &[Segment]) -> Segment {
    let mut chain = chain_of(segments);
    let detail = opening(chain.edge.size(), chain.edge.roots(), &chain.last);
    let forged = Segment::new(&segments[0].directory, "gw", &"f".repeat(32), chain.next());
    std::fs::write(forged.plain(), sealed(&mut chain, "audit.start", &detail)).unwrap();
    forged
}

#[test]
fn a_forged_segment_that_says_it_is_older_hides_no_segment_of_the_period() {
    let (directory, segments) = world(&[10, 12]);
    assert_eq!(verified(directory.path(), Some(13), None).exit_code(), 0);
    let forged = forge(&segments);
    // no more than an unsigned end, if all is read; that it is older than the period is the word of nobody
    assert_eq!(verified(directory.path(), None, None).exit_code(), 0);
    let report = verified(directory.path(), Some(13), None);
    assert_eq!((report.exit_code(), report.signed), (2, forged.first - 1), "{report:?}");
    let seq = edit(&segments[1]);
    finds(&verified(directory.path(), Some(13), None), seq);
    std::fs::remove_file(forged.plain()).unwrap();
    finds(&verified(directory.path(), Some(13), None), seq);
}

#[test]
fn a_copy_of_a_segment_as_it_was_hides_no_changed_one() {
    let (directory, segments) = world(&[10, 12]);
    let copy = Segment::new(&segments[1].directory, "gw", &"f".repeat(32), segments[1].first);
    std::fs::copy(segments[1].plain(), copy.plain()).unwrap();
    let seq = edit(&segments[1]);
    finds(&verified(directory.path(), Some(13), None), seq);
}
