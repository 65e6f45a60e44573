//! The table of zips, made with Go's own library, forged ones, and mutations of a good one.

use std::io::Cursor;
use std::io::Write as _;

use super::*;
use crate::goproxy::vectors::rows;
use flate2::Compression;
use flate2::Crc;
use flate2::write::DeflateEncoder;
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

fn verdict(bytes: &[u8]) -> Result<ZipReport, ZipError> {
    checked(bytes, "example.com/m", "v1.0.0")
}

fn gomod() -> Part {
    stored("go.mod", b"module example.com/m\n")
}

fn source() -> Part {
    stored("a.go", b"package m\n")
}

fn evil() -> Part {
    stored("a.go", b"package evil\n")
}

/// The two usual entries, the second one changed.
fn changed(change: impl FnOnce(&mut Part)) -> Vec<u8> {
    let mut part = source();
    change(&mut part);
    zip(&[gomod(), part])
}

#[test]
fn the_report_holds_the_sum_of_the_gomod() {
    let report = verdict(&zip(&[source(), gomod()])).unwrap();
    assert_eq!(report.gomod_h1, Some(H1::of_gomod(b"module example.com/m\n")));
    assert_eq!(report.unpacked, 31);
    assert_eq!(verdict(&zip(&[source()])).unwrap().gomod_h1, None);
}

#[test]
fn an_archive_hidden_in_the_comment_of_another_is_refused() {
    // Go takes the last end record whose comment fits into the file
    let (body, directory) = halves(&[gomod(), source()], 0);
    let base = body.len() + directory.len() + 22;
    let (hidden, hidden_directory) = halves(&[evil()], base);
    let hidden_end = end(1, hidden_directory.len(), base + hidden.len(), b"");
    let comment = [hidden, hidden_directory, hidden_end, b"x".to_vec()].concat();
    let outer = end(2, directory.len(), body.len(), &comment);
    assert!(matches!(verdict(&[body, directory, outer].concat()), Err(ZipError::NotAZip)));
}

#[test]
fn a_second_directory_behind_a_64_bit_locator_is_refused() {
    // Go looks for a locator when the directory has 65,535 bytes; this one stands in the last comment
    let secret = gomod().central(0);
    let mut parts = vec![gomod(), evil(), stored("b.bin", b"")];
    let at = halves(&parts, 0).0.len();
    let (record, locator) = end64(1, secret.len(), at, at + secret.len());
    parts[2] = stored("b.bin", &[secret, record].concat());
    let filler = 65_535 - halves(&parts, 0).1.len() - locator.len();
    parts[2].comment = [vec![b'c'; filler], locator].concat();
    let (body, directory) = halves(&parts, 0);
    assert_eq!(directory.len(), 65_535);
    assert!(verdict(&zip(&parts)).is_err());
    // the same without the trick is a zip
    parts[2].comment.clear();
    assert!(verdict(&zip(&parts)).is_ok());
    assert!(!body.is_empty());
}

#[test]
fn a_name_of_many_elements_costs_no_more_than_its_length() {
    let deep = vec!["a"; 30_000].join("/");
    let other = format!("{deep}/A");
    assert!(verdict(&zip(&[gomod(), stored(&deep, b"")])).is_ok());
    assert!(verdict(&zip(&[stored(&other, b""), stored(&deep, b"")])).is_err());
}

#[test]
fn bytes_that_belong_to_no_entry_are_refused_wherever_they_stand() {
    for after in [b"JUNKJUNK".to_vec(), evil().local(), vec![0; 16]] {
        let mut first = gomod();
        first.after = after.clone();
        assert!(verdict(&zip(&[first, source()])).is_err(), "between two entries");
        assert!(verdict(&changed(|part| part.after = after)).is_err(), "before the directory");
    }
}

