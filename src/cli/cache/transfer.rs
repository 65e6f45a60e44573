//! `modgate cache import` and `export`: between the cache and a directory, for sites without a network.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use futures_util::StreamExt as _;

use crate::app::stores::Stores;
use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::tier::Tier as _;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::cache::inspect::with_stores;
use crate::cli::cache::progress::Progress;
use crate::cli::say;
use crate::content::Content;
use crate::goproxy::artifact::Mutability;
use crate::goproxy::request::Request;
use crate::goproxy::request::Routes;

/// Takes a module cache in.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// A GOMODCACHE, its cache/download, or another tree in the layout of a module proxy
    directory: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// Writes the cache out.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// Where to write; GOPROXY=file://DIRECTORY can use it afterwards
    directory: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

impl Import {
    pub(in crate::cli::cache) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let below = self.directory.join("cache/download");
        let root = if below.is_dir() { below } else { self.directory.clone() };
        with_stores(&self.settings, environment, |stores| async move {
            let found = artifacts(&root)?;
            let mut progress = Progress::of(found.len());
            let (mut taken, mut refused) = (0, Vec::new());
            for (text, file) in found {
                progress.step(&text);
                match take(&stores, &text, &file).await {
                    Ok(()) => taken += 1,
                    Err(why) => refused.push(format!("refused  {text}: {why:#}")),
                }
            }
            refused.push(format!("{taken} artifacts are held now"));
            say(&refused.join("\n"))?;
            match (taken, refused.len() - 1) {
                (0, 0) => {
                    let why = format!("{} holds no module cache", root.display());
                    Err(Failure::Failed(anyhow::anyhow!(why)))
                }
                (_, 0) => Ok(()),
                (_, bad) => Err(Failure::Failed(anyhow::anyhow!("{bad} files were refused"))),
            }
        })
    }
}

/// Every file whose path is that of an artifact that never changes, with that path.
fn artifacts(root: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let listed = std::fs::read_dir(&directory)
            .map_err(|error| anyhow::anyhow!("{}: {error}", directory.display()))?;
        for entry in listed {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            let text = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let fixed = |key: &Key| key.mutability() == Mutability::Immutable;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && Key::parse(&text).as_ref().is_some_and(fixed) {
                found.insert(text, path);
            }
        }
    }
    Ok(found)
}

async fn take(stores: &Stores, text: &str, file: &Path) -> anyhow::Result<()> {
    let request = Request::parse(&format!("/{text}"), &Routes::new("/", Vec::new()))?;
    let Request::Module(asked) = &request else { anyhow::bail!("it is no artifact") };
    let key = Key::of(asked);
    let content = Content::from_file(File::open(file)?)?;
    let verified = stores.verifier.verify(&request, content, None).await?;
    if let (Some(h1), Ok(kept)) =
        (verified.basis().h1(), std::fs::read_to_string(file.with_extension("ziphash")))
        && !key.is_small()
        && h1 != kept.trim()
    {
        anyhow::bail!("its sum is {h1}, and go noted {}", kept.trim());
    }
    // an artifact that never changes has no age
    let held = Held::Content(verified);
    let entry = Entry { held, stored: 0, life: 0, fence: 0, validator: None };
    for blob in &stores.blobs {
        blob.store(&key, &entry).await?;
    }
    Ok(())
}

impl Export {
    pub(in crate::cli::cache) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let directory = self.directory;
        with_stores(&self.settings, environment, |stores| async move {
            let (mut written, mut versions) = (0_u64, BTreeMap::<String, Vec<String>>::new());
            for blob in &stores.blobs {
                let mut keys = blob.keys();
                while let Some(key) = keys.next().await {
                    if key.mutability() == Mutability::Mutable {
                        continue;
                    }
                    // what is not what was stored is left out, and repaired by the next fetch
                    let Ok(Some(Entry { held: Held::Content(verified), .. })) =
                        blob.look(&key).await
                    else {
                        continue;
                    };
                    let file = directory.join(key.as_str());
                    write(&file, &mut verified.content().reader())?;
                    written += 1;
                    if let Some((module, version)) = released(&key) {
                        versions.entry(module).or_default().push(version);
                    }
                }
            }
            for (module, mut versions) in versions {
                versions.sort();
                versions.dedup();
                let list = versions.join("\n") + "\n";
                write(&directory.join(module).join("@v/list"), &mut list.as_bytes())?;
            }
            say(&format!(
                "{written} artifacts are in {0}; use it with GOPROXY=file://{0}",
                std::path::absolute(&directory)?.display()
            ))
        })
    }
}

/// Module and version, if the key is the info of a version that belongs on a list.
fn released(key: &Key) -> Option<(String, String)> {
    let (module, file) = key.as_str().split_once("/@v/")?;
    let version = file.strip_suffix(".info")?;
    let parsed = crate::goproxy::version::Version::parse(version).ok();
    let listed = parsed.is_none_or(|version| !version.is_pseudo());
    listed.then(|| (module.to_owned(), version.to_owned()))
}

/// Whole or not at all: an export that was stopped can be run again.
fn write(file: &Path, from: &mut dyn std::io::Read) -> anyhow::Result<()> {
    let directory = file.parent().unwrap_or(file);
    std::fs::create_dir_all(directory)?;
    let staged = file.with_extension("partial");
    std::io::copy(from, &mut File::create(&staged)?)?;
    Ok(std::fs::rename(staged, file)?)
}
