//! What a go.sum, a go.mod or an SBOM wants: the paths at which a gateway serves it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;

/// One module version, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli::cache) struct Wanted {
    /// Its path.
    pub(in crate::cli::cache) path: String,
    /// Its version.
    pub(in crate::cli::cache) version: String,
    /// Whether more than the go.mod is.
    pub(in crate::cli::cache) source: Source,
}

/// How much of a module version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli::cache) enum Source {
    /// Its go.mod, to choose versions.
    GoMod,
    /// All of it, to build.
    Whole,
}

impl Wanted {
    fn new(path: &str, version: &str, source: Source) -> Option<Self> {
        let (path, version) = (ModulePath::parse(path).ok()?, Version::parse(version).ok()?);
        Some(Self { path: path.to_string(), version: version.to_string(), source })
    }

    /// The paths at which a gateway serves it, the quick ones first.
    pub(in crate::cli::cache) fn paths(&self) -> Vec<String> {
        let escaped = ModulePath::parse(&self.path).map(|path| path.escaped()).unwrap_or_default();
        let version = Version::parse(&self.version).map(|it| it.escaped()).unwrap_or_default();
        let suffixes: &[&str] = match self.source {
            Source::GoMod => &["mod"],
            Source::Whole => &["info", "mod", "zip"],
        };
        suffixes.iter().map(|suffix| format!("/{escaped}/@v/{version}.{suffix}")).collect()
    }
}

/// Everything that a file wants, in order, each once; what it is shows from its name and its first letter.
pub(in crate::cli::cache) fn read(name: &str, text: &str) -> Result<Vec<Wanted>, String> {
    let found: BTreeSet<Wanted> = if text.trim_start().starts_with('{') {
        let bill: Value = serde_json::from_str(text)
            .map_err(|error| format!("{name} looks like JSON and is none: {error}"))?;
        let mut found = BTreeSet::new();
        packages(&bill, &mut found);
        found
    } else if name.ends_with("go.mod") {
        requirements(text)
    } else {
        sums(text)
    };
    let whole: BTreeSet<_> = found
        .iter()
        .filter(|wanted| wanted.source == Source::Whole)
        .map(|wanted| (wanted.path.clone(), wanted.version.clone()))
        .collect();
    let needless = |wanted: &Wanted| {
        let key = (wanted.path.clone(), wanted.version.clone());
        wanted.source == Source::GoMod && whole.contains(&key)
    };
    let wanted: Vec<Wanted> = found.into_iter().filter(|wanted| !needless(wanted)).collect();
    if wanted.is_empty() {
        return Err(format!(
            "{name} names no module version: give a go.sum, a go.mod or an SBOM in JSON (CycloneDX, SPDX)"
        ));
    }
    Ok(wanted)
}

/// Lines of a go.sum: `PATH VERSION[/go.mod] h1:…`.
fn sums(text: &str) -> BTreeSet<Wanted> {
    let wanted = |line: &str| {
        let mut words = line.split_whitespace();
        let (path, version, sum) = (words.next()?, words.next()?, words.next()?);
        if !sum.starts_with("h1:") {
            return None;
        }
        match version.strip_suffix("/go.mod") {
            Some(version) => Wanted::new(path, version, Source::GoMod),
            None => Wanted::new(path, version, Source::Whole),
        }
    };
    text.lines().filter_map(wanted).collect()
}

/// `require` lines of a go.mod, in blocks and alone.
fn requirements(text: &str) -> BTreeSet<Wanted> {
    let mut found = BTreeSet::new();
    let mut in_block = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let alone = line.strip_prefix("require ").map(str::trim);
        match alone.unwrap_or(line) {
            "(" => in_block = true,
            ")" => in_block = false,
            words if in_block || alone.is_some() => {
                let mut words = words.split_whitespace().map(|word| word.trim_matches('"'));
                if let (Some(path), Some(version)) = (words.next(), words.next()) {
                    found.extend(Wanted::new(path, version, Source::Whole));
                }
            }
            _ => in_block = line == "require(" || in_block,
        }
    }
    found
}

/// Package URLs anywhere in a bill of materials: `pkg:golang/PATH@VERSION`.
fn packages(value: &Value, found: &mut BTreeSet<Wanted>) {
    match value {
        Value::String(text) => found.extend(package(text)),
        Value::Array(all) => all.iter().for_each(|one| packages(one, found)),
        Value::Object(all) => all.values().for_each(|one| packages(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn package(text: &str) -> Option<Wanted> {
    let rest = text.strip_prefix("pkg:golang/")?;
    let rest = rest.split(['?', '#']).next()?;
    let (path, version) = rest.rsplit_once('@')?;
    let decode = |text: &str| text.replace("%2B", "+").replace("%2b", "+").replace("%7E", "~");
    Wanted::new(&decode(path), &decode(version), Source::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, text: &str) -> Vec<String> {
        let one =
            |wanted: &Wanted| format!("{}@{} {:?}", wanted.path, wanted.version, wanted.source);
        read(name, text).unwrap().iter().map(one).collect()
    }

    #[test]
    fn a_go_sum_wants_go_mods_and_whole_modules_each_once() {
        let text = "a.example/X v1.0.0 h1:x=\na.example/X v1.0.0/go.mod h1:y=\n\
                    a.example/y v2.0.0+incompatible/go.mod h1:z=\nnonsense\nb v1 h1:q=\n";
        let expected = ["a.example/X@v1.0.0 Whole", "a.example/y@v2.0.0+incompatible GoMod"];
        assert_eq!(told("go.sum", text), expected);
        let paths = read("go.sum", text).unwrap().first().unwrap().paths();
        assert_eq!(paths.last().unwrap(), "/a.example/!x/@v/v1.0.0.zip");
    }

    #[test]
    fn a_go_mod_wants_what_it_requires() {
        let text = "module m.example/m\n\ngo 1.21\n\nrequire a.example/a v1.0.0 // indirect\n\n\
                    require (\n\tb.example/b v0.1.0\n\t\"c.example/c\" v1.2.3 // indirect\n)\n\
                    replace d.example/d v1.0.0 => ../d\n";
        let expected =
            ["a.example/a@v1.0.0 Whole", "b.example/b@v0.1.0 Whole", "c.example/c@v1.2.3 Whole"];
        assert_eq!(told("sub/go.mod", text), expected);
    }

    #[test]
    fn bills_of_materials_want_their_packages() {
        let cyclone = r#"{"components":[{"purl":"pkg:golang/a.example/a@v1.0.0?type=module"},
            {"purl":"pkg:npm/left-pad@1.0.0"}]}"#;
        assert_eq!(told("bom.json", cyclone), ["a.example/a@v1.0.0 Whole"]);
        let spdx = r#"{"packages":[{"externalRefs":[{"referenceLocator":
            "pkg:golang/b.example/b@v2.0.0%2Bincompatible#sub"}]}]}"#;
        assert_eq!(told("x.spdx.json", spdx), ["b.example/b@v2.0.0+incompatible Whole"]);
        assert!(read("x", "{").unwrap_err().contains("looks like JSON"));
        assert!(read("x", "hello").unwrap_err().contains("names no module version"));
    }
}