#[test]
fn a_descriptor_says_what_the_directory_says_or_the_zip_is_refused() {
    let part = deflated("a.go", b"package m\n");
    let [crc, packed, len] = part.numbers[1];
    let with = |numbers| verdict(&zip(&[part.clone().described(numbers), gomod()]));
    assert!(with([crc, packed, len]).is_ok());
    for numbers in [[crc ^ 1, packed, len], [crc, packed + 1, len], [crc, packed, 99]] {
        assert!(matches!(with(numbers), Err(ZipError::Headers(_))), "{numbers:?}");
    }
    let after = |after| {
        let mut part = part.clone().described([crc, packed, len]);
        part.after = after;
        verdict(&zip(&[part, gomod()])).is_ok()
    };
    assert!(after(le32(&[crc, packed, len])), "without its mark");
    let wide = [le32(&[crc]), le64(&[packed.into(), len.into()])].concat();
    assert!(after(wide.clone()), "with 64-bit sizes");
    assert!(after([b"PK\x07\x08".to_vec(), wide].concat()), "with both");
    assert!(!after(Vec::new()), "missing");
    assert!(!after([b"PK\x08\x07".to_vec(), le32(&[crc, packed, len])].concat()), "wrong mark");
}

#[test]
fn a_local_header_that_differs_is_refused() {
    type Change = fn(&mut Part);
    let changes: [(&str, Change); 6] = [
        ("checksum", |part| part.numbers[0][0] ^= 1),
        ("packed size", |part| part.numbers[0][1] += 1),
        ("size", |part| part.numbers[0][2] = 0),
        ("descriptor bit before", |part| part.flags[0] = 8),
        ("descriptor bit in the directory", |part| part.flags[1] = 8),
        ("encryption bit", |part| part.flags[0] = 1),
    ];
    for (what, change) in changes {
        assert!(verdict(&changed(change)).is_err(), "{what}");
    }
}

#[test]
fn a_stream_that_stops_early_or_goes_on_is_refused() {
    let good = deflated("a.go", b"package m\n");
    for packed in [
        Vec::new(),
        good.packed[..good.packed.len() - 1].to_vec(),
        [good.packed.clone(), b"HIDDEN".to_vec()].concat(),
        [good.packed.clone(), vec![0; 200_000]].concat(),
        // a stored block that is not the last one
        b"\x00\x0a\x00\xf5\xffpackage m\n".to_vec(),
    ] {
        let mut part = good.clone();
        let len = u32::try_from(packed.len()).unwrap();
        (part.numbers[0][1], part.numbers[1][1]) = (len, len);
        part.packed = packed;
        assert!(matches!(verdict(&zip(&[gomod(), part])), Err(ZipError::Data(_))));
    }
}

#[test]
fn contents_larger_than_every_buffer_have_the_sum_of_their_bytes() {
    let plain: Vec<u8> =
        (0..700_001_u32).map(|i| (i.wrapping_mul(i) >> 7).to_le_bytes()[0]).collect();
    let (a, b) = (zip(&[stored("x", &plain)]), zip(&[deflated("x", &plain)]));
    let mut lines = Lines::default();
    lines.add("example.com/m@v1.0.0/x", Sum::of(&plain));
    let sum = lines.sum();
    assert_eq!(verdict(&a).unwrap().h1, sum);
    assert_eq!(verdict(&b).unwrap().h1, sum);
}

#[test]
fn a_directory_has_no_content() {
    assert!(verdict(&zip(&[gomod(), stored("d/", b"")])).is_ok());
    assert!(verdict(&zip(&[gomod(), deflated("d/", b"")])).is_ok());
    assert!(verdict(&zip(&[gomod(), stored("d/", b""), stored("d/a.go", b"")])).is_ok());
    for name in ["d/", ""] {
        assert!(verdict(&zip(&[gomod(), stored(name, b"hello")])).is_err(), "{name:?}");
    }
}

#[test]
fn collisions_are_found_whatever_stands_between_in_the_file() {
    for names in [
        ["d/x/1", "e", "D/y/1"],
        ["d", "a", "d/x"],
        ["d/x", "a", "d"],
        ["d/", "a", "d"],
        ["d-", "D/a", "d/b"],
        ["k/a", "a", "\u{212a}/b"],
    ] {
        let parts = names.map(|name| stored(name, b""));
        assert!(matches!(verdict(&zip(&parts)), Err(ZipError::Name(..))), "{names:?}");
    }
    for names in [["d", "d-", "d.x"], ["d/a", "d-/a", "d/b"], ["d/", "d/a", "e/d"]] {
        let parts = names.map(|name| stored(name, b""));
        assert!(verdict(&zip(&parts)).is_ok(), "{names:?}");
    }
}

