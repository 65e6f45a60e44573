//! What an index must tell, and when it is made again.

use std::fmt::Write as _;

use super::*;
use crate::audit::keeper;
use crate::config::audit::Packing;

/// A thousand records, of which every seventh is by one of a few, and every hundredth below a path.
fn records() -> String {
    let mut lines = String::new();
    for seq in 1..=1_000_u64 {
        let actor = if seq % 7 == 0 { "user:rare" } else { "user:usual" };
        let module = if seq % 100 == 0 { "corp.example/a/b" } else { "corp.example/c" };
        let (rule, ip) = match seq {
            500..=510 => ("seldom", "10.0.0.9"),
            _ => ("usual", "10.0.0.1"),
        };
        let filler = "x".repeat(usize::try_from(seq % 300).unwrap());
        writeln!(
            lines,
            r#"{{"seq":{seq},"time":"t{seq:04}","event":"module.zip","outcome":"allowed","actor":{{"id":"{actor}"}},"decision":{{"rule":"{rule}"}},"source":{{"ip":"{ip}"}},"resource":{{"module":"{module}","filler":"{filler}"}}}}"#
        )
        .unwrap();
    }
    // a member of the wrong kind, and no record at all
    lines.push_str(r#"{"seq":1001,"time":7,"actor":{"id":"user:rare"},"event":"odd"}"#);
    lines.push_str("\nnot a record\n");
    lines
}

fn closed(directory: &std::path::Path, packing: Packing) -> Segment {
    let segment = Segment::new(directory, "gw", &"0191".repeat(8), 1);
    std::fs::write(segment.plain(), records()).unwrap();
    keeper::close(&segment, packing).unwrap();
    segment
}

/// Which blocks an index names for a key, and in which a text stands.
fn blocks(index: &Index, key: Key<'_>, text: &str) -> (Vec<u64>, Vec<u64>) {
    let mut reader = Reader::new().unwrap();
    let named = index.blocks_with(key.hash()).unwrap();
    index.prefetch(&named, 1 << 20).unwrap();
    let mut holds = |block: &u64| {
        let lines = String::from_utf8(reader.read(index, *block).unwrap().to_owned()).unwrap();
        lines.contains(text)
    };
    (named, (0..index.head.blocks).filter(|block| holds(block)).collect())
}

#[test]
fn an_index_names_every_block_that_has_a_key_and_no_other() {
    for packing in [Packing::Compress, Packing::Leave] {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::read(&closed(directory.path(), packing)).unwrap();
        let all = index.head.blocks;
        assert_eq!((index.head.first, index.head.last, all > 5), (1, 1_001, true));
        assert_eq!((index.head.from.as_str(), index.head.to.as_str()), ("t0001", "t1000"));
        assert_eq!(index.head.events["module.zip allowed"], 1_000);
        for (key, text) in [
            (Key::Actor("user:rare"), r#""user:rare""#),
            (Key::Module("corp.example/a/b"), r#""corp.example/a/b""#),
            (Key::Below("corp.example/a"), r#""corp.example/a/b""#),
            (Key::Below("corp.example"), r#""corp.example/"#),
            (Key::Event("odd"), r#""odd""#),
            (Key::Source("10.0.0.9"), r#""10.0.0.9""#),
            (Key::Rule("seldom"), r#""seldom""#),
            (Key::Actor("user"), r#""user""#),
            (Key::Module("corp.example/a"), r#""corp.example/a""#),
        ] {
            let (named, holding) = blocks(&index, key, text);
            assert_eq!(named, holding, "{key:?}");
        }
        let (seldom, _) = blocks(&index, Key::Rule("seldom"), "");
        assert!((1..=3).contains(&seldom.len()) && all > 5, "{seldom:?} of {all}");
    }
}

#[test]
fn very_long_paths_are_told_apart_to_their_eighth_element() {
    let path = "a/b/c/d/e/f/g/h/i/j";
    assert_eq!(Key::below(path), Key::Below("a/b/c/d/e/f/g/h"));
    assert_eq!(Key::below("a/b/c/d/e/f/g/h"), Key::Below("a/b/c/d/e/f/g/h"));
    let directory = tempfile::tempdir().unwrap();
    let segment = Segment::new(directory.path(), "gw", &"0191".repeat(8), 1);
    std::fs::write(
        segment.plain(),
        format!("{{\"seq\":1,\"resource\":{{\"module\":\"{path}\"}}}}\n"),
    )
    .unwrap();
    let index = Index::open(&segment).unwrap();
    // the module, its eight paths, and an event that it has not
    assert_eq!(index.head.keys, 10);
    assert_eq!(index.blocks_with(Key::below("a/b/c/d/e/f/g/h/i").hash()).unwrap(), [0]);
    assert_eq!(index.blocks_with(Key::below("a/b/c").hash()).unwrap(), [0]);
}

#[test]
fn an_index_is_made_again_where_it_is_missing_cut_old_or_about_a_file_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let segment = closed(directory.path(), Packing::Leave);
    let whole = std::fs::read(segment.index()).unwrap();
    let old = String::from_utf8_lossy(&whole).replacen(r#""v":2"#, r#""v":1"#, 1);
    for spoilt in [&whole[..whole.len() - 1], &whole[..40], old.as_bytes(), b"\n", b""] {
        std::fs::write(segment.index(), spoilt).unwrap();
        assert!(Index::read(&segment).is_err());
        Index::open(&segment).unwrap();
        assert_eq!(std::fs::read(segment.index()).unwrap(), whole);
    }
    // of another file: longer, or gone
    std::fs::write(segment.plain(), records() + "{\"seq\":1002}\n").unwrap();
    assert!(Index::read(&segment).is_err());
    assert_eq!(Index::open(&segment).unwrap().head.last, 1_002);
    // the plain file counts while it is there
    std::fs::write(segment.packed(), zstd::bulk::compress(b"{\"seq\":7}\n", 1).unwrap()).unwrap();
    build_of(&segment, Form::Packed).unwrap();
    assert!(Index::read(&segment).is_err());
    assert!(!Index::open(&segment).unwrap().head.packed);
    // frames of a mebibyte, as they were once
    let packed = zstd::bulk::compress(records().as_bytes(), 3).unwrap();
    std::fs::write(segment.packed(), packed).unwrap();
    std::fs::remove_file(segment.plain()).unwrap();
    assert!(Index::read(&segment).is_err());
    let index = Index::open(&segment).unwrap();
    assert_eq!((index.head.packed, index.head.blocks), (true, 1));
    assert_eq!(blocks(&index, Key::Actor("user:rare"), r#""user:rare""#).0, [0]);
    let cut = std::fs::read(segment.packed()).unwrap();
    std::fs::write(segment.packed(), &cut[..cut.len() - 3]).unwrap();
    assert!(build(&segment).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left over");
}

#[test]
fn a_line_without_an_end_is_an_error_and_no_endless_memory() {
    let mut endless = io::BufReader::new(io::repeat(0).take(1 << 20));
    let mut into = Vec::new();
    assert!(read_lines(&mut endless, 1 << 20, &mut into).is_err());
    assert!(into.is_empty() && into.capacity() <= 1 << 18);
}

proptest::proptest! {
    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_panics(
        numbers in proptest::collection::vec(proptest::prelude::any::<u32>(), 0..50),
        junk in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..50),
    ) {
        let (mut bytes, mut sum, mut sums) = (Vec::new(), 0, Vec::new());
        for number in numbers {
            let distance = u64::from(number) + u64::from(!sums.is_empty());
            put(distance, &mut bytes);
            sum += distance;
            sums.push(sum);
        }
        proptest::prop_assert_eq!(distances(&bytes), Some(sums));
        let _any = distances(&junk);
    }
}
