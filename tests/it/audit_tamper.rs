//! A log that somebody changed: every change is found, and the first bad record is named.

use std::path::Path;

use modgate::audit::verify::Kind;
use modgate::audit::witness::register::Looked;
use modgate::tlog::note::Signer;

use crate::support::dice::Dice;
use crate::support::log::download;
use crate::support::log::rewritten;
use crate::support::log::segment;
use crate::support::log::settings;
use crate::support::log::verified;
use crate::support::log::write;

const RECORDS: u64 = 60;

/// A log of sixty downloads, a start and a stop.
fn world() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let events = (0..RECORDS).map(|n| {
        download("2026-10-01T12:00:00.000000Z", "user:token:alice", &format!("corp.example/m{n}"))
    });
    write(settings(directory.path()), events);
    directory
}

/// Changes the text of a log in one way; gives it and the number of the first record that is bad.
fn change(lines: &[&str], way: usize, dice: &mut Dice) -> (String, u64) {
    let at = dice.below(lines.len());
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    match way {
        // any byte becomes another one
        0 => {
            let byte = dice.below(lines[at].len() - 1);
            let mut bytes = lines[at].clone().into_bytes();
            bytes[byte] = if bytes[byte] == b'x' { b'y' } else { b'x' };
            lines[at] = String::from_utf8_lossy(&bytes).into_owned();
        }
        1 => drop(lines.remove(at)),
        2 => {
            let other = (at + 1 + dice.below(lines.len() - 1)) % lines.len();
            lines.swap(at, other);
            let first = at.min(other);
            return (lines.concat(), u64::try_from(first).unwrap() + 1);
        }
        3 => {
            let copy = lines[dice.below(lines.len())].clone();
            lines.insert(at, copy);
            // a record before itself is at its place; its second standing is not
            let first = if lines[at] == lines[at + 1] { at + 1 } else { at };
            return (lines.concat(), u64::try_from(first).unwrap() + 1);
        }
        4 => {
            // a record that never was, in any place: it looks like one, up to its number and its chain value
            let at = dice.below(lines.len() + 1);
            let like = lines[dice.below(lines.len())].replace("corp.example", "evil.example");
            lines.insert(at, invented(&like, u64::try_from(at).unwrap() + 1, dice));
            return (lines.concat(), u64::try_from(at).unwrap() + 1);
        }
        _ => {
            let whole = lines.concat();
            let end = dice.below(whole.len());
            let text = String::from_utf8(whole.as_bytes()[..end].to_vec()).unwrap();
            let whole_lines = text.matches('\n').count();
            return (text, u64::try_from(whole_lines).unwrap() + 1);
        }
    }
    (lines.concat(), u64::try_from(at).unwrap() + 1)
}

/// A line like another one, with a number and a chain value that somebody made up.
fn invented(like: &str, seq: u64, dice: &mut Dice) -> String {
    let (_, rest) = like.split_once(",\"time\":").unwrap();
    let (rest, _) = rest.rsplit_once(",\"chain\":\"").unwrap();
    let value: [u8; 32] = std::array::from_fn(|_| u8::try_from(dice.below(256)).unwrap());
    let value = modgate::audit::chain::text_of(&value);
    format!("{{\"v\":1,\"seq\":{seq},\"time\":{rest},\"chain\":\"{value}\"}}\n")
}

#[test]
fn two_thousand_changes_are_found_and_the_first_bad_record_is_named() {
    let world = world();
    let path = segment(world.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(verified(world.path(), "").exit_code(), 0);
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut found, mut named) = (0, 0);
    for n in 0..CHANGES {
        let (changed, bad) = change(&lines, n % 6, &mut dice);
        std::fs::write(&path, changed).unwrap();
        let report = verified(world.path(), "");
        found += usize::from(report.exit_code() == 1);
        let first = report.findings.first().map(|finding| finding.seq);
        assert_eq!(first, Some(bad), "change {n} ({}): {report:?}", n % 6);
        named += 1;
    }
    assert_eq!((found, named), (CHANGES, CHANGES));
    std::fs::write(&path, text).unwrap();
    assert_eq!(verified(world.path(), "").exit_code(), 0);
}