#[test]
fn numbers_in_64_bits_are_read_where_they_are_needed_and_never_contradict() {
    let with = |sizes: [u32; 2], extra: Vec<u8>| {
        verdict(&changed(|part| {
            (part.numbers[1][1], part.numbers[1][2]) = (sizes[0], sizes[1]);
            part.extra = extra;
        }))
        .is_ok()
    };
    let max = u32::MAX;
    let offset = gomod().local().len() as u64;
    assert!(with([max, max], extra64(&[10, 10])));
    assert!(with([max, max], extra64(&[10, 10, offset])), "as Go writes it");
    assert!(with([10, 10], extra64(&[10, 10])));
    assert!(with([10, max], extra64(&[10])));
    assert!(!with([max, max], Vec::new()), "missing");
    assert!(!with([max, max], extra64(&[10])), "too short");
    assert!(!with([10, 10], extra64(&[99, 99])), "another size");
    assert!(!with([max, max], extra64(&[10, 10, offset + 1])), "another offset");
    assert!(!with([max, 10], extra64(&[10, 10])), "which number Go takes is not the second");
    assert!(!with([max, max], [extra64(&[10, 10]), extra64(&[11, 11])].concat()), "two fields");
    assert!(!with([10, max], extra64(&[u64::MAX])), "a size over every limit");
}

#[test]
fn a_64_bit_end_record_agrees_with_the_plain_one() {
    let (body, directory) = halves(&[gomod(), source()], 0);
    let (len, offset, at) = (directory.len(), body.len(), body.len() + directory.len());
    let with = |count: usize, plain_len: usize, plain_offset: usize| {
        let (record, locator) = end64(2, len, offset, at);
        let plain = end(count, plain_len, plain_offset, b"");
        verdict(&[&body[..], &directory, &record, &locator, &plain].concat()).is_ok()
    };
    let max = 0xffff_ffff_usize;
    assert!(with(65_535, max, max));
    assert!(with(2, len, max));
    assert!(with(2, len, offset));
    assert!(!with(7, len, max));
    assert!(!with(2, len + 1, max));
    assert!(!with(2, len, offset + 1));
}

#[test]
fn as_many_entries_as_16_bits_count_are_read_and_more_than_the_limit_are_refused() {
    let many = |count: usize| (0..count).map(|i| stored(&format!("f{i}"), b"")).collect::<Vec<_>>();
    assert_eq!(verdict(&zip(&many(65_535))).unwrap().entries, 65_535);
    let parts = many(100_001);
    let (body, directory) = halves(&parts, 0);
    let at = body.len() + directory.len();
    let (record, locator) = end64(100_001, directory.len(), body.len(), at);
    let plain = end(65_535, 0xffff_ffff, 0xffff_ffff, b"");
    let bytes = [body, directory, record, locator, plain].concat();
    assert!(matches!(verdict(&bytes), Err(ZipError::Directory(_))));
}

#[test]
fn a_disk_that_fails_is_not_called_a_bad_zip() {
    struct Failing(Cursor<Vec<u8>>, u64);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let reached = self.0.position() + buffer.len() as u64 > self.1;
            if reached && self.0.position() < self.1 {
                return Err(io::Error::other("worn out"));
            }
            self.0.read(buffer)
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let bytes = zip(&[stored("x", &vec![7; 300_000])]);
    let (size, path) = (bytes.len() as u64, ModulePath::parse("example.com/m").unwrap());
    let failing = Failing(Cursor::new(bytes), 200_000);
    let found = check(failing, size, &path, &Version::parse("v1.0.0").unwrap());
    assert!(matches!(found, Err(ZipError::Io(_))), "{found:?}");
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

    #[test]
    fn several_changed_bytes_never_give_another_archive(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let part = deflated("b/c.go", &[b'x'; 300]);
        let numbers = part.numbers[1];
        let mut bytes = zip(&[gomod(), part.described(numbers), stored("d/", b"")]);
        let good = verdict(&bytes).unwrap();
        for (at, value) in changes {
            *at.get_mut(&mut bytes) = value;
        }
        if let Ok(report) = verdict(&bytes) {
            prop_assert_eq!(report.h1, good.h1);
        }
    }
}

