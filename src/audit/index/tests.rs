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
        let filler = "x".repeat(usize::try_from(seq % 300).unwrap());
        writeln!(
            lines,
            r#"{{"seq":{seq},"time":"t{seq:04}","event":"module.zip","outcome":"allowed","actor":{{"id":"{actor}"}},"resource":{{"module":"{module}","filler":"{filler}"}}}}"#
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

/// The lines of the blocks that an index gives for a key.
fn lines(index: &Index, key: Key<'_>) -> (usize, Vec<String>) {
    let mut reader = Reader::new().unwrap();
    let blocks = index.blocks_with(key).unwrap();
    index.prefetch(&blocks).unwrap();
    let text: String = blocks
        .iter()
        .map(|block| String::from_utf8(reader.read(index, *block).unwrap().to_owned()).unwrap())
        .collect();
    (blocks.len(), text.lines().map(str::to_owned).collect())
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
        for (key, wanted) in [
            (Key::Actor("user:rare"), r#""user:rare""#),
            (Key::Module("corp.example/a/b"), r#""corp.example/a/b""#),
            (Key::Below("corp.example/a"), r#""corp.example/a/b""#),
            (Key::Event("odd"), r#""odd""#),
        ] {
            let (blocks, lines) = lines(&index, key);
            let found = lines.iter().filter(|line| line.contains(wanted)).count();
            let expected = records().lines().filter(|line| line.contains(wanted)).count();
            assert_eq!(found, expected, "{key:?}");
            assert!(blocks as u64 <= all);
        }
        assert_eq!(lines(&index, Key::Event("odd")).0, 1);
        assert_eq!(index.blocks_with(Key::Below("corp.example")).unwrap().len() as u64, all);
        for nobody in [Key::Actor("user"), Key::Module("corp.example/a"), Key::Rule("")] {
            assert!(index.blocks_with(nobody).unwrap().is_empty(), "{nobody:?}");
        }
    }
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
    // frames of a mebibyte, as they were once
    let packed = zstd::bulk::compress(records().as_bytes(), 3).unwrap();
    std::fs::write(segment.packed(), packed).unwrap();
    std::fs::remove_file(segment.plain()).unwrap();
    assert!(Index::read(&segment).is_err());
    let index = Index::open(&segment).unwrap();
    assert_eq!((index.head.packed, index.head.blocks), (true, 1));
    assert_eq!(lines(&index, Key::Actor("user:rare")).1.len(), records().lines().count());
    // cut: whoever asks reads what is left
    let cut = std::fs::read(segment.packed()).unwrap();
    std::fs::write(segment.packed(), &cut[..cut.len() - 3]).unwrap();
    assert!(build(&segment).is_err());
}

proptest::proptest! {
    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_panics(
        numbers in proptest::collection::vec(proptest::prelude::any::<u32>(), 0..50),
        junk in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..50),
    ) {
        let (mut bytes, mut sum, mut sums) = (Vec::new(), 0, Vec::new());
        for number in numbers {
            put(u64::from(number), &mut bytes);
            sum += u64::from(number);
            sums.push(sum);
        }
        proptest::prop_assert_eq!(distances(&bytes), Some(sums));
        let _any = distances(&junk);
    }
}
