//! The table of zips, made with Go's own library, and mutations of a good one.

use std::io::Cursor;

use super::*;
use crate::goproxy::vectors::rows;
use proptest::prelude::*;

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/vectors/zip/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn checked(bytes: &[u8], path: &str, version: &str) -> Result<ZipReport, ZipError> {
    let (path, version) = (ModulePath::parse(path).unwrap(), Version::parse(version).unwrap());
    check(Cursor::new(bytes), bytes.len() as u64, &path, &version)
}

#[test]
fn every_zip_of_the_table_gets_its_verdict_and_its_sum() {
    let mut accepted = 0;
    for row in rows("zip/cases.tsv") {
        let [name, path, version, entries, _library, _go, verdict, h1, what] = row.as_slice()
        else {
            panic!("{row:?}")
        };
        match checked(&file(name), path, version) {
            Ok(report) => {
                assert_eq!(verdict, "accept", "{name}: {what}");
                assert_eq!(report.h1.to_string(), *h1, "{name}");
                assert_eq!(report.entries.to_string(), *entries, "{name}");
                accepted += 1;
            }
            Err(error) => assert_eq!(verdict, "refuse", "{name}: {what}: {error}"),
        }
    }
    assert!(accepted >= 10);
}

#[test]
fn every_file_name_of_the_table_gets_its_verdict() {
    for row in rows("zip/file_names.tsv") {
        let [name, verdict] = row.as_slice() else { panic!("{row:?}") };
        let found = names::check_file_path(name);
        assert_eq!(found.is_ok(), verdict == "ok", "{name:?}: {found:?}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_is_refused_or_changes_nothing_that_counts(at in 0_usize..400, bit in 0_u8..8) {
        let mut bytes = file("plain_deflate.zip");
        let good = checked(&bytes, "example.com/m", "v1.0.0").unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
            if let Ok(report) = checked(&bytes, "example.com/m", "v1.0.0") {
                prop_assert_eq!(report.h1, good.h1);
            }
        }
    }

    #[test]
    fn a_cut_zip_is_refused(cut in 1_usize..300) {
        let bytes = file("plain_deflate.zip");
        let kept = bytes.len().saturating_sub(cut);
        prop_assert!(checked(&bytes[..kept], "example.com/m", "v1.0.0").is_err());
    }

    #[test]
    fn nothing_makes_the_check_panic(bytes in any::<Vec<u8>>()) {
        let _any = checked(&bytes, "example.com/m", "v1.0.0");
        let mut with_end = bytes;
        with_end.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2e\0\0\0\0\0\0\0\0\0");
        let _any = checked(&with_end, "example.com/m", "v1.0.0");
    }
}
