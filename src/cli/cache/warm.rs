//! `modgate cache warm`: a gateway fetches beforehand what a project will ask for.
//!
//! It asks like a client, so the policy holds and the audit has it; and it asks for heads only, so nothing but the
//! gateway downloads. What is held already costs one short question: a run that was stopped is run again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use futures_util::StreamExt as _;
use url::Url;

use crate::cli::Failure;
use crate::cli::cache::progress::Progress;
use crate::cli::cache::wanted;
use crate::cli::cache::wanted::Wanted;
use crate::cli::doctor;
use crate::cli::say;
use crate::cli::store;
use crate::egress::document::Documents;
use crate::egress::document::Told;
use crate::fault::chain_text;

/// Lets a gateway fetch what files want.
#[derive(Debug, Args)]
pub(in crate::cli) struct Warm {
    /// The gateway, as it stands in GOPROXY
    gateway: String,
    /// A go.sum (the whole graph), a go.mod (what it requires) or an SBOM in JSON; may stand several times
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A PEM file with the gateway's authority [default: `SSL_CERT_FILE`, and the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How many are fetched at once
    #[arg(long, default_value_t = 8)]
    parallel: usize,
}

/// What became of one artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Held,
    Fetched,
    Denied,
    Absent,
    Failed(String),
}

impl Warm {
    pub(in crate::cli::cache) fn run(
        self,
        environment: &[(String, String)],
    ) -> Result<(), Failure> {
        let mut all = Vec::new();
        for file in &self.files {
            let text = std::fs::read_to_string(file)
                .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
            let name = file.display().to_string();
            all.extend(wanted::read(&name, &text).map_err(|why| anyhow::anyhow!(why))?);
        }
        let gateway = store::gateway(&self.gateway)?;
        let variable = environment.iter().find(|(name, _)| name == "SSL_CERT_FILE");
        let ca = self.ca.clone().or_else(|| variable.map(|(_, value)| PathBuf::from(value)));
        let asking = Asking {
            documents: Documents::new(ca.as_deref())?,
            base: self.gateway.trim_end_matches('/').to_owned(),
            authorization: doctor::authorization(&gateway, environment)?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let verdicts = runtime.block_on(self.ask(&asking, &all));
        table(&verdicts)
    }

    async fn ask(&self, asking: &Asking, all: &[Wanted]) -> Vec<(String, Verdict)> {
        let paths: Vec<String> = all.iter().flat_map(Wanted::paths).collect();
        let mut progress = Progress::of(paths.len());
        let asked = paths.into_iter().map(|path| async move {
            let verdict = asking.verdict(&path).await;
            (path, verdict)
        });
        let mut asked = futures_util::stream::iter(asked).buffer_unordered(self.parallel.max(1));
        let mut verdicts = Vec::new();
        while let Some((path, verdict)) = asked.next().await {
            progress.step(&path);
            verdicts.push((path, verdict));
        }
        verdicts
    }
}

#[derive(Debug)]
struct Asking {
    documents: Documents,
    base: String,
    authorization: Option<String>,
}

impl Asking {
    async fn verdict(&self, path: &str) -> Verdict {
        let url = match Url::parse(&format!("{}{path}", self.base)) {
            Ok(url) => url,
            Err(error) => return Verdict::Failed(error.to_string()),
        };
        match self.documents.head(url, self.authorization.as_deref()).await {
            Ok(Told { status: 200, cache_status }) if cache_status.contains("; hit") => {
                Verdict::Held
            }
            Ok(Told { status: 200, .. }) => Verdict::Fetched,
            Ok(Told { status: 401 | 403, .. }) => Verdict::Denied,
            Ok(Told { status: 404 | 410, .. }) => Verdict::Absent,
            Ok(Told { status, .. }) => Verdict::Failed(format!("status {status}")),
            Err(error) => Verdict::Failed(chain_text(&error)),
        }
    }
}

fn table(verdicts: &[(String, Verdict)]) -> Result<(), Failure> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for (path, verdict) in verdicts {
        let (word, why) = match verdict {
            Verdict::Held => ("held", None),
            Verdict::Fetched => ("fetched", None),
            Verdict::Denied => ("denied", Some("ask with modgate doctor --module why")),
            Verdict::Absent => ("absent", Some("no upstream has it")),
            Verdict::Failed(why) => ("failed", Some(why.as_str())),
        };
        *counts.entry(word).or_default() += 1;
        lines.extend(why.map(|why| format!("{word:8} {path}: {why}")));
    }
    lines.sort();
    let count = |word: &str| counts.get(word).copied().unwrap_or(0);
    let words = ["held", "fetched", "denied", "absent", "failed"];
    lines.extend(words.iter().map(|word| format!("{word:8} {:6}", count(word))));
    say(&lines.join("\n"))?;
    let bad = count("denied") + count("absent") + count("failed");
    if bad == 0 {
        return Ok(());
    }
    Err(Failure::Failed(anyhow::anyhow!("{bad} of {} are not held; run it again", verdicts.len())))
}
