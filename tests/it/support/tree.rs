//! Modules as files in the layout of a module proxy, made from nothing: zips, sums and all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use sha2::Sha256;

/// A tree of modules in a directory of its own.
#[derive(Debug)]
pub(crate) struct Tree {
    directory: tempfile::TempDir,
    sums: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), sums: BTreeMap::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a module with one package; `requires` are other modules it needs, as `path version`.
    pub(crate) fn module(&mut self, path: &str, version: &str, requires: &[String]) {
        self.module_of_size(path, version, requires, 0);
    }

    /// The same with a file of some size that does not compress.
    pub(crate) fn module_of_size(
        &mut self,
        path: &str,
        version: &str,
        requires: &[String],
        size: usize,
    ) {
        let mut gomod = format!("module {path}\n\ngo 1.21\n");
        for required in requires {
            let _written = writeln!(gomod, "\nrequire {required}");
        }
        let last = path.rsplit('/').next().unwrap();
        let name: String = last.chars().filter(char::is_ascii_alphanumeric).collect();
        let source = format!(
            "// Package p{name} says where it is.\npackage p{name}\n\n// Here is where.\nconst Here = \"{path}@{version}\"\n"
        );
        let mut files = vec![
            ("go.mod".to_owned(), gomod.clone().into_bytes()),
            (format!("{name}.go"), source.into_bytes()),
        ];
        if size > 0 {
            files.push(("data.bin".to_owned(), noise(size)));
        }
        let zip = zip(&format!("{path}@{version}"), &files);
        self.put(path, &format!("@v/{version}.zip"), &zip);
        self.put(path, &format!("@v/{version}.mod"), gomod.as_bytes());
        let info = format!("{{\"Version\":\"{version}\",\"Time\":\"2024-01-02T03:04:05Z\"}}");
        self.put(path, &format!("@v/{version}.info"), info.as_bytes());
        let list = self.file(path, "@v/list");
        let mut versions = std::fs::read_to_string(&list).unwrap_or_default();
        versions.push_str(version);
        versions.push('\n');
        self.put(path, "@v/list", versions.as_bytes());
        let named: Vec<_> = files
            .iter()
            .map(|(name, bytes)| (format!("{path}@{version}/{name}"), bytes.as_slice()))
            .collect();
        self.sums.insert(format!("{path} {version}"), h1(&named));
        let gomod = h1(&[("go.mod".to_owned(), gomod.as_bytes())]);
        self.sums.insert(format!("{path} {version}/go.mod"), gomod);
    }

    /// The lines of a complete go.sum.
    pub(crate) fn gosum(&self) -> String {
        self.sums.iter().map(|(what, sum)| format!("{what} {sum}\n")).collect()
    }

    /// Where a file of a module lies.
    pub(crate) fn file(&self, path: &str, artifact: &str) -> PathBuf {
        self.path().join(escaped(path)).join(escaped(artifact))
    }

    /// Writes a file of a module.
    pub(crate) fn put(&self, path: &str, artifact: &str, bytes: &[u8]) {
        let file = self.file(path, artifact);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}

/// Upper-case letters become `!` and the lower-case one.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
    }
    escaped
}

/// Bytes that do not compress, the same every time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn h1(files: &[(String, &[u8])]) -> String {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    let mut hasher = Sha256::new();
    for (name, bytes) in files {
        let digest = Sha256::digest(bytes);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hasher.update(format!("{hex}  {name}\n"));
    }
    format!("h1:{}", STANDARD.encode(hasher.finalize()))
}

/// A zip with stored entries.
pub(crate) fn zip(prefix: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, bytes) in files {
        let name = format!("{prefix}/{name}");
        let offset = u32::try_from(out.len()).unwrap();
        let size = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut shared = Vec::new();
        // version 2.0, no flags, stored, no time
        shared.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        shared.extend_from_slice(&crc32(bytes).to_le_bytes());
        shared.extend_from_slice(&size);
        shared.extend_from_slice(&size);
        shared.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        shared.extend_from_slice(&[0, 0]);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&shared);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(bytes);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&shared);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (offset, size) = (out.len(), directory.len());
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    out.extend_from_slice(&count);
    out.extend_from_slice(&count);
    out.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    out.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|byte| {
            (0..8)
                .fold(byte, |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
        })
        .collect();
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        table[usize::from((crc ^ u32::from(*byte)).to_le_bytes()[0])] ^ (crc >> 8)
    })
}