#[test]
fn each_kind_of_change_has_its_name() {
    let world = world();
    let path = segment(world.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let kind = |lines: &[&str]| {
        std::fs::write(&path, lines.concat()).unwrap();
        verified(world.path(), "").findings[0].kind
    };
    let edited = lines[5].replace("corp.example", "corp.examp1e");
    assert_eq!(kind(&[&lines[..5], &[edited.as_str()][..], &lines[6..]].concat()), Kind::Edited);
    assert_eq!(kind(&[&lines[..5], &lines[6..]].concat()), Kind::Missing);
    assert_eq!(
        kind(&[&lines[..5], &[lines[6], lines[5]][..], &lines[7..]].concat()),
        Kind::Reordered
    );
    assert_eq!(kind(&[&lines[..5], &lines[4..]].concat()), Kind::Repeated);
    assert_eq!(kind(&lines[..20]), Kind::Truncated);
}

/// Writes every line anew, chained again, with another module in one of them.
fn rewrite(path: &Path) {
    std::fs::write(path, rewritten(&std::fs::read(path).unwrap())).unwrap();
}

#[test]
fn a_log_that_was_chained_again_does_not_fit_its_checkpoints() {
    let world = world();
    rewrite(&segment(world.path()));
    let report = verified(world.path(), "");
    assert_eq!((report.exit_code(), report.findings[0].kind), (1, Kind::Rewritten));
    assert_eq!(report.findings[0].seq, 2, "the first checkpoint, over the start, still fits");
}

#[test]
fn a_foreign_key_and_a_missing_checkpoint_are_found() {
    let world = world();
    let notes = segment(world.path()).with_extension("checkpoints");
    let own = std::fs::read_to_string(&notes).unwrap();
    // the same words, signed by somebody else
    let stranger = Signer::from_seed("modgate/gw", [7; 32]).unwrap();
    let last = modgate::tlog::note::split(&own).pop().unwrap().to_owned();
    let words = modgate::tlog::note::Note::parse(&last).unwrap().text;
    std::fs::write(&notes, modgate::tlog::note::sign(&words, [&stranger])).unwrap();
    let report = verified(world.path(), "");
    assert_eq!((report.exit_code(), report.findings[0].kind), (1, Kind::ForeignKey));
    // without any checkpoint nobody can tell
    std::fs::remove_file(&notes).unwrap();
    assert_eq!(verified(world.path(), "").exit_code(), 2);
    // with the one that was kept elsewhere somebody can
    assert_eq!(verified(world.path(), &last).exit_code(), 0);
}

#[test]
fn an_old_state_that_was_put_back_does_not_fit_a_checkpoint_kept_elsewhere() {
    let world = world();
    let (audit, old) = (world.path().join("audit"), world.path().join("old"));
    copy(&audit, &old);
    let more = (0..5).map(|n| download("2026-10-02T12:00:00.000000Z", "user:a", &format!("m{n}")));
    write(settings(world.path()), more);
    let segments = modgate::audit::segment::list(&audit).unwrap();
    let kept = std::fs::read_to_string(segments[1].checkpoints()).unwrap();
    assert_eq!(verified(world.path(), &kept).exit_code(), 0);
    // an old segment under a newer name
    let newer = std::fs::read(segments[1].plain()).unwrap();
    std::fs::copy(segments[0].plain(), segments[1].plain()).unwrap();
    assert_eq!(verified(world.path(), "").findings[0].kind, Kind::Repeated);
    std::fs::write(segments[1].plain(), newer).unwrap();
    // everything as it was
    std::fs::remove_dir_all(&audit).unwrap();
    copy(&old, &audit);
    assert_eq!(verified(world.path(), "").exit_code(), 0, "by itself it looks well");
    let report = verified(world.path(), &kept);
    assert_eq!((report.exit_code(), report.findings[0].kind), (1, Kind::Truncated));
    // a stranger's note beside it hides nothing
    let stranger = Signer::from_seed("modgate/gw", [7; 32]).unwrap();
    let last = modgate::tlog::note::split(&kept).pop().unwrap().to_owned();
    let words = modgate::tlog::note::Note::parse(&last).unwrap().text;
    let notes = segments[0].checkpoints();
    let own = std::fs::read_to_string(&notes).unwrap();
    std::fs::write(&notes, own + modgate::tlog::note::sign(&words, [&stranger]).as_str()).unwrap();
    let report = verified(world.path(), &kept);
    assert!(report.findings.iter().any(|finding| finding.kind == Kind::Truncated), "{report:?}");
}

#[test]
fn of_two_directories_the_one_that_has_more_of_a_segment_is_read_compressed_or_not() {
    let world = world();
    let (audit, second) = (world.path().join("audit"), world.path().join("second"));
    copy(&audit, &second);
    // the second one hung in the middle, and the first one is compressed
    let cut = modgate::audit::segment::list(&second).unwrap().remove(0).plain();
    let text = std::fs::read_to_string(&cut).unwrap();
    let half: Vec<_> = text.lines().take(30).collect();
    std::fs::write(&cut, format!("{}\n", half.join("\n"))).unwrap();
    let whole = modgate::audit::segment::list(&audit).unwrap().remove(0);
    modgate::audit::keeper::close(&whole, modgate::config::audit::Packing::Compress).unwrap();
    assert!(whole.packed().metadata().unwrap().len() < cut.metadata().unwrap().len());
    for directories in [[audit.clone(), second.clone()], [second, audit]] {
        let question = modgate::audit::verify::Subject {
            directories: directories.into(),
            node: "gw".to_owned(),
            keys: modgate::audit::keys::verifiers(&world.path().join("audit.key")).unwrap(),
            kept: String::new(),
        };
        let report = modgate::audit::verify::verify(&question, &mut |_| ()).unwrap();
        assert_eq!((report.exit_code(), report.records), (0, RECORDS + 2), "{report:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_new_key_is_believed_because_the_old_one_vouches_for_it() {
    let world = world();
    let file = world.path().join("audit.key");
    let of_file = || modgate::audit::keys::verifiers(&file).unwrap();
    let old = of_file();
    let more = |day: u32| {
        let time = format!("2026-10-{day:02}T12:00:00.000000Z");
        write(settings(world.path()), (0..5).map(|n| download(&time, "user:a", &format!("m{n}"))));
    };
    let verified = |keys: Vec<_>| {
        let directories = vec![world.path().join("audit")];
        let (node, kept) = ("gw".to_owned(), String::new());
        let question = modgate::audit::verify::Subject { directories, node, keys, kept };
        modgate::audit::verify::verify(&question, &mut |_| ()).unwrap()
    };
    modgate::audit::keys::rotate(&file, "modgate/gw").unwrap();
    let both = of_file();
    let (former, new) = (old[0].clone(), both[1].clone());
    // however many checkpoints somebody misses, the next one tells of the new key
    more(2);
    more(3);
    for segment in &modgate::audit::segment::list(&world.path().join("audit")).unwrap()[1..] {
        let notes = std::fs::read_to_string(segment.checkpoints()).unwrap();
        for note in modgate::tlog::note::split(&notes) {
            let note = modgate::tlog::note::Note::parse(note).unwrap();
            assert!(note.is_signed_by(&former) && note.is_signed_by(&new), "{note:?}");
        }
    }
    let well = |keys: &[_]| {
        let report = verified(keys.to_vec());
        assert_eq!(report.exit_code(), 0, "{report:?}");
        assert_eq!(report.signed, report.last);
        report
    };
    well(&old);
    well(&both);
    let remarks = well(std::slice::from_ref(&new)).remarks;
    assert!(remarks.iter().any(|remark| remark.kind == "other_key"), "{remarks:?}");
    // the former line is taken out
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.lines().last().unwrap()).unwrap();
    more(4);
    assert_eq!(of_file().as_slice(), std::slice::from_ref(&new));
    for keys in [&old, &both, &vec![new.clone()]] {
        well(keys);
    }
    // what a former key signed is a stranger's while nothing believed follows
    let segments = modgate::audit::segment::list(&world.path().join("audit")).unwrap();
    for segment in &segments[1..] {
        std::fs::remove_file(segment.plain()).unwrap();
        std::fs::remove_file(segment.checkpoints()).unwrap();
    }
    let report = verified(vec![new]);
    assert_eq!((report.exit_code(), report.findings[0].kind), (1, Kind::ForeignKey));
    assert_eq!(verified(old).exit_code(), 0);
}

#[test]
fn a_witness_that_was_away_believes_the_new_key_by_any_later_checkpoint() {
    let world = world();
    let file = world.path().join("audit.key");
    let register = modgate::audit::witness::register::Register::open(
        &world.path().join("witness"),
        "modgate",
        "other",
    )
    .unwrap();
    let steps = |day: u32| {
        let time = format!("2026-10-{day:02}T12:00:00.000000Z");
        let mut told = crate::support::log::steps(
            settings(world.path()),
            [download(&time, "user:a", "corp.example/m")],
        );
        told.pop().unwrap().step.write()
    };
    let first = register.look("gw", 1, &steps(2)).unwrap();
    assert!(matches!(first, Looked::Signed(..)), "{first:?}");
    modgate::audit::keys::rotate(&file, "modgate/gw").unwrap();
    let _missed = (steps(3), steps(4));
    let later = register.look("gw", 2, &steps(5)).unwrap();
    assert!(matches!(later, Looked::Signed(..)), "{later:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.lines().last().unwrap()).unwrap();
    let alone = register.look("gw", 3, &steps(6)).unwrap();
    assert!(matches!(alone, Looked::Signed(..)), "{alone:?}");
}

#[test]
fn a_witness_signs_only_what_grew_from_what_it_signed_before() {
    let world = world();
    let witness = || {
        let mut command = crate::support::gateway::modgate();
        command.current_dir(world.path()).args([
            "audit",
            "witness",
            "--node",
            "gw",
            "--name",
            "witness-1",
        ]);
        command.args(["--state", "seen", "--witness-key", "witness.key", "--dir", "audit"]);
        let output = command.args(["--set", "audit.key_file=audit.key"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, first) = witness();
    assert_eq!(code, Some(0), "{first}");
    let key = &modgate::audit::keys::verifiers(&world.path().join("witness.key")).unwrap()[0];
    assert!(modgate::tlog::note::Note::parse(&first).unwrap().is_signed_by(key));
    let more = |day: &str| {
        let time = format!("2026-10-{day}T12:00:00.000000Z");
        write(settings(world.path()), [download(&time, "user:a", "corp.example/new")]);
    };
    let old = world.path().join("old");
    copy(&world.path().join("audit"), &old);
    more("02");
    let (code, second) = witness();
    assert_eq!((code, second == first), (Some(0), false));
    // put back and grown in another way: it looks well by itself, and the witness knows better
    std::fs::remove_dir_all(world.path().join("audit")).unwrap();
    copy(&old, &world.path().join("audit"));
    more("03");
    assert_eq!(verified(world.path(), "").exit_code(), 0);
    let (code, told) = witness();
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(std::fs::read_to_string(world.path().join("seen")).unwrap(), second);
}

const CHANGES: usize = 2000;