/// One entry; every number that is written can be changed first.
#[derive(Clone)]
struct Part {
    name: Vec<u8>,
    packed: Vec<u8>,
    method: u16,
    flags: [u16; 2],
    /// Checksum, packed size and size: in the local header, then in the directory.
    numbers: [[u32; 3]; 2],
    /// Extra field in the directory.
    extra: Vec<u8>,
    comment: Vec<u8>,
    /// What follows the data.
    after: Vec<u8>,
}

fn stored(name: &str, plain: &[u8]) -> Part {
    part(name, plain, plain.to_vec(), 0)
}

fn deflated(name: &str, plain: &[u8]) -> Part {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    part(name, plain, encoder.finish().unwrap(), 8)
}

fn part(name: &str, plain: &[u8], packed: Vec<u8>, method: u16) -> Part {
    let mut crc = Crc::new();
    crc.update(plain);
    let lens = [packed.len(), plain.len()].map(|len| u32::try_from(len).unwrap());
    Part {
        name: format!("example.com/m@v1.0.0/{name}").into_bytes(),
        packed,
        method,
        flags: [0; 2],
        numbers: [[crc.sum(), lens[0], lens[1]]; 2],
        extra: Vec::new(),
        comment: Vec::new(),
        after: Vec::new(),
    }
}

impl Part {
    /// The same, with a descriptor of these numbers after the data and zeros before them.
    fn described(mut self, numbers: [u32; 3]) -> Self {
        self.flags = [8; 2];
        self.numbers[0] = [0; 3];
        self.after = [b"PK\x07\x08".to_vec(), le32(&numbers)].concat();
        self
    }

    fn local(&self) -> Vec<u8> {
        let start = [0x4b50, 0x0403, 20, self.flags[0], self.method, 0, 0];
        let lens = [u16::try_from(self.name.len()).unwrap(), 0];
        let header = [le16(&start), le32(&self.numbers[0]), le16(&lens)].concat();
        [&header[..], &self.name, &self.packed, &self.after].concat()
    }

    fn central(&self, offset: u32) -> Vec<u8> {
        let start = [0x4b50, 0x0201, 20, 20, self.flags[1], self.method, 0, 0];
        let lens = [&self.name, &self.extra, &self.comment];
        let lens = lens.map(|field| u16::try_from(field.len()).unwrap());
        let header =
            [le16(&start), le32(&self.numbers[1]), le16(&lens), le16(&[0, 0]), le32(&[0, offset])]
                .concat();
        [&header[..], &self.name, &self.extra, &self.comment].concat()
    }
}

/// Local parts and directory of a zip whose first byte stands at `base`.
fn halves(parts: &[Part], base: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for part in parts {
        directory.extend(part.central(u32::try_from(base + body.len()).unwrap()));
        body.extend(part.local());
    }
    (body, directory)
}

fn end(count: usize, len: usize, offset: usize, comment: &[u8]) -> Vec<u8> {
    let count = u16::try_from(count).unwrap();
    let places = [len, offset].map(|place| u32::try_from(place).unwrap());
    let comment_len = u16::try_from(comment.len()).unwrap();
    [
        b"PK\x05\x06".to_vec(),
        le16(&[0, 0, count, count]),
        le32(&places),
        le16(&[comment_len]),
        comment.to_vec(),
    ]
    .concat()
}

/// The 64-bit end record that stands at `at`, and its locator.
fn end64(count: u64, len: usize, offset: usize, at: usize) -> (Vec<u8>, Vec<u8>) {
    let places = [count, count, len as u64, offset as u64];
    let record =
        [b"PK\x06\x06".to_vec(), le64(&[44]), le16(&[45, 45]), le32(&[0, 0]), le64(&places)];
    let locator = [b"PK\x06\x07".to_vec(), le32(&[0]), le64(&[at as u64]), le32(&[1])];
    (record.concat(), locator.concat())
}

fn zip(parts: &[Part]) -> Vec<u8> {
    let (body, directory) = halves(parts, 0);
    let end = end(parts.len(), directory.len(), body.len(), b"");
    [body, directory, end].concat()
}

/// A 64-bit extra field.
fn extra64(numbers: &[u64]) -> Vec<u8> {
    let len = u16::try_from(numbers.len() * 8).unwrap();
    [le16(&[1, len]), le64(numbers)].concat()
}

fn le16(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn le32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn le64(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
